//! Basic authentication that wrong passwords can neither slow down nor learn from.
//!
//! - A password that was correct once is recognized by a keyed hash, without bcrypt. Wrong passwords are never cached, so
//!   they cannot evict correct ones.
//! - Only one bcrypt check runs at a time ([`hashing`](super::hashing)), after a queue in which networks take turns. Requests
//!   for which the queue has no room are answered with 429.
//! - Every failure costs the same, whether the user exists or not and whatever the cost of its hashes. The work before bcrypt
//!   does not depend on the user either, so that the time until a 429 reveals nothing.
//! - A password that had to wait is checked with the users of the configuration in use at that time.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderValue;
use secure_exporter_web_config::{BcryptHash, UserHashes};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::hashing::Hashing;
use super::prefix::Prefix;
use crate::clock::unix_now;
use crate::credentials::last_use::CredentialUse;

/// Only successes are kept, so there is about one entry per hash; more entries come from rotations long ago.
const MAX_REMEMBERED: usize = 1024;
/// Salt and digest of a hash whose password nobody knows.
const DECOY_TAIL: &str = "MXjBwpmKxIYjyCOS7Gq6U.DbStd7Nn5jKEnGYfkDbXTBe2uCJTK8i";

/// The users of one configuration, and the cost of a failed check.
#[derive(Clone)]
pub(crate) struct Users {
    by_name: BTreeMap<String, Vec<Credential>>,
    /// The bcrypt rounds of a failed check: those of the user whose hashes take the most.
    rounds: u64,
    /// Ordered by cost.
    decoys: Vec<String>,
}

/// One accepted hash. Users with the same hash share its use.
#[derive(Clone)]
struct Credential {
    hash: BcryptHash,
    usage: Arc<CredentialUse>,
}

/// The result of checking a request's credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    /// The request had none.
    Missing,
    Refused,
    /// Too many other passwords are being checked.
    Busy,
}

/// Checks credentials. There is one instance per process, which outlives configurations.
pub(crate) struct Authenticator {
    key: Zeroizing<[u8; 32]>,
    remembered: Arc<Remembered>,
    hashing: Hashing,
}

impl Users {
    /// `None` without users: no password is required.
    pub(crate) fn new(users: &BTreeMap<String, UserHashes>) -> Option<Self> {
        let rounds = users.values().map(UserHashes::rounds).max()?;
        let decoys = (0..=rounds.ilog2())
            .map(|cost| format!("$2y${cost:02}${DECOY_TAIL}"))
            .collect();
        let mut uses = BTreeMap::new();
        let mut credential = |hash: &BcryptHash| {
            let usage = uses.entry(hash.id()).or_default();
            Credential {
                hash: hash.clone(),
                usage: Arc::clone(usage),
            }
        };
        let by_name = users.iter().map(|(name, hashes)| {
            let credentials = hashes.as_slice().iter().map(&mut credential).collect();
            (name.clone(), credentials)
        });
        Some(Self {
            by_name: by_name.collect(),
            rounds,
            decoys,
        })
    }

    /// Keeps what is known about the hashes that `before` also accepted; the others are forgotten.
    pub(crate) fn continue_uses(&mut self, before: &Self) {
        let known = before.uses();
        for credential in self.by_name.values_mut().flatten() {
            if let Some(usage) = known.get(&credential.hash.id()) {
                credential.usage = usage.clone();
            }
        }
    }

    /// Returns the use of every accepted hash, by its ID.
    pub(crate) fn uses(&self) -> BTreeMap<String, Arc<CredentialUse>> {
        self.by_name
            .values()
            .flatten()
            .map(|credential| (credential.hash.id(), credential.usage.clone()))
            .collect()
    }

    fn credentials(&self, user: &str) -> &[Credential] {
        self.by_name
            .get(user)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// Returns the costs of the additional bcrypt runs with which a failure takes the same number of rounds as every other
    /// failure. Each step of the cost doubles the rounds, so these are the binary digits of the difference.
    fn padding(&self, credentials: &[Credential]) -> impl Iterator<Item = u32> + use<> {
        let own = credentials.iter().map(|one| 1_u64 << one.hash.cost());
        let missing = self.rounds.saturating_sub(own.sum());
        (0..u64::BITS).filter(move |cost| missing >> cost & 1 == 1)
    }

    /// Returns the credential that matches. Blocks for a long time.
    fn verify(&self, shown: &Shown) -> Option<&Credential> {
        let credentials = self.credentials(&shown.user);
        let matches = |credential: &&Credential| {
            bcrypt::verify(shown.password.as_slice(), credential.hash.as_str()).unwrap_or(false)
        };
        let found = credentials.iter().find(matches);
        if found.is_none() {
            for cost in self.padding(credentials) {
                if let Some(decoy) = self.decoys.get(cost as usize) {
                    let _ = std::hint::black_box(bcrypt::verify(shown.password.as_slice(), decoy));
                }
            }
        }
        found
    }
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Users({})", self.by_name.len())
    }
}

impl Authenticator {
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn new() -> io::Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut_slice()).map_err(|error| {
            io::Error::other(format!(
                "cannot get random numbers from the operating system: {error}"
            ))
        })?;
        Ok(Self {
            key,
            remembered: Arc::default(),
            hashing: Hashing::default(),
        })
    }

    /// Checks the `Authorization` header of a request from `prefix` with the users that `newest` returns at that time;
    /// `None` means that no password is required.
    pub(super) async fn check(
        &self,
        newest: impl Fn() -> Option<Arc<Users>> + Send + 'static,
        header: Option<&HeaderValue>,
        prefix: Prefix,
    ) -> Verdict {
        let Some(header) = header else {
            return Verdict::Missing;
        };
        let Some(shown) = Shown::read(header) else {
            return Verdict::Refused;
        };
        let tag = tag(&self.key, &shown);
        let is_known = |users: Arc<Users>| self.remembered.admits(&users, &tag, &shown.user);
        if newest().is_some_and(is_known) {
            return Verdict::Accepted;
        }
        let remembered = self.remembered.clone();
        let judged = self
            .hashing
            .run(prefix, move || judge(&newest, &shown, &tag, &remembered));
        // Without a result, the password was not checked.
        judged.await.unwrap_or(Verdict::Busy)
    }
}

/// Checks a password with bcrypt. Blocks for a long time.
fn judge(
    newest: &impl Fn() -> Option<Arc<Users>>,
    shown: &Shown,
    tag: &Tag,
    remembered: &Remembered,
) -> Verdict {
    loop {
        let Some(users) = newest() else {
            return Verdict::Accepted;
        };
        // Another request with the same password may have been checked in the meantime.
        if remembered.admits(&users, tag, &shown.user) {
            return Verdict::Accepted;
        }
        let found = users.verify(shown);
        if let Some(credential) = found {
            remembered.insert(*tag, credential.hash.clone());
        }
        // Users that were added in the meantime are checked as well.
        if newest().is_some_and(|now| Arc::ptr_eq(&now, &users)) {
            return match found {
                Some(credential) => {
                    credential.usage.succeeded(unix_now());
                    Verdict::Accepted
                }
                None => Verdict::Refused,
            };
        }
    }
}

/// The credentials of a request.
struct Shown {
    user: String,
    password: Zeroizing<Vec<u8>>,
}

impl Shown {
    fn read(header: &HeaderValue) -> Option<Self> {
        let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = Zeroizing::new(BASE64.decode(encoded.trim()).ok()?);
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        let user = String::from_utf8(decoded.get(..colon)?.to_vec()).ok()?;
        Some(Self {
            user,
            password: Zeroizing::new(decoded.get(colon + 1..)?.to_vec()),
        })
    }
}

type Tag = [u8; 32];

/// A keyed hash of user and password. User names cannot contain a colon, so no two pairs have the same input.
fn tag(key: &[u8; 32], shown: &Shown) -> Tag {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    mac.update(shown.user.as_bytes());
    mac.update(b":");
    mac.update(&shown.password);
    mac.finalize().into_bytes().into()
}

/// The pairs of user and password that were correct, with the hash that matched.
#[derive(Default)]
struct Remembered(Mutex<HashMap<Tag, BcryptHash>>);

impl Remembered {
    /// Whether the password was correct before, with a hash that the user still has; counts its use. Without a correct
    /// password the response time does not reveal whether the user exists, because user names are not looked up first.
    fn admits(&self, users: &Users, tag: &Tag, user: &str) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let credential = known.get(tag).and_then(|hash| {
            let mut credentials = users.credentials(user).iter();
            credentials.find(|credential| credential.hash == *hash)
        });
        if let Some(credential) = credential {
            credential.usage.succeeded(unix_now());
        }
        credential.is_some()
    }

    fn insert(&self, tag: Tag, hash: BcryptHash) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(tag, hash);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::mpsc::channel;

    use proptest::prelude::*;

    use super::*;

    fn hash(password: &str, cost: u32) -> BcryptHash {
        BcryptHash::parse(&bcrypt::hash(password, cost).unwrap()).unwrap()
    }

    fn users() -> Arc<Users> {
        let hashes = UserHashes::new(vec![hash("old", 4), hash("new", 5)]).unwrap();
        let all = BTreeMap::from([
            ("alice".to_owned(), hashes),
            ("bob".to_owned(), hash("secret", 6).into()),
        ]);
        Arc::new(Users::new(&all).unwrap())
    }

    fn basic(text: &str) -> HeaderValue {
        HeaderValue::from_str(&format!("Basic {}", BASE64.encode(text))).unwrap()
    }

    fn peer(last: u8) -> Prefix {
        Prefix::from(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)))
    }

    fn always(users: &Arc<Users>) -> impl Fn() -> Option<Arc<Users>> + Send + use<> {
        let users = users.clone();
        move || Some(users.clone())
    }

    async fn check(authenticator: &Authenticator, users: &Arc<Users>, text: &str) -> Verdict {
        authenticator
            .check(always(users), Some(&basic(text)), peer(1))
            .await
    }

    #[test]
    fn every_failure_costs_the_same() {
        let users = users();
        let work = |user: &str| -> u64 {
            let credentials = users.credentials(user);
            let own = credentials.iter().map(|one| one.hash.cost());
            own.chain(users.padding(credentials))
                .map(|cost| 1_u64 << cost)
                .sum()
        };
        // Those of alice, of costs 4 and 5, and the 64 of bob.
        assert_eq!(work("alice"), 64);
        assert_eq!(work("bob"), 64);
        assert_eq!(work("nobody"), 64);
        let hashes = vec![hash("old", 6), hash("new", 5)];
        let hashes = UserHashes::new(hashes).unwrap();
        let one = BTreeMap::from([("carol".to_owned(), hashes)]);
        let users = Users::new(&one).unwrap();
        assert_eq!(users.padding(&[]).collect::<Vec<_>>(), [5, 6]);
        assert!(users.decoys.get(6).is_some());
    }

    #[test]
    fn decoys_do_the_work_of_a_hash() {
        let users = users();
        assert!(!bcrypt::verify("x", &users.decoys[4]).unwrap());
    }

    #[tokio::test]
    async fn only_the_hashes_of_a_user_accept_a_password() {
        let (authenticator, users) = (Authenticator::new().unwrap(), users());
        let cases = [
            (Some(basic("alice:old")), Verdict::Accepted),
            (Some(basic("alice:new")), Verdict::Accepted),
            (Some(basic("bob:secret")), Verdict::Accepted),
            (Some(basic("alice:secret")), Verdict::Refused),
            (Some(basic("nobody:old")), Verdict::Refused),
            (Some(basic("alice")), Verdict::Refused),
            (
                Some(HeaderValue::from_static("Bearer abc")),
                Verdict::Refused,
            ),
            (None, Verdict::Missing),
        ];
        for _ in 0..2 {
            for (header, expected) in &cases {
                assert_eq!(
                    authenticator
                        .check(always(&users), header.as_ref(), peer(1))
                        .await,
                    *expected,
                    "{header:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn only_successes_are_remembered_and_a_changed_hash_forgets_them() {
        let (authenticator, users) = (Authenticator::new().unwrap(), users());
        for text in ["bob:wrong", "nobody:x", "bob:secret"] {
            check(&authenticator, &users, text).await;
        }
        assert_eq!(authenticator.remembered.0.lock().unwrap().len(), 1);
        let shown = Shown::read(&basic("bob:secret")).unwrap();
        let admits = |users: &Users, user: &str| {
            let tag = tag(&authenticator.key, &shown);
            authenticator.remembered.admits(users, &tag, user)
        };
        assert!(admits(&users, "bob"));
        assert!(!admits(&users, "alice") && !admits(&users, "nobody"));
        let changed = BTreeMap::from([("bob".to_owned(), hash("secret", 4).into())]);
        let changed = Users::new(&changed).unwrap();
        assert!(!admits(&changed, "bob"));
    }

    #[tokio::test]
    async fn each_use_is_known_by_its_hash_until_the_hash_is_no_longer_accepted() {
        let (authenticator, before) = (Authenticator::new().unwrap(), users());
        for text in ["alice:old", "alice:old", "alice:wrong", "bob:old"] {
            check(&authenticator, &before, text).await;
        }
        let successes = |users: &Users| -> Vec<u64> {
            let credentials = users.by_name.values().flatten();
            credentials.map(|one| one.usage.successes()).collect()
        };
        assert_eq!(successes(&before), [2, 0, 0]);

        let [old, new] = [0, 1].map(|n| before.credentials("alice")[n].hash.clone());
        let next = |before: &Users, hashes: &[&BcryptHash]| {
            let hashes = hashes.iter().copied().cloned().collect();
            let hashes = UserHashes::new(hashes).unwrap();
            let mut next = Users::new(&BTreeMap::from([("al".to_owned(), hashes)])).unwrap();
            next.continue_uses(before);
            next
        };
        let overlap = next(&before, &[&new, &old]);
        assert_eq!(successes(&overlap), [0, 2]);
        let dropped = next(&overlap, &[&new]);
        let again = next(&dropped, &[&new, &old]);
        assert_eq!(successes(&again), [0, 0]);
    }

    #[test]
    fn users_with_the_same_hash_share_its_use() {
        let same = hash("x", 4);
        let both = ["a", "b"].map(|name| (name.to_owned(), same.clone().into()));
        let users = Users::new(&BTreeMap::from(both)).unwrap();
        users.credentials("a")[0].usage.succeeded(7);
        assert_eq!(users.credentials("b")[0].usage.last_used(), Some(7));
        assert_eq!(users.uses().len(), 1);
    }

    #[tokio::test]
    async fn what_waited_is_judged_by_the_users_of_its_time() {
        let authenticator = Arc::new(Authenticator::new().unwrap());
        let with = |password| {
            let users = BTreeMap::from([("bob".to_owned(), hash(password, 4).into())]);
            Arc::new(Users::new(&users).unwrap())
        };
        let (old, new) = (with("old"), with("new"));
        assert_eq!(
            check(&authenticator, &old, "bob:old").await,
            Verdict::Accepted
        );
        let served = Arc::new(Mutex::new(old));
        let (enter, entered) = channel();
        let (go_on, gate) = channel::<()>();
        let ahead = tokio::spawn({
            let authenticator = authenticator.clone();
            async move {
                let block = move || {
                    enter.send(()).unwrap();
                    let _ = gate.recv();
                };
                authenticator.hashing.run(peer(0), block).await
            }
        });
        tokio::task::spawn_blocking(move || entered.recv().unwrap())
            .await
            .unwrap();
        let ask = |text: &'static str| {
            let (authenticator, served) = (authenticator.clone(), served.clone());
            tokio::spawn(async move {
                let newest = move || Some(served.lock().unwrap().clone());
                authenticator
                    .check(newest, Some(&basic(text)), peer(1))
                    .await
            })
        };
        let known = ask("bob:old");
        let (gone, come) = (ask("bob:wrong"), ask("bob:new"));
        assert_eq!(known.await.unwrap(), Verdict::Accepted, "it need not wait");
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        *served.lock().unwrap() = new;
        drop(go_on);
        ahead.await.unwrap();
        assert_eq!(gone.await.unwrap(), Verdict::Refused);
        assert_eq!(come.await.unwrap(), Verdict::Accepted);
        assert_eq!(ask("bob:old").await.unwrap(), Verdict::Refused);
    }

    #[test]
    fn users_added_during_a_check_are_checked_as_well() {
        let with = |password| {
            let users = BTreeMap::from([("bob".to_owned(), hash(password, 4).into())]);
            Arc::new(Users::new(&users).unwrap())
        };
        let shown = Shown::read(&basic("bob:one")).unwrap();
        let verdict = |first: &Arc<Users>, then: &Arc<Users>| {
            let asked = std::cell::Cell::new(0);
            let newest = || {
                asked.set(asked.get() + 1);
                Some(if asked.get() == 1 { first } else { then }.clone())
            };
            judge(&newest, &shown, &[0; 32], &Remembered::default())
        };
        let (one, other) = (with("one"), with("other"));
        assert_eq!(verdict(&one, &other), Verdict::Refused);
        assert_eq!(verdict(&other, &one), Verdict::Accepted);
        assert_eq!(verdict(&one, &one), Verdict::Accepted);
    }

    proptest! {
        #[test]
        fn any_header_shows_a_user_without_colon_or_nothing(
            scheme in "(Basic|basic|BASIC|Bearer|) ?",
            text in "[A-Za-z0-9+/=:]{0,40}",
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let encoded = format!("{scheme}{}", BASE64.encode(&bytes));
            for value in [scheme.as_bytes(), &[scheme.as_bytes(), text.as_bytes()].concat(), encoded.as_bytes(), &bytes] {
                if let Ok(value) = HeaderValue::from_bytes(value) && let Some(shown) = Shown::read(&value) {
                    prop_assert!(!shown.user.contains(':'));
                }
            }
        }
    }
}

//! Basic authentication that wrong passwords can neither slow down nor learn from.
//!
//! - A password that was right once is recognised by a keyed hash, without bcrypt; wrong ones are never remembered, so
//!   that they cannot push the right ones out.
//! - bcrypt runs one at a time ([`hashing`](super::hashing)) behind a short queue with a share for each address; beyond it
//!   the answer is 429.
//! - Every failure costs the same, whether the user exists or not and whatever the cost of its hashes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderValue;
use secure_exporter_web_config::{BcryptHash, UserHashes};
use sha2::Sha256;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::hashing::Hashing;
use crate::clock::unix_now;
use crate::credentials::last_use::CredentialUse;

/// Only successes are kept, so there is about one for each hash; more than this means rotations long past.
const MAX_REMEMBERED: usize = 1024;
/// Checks that may wait, the running one included: at cost 12 some five seconds of work.
const MAX_WAITING: usize = 16;
/// Of which one address may have.
const MAX_WAITING_PER_ADDRESS: usize = 4;
/// Salt and digest of a hash nobody has the password of.
const DECOY_TAIL: &str = "MXjBwpmKxIYjyCOS7Gq6U.DbStd7Nn5jKEnGYfkDbXTBe2uCJTK8i";

/// The users of one configuration, and what a failed check must cost.
#[derive(Clone)]
pub(crate) struct Users {
    by_name: BTreeMap<String, Vec<Credential>>,
    most_hashes: usize,
    highest_cost: u32,
    decoys: Vec<String>,
}

/// One accepted hash. Users with the same hash share its use.
#[derive(Clone)]
struct Credential {
    hash: BcryptHash,
    usage: Arc<CredentialUse>,
}

/// What a request's credentials are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    /// There were none.
    Missing,
    Refused,
    /// Too many others are being checked.
    Busy,
}

/// Checks credentials. One for the process: it outlives configurations.
pub(crate) struct Authenticator {
    key: Zeroizing<[u8; 32]>,
    remembered: Arc<Mutex<HashSet<[u8; 32]>>>,
    lane: Arc<Semaphore>,
    queue: Arc<Mutex<HashMap<IpAddr, usize>>>,
    hashing: Hashing,
}

impl Users {
    /// `None` without users: nobody is asked.
    pub(crate) fn new(users: &BTreeMap<String, UserHashes>) -> Option<Self> {
        let most_hashes = users.values().map(|hashes| hashes.as_slice().len()).max()?;
        let highest_cost = users
            .values()
            .flat_map(|hashes| hashes.as_slice())
            .map(BcryptHash::cost)
            .max()?;
        let decoys = (0..=highest_cost)
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
            most_hashes,
            highest_cost,
            decoys,
        })
    }

    /// Goes on with what is known of the hashes that `before` accepted too; the others are forgotten.
    pub(crate) fn continue_uses(&mut self, before: &Self) {
        let known = before.uses();
        for credential in self.by_name.values_mut().flatten() {
            if let Some(usage) = known.get(&credential.hash.id()) {
                credential.usage = usage.clone();
            }
        }
    }

    /// The use of every accepted hash, by its id.
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

    /// Costs of the bcrypt runs that bring a failure up to `most_hashes` runs at `highest_cost`: each step of cost
    /// doubles the work, so a hash of cost c is completed by runs of cost c, c + 1, … below the highest.
    fn padding(&self, credentials: &[Credential]) -> Vec<u32> {
        let completions = credentials
            .iter()
            .flat_map(|credential| credential.hash.cost()..self.highest_cost);
        let missing = self.most_hashes.saturating_sub(credentials.len());
        completions
            .chain(std::iter::repeat_n(self.highest_cost, missing))
            .collect()
    }

    /// The credential that was shown. Blocks for a long time.
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
    /// The system has no randomness.
    pub(crate) fn new() -> io::Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut_slice())
            .map_err(|error| io::Error::other(format!("no randomness from the system: {error}")))?;
        Ok(Self {
            key,
            remembered: Arc::default(),
            lane: Arc::new(Semaphore::new(1)),
            queue: Arc::default(),
            hashing: Hashing::default(),
        })
    }

    /// Judges the `Authorization` header of a request from `peer`.
    pub(crate) async fn check(
        &self,
        users: &Arc<Users>,
        header: Option<&HeaderValue>,
        peer: IpAddr,
    ) -> Verdict {
        let Some(header) = header else {
            return Verdict::Missing;
        };
        let Some(shown) = Shown::read(header) else {
            return Verdict::Refused;
        };
        if let Some(credential) = self.recognise(users, &shown) {
            credential.usage.succeeded(unix_now());
            return Verdict::Accepted;
        }
        let Some(place) = Place::take(&self.queue, peer) else {
            return Verdict::Busy;
        };
        let Ok(turn) = self.lane.clone().acquire_owned().await else {
            return Verdict::Busy;
        };
        // Whoever waited may have been waiting for the same password.
        if let Some(credential) = self.recognise(users, &shown) {
            credential.usage.succeeded(unix_now());
            return Verdict::Accepted;
        }
        let (users, key, remembered) = (users.clone(), self.key.clone(), self.remembered.clone());
        let check = self.hashing.run(move || {
            // Both are given back when the work is done, even if the client has long gone.
            let _held = (place, turn);
            let matched = users.verify(&shown);
            if let Some(credential) = matched {
                remember(&remembered, tag(&key, &credential.hash, &shown));
                credential.usage.succeeded(unix_now());
            }
            matched.is_some()
        });
        match check.await {
            Some(true) => Verdict::Accepted,
            Some(false) => Verdict::Refused,
            // Nobody has judged it.
            None => Verdict::Busy,
        }
    }

    fn recognise<'a>(&self, users: &'a Users, shown: &Shown) -> Option<&'a Credential> {
        users.credentials(&shown.user).iter().find(|credential| {
            let tag = tag(&self.key, &credential.hash, shown);
            self.remembered
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(&tag)
        })
    }
}

/// What a request shows of itself.
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

/// A keyed hash over all that made a check succeed: a changed hash forgets by itself. User names cannot contain a colon,
/// and hashes have one length, so no two checks share an input.
fn tag(key: &[u8; 32], hash: &BcryptHash, shown: &Shown) -> [u8; 32] {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    mac.update(hash.as_str().as_bytes());
    mac.update(shown.user.as_bytes());
    mac.update(b":");
    mac.update(&shown.password);
    mac.finalize().into_bytes().into()
}

fn remember(remembered: &Mutex<HashSet<[u8; 32]>>, tag: [u8; 32]) {
    let mut remembered = remembered.lock().unwrap_or_else(PoisonError::into_inner);
    if remembered.len() >= MAX_REMEMBERED {
        remembered.clear();
    }
    remembered.insert(tag);
}

/// A place in the queue, given back when dropped.
struct Place {
    queue: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Place {
    fn take(queue: &Arc<Mutex<HashMap<IpAddr, usize>>>, address: IpAddr) -> Option<Self> {
        let mut waiting = queue.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = waiting.values().sum();
        let own = waiting.get(&address).copied().unwrap_or(0);
        if total >= MAX_WAITING || own >= MAX_WAITING_PER_ADDRESS {
            return None;
        }
        waiting.insert(address, own + 1);
        Some(Self {
            queue: queue.clone(),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = waiting.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                waiting.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

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

    fn peer(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
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
        assert_eq!(work("alice"), 2 << 6);
        assert_eq!(work("bob"), 2 << 6);
        assert_eq!(work("nobody"), 2 << 6);
    }

    #[test]
    fn decoys_do_the_work_of_a_hash() {
        let users = users();
        assert!(!bcrypt::verify("x", &users.decoys[4]).unwrap());
    }

    #[tokio::test]
    async fn each_hash_of_a_user_opens_and_nothing_else_does() {
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
                    authenticator.check(&users, header.as_ref(), peer(1)).await,
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
            authenticator
                .check(&users, Some(&basic(text)), peer(1))
                .await;
        }
        assert_eq!(authenticator.remembered.lock().unwrap().len(), 1);
        let shown = Shown::read(&basic("bob:secret")).unwrap();
        assert!(authenticator.recognise(&users, &shown).is_some());
        let changed = BTreeMap::from([("bob".to_owned(), hash("other", 4).into())]);
        let changed = Users::new(&changed).unwrap();
        assert!(authenticator.recognise(&changed, &shown).is_none());
    }

    #[tokio::test]
    async fn each_use_is_known_by_its_hash_until_the_hash_is_no_longer_accepted() {
        let (authenticator, before) = (Authenticator::new().unwrap(), users());
        for text in ["alice:old", "alice:old", "alice:wrong", "bob:old"] {
            authenticator
                .check(&before, Some(&basic(text)), peer(1))
                .await;
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
    async fn a_known_password_passes_while_the_queue_is_full() {
        let (authenticator, users) = (Authenticator::new().unwrap(), users());
        assert_eq!(
            authenticator
                .check(&users, Some(&basic("bob:secret")), peer(1))
                .await,
            Verdict::Accepted
        );
        let flood: Vec<_> = (0..MAX_WAITING)
            .filter_map(|n| Place::take(&authenticator.queue, peer((n % 5) as u8)))
            .collect();
        assert_eq!(flood.len(), MAX_WAITING);
        assert_eq!(
            authenticator
                .check(&users, Some(&basic("bob:wrong")), peer(9))
                .await,
            Verdict::Busy
        );
        assert_eq!(
            authenticator
                .check(&users, Some(&basic("bob:secret")), peer(9))
                .await,
            Verdict::Accepted
        );
        drop(flood);
        assert!(authenticator.queue.lock().unwrap().is_empty());
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

    #[test]
    fn one_address_has_its_share_and_no_more() {
        let queue = Arc::default();
        let places: Vec<_> = (0..MAX_WAITING)
            .map_while(|_| Place::take(&queue, peer(1)))
            .collect();
        assert_eq!(places.len(), MAX_WAITING_PER_ADDRESS);
        assert!(Place::take(&queue, peer(2)).is_some());
    }
}

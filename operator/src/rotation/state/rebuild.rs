//! Rebuilds the state from the published objects if its Secret was deleted while the operator was down, or an older one was
//! restored from a backup. Pure.
//!
//! The credentials of scrapers and exporters keep working, because the published objects contain them. Only the keys of the
//! CAs are lost, so that the next CA is prepared at once (without a cross certificate), and the texts of passwords that are
//! not published. With another issuer there is no key to lose.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use secure_exporter_web_config::{BcryptHash, UserHashes, WebConfig};

use crate::{
    rotation::{
        situation::next,
        state::{
            Authority, AuthorityStage, Client, Leaf, Password, PasswordStage, Progress, State,
            published::Published,
        },
    },
    spec::ValidSpec,
    supplied::credentials::Users,
};
use secure_exporter_pki::{
    inspect::{check_key_matches, inspect, verify, verify_client},
    issue::authority_generation,
    password,
    pem::single_certificates,
    secret_text::SecretText,
};

/// Returns the state to continue from, and whether it was rebuilt. A state that is missing, or older than what is published,
/// is rebuilt, because it would revoke the credentials of scrapers and exporters. `remembered` is the state that this process
/// last knew, and `handled` are the requests that are known to be handled, whatever an older state contains.
pub fn current_state(
    stored: Option<&State>,
    remembered: Option<&State>,
    published: &Published<'_>,
    handled: &BTreeMap<String, String>,
    spec: &ValidSpec,
    now: Timestamp,
) -> (Option<State>, bool) {
    if let Some(state) = newest_state(stored, remembered, published) {
        return (Some(state.clone()), false);
    }
    let older = stored.or(remembered);
    let newest = newest_generation(remembered, published);
    match rebuild(published, older, spec, newest.saturating_add(1), now) {
        Some(mut state) => {
            state.handled.extend(handled.clone());
            (Some(state), true)
        }
        // An older state is better than none. It is never published over newer objects.
        None => (older.cloned(), false),
    }
}

/// Returns the known state that is not older than what is published. `None` if the state must be rebuilt.
pub(crate) fn newest_state<'a>(
    stored: Option<&'a State>,
    remembered: Option<&'a State>,
    published: &Published<'_>,
) -> Option<&'a State> {
    let newest = newest_generation(remembered, published);
    let is_current = |state: &&State| state.generation >= newest;
    stored.filter(is_current).or(remembered.filter(is_current))
}

fn newest_generation(remembered: Option<&State>, published: &Published<'_>) -> u64 {
    let remembered = remembered.map_or(0, |state| state.generation);
    published.generation().max(remembered)
}

/// Rebuilds the state that `published` was rendered from. What is not published is taken from `older`, an earlier state, if
/// that has it. `None` if too little is left: then everything starts from the beginning.
fn rebuild(
    published: &Published<'_>,
    older: Option<&State>,
    spec: &ValidSpec,
    generation: u64,
    now: Timestamp,
) -> Option<State> {
    let authorities = authorities(published, older)?;
    let (leaf, cross) = leaf(published, &authorities, spec, now)?;
    let client = if spec.methods.ask_certificate() {
        Some(client(published, older, &authorities, spec, now)?)
    } else {
        None
    };
    let (passwords, users) = if spec.methods.ask_password() {
        let config = WebConfig::parse(text(published.server?, "web-config.yml")?).ok()?;
        let mut users = config.basic_auth_users;
        let hashes = users.remove(&spec.username)?;
        (passwords(&hashes, published, older, spec, now), users)
    } else {
        (BTreeMap::new(), Users::new())
    };
    let mut state = State {
        generation,
        active_authority: leaf.authority_generation,
        authority_progress: (authorities.len() > 1)
            .then(|| Progress::begin(AuthorityStage::Rebuilt, now)),
        authorities,
        leaf,
        client,
        active_password: passwords.keys().copied().max().unwrap_or_default(),
        password_progress: (passwords.len() > 1)
            .then(|| Progress::begin(PasswordStage::ClientSwitched, now)),
        passwords,
        users,
        accepted: Some(spec.clone()),
        handled: older.map(|older| older.handled.clone()).unwrap_or_default(),
    };
    if let (Some(cross), Some(active)) = (cross, state.authorities.get_mut(&state.active_authority))
    {
        active.cross_pem = Some(cross);
    }
    Some(state)
}

fn authorities(
    published: &Published<'_>,
    older: Option<&State>,
) -> Option<BTreeMap<u64, Authority>> {
    let bundle = published
        .scrape
        .and_then(|secret| text(secret, "ca.crt"))
        .or_else(|| Some(published.bundle?.data.as_ref()?.get("ca.crt")?.as_str()))?;
    let mut unknown = single_certificates(bundle);
    let mut authorities = BTreeMap::new();
    for (generation, known) in older.into_iter().flat_map(|older| &older.authorities) {
        let parts = single_certificates(&known.certificate_pem);
        if parts.iter().all(|part| bundle.contains(part.as_str())) {
            unknown.retain(|certificate| !parts.contains(certificate));
            authorities.insert(*generation, known.clone());
        }
    }
    // Each CA of another issuer becomes a separate generation, because it is unknown which belong to the same bundle.
    for certificate_pem in unknown {
        let subject = inspect(&certificate_pem).ok()?.subject;
        let generation = authority_generation(&subject)
            .filter(|generation| !authorities.contains_key(generation))
            .unwrap_or_else(|| next(authorities.keys()));
        let authority = Authority {
            certificate_pem,
            key_pem: None,
            cross_pem: None,
        };
        authorities.insert(generation, authority);
    }
    (!authorities.is_empty()).then_some(authorities)
}

/// Returns the serving certificate, and the cross certificate after it.
fn leaf(
    published: &Published<'_>,
    authorities: &BTreeMap<u64, Authority>,
    spec: &ValidSpec,
    now: Timestamp,
) -> Option<(Leaf, Option<String>)> {
    let server = published.server?;
    let chain = text(server, "tls.crt")?;
    let key_pem = SecretText::new(text(server, "tls.key")?.to_owned());
    check_key_matches(chain, &key_pem).ok()?;
    let mut certificates = single_certificates(chain).into_iter();
    let alone = certificates.next()?;
    // An expired certificate still belongs to its CA.
    let then = now.min(inspect(&alone).ok()?.not_after);
    let verified_by = |presented: &str, authority: &Authority| {
        let bundle = &authority.certificate_pem;
        verify(presented, bundle, &spec.server_name, then).is_ok()
    };
    let ours = authorities
        .iter()
        .rev()
        .find(|(_, authority)| verified_by(&alone, authority));
    // For another issuer, whose chain may be longer, the oldest CA: scrapers may not have the newest yet.
    let of_issuer = || {
        let mut oldest_first = authorities.iter();
        oldest_first.find(|(_, authority)| verified_by(chain, authority))
    };
    let found = if spec.issuer.is_managed() {
        ours.or_else(of_issuer)
    } else {
        of_issuer()
    };
    let authority_generation = *found?.0;
    let leaf = Leaf {
        certificate_pem: chain.to_owned(),
        key_pem,
        authority_generation,
        parameters: spec.certificate.parameters.fingerprint(),
    };
    let has_cross = spec.issuer.is_managed() && ours.is_some();
    Some((leaf, certificates.next().filter(|_| has_cross)))
}

/// Returns the client certificate. If it is no longer published, an earlier one that exporters still accept is sufficient.
fn client(
    published: &Published<'_>,
    older: Option<&State>,
    authorities: &BTreeMap<u64, Authority>,
    spec: &ValidSpec,
    now: Timestamp,
) -> Option<Client> {
    let read = |secret: &Secret| {
        let key_pem = SecretText::new(text(secret, "client.key")?.to_owned());
        Some((text(secret, "client.crt")?.to_owned(), key_pem))
    };
    let known = older.and_then(|older| older.client.as_ref());
    let (certificate_pem, key_pem) = published.scrape.and_then(read).or_else(|| {
        let known = known?;
        Some((known.certificate_pem.clone(), known.key_pem.clone()))
    })?;
    check_key_matches(&certificate_pem, &key_pem).ok()?;
    let alone = single_certificates(&certificate_pem).into_iter().next()?;
    let then = now.min(inspect(&alone).ok()?.not_after);
    let authority_generation = authorities
        .iter()
        .rev()
        .find(|(_, authority)| verify_client(&alone, &authority.certificate_pem, then).is_ok())
        .map(|(generation, _)| *generation)?;
    Some(Client {
        certificate_pem,
        key_pem,
        authority_generation,
        parameters: spec.client_parameters().fingerprint(),
    })
}

/// Returns the accepted hashes as passwords, the published one as the newest.
fn passwords(
    hashes: &UserHashes,
    published: &Published<'_>,
    older: Option<&State>,
    spec: &ValidSpec,
    now: Timestamp,
) -> BTreeMap<u64, Password> {
    let published_text = published
        .scrape
        .and_then(|secret| text(secret, "password"))
        .map(|text| SecretText::new(text.to_owned()));
    let of_hash = |hash| of_hash(hash, published_text.as_ref(), older, spec, now);
    let mut found: Vec<Password> = hashes.as_slice().iter().map(of_hash).collect();
    // The published password stays active; next comes the previously published one.
    let before = older.and_then(|older| older.passwords.get(&older.active_password));
    found.sort_by_key(|password| {
        let is_published = published_text.is_some() && password.password == published_text;
        let was_published = before.is_some_and(|before| before.hash == password.hash);
        (is_published, was_published, password.password.is_some())
    });
    let first = older.map_or(0, |older| older.active_password);
    (first + 1..).zip(found).collect()
}

fn of_hash(
    hash: &BcryptHash,
    published_text: Option<&SecretText>,
    older: Option<&State>,
    spec: &ValidSpec,
    now: Timestamp,
) -> Password {
    let stored = SecretText::new(hash.as_str().to_owned());
    let is_its = |text: &&SecretText| password::verify(text, &stored).unwrap_or(false);
    let known = older
        .into_iter()
        .flat_map(|older| older.passwords.values())
        .find(|known| known.hash == stored);
    Password {
        password: published_text
            .filter(is_its)
            .cloned()
            .or_else(|| known?.password.clone()),
        cost: hash.cost(),
        created: known.map_or(now, |known| known.created),
        own: known.map_or(spec.password_secret.is_some(), |known| known.own),
        hash: stored,
    }
}

fn text<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    let ByteString(bytes) = secret.data.as_ref()?.get(key)?;
    std::str::from_utf8(bytes).ok()
}

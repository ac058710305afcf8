//! What users no longer trust. Scrapes may fail until exporter and scraper have what replaces it, and nothing that is
//! published may contain it any more.

use std::collections::BTreeSet;

use secure_exporter_operator::rotation::{
    recall::Known,
    state::State,
    step::{AuthorityStep, PasswordStep, Step},
};

use super::{
    Node, Scraper, World,
    published::{Given, Served, authorities},
};

/// What is no longer trusted.
#[derive(Default)]
pub struct Distrusted {
    /// The generation of the state that has replaced it.
    since: u64,
    authorities: BTreeSet<u64>,
    hashes: BTreeSet<String>,
}

impl Distrusted {
    /// What these steps end the trust in; `None` if nothing.
    pub fn by(steps: &[Step], known: Option<&State>) -> Option<Self> {
        let known = known?;
        let replaces_authority = steps
            .iter()
            .any(|step| matches!(step, Step::Authority(AuthorityStep::Replace { .. })));
        let replaces_password = steps
            .iter()
            .any(|step| matches!(step, Step::Password(PasswordStep::Replace { .. })));
        if !replaces_authority && !replaces_password {
            return None;
        }
        let all = known.authorities.values();
        let numbers = all.flat_map(|authority| authorities(&authority.certificate_pem));
        let hashes = known.passwords.values();
        let hashes = hashes.map(|password| password.hash.expose().to_owned());
        Some(Self {
            since: 0,
            authorities: numbers.filter(|_| replaces_authority).collect(),
            hashes: hashes.filter(|_| replaces_password).collect(),
        })
    }

    pub fn extend(&mut self, more: Self, generation: u64) {
        self.since = generation;
        self.authorities.extend(more.authorities);
        self.hashes.extend(more.hashes);
    }

    /// # Errors
    /// Exporters would serve or accept what is no longer trusted.
    pub fn check_served(&self, served: &Served) -> Result<(), String> {
        let (by, cross) = (served.chain.authority, served.chain.cross);
        self.check(&BTreeSet::from([by]), "served")?;
        self.check(&cross.into_iter().map(|(by, _)| by).collect(), "served")?;
        if let Some(clients) = &served.clients {
            self.check(clients, "trusted by exporters")?;
        }
        if served.hashes.is_disjoint(&self.hashes) {
            return Ok(());
        }
        Err("a password that has leaked is still accepted".to_owned())
    }

    /// # Errors
    /// Scrapers would trust what is no longer trusted.
    pub fn check_given(&self, given: &Given) -> Result<(), String> {
        self.check(&given.trusted, "trusted by scrapers")
    }

    fn check(&self, numbers: &BTreeSet<u64>, how: &str) -> Result<(), String> {
        if numbers.is_disjoint(&self.authorities) {
            return Ok(());
        }
        Err(format!("a CA that has leaked is still {how}: {numbers:?}"))
    }

    /// Whether a scrape may fail, because one of the two does not have the new credentials yet.
    pub(super) fn excuses(&self, node: &Node, scraper: &Scraper) -> bool {
        node.generation < self.since || scraper.generation < self.since
    }
}

impl World {
    pub(super) fn end_trust(&mut self, what: u8) {
        self.asked += 1;
        let word = ["ca", "all"][usize::from(what) % 2];
        self.distrust(&format!("{word}:{}", self.asked));
    }

    /// A state that was lost with all that it had not published is as if it had never been.
    pub(super) fn forget_unpublished(&mut self, known: &Known) {
        let is_older = |state: &State| state.generation < self.distrusted.since;
        let is_lost = known.is_rebuilt || known.state.as_ref().is_some_and(is_older);
        if is_lost && self.store.server_generation() < self.distrusted.since {
            self.distrusted = Distrusted::default();
        }
    }
}

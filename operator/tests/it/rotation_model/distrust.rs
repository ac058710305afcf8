//! What users no longer trust. Scrapes may fail until exporter and scraper have what replaces it, and nothing that is
//! published may contain it any more.

use std::collections::BTreeSet;

use secure_exporter_operator::{
    rotation::{
        annotations::Subject,
        recall::Known,
        state::State,
        step::{AuthorityStep, PasswordStep, RequestStep, Step},
    },
    supplied::credentials::UserSecret,
};
use secure_exporter_pki::secret_text::SecretText;

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

/// What a user has said has leaked.
#[derive(Default)]
pub struct Leaked {
    /// The value of the annotation.
    token: String,
    authorities: BTreeSet<u64>,
    texts: Vec<SecretText>,
}

impl Leaked {
    /// `is_signer`: whether the operator is to sign, so that all CAs are its own.
    fn of(token: String, state: &State, is_signer: bool) -> Self {
        let ours = state.authorities.values();
        let ours = ours.filter(|it| is_signer || it.key_pem.is_some());
        let passwords = state.passwords.values();
        Self {
            token,
            authorities: ours
                .flat_map(|it| authorities(&it.certificate_pem))
                .collect(),
            texts: passwords.filter_map(|it| it.password.clone()).collect(),
        }
    }
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
        let ends_overlap = steps.iter().any(is_of_distrust)
            && steps.contains(&Step::Authority(AuthorityStep::DropOthers));
        if !replaces_authority && !replaces_password && !ends_overlap {
            return None;
        }
        let all = known.authorities.iter().filter(|(generation, _)| {
            replaces_authority || ends_overlap && **generation != known.active_authority
        });
        let numbers = all.flat_map(|(_, authority)| authorities(&authority.certificate_pem));
        let hashes = known.passwords.values();
        let hashes = hashes.map(|password| password.hash.expose().to_owned());
        Some(Self {
            since: 0,
            authorities: numbers.collect(),
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

fn is_of_distrust(step: &Step) -> bool {
    let (Step::Request(RequestStep::Remember { subject, .. })
    | Step::Request(RequestStep::Decline { subject, .. })) = step
    else {
        return false;
    };
    matches!(subject, Subject::DistrustAuthority | Subject::DistrustAll)
}

impl World {
    pub(super) fn end_trust(&mut self, what: u8) {
        self.asked += 1;
        let word = ["ca", "all"][usize::from(what) % 2];
        let token = format!("{word}:{}", self.asked);
        self.distrust(&token);
        let is_signer = self.spec.issuer.is_managed();
        let leaked = self.store.state();
        self.leaked = leaked.map_or_else(Leaked::default, |it| Leaked::of(token, it, is_signer));
    }

    /// What has leaked is neither served nor accepted once the status says that this was handled. Only the user's own Secret may
    /// still have the password, as the operator has just read it: nobody but the user can choose another one.
    ///
    /// # Errors
    /// It is.
    pub(super) fn check_leaked(&mut self, own: &UserSecret<SecretText>) -> Result<(), String> {
        let leaked = &mut self.leaked;
        let is_handled = |subject: Subject| self.handled.get(subject.name()) == Some(&leaked.token);
        let handled_all = is_handled(Subject::DistrustAll);
        let handled_authority = handled_all || is_handled(Subject::DistrustAuthority);
        if let UserSecret::Usable(own) = own
            && handled_all
        {
            leaked.texts.retain(|text| text != own);
        }
        let (Some(served), Some(given)) = (self.store.last_served(), self.store.given()) else {
            return Ok(());
        };
        let mut trusted = given.trusted;
        trusted.insert(served.chain.authority);
        trusted.extend(served.clients.iter().flatten());
        if handled_authority && !trusted.is_disjoint(&leaked.authorities) {
            return Err("a leaked CA is trusted, and the request counts as handled".into());
        }
        let is_accepted = |text: &SecretText| served.hash_of(&Some(text.clone())).is_some();
        if handled_all && leaked.texts.iter().any(is_accepted) {
            return Err("a leaked password is accepted, and the request counts as handled".into());
        }
        Ok(())
    }

    /// Whether the trust has ended in all that a user wants to have ended, as far as his own Secret allows.
    pub(super) fn has_ended_trust(&self, state: &State) -> bool {
        let pending = |subject| self.requests.is_pending(subject, &state.handled);
        let waits_for_user = match self.supplied_credentials(&self.spec).password {
            UserSecret::NotConfigured => false,
            UserSecret::Usable(own) => {
                let mut accepted = state.passwords.values();
                accepted.all(|it| it.password.as_ref() == Some(&own))
            }
            UserSecret::Invalid(_) | UserSecret::Unreadable => true,
        };
        !pending(Subject::DistrustAuthority) && (!pending(Subject::DistrustAll) || waits_for_user)
    }

    /// A state that was lost with all that it had not published is as if it had never been.
    pub(super) fn forget_unpublished(&mut self, known: &Known) {
        let is_older = |state: &State| state.generation < self.distrusted.since;
        // What the pass sees may be old, and what is stored is not.
        let is_lost = (known.is_rebuilt || known.state.as_ref().is_some_and(is_older))
            && self.store.state().is_none_or(is_older);
        if is_lost && self.store.server_generation() < self.distrusted.since {
            self.distrusted = Distrusted::default();
        }
        if known.state.is_none() && self.store.scrape_generation() < self.distrusted.since {
            // Only one of the two Secrets was published, so that nothing can be rebuilt, and everything starts from the beginning.
            self.distrusted = Distrusted {
                since: known.published_generation.saturating_add(1),
                ..Distrusted::default()
            };
        }
        let is_handled = self.handled.values().any(|it| *it == self.leaked.token);
        match &known.state {
            Some(state) if is_lost && !is_handled => {
                let token = std::mem::take(&mut self.leaked.token);
                let is_signer = self.spec.issuer.is_managed();
                self.leaked = Leaked::of(token, state, is_signer);
            }
            Some(_) => {}
            None => self.leaked = Leaked::default(),
        }
    }
}

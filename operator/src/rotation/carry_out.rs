//! Makes what was decided: the only part of the rotation that draws random numbers. Slow (keys and bcrypt): it is called
//! outside the async workers.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    names::Owner,
    rotation::{
        state::{
            Authority, AuthorityStage, Client, Leaf, Password, PasswordStage, Progress, State,
        },
        step::{Because, Step},
    },
    spec::ValidSpec,
    supplied::credentials::Users,
};
use secure_exporter_pki::{
    IssueError, Serial,
    inspect::inspect,
    issue::{cross_sign, issue_authority, issue_client, issue_leaf},
    password::{self, PasswordError},
    secret_text::SecretText,
};

/// Why the next state could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// A certificate could not be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// A password could not be made.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The steps do not lead to a whole state.
    #[error("the state would have no {0}")]
    Incomplete(&'static str),
}

/// The state after `steps`. The generation rises by one where anything that is published has changed.
///
/// # Errors
/// As [`RotationError`] says; the state that was given is not touched.
pub fn carry_out(
    steps: &[Step],
    state: Option<State>,
    spec: &ValidSpec,
    owner: &Owner,
    now: Timestamp,
) -> Result<State, RotationError> {
    let mut draft = Draft::from(state);
    for step in steps {
        draft.take(step, spec, owner, now)?;
    }
    draft.finish(steps.iter().any(Step::raises_generation))
}

/// A state of which parts may still be missing.
#[derive(Default)]
struct Draft {
    generation: u64,
    authorities: BTreeMap<u64, Authority>,
    active_authority: u64,
    authority_progress: Option<Progress<AuthorityStage>>,
    leaf: Option<Leaf>,
    client: Option<Client>,
    passwords: BTreeMap<u64, Password>,
    active_password: u64,
    password_progress: Option<Progress<PasswordStage>>,
    users: Users,
    accepted: Option<ValidSpec>,
    handled: BTreeMap<String, String>,
}

impl Draft {
    fn from(state: Option<State>) -> Self {
        state.map_or_else(Self::default, |state| Self {
            generation: state.generation,
            authorities: state.authorities,
            active_authority: state.active_authority,
            authority_progress: state.authority_progress,
            leaf: Some(state.leaf),
            client: state.client,
            passwords: state.passwords,
            active_password: state.active_password,
            password_progress: state.password_progress,
            users: state.users,
            accepted: state.accepted,
            handled: state.handled,
        })
    }

    fn take(
        &mut self,
        step: &Step,
        spec: &ValidSpec,
        owner: &Owner,
        now: Timestamp,
    ) -> Result<(), RotationError> {
        match step {
            Step::ReplaceAuthority { generation } => {
                let authority = new_authority(*generation, None, owner, now)?;
                self.authorities = BTreeMap::from([(*generation, authority)]);
                self.active_authority = *generation;
                self.authority_progress = None;
            }
            Step::PrepareAuthority { generation } => {
                let active = self.authorities.get(&self.active_authority);
                let authority = new_authority(*generation, active, owner, now)?;
                self.prepare(*generation, authority, now);
            }
            Step::ReplaceBundle {
                generation,
                bundle_pem,
            } => {
                self.authorities = BTreeMap::from([(*generation, bundle(bundle_pem))]);
                self.active_authority = *generation;
                self.authority_progress = None;
            }
            Step::PrepareBundle {
                generation,
                bundle_pem,
            } => {
                self.prepare(*generation, bundle(bundle_pem), now);
            }
            Step::AbandonAuthority => {
                self.abandon();
                // Others that are to be dropped wait for it anew, because scrapers and exporters were told of a change.
                self.authority_progress = (self.authorities.len() > 1)
                    .then(|| Progress::begin(AuthorityStage::LeafSwitched, now));
            }
            Step::RecallAuthority { generation, again } => {
                let recalled = self
                    .authorities
                    .remove(generation)
                    .ok_or(RotationError::Incomplete("authority to go back to"))?;
                self.authorities.insert(*again, recalled);
            }
            Step::SwitchAuthority => {
                self.active_authority = newest(&self.authorities)?;
                self.authority_progress = Some(Progress::begin(AuthorityStage::LeafSwitched, now));
            }
            Step::DropAuthorities => {
                let active = self.active_authority;
                self.authorities
                    .retain(|generation, _| *generation == active);
                self.authority_progress = None;
            }
            Step::IssueLeaf { .. } => self.leaf = Some(self.new_leaf(spec, now)?),
            Step::ServeSupplied { leaf } => self.serve(leaf, now),
            Step::SwitchClient => {
                self.authority_progress =
                    self.authority_progress
                        .map(|progress| match progress.stage {
                            // Its own switch starts the overlap anew.
                            AuthorityStage::TrustPublished => progress,
                            AuthorityStage::Rebuilt => Progress::begin(progress.stage, now),
                            _ => Progress::begin(AuthorityStage::ClientSwitched, now),
                        });
            }
            Step::IssueClient { because } => {
                self.client = Some(self.new_client(spec, *because, now)?);
            }
            Step::ReplacePassword { generation, own } => {
                let password = new_password(own.as_ref(), spec, now)?;
                self.passwords = BTreeMap::from([(*generation, password)]);
                self.active_password = *generation;
                self.password_progress = None;
            }
            Step::PreparePassword { generation, own } => {
                let password = new_password(own.as_ref(), spec, now)?;
                self.passwords.insert(*generation, password);
                self.password_progress = Some(Progress::begin(PasswordStage::Accepting, now));
            }
            Step::KeepPassword => {}
            Step::AcceptSpec => self.accepted = Some(spec.clone()),
            Step::ReplaceUsers { users } => self.users = users.clone(),
            Step::SwitchPassword => {
                self.active_password = newest(&self.passwords)?;
                self.password_progress = Some(Progress::begin(PasswordStage::ClientSwitched, now));
            }
            Step::DropPasswords => {
                let active = self.active_password;
                self.passwords.retain(|generation, _| *generation == active);
                self.password_progress = None;
            }
            Step::HashAgain => {
                let active = self
                    .passwords
                    .get_mut(&self.active_password)
                    .ok_or(RotationError::Incomplete("active password"))?;
                let text = active
                    .password
                    .as_ref()
                    .ok_or(RotationError::Incomplete("text of the active password"))?;
                active.hash = password::hash(text, spec.bcrypt_cost)?;
                active.cost = spec.bcrypt_cost;
            }
            Step::ConfirmAuthority => confirm(&mut self.authority_progress, now),
            Step::ConfirmPassword => confirm(&mut self.password_progress, now),
            Step::RestartTimers => {
                restart(&mut self.authority_progress, now);
                restart(&mut self.password_progress, now);
            }
            Step::AwaitPublication => {
                unconfirm(&mut self.authority_progress);
                unconfirm(&mut self.password_progress);
            }
            Step::Remember { subject, token } | Step::Decline { subject, token } => {
                self.handled
                    .insert(subject.name().to_owned(), token.clone());
            }
            Step::Forget { subject } => {
                self.handled.remove(subject.name());
            }
        }
        Ok(())
    }

    fn prepare(&mut self, generation: u64, authority: Authority, now: Timestamp) {
        self.abandon();
        self.authorities.insert(generation, authority);
        // What is not known of the others is not known any better now.
        let stage = match self.authority_progress {
            Some(progress) if progress.stage == AuthorityStage::Rebuilt => AuthorityStage::Rebuilt,
            _ => AuthorityStage::TrustPublished,
        };
        self.authority_progress = Some(Progress::begin(stage, now));
    }

    /// Leaves out the newest authority, if scrapers are only being told of it: nothing was ever served by it.
    fn abandon(&mut self) {
        let waits = self
            .authority_progress
            .is_some_and(|progress| progress.stage == AuthorityStage::TrustPublished);
        if waits && self.authorities.len() > 1 {
            self.authorities.pop_last();
        }
    }

    fn serve(&mut self, leaf: &Leaf, now: Timestamp) {
        let waits = self
            .authority_progress
            .is_some_and(|progress| progress.stage == AuthorityStage::TrustPublished);
        if leaf.authority_generation != self.active_authority && !waits {
            // What is left now may be served for as long as exporters do not know of it.
            self.authority_progress = Some(Progress::begin(AuthorityStage::LeafSwitched, now));
        }
        self.active_authority = leaf.authority_generation;
        self.leaf = Some(leaf.clone());
    }

    fn new_leaf(&self, spec: &ValidSpec, now: Timestamp) -> Result<Leaf, RotationError> {
        let (authority, key) = self.signer()?;
        let parameters = &spec.certificate.parameters;
        let pair = issue_leaf(
            parameters,
            &authority.certificate_pem,
            key,
            now,
            Serial::random()?,
        )?;
        Ok(Leaf {
            certificate_pem: chain(pair.certificate_pem, authority, now)?,
            key_pem: pair.key_pem,
            authority_generation: self.active_authority,
            parameters: parameters.fingerprint(),
        })
    }

    fn new_client(
        &self,
        spec: &ValidSpec,
        because: Because,
        now: Timestamp,
    ) -> Result<Client, RotationError> {
        let (authority, key) = self.signer()?;
        let parameters = spec.client_parameters();
        // What replaces another authority, or another kind of key, is a new pair; a renewal is not.
        let keeps_key = matches!(because, Because::Due | Because::Requested);
        let kept = self.client.as_ref().filter(|_| keeps_key);
        let pair = issue_client(
            &parameters,
            kept.map(|client| &client.key_pem),
            &authority.certificate_pem,
            key,
            now,
            Serial::random()?,
        )?;
        Ok(Client {
            certificate_pem: chain(pair.certificate_pem, authority, now)?,
            key_pem: pair.key_pem,
            authority_generation: self.active_authority,
            parameters: parameters.fingerprint(),
        })
    }

    fn signer(&self) -> Result<(&Authority, &SecretText), RotationError> {
        let authority = self
            .authorities
            .get(&self.active_authority)
            .ok_or(RotationError::Incomplete("active authority"))?;
        let key = authority
            .key_pem
            .as_ref()
            .ok_or(RotationError::Incomplete("key of the active authority"))?;
        Ok((authority, key))
    }

    fn finish(self, changed: bool) -> Result<State, RotationError> {
        Ok(State {
            generation: self.generation.saturating_add(u64::from(changed)),
            authorities: self.authorities,
            active_authority: self.active_authority,
            authority_progress: self.authority_progress,
            leaf: self.leaf.ok_or(RotationError::Incomplete("leaf"))?,
            client: self.client,
            passwords: self.passwords,
            active_password: self.active_password,
            password_progress: self.password_progress,
            users: self.users,
            accepted: self.accepted,
            handled: self.handled,
        })
    }
}

/// A certificate, and the cross certificate of its authority behind it for as long as that is valid.
fn chain(
    mut certificate_pem: String,
    authority: &Authority,
    now: Timestamp,
) -> Result<String, IssueError> {
    if let Some(cross) = &authority.cross_pem
        && inspect(cross).map_err(IssueError::Authority)?.not_after > now
    {
        certificate_pem.push_str(cross);
    }
    Ok(certificate_pem)
}

/// A new authority, and its key certified by the one before it where that can still sign.
fn new_authority(
    generation: u64,
    before: Option<&Authority>,
    owner: &Owner,
    now: Timestamp,
) -> Result<Authority, RotationError> {
    let name = format!("{}.{}", owner.name, owner.namespace);
    let pair = issue_authority(&name, generation, now, Serial::random()?)?;
    let cross_pem = before
        .and_then(|before| Some((&before.certificate_pem, before.key_pem.as_ref()?)))
        .map(|(certificate, key)| {
            let serial = Serial::random()?;
            cross_sign(
                &name,
                generation,
                &pair.key_pem,
                certificate,
                key,
                now,
                serial,
            )
        })
        .transpose()?;
    Ok(Authority {
        certificate_pem: pair.certificate_pem,
        key_pem: Some(pair.key_pem),
        cross_pem,
    })
}

/// The authorities of somebody else, whose keys nobody here has.
fn bundle(bundle_pem: &str) -> Authority {
    Authority {
        certificate_pem: bundle_pem.to_owned(),
        key_pem: None,
        cross_pem: None,
    }
}

fn new_password(
    own: Option<&SecretText>,
    spec: &ValidSpec,
    now: Timestamp,
) -> Result<Password, RotationError> {
    let password = own.cloned().map_or_else(password::generate, Ok)?;
    Ok(Password {
        own: own.is_some(),
        hash: password::hash(&password, spec.bcrypt_cost)?,
        password: Some(password),
        cost: spec.bcrypt_cost,
        created: now,
    })
}

fn newest<V>(generations: &BTreeMap<u64, V>) -> Result<u64, RotationError> {
    generations
        .last_key_value()
        .map(|(generation, _)| *generation)
        .ok_or(RotationError::Incomplete("newest generation"))
}

fn confirm<S>(progress: &mut Option<Progress<S>>, now: Timestamp) {
    if let Some(progress) = progress {
        progress.confirmed = Some(now);
    }
}

fn restart<S>(progress: &mut Option<Progress<S>>, now: Timestamp) {
    if let Some(progress) = progress {
        progress.confirmed = progress.confirmed.map(|_| now);
    }
}

fn unconfirm<S>(progress: &mut Option<Progress<S>>) {
    if let Some(progress) = progress {
        progress.confirmed = None;
    }
}

//! Carries out the decided steps. Slow, because it generates keys and hashes.

pub mod make;

use std::collections::BTreeMap;

use jiff::Timestamp;
use secure_exporter_pki::password;

use crate::{
    names::Owner,
    rotation::{
        carry_out::make::{Maker, RotationError, bundle},
        state::{Authority, AuthorityStage, Leaf, PasswordStage, Progress, State},
        step::{AuthorityStep, ClientStep, LeafStep, PasswordStep, RequestStep, Step, TimerStep},
    },
    spec::ValidSpec,
    supplied::credentials::Users,
};

/// Returns the state after `steps`. The generation is increased by one if anything that is published changed.
///
/// # Errors
/// [`RotationError`]
pub fn carry_out(
    steps: &[Step],
    state: Option<State>,
    spec: &ValidSpec,
    owner: &Owner,
    now: Timestamp,
) -> Result<State, RotationError> {
    let maker = Maker { spec, owner, now };
    let (mut state, rest) = match state {
        Some(state) => (state, steps),
        None => found(steps, &maker)?,
    };
    for step in rest {
        state.take(step, &maker)?;
    }
    let is_raised = steps.iter().any(Step::raises_generation);
    state.generation = state.generation.saturating_add(u64::from(is_raised));
    Ok(state)
}

/// Creates the first state with a CA and a serving certificate, and returns the remaining steps: client certificate,
/// passwords and users.
fn found<'a>(steps: &'a [Step], maker: &Maker<'_>) -> Result<(State, &'a [Step]), RotationError> {
    let [Step::Authority(authority), Step::Leaf(leaf), rest @ ..] = steps else {
        return Err(RotationError::Incomplete("CA and serving certificate"));
    };
    let (generation, authority) = match authority {
        AuthorityStep::Replace { generation } => (*generation, maker.authority(*generation, None)?),
        AuthorityStep::ReplaceBundle {
            generation,
            bundle_pem,
        } => (*generation, bundle(bundle_pem)),
        _ => return Err(RotationError::Incomplete("CA")),
    };
    let leaf = match leaf {
        LeafStep::Issue { .. } => maker.leaf(&authority, generation)?,
        LeafStep::Serve { leaf } => leaf.clone(),
    };
    let state = State {
        generation: 0,
        authorities: BTreeMap::from([(generation, authority)]),
        active_authority: generation,
        authority_progress: None,
        leaf,
        client: None,
        passwords: BTreeMap::new(),
        active_password: 0,
        password_progress: None,
        users: Users::new(),
        accepted: None,
        handled: BTreeMap::new(),
    };
    Ok((state, rest))
}

impl State {
    fn take(&mut self, step: &Step, maker: &Maker<'_>) -> Result<(), RotationError> {
        match step {
            Step::Authority(step) => self.take_authority(step, maker)?,
            Step::Leaf(LeafStep::Issue { .. }) => {
                self.leaf = maker.leaf(self.signer()?, self.active_authority)?;
            }
            Step::Leaf(LeafStep::Serve { leaf }) => self.serve(leaf, maker.now),
            Step::Client(ClientStep::Switch) => self.overlap_clients(maker.now),
            Step::Client(ClientStep::Issue { because }) => {
                let (signer, generation) = (self.signer()?, self.active_authority);
                let before = self.client.as_ref();
                let client = maker.client(signer, generation, before, *because)?;
                self.client = Some(client);
            }
            Step::Password(step) => self.take_password(step, maker)?,
            Step::ReplaceUsers { users } => self.users = users.clone(),
            Step::Timers(step) => self.take_timers(*step, maker.now),
            Step::Request(step) => self.take_request(step),
            Step::AcceptSpec => self.accepted = Some(maker.spec.clone()),
            // Orders are not part of the state.
            Step::Order(_) => {}
        }
        Ok(())
    }

    fn take_authority(
        &mut self,
        step: &AuthorityStep,
        maker: &Maker<'_>,
    ) -> Result<(), RotationError> {
        match step {
            AuthorityStep::Replace { generation } => {
                let authority = maker.authority(*generation, None)?;
                self.replace(*generation, authority);
            }
            AuthorityStep::Prepare { generation } => {
                let active = self.authorities.get(&self.active_authority);
                let authority = maker.authority(*generation, active)?;
                self.prepare(*generation, authority, maker.now);
            }
            AuthorityStep::ReplaceBundle {
                generation,
                bundle_pem,
            } => self.replace(*generation, bundle(bundle_pem)),
            AuthorityStep::PrepareBundle {
                generation,
                bundle_pem,
            } => self.prepare(*generation, bundle(bundle_pem), maker.now),
            AuthorityStep::Abandon => {
                self.abandon();
                // CAs that are to be dropped wait again, because scrapers and exporters must pick up another change.
                self.authority_progress = (self.authorities.len() > 1)
                    .then(|| Progress::begin(AuthorityStage::LeafSwitched, maker.now));
            }
            AuthorityStep::Recall { generation, again } => {
                let recalled = self
                    .authorities
                    .remove(generation)
                    .ok_or(RotationError::Incomplete("CA to go back to"))?;
                self.authorities.insert(*again, recalled);
            }
            AuthorityStep::Switch => {
                self.active_authority = newest(&self.authorities)?;
                self.authority_progress =
                    Some(Progress::begin(AuthorityStage::LeafSwitched, maker.now));
            }
            AuthorityStep::DropOthers => {
                let active = self.active_authority;
                self.authorities
                    .retain(|generation, _| *generation == active);
                self.authority_progress = None;
            }
            AuthorityStep::Confirm => confirm(&mut self.authority_progress, maker.now),
        }
        Ok(())
    }

    fn take_password(
        &mut self,
        step: &PasswordStep,
        maker: &Maker<'_>,
    ) -> Result<(), RotationError> {
        match step {
            PasswordStep::Replace { generation, own } => {
                let password = maker.password(own.as_ref())?;
                self.passwords = BTreeMap::from([(*generation, password)]);
                self.active_password = *generation;
                self.password_progress = None;
            }
            PasswordStep::Prepare { generation, own } => {
                let password = maker.password(own.as_ref())?;
                self.passwords.insert(*generation, password);
                self.password_progress = Some(Progress::begin(PasswordStage::Accepting, maker.now));
            }
            PasswordStep::Keep => {}
            PasswordStep::Switch => {
                self.active_password = newest(&self.passwords)?;
                self.password_progress =
                    Some(Progress::begin(PasswordStage::ClientSwitched, maker.now));
            }
            PasswordStep::DropOthers => {
                let active = self.active_password;
                self.passwords.retain(|generation, _| *generation == active);
                self.password_progress = None;
            }
            PasswordStep::HashAgain => {
                let active = self
                    .passwords
                    .get_mut(&self.active_password)
                    .ok_or(RotationError::Incomplete("active password"))?;
                let text = active
                    .password
                    .as_ref()
                    .ok_or(RotationError::Incomplete("text of the active password"))?;
                active.hash = password::hash(text, maker.spec.bcrypt_cost)?;
                active.cost = maker.spec.bcrypt_cost;
            }
            PasswordStep::Confirm => confirm(&mut self.password_progress, maker.now),
        }
        Ok(())
    }

    fn take_timers(&mut self, step: TimerStep, now: Timestamp) {
        match step {
            TimerStep::Restart => {
                restart(&mut self.authority_progress, now);
                restart(&mut self.password_progress, now);
            }
            TimerStep::AwaitPublication => {
                unconfirm(&mut self.authority_progress);
                unconfirm(&mut self.password_progress);
            }
        }
    }

    fn take_request(&mut self, step: &RequestStep) {
        match step {
            RequestStep::Remember { subject, token } | RequestStep::Decline { subject, token } => {
                self.handled
                    .insert(subject.name().to_owned(), token.clone());
            }
            RequestStep::Forget { subject } => {
                self.handled.remove(subject.name());
            }
        }
    }

    fn replace(&mut self, generation: u64, authority: Authority) {
        self.authorities = BTreeMap::from([(generation, authority)]);
        self.active_authority = generation;
        self.authority_progress = None;
    }

    fn prepare(&mut self, generation: u64, authority: Authority, now: Timestamp) {
        self.abandon();
        self.authorities.insert(generation, authority);
        // This does not tell anything about the other CAs.
        let stage = match self.authority_progress {
            Some(progress) if progress.stage == AuthorityStage::Rebuilt => AuthorityStage::Rebuilt,
            _ => AuthorityStage::TrustPublished,
        };
        self.authority_progress = Some(Progress::begin(stage, now));
    }

    /// Removes the newest CA if it was only published in the CA bundle, so that no certificate of it was ever served.
    fn abandon(&mut self) {
        if self.is_told_only() && self.authorities.len() > 1 {
            self.authorities.pop_last();
        }
    }

    fn serve(&mut self, leaf: &Leaf, now: Timestamp) {
        if leaf.authority_generation != self.active_authority && !self.is_told_only() {
            // Exporters may serve a certificate of the previous CA until they have picked up the change.
            self.authority_progress = Some(Progress::begin(AuthorityStage::LeafSwitched, now));
        }
        self.active_authority = leaf.authority_generation;
        self.leaf = leaf.clone();
    }

    /// Starts the overlap of the client certificate's switch.
    fn overlap_clients(&mut self, now: Timestamp) {
        self.authority_progress = self
            .authority_progress
            .map(|progress| match progress.stage {
                AuthorityStage::TrustPublished => progress,
                AuthorityStage::Rebuilt => Progress::begin(progress.stage, now),
                _ => Progress::begin(AuthorityStage::ClientSwitched, now),
            });
    }

    fn is_told_only(&self) -> bool {
        let progress = self.authority_progress;
        progress.is_some_and(|progress| progress.stage == AuthorityStage::TrustPublished)
    }

    fn signer(&self) -> Result<&Authority, RotationError> {
        let active = self.authorities.get(&self.active_authority);
        active.ok_or(RotationError::Incomplete("active CA"))
    }
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

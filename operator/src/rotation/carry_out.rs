//! Makes what was decided: the only part of the rotation that draws random numbers. Slow (keys and bcrypt): it is called
//! outside the async workers.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    decide::Step,
    state::{Authority, Leaf, Password, State},
};
use crate::{
    api::ValidSpec,
    names::Owner,
    pki::{
        IssueError, Serial,
        issue::{issue_authority, issue_leaf},
        password::{self, PasswordError},
    },
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

/// The state after `steps`. The generation rises by one where there was a step.
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
    draft.finish(!steps.is_empty())
}

/// A state of which parts may still be missing.
#[derive(Default)]
struct Draft {
    generation: u64,
    authorities: BTreeMap<u64, Authority>,
    active_authority: u64,
    leaf: Option<Leaf>,
    passwords: BTreeMap<u64, Password>,
    active_password: u64,
}

impl Draft {
    fn from(state: Option<State>) -> Self {
        state.map_or_else(Self::default, |state| Self {
            generation: state.generation,
            authorities: state.authorities,
            active_authority: state.active_authority,
            leaf: Some(state.leaf),
            passwords: state.passwords,
            active_password: state.active_password,
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
            Step::IssueAuthority { generation } => {
                let name = format!("{}.{}", owner.name, owner.namespace);
                let pair = issue_authority(&name, *generation, now, Serial::random()?)?;
                let authority = Authority {
                    certificate_pem: pair.certificate_pem,
                    key_pem: pair.key_pem,
                };
                self.authorities.insert(*generation, authority);
                self.active_authority = *generation;
            }
            Step::IssueLeaf { .. } => {
                let authority = self
                    .authorities
                    .get(&self.active_authority)
                    .ok_or(RotationError::Incomplete("active authority"))?;
                let parameters = &spec.certificate.parameters;
                let pair = issue_leaf(
                    parameters,
                    &authority.certificate_pem,
                    &authority.key_pem,
                    now,
                    Serial::random()?,
                )?;
                self.leaf = Some(Leaf {
                    certificate_pem: pair.certificate_pem,
                    key_pem: pair.key_pem,
                    authority_generation: self.active_authority,
                    parameters: parameters.fingerprint(),
                });
            }
            Step::GeneratePassword { generation } => {
                let password = password::generate()?;
                let hash = password::hash(&password, spec.bcrypt_cost)?;
                let cost = spec.bcrypt_cost;
                self.passwords.insert(
                    *generation,
                    Password {
                        password,
                        hash,
                        cost,
                    },
                );
                self.active_password = *generation;
            }
            Step::HashAgain => {
                let active = self
                    .passwords
                    .get_mut(&self.active_password)
                    .ok_or(RotationError::Incomplete("active password"))?;
                active.hash = password::hash(&active.password, spec.bcrypt_cost)?;
                active.cost = spec.bcrypt_cost;
            }
        }
        Ok(())
    }

    fn finish(self, changed: bool) -> Result<State, RotationError> {
        Ok(State {
            generation: self.generation.saturating_add(u64::from(changed)),
            authorities: self.authorities,
            active_authority: self.active_authority,
            leaf: self.leaf.ok_or(RotationError::Incomplete("leaf"))?,
            passwords: self.passwords,
            active_password: self.active_password,
        })
    }
}

//! What must be made anew, and why. Pure.

use jiff::Timestamp;

use super::{state::State, timing::renewal_time};
use crate::{
    api::ValidSpec,
    pki::{InspectError, inspect::inspect},
};

/// One thing to make. Steps are carried out in the order of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A certificate authority of this generation, from then on the one that signs.
    IssueAuthority {
        /// Its generation.
        generation: u64,
    },
    /// A leaf certificate, signed by the active authority.
    IssueLeaf {
        /// Why.
        because: Because,
    },
    /// A password of this generation, from then on the active one.
    GeneratePassword {
        /// Its generation.
        generation: u64,
    },
    /// A new hash of the active password: the cost that is asked for has changed.
    HashAgain,
}

/// Why a leaf is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// There is none yet.
    First,
    /// It has reached its renewal time.
    Due,
    /// The spec asks for another one: other names, key, subject or duration.
    SpecChanged,
}

impl Because {
    /// For events and logs.
    pub fn text(self) -> &'static str {
        match self {
            Self::First => "the first one",
            Self::Due => "renewal time reached",
            Self::SpecChanged => "the spec asks for another one",
        }
    }
}

/// What has to be made for `spec`, where `state` is what there is. An empty list means that nothing changes.
///
/// # Errors
/// The certificate in the state cannot be read.
pub fn decide(
    spec: &ValidSpec,
    state: Option<&State>,
    uid: &str,
    now: Timestamp,
) -> Result<Vec<Step>, InspectError> {
    let Some(state) = state else {
        return Ok(vec![
            Step::IssueAuthority { generation: 1 },
            Step::IssueLeaf {
                because: Because::First,
            },
            Step::GeneratePassword { generation: 1 },
        ]);
    };
    let mut steps = Vec::new();
    if let Some(because) = leaf_is_out_of_date(spec, state, uid, now)? {
        steps.push(Step::IssueLeaf { because });
    }
    match state.passwords.get(&state.active_password) {
        None => steps.push(Step::GeneratePassword {
            generation: state.active_password.saturating_add(1),
        }),
        Some(password) if password.cost != spec.bcrypt_cost => steps.push(Step::HashAgain),
        Some(_) => {}
    }
    Ok(steps)
}

/// When the state must be looked at again although nothing has happened.
///
/// # Errors
/// The certificate in the state cannot be read.
pub fn next_deadline(
    spec: &ValidSpec,
    state: &State,
    uid: &str,
) -> Result<Timestamp, InspectError> {
    let facts = inspect(&state.leaf.certificate_pem)?;
    Ok(renewal_time(
        &facts,
        spec.certificate.renew_before_percentage,
        uid,
    ))
}

fn leaf_is_out_of_date(
    spec: &ValidSpec,
    state: &State,
    uid: &str,
    now: Timestamp,
) -> Result<Option<Because>, InspectError> {
    if state.leaf.parameters != spec.certificate.parameters.fingerprint() {
        return Ok(Some(Because::SpecChanged));
    }
    let due = next_deadline(spec, state, uid)? <= now;
    Ok(due.then_some(Because::Due))
}

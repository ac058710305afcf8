//! `spec.authentication` and `spec.rotation`.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::{
    api::{
        Advance, AuthenticationMethod, AuthenticationSpec, BasicAuthSpec, RotationSpec,
        RotationState, Stragglers,
    },
    names::Owner,
    spec::{
        error::SpecError,
        values::{MAX_DURATION, duration},
    },
};

/// How the CA and the password are rotated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValidRotation {
    /// How long old credentials keep working.
    pub client_overlap: SignedDuration,
    /// How often the password is rotated; `None` is never.
    pub password_interval: Option<SignedDuration>,
    /// When a rotation enters its next stage.
    pub advance: Advance,
    /// What happens when exporters or clients fall behind.
    pub on_stragglers: Stragglers,
    /// Whether the CA and the password are rotated.
    pub state: RotationState,
}

/// Cost of the bcrypt hash of a generated password. Its 256 random bits cannot be guessed, so a higher cost would only slow
/// down the first scrape after a restart, and make wrong passwords more expensive for the exporters.
const GENERATED_COST: u32 = 6;
/// Cost of the bcrypt hash of a user-supplied password.
const USER_SUPPLIED_COST: u32 = 12;
/// Lowest cost for a user-supplied password.
const MIN_USER_SUPPLIED_COST: u32 = 10;

/// The cost of the bcrypt hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BcryptCost {
    pub(crate) cost: u32,
    /// Whether the resource sets no cost.
    pub(crate) is_default: bool,
}

impl BcryptCost {
    /// The cost where the resource sets none.
    pub(crate) fn default_of(spec: &BasicAuthSpec) -> Self {
        Self {
            cost: match spec.password_secret_ref {
                Some(_) => USER_SUPPLIED_COST,
                None => GENERATED_COST,
            },
            is_default: true,
        }
    }
}

pub(crate) fn basic_auth(spec: &AuthenticationSpec) -> Result<(String, BcryptCost), SpecError> {
    const FIELD: &str = "spec.authentication.basicAuth";
    let username = &spec.basic_auth.username;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if username.is_empty() || username.len() > 64 || !username.chars().all(is_plain) {
        return Err(SpecError::new(
            format!("{FIELD}.username"),
            "must be 1 to 64 letters, digits, '.', '_' and '-'",
        ));
    }
    Ok((username.clone(), bcrypt_cost(&spec.basic_auth)?))
}

fn bcrypt_cost(spec: &BasicAuthSpec) -> Result<BcryptCost, SpecError> {
    let is_user_supplied = spec.password_secret_ref.is_some();
    let Some(cost) = spec.bcrypt_cost else {
        return Ok(BcryptCost::default_of(spec));
    };
    let min = if is_user_supplied {
        MIN_USER_SUPPLIED_COST
    } else {
        4
    };
    let cost = u32::try_from(cost)
        .ok()
        .filter(|cost| (min..=14).contains(cost));
    let cost = cost.ok_or_else(|| {
        let suffix = if is_user_supplied {
            " with passwordSecretRef"
        } else {
            ""
        };
        SpecError::new(
            "spec.authentication.basicAuth.bcryptCost",
            format!("must be between {min} and 14{suffix}"),
        )
    })?;
    Ok(BcryptCost {
        cost,
        is_default: false,
    })
}

pub(crate) fn check_supplied_secrets(
    spec: &AuthenticationSpec,
    owner: &Owner,
) -> Result<(), SpecError> {
    let (password, users) = (
        spec.basic_auth.password_secret_ref.as_ref(),
        spec.basic_auth.users_secret_ref.as_ref(),
    );
    let named = [
        password.map(|it| ("passwordSecretRef", &it.name)),
        users.map(|it| ("usersSecretRef", &it.name)),
    ];
    let generated = [
        owner.state_secret(),
        owner.server_secret(),
        owner.scrape_secret(),
    ];
    for (field, name) in named.into_iter().flatten() {
        let field = format!("spec.authentication.basicAuth.{field}");
        if !spec.methods.contains(&AuthenticationMethod::BasicAuth) {
            return Err(SpecError::new(
                field,
                "can only be set if spec.authentication.methods contains BasicAuth",
            ));
        }
        if generated.contains(name) {
            return Err(SpecError::new(
                field,
                format!(
                    "Secret {name} is generated for this resource: name a Secret that you supply"
                ),
            ));
        }
    }
    Ok(())
}

pub(crate) fn rotation(
    spec: &RotationSpec,
    authentication: &AuthenticationSpec,
) -> Result<ValidRotation, SpecError> {
    const INTERVAL: &str = "spec.authentication.basicAuth.rotationInterval";
    let second = SignedDuration::from_secs(1);
    let client_overlap = duration(
        "spec.rotation.clientOverlap",
        &spec.client_overlap,
        second,
        MAX_DURATION,
    )?;
    let password_interval = match authentication.basic_auth.rotation_interval.as_str() {
        // A user-supplied password changes when the user changes it.
        _ if authentication.basic_auth.password_secret_ref.is_some() => None,
        "Never" => None,
        text => Some(duration(INTERVAL, text, second, MAX_DURATION * 2)?),
    };
    if password_interval.is_some_and(|interval| interval < client_overlap * 2) {
        return Err(SpecError::new(
            INTERVAL,
            "must be Never or at least twice spec.rotation.clientOverlap",
        ));
    }
    Ok(ValidRotation {
        client_overlap,
        password_interval,
        advance: spec.advance,
        on_stragglers: spec.on_stragglers,
        state: spec.state,
    })
}

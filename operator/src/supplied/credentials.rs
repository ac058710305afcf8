//! User-supplied credentials: a password for the scrapers, and additional users. Pure.
//!
//! A Secret that does not pass its check is not used at all, and what was used before stays. A problem names the Secret,
//! the key and how to fix it, and never contains a password or a hash.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use secure_exporter_web_config::{BcryptHash, BcryptHashError, TooMuchWork, UserHashes};

use crate::{
    spec::ValidSpec,
    supplied::reference::{Purpose, ReferencePolicy, ReferenceProblem},
};
use secure_exporter_pki::secret_text::SecretText;

/// bcrypt ignores the rest of a longer password.
const MAX_PASSWORD_BYTES: usize = 72;
/// A shorter password can be guessed from its hash, which is on every node.
const MIN_PASSWORD_CHARS: usize = 12;
/// Maximum number of hashes of all additional users. Each is a line in the `/-/status` of every exporter, which the
/// operator reads completely.
const MAX_HASHES: usize = 500;
/// Maximum length of a user name, as of `spec.authentication.basicAuth.username`.
const MAX_USERNAME_CHARS: usize = 64;

/// Path of the field that references the Secret with the password.
pub(crate) const PASSWORD_FIELD: &str = "spec.authentication.basicAuth.passwordSecretRef";
const USERS_FIELD: &str = "spec.authentication.basicAuth.usersSecretRef";

/// Additional users, each with the hashes of the passwords that they may use.
pub type Users = BTreeMap<String, UserHashes>;

/// The content of the user-supplied Secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SuppliedCredentials {
    /// The password of the scrapers.
    pub password: UserSecret<SecretText>,
    /// The additional users.
    pub users: UserSecret<Users>,
}

/// The content of a user-supplied Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UserSecret<T> {
    /// The spec names no Secret for it.
    #[default]
    NotConfigured,
    /// It passed the check.
    Usable(T),
    /// It did not pass the check.
    Invalid(CredentialsProblem),
    /// The read failed temporarily, and what is in use stays.
    Unreadable,
}

impl<T> UserSecret<T> {
    /// Returns the problem, if there is one.
    pub fn problem(&self) -> Option<&CredentialsProblem> {
        match self {
            Self::Invalid(problem) => Some(problem),
            Self::NotConfigured | Self::Usable(_) | Self::Unreadable => None,
        }
    }

    fn of(field: &'static str, secret: &str, checked: Result<T, Problem>) -> Self {
        match checked {
            Ok(usable) => Self::Usable(usable),
            Err(problem) => Self::Invalid(CredentialsProblem {
                field,
                secret: secret.to_owned(),
                problem,
            }),
        }
    }
}

/// Why a user-supplied Secret is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: Secret {secret}: {problem}")]
pub struct CredentialsProblem {
    /// Path of the field that references the Secret.
    pub field: &'static str,
    /// Name of the Secret.
    pub secret: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a user-supplied Secret, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The Secret does not exist.
    #[error("it does not exist: create it")]
    NoSecret,
    /// The Secret may not be referenced.
    #[error(transparent)]
    Reference(#[from] ReferenceProblem),
    /// The Secret does not have the key.
    #[error("it has no key {0:?}: add it, or set passwordSecretRef.key to the key of the password")]
    NoKey(String),
    /// The value is not UTF-8.
    #[error("key {0:?} is not UTF-8 text: use text")]
    NotText(String),
    /// The password is empty.
    #[error("key {0:?} is empty: use a password of at least {MIN_PASSWORD_CHARS} characters")]
    Empty(String),
    /// The password is easily guessed.
    #[error(
        "the password in key {0:?} is shorter than {MIN_PASSWORD_CHARS} characters: use a longer one"
    )]
    TooShort(String),
    /// bcrypt would ignore the rest of the password.
    #[error(
        "the password in key {0:?} is longer than {MAX_PASSWORD_BYTES} bytes, and bcrypt ignores the rest: use a shorter one"
    )]
    TooLong(String),
    /// HTTP or a password file would change the password.
    #[error(
        "the password in key {0:?} contains a control character such as a line break, or starts or ends with white space, which Prometheus removes: use a password without these"
    )]
    Unprintable(String),
    /// The key is not a valid user name.
    #[error(
        "key {0:?} is longer than the {MAX_USERNAME_CHARS} characters of a user name: use a shorter one"
    )]
    BadName(String),
    /// The key is the name of the generated user.
    #[error(
        "key {0:?} is the name in spec.authentication.basicAuth.username, which is the generated user: use another name"
    )]
    TakenName(String),
    /// The user cannot log in.
    #[error(
        "user {0:?} has no hash: add the part after the colon in the output of `htpasswd -nbBC 12 USER PASSWORD`, or remove the key"
    )]
    NoHash(String),
    /// A line is not a hash.
    #[error("user {user:?}, line {line}: {source}")]
    BadHash {
        /// The user.
        user: String,
        /// The number of the line, from 1.
        line: usize,
        /// The cause, without the content of the line.
        source: BcryptHashError,
    },
    /// The hashes of one user are more, or more expensive, than exporters accept.
    #[error("user {user:?} {source}")]
    TooMuchWork {
        /// The user.
        user: String,
        /// The cause.
        source: TooMuchWork,
    },
    /// There are more hashes than exporters and operator can handle.
    #[error("it has more than {MAX_HASHES} hashes: remove some")]
    TooMany,
}

impl SuppliedCredentials {
    /// The value if the Secrets in `spec` could not be read.
    pub fn unreadable(spec: &ValidSpec) -> Self {
        Self {
            password: match spec.password_secret {
                Some(_) => UserSecret::Unreadable,
                None => UserSecret::NotConfigured,
            },
            users: match spec.users_secret {
                Some(_) => UserSecret::Unreadable,
                None => UserSecret::NotConfigured,
            },
        }
    }

    /// Whether any of the Secrets could not be read.
    pub fn is_unreadable(&self) -> bool {
        self.password == UserSecret::Unreadable || self.users == UserSecret::Unreadable
    }

    /// Checks the Secrets in `spec`. `None` is a Secret that does not exist.
    pub fn check(
        spec: &ValidSpec,
        policy: ReferencePolicy,
        password: Option<&Secret>,
        users: Option<&Secret>,
    ) -> Self {
        Self {
            password: spec
                .password_secret
                .as_ref()
                .map_or(UserSecret::NotConfigured, |place| {
                    let secret = usable(password, policy, Purpose::Password);
                    let password = secret.and_then(|it| check_password(it, &place.key));
                    UserSecret::of(PASSWORD_FIELD, &place.name, password)
                }),
            users: spec
                .users_secret
                .as_ref()
                .map_or(UserSecret::NotConfigured, |name| {
                    let secret = usable(users, policy, Purpose::Users);
                    let users = secret.and_then(|it| check_users(it, &spec.username));
                    UserSecret::of(USERS_FIELD, name, users)
                }),
        }
    }
}

/// Returns the Secret if the resource may use it. Nothing of another one is looked at.
fn usable(
    secret: Option<&Secret>,
    policy: ReferencePolicy,
    purpose: Purpose,
) -> Result<&Secret, Problem> {
    let secret = secret.ok_or(Problem::NoSecret)?;
    policy.check(secret, purpose)?;
    Ok(secret)
}

fn check_password(secret: &Secret, key: &str) -> Result<SecretText, Problem> {
    let data = secret.data.as_ref().and_then(|data| data.get(key));
    let ByteString(bytes) = data.ok_or_else(|| Problem::NoKey(key.to_owned()))?;
    let text = std::str::from_utf8(bytes).map_err(|_| Problem::NotText(key.to_owned()))?;
    // Editors and `kubectl create secret --from-file` leave a line break.
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let refuse = |problem: fn(String) -> Problem| Err(problem(key.to_owned()));
    if text.is_empty() {
        refuse(Problem::Empty)
    } else if text.trim() != text || text.chars().any(char::is_control) {
        refuse(Problem::Unprintable)
    } else if text.len() > MAX_PASSWORD_BYTES {
        refuse(Problem::TooLong)
    } else if text.chars().count() < MIN_PASSWORD_CHARS {
        refuse(Problem::TooShort)
    } else {
        Ok(SecretText::new(text.to_owned()))
    }
}

fn check_users(secret: &Secret, taken: &str) -> Result<Users, Problem> {
    let entries = secret.data.iter().flatten();
    let users = entries
        .map(|(name, ByteString(value))| Ok((name.clone(), check_user(name, value, taken)?)))
        .collect::<Result<Users, Problem>>()?;
    let hashes: usize = users.values().map(|hashes| hashes.as_slice().len()).sum();
    if hashes > MAX_HASHES {
        return Err(Problem::TooMany);
    }
    Ok(users)
}

/// A key of a Secret only contains characters that are valid in a user name.
fn check_user(name: &str, value: &[u8], taken: &str) -> Result<UserHashes, Problem> {
    if name.len() > MAX_USERNAME_CHARS {
        return Err(Problem::BadName(name.to_owned()));
    }
    if name == taken {
        return Err(Problem::TakenName(name.to_owned()));
    }
    let text = std::str::from_utf8(value).map_err(|_| Problem::NotText(name.to_owned()))?;
    let hashes = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index, line.trim()))
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            BcryptHash::parse(line).map_err(|source| Problem::BadHash {
                user: name.to_owned(),
                line: index + 1,
                source,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let hashes = UserHashes::new(hashes).map_err(|_| Problem::NoHash(name.to_owned()))?;
    hashes.check_work().map_err(|source| Problem::TooMuchWork {
        user: name.to_owned(),
        source,
    })?;
    Ok(hashes)
}

#[cfg(test)]
mod tests;

//! What people bring in Secrets of their own: a password for the scrapers, and further users. Pure.
//!
//! Whatever does not pass its check is not used at all: what was used before stays. A problem names the Secret, the key and
//! the mend, and never holds a password or a hash.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use secure_exporter_web_config::{BcryptHash, BcryptHashError, UserHashes};

use crate::spec::ValidSpec;
use secure_exporter_pki::secret_text::SecretText;

/// bcrypt reads no more of a password.
const LONGEST: usize = 72;
/// A shorter password is guessed from its hash, which lies on every node.
const SHORTEST: usize = 12;
/// Of all further users. Each is a line in the `/-/status` of every exporter, which the operator reads whole.
const MOST_HASHES: usize = 500;
/// Of a user name, as `spec.authentication.basicAuth.username` has it.
const LONGEST_NAME: usize = 64;

/// Further users, each with the hashes of the passwords that they may use.
pub type Users = BTreeMap<String, UserHashes>;

/// What the Secrets hold that the spec names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnCredentials {
    /// The password of the scrapers.
    pub password: Own<SecretText>,
    /// The further users.
    pub users: Own<Users>,
}

/// Something of somebody's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Own<T> {
    /// The spec names no Secret for it.
    #[default]
    Unasked,
    /// It passed the check.
    Usable(T),
    /// It did not.
    Refused(OwnProblem),
    /// It could not be read this time: what is in use stays.
    Unread,
}

impl<T> Own<T> {
    /// What is wrong, where anything is.
    pub fn problem(&self) -> Option<&OwnProblem> {
        match self {
            Self::Refused(problem) => Some(problem),
            Self::Unasked | Self::Usable(_) | Self::Unread => None,
        }
    }

    fn of(secret: &str, checked: Result<T, Problem>) -> Self {
        match checked {
            Ok(usable) => Self::Usable(usable),
            Err(problem) => Self::Refused(OwnProblem {
                secret: secret.to_owned(),
                problem,
            }),
        }
    }
}

/// Why a Secret of somebody's own is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Secret {secret}: {problem}")]
pub struct OwnProblem {
    /// Name of the Secret.
    pub secret: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a Secret of somebody's own, and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// There is no such Secret.
    #[error("there is none of this name: create it")]
    NoSecret,
    /// It has no such key.
    #[error("it has no key {0:?}: add it, or name the key that holds the password")]
    NoKey(String),
    /// The value is not UTF-8.
    #[error("key {0:?} is not UTF-8 text: write text")]
    NotText(String),
    /// The password is empty.
    #[error("key {0:?} is empty: write a password of at least {SHORTEST} characters")]
    Empty(String),
    /// The password is easily guessed.
    #[error("the password under {0:?} is shorter than {SHORTEST} characters: write a longer one")]
    TooShort(String),
    /// bcrypt would not read all of it.
    #[error(
        "the password under {0:?} is longer than the {LONGEST} bytes that bcrypt reads: write a shorter one"
    )]
    TooLong(String),
    /// HTTP or a password file would change it.
    #[error(
        "the password under {0:?} has a control character, such as a line break, or begins or ends with white space, which Prometheus cuts off: write it without"
    )]
    Unprintable(String),
    /// The key is no name of a user.
    #[error("key {0:?} is longer than the {LONGEST_NAME} characters of a user name: shorten it")]
    BadName(String),
    /// The key is the name of the generated user.
    #[error(
        "key {0:?} is the user of spec.authentication.basicAuth.username, whose password is elsewhere: choose another name"
    )]
    TakenName(String),
    /// A user nobody can be.
    #[error(
        "user {0:?} has no hash: write what follows the colon of `htpasswd -nbBC 12 USER PASSWORD`, or remove the key"
    )]
    NoHash(String),
    /// A line of a user is not a hash.
    #[error("user {user:?}, line {line}: {source}")]
    BadHash {
        /// The user.
        user: String,
        /// The line, from 1.
        line: usize,
        /// What the line is instead, without repeating it.
        source: BcryptHashError,
    },
    /// More than exporters and operator can handle.
    #[error("it has more than {MOST_HASHES} hashes: remove some")]
    TooMany,
}

impl OwnCredentials {
    /// What is known where the Secrets that `spec` names could not be read.
    pub fn unread(spec: &ValidSpec) -> Self {
        Self {
            password: match spec.password_secret {
                Some(_) => Own::Unread,
                None => Own::Unasked,
            },
            users: match spec.users_secret {
                Some(_) => Own::Unread,
                None => Own::Unasked,
            },
        }
    }

    /// Whether anything of it could not be read.
    pub fn is_unread(&self) -> bool {
        self.password == Own::Unread || self.users == Own::Unread
    }

    /// Checks what was found under the names in `spec`; `None` is a Secret that is not there.
    pub fn check(spec: &ValidSpec, password: Option<&Secret>, users: Option<&Secret>) -> Self {
        Self {
            password: spec.password_secret.as_ref().map_or(Own::Unasked, |place| {
                Own::of(&place.name, check_password(password, &place.key))
            }),
            users: spec.users_secret.as_ref().map_or(Own::Unasked, |name| {
                Own::of(name, check_users(users, &spec.username))
            }),
        }
    }
}

fn check_password(secret: Option<&Secret>, key: &str) -> Result<SecretText, Problem> {
    let data = &secret.ok_or(Problem::NoSecret)?.data;
    let data = data.as_ref().and_then(|data| data.get(key));
    let ByteString(bytes) = data.ok_or_else(|| Problem::NoKey(key.to_owned()))?;
    let text = std::str::from_utf8(bytes).map_err(|_| Problem::NotText(key.to_owned()))?;
    // Editors and `kubectl create secret --from-file` leave one.
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let refuse = |problem: fn(String) -> Problem| Err(problem(key.to_owned()));
    if text.is_empty() {
        refuse(Problem::Empty)
    } else if text.trim() != text || text.chars().any(char::is_control) {
        refuse(Problem::Unprintable)
    } else if text.len() > LONGEST {
        refuse(Problem::TooLong)
    } else if text.chars().count() < SHORTEST {
        refuse(Problem::TooShort)
    } else {
        Ok(SecretText::new(text.to_owned()))
    }
}

fn check_users(secret: Option<&Secret>, taken: &str) -> Result<Users, Problem> {
    let data = &secret.ok_or(Problem::NoSecret)?.data;
    let entries = data.iter().flatten();
    let users = entries
        .map(|(name, ByteString(value))| Ok((name.clone(), check_user(name, value, taken)?)))
        .collect::<Result<Users, Problem>>()?;
    let hashes: usize = users.values().map(|hashes| hashes.as_slice().len()).sum();
    if hashes > MOST_HASHES {
        return Err(Problem::TooMany);
    }
    Ok(users)
}

/// The characters of a Secret's key are those of a user name.
fn check_user(name: &str, value: &[u8], taken: &str) -> Result<UserHashes, Problem> {
    if name.len() > LONGEST_NAME {
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
    UserHashes::new(hashes).map_err(|_| Problem::NoHash(name.to_owned()))
}

#[cfg(test)]
mod tests;

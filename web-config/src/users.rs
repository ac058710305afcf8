//! Users and their bcrypt hashes, which are checked when they are parsed.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

/// The minimum of bcrypt itself.
const MIN_COST: u32 = 4;
/// Each step doubles the work. With cost 16 one check takes about five seconds, half of Prometheus' default scrape timeout.
const MAX_COST: u32 = 16;
/// Maximum number of hashes of one user. A rotation needs two; more are left over from rotations that were never finished.
const MAX_HASHES: usize = 8;
/// Maximum number of bcrypt rounds for the hashes of one user: those of two hashes of the highest cost, so that even these
/// can overlap, or of eight hashes of cost 14. A wrong password takes all of them, about ten seconds.
const MAX_ROUNDS: u64 = 2 << MAX_COST;
/// The number of bytes of the SHA-256 that identifies a hash; 48 bits distinguish the few hashes of a fleet.
const ID_BYTES: usize = 6;

/// A bcrypt hash in its usual text form, `$2y$12$…`. `Debug` does not show it, and it is wiped when dropped.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BcryptHash {
    text: String,
    cost: u32,
}

impl BcryptHash {
    /// Parses `$2a$`, `$2b$` or `$2y$` hashes of cost 4 to 16.
    ///
    /// # Errors
    /// What the text is instead, and how to create a valid hash. The text itself is never repeated.
    pub fn parse(text: &str) -> Result<Self, BcryptHashError> {
        let rest = match text.get(..4) {
            Some("$2a$" | "$2b$" | "$2y$") => text.get(4..).unwrap_or_default(),
            _ => return Err(refusal(text)),
        };
        let (cost, tail) = rest.split_once('$').ok_or(BcryptHashError::Malformed)?;
        let cost: u32 = match cost.len() {
            // Only digits, because Rust also parses "+9".
            2 if cost.bytes().all(|b| b.is_ascii_digit()) => {
                cost.parse().map_err(|_| BcryptHashError::Malformed)?
            }
            _ => return Err(BcryptHashError::Malformed),
        };
        if !(MIN_COST..=MAX_COST).contains(&cost) {
            return Err(BcryptHashError::Cost { cost });
        }
        if tail.len() != 53 || !tail.bytes().all(is_bcrypt_base64) {
            return Err(BcryptHashError::Malformed);
        }
        Ok(Self {
            text: text.to_owned(),
            cost,
        })
    }

    /// The hash as written in the file. Treat it as a secret.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// An identifier of this hash that may be shown: the first 12 hexadecimal digits, in lower case, of the SHA-256 of the
    /// text that [`BcryptHash::as_str`] returns. Its format is stable, so that everything that has the hash computes the
    /// same identifier. It reveals neither hash nor password, because the text contains 128 bits of secret salt.
    #[must_use]
    pub fn id(&self) -> String {
        Sha256::digest(self.text.as_bytes())
            .iter()
            .take(ID_BYTES)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The base-2 logarithm of the number of rounds.
    #[must_use]
    pub fn cost(&self) -> u32 {
        self.cost
    }
}

impl Drop for BcryptHash {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}

impl fmt::Debug for BcryptHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BcryptHash(cost {}, redacted)", self.cost)
    }
}

/// Why a text is not a usable bcrypt hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BcryptHashError {
    /// Apache's MD5 scheme, which `htpasswd` uses by default.
    #[error(
        "this is an MD5 hash ($apr1$), which `htpasswd -nbC 12` creates without a warning because -B is missing; \
         make a bcrypt hash with: htpasswd -nbBC 12 USER PASSWORD"
    )]
    Md5,
    /// Another scheme, or the password itself.
    #[error(
        "this is not a bcrypt hash ($2a$, $2b$ or $2y$); make one with: htpasswd -nbBC 12 USER PASSWORD"
    )]
    NotBcrypt,
    /// The whole output of `htpasswd`, user name included.
    #[error(
        "the hash starts with a user name and a colon; write only what follows the colon of htpasswd's output"
    )]
    WithUserName,
    /// A damaged hash.
    #[error(
        "this bcrypt hash is damaged (it must be 60 characters: $2y$, a cost of two digits, $, and 53 of ./A-Za-z0-9); \
         make a new one with: htpasswd -nbBC 12 USER PASSWORD"
    )]
    Malformed,
    /// A cost that is too low, or too high to be checked in reasonable time.
    #[error(
        "bcrypt cost {cost} is outside 4 to 16; make the hash with: htpasswd -nbBC 12 USER PASSWORD"
    )]
    Cost {
        /// The cost of the hash.
        cost: u32,
    },
}

/// The hashes of one user, at least one. A password is correct if it matches any of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserHashes(Vec<BcryptHash>);

impl UserHashes {
    /// Takes the hashes in the order in which they will be written.
    ///
    /// # Errors
    /// [`NoHashes`] for an empty list, because no password could match.
    pub fn new(hashes: Vec<BcryptHash>) -> Result<Self, NoHashes> {
        if hashes.is_empty() {
            Err(NoHashes)
        } else {
            Ok(Self(hashes))
        }
    }

    /// The bcrypt rounds needed to compare a password with every hash.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.0.iter().map(|hash| 1_u64 << hash.cost()).sum()
    }

    /// Checks that a wrong password, which is compared with every hash, does not take too long.
    ///
    /// # Errors
    /// The value that is too high, and the limit.
    pub fn check_work(&self) -> Result<(), TooMuchWork> {
        let (count, rounds) = (self.0.len(), self.rounds());
        if count > MAX_HASHES {
            Err(TooMuchWork::Hashes { count })
        } else if rounds > MAX_ROUNDS {
            Err(TooMuchWork::Rounds)
        } else {
            Ok(())
        }
    }

    /// The hashes, never empty.
    #[must_use]
    pub fn as_slice(&self) -> &[BcryptHash] {
        &self.0
    }
}

impl From<BcryptHash> for UserHashes {
    fn from(hash: BcryptHash) -> Self {
        Self(vec![hash])
    }
}

/// A user without a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user needs at least one hash; make one with: htpasswd -nbBC 12 USER PASSWORD")]
pub struct NoHashes;

/// Why the hashes of one user take too long. Unauthenticated clients can send wrong passwords, which are compared with all
/// of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TooMuchWork {
    /// There are too many hashes.
    #[error(
        "has {count} hashes, and a wrong password is compared with each; keep at most {MAX_HASHES}, by removing those of passwords that are no longer used"
    )]
    Hashes {
        /// The number of hashes.
        count: usize,
    },
    /// The hashes are too expensive together.
    #[error(
        "has hashes that together take longer than two of cost {MAX_COST}, and a wrong password is compared with each; remove some, or make them with a lower cost: htpasswd -nbBC 12 USER PASSWORD"
    )]
    Rounds,
}

fn refusal(text: &str) -> BcryptHashError {
    if text.starts_with("$apr1$") {
        return BcryptHashError::Md5;
    }
    match text.split_once(':') {
        Some((_, hash)) if hash.starts_with("$apr1$") => BcryptHashError::Md5,
        Some((_, hash)) if hash.starts_with("$2") => BcryptHashError::WithUserName,
        _ => BcryptHashError::NotBcrypt,
    }
}

fn is_bcrypt_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'/'
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "MXjBwpmKxIYjyCOS7Gq6U.DbStd7Nn5jKEnGYfkDbXTBe2uCJTK8i";

    #[test]
    fn the_three_spellings_are_read() {
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            let hash = BcryptHash::parse(&format!("{prefix}10${TAIL}")).unwrap();
            assert_eq!(hash.cost(), 10);
        }
    }

    #[test]
    fn refused_hashes_name_the_reason() {
        let cases = [
            (
                "$apr1$abcdefgh$0123456789012345678901".to_owned(),
                BcryptHashError::Md5,
            ),
            (
                "alice:$apr1$abcdefgh$0123456789012345678901".to_owned(),
                BcryptHashError::Md5,
            ),
            (
                format!("alice:$2y$10${TAIL}"),
                BcryptHashError::WithUserName,
            ),
            ("correct horse".to_owned(), BcryptHashError::NotBcrypt),
            (String::new(), BcryptHashError::NotBcrypt),
            (format!("$2x$10${TAIL}"), BcryptHashError::NotBcrypt),
            (format!("$2y$10${}", &TAIL[1..]), BcryptHashError::Malformed),
            (format!("$2y$1${TAIL}"), BcryptHashError::Malformed),
            (format!("$2y$+9${TAIL}"), BcryptHashError::Malformed),
            (format!("$2y$31${TAIL}"), BcryptHashError::Cost { cost: 31 }),
            (format!("$2y$03${TAIL}"), BcryptHashError::Cost { cost: 3 }),
        ];
        for (text, expected) in cases {
            let error = BcryptHash::parse(&text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains(TAIL));
        }
        assert!(
            BcryptHashError::Md5
                .to_string()
                .contains("htpasswd -nbBC 12")
        );
    }

    #[test]
    fn the_id_is_the_beginning_of_sha_256_of_the_text() {
        let id = |prefix: &str| {
            BcryptHash::parse(&format!("{prefix}10${TAIL}"))
                .unwrap()
                .id()
        };
        // printf %s HASH | sha256sum
        assert_eq!(id("$2y$"), "7104508351fe");
        assert_ne!(id("$2b$"), id("$2y$"));
    }

    #[test]
    fn work_has_a_limit_and_an_overlap_is_within_it() {
        let hashes = |costs: &[u32]| {
            let hash = |cost| BcryptHash::parse(&format!("$2y${cost:02}${TAIL}")).unwrap();
            UserHashes::new(costs.iter().copied().map(hash).collect()).unwrap()
        };
        for costs in [&[16, 16][..], &[14; 8], &[15; 4], &[4; 8], &[16, 15, 15]] {
            assert_eq!(hashes(costs).check_work(), Ok(()), "{costs:?}");
        }
        let too_many = TooMuchWork::Hashes { count: 9 };
        assert_eq!(hashes(&[4; 9]).check_work(), Err(too_many));
        for costs in [&[16, 16, 4][..], &[15; 5], &[16, 16, 16]] {
            assert_eq!(
                hashes(costs).check_work(),
                Err(TooMuchWork::Rounds),
                "{costs:?}"
            );
        }
    }

    #[test]
    fn debug_shows_no_hash() {
        let hash = BcryptHash::parse(&format!("$2y$10${TAIL}")).unwrap();
        let shown = format!("{:?}", UserHashes::from(hash));
        assert!(
            !shown.contains(TAIL) && shown.contains("redacted"),
            "{shown}"
        );
    }
}

//! Passwords: what may be one, new ones, and their bcrypt hashes.

use std::fmt;

use secure_exporter_pki::password as passwords;
use secure_exporter_pki::secret_text::SecretText;
use secure_exporter_web_config::BcryptHash;
use zeroize::Zeroizing;

/// bcrypt ignores everything beyond this length.
const MAX_BYTES: usize = 72;
/// Shorter passwords can be found by guessing; NIST SP 800-63B requires this length where a password is the only factor.
const ADVISED_CHARACTERS: usize = 15;

/// A password for a user of the exporter: 1 to 72 bytes without control characters.
pub(super) struct Password(SecretText);

/// Why a password cannot be used or hashed. Never contains the password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PasswordError {
    #[error("the password is empty: enter one at the prompt or on standard input")]
    Empty,
    #[error("the password has {0} bytes, but bcrypt reads only the first 72: choose a shorter one")]
    TooLong(usize),
    #[error("the password contains a control character or a line break: enter one line of text")]
    Control,
    #[error("the password is not UTF-8 text")]
    NotText,
    #[error("the two passwords differ: nothing was changed, try again")]
    Differ,
    #[error(
        "a password cannot be passed as an argument: every user of this machine can read arguments, and the shell keeps \
         them; run `secure-exporter hash-password` and type it, or pass it on standard input"
    )]
    Argument,
    #[error("cannot read the password: {0}")]
    Read(String),
    #[error(transparent)]
    Generation(passwords::PasswordError),
    #[error("cannot hash the password with bcrypt")]
    Bcrypt,
}

impl Password {
    /// Reads a text without its line break.
    pub(super) fn parse(text: Zeroizing<String>) -> Result<Self, PasswordError> {
        if text.is_empty() {
            return Err(PasswordError::Empty);
        }
        if text.len() > MAX_BYTES {
            return Err(PasswordError::TooLong(text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err(PasswordError::Control);
        }
        Ok(Self(text.into()))
    }

    /// Generates a random password.
    pub(super) fn generate() -> Result<Self, PasswordError> {
        passwords::generate()
            .map(Self)
            .map_err(PasswordError::Generation)
    }

    /// The text, for a file that only its owner may read.
    pub(super) fn expose(&self) -> &str {
        self.0.expose()
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Returns weaknesses of the password, although it can be used.
    pub(super) fn weaknesses(&self) -> Vec<String> {
        let mut found = Vec::new();
        let characters = self.expose().chars().count();
        if characters < ADVISED_CHARACTERS {
            found.push(format!(
                "the password has {characters} characters; use {ADVISED_CHARACTERS} or more"
            ));
        }
        if self.expose().trim() != self.expose() {
            found.push(
                "the password starts or ends with a space, which Prometheus removes when it reads the password_file"
                    .to_owned(),
            );
        }
        found
    }

    /// Returns its bcrypt hash. Each step of the cost doubles the time, which is about 70 ms at 10.
    pub(super) fn hash(&self, cost: u32) -> Result<BcryptHash, PasswordError> {
        let hash = passwords::hash(&self.0, cost).map_err(|_| PasswordError::Bcrypt)?;
        BcryptHash::parse(hash.expose()).map_err(|_| PasswordError::Bcrypt)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Password, PasswordError> {
        Password::parse(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn what_bcrypt_would_cut_or_a_header_could_not_carry_is_refused() {
        assert_eq!(parse("").unwrap_err(), PasswordError::Empty);
        assert!(parse(&"x".repeat(72)).is_ok());
        assert_eq!(
            parse(&"ü".repeat(37)).unwrap_err(),
            PasswordError::TooLong(74)
        );
        for text in ["a\tb", "a\nb", "a\0b", "a\u{85}b"] {
            assert_eq!(parse(text).unwrap_err(), PasswordError::Control);
        }
    }

    #[test]
    fn weaknesses_are_named_without_the_password() {
        assert_eq!(
            parse("correct horse battery").unwrap().weaknesses().len(),
            0
        );
        let found = parse(" hunter2").unwrap().weaknesses();
        assert_eq!(found.len(), 2);
        assert!(!found.concat().contains("hunter2"));
        assert_eq!(format!("{:?}", parse("hunter2")), "Ok(Password(redacted))");
    }

    #[test]
    fn a_new_password_is_strong_and_matches_its_hash() {
        let (one, two) = (Password::generate().unwrap(), Password::generate().unwrap());
        assert!(!one.is(&two));
        assert!(one.weaknesses().is_empty() && one.expose().len() == 43);
        let hash = one.hash(4).unwrap();
        assert!(bcrypt::verify(one.expose(), hash.as_str()).unwrap());
        assert!(!bcrypt::verify(two.expose(), hash.as_str()).unwrap());
    }
}

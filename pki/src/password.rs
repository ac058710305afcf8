//! Passwords and their bcrypt hashes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::secret_text::SecretText;

/// Number of random bytes of a password: 256 bits, which are 43 characters, fewer than the 72 that bcrypt uses.
const PASSWORD_BYTES: usize = 32;

/// Why a password could not be generated or checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// The random number generator of the operating system failed.
    #[error("cannot get random numbers from the operating system: {0}")]
    Random(String),
    /// bcrypt failed. The text never contains the password.
    #[error("bcrypt failed: {0}")]
    Bcrypt(String),
}

/// Generates a password: 32 random bytes in base64url without padding (43 characters, no colon).
pub fn generate() -> Result<SecretText, PasswordError> {
    let mut bytes = Zeroizing::new([0_u8; PASSWORD_BYTES]);
    getrandom::fill(bytes.as_mut()).map_err(|error| PasswordError::Random(error.to_string()))?;
    Ok(SecretText::new(URL_SAFE_NO_PAD.encode(bytes.as_ref())))
}

/// Hashes a password. Takes about 70 ms at cost 10, and twice as long for each step: call it outside the async workers.
pub fn hash(password: &SecretText, cost: u32) -> Result<SecretText, PasswordError> {
    bcrypt::non_truncating_hash(password.expose(), cost)
        .map(SecretText::new)
        .map_err(refused)
}

/// Checks that `hash` is a hash of `password`. As slow as [`hash`](fn@hash).
pub fn verify(password: &SecretText, hash: &SecretText) -> Result<bool, PasswordError> {
    bcrypt::non_truncating_verify(password.expose(), hash.expose()).map_err(refused)
}

/// Converts only the kind of the error, because some of bcrypt's messages quote the hash.
fn refused(error: bcrypt::BcryptError) -> PasswordError {
    PasswordError::Bcrypt(
        match error {
            bcrypt::BcryptError::CostNotAllowed(_) => "the cost must be between 4 and 31",
            bcrypt::BcryptError::Truncation(_) => "the password is longer than 72 bytes",
            bcrypt::BcryptError::Rand(_) => "the operating system returned no random numbers",
            _ => "the hash is malformed",
        }
        .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_only_its_own_hash() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.expose().len(), 43);
        let hashed = hash(&one, 4).unwrap();
        assert!(verify(&one, &hashed).unwrap());
        assert!(!verify(&two, &hashed).unwrap());
    }

    #[test]
    fn errors_say_why_without_the_secret() {
        let long = SecretText::new("secret!".repeat(20));
        let error = hash(&long, 4).unwrap_err().to_string();
        assert_eq!(error, "bcrypt failed: the password is longer than 72 bytes");
        let malformed = SecretText::new("$2b$nonsense".to_owned());
        let error = verify(&long, &malformed).unwrap_err().to_string();
        assert!(
            !error.contains("nonsense") && !error.contains("secret"),
            "{error}"
        );
    }
}

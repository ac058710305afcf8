//! Text that must never be printed: a private key, a password or a hash.

use std::fmt;

use zeroize::Zeroizing;

/// Secret text. It is wiped when dropped, and `Debug` prints `[redacted]`.
///
/// It deliberately implements neither `Display` nor `Serialize`: every use of the text calls [`SecretText::expose`], which is
/// easy to find in a review.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Wraps the text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Returns the text, for writing it into a Secret or passing it to a cryptographic function.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl From<Zeroizing<String>> for SecretText {
    fn from(text: Zeroizing<String>) -> Self {
        Self(text)
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::SecretText;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(
            format!("{:?}", SecretText::new("hunter2".into())),
            "[redacted]"
        );
    }
}

//! Text that must never be shown: a private key, a password, a hash.

use std::fmt;

use zeroize::Zeroizing;

/// Secret text: wiped when dropped, and shown as `[redacted]` by `Debug`.
///
/// There is deliberately no `Display` and no `Serialize`: whoever needs the text calls
/// [`SecretText::expose`], which is easy to find in a review.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for writing it into a Secret or handing it to a cryptographic function.
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

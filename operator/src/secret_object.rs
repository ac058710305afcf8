//! Secrets in memory: never printed, and wiped when dropped.

use std::{fmt, ops::Deref};

use k8s_openapi::api::core::v1::Secret;
use zeroize::Zeroize;

/// A Secret. It is wiped when dropped, and `Debug` prints its name and the names of its keys.
#[derive(Clone, Default, PartialEq)]
pub struct SecretObject(Secret);

impl SecretObject {
    /// Wraps the Secret.
    pub fn new(secret: Secret) -> Self {
        Self(secret)
    }
}

impl Deref for SecretObject {
    type Target = Secret;

    fn deref(&self) -> &Secret {
        &self.0
    }
}

impl fmt::Debug for SecretObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.0.data.iter().flat_map(|data| data.keys());
        f.debug_struct("Secret")
            .field("name", &self.0.metadata.name)
            .field("keys", &keys.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Drop for SecretObject {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Overwrites the content of a Secret that is no longer needed.
pub fn wipe(secret: &mut Secret) {
    for value in secret.data.iter_mut().flat_map(|data| data.values_mut()) {
        value.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;

    use super::*;

    fn secret() -> Secret {
        Secret {
            data: Some(BTreeMap::from([(
                "password".to_owned(),
                ByteString(b"hunter2".to_vec()),
            )])),
            ..Secret::default()
        }
    }

    #[test]
    fn debug_shows_names_alone() {
        let text = format!("{:?}", SecretObject::new(secret()));
        assert!(text.contains("password"), "{text}");
        let bytes = format!("{:?}", b"hunter2");
        assert!(
            !text.contains("hunter2") && !text.contains(&bytes),
            "{text}"
        );
    }

    #[test]
    fn a_wiped_secret_has_no_content() {
        let mut secret = secret();
        wipe(&mut secret);
        assert!(
            secret
                .data
                .unwrap()
                .values()
                .all(|value| value.0.is_empty())
        );
    }
}

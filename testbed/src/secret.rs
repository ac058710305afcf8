//! The decoded content of a Secret.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// The content of a Secret. It has no `Debug`: a failed assertion must not print it, so compare by [`Self::differs`].
#[derive(Clone, PartialEq, Eq)]
pub struct SecretData(BTreeMap<String, String>);

impl SecretData {
    /// Reads the object as the API server gives it.
    ///
    /// # Errors
    /// It has no data, or the data is not text.
    pub fn of(secret: &Value) -> Result<Self> {
        let data = secret
            .get("data")
            .and_then(Value::as_object)
            .context("the Secret has no data")?;
        let decode = |(key, value): (&String, &Value)| {
            let bytes = STANDARD.decode(value.as_str().unwrap_or_default())?;
            Ok((key.clone(), String::from_utf8(bytes)?))
        };
        data.iter().map(decode).collect::<Result<_>>().map(Self)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// There is no such key: names those that there are.
    pub fn get(&self, key: &str) -> Result<&str> {
        self.0.get(key).map(String::as_str).with_context(|| {
            format!(
                "no key {key} in the Secret, only {:?}",
                self.0.keys().collect::<Vec<_>>()
            )
        })
    }

    /// Keys whose values are not the same in both.
    pub fn differs(&self, other: &Self) -> Vec<String> {
        let keys: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        keys.into_iter()
            .filter(|key| self.0.get(*key) != other.0.get(*key))
            .cloned()
            .collect()
    }

    /// Writes it as a mounted volume shows it: a file for each key.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn mount(&self, folder: &Path) -> Result<()> {
        for (key, value) in &self.0 {
            fs::write(folder.join(key), value)?;
        }
        Ok(())
    }

    /// What of it nobody but its readers may ever see: passwords, hashes, and each line of each private key.
    pub fn confidential(&self) -> Vec<&str> {
        let mut found = Vec::new();
        for (key, value) in &self.0 {
            if key.starts_with("password") {
                found.push(value.trim());
            } else if value.contains("PRIVATE KEY") {
                found.extend(
                    value
                        .lines()
                        .filter(|line| !line.starts_with('-') && line.len() > 16),
                );
            } else if ["web-config.yml", "users.htpasswd"].contains(&key.as_str()) {
                let words = value.split(|c: char| c.is_whitespace() || "\"',[]:".contains(c));
                found.extend(words.filter(|word| word.starts_with("$2")));
            }
        }
        found
    }
}

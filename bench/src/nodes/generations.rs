//! What is in force by the status of the resource, and whether a rotation has come to its end.

use anyhow::{Context, Result};
use serde_json::Value;

/// The generations in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generations {
    /// The serial number of the certificate that is published.
    pub serial: Value,
    /// That of the authority that signs.
    pub authority: u64,
    /// That of the password that scrapers get.
    pub password: u64,
}

impl Generations {
    /// Those of a status.
    ///
    /// # Errors
    /// It has none yet.
    pub fn of(status: &Value) -> Result<Self> {
        let number = |value: &Value| value.as_u64().context("no generation in the status");
        Ok(Self {
            serial: status["certificate"]["serialNumber"].clone(),
            authority: number(&status["trust"]["activeGeneration"])?,
            password: number(&status["credentials"]["activeGeneration"])?,
        })
    }

    /// Whether all that was asked for, separated by commas, is another one than before.
    pub fn moved(&self, before: &Self, subjects: &str) -> bool {
        let asked = |word| subjects.split(',').any(|part| part == word);
        (!asked("certificate") || self.serial != before.serial)
            && (!asked("ca") || self.authority > before.authority)
            && (!asked("password") || self.password > before.password)
    }
}

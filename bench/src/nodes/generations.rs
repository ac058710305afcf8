//! The generations in force according to the status of the resource, and whether a rotation has ended.

use anyhow::{Context, Result};
use serde_json::Value;

/// The generations in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generations {
    /// The serial number of the certificate that is published.
    pub serial: Value,
    /// The generation of the CA that signs.
    pub authority: u64,
    /// The generation of the password that scrapers receive.
    pub password: u64,
}

impl Generations {
    /// Reads the generations in a status.
    ///
    /// # Errors
    /// The status has no generations yet.
    pub fn of(status: &Value) -> Result<Self> {
        let number = |value: &Value| value.as_u64().context("no generation in the status");
        Ok(Self {
            serial: status["certificate"]["serialNumber"].clone(),
            authority: number(&status["trust"]["activeGeneration"])?,
            password: number(&status["credentials"]["activeGeneration"])?,
        })
    }

    /// Whether every subject in a comma-separated list is newer than before.
    pub fn moved(&self, before: &Self, subjects: &str) -> bool {
        let asked = |word| subjects.split(',').any(|part| part == word);
        (!asked("certificate") || self.serial != before.serial)
            && (!asked("ca") || self.authority > before.authority)
            && (!asked("password") || self.password > before.password)
    }
}

//! `web-config`: what a bare host needs before it serves, made at once and renewed ever after.

mod init;
mod own_hosts;
mod renew;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use jiff::SignedDuration;
use zeroize::Zeroizing;

use super::CommandError;
use super::staged::cannot;

/// The longest life of an exporter's certificate: five years, as the operator's bound is.
const LONGEST: SignedDuration = SignedDuration::from_hours(43_800);
const SHORTEST: SignedDuration = SignedDuration::from_hours(1);

#[derive(Subcommand)]
pub(super) enum Action {
    /// Make an authority, a certificate, a password, config.yml and Prometheus' scrape job
    Init(init::Options),
    /// Replace the certificate by a new one of the same authority; nothing changes for Prometheus
    Renew(renew::Options),
}

pub(super) fn run(action: Action) -> Result<(), CommandError> {
    let now = crate::credentials::last_use::unix_now();
    match action {
        Action::Init(options) => init::run(&options, now),
        Action::Renew(options) => renew::run(&options, now),
    }
}

/// The files of a directory that `init` makes.
struct Layout {
    directory: PathBuf,
}

impl Layout {
    fn of(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    fn config(&self) -> PathBuf {
        self.directory.join("config.yml")
    }

    fn certificate(&self) -> PathBuf {
        self.directory.join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.directory.join("tls.key")
    }

    fn authority_certificate(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    fn authority_key(&self) -> PathBuf {
        self.directory.join("ca.key")
    }

    /// What is carried to Prometheus, as one directory.
    fn for_prometheus(&self) -> PathBuf {
        self.directory.join("prometheus")
    }
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    let life = secure_exporter_web_config::parse_duration(text)
        .map(|life| SignedDuration::try_from(life).unwrap_or(SignedDuration::MAX))
        .ok_or_else(|| "no duration: write hours, such as 8760h".to_owned())?;
    if (SHORTEST..=LONGEST).contains(&life) {
        // X.509 counts seconds.
        Ok(SignedDuration::from_secs(life.as_secs()))
    } else {
        Err("between 1h and 43800h (five years) is possible".to_owned())
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, CommandError> {
    Ok(std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(cannot("read", path))?)
}

//! A new certificate of the same authority.

use std::path::PathBuf;

use clap::Args;
use jiff::SignedDuration;

use super::layout::{Layout, read};
use super::lifetime::duration;
use crate::clock::date;
use crate::commands::error::CommandError;
use crate::commands::pki::{self, Host, HostParameters, IssuedPair, KeyType, SecretText};
use crate::commands::staged::{Access, Existing, Staged};

#[derive(Args)]
pub(in crate::commands) struct Options {
    /// Directory in which `web-config init` put the files
    #[arg(long, value_name = "DIR")]
    directory: PathBuf,
    /// Do nothing before the last third of the certificate's lifetime; meant for timers
    #[arg(long)]
    when_due: bool,
    /// Lifetime of the new certificate [default: that of the present one]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<SignedDuration>,
    /// Also create a new key of this type [default: keep the present key]
    #[arg(long, value_name = "KIND", value_parser = pki::key_type())]
    key: Option<KeyType>,
}

pub(super) fn run(options: &Options, now: i64) -> Result<(), CommandError> {
    let layout = Layout::of(&options.directory);
    let (place, key_place) = (layout.certificate(), layout.key());
    let present = pki::read(&read(&place)?, &place.display().to_string())?;
    if options.when_due && !present.is_due(now) {
        println!(
            "{} expires at {}; it is renewed only in the last third of its lifetime.",
            place.display(),
            date(present.not_after)
        );
        return Ok(());
    }
    let authority_place = layout.authority_certificate();
    let authority = IssuedPair {
        certificate_pem: read(&authority_place)?.to_string(),
        key_pem: read(&layout.authority_key())?.into(),
    };
    let new_key = options.key.map(pki::key).transpose()?;
    // A renewal that keeps the key replaces one file, so nobody can read halves of two pairs.
    let key: SecretText = match &new_key {
        Some(key) => key.clone(),
        None => read(&key_place)?.into(),
    };
    let parameters = HostParameters {
        hosts: present.parameters.hosts,
        duration: options.duration.unwrap_or(present.parameters.duration),
    };
    let origin = authority_place.display().to_string();
    let certificate = pki::leaf(&parameters, &key, &authority, &origin, now)?;

    let mut files = Staged::default();
    if let Some(key) = &new_key {
        files.add(&key_place, key.expose().as_bytes(), Access::of(&key_place)?)?;
    }
    files.add(&place, certificate.as_bytes(), Access::of(&place)?)?;
    files.put_in_place(Existing::Replaced)?;
    let names: Vec<String> = parameters.hosts.iter().map(Host::to_string).collect();
    println!(
        "Renewed {} for {}; it expires at {}. A running exporter loads it automatically.",
        place.display(),
        names.join(", "),
        date(pki::read(&certificate, &place.display().to_string())?.not_after)
    );
    Ok(())
}

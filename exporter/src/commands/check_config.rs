//! `check-config`: what a configuration would do if it were served.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use secure_exporter_web_config::{ClientAuthType, TlsServerConfig, TlsVersion, UserHashes};

use super::error::CommandError;
use super::pki::{self, Host};
use super::terminal::warn;
use crate::clock::{date, unix_now};
use crate::credentials::inspect::{Inspected, ServedCertificate, inspect};

/// Leaves enough time to renew by hand.
const SOON: i64 = 30 * DAY;
const DAY: i64 = 24 * 3600;

#[derive(Args)]
pub(super) struct Options {
    /// The web configuration file, as passed to --web.config.file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Prints what the file configures; warnings go to standard error.
pub(super) fn run(options: &Options) -> Result<(), CommandError> {
    let inspected = inspect(&options.file)?;
    let now = unix_now();
    let names = match &inspected.certificate {
        Some(certificate) => {
            pki::read(&certificate.pem, &certificate.origin)?
                .parameters
                .hosts
        }
        None => Vec::new(),
    };
    print!("{}", report(&options.file, &inspected, &names, now));
    for weakness in weaknesses(&inspected, &names, now)
        .into_iter()
        .chain(readable_by_everybody(&options.file, &inspected))
    {
        warn(&weakness);
    }
    match &inspected.certificate {
        Some(certificate) => certificate_is_valid(certificate, now),
        None => Ok(()),
    }
}

fn report(file: &Path, inspected: &Inspected, names: &[Host], now: i64) -> String {
    let config = &inspected.config;
    let mut out = format!("{} is valid:\n", file.display());
    let mut line = |name: &str, text: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {:<13} {text}", format!("{name}:"));
    };
    match (&config.tls_server_config, &inspected.certificate) {
        (Some(tls), Some(certificate)) => {
            line("TLS", versions(tls));
            let names: Vec<String> = names.iter().map(Host::to_string).collect();
            line(
                "certificate",
                format!(
                    "{}, serial {}, for {}",
                    certificate.origin,
                    certificate.serial,
                    names.join(", ")
                ),
            );
            line("expires", end(certificate.not_after, now));
            line("private key", "matches the certificate".to_owned());
            if let Some(kind) = client_authentication(tls) {
                line("clients", kind);
            }
        }
        _ => line("TLS", "none: plain HTTP".to_owned()),
    }
    for (name, hashes) in &config.basic_auth_users {
        line("user", format!("{name}, {}", costs(hashes)));
    }
    if let Some(limit) = config.rate_limit {
        line(
            "rate limit",
            format!(
                "a burst of {}, then one request every {:?}",
                limit.burst, limit.interval
            ),
        );
    }
    let http = config.http_server_config.as_ref();
    if http.and_then(|http| http.http2) == Some(false) {
        line("HTTP/2", "turned off".to_owned());
    }
    for header in http.iter().flat_map(|http| http.headers.keys()) {
        line("header", header.as_str().to_owned());
    }
    out
}

/// Returns what works but is not recommended.
fn weaknesses(inspected: &Inspected, names: &[Host], now: i64) -> Vec<String> {
    let config = &inspected.config;
    let tls = config.tls_server_config.as_ref();
    let auth_type = tls.and_then(|tls| tls.client_auth_type).unwrap_or_default();
    let certain = auth_type == ClientAuthType::RequireAndVerifyClientCert;
    let mut found = inspected.warnings.clone();
    if tls.is_none() {
        found.push(
            "there is no tls_server_config: metrics and passwords are sent unencrypted".into(),
        );
    }
    if config.basic_auth_users.is_empty() && !certain {
        found.push(
            "metrics are served without authentication: add basic_auth_users, or client_auth_type: RequireAndVerifyClientCert"
                .into(),
        );
    }
    if matches!(
        auth_type,
        ClientAuthType::RequestClientCert | ClientAuthType::RequireAnyClientCert
    ) {
        found.push(format!(
            "client_auth_type {} does not verify certificates: anyone can create one",
            auth_type.as_str()
        ));
    }
    if let Some(certificate) = &inspected.certificate {
        let left = certificate.not_after.saturating_sub(now);
        if (0..SOON).contains(&left) {
            found.push(format!(
                "the certificate in {} expires in {} days: renew it",
                certificate.origin,
                left / DAY
            ));
        }
        if names.is_empty() {
            found.push(format!(
                "the certificate in {} has no subjectAltName: clients that verify it refuse it",
                certificate.origin
            ));
        }
    }
    found
}

/// Returns warnings about secrets in files that other users of this machine can read.
fn readable_by_everybody(file: &Path, inspected: &Inspected) -> Vec<String> {
    let tls = inspected.config.tls_server_config.as_ref();
    let directory = file.parent().unwrap_or(Path::new("."));
    let key = tls
        .and_then(|tls| tls.key_file.as_ref())
        .map(|key| (directory.join(key), "private key"));
    let has_inline_key = tls.is_some_and(|tls| tls.key_file.is_none() && tls.key.is_some());
    let has_users = !inspected.config.basic_auth_users.is_empty();
    let configuration = match (has_inline_key, has_users) {
        (true, _) => Some("private key"),
        (false, true) => Some("password hashes"),
        (false, false) => None,
    }
    .map(|what| (file.to_owned(), what));
    key.into_iter()
        .chain(configuration)
        .filter(|(path, _)| {
            path.metadata()
                .is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
        })
        .map(|(path, what)| {
            let path = path.display();
            format!("{path} contains the {what} and can be read by every user: chmod o= {path}")
        })
        .collect()
}

fn certificate_is_valid(certificate: &ServedCertificate, now: i64) -> Result<(), CommandError> {
    let refused = |when: &str, at: i64, fix: &str| {
        Err(CommandError::Refused(format!(
            "the certificate in {} {when} {}: clients that verify it refuse it; {fix}",
            certificate.origin,
            date(at)
        )))
    };
    if now > certificate.not_after {
        refused("expired at", certificate.not_after, "renew it")
    } else if now < certificate.not_before {
        refused(
            "is valid only from",
            certificate.not_before,
            "check the clock of this machine",
        )
    } else {
        Ok(())
    }
}

fn versions(tls: &TlsServerConfig) -> String {
    let name = |version: TlsVersion| match version {
        TlsVersion::Tls12 => "1.2",
        TlsVersion::Tls13 => "1.3",
    };
    let min = tls.min_version.unwrap_or(TlsVersion::Tls12);
    let max = tls.max_version.unwrap_or(TlsVersion::Tls13);
    if min == max {
        name(min).to_owned()
    } else {
        format!("{} to {}", name(min), name(max))
    }
}

fn client_authentication(tls: &TlsServerConfig) -> Option<String> {
    let kind = tls.client_auth_type?;
    let sans = tls
        .client_allowed_sans
        .as_ref()
        .map(|sans| format!(", one of {}", sans.join(", ")));
    Some(format!("{}{}", kind.as_str(), sans.unwrap_or_default()))
}

fn costs(hashes: &UserHashes) -> String {
    let each: Vec<String> = hashes
        .as_slice()
        .iter()
        .map(|hash| format!("password {} with bcrypt cost {}", hash.id(), hash.cost()))
        .collect();
    each.join(", ")
}

fn end(not_after: i64, now: i64) -> String {
    let days = not_after.saturating_sub(now) / DAY;
    format!("{}, in {days} days", date(not_after))
}

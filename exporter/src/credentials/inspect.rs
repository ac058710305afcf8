//! Reads a configuration as if it were to be served, for tools that check it in advance.

use std::path::Path;

use secure_exporter_web_config::WebConfig;

use super::files;
use super::snapshot::{Snapshot, SnapshotError};

/// A configuration that can be served.
#[derive(Debug)]
pub struct Inspected {
    /// The content of the file.
    pub config: WebConfig,
    /// The warnings that the server would log.
    pub warnings: Vec<String>,
    /// `None` without TLS.
    pub certificate: Option<ServedCertificate>,
}

/// The certificate that would be served.
#[derive(Debug)]
pub struct ServedCertificate {
    /// The file, or the key of the configuration.
    pub origin: String,
    /// The PEM text, which is public.
    pub pem: String,
    /// Lower-case hexadecimal.
    pub serial: String,
    /// Seconds since the epoch.
    pub not_before: i64,
    /// Seconds since the epoch.
    pub not_after: i64,
}

/// Reads the configuration at `path` and all files that it names, by the rules of the server.
///
/// # Errors
/// The reason why the server would refuse it.
pub fn inspect(path: &Path) -> Result<Inspected, SnapshotError> {
    let set = files::read(path)?;
    let snapshot = Snapshot::of(&set)?;
    let warnings = snapshot.tls.as_ref().map(|tls| tls.warnings.clone());
    let certificate = snapshot
        .tls
        .zip(set.certificate)
        .map(|(tls, pem)| ServedCertificate {
            origin: pem.origin,
            pem: String::from_utf8_lossy(&pem.bytes).into_owned(),
            serial: tls.leaf.serial,
            not_before: tls.leaf.not_before,
            not_after: tls.leaf.not_after,
        });
    Ok(Inspected {
        config: set.config,
        warnings: warnings.unwrap_or_default(),
        certificate,
    })
}

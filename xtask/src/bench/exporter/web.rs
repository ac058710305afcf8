//! The web configuration that both exporters get: TLS and one user.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use rcgen::{CertificateParams, KeyPair};
use rustls::{RootCertStore, pki_types::CertificateDer};
use tempfile::TempDir;

use super::client::Target;
use crate::shell::output;

/// Who scrapes.
pub const USER: &str = "prometheus";
const PASSWORD: &str = "the password of a benchmark";

/// A folder with certificate, key and configuration.
pub struct Web {
    folder: TempDir,
    certificate: CertificateDer<'static>,
}

impl Web {
    /// A new certificate, and a hash of the usual cost.
    ///
    /// # Errors
    /// The folder cannot be written, or `htpasswd` is missing.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?.self_signed(&key)?;
        let line = output(Command::new("htpasswd").args(["-nbBC", "10", USER, PASSWORD]))?;
        let (_, hash) = line
            .trim()
            .split_once(':')
            .context("htpasswd printed no hash")?;
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text);
        write("tls.crt", certificate.pem())?;
        write("tls.key", key.serialize_pem())?;
        write(
            "web.yml",
            format!(
                "tls_server_config: {{cert_file: tls.crt, key_file: tls.key}}\n\
                 basic_auth_users: {{{USER}: '{hash}'}}\n"
            ),
        )?;
        Ok(Self {
            certificate: certificate.der().clone(),
            folder,
        })
    }

    /// The configuration's file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("web.yml")
    }

    /// An exporter on this port of 127.0.0.1 that was started with it.
    ///
    /// # Errors
    /// The certificate is not one to trust.
    pub fn target(&self, port: u16) -> Result<Target> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        Target::new(port, roots, PASSWORD)
    }
}

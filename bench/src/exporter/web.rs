//! The web configuration of both exporters: TLS and one user.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use rcgen::{CertificateParams, KeyPair};
use rustls::{RootCertStore, pki_types::CertificateDer};
use tempfile::TempDir;

use super::client::{Target, USER};
use testbed::process::output;

/// A folder with certificate, key and configuration.
pub struct Web {
    folder: TempDir,
    certificate: CertificateDer<'static>,
    password: &'static str,
}

impl Web {
    /// Creates a new certificate, and a hash of the usual cost.
    ///
    /// # Errors
    /// The folder cannot be written, or `htpasswd` is missing.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?.self_signed(&key)?;
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text);
        write("tls.crt", certificate.pem())?;
        write("tls.key", key.serialize_pem())?;
        let mut web = Self {
            certificate: certificate.der().clone(),
            folder,
            password: "",
        };
        web.set_password("the password of a benchmark")?;
        Ok(web)
    }

    /// Replaces the configuration by one with another password.
    ///
    /// # Errors
    /// The folder cannot be written, or `htpasswd` is missing.
    pub fn set_password(&mut self, password: &'static str) -> Result<()> {
        let line = output(Command::new("htpasswd").args(["-nbBC", "10", USER, password]))?;
        let (_, hash) = line
            .trim()
            .split_once(':')
            .context("htpasswd printed no hash")?;
        let next = self.folder.path().join("next.yml");
        let tls = "tls_server_config: {cert_file: tls.crt, key_file: tls.key}";
        let users = format!("basic_auth_users: {{{USER}: '{hash}'}}");
        fs::write(&next, format!("{tls}\n{users}\n"))?;
        fs::rename(next, self.file())?;
        self.password = password;
        Ok(())
    }

    /// The path of the configuration.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("web.yml")
    }

    /// Returns a client with the present password for an exporter on this port of 127.0.0.1.
    ///
    /// # Errors
    /// The certificate cannot be used as a trust anchor.
    pub fn target(&self, port: u16) -> Result<Target> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        Target::new(port, roots, self.password)
    }
}

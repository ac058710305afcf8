//! Certificates, created and read by openssl.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::process::{output, output_with_input};

/// A CA like that of a company.
pub struct Authority {
    folder: TempDir,
}

impl Authority {
    /// Creates a CA that is valid for a year.
    ///
    /// # Errors
    /// openssl is missing or failed. The same applies to all functions here.
    pub fn new(name: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        output(
            Command::new("openssl")
                .current_dir(folder.path())
                .args(["req", "-x509", "-new", "-nodes", "-days", "365"])
                .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
                .args(["-keyout", "ca.key", "-out", "ca.crt"])
                .args(["-subj", &format!("/O=Example/CN={name}")]),
        )?;
        Ok(Self { folder })
    }

    /// Returns its certificate, PEM.
    ///
    /// # Errors
    /// See above.
    pub fn certificate(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.path().join("ca.crt"))?)
    }

    /// Issues a certificate for a server, valid for ninety days: the certificate and its key, PEM.
    ///
    /// # Errors
    /// See above.
    pub fn issue(&self, server_name: &str) -> Result<(String, String)> {
        let folder = self.folder.path();
        output(
            Command::new("openssl")
                .current_dir(folder)
                .args(["req", "-new", "-nodes", "-newkey", "rsa:2048"])
                .args([
                    "-keyout",
                    "tls.key",
                    "-out",
                    "tls.csr",
                    "-subj",
                    "/CN=nodes",
                ]),
        )?;
        let extensions = format!(
            "subjectAltName=DNS:{server_name}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n"
        );
        fs::write(folder.join("extensions"), extensions)?;
        output(
            Command::new("openssl")
                .current_dir(folder)
                .args(["x509", "-req", "-in", "tls.csr", "-out", "tls.crt"])
                .args(["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"])
                .args(["-days", "90", "-extfile", "extensions"]),
        )?;
        let read = |name: &str| fs::read_to_string(folder.join(name));
        Ok((read("tls.crt")?, read("tls.key")?))
    }
}

/// Returns the serial number of the certificate that a server presents now, in hexadecimal.
///
/// # Errors
/// Nothing listens there, or it does not use TLS.
pub fn served_serial(address: &str, server_name: &str) -> Result<String> {
    let shown = output(Command::new("openssl").args([
        "s_client",
        "-connect",
        address,
        "-servername",
        server_name,
    ]))?;
    serial_number(&shown)
}

/// Returns the serial number of the first certificate of a text, in hexadecimal.
///
/// # Errors
/// There is none.
pub fn serial_number(text: &str) -> Result<String> {
    let serial = output_with_input(
        Command::new("openssl").args(["x509", "-noout", "-serial"]),
        text,
    )?;
    let serial = serial
        .trim()
        .strip_prefix("serial=")
        .context("openssl printed no serial")?;
    Ok(serial.to_owned())
}

/// Writes a self-signed certificate for localhost, valid for a year, like the manual procedure: `<name>.crt` and
/// `<name>.key`.
///
/// # Errors
/// openssl is missing or failed.
pub fn self_signed(folder: &Path, name: &str) -> Result<()> {
    output(
        Command::new("openssl")
            .current_dir(folder)
            .args([
                "req", "-new", "-newkey", "rsa:2048", "-x509", "-nodes", "-days", "365",
            ])
            .args([
                "-keyout",
                &format!("{name}.key"),
                "-out",
                &format!("{name}.crt"),
            ])
            .args(["-subj", "/C=CH/O=Example/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost"]),
    )?;
    Ok(())
}

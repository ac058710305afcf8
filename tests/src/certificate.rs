//! Certificates as openssl sees them.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};

use crate::process::output;

/// The serial number of the certificate that a server shows right now, hexadecimal.
///
/// # Errors
/// Nobody answers there, or not by TLS.
pub fn served_serial(address: &str, server_name: &str) -> Result<String> {
    let shown = output(
        Command::new("openssl").args(["s_client", "-connect", address, "-servername", server_name]),
        "",
    )?;
    let serial = output(
        Command::new("openssl").args(["x509", "-noout", "-serial"]),
        &shown,
    )?;
    let serial = serial
        .trim()
        .strip_prefix("serial=")
        .context("openssl printed no serial")?;
    Ok(serial.to_owned())
}

/// Writes a self-signed certificate for localhost, valid for a year, as the manual procedure makes it: `<name>.crt` and
/// `<name>.key`.
///
/// # Errors
/// openssl is missing or refuses.
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
        "",
    )?;
    Ok(())
}

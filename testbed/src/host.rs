//! The exporter on a bare host: a folder with its configuration, and the process.

pub mod hanging_files;
pub mod machine;
pub mod network;

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::{
    certificate::self_signed,
    curl::{Answer, Request},
    process::{Process, free_port, output, output_with_input},
    product::binaries,
    slot::Slot,
    wait::wait_until,
};
use hanging_files::HangingFiles;

/// The lines of the configuration at the beginning of the manual procedure.
pub const TLS: &str =
    "tls_server_config:\n  cert_file: node_exporter.crt\n  key_file: node_exporter.key\n";

/// A folder with `config.yml`, `node_exporter.crt` and `node_exporter.key`, and a port.
pub struct Host {
    folder: TempDir,
    /// The exporter's port on 127.0.0.1.
    pub port: u16,
}

impl Host {
    /// Creates a certificate like the manual procedure, and the configuration that names it.
    ///
    /// # Errors
    /// openssl is missing.
    pub fn with_certificate(_slot: &Slot) -> Result<Self> {
        let host = Self {
            folder: tempfile::tempdir()?,
            port: free_port()?,
        };
        self_signed(host.folder.path(), "node_exporter")?;
        host.write("config.yml", TLS)?;
        Ok(host)
    }

    /// The path of a file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the folder.
    ///
    /// # Errors
    /// The disk is full.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.path(name), text)?)
    }

    /// Starts the exporter and waits until it responds.
    ///
    /// # Errors
    /// It does not; the error contains its output.
    pub fn start(&self, extra: &[&str]) -> Result<Process> {
        self.started(self.command()?.args(extra))
    }

    /// Like [`Host::start`], with files that may hang.
    ///
    /// # Errors
    /// See there.
    pub fn start_inside(&self, files: &HangingFiles, extra: &[&str]) -> Result<Process> {
        let plain = self.command()?;
        let mut inside = files.inside();
        inside.arg(plain.get_program()).args(plain.get_args());
        self.started(inside.args(extra))
    }

    fn started(&self, command: &mut Command) -> Result<Process> {
        let mut process = Process::spawn(command)?;
        let answers = wait_until("the exporter to answer", Duration::from_secs(20), || {
            if let Err(ended) = process.check() {
                return Ok(Some(Err(ended)));
            }
            Ok(Some(Ok(self.get("/-/healthy").send()?)))
        });
        match answers? {
            Ok(_) => Ok(process),
            Err(ended) => Err(ended),
        }
    }

    /// Starts an exporter that must refuse to start, and returns its output.
    ///
    /// # Errors
    /// It started nevertheless.
    pub fn refused(&self, extra: &[&str]) -> Result<String> {
        let mut process = Process::spawn(self.command()?.args(extra))?;
        let status: ExitStatus = process.ended(Duration::from_secs(20))?;
        if status.success() {
            bail!("it ended well: {}", process.log()?);
        }
        process.log()
    }

    /// A request to the exporter, without verification.
    pub fn get(&self, path: &str) -> Request {
        self.verified(path).insecure()
    }

    /// A request to the exporter.
    pub fn verified(&self, path: &str) -> Request {
        Request::get(&format!("https://localhost:{}{path}", self.port))
    }

    /// Waits until requests without credentials get this status.
    ///
    /// # Errors
    /// They keep getting another one.
    pub fn wait_for_status(&self, status: u16) -> Result<Answer> {
        wait_until(&format!("HTTP {status}"), Duration::from_secs(20), || {
            Ok(Some(self.get("/metrics").send()?).filter(|answer| answer.status == status))
        })
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(binaries::built(binaries::EXPORTER)?);
        // The older name of the flag, as in the procedure; paths in the file are relative to the file.
        command
            .arg(format!(
                "--web.config={}",
                self.path("config.yml").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.port))
            .arg("--log.level=debug");
        Ok(command)
    }
}

/// Returns the output of `htpasswd` for a password with these options, without the user's name.
///
/// # Errors
/// htpasswd is missing.
pub fn htpasswd(options: &[&str], password: &str) -> Result<String> {
    let line = output(
        Command::new("htpasswd")
            .args(options)
            .args(["user", password]),
    )?;
    Ok(line.trim().trim_start_matches("user:").to_owned())
}

/// Returns the hash of a password by Python's bcrypt.
///
/// # Errors
/// Debian's python3-bcrypt is missing.
pub fn python_bcrypt(password: &str) -> Result<String> {
    const SCRIPT: &str = "import bcrypt, sys; \
        print(bcrypt.hashpw(sys.stdin.read().encode(), bcrypt.gensalt(rounds=10)).decode())";
    // Debian's own interpreter, because another one on the PATH does not find Debian's modules.
    let line = output_with_input(
        Command::new("/usr/bin/python3").args(["-c", SCRIPT]),
        password,
    )?;
    Ok(line.trim().to_owned())
}

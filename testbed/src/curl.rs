//! HTTP requests by curl.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};

use crate::process::output_with_input;

/// A request to send.
pub struct Request {
    command: Command,
    configuration: String,
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Request {
    /// Creates a GET request. The certificate is verified with the system's CAs, which do not include ours.
    pub fn get(url: &str) -> Self {
        let mut command = Command::new("curl");
        command.args(["-sS", "-m", "20", "-K", "-", "-w", "\n%{http_code}", url]);
        Self {
            command,
            configuration: String::new(),
        }
    }

    /// Verifies with these CAs.
    #[must_use]
    pub fn authorities(mut self, file: &Path) -> Self {
        self.command.arg("--cacert").arg(file);
        self
    }

    /// Disables verification.
    #[must_use]
    pub fn insecure(mut self) -> Self {
        self.command.arg("-k");
        self
    }

    /// Connects to this address, host and port, independent of the URL.
    #[must_use]
    pub fn connect_to(mut self, address: &str) -> Self {
        self.command.arg("--connect-to").arg(format!("::{address}"));
        self
    }

    /// Sends a header, `Name: value`.
    #[must_use]
    pub fn header(mut self, line: &str) -> Self {
        self.command.args(["-H", line]);
        self
    }

    /// Adds basic authentication. The password is passed on standard input, because every user can read command lines.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.configuration = format!("user = \"{name}:{password}\"\n");
        self
    }

    /// Sends it.
    ///
    /// # Errors
    /// There was no HTTP response; the error contains curl's message.
    pub fn send(mut self) -> Result<Answer> {
        let text = output_with_input(&mut self.command, &self.configuration)?;
        let (body, status) = text.rsplit_once('\n').context("curl printed no status")?;
        Ok(Answer {
            status: status.parse()?,
            body: body.to_owned(),
        })
    }
}

//! HTTP requests as people make them: by curl.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};

use crate::process::output_with_input;

/// A request to be sent.
pub struct Request {
    command: Command,
    configuration: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Request {
    /// GET of a URL. A certificate is verified by the system's authorities, which know none of ours.
    pub fn get(url: &str) -> Self {
        let mut command = Command::new("curl");
        command.args(["-sS", "-m", "20", "-K", "-", "-w", "\n%{http_code}", url]);
        Self {
            command,
            configuration: String::new(),
        }
    }

    /// Verifies by these authorities.
    #[must_use]
    pub fn authorities(mut self, file: &Path) -> Self {
        self.command.arg("--cacert").arg(file);
        self
    }

    /// Verifies nothing.
    #[must_use]
    pub fn insecure(mut self) -> Self {
        self.command.arg("-k");
        self
    }

    /// Connects to this address, host and port, whatever the URL names.
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

    /// Basic authentication. It goes by standard input, because a command line can be read by everyone.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.configuration = format!("user = \"{name}:{password}\"\n");
        self
    }

    /// Sends it.
    ///
    /// # Errors
    /// There was no HTTP answer: holds what curl said about it.
    pub fn send(mut self) -> Result<Answer> {
        let text = output_with_input(&mut self.command, &self.configuration)?;
        let (body, status) = text.rsplit_once('\n').context("curl printed no status")?;
        Ok(Answer {
            status: status.parse()?,
            body: body.to_owned(),
        })
    }
}

//! The web configuration file of Prometheus exporters (`--web.config.file`): read strictly, written plainly.
//!
//! The format is the one that node_exporter and its siblings read, with one extension: a user may have a *list* of
//! hashes, so that an old and a new password overlap during a rotation. With one hash per user the written file is
//! one that the stock exporters read as well.
//!
//! What is weaker than the format's own defaults is refused by name: TLS below 1.2, CBC suites, MD5 hashes, and every
//! section that is present but empty, because an emptied section is how encryption or authentication gets lost.
#![forbid(unsafe_code)]

mod config;
mod http;
mod parse;
mod tls;
mod users;
mod write;

pub use config::WebConfig;
pub use http::{HttpServerConfig, RateLimit, ResponseHeader, parse_duration};
pub use parse::ParseError;
pub use tls::{CipherSuite, ClientAuthType, Curve, TlsServerConfig, TlsVersion};
pub use users::{BcryptHash, BcryptHashError, NoHashes, TooMuchWork, UserHashes};

impl WebConfig {
    /// Reads a file's text. Relative paths stay as they are written: whoever reads the files knows the directory.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line where it has one. No message repeats a hash or a key.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::web_config(text)
    }

    /// The file's text. Equal configurations give equal text, and [`WebConfig::parse`] reads it back unchanged.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        write::web_config(self)
    }
}

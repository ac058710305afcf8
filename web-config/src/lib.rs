//! The web configuration file of Prometheus exporters (`--web.config.file`): a strict parser and a writer.
//!
//! The format is that of node_exporter and other exporters, with one extension: a user may have a *list* of hashes, so that
//! an old and a new password overlap during a rotation. A file with one hash per user can also be read by the stock
//! exporters.
//!
//! Settings that are weaker than the format's own defaults are refused with an error message: TLS below 1.2, CBC suites,
//! MD5 hashes, and every section that is present but empty, because an emptied section would turn off encryption or
//! authentication.
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
    /// Parses the text of a file. Relative paths are not resolved; the caller knows the directory.
    ///
    /// # Errors
    /// The first error, with its line if there is one. No message contains a hash or a key.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::web_config(text)
    }

    /// Formats the file. Equal configurations give equal text, and [`WebConfig::parse`] reads it back unchanged.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        write::web_config(self)
    }
}

//! Why nothing could be rendered.

/// Why nothing could be rendered: to publish it would open the endpoint or make exporters refuse every scraper.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The state contains no password.
    #[error("cannot publish a web configuration without users: the state contains no password")]
    NoUsers,
    /// The state contains no client certificate.
    #[error(
        "cannot require client certificates: the state contains none, so every scraper would be refused"
    )]
    NoClientCertificate,
    /// The state contains no CA.
    #[error("cannot publish an empty CA bundle: the state contains no CA")]
    EmptyBundle,
    /// The active generation of a CA or password is missing.
    #[error("cannot publish {what} generation {generation}: the state does not contain it")]
    MissingGeneration {
        /// `"password"` or `"authority"`.
        what: &'static str,
        /// The generation that is active.
        generation: u64,
    },
    /// The exporter would refuse the hash.
    #[error("cannot publish password generation {generation}: its hash is not a bcrypt hash")]
    BadHash {
        /// Generation of the password.
        generation: u64,
    },
    /// The scrape configuration could not be written.
    #[error("cannot serialize the scrape configuration: {0}")]
    Yaml(String),
}

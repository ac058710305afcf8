//! Why nothing was rendered.

/// Why nothing was rendered: publishing it would have opened the endpoint or refused every scraper.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// No password in the state.
    #[error("the state holds no password: refusing to publish a configuration without users")]
    NoUsers,
    /// No client certificate in the state.
    #[error("the state holds no client certificate: refusing to ask for one that no scraper has")]
    NoClientCertificate,
    /// No certificate authority in the state.
    #[error("the state holds no certificate authority: refusing to publish an empty trust bundle")]
    EmptyBundle,
    /// The active generation of something is not there.
    #[error("the state has no {what} of generation {generation}")]
    MissingGeneration {
        /// Password or authority.
        what: &'static str,
        /// The generation that is active.
        generation: u64,
    },
    /// A hash that the exporter would refuse.
    #[error("the hash of password generation {generation} is not one of bcrypt")]
    BadHash {
        /// Generation of the password.
        generation: u64,
    },
    /// The scrape configuration could not be written.
    #[error("the scrape configuration could not be written: {0}")]
    Yaml(String),
}

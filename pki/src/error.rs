//! Why a certificate could not be issued or was refused. No variant holds any part of a key.

use jiff::Timestamp;

/// Why a certificate or a private key was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// There is no certificate in the text.
    #[error("no PEM certificate found")]
    NoCertificate,
    /// There is no key in the text, or none that can be read.
    #[error("no PEM private key found")]
    NoKey,
    /// The certificate is damaged.
    #[error("the certificate cannot be read: {0}")]
    Damaged(String),
    /// The key is of a kind that cannot be used.
    #[error("the private key cannot be used")]
    UnusableKey,
    /// Key and certificate are of two pairs.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// The name is neither a DNS name nor an IP address.
    #[error("{0:?} is not a server name")]
    BadServerName(String),
    /// Whoever it is shown to would refuse the certificate.
    #[error("the certificate would be refused: {0}")]
    Refused(String),
}

/// Why a certificate could not be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The random number generator of the machine failed.
    #[error("the operating system gave no random numbers: {0}")]
    Random(String),
    /// The authority's certificate or key cannot be used.
    #[error("the certificate authority cannot sign: {0}")]
    Authority(#[source] InspectError),
    /// The authority is not valid any more.
    #[error("the certificate authority expired at {0}: a new one must be made first")]
    AuthorityExpired(Timestamp),
    /// A certificate for a host was asked for, without any host.
    #[error("the certificate names no host by which it could be verified")]
    NoHost,
    /// A value that X.509 writes in ASCII holds something else.
    #[error("{0} {1:?} holds characters other than ASCII")]
    NotAscii(&'static str, String),
    /// A time that a certificate cannot hold.
    #[error("a certificate cannot be valid until a time so far away")]
    OutOfTime,
    /// The cryptographic library refused.
    #[error("the certificate could not be made: {0}")]
    Crypto(#[from] rcgen::Error),
}

//! Errors of issuing and reading certificates. No variant contains any part of a key.

use jiff::Timestamp;

/// Why a certificate or a private key was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// The text contains no certificate.
    #[error("no PEM certificate found")]
    NoCertificate,
    /// The text contains no key, or none that can be parsed.
    #[error("no PEM private key found")]
    NoKey,
    /// The certificate is damaged.
    #[error("cannot parse the certificate: {0}")]
    Damaged(String),
    /// The type of the key is not supported.
    #[error("this type of private key is not supported")]
    UnusableKey,
    /// The key is not that of the certificate.
    #[error("the private key does not match the certificate")]
    KeyMismatch,
    /// The name is neither a DNS name nor an IP address.
    #[error("{0:?} is not a server name")]
    BadServerName(String),
    /// A verifier would refuse the certificate.
    #[error("a client would refuse the certificate: {0}")]
    Refused(String),
}

/// Why a client's certificate is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// It cannot be parsed.
    #[error("a certificate of the chain is damaged")]
    Damaged,
    /// A certificate of the chain is not valid yet.
    #[error("a certificate of the chain is not valid yet")]
    NotYetValid,
    /// A certificate of the chain has expired.
    #[error("a certificate of the chain has expired")]
    Expired,
    /// Nobody trusted has signed it.
    #[error("it was not issued by a CA of the client CA bundle")]
    UnknownIssuer,
    /// A signature is wrong.
    #[error("a signature in the chain is wrong")]
    BadSignature,
    /// A signature is of a kind that is not accepted any more.
    #[error("a certificate of the chain is signed with an unsupported algorithm")]
    UnsupportedSignature,
    /// An RSA key is too short to be trusted.
    #[error("an RSA key in the chain has fewer than 2048 bits")]
    WeakKey,
    /// The issuer is no CA, or may not sign certificates.
    #[error("its issuer is not a CA, or may not sign certificates (keyUsage)")]
    NotAuthority,
    /// A CA of the chain allows fewer CAs below itself.
    #[error("a CA of the chain allows fewer CAs below it (pathlen)")]
    PathLength,
    /// A certificate of the chain is not for clients.
    #[error("a certificate of the chain is not for clients (extendedKeyUsage)")]
    Purpose,
    /// A critical extension is not understood.
    #[error("a certificate of the chain has an unsupported critical extension")]
    CriticalExtension,
    /// Too many certificates or signatures.
    #[error("the chain is too long")]
    TooLong,
}

/// Why a certificate could not be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The random number generator of the operating system failed.
    #[error("cannot get random numbers from the operating system: {0}")]
    Random(String),
    /// The certificate or the key of the CA cannot be used.
    #[error("the CA cannot sign: {0}")]
    Authority(#[source] InspectError),
    /// The CA has expired.
    #[error("the CA expired at {0}: it must be replaced first")]
    AuthorityExpired(Timestamp),
    /// A certificate for a host was requested without any host.
    #[error("the certificate contains no host name by which it could be verified")]
    NoHost,
    /// A value that X.509 stores as ASCII contains other characters.
    #[error("{0} {1:?} contains characters other than ASCII")]
    NotAscii(&'static str, String),
    /// X.509 cannot represent the time.
    #[error("the end of the certificate's validity is too far in the future")]
    OutOfTime,
    /// The cryptographic library failed.
    #[error("cannot create the certificate: {0}")]
    Crypto(#[from] rcgen::Error),
}

//! Keys, certificates and passwords of the operator and of the exporter's `web-config`.
//!
//! [`issue`] issues the operator's certificates and [`issue_host`] those of a bare host. [`request`] creates signing requests
//! for other issuers. [`inspect`] and [`certificate`] parse and verify certificates, [`chain`] those of clients.
//!
//! All times are [`jiff::Timestamp`]s. Only [`Serial::random`], the generation of keys and [`password`] use randomness.
#![forbid(unsafe_code)]

pub mod certificate;
pub mod chain;
mod der;
pub mod error;
pub mod host;
pub mod inspect;
pub mod issue;
pub mod issue_host;
pub mod key;
pub mod password;
pub mod pem;
mod reissue;
pub mod request;
pub mod secret_text;
mod sign;
pub mod validity;

pub use certificate::Certificate;
pub use chain::{NameConstraints, TrustAnchors};
pub use error::{ChainError, InspectError, IssueError};
pub use host::{AlternativeName, Host};
pub use inspect::CertificateFacts;
pub use issue::{LeafParameters, Subject, cross_sign, issue_authority, issue_client, issue_leaf};
pub use issue_host::{HostParameters, certify_host, issue_host_authority};
pub use key::KeyType;
pub use request::{SigningRequest, request_leaf};
pub use sign::{IssuedPair, Serial};
pub use validity::{AUTHORITY_LIFE, BACKDATING};

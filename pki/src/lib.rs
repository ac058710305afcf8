//! Keys, certificates and passwords, as the operator and the exporter's `web-config` make and read them.
//!
//! Certificates are issued in [`issue`] (the operator's) and [`issue_host`] (a bare host's), requested from other issuers in
//! [`request`], and read and verified in [`inspect`] and [`certificate`].
//!
//! Times come in and go out as [`jiff::Timestamp`]; randomness is confined to [`Serial::random`], the making of keys and
//! [`password`].
#![forbid(unsafe_code)]

pub mod certificate;
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
pub use error::{InspectError, IssueError};
pub use host::{AlternativeName, Host};
pub use inspect::CertificateFacts;
pub use issue::{LeafParameters, Subject, cross_sign, issue_authority, issue_client, issue_leaf};
pub use issue_host::{HostParameters, certify_host, issue_host_authority};
pub use key::KeyType;
pub use request::{SigningRequest, request_leaf};
pub use sign::{IssuedPair, Serial};
pub use validity::{AUTHORITY_LIFE, BACKDATING};

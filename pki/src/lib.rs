//! Keys, certificates and passwords: made in [`issue`] and [`password`], asked for in [`request`], read in [`inspect`],
//! taken apart in [`pem`].
//!
//! Times come in and go out as [`jiff::Timestamp`]; randomness is confined to [`Serial::random`], the making of keys and
//! [`password`].
#![forbid(unsafe_code)]

pub mod inspect;
pub mod issue;
pub mod password;
pub mod pem;
pub mod request;
pub mod secret_text;

pub use inspect::{CertificateFacts, InspectError};
pub use issue::{
    AUTHORITY_LIFE, BACKDATING, IssueError, IssuedPair, KeyType, LeafParameters, Serial, Subject,
    cross_sign, issue_authority, issue_client, issue_leaf,
};
pub use request::{SigningRequest, request_leaf};

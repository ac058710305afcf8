//! Material that users and other issuers supply, checked before any of it is used. Pure.

pub mod cert_manager;
pub mod certificate;
pub mod credentials;
pub mod reference;

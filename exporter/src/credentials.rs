//! Who may connect and what is shown to them: the web configuration with its files, read anew when they change, and when
//! which credential was last used.

pub(crate) mod client_ca;
pub(crate) mod client_certificate;
pub(crate) mod client_verifier;
mod files;
pub(crate) mod inspect;
pub(crate) mod last_use;
pub(crate) mod reload;
pub(crate) mod snapshot;
mod stamps;
pub(crate) mod tls;

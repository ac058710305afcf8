//! Who may connect and what they may see: the web configuration and its files, which are reloaded when they change, and the
//! time at which each credential was last used.

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

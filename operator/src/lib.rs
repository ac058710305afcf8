//! Reconciles `SecureExporter` resources.
//!
//! One pass reads as one page: `observe` (what is there) → `rotation` (what should the secrets be) → `render` (which
//! objects follow) → `apply` → `status`. Only the first and the last two talk to the API server; everything between is
//! pure: no client, no clock, no randomness that is not passed in.
#![forbid(unsafe_code)]

pub mod api;
pub mod names;
pub mod pki;
pub mod render;
pub mod rotation;
pub mod secret_text;

pub use api::{crd, crd_yaml};

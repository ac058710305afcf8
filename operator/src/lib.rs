//! Reconciles `SecureExporter` resources.
//!
//! One pass reads as one page: `observe` (what is there) → `rotation` (what should the secrets be) → `render` (which
//! objects follow) → `apply` → `status`. Only the first and the last two talk to the API server; everything between is
//! pure: no client, no clock, no randomness that is not passed in.
#![forbid(unsafe_code)]

pub mod announce;
pub mod api;
pub mod api_error;
pub mod apply;
pub mod arguments;
pub mod backoff;
pub mod cert_manager;
pub mod certificate_status;
pub mod clock;
pub mod complaints;
pub mod conditions;
pub mod correspondence;
pub mod events;
pub mod failure;
pub mod guests;
pub mod health;
pub mod metrics;
pub mod names;
pub mod observe;
pub mod own_credentials;
pub mod reconcile;
pub mod render;
pub mod rotation;
pub mod rotation_status;
pub mod run;
pub mod status;
pub mod supply;
pub mod telemetry;
pub mod watch;

pub use api::{crd, crd_yaml};
pub use secure_exporter_pki as pki;
pub use secure_exporter_pki::secret_text;

//! Reconciles `SecureExporter` resources.
//!
//! One pass reads as one page: `observe` (what is there) → `rotation` (what should the secrets be) → `render` (which
//! objects follow) → `apply` → `report`. Only the first and the last two talk to the API server; everything between is
//! pure: no client, no clock, no randomness that is not passed in.
#![forbid(unsafe_code)]

pub mod api;
pub mod apply;
pub mod arguments;
pub mod clock;
pub mod controller;
pub mod names;
pub mod observe;
pub mod render;
pub mod report;
pub mod rotation;
pub mod run;
pub mod spec;
pub mod supplied;
pub mod telemetry;

pub use api::{crd, crd_yaml};

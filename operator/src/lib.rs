//! Reconciles `SecureExporter` resources.
//!
//! A pass over a resource runs `observe` (read the objects) → `rotation` (decide what the credentials should be) → `render`
//! (create the objects from them) → `apply` (write what differs) → `report`. Of these, only the first and the last two talk to
//! the API server; beside them, [`lease`] does, and the watches in [`controller`]. Everything between is pure: it uses no
//! client, and no clock or randomness that is not passed in.
#![forbid(unsafe_code)]

pub mod api;
pub mod apply;
pub mod arguments;
pub mod client;
pub mod clock;
pub mod controller;
pub mod lease;
pub mod memory;
pub mod monitoring;
pub mod names;
pub mod observe;
pub mod render;
pub mod report;
pub mod rotation;
pub mod run;
pub mod secret_object;
pub mod spec;
pub mod supplied;
pub mod telemetry;

pub use api::definition::{crd, crd_yaml};

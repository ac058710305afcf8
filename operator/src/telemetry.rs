//! What the operator says about itself: its log, metrics, events and probes.

pub mod events;
pub mod log;
pub mod log_bodies;
pub mod metrics;
pub mod probes;

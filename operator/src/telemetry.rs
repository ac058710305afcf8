//! What the operator says about itself: its log, metrics, events and probes.

pub mod events;
pub mod log;
pub mod log_bodies;
pub mod log_filter;
pub mod metrics;
pub mod passes;
pub mod probes;
pub mod repeats;

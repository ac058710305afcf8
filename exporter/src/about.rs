//! What the exporter says about itself.

pub(crate) mod self_metrics;
pub(crate) mod status;

//! What the exporter reports about itself.

pub(crate) mod self_metrics;
pub(crate) mod status;

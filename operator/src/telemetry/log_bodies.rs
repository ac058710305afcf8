//! Keeps the answers of the API server out of the log.

use tracing::Metadata;
use tracing_subscriber::filter::{FilterFn, filter_fn};

/// The module of kube that logs an answer that it cannot parse, as a warning with the whole text. Such a text may be a
/// Secret. The operator reports each failure itself, without the text.
const LOGS_BODIES: &str = "kube_client::client";

/// Lets everything into the log but the answers of the API server, at whatever level the user asks for.
pub fn without_bodies() -> FilterFn {
    filter_fn(|metadata: &Metadata<'_>| metadata.target() != LOGS_BODIES)
}

//! Keeps the answers of the API server out of the log.

use tracing::Metadata;
use tracing_subscriber::filter::{FilterFn, filter_fn};

/// The modules of kube that log an answer that they cannot parse: one as a warning with the whole text, the other, while it
/// debugs, with the value that does not fit. Such a text may be a Secret. The operator reports each failure itself, without
/// the text.
const LOG_BODIES: [&str; 2] = ["kube_client::client", "kube_runtime::watcher"];

/// Lets everything into the log but the answers of the API server, at whatever level the user asks for.
pub fn without_bodies() -> FilterFn {
    filter_fn(|metadata: &Metadata<'_>| !LOG_BODIES.contains(&metadata.target()))
}

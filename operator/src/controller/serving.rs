//! Serves a watched namespace for as long as the operator runs, also if it is deleted or does not exist yet. It never
//! affects the other namespaces.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    controller::{context::Context, is_refused, list, watch},
    observe::api_error,
    telemetry::{probes::Health, repeats::Repeats},
};

/// How often to try whether a namespace can be read.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Serves one namespace, or all, until the operator stops.
pub async fn serve(
    context: Arc<Context>,
    health: Arc<Health>,
    namespace: Option<String>,
    stop: CancellationToken,
) {
    let namespace = namespace.as_deref();
    while !stop.is_cancelled() {
        tokio::select! {
            () = wait_until_listed(&context, &health, namespace) => {}
            () = stop.cancelled() => return,
        }
        watch(context.clone(), namespace, &stop).await;
    }
}

async fn wait_until_listed(context: &Context, health: &Health, namespace: Option<&str>) {
    let repeats = Repeats::default();
    // As in the flag.
    let name = namespace.unwrap_or("*");
    while let Err(error) = list(&context.client, namespace).await {
        let is_refused = is_refused(&error);
        if is_refused {
            health.answered(name, false);
            context.metrics.watches(name, false);
        }
        let error = api_error::text(&error);
        if repeats.is_new(&error) {
            let problem = if is_refused && namespace.is_some() {
                "cannot list SecureExporters: the namespace does not exist, or the operator's Role or RoleBinding in it is missing or grants too little; the other namespaces are not affected. If the namespace is missing, create it or remove it from watchNamespaces; then run `helm upgrade`, which restores the Role"
            } else {
                "cannot list SecureExporters; retrying"
            };
            tracing::warn!(namespace = name, error, "{problem}");
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
    health.answered(name, true);
    context.metrics.watches(name, true);
    tracing::info!(namespace = name, "watching SecureExporters");
}

//! A pass over a resource that another release of the operator serves: it says so, and changes nothing.

use kube::Resource;
use std::time::Duration;

use crate::{api::SecureExporter, controller::context::Context, names::Owner, report::contention};

/// How often it is checked whether the other release still serves the namespace.
const CHECKED_EVERY: Duration = Duration::from_secs(30);

pub(crate) async fn stand_aside(
    resource: &SecureExporter,
    owner: &Owner,
    context: &Context,
    holder: &str,
) -> Duration {
    context.leave(owner);
    let message = contention::message(context.leases.release(), holder);
    let previous = resource.status.clone().unwrap_or_default();
    let generation = resource.meta().generation;
    let now = context.clock.now();
    if let Some(status) = contention::contended(&previous, &message, generation, now) {
        let resource_name = format!("{}/{}", owner.namespace, owner.name);
        match context.writer().contended(resource, owner, &status).await {
            Ok(()) if contention::is_said(&previous, &message) => {}
            Ok(()) => {
                tracing::warn!(resource = resource_name, message);
                context
                    .events
                    .warn_once(resource, "Contended", &message)
                    .await;
            }
            // The other release was faster; the change of the status triggers the next pass.
            Err(error) if error.is_conflict() => {}
            Err(error) => tracing::warn!(resource = resource_name, %error, message),
        }
    }
    CHECKED_EVERY
}

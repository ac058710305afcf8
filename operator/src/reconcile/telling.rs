//! What people hear of a pass: log, events and status.

use jiff::Timestamp;
use kube::Resource;

use super::Context;
use crate::{
    announce::{DECLINED, announcement},
    api::{SecureExporter, SecureExporterStatus},
    failure::ReconcileError,
    names::Owner,
    rotation::Step,
    status::{self, Published, Stalled},
};

pub(super) async fn tell(
    resource: &SecureExporter,
    context: &Context,
    steps: &[Step],
    rebuilt: bool,
) {
    let rebuilt = rebuilt.then(|| {
        let note = "the state was missing or older than what is published, and was made again from that; where the operator signs, the keys of the authorities are lost, so a new one follows";
        ("StateRebuilt", note.to_owned())
    });
    for (reason, note) in rebuilt
        .into_iter()
        .chain(steps.iter().filter_map(announcement))
    {
        tracing::info!(resource = %name(resource), reason, note);
        if reason == DECLINED {
            context.events.warn_once(resource, reason, &note).await;
        } else {
            context.events.done(resource, reason, &note).await;
        }
    }
}

/// Writes the status, and tells of what has newly gone wrong.
pub(super) async fn tell_status(
    resource: &SecureExporter,
    context: &Context,
    seen: &Published<'_>,
    previous: &SecureExporterStatus,
    now: Timestamp,
) -> Result<(), ReconcileError> {
    let status = status::published(previous, resource.meta().generation, seen, now)?;
    context.metrics.published(seen.owner, seen, &status, now);
    let blocked = status::newly_blocked(previous, &status).map(|news| ("RotationBlocked", news));
    let news = [
        blocked,
        status::newly_unaccepted(previous, &status),
        status::newly_invalid(previous, &status),
    ];
    for (reason, note) in news.into_iter().flatten() {
        context.events.warn_once(resource, reason, note).await;
    }
    context
        .writer()
        .status(resource, seen.owner, &status)
        .await?;
    Ok(())
}

/// Tells of a failure: in the log, and, where a person must do something, in an event and the conditions.
pub(super) async fn report(resource: &SecureExporter, context: &Context, error: &ReconcileError) {
    if error.is_passing() {
        tracing::debug!(resource = %name(resource), %error, "to be tried again");
        return;
    }
    let category = error.category();
    let message = chain(error);
    tracing::warn!(resource = %name(resource), category, error = message, "a pass failed");
    context.events.warn(resource, category, &message).await;
    let Some(owner) = Owner::of(resource) else {
        return;
    };
    let previous = resource.status.clone().unwrap_or_default();
    let why = Stalled {
        reason: category,
        message,
    };
    let status = status::stalled(
        &previous,
        resource.meta().generation,
        &why,
        context.clock.now(),
    );
    let written = context.writer().status(resource, &owner, &status).await;
    if let Err(error) = written {
        tracing::debug!(resource = %name(resource), %error, "the status could not be written");
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn name(resource: &SecureExporter) -> String {
    let meta = resource.meta();
    format!(
        "{}/{}",
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default()
    )
}

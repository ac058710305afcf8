//! Reports a pass: log, events, metrics and status.

use kube::Resource;

use crate::{
    api::SecureExporter,
    apply::error::ApplyError,
    controller::{context::Context, pass::Pass},
    names::ADOPT_ANNOTATION,
    observe::api_error,
    report::{
        announcements::{announcement, is_warning},
        news,
        pod_problems::Complaint,
        problem::Problem,
        seen::{Seen, Served},
        status,
    },
    rotation::step::Step,
};

/// What a pass has done.
pub(crate) struct News<'a> {
    pub(crate) steps: &'a [Step],
    pub(crate) is_rebuilt: bool,
    pub(crate) adopted: &'a [String],
}

/// Announces what a pass did.
pub(crate) async fn tell(pass: &Pass<'_>, news: &News<'_>) {
    let (resource, context) = (pass.resource, pass.context);
    if !news.adopted.is_empty() {
        let note = format!(
            "Adopted the restored objects: {}. The annotation {ADOPT_ANNOTATION} is used up and can be removed",
            news.adopted.join(", ")
        );
        announce(resource, context, "Adopted", &note, false).await;
    }
    for restored in &pass.restored {
        // A state that was rebuilt is not the one that was lost.
        if !(news.is_rebuilt && restored.name == pass.owner.state_secret()) {
            announce(resource, context, "Restored", &restored.note(), true).await;
        }
    }
    if news.is_rebuilt {
        let note = "The state was missing or older than the published objects, so it was rebuilt from them; if the operator runs the CA, its key is lost, and a new CA follows with overlap";
        announce(resource, context, "StateRebuilt", note, false).await;
    }
    for step in news.steps {
        if let Some((reason, note)) = announcement(step) {
            announce(resource, context, reason, &note, is_warning(step)).await;
        }
    }
}

async fn announce(
    resource: &SecureExporter,
    context: &Context,
    reason: &str,
    note: &str,
    is_warning: bool,
) {
    tracing::info!(resource = %name(resource), reason, note);
    if is_warning {
        context.events.warn_once(resource, reason, note).await;
    } else {
        context.events.done(resource, reason, note).await;
    }
}

/// Reports a pass in the log, by events, in metrics and in the status, even if it ended early. Returns whether the status was up
/// to date before.
///
/// # Errors
/// The status could not be written.
pub(crate) async fn report(pass: &Pass<'_>) -> Result<bool, ApplyError> {
    let (resource, context) = (pass.resource, pass.context);
    log(pass);
    let served = pass.spec.as_ref().zip(pass.state.as_ref());
    let complaints = pass.observed.complaints.as_ref();
    let found = complaints.map_or(&[][..], |complaints| &complaints.found);
    let port_rivals = match &pass.spec {
        Some(spec) if found.contains(&Complaint::PortTaken) => {
            context.port_rivals(pass.owner, spec.port)
        }
        _ => Vec::new(),
    };
    let seen = Seen {
        owner: pass.owner,
        served: served.map(|(spec, state)| Served { spec, state }),
        daemon_set: &pass.observed.daemon_set,
        complaints: found,
        complaints_are_known: complaints.is_some_and(|complaints| complaints.unread.is_empty()),
        port_rivals: &port_rivals,
        spec: pass.spec.as_ref(),
        generation: resource.meta().generation,
        is_settled: pass.is_settled,
        is_complete: pass.is_complete,
        exporters: pass.heard.as_ref().map(|heard| heard.exporters.as_slice()),
        waiting: &pass.waiting,
        requests: &pass.requests,
        adoption: &pass.adoption,
        own: pass.own.as_ref(),
        supply: pass.supply.as_ref(),
        ours_since: pass.ours_since,
        timers: &context.timers,
        problems: &pass.problems,
    };
    let previous = &pass.previous;
    let status = status::status(previous, &seen, pass.now);
    context.metrics.seen(&seen, &status, pass.now);
    let lasting = pass.problems.iter().filter(|problem| !problem.is_passing());
    let wrong = lasting.map(|problem| (problem.category(), chain(problem)));
    context
        .events
        .warn(resource, wrong.collect(), pass.is_complete)
        .await;
    let written = context.writer().status(resource, pass.owner, &status).await;
    if let Err(error) = written {
        tracing::warn!(resource = %name(resource), error = chain(&error), "cannot write the status");
        // What is new is announced with the status that says it.
        return Err(error);
    }
    let blocked = news::newly_blocked(previous, &status).map(|news| ("RotationBlocked", news));
    let news = [
        blocked,
        news::newly_unaccepted(previous, &status),
        news::newly_invalid(previous, &status),
        news::newly_refused(previous, &status),
        news::newly_troubled(previous, &status),
        news::newly_refusing(previous, &status),
    ];
    for (reason, note) in news.into_iter().flatten() {
        tracing::warn!(resource = %name(resource), reason, note);
        context.events.warn_once(resource, reason, note).await;
    }
    Ok(resource.status.as_ref() == Some(&status))
}

/// Logs each problem once, and again when it changes.
fn log(pass: &Pass<'_>) {
    let resource = name(pass.resource);
    let (conflicts, lasting): (Vec<&Problem>, Vec<&Problem>) =
        pass.problems.iter().partition(|it| it.is_conflict());
    for conflict in conflicts {
        let (category, error) = (conflict.category(), chain(conflict));
        tracing::debug!(
            resource,
            category,
            error,
            "conflict with another writer; retrying"
        );
    }
    let lasting = lasting.iter().map(|it| (it.category(), chain(*it)));
    let logged = &pass.context.logged;
    let change = logged.change(&pass.owner.uid, lasting.collect(), pass.is_complete);
    for (category, error) in change.new {
        tracing::warn!(
            resource,
            category,
            error,
            "the resource could not be fully reconciled"
        );
    }
    if change.is_over {
        tracing::info!(resource, "the resource is fully reconciled again");
    }
}

/// The error and its causes. kube's own text of an error ends with Rust's notation of the API server's whole answer.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let of_api = api_error::of(cause);
        let cause_text = of_api.map_or_else(|| cause.to_string(), api_error::text);
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source().filter(|_| of_api.is_none());
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

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn the_text_of_an_error_is_not_rust_notation() {
        let message = "admission webhook \"x\" denied the request";
        let refused = kube::Error::Api(Box::new(
            Status::failure(message, "Forbidden").with_code(403),
        ));
        let error = ApplyError::Api {
            verb: "apply",
            kind: "DaemonSet".into(),
            name: "nodes".into(),
            source: Box::new(refused),
        };
        let text = chain(&error);
        assert_eq!(text, format!("cannot apply DaemonSet nodes: {message}"));
    }
}

//! Kubernetes events for `kubectl describe`: what the operator did, and what is wrong.

use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::{
    api::SecureExporter,
    names::MANAGED_BY,
    observe::api_error,
    telemetry::repeats::{Reported, Said},
};

/// The API server refuses longer notes.
const MAX_NOTE_BYTES: usize = 1024;

/// Publishes events, each change once.
pub struct Events {
    client: Client,
    reporter: Reporter,
    warned: Reported,
}

impl Events {
    /// Creates the publisher.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            reporter: Reporter {
                controller: MANAGED_BY.to_owned(),
                instance: std::env::var("HOSTNAME").ok(),
            },
            warned: Reported::default(),
        }
    }

    /// Publishes that something was done.
    pub async fn done(&self, resource: &SecureExporter, reason: &str, note: &str) {
        self.publish(resource, EventType::Normal, reason, note)
            .await;
    }

    /// Publishes warnings, each a reason and a note. `wrong` must contain all current problems: those of the last pass are
    /// not published again.
    pub async fn warn(&self, resource: &SecureExporter, wrong: Vec<Said>, is_all: bool) {
        let uid = resource.meta().uid.clone().unwrap_or_default();
        for (reason, note) in self.warned.change(&uid, wrong, is_all).new {
            self.publish(resource, EventType::Warning, reason, &note)
                .await;
        }
    }

    /// Publishes a warning that the caller knows to be new.
    pub async fn warn_once(&self, resource: &SecureExporter, reason: &str, note: &str) {
        self.publish(resource, EventType::Warning, reason, note)
            .await;
    }

    /// Forgets a deleted resource.
    pub fn forget(&self, uid: &str) {
        self.warned.forget(uid);
    }

    async fn publish(&self, resource: &SecureExporter, type_: EventType, reason: &str, note: &str) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(cut(note).to_owned()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        // A new recorder each time, because a shared one repeats the first note of a reason for six minutes.
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        if let Err(error) = recorder.publish(&event, &resource.object_ref(&())).await {
            let error = api_error::text(&error);
            tracing::debug!(error, reason, "cannot publish an event");
        }
    }
}

fn cut(note: &str) -> &str {
    let mut end = note.len().min(MAX_NOTE_BYTES);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let note = "ä".repeat(600);
        assert_eq!(cut(&note).len(), 1024);
        assert_eq!(cut(&format!("a{note}")).len(), 1023);
        assert_eq!(cut("short"), "short");
    }
}

//! An answer of the API server that cannot be parsed may be a Secret: it reaches neither the log nor an error.

use std::{io, pin::pin, sync::Arc};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, runtime::watcher};
use parking_lot::Mutex;
use secure_exporter_operator::{observe::api_error, telemetry::log_bodies::without_bodies};
use serde_json::json;
use tracing_subscriber::layer::SubscriberExt;

use crate::fake_api::FakeApi;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_parsed_is_not_logged() {
    let log = Log::default();
    let lines = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || lines.clone())
        .finish()
        .with(without_bodies());
    let guard = tracing::subscriber::set_default(subscriber);
    // A text where a map must be.
    let api = FakeApi::start(|_| (200, json!({"kind": "Secret", "data": "hunter2"}))).await;
    let secrets: Api<Secret> = Api::namespaced(api.client.clone(), "monitoring");
    let error = secrets.get("nodes-state").await.unwrap_err();
    let secret = json!({"metadata": {"name": "nodes-state"}, "data": "hunter2"});
    let list = json!({"metadata": {"resourceVersion": "1"}, "items": [secret]});
    let api = FakeApi::start(move |_| (200, list.clone())).await;
    let secrets: Api<Secret> = Api::namespaced(api.client.clone(), "monitoring");
    let mut events = pin!(watcher(secrets, watcher::Config::default()));
    while events.next().await.unwrap().is_ok() {}
    tracing::warn!("the log works");
    drop(guard);
    let log = String::from_utf8(log.0.lock().clone()).unwrap();
    assert!(log.contains("the log works"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");

    // The error itself has the text.
    assert!(error.to_string().contains("hunter2"), "{error}");
    let text = api_error::text(&error);
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("line 1"), "{text}");
}

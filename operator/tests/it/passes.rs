//! What a whole pass needs: an API server that stores objects, and the operator's memory.

use std::{collections::BTreeMap, sync::Arc};

use kube::Client;
use secure_exporter_operator::{
    api::SecureExporter,
    clock::{Clock, SystemClock},
    controller::{backoff::PerObject, context::Context, interviewer::prober},
    lease::{Intervals, Leases},
    names::Owner,
    rotation::timing::Timers,
    spec::{
        image_policy::ImagePolicy,
        pod_policy::{PodPolicy, PodRules},
        policy::Policy,
    },
    supplied::reference::ReferencePolicy,
    telemetry::{events::Events, metrics::Metrics, passes::Passes},
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    fake_api::{Request, refusal},
    render_children::owner,
};

/// The objects of the API server, by path.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) objects: BTreeMap<String, Value>,
    pub(crate) writes: u64,
    pub(crate) refuses_to_delete: bool,
}

impl Store {
    pub(crate) fn answer(&mut self, request: &Request) -> (u16, Value) {
        let Request { verb, path, body } = request;
        match verb.as_str() {
            "GET" if path.ends_with("/nodes") || path.contains("/nodes-") => self.read(path),
            "GET" => self.list(path),
            "POST" => {
                let name = body["metadata"]["name"].as_str().unwrap_or("generated");
                self.put(&format!("{path}/{name}"), body)
            }
            "PUT" => self.put(path, body),
            "APPLY" => self.merge(path, body),
            "PATCH" if !path.contains("/secureexporters/") => self.merge(path, body),
            "DELETE" if self.refuses_to_delete => refusal(403, "Forbidden", &[]),
            "DELETE" => {
                self.objects.remove(path);
                (
                    200,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}),
                )
            }
            // Of the status.
            _ => (200, json!(resource())),
        }
    }

    fn read(&self, path: &str) -> (u16, Value) {
        let found = self.objects.get(path).cloned();
        found.map_or_else(|| refusal(404, "NotFound", &[]), |object| (200, object))
    }

    fn list(&self, path: &str) -> (u16, Value) {
        let inside = format!("{path}/");
        let items = self
            .objects
            .iter()
            .filter(|(path, _)| path.starts_with(&inside));
        let items: Vec<&Value> = items.map(|(_, object)| object).collect();
        (200, json!({"metadata": {}, "items": items}))
    }

    /// Lists are replaced. Where nothing changes, the version stays.
    fn merge(&mut self, path: &str, patch: &Value) -> (u16, Value) {
        let Some(before) = self.objects.get(path).cloned() else {
            return self.put(path, patch);
        };
        let mut after = before.clone();
        merge(&mut after, patch);
        if after == before {
            return (200, before);
        }
        self.put(path, &after)
    }

    pub(crate) fn put(&mut self, path: &str, object: &Value) -> (u16, Value) {
        self.writes += 1;
        let mut object = object.clone();
        object["metadata"]["uid"] = format!("uid of {path}").into();
        object["metadata"]["resourceVersion"] = self.writes.to_string().into();
        self.objects.insert(path.to_owned(), object.clone());
        (200, object)
    }
}

fn merge(object: &mut Value, patch: &Value) {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            for (field, patch) in patch {
                if patch.is_null() {
                    object.remove(field);
                } else {
                    merge(object.entry(field).or_insert(Value::Null), patch);
                }
            }
        }
        (object, patch) => object.clone_from(patch),
    }
}

pub(crate) fn resource() -> SecureExporter {
    let Owner {
        name,
        namespace,
        uid,
    } = owner();
    let metadata = json!({"name": name, "namespace": namespace, "uid": uid, "generation": 1});
    serde_json::from_value(json!({
        "apiVersion": "secureexporter.dev/v1alpha1", "kind": "SecureExporter",
        "metadata": metadata, "spec": {}}))
    .unwrap()
}

pub(crate) fn context(client: &Client) -> Context {
    context_with(client, Intervals::default())
}

pub(crate) fn context_with(client: &Client, intervals: Intervals) -> Context {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let metrics = Arc::new(Metrics::default());
    let release = "monitoring/secure-exporter".to_owned();
    let leases = Leases::new(
        client.clone(),
        release,
        clock.clone(),
        metrics.clone(),
        intervals,
    );
    let (pods, wakes, remembered) = (Arc::default(), Arc::default(), Arc::default());
    let timers = Timers::default();
    Context {
        client: client.clone(),
        prober: prober(client, &pods, &wakes, &remembered, &clock, &timers),
        pods,
        dependents: Default::default(),
        versions: Default::default(),
        rests: Default::default(),
        wakes,
        remembered,
        clock,
        leases: Arc::new(leases),
        passes: Arc::new(Passes::new(1)),
        permits: Semaphore::new(1),
        policy: Policy {
            images: ImagePolicy::new("localhost/secure-exporter:dev", &[]).unwrap(),
            pods: PodPolicy::new(&PodRules::default()).unwrap(),
        },
        references: ReferencePolicy::AnyFitting,
        metrics,
        events: Events::new(client.clone()),
        backoff: PerObject::default(),
        logged: Default::default(),
        repairs: Default::default(),
        verified: Default::default(),
        pod_monitors: Default::default(),
        timers,
    }
}

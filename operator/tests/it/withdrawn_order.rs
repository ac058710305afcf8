//! A CertificateRequest does not outlive the change to another issuer, even if it cannot be deleted at once.

use std::{collections::BTreeMap, sync::Arc};

use kube::Client;
use parking_lot::Mutex;
use secure_exporter_operator::{
    api::SecureExporter,
    clock::{Clock, SystemClock},
    controller::{backoff::PerObject, context::Context, interviewer::prober, supervised},
    lease::Leases,
    names::Owner,
    render::{certificate_request, state_secret},
    rotation::{order::Order, timing::Timers},
    spec::{
        image_policy::ImagePolicy,
        issuer::ValidIssuer,
        pod_policy::{PodPolicy, PodRules},
        policy::Policy,
    },
    supplied::reference::ReferencePolicy,
    telemetry::{events::Events, metrics::Metrics, passes::Passes},
};
use secure_exporter_pki::request_leaf;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    fake_api::{FakeApi, Request, refusal},
    render_children::{owner, valid},
};

/// The objects of the API server, by path.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) objects: BTreeMap<String, Value>,
    writes: u64,
    refuses_to_delete: bool,
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
            "PUT" | "APPLY" => self.put(path, body),
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

    fn put(&mut self, path: &str, object: &Value) -> (u16, Value) {
        self.writes += 1;
        let mut object = object.clone();
        object["metadata"]["uid"] = format!("uid of {path}").into();
        object["metadata"]["resourceVersion"] = self.writes.to_string().into();
        self.objects.insert(path.to_owned(), object.clone());
        (200, object)
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
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let metrics = Arc::new(Metrics::default());
    let release = "monitoring/secure-exporter".to_owned();
    let leases = Leases::new(client.clone(), release, clock.clone(), metrics.clone());
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
        repairs: Default::default(),
        verified: Default::default(),
        timers,
    }
}

#[tokio::test]
async fn an_order_is_forgotten_when_its_request_is_deleted() {
    const SECRETS: &str = "/api/v1/namespaces/monitoring/secrets";
    const REQUESTS: &str = "/apis/cert-manager.io/v1/namespaces/monitoring/certificaterequests";
    let spec = valid(json!({"tls": {"issuer": {
        "type": "CertManager", "certManager": {"issuerRef": {"name": "first"}}}}}))
    .spec;
    let ValidIssuer::CertManager { issuer, .. } = &spec.issuer else {
        panic!("{:?}", spec.issuer);
    };
    let order = Order {
        signing: request_leaf(&spec.certificate.parameters).unwrap(),
        parameters: "fingerprint".into(),
        made: jiff::Timestamp::now(),
        attempt: 1,
        refused: None,
    };
    // The spec of the resource is empty, so that the operator is the issuer now.
    let request = certificate_request(&spec, &owner(), issuer, &order);
    let request_path = format!("{REQUESTS}/{}", request.metadata.name.clone().unwrap());
    let mut store = Store {
        refuses_to_delete: true,
        ..Store::default()
    };
    let state = state_secret(&owner(), None, Some(&order));
    store.put(&format!("{SECRETS}/nodes-state"), &json!(state));
    store.put(&request_path, &json!(request));
    let store = Arc::new(Mutex::new(store));
    let shared = store.clone();
    let api = FakeApi::start(move |request| shared.lock().answer(request)).await;
    let context = Arc::new(context(&api.client));

    let is_on_order = |store: &Store| {
        let state = &store.objects[&format!("{SECRETS}/nodes-state")];
        assert!(
            state["data"]["leaf.key"].is_string(),
            "the operator issued nothing"
        );
        state["data"]["request.json"].is_string()
    };
    supervised(&resource(), &owner(), &context).await.unwrap();
    assert!(
        is_on_order(&store.lock()),
        "nothing would look for the request"
    );
    assert!(store.lock().objects.contains_key(&request_path));

    store.lock().refuses_to_delete = false;
    // As after a restart.
    let context = Arc::new(self::context(&api.client));
    supervised(&resource(), &owner(), &context).await.unwrap();
    assert!(!store.lock().objects.contains_key(&request_path));
    assert!(!is_on_order(&store.lock()));
}

#[tokio::test]
async fn a_lease_that_cannot_be_written_stops_no_issuance() {
    const RESOURCE: &str =
        "/apis/secureexporter.dev/v1alpha1/namespaces/monitoring/secureexporters/nodes";
    let mut store = Store::default();
    store.objects.insert(RESOURCE.to_owned(), json!(resource()));
    let store = Arc::new(Mutex::new(store));
    let shared = store.clone();
    let api = FakeApi::start(move |request| {
        let is_lease = request.path.contains("/leases");
        match request.verb.as_str() {
            // As with an admission webhook that does not answer.
            "POST" | "PUT" if is_lease => refusal(500, "InternalError", &[]),
            _ => shared.lock().answer(request),
        }
    })
    .await;
    let context = Arc::new(context(&api.client));
    supervised(&resource(), &owner(), &context).await.unwrap();
    let state = "/api/v1/namespaces/monitoring/secrets/nodes-state";
    assert!(store.lock().objects.contains_key(state));
}

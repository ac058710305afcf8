//! Other clients that set what is ours again and again: it is restored once, then reported and left for growing pauses. What
//! holds credentials, and whatever was deleted, is restored at once every time, and reported, too.

use std::sync::Arc;

use parking_lot::Mutex;
use secure_exporter_operator::{
    api::SecureExporter,
    controller::{context::Context, supervised},
};
use serde_json::{Value, json};

use crate::{
    fake_api::{FakeApi, Request},
    passes::{Store, context, resource},
    quiet_passes::{cluster, writes},
    render_children::owner,
};

const DAEMON_SET: &str = "/apis/apps/v1/namespaces/monitoring/daemonsets/nodes";
const SERVICE: &str = "/api/v1/namespaces/monitoring/services/nodes";
const ACCOUNT: &str = "/api/v1/namespaces/monitoring/serviceaccounts/nodes";
const ROLE: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/monitoring/roles/nodes-discovery";
const BINDING: &str =
    "/apis/rbac.authorization.k8s.io/v1/namespaces/monitoring/rolebindings/nodes-discovery";
const MONITOR: &str = "/apis/monitoring.coreos.com/v1/namespaces/monitoring/podmonitors/nodes";
const SCRAPE: &str = "/api/v1/namespaces/monitoring/secrets/nodes-scrape";
const BUNDLE: &str = "/api/v1/namespaces/monitoring/configmaps/nodes-ca";

/// A resource for which everything is written, with nothing left to do.
struct Quiet {
    api: FakeApi,
    store: Arc<Mutex<Store>>,
    context: Context,
    resource: SecureExporter,
}

/// What a pass did.
struct Passed {
    writes: Vec<String>,
    /// The condition that it reported.
    ready: Value,
    events: Vec<Value>,
}

impl Quiet {
    async fn new() -> Self {
        let (api, store) = cluster().await;
        let quiet = Self::of(api, store);
        quiet.settle().await;
        quiet
    }

    fn of(api: FakeApi, store: Arc<Mutex<Store>>) -> Self {
        let context = context(&api.client);
        let mut resource = resource();
        let spec = json!({"scrape": {
            "serviceAccounts": [{"namespace": "monitoring", "name": "prometheus"}],
            "prometheusOperator": {"mode": "Enabled"},
        }});
        resource.spec = serde_json::from_value(spec).unwrap();
        Self {
            api,
            store,
            context,
            resource,
        }
    }

    async fn settle(&self) {
        for _ in 0..3 {
            self.pass().await;
        }
        assert_eq!(self.pass().await.writes, [""; 0]);
    }

    async fn pass(&self) -> Passed {
        self.api.take_requests();
        supervised(&self.resource, &owner(), &self.context)
            .await
            .unwrap();
        let requests = self.api.take_requests();
        let status = requests.iter().find(|it| it.path.ends_with("/status"));
        let conditions = status.map(|it| it.body["status"]["conditions"].clone());
        let conditions = conditions.unwrap_or_default();
        let mut conditions = conditions
            .as_array()
            .cloned()
            .unwrap_or_default()
            .into_iter();
        let is_event = |it: &&Request| it.path.ends_with("/events") && it.verb == "POST";
        let events = requests.iter().filter(is_event);
        let of_objects = requests.iter().filter(|it| {
            let about_others = ["/events", "/leases", "/secureexporters/"];
            !about_others.iter().any(|other| it.path.contains(other))
        });
        Passed {
            events: events.map(|it| it.body.clone()).collect(),
            ready: conditions
                .find(|it| it["type"] == "Ready")
                .unwrap_or_default(),
            writes: writes(&of_objects.cloned().collect::<Vec<_>>()),
        }
    }

    /// Another client writes an object.
    fn edit(&self, path: &str, change: impl Fn(&mut Value)) {
        let mut store = self.store.lock();
        store.writes += 1;
        let version = store.writes.to_string();
        let object = store.objects.get_mut(path).unwrap();
        change(object);
        object["metadata"]["resourceVersion"] = version.into();
    }

    fn set(&self, path: &str, pointer: &str, value: &Value) {
        self.edit(path, |object| set(object, pointer, value.clone()));
    }
}

fn set(object: &mut Value, pointer: &str, value: Value) {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap();
    let field = field.replace("~1", "/");
    match parent {
        Value::Array(items) => items.push(value),
        parent => parent[field] = value,
    }
}

fn restored(passed: &Passed) -> Vec<&str> {
    let restored = passed.events.iter().filter(|it| it["reason"] == "Restored");
    restored.map(|it| it["note"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_is_ours_and_is_set_again_is_restored_once_and_then_reported() {
    let image = "/spec/template/spec/containers/0/image";
    let memory = "/spec/template/spec/containers/0/resources/requests/memory";
    let label = "/metadata/labels/app.kubernetes.io~1managed-by";
    let subject = json!({"kind": "ServiceAccount", "namespace": "a", "name": "b"});
    let exporter = "spec.template.spec.containers[exporter]";
    let cases = [
        (
            DAEMON_SET,
            image,
            json!("example.com/a:1"),
            &*format!("{exporter}.image"),
        ),
        (
            DAEMON_SET,
            memory,
            json!("1Gi"),
            &*format!("{exporter}.resources.requests.memory"),
        ),
        (
            DAEMON_SET,
            label,
            json!("argocd"),
            "metadata.labels.app.kubernetes.io/managed-by",
        ),
        (
            SERVICE,
            "/spec/ports/0/port",
            json!(1),
            "spec.ports[metrics].port",
        ),
        (
            ACCOUNT,
            "/automountServiceAccountToken",
            json!(true),
            "automountServiceAccountToken",
        ),
        (ROLE, "/rules/0/verbs", json!(["*"]), "rules[0].verbs"),
        // Added to an item of a list that is ours.
        (ROLE, "/rules/0/resourceNames", json!(["a"]), "rules[*]"),
        (BINDING, "/subjects/-", subject, "subjects"),
        (
            MONITOR,
            "/spec/podMetricsEndpoints/0/scheme",
            json!("http"),
            "spec.podMetricsEndpoints[0].scheme",
        ),
        (
            MONITOR,
            "/spec/podMetricsEndpoints/0/honorLabels",
            json!(true),
            "spec",
        ),
    ];
    for (path, pointer, value, field) in cases {
        let quiet = Quiet::new().await;
        let before = quiet.store.lock().objects[path].clone();
        quiet.set(path, pointer, &value);
        let passed = quiet.pass().await;
        assert_eq!(passed.writes, [format!("APPLY {path}")], "{field}");
        let notes = restored(&passed);
        assert!(
            notes.iter().any(|it| it.contains(field)),
            "{field}: {notes:?}"
        );
        assert_ne!(passed.ready["reason"], "ForeignFields", "{field}");
        assert_eq!(quiet.pass().await.writes, [""; 0], "{field}");

        for _ in 0..3 {
            quiet.set(path, pointer, &value);
            let passed = quiet.pass().await;
            assert_eq!(passed.writes, [""; 0], "{field}");
            assert_eq!(passed.ready["status"], "False", "{field}");
            assert_eq!(passed.ready["reason"], "ForeignFields", "{field}");
            let message = passed.ready["message"].as_str().unwrap();
            assert!(message.contains(&format!(": {field}.")), "{message}");
        }
        // The other client gives up. Where only a list is known, the next restoration shows it.
        quiet.edit(path, |object| object.clone_from(&before));
        let is_reported = quiet.pass().await.ready["reason"] == "ForeignFields";
        assert_eq!(is_reported, matches!(field, "rules[*]" | "spec"), "{field}");
    }
}

#[tokio::test]
async fn the_field_manager_is_named_and_our_own_change_is_never_held_back() {
    let mut quiet = Quiet::new().await;
    for round in 0..2 {
        quiet.edit(DAEMON_SET, |object| {
            set(object, "/spec/template/spec/containers/0/image", json!("example.com/a:1"));
            object["metadata"]["managedFields"] = json!([{"manager": "kyverno", "operation": "Update",
                "fieldsType": "FieldsV1", "time": "2026-11-29T00:00:00Z",
                "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {
                    "k:{\"name\":\"exporter\"}": {"f:image": {}}}}}}}}]);
        });
        let passed = quiet.pass().await;
        let is_reported = passed.ready["message"]
            .as_str()
            .unwrap_or_default()
            .contains("kyverno");
        assert_eq!(is_reported, round == 1, "{}", passed.ready);
    }
    quiet.resource.metadata.generation = Some(2);
    quiet.resource.spec.exporter.port = 9123;
    let passed = quiet.pass().await;
    let applied = format!("APPLY {DAEMON_SET}");
    assert!(passed.writes.contains(&applied), "{:?}", passed.writes);
}

#[tokio::test]
async fn credentials_and_deleted_objects_are_restored_at_once_in_every_round() {
    let cases = [
        (SCRAPE, Some("/data/password"), "PUT", "Secret nodes-scrape"),
        (BUNDLE, None, "POST", "ConfigMap nodes-ca"),
        (SERVICE, None, "APPLY", "Service nodes"),
    ];
    for (path, pointer, verb, what) in cases {
        let quiet = Quiet::new().await;
        for round in 1..=11 {
            match pointer {
                Some(pointer) => quiet.set(path, pointer, &json!("b3RoZXI=")),
                None => drop(quiet.store.lock().objects.remove(path)),
            }
            let passed = quiet.pass().await;
            let [write] = &passed.writes[..] else {
                panic!("{what}, round {round}: {:?}", passed.writes);
            };
            assert!(write.starts_with(verb), "{what}: {write}");
            let notes = restored(&passed);
            if round < 10 {
                assert_eq!(notes.len(), 1, "{what}, round {round}: {notes:?}");
                assert!(notes[0].contains(what), "{notes:?}");
                continue;
            }
            assert!(notes.is_empty(), "{what}: the events are a flood");
            assert_eq!(passed.ready["reason"], "RestoredRepeatedly", "{what}");
            let message = passed.ready["message"].as_str().unwrap();
            assert!(message.contains(what), "{message}");
        }
    }
}

#[tokio::test]
async fn an_unchanged_pod_monitor_costs_no_write_even_with_a_webhook() {
    let (_, store) = cluster().await;
    let (shared, mut touched) = (store.clone(), 0);
    // The webhook changes the object in another way each time.
    let api = FakeApi::start(move |request| {
        let mut request = request.clone();
        if request.path == MONITOR && request.verb == "APPLY" {
            touched += 1;
            request.body["metadata"]["annotations"]["touched"] = touched.to_string().into();
            request.body["metadata"]["generation"] = 7.into();
            request.body["spec"]["podMetricsEndpoints"][0]["enableHttp2"] = true.into();
        }
        shared.lock().answer(&request)
    })
    .await;
    let quiet = Quiet::of(api, store);
    quiet.settle().await;
    // prometheus-operator writes the status.
    quiet.set(MONITOR, "/status", &json!({"bindings": []}));
    assert_eq!(quiet.pass().await.writes, [""; 0]);
}

#[tokio::test]
async fn a_field_of_somebody_else_in_the_pod_monitor_is_no_fight() {
    let quiet = Quiet::new().await;
    for _ in 0..3 {
        quiet.edit(MONITOR, |object| {
            set(object, "/spec/jobLabel", json!("theirs"));
            object["metadata"]["generation"] = 8.into();
        });
        let passed = quiet.pass().await;
        assert_ne!(passed.ready["reason"], "ForeignFields", "{}", passed.ready);
        assert_eq!(quiet.pass().await.writes, [""; 0]);
    }
}

#[tokio::test]
async fn a_role_binding_that_is_filled_again_is_reported() {
    let mut quiet = Quiet::new().await;
    let subjects = quiet.store.lock().objects[BINDING]["subjects"].clone();
    quiet.resource.spec.scrape.service_accounts.clear();
    let withdrawn = |passed: &Passed| passed.writes.iter().any(|it| it.contains(BINDING));
    // The first time for the change of the resource, the second time because another client filled it.
    for expected in [true, true, false, false] {
        assert_eq!(withdrawn(&quiet.pass().await), expected);
        quiet.set(BINDING, "/subjects", &subjects);
    }
    let passed = quiet.pass().await;
    assert_eq!(passed.ready["reason"], "ForeignFields", "{}", passed.ready);
}

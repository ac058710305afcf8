//! What a pass that has nothing to do asks of the API server.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ConfigMap, Secret, Service, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{Resource, core::PartialObjectMeta, runtime::watcher::Event};
use parking_lot::Mutex;
use secure_exporter_operator::{
    api::SecureExporter,
    controller::{context::Context, supervised},
};
use serde_json::json;

use crate::{
    fake_api::{FakeApi, Request},
    passes::{Store, context, resource},
    render_children::owner,
};

const RESOURCE: &str =
    "/apis/secureexporter.dev/v1alpha1/namespaces/monitoring/secureexporters/nodes";
const SERVICE: &str = "/api/v1/namespaces/monitoring/services/nodes";

pub(crate) async fn cluster() -> (FakeApi, Arc<Mutex<Store>>) {
    let mut store = Store::default();
    store.objects.insert(RESOURCE.to_owned(), json!(resource()));
    let store = Arc::new(Mutex::new(store));
    let shared = store.clone();
    let api = FakeApi::start(move |request| shared.lock().answer(request)).await;
    (api, store)
}

/// Runs a pass, and returns its requests for generated objects that exist.
async fn pass(api: &FakeApi, context: &Context) -> Vec<Request> {
    api.take_requests();
    supervised(&resource(), &owner(), context).await.unwrap();
    let requests = api.take_requests().into_iter();
    let is_object = |path: &str| path.ends_with("/nodes") || path.contains("/nodes-");
    let of_objects =
        requests.filter(|it| is_object(&it.path) && !it.path.contains("/secureexporters/"));
    of_objects.collect()
}

pub(crate) fn writes(requests: &[Request]) -> Vec<String> {
    let writes = requests.iter().filter(|request| request.verb != "GET");
    writes
        .map(|it| format!("{} {}", it.verb, it.path))
        .collect()
}

#[tokio::test]
async fn what_is_as_it_was_after_the_last_write_is_not_written_again() {
    let (api, store) = cluster().await;
    let context = context(&api.client);
    assert!(!writes(&pass(&api, &context).await).is_empty());
    pass(&api, &context).await;
    let quiet = pass(&api, &context).await;
    assert_eq!(writes(&quiet), Vec::<String>::new());
    assert_eq!(quiet.len(), 9, "one GET for each generated object");

    // Another client changes the Service.
    let mut service = store.lock().objects[SERVICE].clone();
    service["metadata"]["resourceVersion"] = "1000".into();
    service["spec"]["ports"][0]["port"] = 1.into();
    store.lock().objects.insert(SERVICE.to_owned(), service);
    assert_eq!(
        writes(&pass(&api, &context).await),
        [format!("APPLY {SERVICE}")]
    );
    assert_eq!(writes(&pass(&api, &context).await), Vec::<String>::new());
}

#[tokio::test]
async fn a_deleted_object_is_written_again() {
    let (api, store) = cluster().await;
    let context = context(&api.client);
    for _ in 0..3 {
        pass(&api, &context).await;
    }
    store.lock().objects.remove(SERVICE);
    assert_eq!(
        writes(&pass(&api, &context).await),
        [format!("APPLY {SERVICE}")]
    );
}

/// A resource whose watches work.
struct Watched {
    api: FakeApi,
    store: Arc<Mutex<Store>>,
    context: Arc<Context>,
    resource: SecureExporter,
    /// The pause after the last pass.
    pause: Duration,
}

impl Watched {
    async fn new() -> Self {
        let (api, store) = cluster().await;
        let context = Arc::new(context(&api.client));
        let pods = context.pods.open(None);
        pods.note(Event::Init);
        pods.note(Event::InitDone);
        Self {
            api,
            store,
            context,
            resource: resource(),
            pause: Duration::ZERO,
        }
    }

    /// Shows the objects in the API server to the operator.
    fn list_all(&self) {
        self.list::<Secret>("secrets");
        self.list::<ConfigMap>("configmaps");
        self.list::<ServiceAccount>("serviceaccounts");
        self.list::<Role>("roles");
        self.list::<RoleBinding>("rolebindings");
        self.list::<Service>("services");
        self.list::<DaemonSet>("daemonsets");
    }

    fn list<K: Resource<DynamicType = ()>>(&self, plural: &str) {
        let versions = &self.context.versions;
        versions.note::<K>(None, Event::Init);
        let inside = format!("/namespaces/monitoring/{plural}/");
        for (path, object) in &self.store.lock().objects {
            if path.contains(&inside) {
                let metadata = json!({"metadata": object["metadata"]});
                let object: PartialObjectMeta<K> = serde_json::from_value(metadata).unwrap();
                versions.note(None, Event::InitApply(object));
            }
        }
        versions.note::<K>(None, Event::InitDone);
    }

    /// Runs a pass, and returns all of its requests. The resource then has the status that it wrote.
    async fn pass(&mut self) -> Vec<String> {
        self.api.take_requests();
        let next = supervised(&self.resource, &owner(), &self.context).await;
        self.pause = next.expect("a next pass");
        assert!(self.pause > Duration::ZERO);
        let requests = self.api.take_requests();
        for request in &requests {
            if request.path.ends_with("/status") {
                let status = request.body["status"].clone();
                self.resource.status = serde_json::from_value(status).unwrap();
            }
        }
        let texts = requests.iter().map(|it| format!("{} {}", it.verb, it.path));
        texts.collect()
    }

    /// Runs passes until nothing is asked of the API server any more.
    async fn rest(&mut self) {
        for _ in 0..10 {
            if self.pass().await.is_empty() {
                return;
            }
            self.list_all();
            // The exporters are asked in the background.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("never at rest: {:?}", self.pass().await);
    }
}

#[tokio::test]
async fn a_pass_over_a_resource_at_rest_asks_the_api_server_for_nothing() {
    let mut watched = Watched::new().await;
    watched.rest().await;
    for _ in 0..3 {
        assert_eq!(watched.pass().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn whatever_happens_is_read_again() {
    let mut watched = Watched::new().await;
    watched.rest().await;
    // An object that the watch does not show any more.
    let state = "/api/v1/namespaces/monitoring/secrets/nodes-state";
    watched.store.lock().objects.remove(state);
    watched.list::<Secret>("secrets");
    let requests = watched.pass().await;
    assert!(requests.contains(&format!("GET {state}")), "{requests:?}");
    let created = "POST /api/v1/namespaces/monitoring/secrets".to_owned();
    assert!(requests.contains(&created), "{requests:?}");

    // Something else: an exporter that answers differently, a pod, a Secret of a user.
    watched.rest().await;
    watched.context.wakes.wake("monitoring", "nodes");
    assert!(watched.pass().await.len() >= 9);

    // A watch that failed.
    watched.rest().await;
    watched.context.versions.failed::<Service>(None);
    assert!(watched.pass().await.len() >= 9);

    // A change of the resource.
    let mut watched = Watched::new().await;
    watched.rest().await;
    let annotations = watched
        .resource
        .metadata
        .annotations
        .get_or_insert_default();
    annotations.insert("secureexporter.dev/rotate".into(), "certificate:1".into());
    assert!(watched.pass().await.len() >= 9);
}

/// An alert fires when the last success is long ago.
#[tokio::test]
async fn a_pass_over_a_resource_at_rest_is_a_success() {
    let mut watched = Watched::new().await;
    watched.rest().await;
    let metrics = &watched.context.metrics;
    let never = format!(
        "secure_exporter_operator_last_success_timestamp_seconds{{{}}} 0.0",
        r#"namespace="monitoring",name="nodes""#
    );
    metrics.rested(&owner(), Timestamp::UNIX_EPOCH);
    assert!(metrics.text().contains(&never), "{}", metrics.text());
    assert_eq!(watched.pass().await, Vec::<String>::new());
    let metrics = watched.context.metrics.text();
    assert!(!metrics.contains(&never), "{metrics}");
}

/// What changed between the read and the first list of a watch woke nobody.
#[tokio::test]
async fn what_no_watch_has_shown_yet_is_soon_read_again() {
    let soon = Duration::from_secs(66);
    let mut watched = Watched::new().await;
    for _ in 0..5 {
        watched.pass().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(watched.pause <= soon, "{:?}", watched.pause);
    watched.list_all();
    watched.pass().await;
    assert!(watched.pause > soon, "{:?}", watched.pause);
}

#[tokio::test]
async fn nothing_rests_on_a_prober_that_has_ended() {
    let mut watched = Watched::new().await;
    watched.rest().await;
    watched.context.prober.forget(&owner().uid);
    assert!(watched.pass().await.len() >= 9);
}

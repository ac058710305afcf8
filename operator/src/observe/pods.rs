//! The exporters' pods: the part of each that the operator uses. They are watched, and read by pages where that fails.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use k8s_openapi::{
    api::core::v1::{ContainerPort, ContainerStatus, Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, ResourceExt, api::ListParams, runtime::watcher::Event};
use parking_lot::Mutex;
use serde::Deserialize;

use crate::{
    names::{CONTAINER, INSTANCE_LABEL, Owner, PORT_NAME},
    observe::{children::controllers, watch_health::WatchHealth},
    report::pod_problems::{Complaint, of_container, of_scheduling},
};

/// How many objects a page of a list has.
const PAGE_SIZE: u32 = 500;

/// The fields of a pod that the operator reads. The others of a list of thousands of pods are never kept in memory.
#[derive(Clone, Debug, Deserialize, kube::Resource)]
#[resource(inherit = "Pod")]
pub struct ReadPod {
    metadata: ObjectMeta,
    spec: Option<ReadSpec>,
    status: Option<ReadStatus>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadSpec {
    node_name: Option<String>,
    #[serde(default)]
    containers: Vec<ReadContainer>,
}

#[derive(Clone, Debug, Deserialize)]
struct ReadContainer {
    name: String,
    #[serde(default)]
    ports: Vec<ContainerPort>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadStatus {
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(default)]
    conditions: Vec<PodCondition>,
    #[serde(default)]
    container_statuses: Vec<ContainerStatus>,
}

/// The pod of an exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterPod {
    /// Its uid.
    pub uid: String,
    /// The uid of its controller, which is the DaemonSet.
    pub controller: Option<String>,
    /// Its node; `None` if it has none yet.
    pub node: Option<String>,
    /// Whether the kubelet reports it as ready.
    pub ready: bool,
    /// Where its exporter can be asked; `None` if it does not run.
    pub address: Option<SocketAddr>,
    /// Whether it is being deleted.
    pub is_terminating: bool,
    /// Why its exporter does not run.
    pub complaints: Vec<Complaint>,
}

impl ExporterPod {
    /// The part of a pod that the operator uses.
    pub fn of(pod: &ReadPod) -> Self {
        let status = pod.status.as_ref();
        let conditions = status.map_or(&[][..], |status| &status.conditions);
        let statuses = status.map_or(&[][..], |status| &status.container_statuses);
        let container = statuses.iter().find(|status| status.name == CONTAINER);
        let is_running = container
            .and_then(|container| container.state.as_ref())
            .is_some_and(|state| state.running.is_some());
        let ready = conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let ip: Option<IpAddr> = status.and_then(|status| status.pod_ip.as_ref()?.parse().ok());
        let spec = pod.spec.as_ref();
        let port = spec.and_then(port);
        let complaints = [of_scheduling(conditions), container.and_then(of_container)];
        Self {
            uid: pod.uid().unwrap_or_default(),
            controller: controllers(&pod.metadata).next().map(|it| it.uid.clone()),
            node: spec.and_then(|spec| spec.node_name.clone()),
            ready,
            // Only a running container can be asked.
            address: ip.zip(port).map(SocketAddr::from).filter(|_| is_running),
            is_terminating: pod.metadata.deletion_timestamp.is_some(),
            complaints: complaints.into_iter().flatten().collect(),
        }
    }
}

/// Returns the pod's port, which differs from the spec's while a change is rolled out.
fn port(spec: &ReadSpec) -> Option<u16> {
    let mut containers = spec.containers.iter();
    let container = containers.find(|container| container.name == CONTAINER)?;
    let mut ports = container.ports.iter();
    let metrics = ports.find(|port| port.name.as_deref() == Some(PORT_NAME))?;
    u16::try_from(metrics.container_port).ok()
}

/// Reads the pods of a resource from the API server, page by page.
///
/// # Errors
/// The API server did not answer, or refused the request.
pub async fn list(client: &Client, owner: &Owner) -> Result<Vec<Arc<ExporterPod>>, kube::Error> {
    let api = Api::<ReadPod>::namespaced(client.clone(), &owner.namespace);
    let mut page = ListParams::default()
        .labels(&owner.selector_query())
        .limit(PAGE_SIZE);
    let mut pods = Vec::new();
    loop {
        let list = api.list(&page).await?;
        pods.extend(list.items.iter().map(|pod| Arc::new(ExporterPod::of(pod))));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(pods),
        }
    }
}

/// The pods of all watched namespaces.
#[derive(Debug, Default)]
pub struct Pods {
    /// By namespace; `None` is all namespaces.
    watches: Mutex<HashMap<Option<String>, Arc<PodWatch>>>,
}

impl Pods {
    /// Begins a watch of one namespace, or all.
    pub fn open(&self, namespace: Option<&str>) -> Arc<PodWatch> {
        let watch = Arc::<PodWatch>::default();
        let namespace = namespace.map(str::to_owned);
        self.watches.lock().insert(namespace, watch.clone());
        watch
    }

    /// Ends the watch of one namespace, or all.
    pub fn close(&self, namespace: Option<&str>) {
        self.watches.lock().remove(&namespace.map(str::to_owned));
    }

    /// Whether the watch shows the pods of a resource at the moment.
    pub fn is_watched(&self, owner: &Owner) -> bool {
        self.watch(owner)
            .is_some_and(|watch| watch.is_current(Instant::now()))
    }

    /// Whether the watch failed a moment ago.
    pub fn is_failing(&self, owner: &Owner) -> bool {
        self.watch(owner)
            .is_some_and(|watch| watch.is_failing(Instant::now()))
    }

    /// Returns the pods of a resource as they were last seen; `None` if the watch does not show them at the moment.
    pub fn watched(&self, owner: &Owner) -> Option<Vec<Arc<ExporterPod>>> {
        self.watch(owner)?.of(owner, Instant::now())
    }

    fn watch(&self, owner: &Owner) -> Option<Arc<PodWatch>> {
        let watches = self.watches.lock();
        let own = watches.get(&Some(owner.namespace.clone()));
        own.or_else(|| watches.get(&None)).cloned()
    }

    /// Returns the pods of a resource as they were last seen, or from the API server.
    ///
    /// # Errors
    /// The API server did not answer, or refused the request.
    pub async fn read(
        &self,
        client: &Client,
        owner: &Owner,
    ) -> Result<Vec<Arc<ExporterPod>>, kube::Error> {
        match self.watched(owner) {
            Some(pods) => Ok(pods),
            None => list(client, owner).await,
        }
    }
}

/// Namespace and name of a resource.
pub type ResourceName = (String, String);

/// The pods that a watch has shown.
#[derive(Debug, Default)]
pub struct PodWatch(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    health: WatchHealth,
    /// Whether all pods were ever listed.
    was_listed: bool,
    pods: Index,
    /// Those of a list that is not complete yet.
    listing: Index,
}

#[derive(Debug, Default)]
struct Index {
    by_resource: HashMap<ResourceName, BTreeMap<String, Arc<ExporterPod>>>,
    /// The resource of each pod by the pod's uid: its label can be changed.
    resources: HashMap<String, ResourceName>,
}

impl PodWatch {
    /// Takes note of an event of the watch, and returns the resources whose pods changed in a way that matters.
    pub fn note(&self, event: Event<ReadPod>) -> Vec<ResourceName> {
        let mut seen = self.0.lock();
        match event {
            Event::Init => {
                seen.health.is_listed = false;
                seen.listing = Index::default();
                Vec::new()
            }
            Event::InitApply(pod) => {
                seen.listing.put(&pod);
                Vec::new()
            }
            Event::InitDone => {
                let listing = std::mem::take(&mut seen.listing);
                let before = std::mem::replace(&mut seen.pods, listing);
                seen.health.is_listed = true;
                seen.was_listed = true;
                seen.pods.differing(&before)
            }
            Event::Apply(pod) => seen.pods.put(&pod),
            Event::Delete(pod) => {
                let uid = pod.uid().unwrap_or_default();
                seen.pods.remove(&uid).into_iter().collect()
            }
        }
    }

    /// Whether all pods were ever listed.
    pub fn was_listed(&self) -> bool {
        self.0.lock().was_listed
    }

    /// Takes note that the watch failed, so that it may miss changes for a while.
    pub fn failed(&self, now: Instant) {
        self.0.lock().health.failed = Some(now);
    }

    fn is_current(&self, now: Instant) -> bool {
        self.0.lock().health.is_current(now)
    }

    fn is_failing(&self, now: Instant) -> bool {
        self.0.lock().health.is_failing(now)
    }

    fn of(&self, owner: &Owner, now: Instant) -> Option<Vec<Arc<ExporterPod>>> {
        let seen = self.0.lock();
        if !seen.health.is_current(now) {
            return None;
        }
        let resource = (owner.namespace.clone(), owner.name.clone());
        let pods = seen.pods.by_resource.get(&resource);
        Some(pods.map_or_else(Vec::new, |pods| pods.values().cloned().collect()))
    }
}

impl Index {
    /// Returns the resources for which something changed.
    fn put(&mut self, pod: &ReadPod) -> Vec<ResourceName> {
        let uid = pod.uid().unwrap_or_default();
        let Some(resource) = resource_of(pod) else {
            return self.remove(&uid).into_iter().collect();
        };
        let is_moved = self.resources.get(&uid).is_some_and(|it| *it != resource);
        let mut changed: Vec<ResourceName> = Vec::new();
        if is_moved {
            changed.extend(self.remove(&uid));
        }
        let pod = Arc::new(ExporterPod::of(pod));
        self.resources.insert(uid.clone(), resource.clone());
        let pods = self.by_resource.entry(resource.clone()).or_default();
        if pods.get(&uid) != Some(&pod) {
            pods.insert(uid, pod);
            changed.push(resource);
        }
        changed
    }

    fn remove(&mut self, uid: &str) -> Option<ResourceName> {
        let resource = self.resources.remove(uid)?;
        if let Some(pods) = self.by_resource.get_mut(&resource) {
            pods.remove(uid);
            if pods.is_empty() {
                self.by_resource.remove(&resource);
            }
        }
        Some(resource)
    }

    fn differing(&self, other: &Self) -> Vec<ResourceName> {
        let (mine, theirs) = (&self.by_resource, &other.by_resource);
        let changed = mine
            .iter()
            .filter(|(name, pods)| theirs.get(*name) != Some(*pods));
        let gone = theirs.keys().filter(|name| !mine.contains_key(*name));
        changed.map(|(name, _)| name).chain(gone).cloned().collect()
    }
}

/// Returns the resource of a pod by the pod's labels, because the pod's owner is the DaemonSet.
fn resource_of(pod: &ReadPod) -> Option<ResourceName> {
    let name = pod.labels().get(INSTANCE_LABEL)?;
    Some((pod.namespace()?, name.clone()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn pod(uid: &str, resource: &str, node: &str) -> ReadPod {
        serde_json::from_value(json!({
            "metadata": {"name": uid, "namespace": "monitoring", "uid": uid,
                "labels": {"app.kubernetes.io/instance": resource}},
            "spec": {"nodeName": node},
        }))
        .unwrap()
    }

    fn state(state: serde_json::Value) -> ExporterPod {
        let pod = json!({
            "metadata": {},
            "spec": {"nodeName": "a", "containers": [
                {"name": "exporter", "ports": [{"name": "metrics", "containerPort": 9100}]}]},
            "status": {
                "podIP": "192.0.2.1",
                "conditions": [{"type": "Ready", "status": "False"}],
                "containerStatuses": [{"name": "exporter", "state": state,
                    "image": "", "imageID": "", "ready": false, "restartCount": 0}],
            },
        });
        ExporterPod::of(&serde_json::from_value(pod).unwrap())
    }

    fn nodes(watch: &PodWatch, name: &str) -> Option<Vec<String>> {
        let owner = Owner {
            name: name.to_owned(),
            ..Owner::nodes()
        };
        let pods = watch.of(&owner, Instant::now())?;
        Some(pods.iter().filter_map(|pod| pod.node.clone()).collect())
    }

    fn resource(name: &str) -> ResourceName {
        ("monitoring".to_owned(), name.to_owned())
    }

    #[test]
    fn an_exporter_counts_even_when_it_is_not_ready_or_does_not_run() {
        let running = state(json!({"running": {}}));
        assert_eq!(running.address, "192.0.2.1:9100".parse().ok());
        assert!(!running.ready);
        let waiting = state(json!({"waiting": {}}));
        assert_eq!((waiting.ready, waiting.address), (false, None));
        assert_eq!(waiting.node.as_deref(), Some("a"));
    }

    #[test]
    fn an_incomplete_list_shows_nothing() {
        let watch = PodWatch::default();
        assert_eq!(nodes(&watch, "nodes"), None, "nothing was listed");
        watch.note(Event::Init);
        watch.note(Event::InitApply(pod("1", "nodes", "a")));
        assert_eq!(nodes(&watch, "nodes"), None);
        assert_eq!(watch.note(Event::InitDone), [resource("nodes")]);
        assert_eq!(nodes(&watch, "nodes"), Some(vec!["a".to_owned()]));
        assert_eq!(nodes(&watch, "other"), Some(Vec::new()));

        // A list after a lost watch: the pod is gone.
        watch.note(Event::Init);
        assert_eq!(nodes(&watch, "nodes"), None);
        assert_eq!(watch.note(Event::InitDone), [resource("nodes")]);
        assert_eq!(nodes(&watch, "nodes"), Some(Vec::new()));
    }

    #[test]
    fn a_watch_that_fails_shows_nothing_for_a_while() {
        let watch = PodWatch::default();
        watch.note(Event::Init);
        watch.note(Event::InitDone);
        let now = Instant::now();
        watch.failed(now);
        assert!(watch.of(&Owner::nodes(), now).is_none());
        assert!(
            watch
                .of(&Owner::nodes(), now + Duration::from_secs(60))
                .is_some()
        );
    }

    #[test]
    fn only_what_matters_is_a_change() {
        let watch = PodWatch::default();
        watch.note(Event::Init);
        watch.note(Event::InitDone);
        assert_eq!(
            watch.note(Event::Apply(pod("1", "nodes", "a"))),
            [resource("nodes")]
        );
        let mut annotated = pod("1", "nodes", "a");
        annotated.annotations_mut().insert("a".into(), "b".into());
        assert!(watch.note(Event::Apply(annotated)).is_empty());

        let moved = watch.note(Event::Apply(pod("1", "other", "a")));
        assert_eq!(moved, [resource("nodes"), resource("other")]);
        assert_eq!(nodes(&watch, "nodes"), Some(Vec::new()));
        let deleted = watch.note(Event::Delete(pod("1", "other", "a")));
        assert_eq!(deleted, [resource("other")]);
        assert!(watch.note(Event::Delete(pod("1", "other", "a"))).is_empty());
    }
}

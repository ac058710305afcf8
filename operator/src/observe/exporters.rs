//! Finds the running exporters, and asks each for its `/-/status`.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Container, Pod},
};
use kube::{Api, Client, api::ListParams};
use secure_exporter_pki::{InspectError, inspect::inspect};
use tokio::time::{Instant, timeout_at};

use crate::{
    api::Advance,
    names::{CONTAINER, Owner, PORT_NAME},
    observe::{
        probe::{Question, ask},
        samples::{Ages, Samples, Subject},
    },
    rotation::{
        evidence::{Answer, Exporter, Heard},
        state::State,
    },
    spec::ValidSpec,
};

/// How many exporters are asked concurrently.
const AT_ONCE: usize = 64;
/// How long an exporter may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long all exporters together may take, which leaves the pass the time to use the answers. Enough for some 400 that do
/// not answer, and any number of those that do.
const TOTAL_PATIENCE: Duration = Duration::from_secs(30);

/// A running exporter and its address.
#[derive(Clone, Debug)]
struct Running {
    node: String,
    ready: bool,
    address: Option<SocketAddr>,
}

/// Asks the exporters of one resource.
pub struct Asking<'a> {
    /// Client for the API server.
    pub client: &'a Client,
    /// The resource.
    pub owner: &'a Owner,
    /// Its DaemonSet.
    pub daemon_set: &'a DaemonSet,
    /// The previous answers.
    pub samples: &'a Samples,
}

/// Why the exporters could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum HearError {
    /// The pods could not be read.
    #[error(transparent)]
    Pods(#[from] kube::Error),
    /// The state does not contain usable credentials.
    #[error(transparent)]
    Question(#[from] InspectError),
}

impl Asking<'_> {
    /// Returns the exporters' answers, which are at most as old as `ages` says, and in how long they must be asked for again.
    ///
    /// # Errors
    /// [`HearError`]
    pub async fn hear(
        &self,
        state: &State,
        spec: &ValidSpec,
        ages: Ages,
        now: Timestamp,
    ) -> Result<(Heard, Duration), HearError> {
        let wanted = wanted(self.daemon_set);
        let uid = &self.owner.uid;
        let serial_number = inspect(&state.leaf.certificate_pem)?.serial_number;
        let subject = Subject::of(self.daemon_set, state.generation, serial_number);
        let expire_in = || self.samples.expire_in(uid, &subject, ages);
        if let Some(exporters) = self.samples.recent(uid, &subject, ages) {
            return Ok((Heard { wanted, exporters }, expire_in()));
        }
        let running = running(self.client, self.owner, self.daemon_set).await?;
        let question = match spec.rotation.advance {
            Advance::Timed => None,
            Advance::Observed => Some(Question::new(state, spec, now)?),
        };
        // Without a question there are no answers.
        let question = question.as_ref();
        let ask = |address| async move {
            let asked = ask(address, question?).await;
            asked
                .inspect_err(
                    |error| tracing::debug!(%address, %error, "an exporter did not answer"),
                )
                .ok()
        };
        let mut exporters = ask_all(running, ask, TOTAL_PATIENCE).await;
        self.samples.keep(uid, subject.clone(), &mut exporters);
        Ok((Heard { wanted, exporters }, expire_in()))
    }
}

/// Returns the exporters of a DaemonSet. Ignores other pods with the same labels, because they would be sent the password.
///
/// # Errors
/// The API server did not answer, or refused the request.
async fn running(
    client: &Client,
    owner: &Owner,
    daemon_set: &DaemonSet,
) -> Result<Vec<Running>, kube::Error> {
    let pods = Api::<Pod>::namespaced(client.clone(), &owner.namespace)
        .list(&ListParams::default().labels(&owner.selector_query()))
        .await?;
    let ours = |pod: &&Pod| {
        let owners = pod.metadata.owner_references.iter().flatten();
        owners
            .filter(|reference| reference.controller == Some(true))
            .any(|reference| Some(&reference.uid) == daemon_set.metadata.uid.as_ref())
    };
    Ok(pods.items.iter().filter(ours).filter_map(of_pod).collect())
}

/// Asks all exporters, those in ready pods first. [`Samples`](super::samples::Samples) adds for how long each exporter has
/// not answered.
async fn ask_all<F>(
    mut running: Vec<Running>,
    ask: impl Fn(SocketAddr) -> F,
    total_patience: Duration,
) -> Vec<Exporter>
where
    F: Future<Output = Option<Answer>>,
{
    running.sort_by_key(|exporter| !exporter.ready);
    let end = Instant::now() + total_patience;
    stream::iter(running)
        .map(|exporter| {
            let asked = exporter.address.map(&ask);
            async move {
                let answer = match asked {
                    Some(asked) => timeout_at(end.min(Instant::now() + PATIENCE), asked).await,
                    None => Ok(None),
                };
                Exporter {
                    node: exporter.node,
                    ready: exporter.ready,
                    answer: answer.ok().flatten(),
                    silent_for: SignedDuration::ZERO,
                }
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// Returns on how many nodes the DaemonSet should run, once its controller has processed the current spec.
fn wanted(daemon_set: &DaemonSet) -> Option<usize> {
    let status = daemon_set.status.as_ref()?;
    let is_current = status.observed_generation >= daemon_set.metadata.generation;
    let wanted = usize::try_from(status.desired_number_scheduled).ok();
    wanted.filter(|_| is_current)
}

/// Returns the exporter in a pod. Only a running container can be asked.
fn of_pod(pod: &Pod) -> Option<Running> {
    let spec = pod.spec.as_ref()?;
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    let is_running = containers.into_iter().flatten().any(|container| {
        let state = container.state.as_ref();
        container.name == CONTAINER && state.is_some_and(|state| state.running.is_some())
    });
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let port = spec
        .containers
        .iter()
        .find(|container| container.name == CONTAINER)
        .and_then(port);
    let ip: Option<IpAddr> = status.and_then(|status| status.pod_ip.as_ref()?.parse().ok());
    Some(Running {
        node: spec.node_name.clone()?,
        ready,
        address: ip.zip(port).map(SocketAddr::from).filter(|_| is_running),
    })
}

/// Returns the pod's port, which differs from the spec's while a change is rolled out.
fn port(container: &Container) -> Option<u16> {
    let mut ports = container.ports.iter().flatten();
    let metrics = ports.find(|port| port.name.as_deref() == Some(PORT_NAME))?;
    u16::try_from(metrics.container_port).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(state: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {},
            "spec": {"nodeName": "a", "containers": [
                {"name": "exporter", "ports": [{"name": "metrics", "containerPort": 9100}]}]},
            "status": {
                "podIP": "192.0.2.1",
                "conditions": [{"type": "Ready", "status": "False"}],
                "containerStatuses": [{"name": "exporter", "state": state,
                    "image": "", "imageID": "", "ready": false, "restartCount": 0}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn the_number_of_nodes_is_known_once_the_controller_has_processed_the_current_spec() {
        let set = |observed: i64| -> DaemonSet {
            serde_json::from_value(json!({"metadata": {"generation": 3}, "status": {"observedGeneration": observed,
                "desiredNumberScheduled": 5, "currentNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0}}))
            .unwrap()
        };
        assert_eq!(wanted(&set(3)), Some(5));
        assert_eq!(wanted(&set(2)), None);
        assert_eq!(wanted(&DaemonSet::default()), None);
    }

    #[test]
    fn an_exporter_counts_even_when_it_is_not_ready_or_does_not_run() {
        let running = of_pod(&pod(json!({"running": {}}))).unwrap();
        assert_eq!(running.address, "192.0.2.1:9100".parse().ok());
        assert!(!running.ready);
        let waiting = of_pod(&pod(json!({"waiting": {}}))).unwrap();
        assert_eq!((waiting.ready, waiting.address), (false, None));
    }

    #[tokio::test]
    async fn any_number_of_silent_exporters_takes_a_limited_time() {
        let node = |number: u8| Running {
            node: number.to_string(),
            ready: number == 250,
            address: Some(SocketAddr::from(([192, 0, 2, number], 9100))),
        };
        let ask = |address: SocketAddr| async move {
            if address.ip() == IpAddr::from([192, 0, 2, 250]) {
                return Some(Answer {
                    serial_number: "1".to_owned(),
                    verified_by: [1].into(),
                    accepted: Default::default(),
                    uptime: SignedDuration::ZERO,
                });
            }
            std::future::pending().await
        };
        let patience = Duration::from_millis(100);
        let asked = ask_all((1..=250).map(node).collect(), ask, patience);
        let asked = tokio::time::timeout(PATIENCE, asked).await;
        let exporters = asked.expect("less than one exporter's time for four rounds");
        assert_eq!(exporters.len(), 250);
        let answered = exporters.iter().filter(|it| it.answer.is_some());
        let answered: Vec<&str> = answered.map(|it| it.node.as_str()).collect();
        assert_eq!(answered, ["250"], "the ready one is asked first");
    }
}

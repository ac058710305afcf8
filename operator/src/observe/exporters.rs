//! Which exporters run, and what each says of itself when it is asked at `/-/status`.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::{StreamExt, stream};
use jiff::SignedDuration;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Container, Pod},
};
use kube::{Api, Client, api::ListParams};

use crate::{
    names::{CONTAINER, Owner, PORT_NAME},
    observe::probe::{Question, ask},
    rotation::evidence::Exporter,
};

/// How many exporters are asked at the same time.
const AT_ONCE: usize = 32;
/// How long one may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// An exporter that runs, and where it listens.
#[derive(Clone, Debug)]
pub struct Running {
    node: String,
    ready: bool,
    address: Option<SocketAddr>,
}

/// The exporters of a DaemonSet. Pods of anybody else who uses its labels are none: they would be sent the password.
///
/// # Errors
/// The API server did not answer, or refused.
pub async fn running(
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

/// Asks them all. Without a question nobody is asked, and nobody answers. For how long each has been silent is known to
/// [`Samples`](super::sample::Samples).
pub async fn ask_all(running: Vec<Running>, question: Option<&Question>) -> Vec<Exporter> {
    stream::iter(running)
        .map(|exporter| async move {
            let answer = match (question, exporter.address) {
                (Some(question), Some(address)) => {
                    tokio::time::timeout(PATIENCE, ask(address, question))
                        .await
                        .ok()
                        .and_then(|asked| {
                            asked
                                .inspect_err(|error| {
                                    tracing::debug!(node = exporter.node, %error, "no answer");
                                })
                                .ok()
                        })
                }
                _ => None,
            };
            Exporter {
                node: exporter.node,
                ready: exporter.ready,
                answer,
                silent_for: SignedDuration::ZERO,
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// A pod whose container runs; one that does not run serves nobody, and begins with what is published by then.
fn of_pod(pod: &Pod) -> Option<Running> {
    let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
    let container = status
        .container_statuses
        .iter()
        .flatten()
        .find(|container| container.name == CONTAINER)?;
    container.state.as_ref()?.running.as_ref()?;
    let ready = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let port = spec
        .containers
        .iter()
        .find(|container| container.name == CONTAINER)
        .and_then(port);
    let ip: Option<IpAddr> = status.pod_ip.as_ref().and_then(|ip| ip.parse().ok());
    Some(Running {
        node: spec.node_name.clone().unwrap_or_default(),
        ready,
        address: ip.zip(port).map(SocketAddr::from),
    })
}

/// The pod's own port: in the middle of a change of the spec it is another one than the spec's.
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
    fn an_exporter_that_runs_counts_even_when_it_is_not_ready() {
        let running = of_pod(&pod(json!({"running": {}}))).unwrap();
        assert_eq!(running.address, "192.0.2.1:9100".parse().ok());
        assert!(!running.ready);
        assert!(of_pod(&pod(json!({"waiting": {}}))).is_none());
    }
}

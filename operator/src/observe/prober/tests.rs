use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures::FutureExt;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use kube::{Config, runtime::watcher::Event};
use serde_json::json;

use super::*;
use crate::observe::pods::{PodWatch, ReadPod};

/// No test takes longer.
const LIMIT: Duration = Duration::from_secs(20);

/// Exporters of which those on port 1 do not answer.
struct Exporters {
    questions: Arc<AtomicUsize>,
}

impl Interviewer for Exporters {
    fn prepare(&self, _: &str) -> Option<Ask> {
        let questions = self.questions.clone();
        Some(Arc::new(move |address: SocketAddr| {
            questions.fetch_add(1, Ordering::SeqCst);
            async move {
                if address.port() == 1 {
                    std::future::pending::<()>().await;
                }
                Some(Answer {
                    serial_number: "1".to_owned(),
                    verified_by: BTreeSet::new(),
                    accepted: Some(BTreeMap::new()),
                    uptime: SignedDuration::ZERO,
                })
            }
            .boxed()
        }))
    }
}

struct Rig {
    prober: Prober,
    watch: Arc<PodWatch>,
    questions: Arc<AtomicUsize>,
    woken: Arc<Notify>,
}

fn rig() -> Rig {
    let nowhere = "http://127.0.0.1:9".parse().expect("is a URL");
    let (pods, questions) = (Arc::<Pods>::default(), Arc::<AtomicUsize>::default());
    let (watch, woken) = (pods.open(None), Arc::<Notify>::default());
    let wake = woken.clone();
    let surroundings = Surroundings {
        client: Client::try_from(Config::new(nowhere)).expect("is valid"),
        pods,
        interviewer: Arc::new(Exporters {
            questions: questions.clone(),
        }),
        wake: Arc::new(move |_| wake.notify_one()),
        pace: Pace {
            awaited: Duration::from_millis(100),
            soon: Duration::from_millis(400),
            steady: Duration::from_secs(600),
        },
    };
    Rig {
        prober: Prober::new(surroundings),
        watch,
        questions,
        woken,
    }
}

fn pod(number: usize, port: u16) -> ReadPod {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "monitoring", "uid": number.to_string(),
            "labels": {"app.kubernetes.io/instance": "nodes"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "nodes",
                "uid": "set", "controller": true}]},
        "spec": {"nodeName": format!("node-{number}"), "containers": [
            {"name": "exporter", "ports": [{"name": "metrics", "containerPort": port}]}]},
        "status": {"podIP": "192.0.2.1", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "exporter", "state": {"running": {}},
                "image": "", "imageID": "", "ready": true, "restartCount": 0}]},
    }))
    .expect("is a pod");
    serde_json::from_value(json!(pod)).expect("is a pod")
}

fn topic() -> Topic {
    Topic {
        daemon_set: "set".to_owned(),
        generation: 1,
        serial_number: "1".to_owned(),
        is_asked: true,
    }
}

impl Rig {
    fn list(&self, pods: impl IntoIterator<Item = ReadPod>) {
        self.watch.note(Event::Init);
        for pod in pods {
            self.watch.note(Event::InitApply(pod));
        }
        self.watch.note(Event::InitDone);
    }

    async fn wait_evidence(&self) -> Evidence {
        let evidence = async {
            loop {
                let heard = self.prober.heard(&Owner::nodes(), "set");
                if let Some(evidence) = heard.expect("the pods are watched") {
                    return evidence;
                }
                self.woken.notified().await;
            }
        };
        timeout(LIMIT, evidence).await.expect("there is evidence")
    }
}

#[tokio::test]
async fn a_pass_never_waits_for_silent_exporters_and_hears_of_the_others() {
    let rig = rig();
    // More silent ones than are asked concurrently.
    let ports = (0..100).map(|number| if number < 70 { 1 } else { 2 });
    rig.list(ports.enumerate().map(|(number, port)| pod(number, port)));
    let begin = Instant::now();
    rig.prober.direct(&Owner::nodes(), topic(), None);
    assert_eq!(rig.prober.heard(&Owner::nodes(), "set").unwrap(), None);
    assert!(begin.elapsed() < PATIENCE / 2, "the pass was held up");
    let evidence = rig.wait_evidence().await;
    let answered = evidence.exporters.iter().filter(|it| it.answer.is_some());
    assert_eq!((evidence.exporters.len(), answered.count()), (100, 30));
    assert!(
        begin.elapsed() < 3 * PATIENCE,
        "they are asked one after the other"
    );
    assert!(!evidence.is_confirmed);
}

#[tokio::test]
async fn a_new_pod_is_asked_at_once_and_a_deleted_resource_no_more() {
    let rig = rig();
    rig.list([pod(1, 2)]);
    let owner = Owner::nodes();
    rig.prober.direct(&owner, topic(), None);
    rig.wait_evidence().await;
    rig.watch.note(Event::Apply(pod(2, 2)));
    rig.prober.pods_changed(&owner.namespace, &owner.name);
    let asked = async {
        while rig.wait_evidence().await.exporters.len() < 2 {
            rig.woken.notified().await;
        }
    };
    timeout(LIMIT, asked).await.expect("it is asked");
    assert_eq!(
        rig.questions.load(Ordering::SeqCst),
        2,
        "the other was asked again"
    );
    rig.prober.forget(&owner.uid);
    assert_eq!(rig.prober.heard(&owner, "set").unwrap(), None);
}

#[tokio::test]
async fn a_round_needs_the_list_of_the_api_server() {
    let rig = rig();
    rig.list([pod(1, 2)]);
    let owner = Owner::nodes();
    rig.prober.direct(&owner, topic(), None);
    rig.wait_evidence().await;
    // Nobody answers at its address.
    rig.prober.confirm(&owner);
    let failed = async {
        while rig.prober.heard(&owner, "set").is_ok() {
            rig.woken.notified().await;
        }
    };
    timeout(LIMIT, failed).await.expect("the round fails");
}

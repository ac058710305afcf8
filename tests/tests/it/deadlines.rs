//! Connections to the API server that hang, clients that never disconnect, and namespaces that are deleted or created: none of
//! them stops the operator from serving the other resources.

use std::{
    collections::VecDeque,
    net::TcpStream,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use testbed::{
    curl::Request,
    exporters::{condition, resource, rotate},
    kubectl::Kubectl,
    operator::{Stage, disruption::Disruption},
    process::{Process, free_port, output},
    slot::Slot,
    test_clusters,
    wait::wait_until,
};

/// How long it may take until a new resource is published.
const SOON: Duration = Duration::from_secs(30);
/// The same for a new resource when all watches hang: a request times out after 10 s, and a watch after 50.
const RECOVERY: Duration = Duration::from_secs(90);
/// How long it may take until the operator gives up a deleted namespace: its watches end, and it is refused for 30 s.
const GIVE_UP: Duration = Duration::from_secs(150);

#[test]
fn hanging_connections_neither_block_passes_nor_stop_the_operator() -> Result<()> {
    let slot = Slot::shared();
    let stage = Stage::new(&slot, "deadlines")?;
    let probes = Probes::new()?;
    let mut operator = stage.operator_with(&[&probes.flag(), "--sample-interval=1s"])?;
    let names = ["one", "two", "three", "four", "five"];
    for name in names {
        stage.kubectl.apply(&resource(name, &json!({})))?;
    }
    for name in names {
        wait_published(&stage.kubectl, name, SOON, &operator)?;
    }

    // A resource at rest would ask for nothing. The overlap of a rotation lasts a day.
    for name in names {
        rotate(&stage.kubectl, name, "ca:1")?;
        wait_until("a rotation", SOON, || {
            let resource = stage.kubectl.get("secureexporter", name)?;
            Ok((!resource["status"]["rotation"].is_null()).then_some(()))
        })?;
    }

    stage.gate.disrupt(Disruption::Hang);
    // Each pass waits for one request, and at most four passes run at the same time.
    wait_until("requests without an answer", SOON, || {
        Ok((stage.gate.disrupted_requests() >= 4).then_some(()))
    })?;
    thread::sleep(Duration::from_secs(3));
    ensure!(
        probes.get("/livez")?.0 == 200,
        "an absent API server is no reason for a restart"
    );
    stage.gate.disrupt(Disruption::None);

    let before = probes.passes("Success")?;
    wait_until("passes to succeed again", SOON, || {
        Ok((probes.passes("Success")? > before + 5).then_some(()))
    })
    .with_context(|| operator.log().unwrap_or_default())?;
    ensure!(
        probes.passes("ApiServerTimeout")? > 0,
        "no timeout was counted"
    );
    // All watches hang as well.
    stage.kubectl.apply(&resource("late", &json!({})))?;
    wait_published(&stage.kubectl, "late", RECOVERY, &operator)?;
    for path in ["/livez", "/readyz"] {
        let (status, body) = probes.get(path)?;
        ensure!(status == 200, "{path}: {body}");
    }
    operator.check()
}

#[test]
fn clients_that_never_disconnect_do_not_use_up_the_operators_sockets() -> Result<()> {
    let slot = Slot::shared();
    let stage = Stage::new(&slot, "connections")?;
    let probes = Probes::new()?;
    let mut operator = stage.operator_with(&[&probes.flag()])?;
    stage.kubectl.apply(&resource("before", &json!({})))?;
    wait_published(&stage.kubectl, "before", SOON, &operator)?;
    let id = operator.id().to_string();
    output(Command::new("prlimit").args(["--pid", &id, "--nofile=128:128"]))?;

    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| hold_connections(probes.port, 250, &is_over));
        let outcome = (|| {
            thread::sleep(Duration::from_secs(5));
            ensure!(probes.get("/livez")?.0 == 200);
            stage.kubectl.apply(&resource("during", &json!({})))?;
            wait_published(&stage.kubectl, "during", SOON, &operator)?;
            ensure!(probes.get("/livez")?.0 == 200);
            operator.check()
        })();
        is_over.store(true, Ordering::SeqCst);
        outcome
    })
}

/// Keeps opening connections, and holds the newest `count` of them open.
fn hold_connections(port: u16, count: usize, is_over: &AtomicBool) {
    let mut held = VecDeque::new();
    while !is_over.load(Ordering::SeqCst) {
        if let Ok(connection) = TcpStream::connect(("127.0.0.1", port)) {
            held.push_back(connection);
        }
        if held.len() > count {
            held.pop_front();
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_namespace_may_be_deleted_and_another_created_while_the_others_are_served() -> Result<()> {
    let slot = Slot::shared();
    let stage = Stage::new(&slot, "stays")?.restricted_to("default")?;
    let cluster = test_clusters::control_plane()?;
    let everywhere = cluster.kubectl("");
    let [goes, comes] = ["goes", "comes"].map(|name| cluster.kubectl(name));
    for name in ["goes", "comes"] {
        everywhere.run(&["delete", "namespace", name, "--ignore-not-found"])?;
    }
    everywhere.run(&["create", "namespace", "goes"])?;
    permit(&stage.kubectl)?;
    permit(&goes)?;

    let probes = Probes::new()?;
    let arguments = [&probes.flag(), "--watch-namespaces=goes,comes"];
    let mut operator = stage.operator_with(&arguments)?;
    for kubectl in [&stage.kubectl, &goes] {
        kubectl.apply(&resource("nodes", &json!({})))?;
        wait_published(kubectl, "nodes", SOON, &operator)?;
    }
    let (status, body) = probes.get("/readyz")?;
    ensure!(status == 200, "{body}");
    ensure!(probes.metric("namespace_watched{namespace=\"comes\"} 0")?);
    ensure!(
        operator.log()?.contains("namespace=\"comes\""),
        "the log does not name the missing namespace"
    );

    everywhere.run(&["delete", "namespace", "goes"])?;
    wait_until("the namespace to be given up", GIVE_UP, || {
        Ok(probes
            .metric("namespace_watched{namespace=\"goes\"} 0")?
            .then_some(()))
    })
    .with_context(|| operator.log().unwrap_or_default())?;
    ensure!(
        !probes.metric("{namespace=\"goes\",name=\"nodes\"}")?,
        "series of the deleted namespace are left"
    );
    stage.kubectl.apply(&resource("more", &json!({})))?;
    wait_published(&stage.kubectl, "more", SOON, &operator)?;

    everywhere.run(&["create", "namespace", "comes"])?;
    permit(&comes)?;
    comes.apply(&resource("nodes", &json!({})))?;
    wait_published(&comes, "nodes", SOON, &operator)?;
    ensure!(probes.metric("namespace_watched{namespace=\"comes\"} 1")?);
    for path in ["/livez", "/readyz"] {
        let (status, body) = probes.get(path)?;
        ensure!(status == 200, "{path}: {body}");
    }
    operator.check()
}

/// Permits everything in the namespace to the operator of the stage `stays`.
fn permit(kubectl: &Kubectl) -> Result<()> {
    kubectl.run(&[
        "create",
        "rolebinding",
        "operator",
        "--clusterrole=cluster-admin",
        "--serviceaccount=stays:default",
    ])?;
    Ok(())
}

fn wait_published(
    kubectl: &Kubectl,
    name: &str,
    deadline: Duration,
    operator: &Process,
) -> Result<()> {
    wait_until(&format!("{name} to be published"), deadline, || {
        let status = kubectl.get("secureexporter", name)?["status"].clone();
        let published = condition(&status, "CredentialsPublished")?;
        Ok((published["status"] == "True").then_some(()))
    })
    .with_context(|| operator.log().unwrap_or_default())
}

/// The HTTP endpoints of an operator.
struct Probes {
    port: u16,
}

impl Probes {
    fn new() -> Result<Self> {
        Ok(Self { port: free_port()? })
    }

    fn flag(&self) -> String {
        format!("--listen-address=127.0.0.1:{}", self.port)
    }

    fn get(&self, path: &str) -> Result<(u16, String)> {
        let answer = Request::get(&format!("http://127.0.0.1:{}{path}", self.port)).send()?;
        Ok((answer.status, answer.body))
    }

    fn metric(&self, text: &str) -> Result<bool> {
        Ok(self.get("/metrics")?.1.contains(text))
    }

    /// Returns how many passes had this outcome.
    fn passes(&self, outcome: &str) -> Result<u64> {
        let series = format!("secure_exporter_operator_reconciles_total{{outcome=\"{outcome}\"}} ");
        let text = self.get("/metrics")?.1;
        let count = text.lines().find_map(|line| line.strip_prefix(&series));
        Ok(count.unwrap_or("0").parse()?)
    }
}

//! The API server hangs, etcd dies, the operator is cut off or refused, each during a rotation: somebody is told, and soon
//! after the fault has ended the rotation ends too. All faults, on nodes and under a Prometheus: `cargo xtask bench faults`.
//!
//! Tests that disturb a whole control plane run alone.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    cluster::{Cluster, Layout, Program, Shape},
    exporters::{resource, rotate},
    operator::{Stage, weather::Weather},
    process::Process,
    slot::Slot,
    test_clusters,
    wait::wait_until,
};

/// How long it may take until the operator is at work again, and the rotation, whose waits are nothing, is over.
const RECOVERY: Duration = Duration::from_secs(60);
/// Tests that disturb only the connection of one operator to the API server.
const ON_THE_WAY: &str = "faults";

#[test]
fn a_cluster_with_stopped_programs_goes_down() -> Result<()> {
    let _slot = Slot::alone();
    let cluster = Cluster::up(Layout::named("stopped").shaped(Shape::CONTROL_PLANE))?;
    let stopped = [Program::ApiServer, Program::Etcd]
        .into_iter()
        .try_for_each(|program| cluster.freeze(program));
    // What is stopped is so a moment later, and what waits for it another moment later.
    thread::sleep(Duration::from_millis(500));
    cluster.down()?;
    stopped?;
    ensure!(!cluster.is_up());
    Ok(())
}

#[test]
fn an_api_server_that_hangs_is_reported_and_waited_for() -> Result<()> {
    let slot = Slot::alone();
    let rotation = Rotation::begin(&slot, "fault-stopped")?;
    let cluster = test_clusters::control_plane()?;
    let before = rotation.said()?.len();
    cluster.freeze(Program::ApiServer)?;
    thread::sleep(Duration::from_secs(20));
    let said = rotation.said();
    cluster.thaw(Program::ApiServer)?;
    let said = said?;
    ensure!(
        said.get(before..).unwrap_or_default().contains(" WARN "),
        "20 s without an answer, and the log warns of nothing"
    );
    rotation.ends()
}

#[test]
fn etcd_may_be_killed_and_started_again() -> Result<()> {
    let slot = Slot::alone();
    let rotation = Rotation::begin(&slot, "fault-etcd")?;
    let cluster = test_clusters::control_plane()?;
    cluster.kill(Program::Etcd)?;
    cluster.start_again(Program::Etcd)?;
    rotation.ends()
}

#[test]
fn a_full_disk_is_reported_and_blocks_nothing_later() -> Result<()> {
    let slot = Slot::alone();
    let rotation = Rotation::begin(&slot, "fault-full")?;
    let cluster = test_clusters::control_plane()?;
    let full = cluster.fill_disk();
    let told = wait_until("a word about it", Duration::from_secs(30), || {
        let said = rotation.said()?;
        ensure!(said.contains("space exceeded"), "{said}");
        Ok(Some(()))
    });
    cluster.free_disk()?;
    full?;
    told?;
    rotation.ends()
}

#[test]
fn a_watch_that_has_expired_starts_again() -> Result<()> {
    let slot = Slot::alone();
    let rotation = Rotation::begin(&slot, "fault-gone")?;
    let gate = &rotation.stage.gate;
    let cluster = test_clusters::control_plane()?;
    gate.change(Weather::Cut);
    // One that has just started knows no versions of before.
    let restarted = cluster
        .kill(Program::ApiServer)
        .and_then(|()| cluster.start_again(Program::ApiServer));
    gate.change(Weather::Clear);
    restarted?;
    rotation.ends()?;
    ensure!(gate.expired() > 0, "no watch was answered 410");
    Ok(())
}

#[test]
fn connections_that_died_silently_block_nothing() -> Result<()> {
    let slot = Slot::group(ON_THE_WAY);
    let rotation = Rotation::begin(&slot, "fault-silent")?;
    let gate = &rotation.stage.gate;
    gate.change(Weather::BlackHole);
    thread::sleep(Duration::from_secs(15));
    gate.change(Weather::Clear);
    ensure!(gate.touched() > 0, "no request was swallowed");
    rotation.ends()
}

#[test]
fn a_busy_or_slow_api_server_only_delays() -> Result<()> {
    let slot = Slot::group(ON_THE_WAY);
    let rotation = Rotation::begin(&slot, "fault-weather")?;
    let gate = &rotation.stage.gate;
    gate.change(Weather::TooMany);
    thread::sleep(Duration::from_secs(8));
    gate.change(Weather::Slow(Duration::from_millis(200)));
    ensure!(gate.touched() > 0, "no request was refused");
    rotation.ends()
}

#[test]
fn a_missing_permission_is_named_and_what_it_blocked_goes_on() -> Result<()> {
    let slot = Slot::group(ON_THE_WAY);
    let stage = Stage::new(&slot, "fault-rights")?;
    let account = "operator";
    allow(&stage, account, &rules()?)?;
    let rotation = Rotation::begin_on(stage.restricted_to(account)?)?;
    allow(
        &rotation.stage,
        account,
        &without(&rules()?, "secrets", "update"),
    )?;
    // A rotation ends by writing Secrets.
    let told = wait_until("the condition", RECOVERY, || {
        let status = rotation.stage.status()?;
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let messages = conditions.filter_map(|it| it["message"].as_str());
        let named = |message: &str| {
            let message = message.to_lowercase();
            message.contains("secret") && message.contains("update")
        };
        ensure!(messages.into_iter().any(named), "{status}");
        Ok(Some(()))
    });
    allow(&rotation.stage, account, &rules()?)?;
    told?;
    rotation.ends()
}

/// An operator, and a rotation that is on its way.
struct Rotation {
    stage: Stage,
    operator: Process,
}

impl Rotation {
    fn begin(slot: &Slot, namespace: &str) -> Result<Self> {
        Self::begin_on(Stage::new(slot, namespace)?)
    }

    fn begin_on(stage: Stage) -> Result<Self> {
        let operator = stage.operator()?;
        // Long enough for the fault to begin meanwhile.
        let spec = json!({"rotation": {"clientOverlap": "10s"}});
        stage.kubectl.apply(&resource("nodes", &spec))?;
        let rotation = Self { stage, operator };
        rotation.wait_for(1)?;
        rotate(&rotation.stage.kubectl, "nodes", "ca,password:1")?;
        wait_until("the rotation to begin", RECOVERY, || {
            let status = rotation.stage.status()?;
            Ok((!status["rotation"].is_null()).then_some(()))
        })?;
        Ok(rotation)
    }

    fn said(&self) -> Result<String> {
        self.operator.log()
    }

    /// Waits for its end, and for a certificate that is asked for now: not all may hang on what was known before.
    fn ends(&self) -> Result<()> {
        self.wait_for(2)?;
        let serial = |status: &Value| status["certificate"]["serialNumber"].clone();
        let before = serial(&self.stage.status()?);
        rotate(&self.stage.kubectl, "nodes", "certificate:2")?;
        wait_until("a certificate that is asked for", RECOVERY, || {
            ensure!(
                serial(&self.stage.status()?) != before,
                "it is still the same; {}",
                self.said()?
            );
            Ok(Some(()))
        })?;
        let status = self.stage.status()?;
        ensure!(
            status["trust"]["activeGeneration"] == 2
                && status["credentials"]["activeGeneration"] == 2,
            "something was made twice: {status}"
        );
        Ok(())
    }

    fn wait_for(&self, generation: u64) -> Result<()> {
        wait_until(&format!("generation {generation} alone"), RECOVERY, || {
            let status = self
                .stage
                .status()
                .with_context(|| self.said().unwrap_or_default())?;
            let steady = status["rotation"].is_null()
                && status["trust"]["bundledGenerations"] == json!([generation])
                && status["credentials"]["acceptedGenerations"] == json!([generation]);
            ensure!(steady, "{status}; {}", self.said()?);
            Ok(Some(()))
        })
    }
}

/// The rules that the chart gives its operator.
fn rules() -> Result<Value> {
    let everywhere = test_clusters::main()?.kubectl("");
    let roles = everywhere.list(
        "clusterroles",
        "app.kubernetes.io/name=secure-exporter-operator",
    )?;
    let of_operator = |role: &Value| role["rules"].to_string().contains("secureexporters/status");
    let role = roles.into_iter().find(of_operator);
    Ok(role.context("the chart's ClusterRole is not there")?["rules"].clone())
}

fn without(rules: &Value, resource: &str, verb: &str) -> Value {
    let mut rules = rules.clone();
    for rule in rules.as_array_mut().into_iter().flatten() {
        if rule["resources"]
            .to_string()
            .contains(&format!("\"{resource}\""))
            && let Some(verbs) = rule["verbs"].as_array_mut()
        {
            verbs.retain(|it| it != verb);
        }
    }
    rules
}

fn allow(stage: &Stage, account: &str, rules: &Value) -> Result<()> {
    let namespace = stage.kubectl.namespace();
    let group = "rbac.authorization.k8s.io";
    stage.kubectl.apply(&json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account},
    }))?;
    stage.kubectl.apply(&json!({
        "apiVersion": format!("{group}/v1"), "kind": "Role",
        "metadata": {"name": account}, "rules": rules,
    }))?;
    stage.kubectl.apply(&json!({
        "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": account},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }))
}

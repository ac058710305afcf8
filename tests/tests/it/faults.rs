//! The API server hangs, etcd is killed, the operator is cut off or refused, each during a rotation: the fault is reported,
//! and the rotation ends soon after it. `cargo xtask bench faults` tests more faults, on nodes that a Prometheus scrapes.
//!
//! Tests that affect a whole control plane run alone.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    cluster::{Cluster, Layout, Program, Shape},
    exporters::{resource, rotate},
    kubectl::Kubectl,
    operator::{Stage, disruption::Disruption},
    process::Process,
    rights,
    slot::Slot,
    test_clusters,
    wait::wait_until,
};

/// How long it may take until the operator works again and the rotation, which has no minimum waits, is over.
const RECOVERY: Duration = Duration::from_secs(60);
/// The group of tests that only affect the connections of one operator to the API server.
const NETWORK_FAULTS: &str = "faults";

#[test]
fn a_cluster_with_stopped_programs_goes_down() -> Result<()> {
    let _slot = Slot::alone();
    let cluster = Cluster::up(Layout::named("stopped").shaped(Shape::CONTROL_PLANE))?;
    let stopped = [Program::ApiServer, Program::Etcd]
        .into_iter()
        .try_for_each(|program| cluster.freeze(program));
    // It takes a moment until the programs are stopped, and another one until those that wait for them are.
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
    let before = rotation.log()?.len();
    cluster.freeze(Program::ApiServer)?;
    thread::sleep(Duration::from_secs(20));
    let log = rotation.log();
    cluster.thaw(Program::ApiServer)?;
    let log = log?;
    ensure!(
        log.get(before..).unwrap_or_default().contains(" WARN "),
        "20 s without an answer, and the log warns of nothing"
    );
    rotation.wait_end()
}

#[test]
fn etcd_may_be_killed_and_started_again() -> Result<()> {
    let slot = Slot::alone();
    let rotation = Rotation::begin(&slot, "fault-etcd")?;
    let cluster = test_clusters::control_plane()?;
    cluster.kill(Program::Etcd)?;
    cluster.start_again(Program::Etcd)?;
    rotation.wait_end()
}

#[test]
fn a_full_disk_is_reported_and_blocks_nothing_later() -> Result<()> {
    let slot = Slot::alone();
    let rotation = Rotation::begin(&slot, "fault-full")?;
    let cluster = test_clusters::control_plane()?;
    let full = cluster.fill_disk();
    let reported = wait_until(
        "the full disk to be reported",
        Duration::from_secs(30),
        || {
            let log = rotation.log()?;
            ensure!(log.contains("space exceeded"), "{log}");
            Ok(Some(()))
        },
    );
    cluster.free_disk()?;
    full?;
    reported?;
    rotation.wait_end()
}

#[test]
fn a_watch_that_has_expired_starts_again() -> Result<()> {
    let slot = Slot::alone();
    let rotation = Rotation::begin(&slot, "fault-gone")?;
    let gate = &rotation.stage.gate;
    let cluster = test_clusters::control_plane()?;
    gate.disrupt(Disruption::Cut);
    let restarted = cluster.expire_versions();
    gate.disrupt(Disruption::None);
    restarted?;
    rotation.wait_end()?;
    ensure!(gate.expired_watches() > 0, "no watch was answered 410");
    Ok(())
}

#[test]
fn connections_that_died_silently_block_nothing() -> Result<()> {
    let slot = Slot::group(NETWORK_FAULTS);
    let rotation = Rotation::begin(&slot, "fault-silent")?;
    let gate = &rotation.stage.gate;
    gate.disrupt(Disruption::Hang);
    thread::sleep(Duration::from_secs(15));
    gate.disrupt(Disruption::None);
    ensure!(gate.disrupted_requests() > 0, "no request hung");
    rotation.wait_end()
}

#[test]
fn a_busy_or_slow_api_server_only_delays() -> Result<()> {
    let slot = Slot::group(NETWORK_FAULTS);
    let rotation = Rotation::begin(&slot, "fault-busy")?;
    let gate = &rotation.stage.gate;
    gate.disrupt(Disruption::TooManyRequests);
    thread::sleep(Duration::from_secs(8));
    gate.disrupt(Disruption::Delay(Duration::from_millis(200)));
    ensure!(gate.disrupted_requests() > 0, "no request was refused");
    rotation.wait_end()
}

#[test]
fn a_missing_permission_is_named_and_the_rotation_continues_once_it_is_granted() -> Result<()> {
    let slot = Slot::group(NETWORK_FAULTS);
    let stage = Stage::new(&slot, "fault-rights")?;
    let account = "operator";
    let allow = |kubectl: &Kubectl, rules: &Value| rights::grant(kubectl, account, account, rules);
    allow(&stage.kubectl, &rules()?)?;
    let rotation = Rotation::begin_on(stage.restricted_to(account)?)?;
    let kubectl = &rotation.stage.kubectl;
    allow(kubectl, &without(&rules()?, "secrets", "update"))?;
    // The rotation must write Secrets to end.
    let reported = wait_until("the condition", RECOVERY, || {
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
    allow(kubectl, &rules()?)?;
    reported?;
    rotation.wait_end()
}

/// An operator and a rotation that has begun.
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
        // Long enough for the fault to begin during the rotation.
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

    fn log(&self) -> Result<String> {
        self.operator.log()
    }

    /// The end of the log.
    fn last_words(&self) -> Result<String> {
        let log = self.log()?;
        let lines: Vec<_> = log.lines().collect();
        let begin = lines.len().saturating_sub(30);
        Ok(lines.get(begin..).unwrap_or_default().join("\n"))
    }

    /// Waits for the end of the rotation, and for a certificate that is requested then: new requests must be seen, too.
    fn wait_end(&self) -> Result<()> {
        self.wait_for(2)?;
        let serial = |status: &Value| status["certificate"]["serialNumber"].clone();
        let before = serial(&self.stage.status()?);
        rotate(&self.stage.kubectl, "nodes", "certificate:2")?;
        wait_until("the requested certificate", RECOVERY, || {
            ensure!(
                serial(&self.stage.status()?) != before,
                "it is still the same; {}",
                self.last_words()?
            );
            Ok(Some(()))
        })?;
        let status = self.stage.status()?;
        ensure!(
            status["trust"]["activeGeneration"] == 2
                && status["credentials"]["activeGeneration"] == 2,
            "something was generated twice: {status}"
        );
        Ok(())
    }

    fn wait_for(&self, generation: u64) -> Result<()> {
        wait_until(&format!("generation {generation} alone"), RECOVERY, || {
            let status = self
                .stage
                .status()
                .with_context(|| self.last_words().unwrap_or_default())?;
            let steady = status["rotation"].is_null()
                && status["trust"]["bundledGenerations"] == json!([generation])
                && status["credentials"]["acceptedGenerations"] == json!([generation]);
            ensure!(steady, "{status}; {}", self.last_words()?);
            Ok(Some(()))
        })
    }
}

/// The rules that the chart grants to its operator.
fn rules() -> Result<Value> {
    let everywhere = test_clusters::main()?.kubectl("");
    let roles = everywhere.list(
        "clusterroles",
        "app.kubernetes.io/name=secure-exporter-operator",
    )?;
    let of_operator = |role: &Value| role["rules"].to_string().contains("secureexporters/status");
    let role = roles.into_iter().find(of_operator);
    Ok(role.context("there is no ClusterRole of the chart")?["rules"].clone())
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

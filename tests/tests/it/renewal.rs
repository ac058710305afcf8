//! The serving certificate waits for nothing: whatever stands in the way of everything else, it is renewed in time, the
//! status says so, and the alerts have their series. Each obstacle is met by an operator that runs, and by one that starts.

use std::{
    collections::BTreeSet,
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    curl::Request,
    exporters::{condition, resource},
    operator::Stage,
    process::{Process, free_port, output},
    slot::Slot,
    wait::wait_until,
};

/// Longer than one certificate lives, so that one which is not renewed has ended by then.
const WATCHED: Duration = Duration::from_secs(75);

/// What stands in the way.
#[derive(Clone, Copy, Debug)]
enum Obstacle {
    /// The name of the Service is taken.
    ForeignService,
    /// The operator does not allow the image any more.
    WithdrawnImage,
    /// The spec cannot be accepted.
    MisspeltCollector,
    /// Every write of the DaemonSet is refused.
    RefusedWrite,
}

#[test]
fn the_certificate_is_renewed_behind_every_obstacle() -> Result<()> {
    let obstacles = [
        Obstacle::ForeignService,
        Obstacle::WithdrawnImage,
        Obstacle::MisspeltCollector,
        Obstacle::RefusedWrite,
    ];
    // Many operators, and certificates that must not end.
    let slot = Slot::alone();
    thread::scope(|scope| {
        let slot = &slot;
        let lanes: Vec<_> = obstacles
            .into_iter()
            .enumerate()
            .flat_map(|(index, obstacle)| {
                [false, true].map(|restarted| (index, obstacle, restarted))
            })
            .map(|(index, obstacle, restarted)| {
                scope.spawn(move || {
                    let name = format!("obstacle-{index}-{restarted}");
                    renews_behind(slot, &name, obstacle, restarted)
                        .with_context(|| format!("{obstacle:?}, restarted: {restarted}"))
                })
            })
            .collect();
        for lane in lanes {
            match lane.join() {
                Ok(outcome) => outcome?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    })
}

fn renews_behind(slot: &Slot, name: &str, obstacle: Obstacle, restarted: bool) -> Result<()> {
    let stage = Stage::new(slot, name)?;
    // They exist if the test is repeated on the same control plane.
    for kind in [
        "validatingadmissionpolicybinding",
        "validatingadmissionpolicy",
    ] {
        stage
            .kubectl
            .run(&["delete", kind, name, "--ignore-not-found"])?;
    }
    let port = free_port()?;
    let operator = operator(&stage, port, true)?;
    stage.kubectl.apply(&exporter(&["cpu"]))?;
    wait_until("the first certificate", Duration::from_secs(30), || {
        Ok(stage.secret("scrape").is_ok().then_some(()))
    })?;
    // A policy may be withdrawn by a restart only, and what is found at a start is found without any memory.
    let is_allowed = !matches!(obstacle, Obstacle::WithdrawnImage);
    let _operator = if restarted || !is_allowed {
        drop(operator);
        put_in_the_way(&stage, obstacle, name)?;
        self::operator(&stage, port, is_allowed)?
    } else {
        put_in_the_way(&stage, obstacle, name)?;
        operator
    };
    let served = watch(&stage)?;
    ensure!(served >= 2, "no renewal in {WATCHED:?}");
    is_reported(&stage, obstacle, port)
}

/// How many certificates were published within the time; none of them may have ended.
fn watch(stage: &Stage) -> Result<usize> {
    let mut serials = BTreeSet::new();
    let begin = Instant::now();
    while begin.elapsed() < WATCHED {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("tls.crt");
        fs::write(&file, stage.secret("server")?.get("tls.crt")?)?;
        let openssl = |arguments: &[&str]| {
            output(
                Command::new("openssl")
                    .args(["x509", "-in"])
                    .arg(&file)
                    .args(arguments),
            )
        };
        openssl(&["-noout", "-checkend", "5"]).context("the certificate ends, or has ended")?;
        serials.insert(openssl(&["-noout", "-serial"])?);
        thread::sleep(Duration::from_secs(1));
    }
    Ok(serials.len())
}

/// What is wrong is said, what is well is not denied, and the times are those of the certificate that is served.
fn is_reported(stage: &Stage, obstacle: Obstacle, port: u16) -> Result<()> {
    let reason = match obstacle {
        Obstacle::ForeignService => "ForeignObject",
        Obstacle::WithdrawnImage => "WorkloadRefused",
        Obstacle::MisspeltCollector => "InvalidSpec",
        Obstacle::RefusedWrite => "WriteFailed",
    };
    let status = stage.status()?;
    let stalled = condition(&status, "Stalled")?;
    ensure!(
        stalled["status"] == "True" && stalled["reason"] == reason,
        "{stalled}"
    );
    ensure!(condition(&status, "Ready")?["reason"] == reason, "{status}");
    for well in ["CertificateValid", "CredentialsPublished"] {
        ensure!(condition(&status, well)?["status"] == "True", "{status}");
    }
    // A renewal may fall between the two reads, so that they are compared until they agree.
    wait_until(
        "a status that names the served certificate",
        Duration::from_secs(15),
        || {
            let served = serial(stage)?;
            let status = stage.status()?;
            let told = status["certificate"]["serialNumber"].as_str();
            Ok((told == Some(&served)).then_some(()))
        },
    )?;
    let metrics = Request::get(&format!("http://127.0.0.1:{port}/metrics")).send()?;
    for series in [
        "certificate_not_after_timestamp_seconds",
        "certificate_renewal_timestamp_seconds",
        "last_success_timestamp_seconds",
    ] {
        let line = format!("secure_exporter_operator_{series}{{");
        ensure!(
            metrics.body.contains(&line),
            "no {series}: {}",
            metrics.body
        );
    }
    Ok(())
}

/// The serial number of the certificate that is served, written as the status writes it.
fn serial(stage: &Stage) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("tls.crt");
    fs::write(&file, stage.secret("server")?.get("tls.crt")?)?;
    let printed = output(
        Command::new("openssl")
            .args(["x509", "-noout", "-serial", "-in"])
            .arg(&file),
    )?;
    let (_, hexadecimal) = printed
        .trim()
        .split_once('=')
        .context("openssl prints serial=…")?;
    Ok(hexadecimal.to_lowercase())
}

fn operator(stage: &Stage, port: u16, is_allowed: bool) -> Result<Process> {
    let address = format!("--listen-address=127.0.0.1:{port}");
    let allowed: &[&str] = if is_allowed {
        &[&address, "--allowed-images=registry.example.com/mirror"]
    } else {
        &[&address]
    };
    stage.operator_with(allowed)
}

fn put_in_the_way(stage: &Stage, obstacle: Obstacle, name: &str) -> Result<()> {
    let kubectl = &stage.kubectl;
    match obstacle {
        Obstacle::ForeignService => disown_service(stage),
        Obstacle::WithdrawnImage => Ok(()),
        Obstacle::MisspeltCollector => kubectl.apply(&exporter(&["cpuu"])),
        Obstacle::RefusedWrite => refuse_daemon_sets(stage, name),
    }
}

/// Takes the owner off the Service, and again where a pass that had read it before has put it back.
fn disown_service(stage: &Stage) -> Result<()> {
    // With the operator's labels it would be one that was restored from a backup.
    let patch = r#"{"metadata":{"ownerReferences":null,"labels":{"app.kubernetes.io/managed-by":"someone"}}}"#;
    wait_until(
        "a Service without an owner",
        Duration::from_secs(60),
        || {
            stage
                .kubectl
                .run(&["patch", "service", "nodes", "--type=merge", "-p", patch])?;
            thread::sleep(Duration::from_secs(3));
            let service = stage.kubectl.get("service", "nodes")?;
            Ok(service["metadata"]["ownerReferences"]
                .is_null()
                .then_some(()))
        },
    )
}

fn refuse_daemon_sets(stage: &Stage, namespace: &str) -> Result<()> {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": namespace},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["daemonsets"]}]},
            "validations": [{"expression": "false", "message": "no DaemonSets today"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": namespace},
        "spec": {
            "policyName": namespace, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}},
        },
    });
    wait_until("the DaemonSet", Duration::from_secs(30), || {
        stage.kubectl.find("daemonset", "nodes")
    })?;
    stage.kubectl.apply(&policy)?;
    stage.kubectl.apply(&binding)?;
    // The API server takes a moment to enforce it.
    wait_until("the policy", Duration::from_secs(30), || {
        let attempt = stage.kubectl.run(&[
            "annotate",
            "daemonset",
            "nodes",
            "example.com/refused=1",
            "--dry-run=server",
        ]);
        let is_refused =
            |error: anyhow::Error| format!("{error:#}").contains("no DaemonSets today");
        Ok(attempt.is_err_and(is_refused).then_some(()))
    })?;
    // A change that the operator must write, or nothing would be refused.
    stage
        .kubectl
        .run(&[
            "patch",
            "secexp",
            "nodes",
            "--type=merge",
            "-p",
            r#"{"spec":{"workload":{"updateStrategy":{"maxUnavailable":"20%"}}}}"#,
        ])
        .map(drop)
}

fn exporter(collectors: &[&str]) -> Value {
    resource(
        "nodes",
        &json!({
            "image": {"repository": "registry.example.com/mirror/secure-exporter"},
            "tls": {"certificate": {"duration": "1m"}},
            "exporter": {"collectors": {"enabled": collectors}},
        }),
    )
}

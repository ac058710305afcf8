//! A user-supplied certificate: the user's Secret is checked, copied and followed, but never written.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    certificate::{Authority, serial_number, served_serial},
    exporters::{Exporters, condition, resource, rotate, unused_port},
    kubectl::Kubectl,
    namespace::in_namespace,
    operator::Stage,
    process::Process,
    slot::Slot,
    wait::wait_until,
};

const NAME: &str = "nodes.example.com";

/// How long the operator may take to publish a changed Secret. It watches such a Secret; reading it every minute would
/// exceed this.
const NOTICED: Duration = Duration::from_secs(45);
/// How long a kubelet may take to bring it to a pod.
const DELIVERY: Duration = Duration::from_secs(150);
/// How long it may take to change the issuer, with waits of a second.
const CHANGE: Duration = Duration::from_secs(60);

#[test]
fn a_secret_of_the_user_is_followed_and_its_problems_are_reported() -> Result<()> {
    let slot = Slot::shared();
    let stage = Stage::new(&slot, "provided")?;
    let operator = stage.operator()?;
    let (first, second) = (Authority::new("First")?, Authority::new("Second")?);
    stage.kubectl.apply(&exporter(&provided()))?;
    wait_until("why nothing begins", CHANGE, || {
        let ready = stage.condition("Ready")?;
        ensure!(ready["reason"] == "IssuerNotReady", "{ready}");
        let message = ready["message"].as_str().unwrap_or_default();
        ensure!(
            message.contains("Secret corporate does not exist"),
            "{ready}"
        );
        Ok(Some(()))
    })?;
    ensure!(stage.secret("server").is_err(), "something was published");

    // The operator watches the Secret, which has none of its labels.
    let one = first.issue(NAME)?;
    put(&stage.kubectl, &one, &first.certificate()?)?;
    wait_served(&stage, &operator, &one.0, &first.certificate()?)?;
    let scrape = stage.secret("scrape")?;
    let renewed = first.issue(NAME)?;
    put(&stage.kubectl, &renewed, &first.certificate()?)?;
    wait_served(&stage, &operator, &renewed.0, &first.certificate()?)?;
    ensure!(
        stage.secret("scrape")?.get("ca.crt")? == scrape.get("ca.crt")?,
        "another bundle for a certificate of the same authority"
    );

    // A key that does not match, and no Secret at all: the last valid certificate stays in use, and everything else keeps
    // working.
    put(
        &stage.kubectl,
        &(renewed.0.clone(), one.1),
        &first.certificate()?,
    )?;
    wait_invalid(&stage, "KeyMismatch", "key tls.key of Secret corporate")?;
    stage.kubectl.delete("secret", "corporate")?;
    wait_invalid(&stage, "SecretMissing", "Secret corporate does not exist")?;
    rotate(&stage.kubectl, "nodes", "password:1")?;
    wait_until("another password", CHANGE, || {
        let status = stage.status()?;
        ensure!(
            status["credentials"]["acceptedGenerations"] == json!([2]),
            "{status}"
        );
        Ok(Some(()))
    })?;
    ensure!(
        stage.secret("server")?.get("tls.crt")? == renewed.0,
        "another certificate"
    );

    // Another CA: trusted before its certificate is served, and then the only one.
    let other = second.issue(NAME)?;
    put(&stage.kubectl, &other, &second.certificate()?)?;
    rotate(&stage.kubectl, "nodes", "ca:2")?;
    wait_until("trust in both", CHANGE, || {
        let scrape = stage.secret("scrape")?;
        let both = format!("{}{}", first.certificate()?, second.certificate()?);
        Ok((scrape.get("ca.crt")? == both).then_some(()))
    })?;
    wait_served(&stage, &operator, &other.0, &second.certificate()?)?;
    is_told(&stage, "RequestDeclined")?;

    let log = operator.log()?;
    let status = stage.kubectl.run(&["get", "secexp,events", "-o", "yaml"])?;
    for secret in [stage.secret("server")?, stage.secret("state")?] {
        for word in secret.confidential() {
            ensure!(!log.contains(word), "a secret is in the log");
            ensure!(
                !status.contains(word),
                "a secret is in a status or an event"
            );
        }
    }
    Ok(())
}

#[test]
fn a_resource_that_runs_changes_its_issuer_and_back() -> Result<()> {
    let slot = Slot::shared();
    let stage = Stage::new(&slot, "changed")?;
    let operator = stage.operator()?;
    let managed = json!({"type": "Managed"});
    stage.kubectl.apply(&exporter(&managed))?;
    wait_until("the first certificate", CHANGE, || {
        stage.secret("server").map(Some)
    })?;
    let ours = stage.secret("scrape")?;
    let authority = Authority::new("Corporate")?;
    let one = authority.issue(NAME)?;
    put(&stage.kubectl, &one, &authority.certificate()?)?;
    stage.kubectl.apply(&exporter(&provided()))?;
    wait_until("trust in both", CHANGE, || {
        let bundle = stage.secret("scrape")?;
        let both = format!("{}{}", ours.get("ca.crt")?, authority.certificate()?);
        Ok((bundle.get("ca.crt")? == both).then_some(()))
    })?;
    wait_served(&stage, &operator, &one.0, &authority.certificate()?)?;

    stage.kubectl.apply(&exporter(&managed))?;
    wait_until("an authority of the operator's", CHANGE, || {
        let status = stage.status()?;
        let issuer = status["certificate"]["issuer"].as_str().unwrap_or_default();
        ensure!(issuer.contains("node metrics CA"), "{status}");
        ensure!(status["rotation"].is_null(), "{status}");
        let bundle = stage.secret("scrape")?;
        Ok((!bundle.get("ca.crt")?.contains(&authority.certificate()?)).then_some(()))
    })
    .with_context(|| operator.log().unwrap_or_default())
}

#[test]
fn exporters_serve_it_and_its_successor() -> Result<()> {
    in_namespace(&Slot::shared(), "corporate", |namespace| {
        let authority = Authority::new("Corporate")?;
        let name = format!("nodes.{}.svc", namespace.name);
        let first = authority.issue(&name)?;
        put(&namespace.kubectl, &first, &authority.certificate()?)?;
        let spec = json!({"exporter": {"port": unused_port()}, "tls": {"issuer": provided()}});
        let exporters = Exporters::apply(namespace, "nodes", &spec)?;
        exporters.wait_ready()?;
        let served = || served_serial(&exporters.address(), &name);
        ensure!(served()? == serial_number(&first.0)?, "another certificate");
        let answer = exporters.scraper()?.get("/metrics").send()?;
        ensure!(answer.status == 200, "HTTP {}", answer.status);

        let next = authority.issue(&name)?;
        put(&namespace.kubectl, &next, &authority.certificate()?)?;
        wait_until("the next certificate", NOTICED + DELIVERY, || {
            let answer = exporters.scraper()?.get("/metrics").send()?;
            ensure!(answer.status == 200, "HTTP {}", answer.status);
            Ok((served()? == serial_number(&next.0)?).then_some(()))
        })
    })
}

fn exporter(issuer: &Value) -> Value {
    let spec = json!({
        "rotation": {"clientOverlap": "1s"},
        "tls": {"serverName": NAME, "issuer": issuer},
    });
    resource("nodes", &spec)
}

fn provided() -> Value {
    json!({"type": "Provided", "provided": {"secretName": "corporate"}})
}

fn put(kubectl: &Kubectl, (certificate, key): &(String, String), bundle: &str) -> Result<()> {
    kubectl.apply(&json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "corporate"},
        "stringData": {"tls.crt": certificate, "tls.key": key, "ca.crt": bundle},
    }))
}

/// Until exactly this is published, the change is over, and the conditions say that all is well.
fn wait_served(stage: &Stage, operator: &Process, certificate: &str, bundle: &str) -> Result<()> {
    wait_until("the certificate", NOTICED, || {
        let status = stage.status()?;
        ensure!(status["rotation"].is_null(), "{status}");
        let valid = condition(&status, "CertificateValid")?;
        ensure!(valid["status"] == "True", "{valid}");
        ensure!(
            stage.secret("server")?.get("tls.crt")? == certificate,
            "another certificate: {status}"
        );
        ensure!(
            stage.secret("scrape")?.get("ca.crt")? == bundle,
            "another bundle: {status}"
        );
        Ok(Some(()))
    })
    .with_context(|| operator.log().unwrap_or_default())
}

fn wait_invalid(stage: &Stage, reason: &str, words: &str) -> Result<()> {
    wait_until(reason, NOTICED, || {
        let valid = stage.condition("CertificateValid")?;
        ensure!(
            valid["status"] == "False" && valid["reason"] == reason,
            "{valid}"
        );
        let message = valid["message"].as_str().unwrap_or_default();
        ensure!(message.contains(words), "{valid}");
        Ok(Some(()))
    })?;
    is_told(stage, reason)
}

fn is_told(stage: &Stage, reason: &str) -> Result<()> {
    wait_until(reason, CHANGE, || {
        let events = stage.kubectl.run(&["get", "events", "-o", "json"])?;
        Ok(events.contains(reason).then_some(()))
    })
}

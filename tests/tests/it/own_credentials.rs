//! A user-supplied password and additional users from Secrets, which are changed, damaged and deleted while real scrapers
//! scrape.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testbed::{
    exporters::{Exporters, condition, unused_port},
    namespace::{Namespace, in_namespace},
    prometheus::{query, start, wait_for},
    slot::Slot,
    wait::wait_until,
};

/// How long a change may take: the kubelet must bring what the operator made of it to the exporter, and a rotation comes after
/// that.
const ROTATION: Duration = Duration::from_secs(180);

const FIRST: &str = "correct horse battery";
const SECOND: &str = "another horse, another battery";
const ALICE: &str = "wonderland is open";
/// htpasswd -nbBC 6 alice 'wonderland is open'
const ALICE_HASH: &str = "$2y$06$H0g7c9.qaKp4qEbNd2QNi.jU.5WJ4AA4HH3FOKtVWJ2PDTlUvRFhi";

#[test]
fn prometheus_scrapes_through_changes_of_a_password_of_ones_own() -> Result<()> {
    in_namespace(&Slot::shared(), "own", |namespace| {
        let spec = json!({
            "exporter": {"port": unused_port()},
            "authentication": {"basicAuth": {
                "passwordSecretRef": {"name": "mine"},
                "usersSecretRef": {"name": "people"},
            }},
            "rotation": {"clientOverlap": "12s"},
            "scrape": {
                "interval": "1s",
                "timeout": "1s",
                "serviceAccounts": [{"namespace": namespace.name, "name": "prometheus"}],
            },
        });
        let exporters = Exporters::apply(namespace, "nodes", &spec)?;
        exporters.wait_refused(&["Secret mine", "create it"])?;
        ensure!(
            exporters.versions()?.is_empty(),
            "something was made without a password"
        );
        write(
            namespace,
            "mine",
            &json!({"password": format!("{FIRST}\n")}),
        )?;
        write(namespace, "people", &json!({"alice": ALICE_HASH}))?;
        exporters.wait_ready()?;
        ensure!(exporters.secret("scrape")?.get("password")? == FIRST);
        wait_until("alice to be let in", ROTATION, || {
            Ok((as_alice(&exporters)? == 200).then_some(()))
        })?;
        let address = start(&namespace.kubectl)?;
        wait_for(&address, "up", 1, "1")?;

        write(namespace, "mine", &json!({"password": SECOND}))?;
        wait_until("the password to be followed", ROTATION, || {
            let told = exporters.secret("scrape")?;
            let quiet = exporters.resource()?["status"]["rotation"].is_null();
            Ok((told.get("password")? == SECOND && quiet).then_some(()))
        })?;

        // Damaged input takes nothing away.
        write(namespace, "mine", &json!({"password": "too short"}))?;
        write(namespace, "people", &json!({"alice": "in plain text"}))?;
        wait_until("the condition", ROTATION, || {
            let (status, message) = accepted(&exporters)?;
            let named = ["Secret mine", "shorter than", "Secret people", "htpasswd"];
            let is_named = named.iter().all(|words| message.contains(words));
            Ok((status == "False" && is_named).then_some(()))
        })?;
        ensure!(exporters.secret("scrape")?.get("password")? == SECOND);
        ensure!(as_alice(&exporters)? == 200, "alice is refused");
        let resource = exporters.resource()?;
        let ready = condition(&resource["status"], "Ready")?;
        ensure!(ready["status"] == "True", "{ready}");

        // Removed users are refused.
        write(namespace, "mine", &json!({"password": SECOND}))?;
        write(namespace, "people", &json!({"bob": ALICE_HASH}))?;
        wait_until("alice to be refused", ROTATION, || {
            Ok((as_alice(&exporters)? == 401).then_some(()))
        })?;
        ensure!(accepted(&exporters)?.0 == "True");
        let failed = query(&address, "count_over_time((up == 0)[20m:1s])")?;
        ensure!(failed.is_empty(), "scrapes failed: {failed:?}");
        Ok(())
    })
}

/// Status and message of the condition.
fn accepted(exporters: &Exporters<'_>) -> Result<(String, String)> {
    let resource = exporters.resource()?;
    let found = condition(&resource["status"], "CredentialsAccepted")?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Ok((text("status"), text("message")))
}

fn as_alice(exporters: &Exporters<'_>) -> Result<u16> {
    let scraper = exporters.scraper()?;
    let answer = scraper.anonymous("/metrics").user("alice", ALICE).send()?;
    Ok(answer.status)
}

fn write(namespace: &Namespace, name: &str, texts: &Value) -> Result<()> {
    // What was stored under other keys is gone.
    if namespace.kubectl.find("secret", name)?.is_some() {
        namespace.kubectl.delete("secret", name)?;
    }
    namespace.kubectl.apply(&json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": texts,
    }))
}

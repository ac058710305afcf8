//! Certificates, authority and password change while real scrapers scrape, and nothing fails that should not.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    exporters::{Exporters, condition, distrust, rotate, unused_port},
    kubectl::Kubectl,
    namespace::in_namespace,
    prometheus::{Series, query, start, wait_for},
    slot::Slot,
    wait::wait_until,
};

/// How long one rotation may take: its waits are seconds here, and a kubelet is a second or two late.
const ROTATION: Duration = Duration::from_secs(120);

#[test]
fn prometheus_scrapes_through_every_kind_of_rotation() -> Result<()> {
    in_namespace(&Slot::shared(), "rotated", |namespace| {
        let spec = json!({
            "exporter": {"port": unused_port()},
            "rotation": {"clientOverlap": "12s"},
            "scrape": {
                "interval": "1s",
                "timeout": "1s",
                "serviceAccounts": [{"namespace": namespace.name, "name": "prometheus"}],
            },
        });
        let exporters = Exporters::apply(namespace, "nodes", &spec)?;
        exporters.wait_ready()?;
        let address = start(&namespace.kubectl)?;
        wait_for(&address, "up", 1, "1")?;
        let first = exporters.secret("scrape")?;
        rotate_everything(&exporters, &namespace.kubectl)?;
        // All of what the first scraper had has changed, and Prometheus was never told.
        let last = exporters.secret("scrape")?;
        assert_eq!(first.differs(&last), ["ca.crt", "password"]);
        no_scrape_failed(&address)?;
        let resource = exporters.resource()?;
        ensure!(resource["status"]["nodes"]["verified"] == 1, "{resource}");
        Ok(())
    })
}

/// Rotates each credential, one after the other, and then all at once.
pub(crate) fn rotate_everything(exporters: &Exporters<'_>, kubectl: &Kubectl) -> Result<()> {
    for (index, subject) in ["certificate", "ca", "password", "ca,password"]
        .into_iter()
        .enumerate()
    {
        let before = generations(exporters)?;
        rotate(kubectl, "nodes", &format!("{subject}:{index}"))?;
        wait_until(subject, ROTATION, || {
            let now = generations(exporters)?;
            let quiet = exporters.resource()?["status"]["rotation"].is_null();
            let moved = match subject {
                "certificate" => now.serial != before.serial,
                "ca" => now.authority > before.authority,
                "password" => now.password > before.password,
                _ => now.authority > before.authority && now.password > before.password,
            };
            ensure!(quiet && moved, "{now:?}, and {before:?} before");
            Ok(Some(()))
        })?;
    }
    Ok(())
}

/// Checks that no scrape failed in the last ten minutes, and that none is missing.
pub(crate) fn no_scrape_failed(address: &str) -> Result<()> {
    let failed = query(address, "count_over_time((up == 0)[10m:1s])")?;
    ensure!(failed.is_empty(), "scrapes failed: {failed:?}");
    let seen = query(address, "count_over_time(up[10m])")?;
    let span = query(
        address,
        "max_over_time(timestamp(up)[10m:1s]) - min_over_time(timestamp(up)[10m:1s])",
    )?;
    let number = |series: &[Series]| -> Result<f64> {
        Ok(series.first().context("no series")?.value.parse()?)
    };
    let (seen, span) = (number(&seen)?, number(&span)?);
    // A target that vanished for a while has no failed scrape, but fewer of them.
    ensure!(seen >= span - 2.0, "{seen} scrapes in {span} s");
    Ok(())
}

#[test]
fn an_old_password_that_is_still_in_use_is_not_dropped() -> Result<()> {
    in_namespace(&Slot::shared(), "straggler", |namespace| {
        let spec =
            json!({"exporter": {"port": unused_port()}, "rotation": {"clientOverlap": "2s"}});
        let exporters = Exporters::apply(namespace, "nodes", &spec)?;
        exporters.wait_ready()?;
        let by_hand = exporters.scraper()?;
        rotate(&namespace.kubectl, "nodes", "password")?;
        wait_until("the rotation to be held up", ROTATION, || {
            ensure!(by_hand.get("/metrics").send()?.status == 200, "refused");
            let resource = exporters.resource()?;
            let blocked = condition(&resource["status"], "RotationBlocked")?;
            let message = &blocked["message"];
            ensure!(
                message
                    .as_str()
                    .is_some_and(|it| it.contains("A client still uses the old password")),
                "{message}"
            );
            let ready = condition(&resource["status"], "Ready")?;
            ensure!(ready["status"] == "True", "{ready}");
            Ok(Some(()))
        })?;
        // When no client uses it any more, the rotation ends automatically.
        wait_until("the old password to be dropped", ROTATION, || {
            let resource = exporters.resource()?;
            Ok(resource["status"]["rotation"].is_null().then_some(()))
        })?;
        wait_until("the exporter to refuse it", Duration::from_secs(30), || {
            Ok((by_hand.get("/metrics").send()?.status == 401).then_some(()))
        })?;
        ensure!(exporters.scraper()?.get("/metrics").send()?.status == 200);
        Ok(())
    })
}

#[test]
fn what_has_leaked_is_worth_nothing_at_once() -> Result<()> {
    in_namespace(&Slot::shared(), "leaked", |namespace| {
        let spec = json!({"exporter": {"port": unused_port()}});
        let exporters = Exporters::apply(namespace, "nodes", &spec)?;
        exporters.wait_ready()?;
        let old = exporters.scraper()?;
        ensure!(old.get("/metrics").send()?.status == 200);
        distrust(&namespace.kubectl, "nodes", "all")?;
        wait_until("the old authority to verify nothing", ROTATION, || {
            Ok(old.get("/metrics").send().is_err().then_some(()))
        })?;
        wait_until("the new credentials to work", ROTATION, || {
            let status = exporters.scraper()?.get("/metrics").send()?.status;
            Ok((status == 200).then_some(()))
        })?;
        let resource = exporters.resource()?;
        assert_eq!(
            resource["status"]["trust"]["bundledGenerations"],
            json!([2])
        );
        assert_eq!(
            resource["status"]["credentials"]["acceptedGenerations"],
            json!([2])
        );
        Ok(())
    })
}

#[test]
fn an_invalid_request_is_reported_with_the_fix() -> Result<()> {
    in_namespace(&Slot::shared(), "misasked", |namespace| {
        let exporters = Exporters::apply(
            namespace,
            "nodes",
            &json!({"exporter": {"port": unused_port()}}),
        )?;
        exporters.wait_ready()?;
        rotate(&namespace.kubectl, "nodes", "leaf")?;
        wait_until("the condition", Duration::from_secs(30), || {
            let resource = exporters.resource()?;
            let answer = condition(&resource["status"], "RequestsAccepted")?;
            let message = answer["message"].as_str().unwrap_or_default();
            ensure!(
                answer["status"] == "False" && message.contains("certificate, ca or password"),
                "{answer}"
            );
            Ok(Some(()))
        })?;
        // It blocks nothing, and the next one is answered as well.
        let resource = exporters.resource()?;
        let blocked = condition(&resource["status"], "RotationBlocked")?;
        ensure!(blocked["status"] == "False", "{blocked}");
        rotate(&namespace.kubectl, "nodes", "certificate")?;
        wait_until("the answer", Duration::from_secs(30), || {
            let resource = exporters.resource()?;
            let answer = condition(&resource["status"], "RequestsAccepted")?;
            Ok((answer["reason"] == "Handled").then_some(()))
        })
    })
}

#[derive(Debug)]
struct Generations {
    serial: Value,
    authority: i64,
    password: i64,
}

fn generations(exporters: &Exporters<'_>) -> Result<Generations> {
    let status = exporters.resource()?["status"].clone();
    let number = |value: &Value| value.as_i64().context("no generation in the status");
    Ok(Generations {
        serial: status["certificate"]["serialNumber"].clone(),
        authority: number(&status["trust"]["activeGeneration"])?,
        password: number(&status["credentials"]["activeGeneration"])?,
    })
}

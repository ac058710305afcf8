//! Certificates signed by cert-manager's own controllers: requested, renewed, refused, and replaced by those of another
//! issuer.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};
use testbed::{
    cert_manager::{ANSWER, install_definitions, issuer, requests, start},
    exporters::{Exporters, condition, resource, rotate, unused_port},
    kubectl::Kubectl,
    namespace::in_namespace,
    operator::{Stage, gate::Cut},
    process::output,
    secret::SecretData,
    slot::Slot,
    wait::wait_until,
};

/// More than the number of writes of a renewal.
const MAX_WRITES: i64 = 32;

/// How long a change of the issuer may take: its waits are seconds here, and a kubelet takes a second or two.
const ROTATION: Duration = Duration::from_secs(120);

#[test]
fn an_issuer_of_cert_manager_signs_what_the_exporters_serve() -> Result<()> {
    in_namespace(&Slot::shared(), "issued", |namespace| {
        let port = unused_port();
        let exporters = Exporters::apply(namespace, "nodes", &spec(port, "first"))?;
        exporters.wait_refused(&["cert-manager is not installed"])?;
        install_definitions(&namespace.kubectl)?;
        let _controllers = start(&namespace.kubectl)?;
        exporters.wait_refused(&["\"first\" not found"])?;
        let first = issuer(&namespace.kubectl, "first")?;
        exporters.wait_ready()?;
        serves_leaf_of(&exporters, &first)?;

        let before = serial(&exporters)?;
        rotate(&namespace.kubectl, "nodes", "certificate")?;
        wait_until("another certificate", ROTATION, || {
            Ok((serial(&exporters)? != before).then_some(()))
        })?;
        serves_leaf_of(&exporters, &first)?;
        wait_until("the answered requests to be removed", ANSWER, || {
            let left = requests(&namespace.kubectl)?;
            ensure!(left.is_empty(), "{} are left", left.len());
            Ok(Some(()))
        })?;

        let second = issuer(&namespace.kubectl, "second")?;
        namespace
            .kubectl
            .apply(&resource("nodes", &spec(port, "second")))?;
        follows(&exporters, &first, &second)
    })
}

/// No scrape fails during the change of the CA: scrapers receive both CAs before any certificate of the new one is served.
fn follows(exporters: &Exporters<'_>, old: &str, new: &str) -> Result<()> {
    let mut both_before_the_switch = false;
    wait_until("the other issuer", ROTATION, || {
        let (server, scrape) = (exporters.secret("server")?, exporters.secret("scrape")?);
        let bundle = scrape.get("ca.crt")?;
        let serves_new = is_signed_by(&server, new)?;
        if bundle.contains(old.trim()) && bundle.contains(new.trim()) && !serves_new {
            both_before_the_switch = true;
        }
        // Not retried, because any failure is an error here.
        let answer = exporters.scraper()?.get("/metrics").send();
        let failed = match answer {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(format!("HTTP {}", answer.status)),
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(why) = failed {
            return Ok(Some(Err(why)));
        }
        ensure!(serves_new && !bundle.contains(old.trim()), "under way");
        Ok(Some(Ok(())))
    })?
    .map_err(|why| anyhow!("a scrape failed: {why}"))?;
    ensure!(
        both_before_the_switch,
        "nobody was told to trust the new authority before it was served"
    );
    Ok(())
}

#[test]
fn a_request_outlives_the_operator_and_is_made_again_only_when_it_was_refused() -> Result<()> {
    let slot = Slot::shared();
    let stage = Stage::new(&slot, "asked")?;
    install_definitions(&stage.kubectl)?;
    let operator = stage.operator()?;
    stage
        .kubectl
        .apply(&resource("nodes", &spec(unused_port(), "first")))?;
    let asked = wait_until("a request", ANSWER, || the_request(&stage.kubectl))?;
    let message = wait_not_ready(&stage.kubectl, "the request is not approved")?;
    ensure!(message.contains(name(&asked)?), "{message}");

    // After its deletion it is created again unchanged, also by an operator that has to find it in the state.
    stage.kubectl.delete("certificaterequest", name(&asked)?)?;
    let again = wait_until("the same request", ANSWER, || the_request(&stage.kubectl))?;
    ensure!(again["spec"] == asked["spec"], "another request");
    drop(operator);
    stage.kubectl.delete("certificaterequest", name(&asked)?)?;
    let _operator = stage.operator()?;
    let again = wait_until("the same request", ANSWER, || the_request(&stage.kubectl))?;
    ensure!(again["spec"] == asked["spec"] && name(&again)? == name(&asked)?);

    deny(&stage.kubectl, name(&asked)?, "no node may have one")?;
    wait_not_ready(&stage.kubectl, "no node may have one")?;
    let other = wait_until("another request", ANSWER, || {
        let request = the_request(&stage.kubectl)?;
        Ok(request.filter(|it| it["spec"] != asked["spec"]))
    })?;

    let _controllers = start(&stage.kubectl)?;
    let authority = issuer(&stage.kubectl, "first")?;
    let server = wait_until("a certificate", ANSWER, || {
        let secret = stage.kubectl.find("secret", "nodes-server")?;
        secret.as_ref().map(SecretData::of).transpose()
    })?;
    ensure!(is_signed_by(&server, &authority)?, "signed by another CA");
    wait_until("the answered request to be removed", ANSWER, || {
        Ok(requests(&stage.kubectl)?.is_empty().then_some(()))
    })?;
    ensure!(name(&other)? != name(&asked)?);
    Ok(())
}

#[test]
fn a_renewal_survives_the_death_of_the_operator_at_every_write() -> Result<()> {
    let slot = Slot::shared();
    let stage = Stage::new(&slot, "renewed")?;
    install_definitions(&stage.kubectl)?;
    let _controllers = start(&stage.kubectl)?;
    let authority = issuer(&stage.kubectl, "first")?;
    let operator = stage.operator()?;
    stage
        .kubectl
        .apply(&resource("nodes", &spec(unused_port(), "first")))?;
    let mut key = wait_until("a certificate", ANSWER, || published_key(&stage.kubectl))?;
    drop(operator);
    for write in 1..MAX_WRITES {
        for cut in [Cut::Before, Cut::After] {
            stage.gate.close_at(write, cut);
            let operator = stage.operator()?;
            let request = format!("certificate:{write}{cut:?}");
            rotate(&stage.kubectl, "nodes", &request)?;
            let died = wait_until("the cut", ROTATION, || {
                if stage.gate.is_closed() {
                    return Ok(Some(true));
                }
                Ok(is_renewed(&stage.kubectl, &key)?.then_some(false))
            })?;
            drop(operator);
            stage.gate.reopen();
            let at_death = secret(&stage.kubectl, "state")?;
            let operator = stage.operator()?;
            wait_until("the renewal", ROTATION, || {
                let renewed = is_renewed(&stage.kubectl, &key)?;
                Ok(renewed.then_some(()))
            })
            .with_context(|| operator.log().unwrap_or_default())?;
            let server = secret(&stage.kubectl, "server")?;
            ensure!(is_signed_by(&server, &authority)?, "signed by another CA");
            if let Ok(asked) = at_death.get("request.key") {
                ensure!(
                    server.get("tls.key")? == asked,
                    "cut {cut:?} write {write}: a key was stored, and then another one made"
                );
            }
            key = server.get("tls.key")?.to_owned();
            if !died {
                ensure!(write > 4, "only {write} writes in a renewal");
                return Ok(());
            }
        }
    }
    bail!("a renewal has more than {MAX_WRITES} writes");
}

/// Whether another key is published and no request is open.
fn is_renewed(kubectl: &Kubectl, old: &str) -> Result<bool> {
    let key = published_key(kubectl)?;
    Ok(key.is_some_and(|key| key != old) && requests(kubectl)?.is_empty())
}

fn published_key(kubectl: &Kubectl) -> Result<Option<String>> {
    let Some(server) = kubectl.find("secret", "nodes-server")? else {
        return Ok(None);
    };
    Ok(Some(SecretData::of(&server)?.get("tls.key")?.to_owned()))
}

fn secret(kubectl: &Kubectl, what: &str) -> Result<SecretData> {
    SecretData::of(&kubectl.get("secret", &format!("nodes-{what}"))?)
}

fn spec(port: u16, issuer: &str) -> Value {
    json!({
        "exporter": {"port": port},
        "rotation": {"clientOverlap": "8s"},
        "tls": {"issuer": {"type": "CertManager", "certManager": {"issuerRef": {"name": issuer}}}},
    })
}

/// The published files match, are signed by this CA, and are served by the exporter.
fn serves_leaf_of(exporters: &Exporters<'_>, authority: &str) -> Result<()> {
    let (server, scrape) = (exporters.secret("server")?, exporters.secret("scrape")?);
    ensure!(
        scrape.get("ca.crt")?.trim() == authority.trim(),
        "another bundle"
    );
    ensure!(is_signed_by(&server, authority)?, "signed by another CA");
    wait_until("a scrape", ANSWER, || {
        let status = exporters.scraper()?.get("/metrics").send()?.status;
        Ok((status == 200).then_some(()))
    })
}

fn is_signed_by(server: &SecretData, authority: &str) -> Result<bool> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("ca.crt"), authority)?;
    fs::write(folder.path().join("tls.crt"), server.get("tls.crt")?)?;
    let verified = output(
        Command::new("openssl")
            .current_dir(folder.path())
            .args(["verify", "-CAfile", "ca.crt", "tls.crt"]),
    );
    Ok(verified.is_ok())
}

fn serial(exporters: &Exporters<'_>) -> Result<Value> {
    let serial = exporters.resource()?["status"]["certificate"]["serialNumber"].clone();
    ensure!(!serial.is_null(), "no certificate in the status");
    Ok(serial)
}

/// The only request, if there is one.
fn the_request(kubectl: &Kubectl) -> Result<Option<Value>> {
    let mut all = requests(kubectl)?;
    ensure!(all.len() < 2, "{} requests", all.len());
    Ok(all.pop())
}

fn name(object: &Value) -> Result<&str> {
    object["metadata"]["name"].as_str().context("no name")
}

/// Does what an approver's own controller does.
fn deny(kubectl: &Kubectl, name: &str, message: &str) -> Result<()> {
    let denied =
        json!({"type": "Denied", "status": "True", "reason": "Policy", "message": message});
    let patch = json!({"status": {"conditions": [denied]}}).to_string();
    kubectl.run(&[
        "patch",
        "certificaterequest",
        name,
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ])?;
    Ok(())
}

fn wait_not_ready(kubectl: &Kubectl, words: &str) -> Result<String> {
    wait_until(words, ANSWER, || {
        let resource = kubectl.get("secureexporter", "nodes")?;
        let ready = condition(&resource["status"], "Ready")?;
        let message = ready["message"].as_str().unwrap_or_default();
        ensure!(
            ready["status"] == "False" && message.contains(words),
            "{ready}"
        );
        Ok(Some(message.to_owned()))
    })
}

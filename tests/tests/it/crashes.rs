//! The operator is killed at every write of a rotation, loses its state, or does not run until a certificate has expired.
//! Each time it continues where it was.

use std::{fs, process::Command, thread, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use testbed::{
    exporters::{condition, resource, rotate},
    operator::{Stage, gate::Cut},
    process::{Process, output},
    secret::SecretData,
    slot::Slot,
    wait::wait_until,
};

/// How long a rotation may take whose waits are nothing.
const ROTATION: Duration = Duration::from_secs(60);
/// More than a rotation of both has.
const MOST_WRITES: i64 = 60;
/// How many operators die at the same time.
const LANES: i64 = 6;

/// So many operators leave no time for the scrapes of other tests.
fn slot() -> Slot {
    Slot::group("crashes")
}

#[test]
fn a_rotation_survives_the_death_of_the_operator_at_every_write() -> Result<()> {
    let slot = slot();
    thread::scope(|scope| {
        let slot = &slot;
        let lanes: Vec<_> = (1..=LANES)
            .map(|lane| scope.spawn(move || die_in_lane(slot, lane)))
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

/// Every [`LANES`]th write, before and after the API server has it, until a rotation has no such write any more.
fn die_in_lane(slot: &Slot, lane: i64) -> Result<()> {
    let stage = Stage::new(slot, &format!("death-{lane}"))?;
    let operator = stage.operator()?;
    stage.kubectl.apply(&exporter("1s"))?;
    wait_steady(&stage, &operator, 1)?;
    drop(operator);
    let (mut write, mut round) = (lane, 1);
    while write < MOST_WRITES {
        for cut in [Cut::Before, Cut::After] {
            round += 1;
            let died = die_and_go_on(&stage, write, cut, round)
                .with_context(|| format!("cut {cut:?} write {write}"))?;
            if !died {
                ensure!(write > 15, "only {write} writes in a rotation of both");
                return Ok(());
            }
        }
        write += LANES;
    }
    bail!("a rotation has more than {MOST_WRITES} writes");
}

/// Whether the rotation was long enough to die in.
fn die_and_go_on(stage: &Stage, write: i64, cut: Cut, round: u64) -> Result<bool> {
    stage.gate.close_at(write, cut);
    let operator = stage.operator()?;
    rotate(&stage.kubectl, "nodes", &format!("ca,password:{round}"))?;
    let died = wait_until("the cut", ROTATION, || {
        if stage.gate.is_closed() {
            return Ok(Some(true));
        }
        Ok(is_steady(stage, round)?.then_some(false))
    })?;
    drop(operator);
    stage.gate.reopen();
    let at_death = secret(stage, "state").ok();
    let operator = stage.operator()?;
    wait_steady(stage, &operator, round)?;

    let state = secret(stage, "state")?;
    if let Some(before) = at_death {
        for part in [
            format!("ca-{round}.crt"),
            format!("ca-{round}.key"),
            format!("password-{round}"),
            format!("password-{round}.bcrypt"),
        ] {
            let Ok(stored) = before.get(&part) else {
                continue;
            };
            ensure!(
                stored == state.get(&part)?,
                "{part} was stored, and then made again"
            );
        }
    }
    is_whole(
        &state,
        &secret(stage, "server")?,
        &secret(stage, "scrape")?,
        round,
    )?;
    Ok(died)
}

/// What is published is of one piece, and of the newest.
fn is_whole(
    state: &SecretData,
    server: &SecretData,
    scrape: &SecretData,
    generation: u64,
) -> Result<()> {
    let authority = state.get(&format!("ca-{generation}.crt"))?;
    ensure!(scrape.get("ca.crt")? == authority, "another bundle");
    let password = state.get(&format!("password-{generation}"))?;
    ensure!(scrape.get("password")? == password, "another password");
    let hash = state.get(&format!("password-{generation}.bcrypt"))?;
    let users = server.get("web-config.yml")?;
    ensure!(users.contains(hash), "the password is not accepted");
    ensure!(
        users.matches("$2b$").count() == 1,
        "an old password is accepted"
    );
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("ca.crt"), authority)?;
    fs::write(folder.path().join("tls.crt"), server.get("tls.crt")?)?;
    output(
        Command::new("openssl")
            .current_dir(folder.path())
            .args(["verify", "-CAfile", "ca.crt", "tls.crt"]),
    )?;
    Ok(())
}

#[test]
fn a_state_that_was_deleted_while_nobody_looked_is_made_again() -> Result<()> {
    let slot = slot();
    let stage = Stage::new(&slot, "rebuilt")?;
    let operator = stage.operator()?;
    stage.kubectl.apply(&exporter("20s"))?;
    wait_steady(&stage, &operator, 1)?;
    drop(operator);
    let (server, scrape) = (secret(&stage, "server")?, secret(&stage, "scrape")?);
    stage.kubectl.delete("secret", "nodes-state")?;

    let operator = stage.operator()?;
    wait_until("an event", ROTATION, || {
        let events = stage.kubectl.run(&["get", "events", "-o", "json"])?;
        Ok(events.contains("StateRebuilt").then_some(()))
    })?;
    // Everything that is in use keeps working; a new CA is added to the old one, whose key is lost.
    wait_until("the next authority", ROTATION, || {
        let now = secret(&stage, "scrape")?;
        let bundle = now.get("ca.crt")?;
        ensure!(
            bundle.contains(scrape.get("ca.crt")?),
            "the old trust is gone"
        );
        ensure!(
            now.get("password")? == scrape.get("password")?,
            "another password"
        );
        Ok((bundle.len() > scrape.get("ca.crt")?.len()).then_some(()))
    })?;
    let now = secret(&stage, "server")?;
    ensure!(
        now.get("tls.key")? == server.get("tls.key")?,
        "another key was published, before anybody trusts its authority"
    );
    wait_steady(&stage, &operator, 2)
}

#[test]
fn an_older_state_from_a_backup_takes_nothing_back() -> Result<()> {
    let slot = slot();
    let stage = Stage::new(&slot, "restored")?;
    let operator = stage.operator()?;
    stage.kubectl.apply(&exporter("1s"))?;
    wait_steady(&stage, &operator, 1)?;
    let backup = stage.kubectl.get("secret", "nodes-state")?;
    rotate(&stage.kubectl, "nodes", "ca,password:1")?;
    wait_steady(&stage, &operator, 2)?;
    let scrape = secret(&stage, "scrape")?;
    drop(operator);
    stage.kubectl.run(&[
        "patch",
        "secret",
        "nodes-state",
        "--type=merge",
        "-p",
        &json!({"data": backup["data"], "metadata": {"annotations": backup["metadata"]["annotations"]}})
            .to_string(),
    ])?;
    let operator = stage.operator()?;
    wait_until("an event", ROTATION, || {
        let events = stage.kubectl.run(&["get", "events", "-o", "json"])?;
        Ok(events.contains("StateRebuilt").then_some(()))
    })?;
    let now = secret(&stage, "scrape")?;
    ensure!(
        now.get("ca.crt")?.contains(scrape.get("ca.crt")?),
        "the trust is gone"
    );
    // The CA whose key is lost is replaced by another one. The backup does not contain the request, which is still on the
    // resource, and which the status reports as completed.
    wait_steady(&stage, &operator, 3)?;
    thread::sleep(Duration::from_secs(3));
    wait_steady(&stage, &operator, 3)?;
    ensure!(
        secret(&stage, "scrape")?.get("password")? == scrape.get("password")?,
        "another password"
    );
    Ok(())
}

#[test]
fn a_certificate_that_ended_while_the_operator_slept_is_renewed_when_it_wakes() -> Result<()> {
    let slot = slot();
    let stage = Stage::new(&slot, "slept")?;
    let operator = stage.operator()?;
    let mut object = exporter("1s");
    object["spec"]["tls"] = json!({"certificate": {"duration": "1m"}});
    stage.kubectl.apply(&object)?;
    wait_steady(&stage, &operator, 1)?;
    drop(operator);
    let before = status(&stage)?["certificate"].clone();
    thread::sleep(Duration::from_secs(62));
    let _operator = stage.operator()?;
    wait_until("the renewal", ROTATION, || {
        let status = status(&stage)?;
        let valid = condition(&status, "CertificateValid")?;
        let renewed = status["certificate"]["serialNumber"] != before["serialNumber"];
        Ok((renewed && valid["status"] == "True").then_some(()))
    })?;
    ensure!(
        status(&stage)?["trust"]["activeGeneration"] == 1,
        "another authority"
    );
    Ok(())
}

fn exporter(overlap: &str) -> Value {
    resource("nodes", &json!({"rotation": {"clientOverlap": overlap}}))
}

fn wait_steady(stage: &Stage, operator: &Process, generation: u64) -> Result<()> {
    let what = format!("generation {generation} alone");
    wait_until(&what, ROTATION, || {
        let steady =
            is_steady(stage, generation).with_context(|| operator.log().unwrap_or_default())?;
        ensure!(steady, "{}", status(stage)?);
        Ok(Some(()))
    })
}

fn is_steady(stage: &Stage, generation: u64) -> Result<bool> {
    let status = status(stage)?;
    let published =
        condition(&status, "CredentialsPublished").is_ok_and(|it| it["status"] == "True");
    Ok(published
        && status["rotation"].is_null()
        && status["trust"]["bundledGenerations"] == json!([generation])
        && status["trust"]["activeGeneration"] == generation)
}

fn status(stage: &Stage) -> Result<Value> {
    stage.status()
}

fn secret(stage: &Stage, what: &str) -> Result<SecretData> {
    stage.secret(what)
}

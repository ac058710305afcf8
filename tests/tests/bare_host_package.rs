//! The Debian package, installed on a copy of this machine: from `dpkg -i` to a verified scrape, and away again.
//!
//! What no test here does is to have systemd run the units, which needs one as process 1: they are checked by
//! systemd-analyze, and their command lines are run by hand.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use system_tests::{
    curl::{Answer, Request},
    environment,
    machine::Machine,
    process::{Process, free_port},
    wait::wait_until,
};
use tempfile::TempDir;

const UNITS: &str = "/usr/lib/systemd/system";
const CONFIG: &str = "/etc/secure-exporter";
/// Of systemd-analyze, times ten: from 0, shut off from everything, to 100. What is left is the network, which it serves, and
/// what its collectors read.
const MOST_EXPOSURE: &str = "25";

#[test]
fn from_the_package_to_a_scraped_host_and_away() -> Result<()> {
    let machine = Machine::copy()?;
    let package = environment::package()?;
    let package = package.to_str().context("a path that is no text")?;
    machine.run(&["dpkg", "-i", package])?;

    nothing_runs_before_it_is_told(&machine)?;
    units_are_sound(&machine)?;
    let group = ["--group", "secure-exporter", "--host", "localhost"];
    machine.run(
        &[
            &[
                "secure-exporter",
                "web-config",
                "init",
                "--directory",
                CONFIG,
            ],
            &group[..],
        ]
        .concat(),
    )?;
    let stat = |file: &str| machine.run(&["stat", "-c", "%a %U %G", &format!("{CONFIG}/{file}")]);
    for (file, access) in [
        ("", "750 root secure-exporter"),
        ("config.yml", "640 root secure-exporter"),
        ("tls.key", "640 root secure-exporter"),
        ("ca.key", "600 root root"),
        ("prometheus", "700 root root"),
    ] {
        ensure!(stat(file)?.trim() == access, "{file}: {}", stat(file)?);
    }
    scraped_and_renewed(&machine)?;

    machine.run(&["dpkg", "-r", "secure-exporter"])?;
    ensure!(machine.run(&["ls", "/usr/bin/secure-exporter"]).is_err());
    ensure!(machine.run(&["cat", &format!("{CONFIG}/tls.key")]).is_ok());
    machine.run(&["dpkg", "-P", "secure-exporter"])?;
    for gone in [CONFIG, "/etc/default/secure-exporter"] {
        ensure!(machine.run(&["ls", gone]).is_err(), "{gone} is left");
    }
    let left = machine.run(&["find", "/etc/systemd", UNITS, "-name", "secure-exporter*"])?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

/// The fresh package: a user, an empty directory, no enabled unit, and a program that refuses to serve.
fn nothing_runs_before_it_is_told(machine: &Machine) -> Result<()> {
    ensure!(machine.run(&["id", "-u", "secure-exporter"]).is_ok());
    ensure!(machine.run(&["ls", "-A", CONFIG])?.is_empty());
    let enabled = machine.run(&["find", "/etc/systemd", "-name", "secure-exporter*"])?;
    ensure!(enabled.is_empty(), "{enabled}");
    let mut refuses = Process::spawn(&mut service(machine, free_port()?)?)?;
    ensure!(refuses.ended(Duration::from_secs(10))?.code() == Some(1));
    let said = refuses.log()?;
    ensure!(said.contains("/etc/secure-exporter/config.yml"), "{said}");
    Ok(())
}

fn units_are_sound(machine: &Machine) -> Result<()> {
    let unit = |name: &str| format!("{UNITS}/secure-exporter{name}");
    for name in [".service", ".socket", "-renew.service", "-renew.timer"] {
        let said = machine.run(&[
            "sh",
            "-c",
            "systemd-analyze verify \"$0\" 2>&1",
            &unit(name),
        ])?;
        ensure!(!said.contains("secure-exporter"), "{said}");
    }
    for name in [".service", "-renew.service"] {
        let threshold = format!("--threshold={MOST_EXPOSURE}");
        machine.run(&[
            "systemd-analyze",
            "security",
            "--offline=true",
            &threshold,
            &unit(name),
        ])?;
    }
    Ok(())
}

fn scraped_and_renewed(machine: &Machine) -> Result<()> {
    let port = free_port()?;
    let folder = TempDir::new()?;
    let authority = folder.path().join("ca.crt");
    let carried = |name: &str| machine.run(&["cat", &format!("{CONFIG}/prometheus/{name}")]);
    std::fs::write(&authority, carried("ca.crt")?)?;
    let password = carried("password")?;
    let get = || Request::get(&format!("https://localhost:{port}/metrics")).authorities(&authority);
    let scrape = || -> Result<Answer> { get().user("prometheus", &password).send() };

    let mut exporter = Process::spawn(&mut service(machine, port)?)?;
    let first = wait_until("a scrape", Duration::from_secs(20), || {
        exporter.check()?;
        Ok(Some(scrape()?))
    })?;
    ensure!(first.status == 200 && first.body.contains("node_uname_info{"));
    // The user that the unit runs it as sees what the usual collectors read.
    for name in ["cpu", "filesystem", "meminfo", "netdev", "timex"] {
        let works = format!("node_scrape_collector_success{{collector=\"{name}\"}} 1");
        ensure!(first.body.contains(&works), "{name}");
    }
    ensure!(get().send()?.status == 401);

    // As the timer's unit does it, but at once.
    machine.run(&[
        "secure-exporter",
        "web-config",
        "renew",
        "--directory",
        CONFIG,
    ])?;
    wait_until("the renewed certificate", Duration::from_secs(20), || {
        Ok(exporter
            .log()?
            .contains("configuration reloaded")
            .then_some(()))
    })?;
    ensure!(scrape()?.status == 200);
    ensure!(!exporter.log()?.contains(&password));
    Ok(())
}

/// The command line of the unit as the package's default file completes it, as the unit's user, on another port.
fn service(machine: &Machine, port: u16) -> Result<Command> {
    let unit = machine.run(&["cat", &format!("{UNITS}/secure-exporter.service")])?;
    let value = |key: &str| {
        unit.lines()
            .find_map(|line| line.strip_prefix(key))
            .with_context(|| format!("no {key} in the unit"))
    };
    let line = value("ExecStart=")?;
    ensure!(line.contains("--web.require=tls,auth"), "{line}");
    let mut command = machine.command("setpriv");
    command
        .arg(format!("--reuid={}", value("User=")?))
        .arg(format!("--regid={}", value("Group=")?))
        .args(["--clear-groups", "--no-new-privs", "--bounding-set=-all"])
        .args(["sh", "-c"])
        .arg(format!(
            ". /etc/default/secure-exporter; ARGS=\"$ARGS --web.listen-address=127.0.0.1:{port}\"; exec {line}"
        ));
    Ok(command)
}

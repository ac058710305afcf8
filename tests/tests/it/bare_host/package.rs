//! The Debian package, installed on a copy of this machine: from `dpkg -i` to a verified scrape, and removed again.
//!
//! No test here lets systemd run the units, because systemd would have to be process 1. They are checked by
//! systemd-analyze, and their command lines are run directly.

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use testbed::{
    curl::Answer,
    curl::Request,
    host::machine::Machine,
    paths::repository,
    process::{Process, free_port},
    product::debian_package,
    slot::Slot,
    wait::wait_until,
};

const UNITS: &str = "/usr/lib/systemd/system";
const CONFIG: &str = "/etc/secure-exporter";
/// The system calls of the exporter.
const CALLS: &str = "/tmp/secure-exporter.calls";
/// The exposure level of systemd-analyze, times ten: 0 is fully isolated, 100 is not isolated. What is left is the network,
/// which it serves, and the files that its collectors read.
const MOST_EXPOSURE: &str = "25";

#[test]
fn from_the_package_to_a_scraped_host_and_away() -> Result<()> {
    // Changes that others make on this machine meanwhile would show through the copy.
    let slot = Slot::alone();
    let machine = Machine::copy(&slot)?;
    let package = debian_package::made()?;
    let package = package.to_str().context("a path that is no text")?;
    machine.run(&["dpkg", "-i", package])?;

    nothing_runs_before_it_is_enabled(&machine)?;
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
    its_system_calls_pass_the_filter(&machine)?;

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

/// The freshly installed package: a user, an empty directory, no enabled unit, and a program that refuses to serve.
fn nothing_runs_before_it_is_enabled(machine: &Machine) -> Result<()> {
    ensure!(machine.run(&["id", "-u", "secure-exporter"]).is_ok());
    ensure!(machine.run(&["ls", "-A", CONFIG])?.is_empty());
    let enabled = machine.run(&["find", "/etc/systemd", "-name", "secure-exporter*"])?;
    ensure!(enabled.is_empty(), "{enabled}");
    let mut refuses = Process::spawn(&mut service(machine, "", &[address(free_port()?)])?)?;
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
    fs::write(&authority, carried("ca.crt")?)?;
    let password = carried("password")?;
    let get = || Request::get(&format!("https://localhost:{port}/metrics")).authorities(&authority);
    let scrape = || -> Result<Answer> { get().user("prometheus", &password).send() };

    let arguments = [vec![address(port)], collectors(machine)?].concat();
    // Ends the exporter together with its parent process.
    let trace = format!("strace -D -f -qq -e signal=none -o {CALLS}");
    let mut exporter = Process::spawn(&mut service(machine, &trace, &arguments)?)?;
    let first = wait_until("a scrape", Duration::from_secs(20), || {
        exporter.check()?;
        Ok(Some(scrape()?))
    })?;
    ensure!(first.status == 200 && first.body.contains("node_uname_info{"));
    // The user of the unit can read what the usual collectors need.
    for name in ["cpu", "filesystem", "meminfo", "netdev", "timex"] {
        let works = format!("node_scrape_collector_success{{collector=\"{name}\"}} 1");
        ensure!(first.body.contains(&works), "{name}");
    }
    ensure!(get().send()?.status == 401);

    // Like the timer's unit, but at once.
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

/// A call that the unit's filter blocks would only be noticed under systemd, so the calls are compared with its lists.
fn its_system_calls_pass_the_filter(machine: &Machine) -> Result<()> {
    let trace = machine.run(&["cat", CALLS])?;
    let made: BTreeSet<&str> = trace
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1)?.split_once('('))
        .map(|(call, _)| call)
        .filter(|call| call.starts_with(|first: char| first.is_ascii_lowercase()))
        .collect();
    ensure!(
        made.contains("statfs") && made.contains("clock_adjtime"),
        "{made:?}"
    );
    let unit = machine.run(&["cat", &format!("{UNITS}/secure-exporter.service")])?;
    let mut allowed = BTreeSet::new();
    for list in unit
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="))
    {
        let (denies, names) = list
            .strip_prefix('~')
            .map_or((false, list), |list| (true, list));
        for name in names.split(' ') {
            let calls = calls_of(machine, name)?;
            if denies {
                allowed.retain(|call| !calls.contains(call));
            } else {
                allowed.extend(calls);
            }
        }
    }
    allowed.extend(allowed_by_drop_ins()?);
    let stopped: Vec<_> = made
        .iter()
        .filter(|call| !allowed.contains(**call))
        .collect();
    ensure!(stopped.is_empty(), "the unit's filter stops {stopped:?}");
    Ok(())
}

/// The system calls of collectors that need a drop-in, as the page for users says.
fn allowed_by_drop_ins() -> Result<Vec<String>> {
    let page = fs::read_to_string(repository().join("docs/bare-host.md"))?;
    let lists = page.split("`SystemCallFilter=").skip(1);
    let calls = lists.filter_map(|rest| rest.split_once('`'));
    Ok(calls.map(|(call, _)| call.to_owned()).collect())
}

/// The system calls of one of systemd's sets, or the one call that is named.
fn calls_of(machine: &Machine, name: &str) -> Result<BTreeSet<String>> {
    if !name.starts_with('@') {
        return Ok([name.to_owned()].into());
    }
    let mut calls = BTreeSet::new();
    let listed = machine.run(&["systemd-analyze", "syscall-filter", name])?;
    for entry in listed.lines().skip(1).map(str::trim) {
        if !entry.is_empty() && !entry.starts_with('#') {
            calls.extend(calls_of(machine, entry)?);
        }
    }
    Ok(calls)
}

/// The flags that turn every collector on.
fn collectors(machine: &Machine) -> Result<Vec<String>> {
    let help = machine.run(&["secure-exporter", "--help"])?;
    let flags = help.lines().map(str::trim).filter(|line| {
        let name = line.strip_prefix("--collector.").unwrap_or("-");
        name.bytes()
            .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
    });
    let flags: Vec<String> = flags.map(str::to_owned).collect();
    ensure!(flags.len() > 49, "{flags:?}");
    Ok(flags)
}

fn address(port: u16) -> String {
    format!("--web.listen-address=127.0.0.1:{port}")
}

/// The command line of the unit as the package's default file completes it, as the unit's user, behind `before` and with more
/// arguments.
fn service(machine: &Machine, before: &str, arguments: &[String]) -> Result<Command> {
    let unit = machine.run(&["cat", &format!("{UNITS}/secure-exporter.service")])?;
    let value = |key: &str| {
        unit.lines()
            .find_map(|line| line.strip_prefix(key))
            .with_context(|| format!("no {key} in the unit"))
    };
    let line = value("ExecStart=")?;
    ensure!(line.contains("--web.require=tls,auth"), "{line}");
    let more = arguments.join(" ");
    let mut command = machine.command("setpriv");
    command
        .arg(format!("--reuid={}", value("User=")?))
        .arg(format!("--regid={}", value("Group=")?))
        .args(["--clear-groups", "--no-new-privs", "--bounding-set=-all"])
        .args(["sh", "-c"])
        .arg(format!(
            ". /etc/default/secure-exporter; ARGS=\"$ARGS {more}\"; exec {before} {line}"
        ));
    Ok(command)
}

//! The same series as the real node_exporter's, compared on one host: names, types, labels, order, and values as they are
//! written. `parity/differences.txt` lists everything that may differ.

mod network_devices;
mod perf_events;

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use testbed::{
    comparison::{
        large_host::LargeHost,
        pair::{Both, Pair},
        series::{Differences, Scrape, compare, is_of},
        ttar,
    },
    paths,
    process::output,
    servers,
    slot::Slot,
};

const ALLOWED: &str = include_str!("parity/differences.txt");

/// Collectors that are off by default and only read procfs and sysfs.
const OPTIONAL: [&str; 19] = [
    "buddyinfo",
    "cgroups",
    "cpu_vulnerabilities",
    "drbd",
    "drm",
    "interrupts",
    "ksmd",
    "lnstat",
    "meminfo_numa",
    "mountstats",
    "nvmesubsystem",
    "pcidevice",
    "processes",
    "slabinfo",
    "softirqs",
    "swap",
    "sysctl",
    "xfrm",
    "zoneinfo",
];
/// Collectors that query the kernel or the services of the host that they run on.
const OF_THIS_HOST: [&str; 7] = [
    "ethtool",
    "logind",
    "network_route",
    "qdisc",
    "systemd",
    "tcpstat",
    "wifi",
];
const OPTIONS: [&str; 6] = [
    "--collector.cpu.info",
    "--collector.stat.softirq",
    "--collector.sysctl.include=fs.file-nr:total,current,max",
    "--collector.sysctl.include=kernel.threads-max",
    "--collector.sysctl.include-info=kernel.seccomp.actions_avail",
    "--collector.bcache.priorityStats",
];
/// The number of scrapes within which changing values must have agreed once.
const ROUNDS: u32 = 40;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(200);

#[test]
fn this_host() -> Result<()> {
    let mut flags: Vec<String> = OPTIONAL
        .iter()
        .chain(&OF_THIS_HOST)
        .map(|collector| format!("--collector.{collector}"))
        .collect();
    flags.extend(OPTIONS.map(str::to_owned));
    flags.push("--collector.netdev.address-info".to_owned());
    assert_same("this_host", &flags, 1000)
}

#[test]
fn this_host_with_other_options() -> Result<()> {
    let flags = [
        "--collector.arp.netlink",
        "--collector.netclass.netlink",
        "--collector.netclass_rtnl.with-stats",
        "--no-collector.netdev",
        "--collector.filesystem.mount-points-include=^/",
        "--collector.filesystem.fs-types-exclude=^$",
        "--collector.diskstats.device-exclude=^$",
        "--collector.netstat.fields=.*",
        "--collector.vmstat.fields=.*",
        "--collector.interrupts",
        "--no-collector.interrupts.include-zeros",
        "--collector.systemd",
        "--collector.systemd.enable-task-metrics",
        "--collector.systemd.enable-restarts-metrics",
        "--collector.systemd.enable-start-time-metrics",
        "--collector.cpu.guest",
        "--collector.tcpstat",
        "--collector.meminfo_numa",
    ];
    assert_same("this_host", &flags.map(str::to_owned), 500)
}

#[test]
fn a_captured_host() -> Result<()> {
    let fixtures = paths::repository().join("exporter/tests/fixtures");
    let folder = copied(&fixtures, &["root", "proc", "sys", "udev"])?;
    // node_exporter requires a link, as in procfs.
    let procfs = folder.path().join("proc");
    fs::rename(procfs.join("self"), procfs.join("77"))?;
    symlink("77", procfs.join("self"))?;
    let roots = Roots {
        rootfs: &folder.path().join("root"),
        procfs: &procfs,
        sysfs: &folder.path().join("sys"),
        udev: &folder.path().join("udev"),
    };
    assert_same("a_captured_host", &of_tree(&roots), 1000)
}

/// The host of node_exporter's own tests, which has more hardware than any other.
#[test]
fn node_exporters_captured_host() -> Result<()> {
    let fixtures = servers::node_exporter_fixtures()?;
    let folder = copied(&fixtures, &["proc", "textfile"])?;
    for archive in ["sys.ttar", "udev.ttar"] {
        let text = fs::read(fixtures.join(archive))?;
        ttar::unpack(&String::from_utf8_lossy(&text), folder.path())?;
    }
    // A module cannot hold links.
    symlink("10", folder.path().join("proc/self"))?;
    let roots = Roots {
        rootfs: folder.path(),
        procfs: &folder.path().join("proc"),
        sysfs: &folder.path().join("sys"),
        udev: &folder.path().join("udev/data"),
    };
    let mut flags = of_tree(&roots);
    let texts = folder.path().join("textfile/two_metric_files");
    flags.push(format!(
        "--collector.textfile.directory={}",
        texts.display()
    ));
    assert_same("node_exporters_captured_host", &flags, 2500)
}

/// A host on which much is missing.
#[test]
fn the_captured_host_of_the_module_procfs() -> Result<()> {
    let folder = TempDir::new()?;
    let archive = fs::read(servers::procfs_fixtures()?)?;
    ttar::unpack(&String::from_utf8_lossy(&archive), folder.path())?;
    let host = folder.path().join("fixtures");
    let roots = Roots {
        rootfs: &host,
        procfs: &host.join("proc"),
        sysfs: &host.join("sys"),
        udev: &host.join("udev"),
    };
    assert_same(
        "the_captured_host_of_the_module_procfs",
        &of_tree(&roots),
        2500,
    )
}

#[test]
fn a_large_host() -> Result<()> {
    let host = LargeHost::generate()?;
    let folder = host.folder();
    let roots = Roots {
        rootfs: folder,
        procfs: &folder.join("proc"),
        sysfs: &folder.join("sys"),
        udev: &folder.join("udev"),
    };
    let mut flags = of_tree(&roots);
    // It has no /proc/cpuinfo.
    flags.retain(|flag| flag != "--collector.cpu.info");
    assert_same("a_large_host", &flags, 45_000)
}

/// Names that node_exporter chose long ago break today's rules; ours must not break any others.
#[test]
fn promtool_says_no_more_of_ours_than_of_node_exporters() -> Result<()> {
    let slot = Slot::alone();
    let pair = Pair::start(&slot, &OPTIONS)?;
    let Both { ours, theirs } = pair.get("/metrics")?;
    let problems = |body: &str| -> Result<BTreeSet<String>> {
        let mut promtool = Command::new(servers::ensure(&servers::PROMTOOL)?)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut input = promtool.stdin.take().context("its input")?;
        input.write_all(body.as_bytes())?;
        drop(input);
        let told = promtool.wait_with_output()?;
        let told = String::from_utf8(told.stderr)?;
        Ok(told.lines().map(str::to_owned).collect())
    };
    let (ours, theirs) = (problems(&ours.1)?, problems(&theirs.1)?);
    ensure!(theirs.len() > 10, "it has said nothing: {theirs:?}");
    let more: Vec<_> = ours.difference(&theirs).collect();
    ensure!(more.is_empty(), "{more:#?}");
    Ok(())
}

/// Some folders of a captured host, copied to a folder that can be written to.
fn copied(host: &Path, folders: &[&str]) -> Result<TempDir> {
    let copy = TempDir::new()?;
    let sources = folders.iter().map(|folder| host.join(folder));
    output(
        Command::new("cp")
            .args(["-r", "--no-preserve=mode"])
            .args(sources)
            .arg(copy.path()),
    )?;
    Ok(copy)
}

/// Where a captured host is.
struct Roots<'a> {
    rootfs: &'a Path,
    procfs: &'a Path,
    sysfs: &'a Path,
    udev: &'a Path,
}

fn of_tree(roots: &Roots<'_>) -> Vec<String> {
    let paths = [
        ("rootfs", roots.rootfs),
        ("procfs", roots.procfs),
        ("sysfs", roots.sysfs),
        ("udev.data", roots.udev),
    ];
    let mut flags: Vec<String> = paths
        .iter()
        .map(|(flag, path)| format!("--path.{flag}={}", path.display()))
        .collect();
    flags.extend(OPTIONAL.map(|collector| format!("--collector.{collector}")));
    flags.extend(OPTIONS.map(str::to_owned));
    // Netlink would show this host instead.
    flags.extend(["arp", "netdev"].map(|it| format!("--no-collector.{it}.netlink")));
    flags
}

/// Scrapes both until everything has agreed, and fails if something never does.
fn assert_same(place: &str, flags: &[String], at_least: usize) -> Result<()> {
    // Other tests would change what is counted here.
    let slot = Slot::alone();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let pair = Pair::start(&slot, &flags)?;
    agree(&pair, place, at_least)
}

/// Like [`assert_same`], for a running pair.
fn agree(pair: &Pair, place: &str, at_least: usize) -> Result<()> {
    let allowed = allowed(place);
    let mut agreed = BTreeSet::new();
    let mut differences = Differences::new();
    for _ in 0..ROUNDS {
        let Both { theirs: before, .. } = pair.get("/metrics")?;
        let Both {
            ours,
            theirs: after,
        } = pair.get("/metrics")?;
        for (status, body) in [&before, &ours, &after] {
            ensure!(*status == 200, "{status}: {body}");
        }
        let shown = |name: &&&str| {
            let mut lines = before.1.lines().chain(ours.1.lines());
            lines.any(|line| is_of(line, name))
        };
        let needless: Vec<_> = allowed.iter().filter(|name| !shown(name)).collect();
        ensure!(
            place == "this_host" || needless.is_empty(),
            "neither shows {needless:?}, which parity/differences.txt has"
        );
        let [before, ours, after] =
            [&before, &ours, &after].map(|it| Scrape::parse(&it.1, &allowed));
        let series = before.len();
        ensure!(
            series >= at_least,
            "node_exporter shows {series} series only"
        );
        differences = compare(&ours, [&before, &after], &mut agreed);
        if differences.is_empty() {
            return Ok(());
        }
        sleep(BETWEEN_ROUNDS);
    }
    let some = differences.iter().take(30);
    let some: String = some
        .map(|(name, text)| format!("\n{name}: {text}"))
        .collect();
    bail!(
        "{} differences that parity/differences.txt does not have:{some}",
        differences.len()
    )
}

/// The prefixes of names that may differ in one respect.
fn allowed(place: &str) -> Vec<&'static str> {
    let lines = ALLOWED.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (where_so, rest) = line.split_once(" | ")?;
            let (name, _reason) = rest.split_once(" | ")?;
            ["everywhere", place].contains(&where_so).then_some(name)
        })
        .collect()
}

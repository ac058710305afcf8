//! The protocol compared with the real node_exporter: filters, compression, arguments, sockets from systemd.

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use anyhow::{Result, ensure};
use tempfile::TempDir;
use testbed::{
    comparison::pair::{Both, Pair},
    curl::Request,
    process::{Process, free_port, output},
    product::binaries,
    servers,
    slot::Slot,
    wait::wait_until,
};

/// The flags that the compatibility page is compared with.
const FLAGS: &str = include_str!("../../../../exporter/tests/node_exporter-1.12.1-flags.txt");

/// The collectors that a scrape ran, and the families of the host.
fn ran(body: &str) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let collectors = body.lines().filter_map(|line| {
        let rest = line.strip_prefix("node_scrape_collector_success{collector=\"")?;
        rest.split('"').next()
    });
    let families = body.lines().filter_map(|line| {
        let family = line.strip_prefix("# TYPE node_")?;
        family.split(' ').next()
    });
    (collectors.collect(), families.collect())
}

#[test]
fn filters_are_understood_as_node_exporter_understands_them() -> Result<()> {
    let slot = Slot::shared();
    let pair = Pair::start(
        &slot,
        &[
            "--collector.disable-defaults",
            "--collector.filefd",
            "--collector.loadavg",
            "--collector.time",
            "--collector.uname",
        ],
    )?;
    for query in [
        "",
        "?collect%5B%5D=loadavg",
        "?collect%5B%5D=uname&collect%5B%5D=time&collect%5B%5D=uname",
        "?collect%5b%5d=time",
        "?exclude%5B%5D=time",
        "?exclude%5B%5D=time&exclude%5B%5D=unknown&exclude%5B%5D=cpu",
        "?collect=time",
        "?x=collect%5B%5D",
    ] {
        let Both { ours, theirs } = pair.get(&format!("/metrics{query}"))?;
        assert_eq!((ours.0, theirs.0), (200, 200), "{query}");
        assert_eq!(ran(&ours.1), ran(&theirs.1), "{query}");
    }
    for query in [
        "collect%5B%5D=cpu",
        "collect%5B%5D=time&collect%5B%5D=unknown",
        "collect%5B%5D=",
        "collect%5B%5D",
        "collect%5B%5D=a%22%3Cb%3E",
        "collect%5B%5D=time&exclude%5B%5D=uname",
        "exclude%5B%5D=&collect%5B%5D=time",
    ] {
        let Both { ours, theirs } = pair.get(&format!("/metrics?{query}"))?;
        assert_eq!(ours.0, 400, "{query}: {}", ours.1);
        assert_eq!(ours, theirs, "{query}");
    }
    Ok(())
}

#[test]
fn encodings_are_chosen_as_node_exporter_chooses_them() -> Result<()> {
    let slot = Slot::shared();
    let pair = Pair::start(
        &slot,
        &["--collector.disable-defaults", "--collector.loadavg"],
    )?;
    let encoding = |port: u16, accepted: &str| -> Result<String> {
        let head = output(
            Command::new("curl")
                .args([
                    "-sS",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%header{content-encoding}",
                    "-H",
                ])
                .arg(format!("Accept-Encoding: {accepted}"))
                .arg(format!("http://127.0.0.1:{port}/metrics")),
        )?;
        Ok(head)
    };
    let Both { ours, theirs } = pair.ports();
    for (accepted, expected) in [
        ("gzip", "gzip"),
        ("gzip;q=0", ""),
        ("deflate;q=1, gzip;q=0.2", "gzip"),
        ("identity, gzip", ""),
        ("identity;q=0.5, gzip", "gzip"),
        ("*", ""),
        ("br", ""),
        ("identity;q=0", ""),
        ("zstd, gzip", "gzip"),
    ] {
        assert_eq!(encoding(ours, accepted)?, expected, "{accepted}");
        assert_eq!(encoding(theirs, accepted)?, expected, "{accepted}");
    }
    // Only the name is that of node_exporter.
    assert_eq!(encoding(ours, "zstd, gzip;q=0.5")?, "zstd");
    Ok(())
}

#[test]
fn the_flags_on_record_are_those_of_node_exporter() -> Result<()> {
    let _slot = Slot::shared();
    let help = output(Command::new(servers::ensure(&servers::NODE_EXPORTER)?).arg("--help"))?;
    let mut flags: Vec<&str> = help
        .lines()
        .filter_map(|line| {
            let flag = line
                .strip_prefix("      --")
                .or_else(|| line.strip_prefix("  -h, --"))?;
            flag.split([' ', '=']).next()
        })
        .collect();
    flags.sort_unstable();
    let mut recorded: Vec<&str> = FLAGS
        .lines()
        .filter_map(|line| line.strip_prefix("--"))
        .collect();
    recorded.sort_unstable();
    assert_eq!(flags, recorded);
    Ok(())
}

#[test]
fn arguments_from_a_file_are_read_as_node_exporter_reads_them() -> Result<()> {
    let slot = Slot::shared();
    let folder = TempDir::new()?;
    let file = folder.path().join("arguments");
    fs::write(
        &file,
        "# collectors\n--collector.disable-defaults\n\n   \n--collector.time\n--web.telemetry-path\n/m\n",
    )?;
    let pair = Pair::start(&slot, &[&format!("@{}", file.display())])?;
    let Both { ours, theirs } = pair.get("/m")?;
    assert_eq!((ours.0, theirs.0), (200, 200));
    assert_eq!(ran(&ours.1), ran(&theirs.1));
    Ok(())
}

#[test]
fn systemd_hands_over_its_sockets() -> Result<()> {
    let _slot = Slot::shared();
    let folder = TempDir::new()?;
    let (port, path) = (free_port()?, folder.path().join("exporter.sock"));
    let mut activation = Command::new("systemd-socket-activate");
    activation
        .arg("--listen")
        .arg(format!("127.0.0.1:{port}"))
        .arg("--listen")
        .arg(&path)
        .arg("--fdname=tcp:unix")
        .arg(binaries::built(binaries::EXPORTER)?)
        .arg("--web.systemd-socket");
    let mut process = Process::spawn(&mut activation)?;
    wait_until("the sockets", Duration::from_secs(20), || {
        process.check()?;
        Ok(path.exists().then_some(()))
    })?;
    // The first connection starts it, and is answered.
    let answer = Request::get(&format!("http://127.0.0.1:{port}/metrics")).send()?;
    ensure!(answer.status == 200 && answer.body.contains("node_load1 "));
    let body = output(
        Command::new("curl")
            .args(["-sS", "--unix-socket"])
            .arg(&path)
            .arg("http://localhost/metrics"),
    )?;
    ensure!(body.contains("node_load1 "), "{body}");
    let log = process.log()?;
    ensure!(log.matches("msg=\"Listening on\"").count() == 2, "{log}");
    process.check()
}

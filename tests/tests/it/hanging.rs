//! File systems that hang in the middle of a scrape: the response is in time and contains everything else, and no threads
//! accumulate.

use std::{
    fs,
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use testbed::{
    host::{Host, hanging_files::HangingFiles},
    process::{Process, output},
    slot::Slot,
    wait::wait_until,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hanging_files");
/// Prometheus' default timeout, minus the time for request and response.
const IN_TIME: Duration = Duration::from_millis(9500);
/// The duration of a scrape that does not wait for anything, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(2);

struct Scene {
    files: HangingFiles,
    host: Host,
    exporter: Process,
    _slot: Slot,
}

/// The result of a scrape.
struct Scrape {
    text: String,
    took: Duration,
}

impl Scene {
    fn set() -> Result<Self> {
        // It is measured whether a scrape is in time.
        let slot = Slot::group("hanging");
        let files = HangingFiles::mount(&slot, PROGRAM)?;
        let host = Host::with_certificate(&slot)?;
        let path = |flag: &str, path: std::path::PathBuf| format!("--{flag}={}", path.display());
        let exporter = host.start_inside(
            &files,
            &[
                &path("path.procfs", files.procfs()),
                &path("path.sysfs", files.mount_point()),
                &path("collector.textfile.directory", files.mount_point()),
            ],
        )?;
        let scene = Self {
            files,
            host,
            exporter,
            _slot: slot,
        };
        let scrape = scene.scrape("10")?;
        for line in [
            "from_a_file 7",
            "node_thermal_zone_temp{type=\"steady\",zone=\"0\"} 41",
            "node_thermal_zone_temp{type=\"fleeting\",zone=\"1\"} 42",
        ] {
            ensure!(scrape.has(line), "no {line} in {}", scrape.text);
        }
        ensure!(scrape.text.contains(&scene.size()), "{}", scrape.text);
        Ok(scene)
    }

    fn scrape(&self, timeout: &str) -> Result<Scrape> {
        let begin = Instant::now();
        let request = self.host.get("/metrics");
        let answer = request
            .header(&format!("X-Prometheus-Scrape-Timeout-Seconds: {timeout}"))
            .send()?;
        let took = begin.elapsed();
        ensure!(answer.status == 200, "HTTP {}", answer.status);
        let text = answer.body;
        // Present whatever hangs.
        for name in [
            "node_cpu_seconds_total{",
            "node_memory_MemTotal_bytes ",
            "node_time_seconds ",
        ] {
            ensure!(text.contains(name), "no {name}");
        }
        Ok(Scrape { text, took })
    }

    fn threads(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/task", self.exporter.id()))?.count())
    }

    /// The series of the size of the file system that hangs.
    fn size(&self) -> String {
        let mount_point = self.files.mount_point();
        format!(
            "fstype=\"fuse\",mountpoint=\"{}\"}} 4.096e+06",
            mount_point.display()
        )
    }

    /// Scrapes repeatedly while something hangs: no scrape waits, and none starts another thread.
    fn settled(&self, mut check: impl FnMut(&Scrape) -> Result<()>) -> Result<()> {
        // Another thread replaces the one that hangs, once.
        self.scrape("10")?;
        let threads = self.threads()?;
        for _ in 0..10 {
            let scrape = self.scrape("10")?;
            ensure!(scrape.took < AT_ONCE, "it took {:?}", scrape.took);
            check(&scrape)?;
        }
        let now = self.threads()?;
        ensure!(now <= threads, "{threads} threads have become {now}");
        Ok(())
    }
}

impl Scrape {
    fn has(&self, line: &str) -> bool {
        self.text.lines().any(|it| it == line)
    }

    fn succeeded(&self, collector: &str) -> bool {
        self.has(&format!(
            "node_scrape_collector_success{{collector=\"{collector}\"}} 1"
        ))
    }

    /// How many collectors failed because they were late.
    fn late(&self, collectors: &[&str]) -> Result<()> {
        for collector in collectors {
            let line = format!("node_scrape_collector_success{{collector=\"{collector}\"}} 0");
            ensure!(self.has(&line), "{collector} is not late: {}", self.text);
        }
        ensure!(self.succeeded("cpu") && self.succeeded("filesystem"));
        Ok(())
    }
}

#[test]
fn a_mount_that_hangs_is_reported_and_the_others_have_sizes() -> Result<()> {
    let scene = Scene::set()?;
    let timeout = "device_error=\"mountpoint timeout\",fstype=\"fuse\"";
    let others = "node_filesystem_size_bytes{";
    let check = |scrape: &Scrape| {
        ensure!(scrape.text.contains(timeout), "{}", scrape.text);
        ensure!(!scrape.text.contains(&scene.size()));
        ensure!(scrape.text.contains(others) && scrape.succeeded("filesystem"));
        Ok(())
    };
    scene.files.control("statfs")?;
    let first = scene.scrape("10")?;
    ensure!(first.took < IN_TIME, "it took {:?}", first.took);
    check(&first)?;
    scene.settled(check)?;
    scene.files.control("")?;
    wait_until("its size", Duration::from_secs(10), || {
        Ok(scene
            .scrape("10")?
            .text
            .contains(&scene.size())
            .then_some(()))
    })
}

#[test]
fn files_that_hang_take_their_own_collectors_along_and_no_other() -> Result<()> {
    let mut scene = Scene::set()?;
    let late = ["textfile", "thermal_zone"];
    scene.files.control("read")?;
    let first = scene.scrape("10")?;
    ensure!(first.took < IN_TIME, "it took {:?}", first.took);
    first.late(&late)?;
    scene.settled(|scrape| scrape.late(&late))?;
    let log = scene.exporter.log()?;
    for collector in late {
        let said = format!("msg=\"collector failed\" collector={collector} error=\"it hangs");
        ensure!(log.matches(&said).count() == 1, "{log}");
    }

    scene.files.control("")?;
    let threads = scene.threads()?;
    wait_until("both collectors", Duration::from_secs(10), || {
        let scrape = scene.scrape("10")?;
        let works = late.iter().all(|collector| scrape.succeeded(collector));
        Ok((works && scrape.has("from_a_file 7")).then_some(()))
    })?;
    ensure!(
        scene.threads()? < threads,
        "those that hung are still there"
    );

    // It only ends when the kernel releases the last thread, but the port is free at once.
    scene.files.control("read")?;
    scene.scrape("10")?.late(&late)?;
    let mut kill = Command::new("kill");
    output(kill.arg(scene.exporter.id().to_string()))?;
    wait_until("the port to be free", Duration::from_secs(10), || {
        Ok(TcpListener::bind(("127.0.0.1", scene.host.port)).ok())
    })?;
    scene.files.control("")?;
    ensure!(scene.exporter.ended(Duration::from_secs(10))?.success());
    Ok(())
}

#[test]
fn a_scraper_in_a_hurry_is_answered_in_its_own_time() -> Result<()> {
    let scene = Scene::set()?;
    scene.files.control("readdir")?;
    let scrape = scene.scrape("4")?;
    ensure!(
        scrape.took < Duration::from_secs(4),
        "it took {:?}",
        scrape.took
    );
    scrape.late(&["textfile", "thermal_zone"])
}

#[test]
fn a_device_that_vanishes_after_it_was_listed_is_passed_over() -> Result<()> {
    let scene = Scene::set()?;
    scene.files.control("gone")?;
    let scrape = scene.scrape("10")?;
    ensure!(scrape.succeeded("thermal_zone"), "{}", scrape.text);
    ensure!(scrape.text.contains("type=\"steady\"") && !scrape.text.contains("fleeting"));
    scene.files.control("")?;
    ensure!(scene.scrape("10")?.text.contains("fleeting"));
    Ok(())
}

//! Compares our exporter with the real `node_exporter`: what a scrape costs, how long it takes, and what the process holds.
//! Both run in turn on the same machine with the same collectors, certificate and password. Every figure is shown as a
//! ratio, because only the ratio carries over to another machine.

pub mod client;
mod collectors;
mod crowd;
mod floor;
mod kubernetes_node;
mod large_host;
pub mod load;
pub mod process;
mod system_calls;
mod table;
pub mod web;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use client::Target;
use collectors::only;
use crowd::{Crowd, Manner};
use kubernetes_node::KubernetesNode;
use load::{Connections, PasswordGuesser};
use process::Process;
use table::{Figures, Side, Unit};
use testbed::{
    comparison::large_host::LargeHost,
    debian,
    product::binaries,
    progress::step,
    servers::{self, NODE_EXPORTER},
};
use web::Web;

/// The numbers of scrapes after which memory is measured, including the scrapes of the previous cases.
const SCRAPES: usize = 1000;
const KEPT: usize = 300;
const FRESH: usize = 100;
/// Number of concurrent scrapers.
const SCRAPERS: usize = 8;
const BUSY: Duration = Duration::from_secs(20);
/// Scrapes of an authenticated scraper while an unauthenticated client tries passwords.
const BESIDE: usize = 100;
/// The pause between these scrapes, so that they coincide with every phase of a password check.
const PAUSE: Duration = Duration::from_millis(17);
/// Scrapes of the large host.
const LARGE: usize = 30;
/// Pods of a Kubernetes node: the most that a kubelet runs by default, and the number that some clusters allow.
const PODS: [usize; 2] = [110, 250];
/// Scrapes of a Kubernetes node: enough to measure the CPU time of one scrape with a resolution of hundredths of a second.
const OF_A_NODE: usize = 200;
/// The first scrapes see every device for the first time.
const WARM: usize = 2;
/// Shortly after the start both processes still release memory.
const REST: Duration = Duration::from_secs(1);
/// Scrapes whose system calls are counted.
const TRACED: usize = 20;
/// Silent connections must be closed within this time.
const SILENCE: Duration = Duration::from_secs(10);
/// Passes over all files, each of which is a sample.
const PASSES: usize = 200;

#[derive(Args)]
pub struct Options {
    /// Rounds; in each, everything is measured with ours and node_exporter in turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measure only this case
    #[arg(long, value_enum)]
    only: Option<Only>,
}

/// The cases that can be measured separately.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    /// A Kubernetes node with 110 and with 250 pods
    KubernetesNode,
}

/// Runs the benchmark and prints the table.
///
/// # Errors
/// A program could not be built or started, a scrape failed, or the two exporters do not show the same large host.
pub fn run(options: &Options) -> Result<ExitCode> {
    debian::ensure()?;
    allow_crowds();
    let bench = Bench::prepare()?;
    let mut figures = Figures::default();
    if options.only.is_none() {
        bench.sizes(&mut figures)?;
    }
    for round in 1..=options.rounds {
        // The exporter that runs second may benefit from warmer caches, so the order alternates.
        let mut order = [Side::Ours, Side::Theirs];
        if round % 2 == 0 {
            order.reverse();
        }
        for side in order {
            let label = format!("round {round} of {}: {side}", options.rounds);
            step(&label, || match options.only {
                None => bench.measure(side, &mut figures),
                Some(Only::KubernetesNode) => bench.kubernetes_nodes(side, &mut figures),
            })?;
        }
    }
    if options.only.is_none() {
        step("floors", || bench.floors(&mut figures))?;
    }
    println!("\n{}", figures.table());
    if let Some(file) = &options.json {
        let mut report = figures.json();
        if let Some(report) = report.as_object_mut() {
            report.insert("rounds".to_owned(), json!(options.rounds));
            report.insert("collectors".to_owned(), json!(bench.collectors));
            report.insert("node_exporter".to_owned(), json!(NODE_EXPORTER.version));
        }
        fs::write(file, format!("{report:#}\n"))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What both exporters are measured with.
struct Bench {
    ours: PathBuf,
    theirs: PathBuf,
    web: Web,
    /// The collectors that both run by default.
    collectors: BTreeSet<String>,
    large: LargeHost,
}

impl Bench {
    fn prepare() -> Result<Self> {
        let theirs = servers::ensure(&NODE_EXPORTER)?;
        let ours = binaries::exporter()?;
        let web = Web::new()?;
        let collectors = &defaults(&ours, &web)? & &defaults(&theirs, &web)?;
        let large = step("generate a large host", LargeHost::generate)?;
        Ok(Self {
            ours,
            theirs,
            web,
            collectors,
            large,
        })
    }

    fn binary(&self, side: Side) -> &Path {
        match side {
            Side::Ours => &self.ours,
            Side::Theirs => &self.theirs,
        }
    }

    fn sizes(&self, figures: &mut Figures) -> Result<()> {
        for side in [Side::Ours, Side::Theirs] {
            let size = fs::metadata(self.binary(side))?.len();
            figures.add("binary_size", Unit::Megabytes, side, size as f64 / 1e6);
        }
        Ok(())
    }

    /// Measures one exporter in one round.
    fn measure(&self, side: Side, figures: &mut Figures) -> Result<()> {
        self.start(side, figures)?;
        self.scrapes(side, figures)?;
        self.password_guesser(side, figures)?;
        self.crowds(side, figures)?;
        self.system_calls(side, figures)?;
        self.large_host(side, figures)?;
        self.kubernetes_nodes(side, figures)
    }

    fn spawn(&self, side: Side) -> Result<Process> {
        let flags = only(&self.collectors);
        Process::start(self.binary(side), &self.web, &flags)
    }

    fn target(&self, process: &Process) -> Result<Target> {
        self.web.target(process.port())
    }

    /// From the start of the process to the end of the first scrape.
    fn start(&self, side: Side, figures: &mut Figures) -> Result<()> {
        let process = self.spawn(side)?;
        self.target(&process)?.connect()?.scrape()?;
        let took = process.age();
        figures.times("start_to_first_scrape", side, [took]);
        Ok(())
    }

    /// Measures one process over its lifetime, while it is scraped.
    fn scrapes(&self, side: Side, figures: &mut Figures) -> Result<()> {
        let process = self.spawn(side)?;
        let target = self.target(&process)?;
        thread::sleep(REST);
        figures.rss("rss_at_rest", side, process.rss()?);
        // The work of the first scrape is part of the start and not counted here.
        target.connect()?.scrape()?;

        let cases = [
            (
                KEPT,
                Connections::Kept { gzip: false },
                "latency",
                "cpu_per_scrape",
            ),
            (
                KEPT,
                Connections::Kept { gzip: true },
                "gzip_latency",
                "gzip_cpu",
            ),
            (
                FRESH,
                Connections::Fresh,
                "new_connection_latency",
                "new_connection_cpu",
            ),
        ];
        // The remaining scrapes until the number after which memory is measured.
        let rest = SCRAPES - 1 - cases.iter().map(|case| case.0).sum::<usize>();
        for (scrapes, connections, latency, cost) in cases {
            let before = process.cpu()?;
            let took = load::scrape(&target, scrapes, connections)?;
            let cpu = process.cpu()?.saturating_sub(before);
            figures.times(latency, side, took);
            figures.cost(cost, side, cpu, scrapes);
        }
        load::scrape(&target, rest, Connections::Kept { gzip: false })?;
        figures.rss("rss_after_1000", side, process.rss()?);

        let before = process.cpu()?;
        let scrapes = load::busy(&target, SCRAPERS, BUSY)?;
        let cpu = process.cpu()?.saturating_sub(before);
        let rate = scrapes as f64 / BUSY.as_secs_f64();
        figures.add("eight_scrapers_rate", Unit::PerSecond, side, rate);
        figures.cost("eight_scrapers_cpu", side, cpu, scrapes);
        figures.rss("eight_scrapers_rss", side, process.rss()?);
        Ok(())
    }

    /// Measures an authenticated scraper while an unauthenticated client tries passwords.
    fn password_guesser(&self, side: Side, figures: &mut Figures) -> Result<()> {
        let mut web = Web::new()?;
        let process = Process::start(self.binary(side), &web, &only(&self.collectors))?;
        let target = web.target(process.port())?;
        let guesser = PasswordGuesser::start(&target)?;
        // The exporter has not seen the correct password yet and has to hash it, after those of the unauthenticated client.
        let first = load::scrape(&target, 1, Connections::Fresh)?;
        let kept = Connections::Kept { gzip: false };
        let later = load::paced(&target, BESIDE, kept, PAUSE)?;
        web.set_password("the next password")?;
        load::until_refused(&target)?;
        let changed = load::scrape(&web.target(process.port())?, 1, Connections::Fresh)?;
        let tries = guesser.stop()?;
        figures.times("beside_stranger_first_latency", side, first);
        figures.times("beside_stranger_changed_latency", side, changed);
        figures.times("beside_stranger_latency", side, later);
        figures.add("stranger_rate", Unit::PerSecond, side, tries);
        Ok(())
    }

    /// Measures an authenticated scraper that opens a new connection for each scrape while unauthenticated clients hold
    /// connections.
    fn crowds(&self, side: Side, figures: &mut Figures) -> Result<()> {
        for (manner, name) in [
            (Manner::Silent, "beside_silent_latency"),
            (Manner::Stalled, "beside_stalled_latency"),
        ] {
            let process = self.spawn(side)?;
            let target = self.target(&process)?;
            target.connect()?.scrape()?;
            let crowd = Crowd::gather(&target, manner)?;
            let took = load::paced(&target, BESIDE, Connections::Fresh, PAUSE)?;
            crowd.disperse()?;
            figures.times(name, side, took);
        }
        let process = self.spawn(side)?;
        let left = crowd::left_open(&self.target(&process)?, SILENCE)?;
        figures.add("silent_left_after_10_s", Unit::Count, side, left as f64);
        Ok(())
    }

    fn system_calls(&self, side: Side, figures: &mut Figures) -> Result<()> {
        let process = self.spawn(side)?;
        let mut connection = self.target(&process)?.connect()?;
        let mut scrapes =
            |number: usize| (0..number).try_for_each(|_| load::good(&mut connection, false));
        scrapes(1)?;
        let calls = system_calls::during(&process, || scrapes(TRACED))?;
        let calls = calls as f64 / TRACED as f64;
        figures.add("system_calls", Unit::Count, side, calls);
        Ok(())
    }

    fn large_host(&self, side: Side, figures: &mut Figures) -> Result<()> {
        let flags = large_host::flags(&self.large, &self.collectors, side);
        let process = Process::start(self.binary(side), &self.web, &flags)?;
        let target = self.target(&process)?;
        self.large
            .check(&target.connect()?.scrape()?)
            .with_context(|| side.to_string())?;
        let before = process.cpu()?;
        let took = load::scrape(&target, LARGE, Connections::Kept { gzip: false })?;
        let cpu = process.cpu()?.saturating_sub(before);
        figures.times("large_host_latency", side, took);
        figures.cost("large_host_cpu", side, cpu, LARGE);
        figures.rss("large_host_rss", side, process.rss()?);
        Ok(())
    }

    fn kubernetes_nodes(&self, side: Side, figures: &mut Figures) -> Result<()> {
        for pods in PODS {
            let node = KubernetesNode::new(pods)?;
            let flags = only(&self.collectors);
            let process = Process::start_in(node.network(), self.binary(side), &self.web, &flags)?;
            let target = self.target(&process)?;
            let kept = Connections::Kept { gzip: false };
            let shown = target.connect()?.scrape()?;
            node.check(&shown).with_context(|| side.to_string())?;
            load::scrape(&target, WARM, kept)?;
            let before = process.cpu()?;
            let took = load::scrape(&target, OF_A_NODE, kept)?;
            let cpu = process.cpu()?.saturating_sub(before);
            let name = format!("kubernetes_node_{pods}");
            figures.times(&format!("{name}_latency"), side, took);
            figures.cost(&format!("{name}_cpu"), side, cpu, OF_A_NODE);
            figures.rss(&format!("{name}_rss"), side, process.rss()?);
        }
        Ok(())
    }

    /// What the kernel alone needs to read the files of a scrape.
    fn floors(&self, figures: &mut Figures) -> Result<()> {
        let process = self.spawn(Side::Ours)?;
        // Some files are kept open only from the second scrape on.
        load::scrape(
            &self.target(&process)?,
            2,
            Connections::Kept { gzip: false },
        )?;
        let files = process.kernel_files()?;
        ensure!(!files.is_empty(), "the exporter holds no file open");
        let opened = floor::open_read_close(&files, PASSES)?;
        let kept = floor::kept_open(&files, PASSES)?;
        figures.floor("open_read_close", files.len(), opened);
        figures.floor("kept_open", files.len(), kept);
        Ok(())
    }
}

/// The crowd needs more descriptors than a shell allows a process by default.
fn allow_crowds() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // If raising the limit is not allowed, the crowd reports which connections it could not open.
    let _ = setrlimit(Resource::Nofile, all);
}

/// The collectors that an exporter runs by default, as listed in a scrape.
fn defaults(binary: &Path, web: &Web) -> Result<BTreeSet<String>> {
    let process = Process::start(binary, web, &[])?;
    let scrape = web.target(process.port())?.connect()?.scrape()?;
    let names: BTreeSet<String> = scrape
        .lines()
        .filter_map(|line| line.strip_prefix("node_scrape_collector_success{collector=\""))
        .filter_map(|rest| rest.split_once('"'))
        .map(|(name, _)| name.to_owned())
        .collect();
    ensure!(!names.is_empty(), "{} names no collector", binary.display());
    Ok(names)
}

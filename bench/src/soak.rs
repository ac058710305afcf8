//! Checks that the exporter does not grow. It is scraped for a long time by all kinds of clients, some of them
//! unauthenticated. At the end it must hold no more memory, descriptors and threads than soon after its start, and no part
//! of it may have panicked.

use std::{
    fmt, fs,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::exporter::{
    client::{Connection, Target},
    load,
    process::Process,
    web::Web,
};
use testbed::{debian, product::binaries, progress::step};

/// After this many scrapes, one uses a new connection, asks for compression, or comes from an unauthenticated client.
const FRESH: u64 = 7;
const PACKED: u64 = 3;
const GUESSED: u64 = 101;
/// The fraction of the time after which everything has happened at least once, so that the resources held then are those
/// that are needed.
const WARM_UP: u32 = 10;
/// How often the process is measured.
const LOOK: Duration = Duration::from_secs(1);

/// The increase that is allowed after the warm-up. An allocator rounds, fragments, and frees memory late. A leak in every
/// scrape exceeds this within an hour at 15 bytes per scrape, and within the half minute of the tests at two kilobytes.
const MEMORY: u64 = 1024 * 1024;
/// A connection that is about to be closed, and the files of a network device that has appeared. One descriptor lost every
/// thousand scrapes exceeds this within an hour.
const DESCRIPTORS: u64 = 40;
/// The threads that check a password and read the files of the configuration.
const THREADS: u64 = 2;

#[derive(Args)]
pub struct Options {
    /// Duration in seconds
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u32).range(20..))]
    seconds: u32,
    /// Scrapes per second
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    rate: u32,
    /// Write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs the test and prints the resources of the process.
///
/// # Errors
/// The exporter grew, panicked or ended, a scrape failed, or a wrong password was accepted.
pub fn run(options: &Options) -> Result<ExitCode> {
    debian::ensure()?;
    let binary = binaries::exporter()?;
    let web = Web::new()?;
    let process = Process::start(&binary, &web, &[])?;
    let target = web.target(process.port())?;
    let label = format!(
        "{} scrapes per second for {} s",
        options.rate, options.seconds
    );
    let soaked = step(&label, || soak(&process, &target, options))?;
    println!("\n{soaked}");
    if let Some(file) = &options.json {
        fs::write(file, format!("{:#}\n", soaked.json()))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    soaked.check()?;
    let log = process.log()?;
    ensure!(!log.contains("panicked"), "the exporter panicked:\n{log}");
    Ok(ExitCode::SUCCESS)
}

fn soak(process: &Process, target: &Target, options: &Options) -> Result<Soaked> {
    let length = Duration::from_secs(options.seconds.into());
    let pause = Duration::from_secs(1) / options.rate;
    let began = Instant::now();
    let mut kept = target.connect()?;
    let (mut scrapes, mut looked) = (0_u64, began);
    let (mut warm, mut most) = (None, Held::default());
    while began.elapsed() < length {
        scrapes += 1;
        visit(target, &mut kept, scrapes).with_context(|| format!("scrape {scrapes}"))?;
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            let held = Held::by(process)?;
            most = most.max(held);
            if warm.is_none() && began.elapsed() > length / WARM_UP {
                (warm, most) = (Some(held), held);
            }
        }
        let next = pause * u32::try_from(scrapes).context("too many scrapes")?;
        thread::sleep(next.saturating_sub(began.elapsed()));
    }
    let warm = warm.context("it ended before it was warm")?;
    Ok(Soaked {
        scrapes,
        warm,
        most,
    })
}

/// Makes one scrape, of the kind whose turn it is.
fn visit(target: &Target, kept: &mut Connection, number: u64) -> Result<()> {
    if number.is_multiple_of(GUESSED) {
        load::attempt(target, None, number)?;
    }
    let gzip = number.is_multiple_of(PACKED);
    if number.is_multiple_of(FRESH) {
        load::good(&mut target.connect()?, gzip)
    } else {
        load::good(kept, gzip)
    }
}

/// The resources of the process at one moment.
#[derive(Clone, Copy, Default)]
struct Held {
    memory: u64,
    descriptors: u64,
    threads: u64,
}

impl Held {
    fn by(process: &Process) -> Result<Self> {
        Ok(Self {
            memory: process.rss()?,
            descriptors: process.descriptors()?,
            threads: process.threads()?,
        })
    }

    fn max(self, other: Self) -> Self {
        Self {
            memory: self.memory.max(other.memory),
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
        }
    }

    fn json(self) -> Value {
        json!({"memory": self.memory, "descriptors": self.descriptors, "threads": self.threads})
    }
}

struct Soaked {
    scrapes: u64,
    warm: Held,
    most: Held,
}

impl Soaked {
    /// The name, the value after the warm-up, the maximum after that, and the allowed increase.
    fn rows(&self) -> [(&'static str, u64, u64, u64); 3] {
        let (warm, most) = (self.warm, self.most);
        [
            ("resident bytes", warm.memory, most.memory, MEMORY),
            (
                "descriptors",
                warm.descriptors,
                most.descriptors,
                DESCRIPTORS,
            ),
            ("threads", warm.threads, most.threads, THREADS),
        ]
    }

    fn check(&self) -> Result<()> {
        for (name, warm, most, allowed) in self.rows() {
            if most > warm + allowed {
                bail!(
                    "{name} grew from {warm} to {most} in {} scrapes, by more than {allowed}",
                    self.scrapes
                );
            }
        }
        Ok(())
    }

    fn json(&self) -> Value {
        json!({"scrapes": self.scrapes, "warm": self.warm.json(), "most": self.most.json()})
    }
}

impl fmt::Display for Soaked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<16} {:>10} {:>10} {:>10}",
            "", "when warm", "at most", "allowed"
        )?;
        for (name, warm, most, allowed) in self.rows() {
            writeln!(f, "{name:<16} {warm:>10} {most:>10} {:>10}", warm + allowed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_of_anything_beyond_its_bound_is_an_error() {
        let warm = Held {
            memory: 6_000_000,
            descriptors: 150,
            threads: 4,
        };
        let check = |most: Held| {
            Soaked {
                scrapes: 1,
                warm,
                most,
            }
            .check()
        };
        let bound = Held {
            memory: warm.memory + MEMORY,
            descriptors: 150 + DESCRIPTORS,
            threads: 4 + THREADS,
        };
        assert!(check(bound).is_ok());
        for beyond in [
            Held {
                memory: bound.memory + 1,
                ..bound
            },
            Held {
                descriptors: bound.descriptors + 1,
                ..bound
            },
            Held {
                threads: bound.threads + 1,
                ..bound
            },
        ] {
            assert!(check(beyond).is_err());
        }
    }
}

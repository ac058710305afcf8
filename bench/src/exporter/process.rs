//! A running exporter, and what the kernel reports about its process.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::web::Web;
use testbed::{
    host::network::Network,
    process::{self, free_port},
};

/// How long an exporter may take until it listens.
const START: Duration = Duration::from_secs(30);
/// The resolution with which the start is measured.
const STEP: Duration = Duration::from_millis(1);
/// The unit of CPU time in procfs, independent of the kernel's own tick.
const TICK: Duration = Duration::from_millis(10);

/// A running exporter. The process is stopped when this is dropped.
pub struct Process {
    process: process::Process,
    port: u16,
    began: Instant,
}

impl Process {
    /// Starts an exporter on a free port of 127.0.0.1 and waits until it listens.
    ///
    /// # Errors
    /// It does not listen. The error contains its output.
    pub fn start(binary: &Path, web: &Web, flags: &[String]) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(binary);
        command
            .arg(configuration(web))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(flags);
        let began = Instant::now();
        let mut process = process::Process::spawn(&mut command)?;
        // The common wait is too coarse for a duration that is measured.
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            process.check()?;
            if began.elapsed() > START {
                bail!("{} does not listen: {}", binary.display(), process.log()?);
            }
            thread::sleep(STEP);
        }
        Ok(Self {
            process,
            port,
            began,
        })
    }

    /// Starts an exporter in a network namespace, with a port of 127.0.0.1 there.
    ///
    /// # Errors
    /// The program does not exist.
    pub fn start_in(network: &Network, binary: &Path, web: &Web, flags: &[String]) -> Result<Self> {
        let configuration = configuration(web);
        let flags = flags.iter().map(String::as_str);
        let flags: Vec<&str> = flags.chain([configuration.as_str()]).collect();
        let began = Instant::now();
        let (process, port) = network.serve(binary, &flags)?;
        Ok(Self {
            process,
            port,
            began,
        })
    }

    /// The address on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The time since it was started.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// The process ID.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The output of the process.
    ///
    /// # Errors
    /// The output cannot be read.
    pub fn log(&self) -> Result<String> {
        self.process.log()
    }

    /// The resident memory in bytes.
    ///
    /// # Errors
    /// The process has ended.
    pub fn rss(&self) -> Result<u64> {
        Ok(self.status("VmRSS:")? * 1024)
    }

    /// The number of threads.
    ///
    /// # Errors
    /// The process has ended.
    pub fn threads(&self) -> Result<u64> {
        self.status("Threads:")
    }

    /// The number of open file descriptors.
    ///
    /// # Errors
    /// The process has ended.
    pub fn descriptors(&self) -> Result<u64> {
        let listed = fs::read_dir(format!("/proc/{}/fd", self.id()))?;
        Ok(listed.count() as u64)
    }

    /// The CPU time used so far, in user mode and in the kernel.
    ///
    /// # Errors
    /// The process has ended.
    pub fn cpu(&self) -> Result<Duration> {
        ticks(&self.read("stat")?)
            .map(|ticks| TICK * ticks)
            .context("/proc/PID/stat has no utime and stime")
    }

    /// The files of procfs and sysfs that the process keeps open and reads at every scrape.
    ///
    /// # Errors
    /// The process has ended.
    pub fn kernel_files(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(format!("/proc/{}/fd", self.id()))? {
            // A connection may be closed in the meantime.
            let Ok(file) = fs::read_link(entry?.path()) else {
                continue;
            };
            if (file.starts_with("/proc") || file.starts_with("/sys")) && file.is_file() {
                files.push(file);
            }
        }
        files.sort_unstable();
        files.dedup();
        Ok(files)
    }

    fn status(&self, field: &str) -> Result<u64> {
        let status = self.read("status")?;
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .and_then(|rest| rest.split_whitespace().next())
            .with_context(|| format!("/proc/PID/status has no {field}"))?;
        Ok(value.parse()?)
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.id());
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }
}

fn configuration(web: &Web) -> String {
    format!("--web.config.file={}", web.file().display())
}

/// utime and stime are the 14th and 15th field. The second field is the program's name in parentheses, which may contain
/// anything.
fn ticks(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u32>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_program_moves_no_field() {
        let stat = "7 (a ) 1 2) S 1 7 7 0 -1 4194560 120 0 0 0 31 11 0 0 20 0 3 0 100";
        assert_eq!(ticks(stat), Some(42));
    }
}

//! `cpu`: the time that each CPU spent in each mode, and its topology from sysfs.

mod info;

use std::path::PathBuf;

use self::info::{BUGS_OPTION, CpuInfo, FLAGS_OPTION, INFO_OPTION};
use crate::collect::cpu_list::parse_ranges;
use crate::collect::skipped::Skipped;
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{
    Deadline, KeptFile, fields, lines, list_numbered, parse_u64, read_attribute, trim,
};

const GUEST: &str = "collector.cpu.guest";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "cpu",
    default_enabled: true,
    summary: "Time of each CPU in each mode, from /proc/stat, and throttling from sysfs.",
    options: &[
        OptionSpec::switch(GUEST, "true", "Show node_cpu_guest_seconds_total."),
        INFO_OPTION,
        BUGS_OPTION,
        FLAGS_OPTION,
    ],
    build,
};

const FILE: &str = "stat";
/// The unit in procfs, independent of the kernel's own tick: a hundredth of a second.
const JIFFIES_PER_SECOND: f64 = 100.0;
/// If an idle counter decreases by this many jiffies, the CPU was unplugged in between.
const HOTPLUG_FALL: u64 = 300;
/// The columns of a CPU's line.
const COLUMNS: usize = 10;
const IDLE: usize = 3;
/// The modes in order of name, with their column.
const MODES: [(&str, usize); 8] = [
    ("idle", IDLE),
    ("iowait", 4),
    ("irq", 5),
    ("nice", 1),
    ("softirq", 6),
    ("steal", 7),
    ("system", 2),
    ("user", 0),
];
const GUEST_MODES: [(&str, usize); 2] = [("nice", 9), ("user", 8)];

struct Cpu {
    file: KeptFile,
    times: Times,
    guest: bool,
    isolated: Vec<String>,
    topology: Topology,
    info: Option<CpuInfo>,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let mut buffer = Vec::new();
    // Set on the kernel's command line, so it is read only once.
    let isolated = read_attribute(&context.sysfs("devices/system/cpu/isolated"), &mut buffer)
        .unwrap_or_default();
    Ok(Box::new(Cpu {
        file: KeptFile::new(context.procfs(FILE)),
        times: Times::default(),
        guest: context.switch(GUEST)?,
        isolated: parse_ranges(isolated),
        topology: Topology::new(context.sysfs("devices/system/cpu")),
        info: CpuInfo::from_flags(context)?,
    }))
}

impl Collector for Cpu {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let mut skipped = Skipped::default();
        let plugged = self.times.update(self.file.read()?, &mut skipped);
        if plugged {
            self.topology.discover();
        }
        self.times.write(self.guest, out);
        self.write_isolated(out);
        self.topology.write(out);
        if let Some(info) = &mut self.info {
            skipped.part(info.collect(out));
        }
        skipped.result()
    }
}

impl Cpu {
    fn write_isolated(&self, out: &mut Exposition) {
        let mut family = out.family(
            &["node_cpu_isolated"],
            &["Whether the CPU is isolated from the scheduler."],
            MetricKind::Gauge,
        );
        for cpu in &self.isolated {
            family.sample(&[("cpu", cpu.as_bytes())], 1);
        }
    }
}

/// The times of each CPU as they are shown, ordered by the CPU's number as text.
#[derive(Debug, Default)]
struct Times {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    cpu: Vec<u8>,
    jiffies: [u64; COLUMNS],
    present: bool,
}

impl Times {
    /// Reads the times from `/proc/stat`. Returns whether a CPU was added or removed.
    fn update(&mut self, bytes: &[u8], skipped: &mut Skipped) -> bool {
        let mut plugged = false;
        for row in &mut self.rows {
            row.present = false;
        }
        for line in lines(bytes) {
            // After the CPUs there is a very long line with a number for each interrupt.
            if line.starts_with(b"intr ") {
                break;
            }
            // Before the CPUs there is a line with their sum, which has no number.
            let Some(rest) = line.strip_prefix(b"cpu") else {
                continue;
            };
            if !rest.first().is_some_and(u8::is_ascii_digit) {
                continue;
            }
            if let Some((cpu, now)) = skipped.line(FILE, line, parse_times(rest)) {
                plugged |= self.take(cpu, now);
            }
        }
        let before = self.rows.len();
        self.rows.retain(|row| row.present);
        plugged || self.rows.len() != before
    }

    /// Stores one CPU's times. Returns whether the CPU is new.
    fn take(&mut self, cpu: &[u8], now: [u64; COLUMNS]) -> bool {
        match self
            .rows
            .binary_search_by(|row| row.cpu.as_slice().cmp(cpu))
        {
            Ok(place) => {
                if let Some(row) = self.rows.get_mut(place) {
                    row.present = true;
                    row.jiffies = advance(row.jiffies, now);
                }
                false
            }
            Err(place) => {
                self.rows.insert(
                    place,
                    Row {
                        cpu: cpu.to_vec(),
                        jiffies: now,
                        present: true,
                    },
                );
                true
            }
        }
    }

    fn write(&self, guest: bool, out: &mut Exposition) {
        let help = "Seconds that each CPU spent in each mode.";
        self.write_modes("node_cpu_seconds_total", help, &MODES, out);
        if guest {
            let help = "Seconds that each CPU spent running guests; also included in the user and nice modes.";
            self.write_modes("node_cpu_guest_seconds_total", help, &GUEST_MODES, out);
        }
    }

    fn write_modes(&self, name: &str, help: &str, modes: &[(&str, usize)], out: &mut Exposition) {
        let mut family = out.family(&[name], &[help], MetricKind::Counter);
        for row in &self.rows {
            for (mode, column) in modes {
                let jiffies = row.jiffies.get(*column).copied().unwrap_or_default();
                let labels = [("cpu", row.cpu.as_slice()), ("mode", mode.as_bytes())];
                family.sample(&labels, jiffies as f64 / JIFFIES_PER_SECOND);
            }
        }
    }
}

/// A CPU's number and its times. Older kernels print fewer of them.
fn parse_times(rest: &[u8]) -> Option<(&[u8], [u64; COLUMNS])> {
    let mut parts = fields(rest);
    let cpu = parts.next()?;
    let mut times = [0; COLUMNS];
    for (slot, field) in times.iter_mut().zip(parts) {
        *slot = parse_u64(field)?;
    }
    Some((cpu, times))
}

/// The kernel's counters sometimes decrease (iowait and idle by design), which a counter must not do. The higher value is
/// kept, unless idle decreased so much that the CPU must have been unplugged.
fn advance(shown: [u64; COLUMNS], now: [u64; COLUMNS]) -> [u64; COLUMNS] {
    let [_, _, _, idle_shown, ..] = shown;
    let [_, _, _, idle_now, ..] = now;
    if idle_shown.saturating_sub(idle_now) >= HOTPLUG_FALL {
        return now;
    }
    let mut next = shown;
    for (next, now) in next.iter_mut().zip(now) {
        *next = now.max(*next);
    }
    next
}

/// The data of sysfs about the CPUs. On most virtual machines there are no such files.
#[derive(Debug)]
struct Topology {
    directory: PathBuf,
    /// By core and package as text, the order of the labels.
    cores: Vec<(String, String, KeptFile)>,
    packages: Vec<(String, KeptFile)>,
    online: Vec<(String, KeptFile)>,
}

impl Topology {
    fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            cores: Vec::new(),
            packages: Vec::new(),
            online: Vec::new(),
        }
    }

    /// Looks again which files exist. Of CPUs that share a core or a package only the first one's file is kept.
    fn discover(&mut self) {
        self.cores.clear();
        self.packages.clear();
        self.online.clear();
        let mut buffer = Vec::new();
        let mut number = |path: PathBuf| {
            let text = read_attribute(&path, &mut buffer).ok()?;
            parse_u64(text).map(|number| number.to_string())
        };
        let directories = list_numbered(&self.directory, "cpu");
        for directory in &directories {
            let topology = directory.join("topology");
            let Some(package) = number(topology.join("physical_package_id")) else {
                continue;
            };
            let Some(core) = number(topology.join("core_id")) else {
                continue;
            };
            let throttle = |file: &str| {
                Some(directory.join("thermal_throttle").join(file)).filter(|path| path.exists())
            };
            if !self
                .cores
                .iter()
                .any(|(c, p, _)| (c, p) == (&core, &package))
                && let Some(path) = throttle("core_throttle_count")
            {
                self.cores
                    .push((core, package.clone(), KeptFile::new(path)));
            }
            if !self.packages.iter().any(|(p, _)| *p == package)
                && let Some(path) = throttle("package_throttle_count")
            {
                self.packages.push((package, KeptFile::new(path)));
            }
        }
        self.cores
            .sort_unstable_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        self.packages.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        self.discover_online(&directories);
    }

    /// A system whose first CPU cannot be taken offline has no such information about the others either.
    fn discover_online(&mut self, directories: &[PathBuf]) {
        if !directories
            .first()
            .is_some_and(|first| first.join("online").exists())
        {
            return;
        }
        for directory in directories {
            let name = directory.file_name().unwrap_or_default().to_string_lossy();
            let cpu = name.trim_start_matches("cpu").to_owned();
            self.online
                .push((cpu, KeptFile::new(directory.join("online"))));
        }
    }

    fn write(&mut self, out: &mut Exposition) {
        let help = "Number of times that the core was throttled.";
        let mut family = out.family(
            &["node_cpu_core_throttles_total"],
            &[help],
            MetricKind::Counter,
        );
        for (core, package, file) in &mut self.cores {
            if let Some(count) = read_count(file) {
                family.sample(
                    &[("core", core.as_bytes()), ("package", package.as_bytes())],
                    count,
                );
            }
        }
        drop(family);
        let help = "Number of times that the package was throttled.";
        let mut family = out.family(
            &["node_cpu_package_throttles_total"],
            &[help],
            MetricKind::Counter,
        );
        for (package, file) in &mut self.packages {
            if let Some(count) = read_count(file) {
                family.sample(&[("package", package.as_bytes())], count);
            }
        }
        drop(family);
        let mut family = out.family(
            &["node_cpu_online"],
            &["Whether the CPU is online."],
            MetricKind::Gauge,
        );
        let directory = &self.directory;
        for (cpu, file) in &mut self.online {
            let online = match file.read() {
                Ok(bytes) => trim(bytes) == b"1",
                // A CPU that cannot be taken offline has no such file; an unplugged one does not have the directory either.
                Err(error) if error.is_absent() && directory.join(format!("cpu{cpu}")).exists() => {
                    false
                }
                Err(_) => continue,
            };
            family.sample(&[("cpu", cpu.as_bytes())], u64::from(online));
        }
    }
}

/// A CPU that was just unplugged has lost its files; the next scrape notices this.
fn read_count(file: &mut KeptFile) -> Option<u64> {
    file.read().ok().map(trim).and_then(parse_u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;

    fn update(times: &mut Times, bytes: &[u8]) -> Result<bool, CollectError> {
        whole(|skipped| times.update(bytes, skipped))
    }

    fn shown(times: &Times, cpu: &[u8]) -> [u64; COLUMNS] {
        times
            .rows
            .iter()
            .find(|row| row.cpu == cpu)
            .unwrap()
            .jiffies
    }

    #[test]
    fn counters_never_go_back() {
        let mut times = Times::default();
        assert!(
            update(
                &mut times,
                b"cpu  9 9 9 9\ncpu0 10 20 30 1000 50 60 70 80 90 100\n"
            )
            .unwrap()
        );
        assert!(
            !update(
                &mut times,
                b"cpu  9 9 9 9\ncpu0 11 19 31 999 49 61 70 80 90 100\n"
            )
            .unwrap()
        );
        assert_eq!(
            shown(&times, b"0"),
            [11, 20, 31, 1000, 50, 61, 70, 80, 90, 100]
        );
    }

    #[test]
    fn a_replugged_cpu_starts_again() {
        let mut times = Times::default();
        update(&mut times, b"cpu0 10 20 30 1000 50\n").unwrap();
        update(&mut times, b"cpu0 1 2 3 701 5\n").unwrap();
        assert_eq!(
            shown(&times, b"0"),
            [10, 20, 30, 1000, 50, 0, 0, 0, 0, 0],
            "2.99 seconds are a step back"
        );
        update(&mut times, b"cpu0 1 2 3 700 5\n").unwrap();
        assert_eq!(shown(&times, b"0"), [1, 2, 3, 700, 5, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn cpus_come_and_go_in_textual_order() {
        let mut times = Times::default();
        update(&mut times, b"cpu0 1\ncpu2 1\ncpu10 1\nintr 5\n").unwrap();
        let order = |times: &Times| {
            times
                .rows
                .iter()
                .map(|row| row.cpu.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            order(&times),
            [b"0".to_vec(), b"10".to_vec(), b"2".to_vec()]
        );
        assert!(update(&mut times, b"cpu0 1\ncpu10 1\n").unwrap());
        assert_eq!(order(&times), [b"0".to_vec(), b"10".to_vec()]);
        assert!(!update(&mut times, b"cpu0 1\ncpu10 1\n").unwrap());
    }

    #[test]
    fn a_broken_line_is_an_error() {
        assert!(update(&mut Times::default(), b"cpu0 1 x\n").is_err());
    }
}

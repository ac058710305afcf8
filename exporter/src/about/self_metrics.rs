//! The exporter's metrics about itself, which are added to the metrics of the collectors.

use std::sync::Arc;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::credentials::reload::{Reloads, Store};
use crate::credentials::snapshot::Snapshot;
use crate::exposition::{Exposition, MetricKind};
use crate::server::auth::Users;
use crate::server::counters::Counters;
use crate::sources::KeptFile;
use crate::version;

/// If real time moves by this many seconds relative to the time since boot, the clock was set.
const CLOCK_SET: f64 = 0.5;

/// Writes `node_exporter_build_info`, `secure_exporter_*` and, unless left out, `process_*`.
pub(crate) struct SelfMetrics {
    store: Store,
    counters: Arc<Counters>,
    /// `None` where `process_*` is left out.
    process: Option<Process>,
    exposition: Exposition,
}

/// State kept between scrapes for the metrics of the process.
struct Process {
    stat: KeptFile,
    boot: Option<Boot>,
}

/// When the kernel was started, in seconds since the epoch, by the clock as it was last set.
struct Boot {
    clock_offset: f64,
    time: f64,
}

impl SelfMetrics {
    pub(crate) fn new(store: Store, counters: Arc<Counters>, process: bool) -> Self {
        Self {
            store,
            counters,
            process: process.then(|| Process {
                stat: KeptFile::new("/proc/self/stat"),
                boot: None,
            }),
            exposition: Exposition::default(),
        }
    }

    /// Writes whole families with the present values.
    pub(crate) fn gather(&mut self) -> &Exposition {
        self.exposition.clear();
        build_info(&mut self.exposition);
        if let Some(process) = &mut self.process {
            process.write(&mut self.exposition);
        }
        let snapshot = self.store.current();
        served(&mut self.exposition, &snapshot);
        if let Some(users) = &snapshot.users {
            credentials(&mut self.exposition, users);
        }
        counters(&mut self.exposition, &self.counters, self.store.reloads());
        &self.exposition
    }
}

fn build_info(out: &mut Exposition) {
    let help = "Version and build of the exporter, in labels.";
    let labels: [(&str, &[u8]); 7] = [
        ("branch", version::BRANCH.as_bytes()),
        ("goarch", version::ARCH.as_bytes()),
        ("goos", b"linux"),
        ("goversion", version::RUSTC.as_bytes()),
        ("revision", version::REVISION.as_bytes()),
        ("tags", b"unknown"),
        ("version", version::VERSION.as_bytes()),
    ];
    out.family(&["node_exporter_build_info"], &[help], MetricKind::Gauge)
        .sample(&labels, 1_u64);
}

fn served(out: &mut Exposition, snapshot: &Snapshot) {
    let help = "Number of the web configuration in use; each process counts from 1.";
    out.family(
        &["secure_exporter_config_snapshot"],
        &[help],
        MetricKind::Gauge,
    )
    .sample(&[], snapshot.number);
    let Some(tls) = &snapshot.tls else { return };
    let help = "Expiry of the serving certificate, in seconds since the epoch.";
    out.family(
        &["secure_exporter_certificate_not_after_timestamp_seconds"],
        &[help],
        MetricKind::Gauge,
    )
    .sample(&[], tls.leaf.not_after as f64);
    let help = "Start of the serving certificate's validity, in seconds since the epoch.";
    out.family(
        &["secure_exporter_certificate_not_before_timestamp_seconds"],
        &[help],
        MetricKind::Gauge,
    )
    .sample(&[], tls.leaf.not_before as f64);
    let help = "Serial number of the serving certificate in hexadecimal, in a label; the value is always 1.";
    out.family(
        &["secure_exporter_certificate_info"],
        &[help],
        MetricKind::Gauge,
    )
    .sample(&[("serial", tls.leaf.serial.as_bytes())], 1_u64);
}

/// Hashes are identified by their ID, which reveals neither user nor password. Hashes that are no longer accepted are left
/// out.
fn credentials(out: &mut Exposition, users: &Users) {
    let uses = users.uses();
    let help = "Authenticated requests, by the ID of the hash that their password matched.";
    let mut successes = out.family(
        &["secure_exporter_credential_authentications_total"],
        &[help],
        MetricKind::Counter,
    );
    for (id, usage) in &uses {
        successes.sample(&[("credential", id.as_bytes())], usage.successes());
    }
    drop(successes);
    let help = "Time of the last request authenticated with the hash, in seconds since the epoch; absent before the first.";
    let mut last_used = out.family(
        &["secure_exporter_credential_last_used_timestamp_seconds"],
        &[help],
        MetricKind::Gauge,
    );
    for (id, usage) in &uses {
        if let Some(time) = usage.last_used() {
            last_used.sample(&[("credential", id.as_bytes())], time as f64);
        }
    }
}

fn counters(out: &mut Exposition, counters: &Counters, reloads: &Reloads) {
    let mut by = |name: &str, help: &str, label: &str, values: &[(&str, u64)]| {
        let mut family = out.family(&[name], &[help], MetricKind::Counter);
        for (value, count) in values {
            family.sample(&[(label, value.as_bytes())], *count);
        }
    };
    by(
        "secure_exporter_authentications_total",
        "Requests, by the result of their authentication.",
        "result",
        &counters.authentications(),
    );
    by(
        "secure_exporter_config_reloads_total",
        "Reloads of the web configuration and its files, by result.",
        "result",
        &reloads.by_result(),
    );
    by(
        "secure_exporter_handshake_failures_total",
        "Connections whose TLS handshake failed.",
        "reason",
        &counters.handshake_failures(),
    );
    by(
        "secure_exporter_log_lines_dropped_total",
        "Log lines that were dropped because there were too many or because standard error was blocked.",
        "reason",
        &crate::log::dropped_lines(),
    );
    let help = "Whether the web configuration on disk is the one in use.";
    out.family(
        &["secure_exporter_config_last_reload_successful"],
        &[help],
        MetricKind::Gauge,
    )
    .sample(&[], u64::from(reloads.last_successful()));
}

impl Process {
    fn write(&mut self, out: &mut Exposition) {
        let mut one = |name: &str, help: &str, kind: MetricKind, value: Option<f64>| {
            if let Some(value) = value {
                out.family(&[name], &[help], kind).sample(&[], value);
            }
        };
        // node_exporter reads the limit "none" as -1.
        let limit = |resource| {
            getrlimit(resource)
                .current
                .map_or(u64::MAX as f64, |limit| limit as f64)
        };
        let usage = self.stat.read().ok().and_then(Usage::parse);
        let usage = usage.as_ref();
        one(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            MetricKind::Counter,
            usage.map(|usage| usage.cpu_seconds),
        );
        one(
            "process_max_fds",
            "Maximum number of open file descriptors.",
            MetricKind::Gauge,
            Some(limit(Resource::Nofile)),
        );
        one(
            "process_open_fds",
            "Number of open file descriptors.",
            MetricKind::Gauge,
            open_descriptors(),
        );
        one(
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            MetricKind::Gauge,
            usage.map(|usage| usage.resident_bytes),
        );
        one(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            MetricKind::Gauge,
            usage.and_then(|usage| Some(self.boot_time()? + usage.started_after_boot_seconds)),
        );
        one(
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            MetricKind::Gauge,
            usage.map(|usage| usage.virtual_bytes),
        );
        one(
            "process_virtual_memory_max_bytes",
            "Maximum amount of virtual memory available in bytes.",
            MetricKind::Gauge,
            Some(limit(Resource::As)),
        );
    }

    /// The kernel's own value, read again only when the clock was set, because its file is among the most expensive ones.
    fn boot_time(&mut self) -> Option<f64> {
        let seconds = |clock| {
            let now = clock_gettime(clock);
            now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
        };
        let clock_offset = seconds(ClockId::Realtime) - seconds(ClockId::Boottime);
        match &self.boot {
            Some(boot) if (boot.clock_offset - clock_offset).abs() < CLOCK_SET => Some(boot.time),
            _ => {
                let time = read_boot_time()?;
                self.boot = Some(Boot { clock_offset, time });
                Some(time)
            }
        }
    }
}

struct Usage {
    cpu_seconds: f64,
    started_after_boot_seconds: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

impl Usage {
    /// Reads `/proc/PID/stat` (proc(5)). Fields are counted after the name, which may contain anything.
    fn parse(stat: &[u8]) -> Option<Self> {
        let name_end = stat.iter().rposition(|&byte| byte == b')')?;
        let behind_name = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
        let fields: Vec<&str> = behind_name.split_ascii_whitespace().collect();
        // The first field here is number 3 in the manual.
        let number = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        let ticks = clock_ticks_per_second() as f64;
        Some(Self {
            cpu_seconds: (number(14)? + number(15)?) / ticks,
            started_after_boot_seconds: number(22)? / ticks,
            virtual_bytes: number(23)?,
            resident_bytes: number(24)? * page_size() as f64,
        })
    }
}

fn open_descriptors() -> Option<f64> {
    const DIRECTORY: &str = "/proc/self/fd";
    // Since Linux 6.2 the size of the directory is the number of descriptors; listing it needs one lookup per descriptor.
    match std::fs::metadata(DIRECTORY).ok()?.len() {
        // The descriptor that is opened for counting is not counted.
        0 => Some(std::fs::read_dir(DIRECTORY).ok()?.count().saturating_sub(1) as f64),
        count => Some(count as f64),
    }
}

fn read_boot_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines()
        .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_a_hostile_name() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 4 0 1000 4096000 25 18446744073709551615";
        let usage = Usage::parse(stat.as_bytes()).unwrap();
        let ticks = clock_ticks_per_second() as f64;
        assert_eq!(usage.cpu_seconds, 200.0 / ticks);
        assert_eq!(usage.started_after_boot_seconds, 1000.0 / ticks);
        assert_eq!(
            (usage.virtual_bytes, usage.resident_bytes),
            (4_096_000.0, 25.0 * page_size() as f64)
        );
    }
}

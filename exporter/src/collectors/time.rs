//! `time`: the clock, its zone and its sources.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::time::{ClockId, clock_gettime};

use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, fields, list_numbered, trim};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "time",
    default_enabled: true,
    summary: "System time, time zone and clock sources of the kernel.",
    options: &[],
    build,
};

struct Time {
    zone: TimeZone,
    sources: Vec<ClockSource>,
}

struct ClockSource {
    /// Its position in the list, which is the `device` label.
    device: String,
    available: KeptFile,
    current: KeptFile,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let directories = list_numbered(&context.sysfs("devices/system/clocksource"), "clocksource");
    let source = |(place, directory): (usize, &std::path::PathBuf)| ClockSource {
        device: place.to_string(),
        available: KeptFile::new(directory.join("available_clocksource")),
        current: KeptFile::new(directory.join("current_clocksource")),
    };
    let zone = TimeZone::try_system().unwrap_or(TimeZone::UTC);
    Ok(Box::new(Time {
        zone,
        sources: directories.iter().enumerate().map(source).collect(),
    }))
}

impl Collector for Time {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let now = clock_gettime(ClockId::Realtime);
        write_clock(
            &self.zone,
            i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec),
            out,
        );
        write_sources(&mut self.sources, out)
    }
}

fn write_clock(zone: &TimeZone, nanoseconds: i128, out: &mut Exposition) {
    let help = "System time in seconds since the epoch.";
    // A single division of the whole number, because Go's order of operations affects the last digit.
    out.family(&["node_time_seconds"], &[help], MetricKind::Gauge)
        .sample(&[], nanoseconds as f64 / 1e9);
    let Ok(timestamp) = Timestamp::from_nanosecond(nanoseconds) else {
        return;
    };
    let info = zone.to_offset_info(timestamp);
    let help = "Offset of the system's time zone from UTC in seconds.";
    out.family(
        &["node_time_zone_offset_seconds"],
        &[help],
        MetricKind::Gauge,
    )
    .sample(
        &[("time_zone", info.abbreviation().as_bytes())],
        f64::from(info.offset().seconds()),
    );
}

fn write_sources(sources: &mut [ClockSource], out: &mut Exposition) -> Result<(), CollectError> {
    let mut rows = Vec::new();
    for source in sources.iter_mut() {
        let available = source.available.read()?;
        rows.extend(fields(available).map(|name| (name.to_vec(), source.device.clone())));
    }
    write_rows(
        "node_time_clocksource_available_info",
        "Clock source that is available in the kernel.",
        rows,
        out,
    );
    let mut rows = Vec::new();
    for source in sources {
        rows.push((trim(source.current.read()?).to_vec(), source.device.clone()));
    }
    write_rows(
        "node_time_clocksource_current_info",
        "Clock source in use.",
        rows,
        out,
    );
    Ok(())
}

fn write_rows(name: &str, help: &str, mut rows: Vec<(Vec<u8>, String)>, out: &mut Exposition) {
    rows.sort_unstable();
    let mut family = out.family(&[name], &[help], MetricKind::Gauge);
    for (source, device) in &rows {
        family.sample(&[("clocksource", source), ("device", device.as_bytes())], 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_and_its_zone() {
        let mut out = Exposition::default();
        write_clock(
            &TimeZone::fixed(jiff::tz::offset(-5)),
            1_795_480_620_123_456_789,
            &mut out,
        );
        let mut text = Vec::new();
        out.append_sorted(&mut text);
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.contains("\nnode_time_seconds 1.7954806201234567e+09\n"),
            "{text}"
        );
        assert!(
            text.contains("\nnode_time_zone_offset_seconds{time_zone=\"-05\"} -18000\n"),
            "{text}"
        );
    }
}

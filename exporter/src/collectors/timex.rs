//! `timex`: the synchronization of the clock, from adjtimex(2).

use rtime_clock::adjtime::{Timex, adjtimex};

use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::Deadline;

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "timex",
    default_enabled: true,
    summary: "Synchronization of the clock, from adjtimex(2).",
    options: &[],
    build,
};

/// The state of a clock that is not synchronized.
const TIME_ERROR: i32 = 5;
/// The flag of a clock with nanosecond resolution.
const STA_NANO: i32 = 0x2000;
const NANOSECONDS: f64 = 1e9;
const MICROSECONDS: f64 = 1e6;
/// Frequencies are in millionths, with sixteen bits after the point.
const MILLIONTHS_SCALED: f64 = 1_000_000.0 * 65536.0;

struct TimexCollector;

fn build(_: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(TimexCollector))
}

impl Collector for TimexCollector {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        // All zeros only query the state, without changing anything.
        let mut clock = Timex::default();
        let state = adjtimex(&mut clock).map_err(|source| CollectError::SystemCall {
            name: "adjtimex",
            source,
        })?;
        write(state, &clock, out);
        Ok(())
    }
}

/// These fields' types differ between architectures.
#[allow(clippy::unnecessary_cast)]
fn write(state: i32, Timex(clock): &Timex, out: &mut Exposition) {
    let precision = if clock.status & STA_NANO == 0 {
        MICROSECONDS
    } else {
        NANOSECONDS
    };
    let mut gauge = |name: &str, help: &str, value: f64| {
        out.family(&["node_timex_", name], &[help], MetricKind::Gauge)
            .sample(&[], value);
    };
    gauge(
        "estimated_error_seconds",
        "Estimated error of the clock.",
        clock.esterror as f64 / MICROSECONDS,
    );
    gauge(
        "frequency_adjustment_ratio",
        "Frequency adjustment of the clock; 1 means no adjustment.",
        1.0 + clock.freq as f64 / MILLIONTHS_SCALED,
    );
    gauge(
        "loop_time_constant",
        "Time constant of the phase-locked loop that adjusts the clock.",
        clock.constant as f64,
    );
    gauge(
        "maxerror_seconds",
        "Maximum error of the clock.",
        clock.maxerror as f64 / MICROSECONDS,
    );
    gauge(
        "offset_seconds",
        "Offset between the clock and its reference.",
        clock.offset as f64 / precision,
    );
    gauge(
        "status",
        "Status flags of the clock, as a bit field.",
        f64::from(clock.status),
    );
    gauge(
        "sync_status",
        "Whether the clock is synchronized to a reliable server.",
        f64::from(u8::from(state != TIME_ERROR)),
    );
    gauge(
        "tai_offset_seconds",
        "Offset of International Atomic Time (TAI) from UTC.",
        f64::from(clock.tai),
    );
    gauge(
        "tick_seconds",
        "Time between two clock ticks.",
        clock.tick as f64 / MICROSECONDS,
    );
    gauge(
        "pps_frequency_hertz",
        "Frequency offset measured with the pulse per second (PPS).",
        clock.ppsfreq as f64 / MILLIONTHS_SCALED,
    );
    gauge(
        "pps_jitter_seconds",
        "Jitter of the pulse per second (PPS).",
        clock.jitter as f64 / precision,
    );
    gauge(
        "pps_shift_seconds",
        "Length of the PPS calibration interval.",
        f64::from(clock.shift),
    );
    gauge(
        "pps_stability_hertz",
        "Stability of the PPS frequency: the average of its recent changes.",
        clock.stabil as f64 / MILLIONTHS_SCALED,
    );
    for (name, help, count) in [
        (
            "calibration",
            "Calibration intervals of the pulse per second (PPS).",
            clock.calcnt,
        ),
        (
            "error",
            "PPS calibration intervals whose measurement was discarded.",
            clock.errcnt,
        ),
        (
            "jitter",
            "PPS pulses whose jitter exceeded the limit.",
            clock.jitcnt,
        ),
        (
            "stability_exceeded",
            "PPS calibration intervals in which the frequency changed more than the limit.",
            clock.stbcnt,
        ),
    ] {
        let name = ["node_timex_pps_", name, "_total"];
        out.family(&name, &[help], MetricKind::Counter)
            .sample(&[], count as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(state: i32, clock: &Timex) -> String {
        let mut out = Exposition::default();
        write(state, clock, &mut out);
        let mut text = Vec::new();
        out.append_sorted(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn units_follow_the_clocks_flags() {
        let mut clock = Timex::default();
        clock.0.offset = 1500;
        clock.0.freq = 65536 * 250_000;
        clock.0.maxerror = 2_000_000;
        clock.0.jitcnt = 7;
        clock.0.tai = 37;
        for (status, state, offset, synchronised) in
            [(0x40, TIME_ERROR, "0.0015", 0), (0x2001, 0, "1.5e-06", 1)]
        {
            clock.0.status = status;
            let text = text(state, &clock);
            for line in [
                format!("node_timex_offset_seconds {offset}"),
                format!("node_timex_sync_status {synchronised}"),
                format!("node_timex_status {status}"),
                "node_timex_frequency_adjustment_ratio 1.25".to_owned(),
                "node_timex_maxerror_seconds 2".to_owned(),
                "node_timex_pps_jitter_total 7".to_owned(),
                "node_timex_tai_offset_seconds 37".to_owned(),
            ] {
                assert!(text.contains(&format!("\n{line}\n")), "no {line} in {text}");
            }
        }
    }
}

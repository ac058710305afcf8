//! The only file that reads the time of day. Everything else gets it as an argument. Durations are measured on the monotonic
//! clock, where they are needed.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// A source of time.
pub trait Clock: Send + Sync {
    /// Returns the current time.
    fn now(&self) -> Timestamp;

    /// Returns how often the clock has jumped so far: how often it differed noticeably from the time that had passed since
    /// the previous reading.
    fn jumps(&self) -> u64;
}

/// The system clock.
#[derive(Debug, Default)]
pub struct SystemClock {
    seen: Mutex<Option<Seen>>,
}

#[derive(Debug)]
struct Seen {
    steady: Instant,
    wall: Timestamp,
    jumps: u64,
}

/// The largest adjustment of the clock that is not a jump, in addition to one percent of the time that has passed.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(10);

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn jumps(&self) -> u64 {
        let (steady, wall) = (Instant::now(), Timestamp::now());
        let mut seen = self.seen.lock();
        let jumps = seen.as_ref().map_or(0, |before| {
            let passed = SignedDuration::try_from(steady.duration_since(before.steady))
                .unwrap_or(SignedDuration::MAX);
            before.jumps + u64::from(is_jump(passed, wall.duration_since(before.wall)))
        });
        *seen = Some(Seen {
            steady,
            wall,
            jumps,
        });
        jumps
    }
}

fn is_jump(passed: SignedDuration, shown: SignedDuration) -> bool {
    let difference = (shown - passed).abs();
    difference > TOLERANCE && difference > passed / 100
}

/// Waits until this time on the monotonic clock; forever if there is none.
pub(crate) async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_a_jump_and_a_small_adjustment_is_not() {
        let seconds = SignedDuration::from_secs;
        for (passed, shown, jump) in [
            (60, 60, false),
            (60, 69, false),
            (60, 3660, true),
            (60, -3540, true),
            (36_000, 36_100, false),
            (36_000, 39_600, true),
        ] {
            assert_eq!(
                is_jump(seconds(passed), seconds(shown)),
                jump,
                "{passed} {shown}"
            );
        }
    }

    #[test]
    fn a_clock_that_runs_does_not_jump() {
        let clock = SystemClock::default();
        assert_eq!((clock.jumps(), clock.jumps()), (0, 0));
    }
}

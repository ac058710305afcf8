//! The only file that reads clocks. Everything else is told what time it is.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// How often the clock was seen to jump so far: to differ by more than a little from what has passed since the last
    /// look.
    fn jumps(&self) -> u64;
}

/// The machine's clock.
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

/// What the adjustment of a clock may come to at once without being a jump; beyond it a hundredth of what has passed.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adjustment_is_no_jump_and_an_hour_is() {
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

//! How many log lines may be written: an unauthenticated client must not fill a disk.

use std::time::Instant;

use tracing::{Level, Metadata};

/// The lines that share an allowance, so that no flood of one kind silences the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// From this program, at `INFO` and above: rare, and meant for whoever runs it.
    Report,
    /// From this program, below `INFO`: many describe a single connection.
    Detail,
    /// From a library.
    Library,
}

impl Kind {
    fn of(target: &str, level: Level) -> Self {
        match target.starts_with("secure_exporter") {
            true if level <= Level::INFO => Self::Report,
            true => Self::Detail,
            false => Self::Library,
        }
    }

    /// The lines that may come at once, and those that may come per second after that.
    fn allowance(self) -> (f64, f64) {
        match self {
            Self::Report => (100.0, 10.0),
            Self::Detail => (1000.0, 100.0),
            Self::Library => (10.0, 1.0),
        }
    }
}

/// What is left of the allowance of each kind of line.
#[derive(Debug)]
pub(super) struct Budget {
    report: Bucket,
    detail: Bucket,
    library: Bucket,
}

#[derive(Debug)]
struct Bucket {
    lines: f64,
    filled: Instant,
}

impl Budget {
    /// Every kind may begin with as many lines as may come at once.
    pub(super) fn full(now: Instant) -> Self {
        let bucket = |kind: Kind| Bucket {
            lines: kind.allowance().0,
            filled: now,
        };
        Self {
            report: bucket(Kind::Report),
            detail: bucket(Kind::Detail),
            library: bucket(Kind::Library),
        }
    }

    /// Takes one line of the allowance; false when there is none left.
    pub(super) fn admit(&mut self, metadata: &Metadata<'_>, now: Instant) -> bool {
        self.take(Kind::of(metadata.target(), *metadata.level()), now)
    }

    fn take(&mut self, kind: Kind, now: Instant) -> bool {
        let (burst, per_second) = kind.allowance();
        let bucket = match kind {
            Kind::Report => &mut self.report,
            Kind::Detail => &mut self.detail,
            Kind::Library => &mut self.library,
        };
        let gained = now.saturating_duration_since(bucket.filled).as_secs_f64() * per_second;
        bucket.lines = (bucket.lines + gained).min(burst);
        bucket.filled = now;
        let admitted = bucket.lines >= 1.0;
        if admitted {
            bucket.lines -= 1.0;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_of_one_kind_ends_and_silences_no_other() {
        let start = Instant::now();
        let mut budget = Budget::full(start);
        let mut count = |kind, lines: usize, now| {
            let admitted = (0..lines).filter(|_| budget.take(kind, now));
            admitted.count()
        };
        assert_eq!(count(Kind::Library, 1000, start), 10);
        assert_eq!(count(Kind::Detail, 5000, start), 1000);
        assert_eq!(count(Kind::Report, 50, start), 50);
        let later = start + Duration::from_secs(3);
        assert_eq!(count(Kind::Library, 1000, later), 3);
        assert_eq!(count(Kind::Report, 1000, later), 80);
    }

    #[test]
    fn lines_are_told_apart_by_origin_and_level() {
        assert_eq!(Kind::of("secure_exporter::web", Level::ERROR), Kind::Report);
        assert_eq!(Kind::of("secure_exporter", Level::INFO), Kind::Report);
        assert_eq!(Kind::of("secure_exporter::web", Level::DEBUG), Kind::Detail);
        assert_eq!(Kind::of("rustls::msgs", Level::ERROR), Kind::Library);
        // What came through the `log` crate.
        assert_eq!(Kind::of("log", Level::ERROR), Kind::Library);
    }
}

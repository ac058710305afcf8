//! Limits the rate of log lines, so that an unauthenticated client cannot fill a disk.

use std::time::Instant;

use tracing::{Level, Metadata};

/// Lines that share an allowance, so that a flood of one kind does not suppress the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Lines of this program at `INFO` and above; they are rare and meant for administrators.
    Report,
    /// Lines of this program below `INFO`; many describe a single connection.
    Detail,
    /// Lines of libraries.
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

    /// The burst of lines, and the rate per second after that.
    fn allowance(self) -> (f64, f64) {
        match self {
            Self::Report => (100.0, 10.0),
            Self::Detail => (1000.0, 100.0),
            Self::Library => (10.0, 1.0),
        }
    }
}

/// The remaining allowance of each kind of line.
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
    /// Every kind starts with its full burst.
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

    /// Takes one line from the allowance; false if it is used up.
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
    fn lines_are_distinguished_by_origin_and_level() {
        assert_eq!(Kind::of("secure_exporter::web", Level::ERROR), Kind::Report);
        assert_eq!(Kind::of("secure_exporter", Level::INFO), Kind::Report);
        assert_eq!(Kind::of("secure_exporter::web", Level::DEBUG), Kind::Detail);
        assert_eq!(Kind::of("rustls::msgs", Level::ERROR), Kind::Library);
        // A record of the `log` crate.
        assert_eq!(Kind::of("log", Level::ERROR), Kind::Library);
    }
}

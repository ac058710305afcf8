//! The figures of both exporters side by side, and their ratios.

use std::{fmt, time::Duration};

use serde_json::{Map, Value, json};

/// The program that a figure belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Ours,
    Theirs,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "secure-exporter",
            Self::Theirs => "node_exporter",
        })
    }
}

/// The quantity that a figure measures.
#[derive(Clone, Copy)]
pub enum Unit {
    Milliseconds,
    Megabytes,
    PerSecond,
    Count,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Megabytes => "MB",
            Self::PerSecond => "1/s",
            Self::Count => "",
        }
    }
}

/// The cases that the floors are compared with.
const FLOOR_OF: &str = "cpu_per_scrape";

/// All figures, in the order in which they were first recorded.
#[derive(Default)]
pub struct Figures {
    cases: Vec<Case>,
    floors: Vec<Floor>,
}

struct Case {
    name: String,
    unit: Unit,
    kind: Kind,
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

/// What one value of a case represents.
#[derive(Clone, Copy)]
enum Kind {
    /// One round.
    Round,
    /// One scrape; there are enough of them for a percentile.
    Scrape,
    /// The total of a round, divided by its scrapes. The kernel counts CPU time in hundredths of a second, which is too
    /// coarse for the scrapes of one round, so the mean over all of them is used.
    Mean,
}

/// What reading the files alone costs.
struct Floor {
    name: &'static str,
    files: usize,
    passes: Summary,
}

#[derive(Clone, Copy)]
struct Summary {
    /// The median, or the mean if that is more precise.
    middle: f64,
    p99: Option<f64>,
}

impl Figures {
    /// Records a figure of one round.
    pub fn add(&mut self, name: &str, unit: Unit, side: Side, value: f64) {
        self.record(name, unit, Kind::Round, side, [value]);
    }

    /// Records the resident memory in a round, in bytes.
    pub fn rss(&mut self, name: &str, side: Side, bytes: u64) {
        self.add(name, Unit::Megabytes, side, bytes as f64 / 1e6);
    }

    /// Records the duration of each scrape of a round.
    pub fn times(&mut self, name: &str, side: Side, took: impl IntoIterator<Item = Duration>) {
        let values = took.into_iter().map(milliseconds);
        self.record(name, Unit::Milliseconds, Kind::Scrape, side, values);
    }

    /// Records the CPU time of all scrapes of a round.
    pub fn cost(&mut self, name: &str, side: Side, cpu: Duration, scrapes: usize) {
        let value = milliseconds(cpu) / scrapes as f64;
        self.record(name, Unit::Milliseconds, Kind::Mean, side, [value]);
    }

    /// Records the duration of each pass over the files.
    pub fn floor(&mut self, name: &'static str, files: usize, passes: Vec<Duration>) {
        let passes: Vec<f64> = passes.into_iter().map(milliseconds).collect();
        self.floors.push(Floor {
            name,
            files,
            passes: summary(Kind::Scrape, &passes),
        });
    }

    /// Formats one line per case. A ratio compares ours with node_exporter's, or a scrape of ours with a floor.
    pub fn table(&self) -> String {
        let row = |cells: [&str; 8]| {
            let [
                name,
                unit,
                ours,
                ours_p99,
                theirs,
                theirs_p99,
                ratio,
                ratio_p99,
            ] = cells;
            format!(
                "{name:<30} {unit:<3} {ours:>10} {ours_p99:>9} {theirs:>14} {theirs_p99:>9} {ratio:>7} {ratio_p99:>7}\n"
            )
        };
        let mut table = row([
            "",
            "",
            "ours",
            "p99",
            "node_exporter",
            "p99",
            "ratio",
            "p99",
        ]);
        for case in &self.cases {
            let (ours, theirs) = case.summaries();
            let (ratio, ratio_p99) = ratios(ours, theirs);
            table += &row([
                &case.name.replace('_', " "),
                case.unit.name(),
                &number(Some(ours.middle)),
                &number(ours.p99),
                &number(Some(theirs.middle)),
                &number(theirs.p99),
                &number(ratio),
                &number(ratio_p99),
            ]);
        }
        for floor in &self.floors {
            table += &row([
                &format!(
                    "floor: {}, {} files",
                    floor.name.replace('_', " "),
                    floor.files
                ),
                Unit::Milliseconds.name(),
                &number(Some(floor.passes.middle)),
                &number(floor.passes.p99),
                "",
                "",
                &number(self.above(floor)),
                "",
            ]);
        }
        table
    }

    /// Formats the same for programs: `cases`, `ratio` and `floor`, with times in milliseconds and sizes in megabytes.
    pub fn json(&self) -> Value {
        let (mut cases, mut all_ratios, mut floors) = (Map::new(), Map::new(), Map::new());
        for case in &self.cases {
            let (ours, theirs) = case.summaries();
            let (ratio, ratio_p99) = ratios(ours, theirs);
            cases.insert(
                case.name.clone(),
                json!({
                    "unit": case.unit.name(),
                    "ours": ours.json(),
                    "node_exporter": theirs.json(),
                }),
            );
            all_ratios.insert(case.name.clone(), json!(ratio));
            if ratio_p99.is_some() {
                all_ratios.insert(format!("{}_p99", case.name), json!(ratio_p99));
            }
        }
        for floor in &self.floors {
            floors.insert(floor.name.to_owned(), floor.passes.json());
            floors.insert("files".to_owned(), json!(floor.files));
            all_ratios.insert(
                format!("{FLOOR_OF}_to_{}", floor.name),
                json!(self.above(floor)),
            );
        }
        json!({"cases": cases, "ratio": all_ratios, "floor": floors})
    }

    /// Returns the cost of a scrape of ours as a multiple of the cost of reading its files.
    fn above(&self, floor: &Floor) -> Option<f64> {
        let case = self.cases.iter().find(|case| case.name == FLOOR_OF)?;
        let (ours, _) = case.summaries();
        Some(ours.middle / floor.passes.middle).filter(|ratio| ratio.is_finite())
    }

    fn record(
        &mut self,
        name: &str,
        unit: Unit,
        kind: Kind,
        side: Side,
        values: impl IntoIterator<Item = f64>,
    ) {
        if !self.cases.iter().any(|case| case.name == name) {
            self.cases.push(Case {
                name: name.to_owned(),
                unit,
                kind,
                ours: Vec::new(),
                theirs: Vec::new(),
            });
        }
        if let Some(case) = self.cases.iter_mut().find(|case| case.name == name) {
            match side {
                Side::Ours => case.ours.extend(values),
                Side::Theirs => case.theirs.extend(values),
            }
        }
    }
}

impl Case {
    fn summaries(&self) -> (Summary, Summary) {
        (
            summary(self.kind, &self.ours),
            summary(self.kind, &self.theirs),
        )
    }
}

impl Summary {
    fn json(self) -> Value {
        json!({"median": self.middle, "p99": self.p99})
    }
}

fn summary(kind: Kind, values: &[f64]) -> Summary {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = match kind {
        Kind::Mean => sorted.iter().sum::<f64>() / sorted.len() as f64,
        Kind::Round | Kind::Scrape => percentile(&sorted, 50),
    };
    let p99 = matches!(kind, Kind::Scrape).then(|| percentile(&sorted, 99));
    Summary { middle, p99 }
}

/// Returns the smallest value that the given percentage of all values does not exceed.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

fn ratios(ours: Summary, theirs: Summary) -> (Option<f64>, Option<f64>) {
    let ratio = |ours: f64, theirs: f64| Some(ours / theirs).filter(|ratio| ratio.is_finite());
    let p99 = ours.p99.zip(theirs.p99);
    (
        ratio(ours.middle, theirs.middle),
        p99.and_then(|(ours, theirs)| ratio(ours, theirs)),
    )
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Formats a number with its significant digits.
fn number(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_of_scrapes_and_a_ratio_is_ours_to_theirs() {
        let mut figures = Figures::default();
        let times = |factor: u64| (1..=200).map(move |n| Duration::from_millis(n * factor));
        figures.times("latency", Side::Ours, times(1));
        figures.times("latency", Side::Theirs, times(4));
        for cpu in [10, 20] {
            let cpu = Duration::from_millis(cpu);
            figures.cost("cpu_per_scrape", Side::Ours, cpu, 10);
            figures.cost("cpu_per_scrape", Side::Theirs, cpu * 2, 10);
        }
        let report = figures.json();
        assert_eq!(report["cases"]["latency"]["ours"]["median"], 100.0);
        assert_eq!(report["cases"]["latency"]["ours"]["p99"], 198.0);
        assert_eq!(report["ratio"]["latency_p99"], 0.25);
        assert_eq!(report["cases"]["cpu_per_scrape"]["ours"]["median"], 1.5);
        assert_eq!(report["ratio"]["cpu_per_scrape"], 0.5);
        assert!(report["ratio"]["cpu_per_scrape_p99"].is_null());
    }
}

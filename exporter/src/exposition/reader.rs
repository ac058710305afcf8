//! A parser for the text format in which other programs write their metrics.
//!
//! It accepts and refuses the same text as node_exporter, whose parser is
//! [expfmt](https://github.com/prometheus/common/blob/v0.70.0/expfmt/text_parse.go), with these exceptions: a line may end
//! with a carriage return; a sample in braces never takes its name from the previous line; counts are never negative.

mod line;
mod series;

use std::collections::HashMap;

use self::line::{Line, parse_float};
pub(crate) use self::series::{Labels, Points, Series, SeriesIndex};
use crate::exposition::MetricKind;

/// A family in a file.
#[derive(Debug)]
pub(crate) struct TextFamily {
    pub(crate) name: String,
    pub(crate) help: Option<String>,
    pub(crate) kind: MetricKind,
    /// Whether the file has a TYPE line for it.
    pub(crate) is_declared: bool,
    pub(crate) series: Vec<Series>,
}

/// Why a file cannot be parsed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(crate) struct TextError {
    line: usize,
    what: &'static str,
}

/// Parses a whole file. Returns its families ordered by name, without those that have no samples. Takes time in proportion
/// to the size of the text.
///
/// # Errors
///
/// The first line that violates the format, or that has a timestamp: all samples have the time of the scrape.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<TextFamily>, TextError> {
    let mut reader = Reader::default();
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        reader.line(line).map_err(|what| TextError {
            line: index + 1,
            what,
        })?;
    }
    let families = reader.families.into_iter().map(|read| read.family);
    let mut families: Vec<TextFamily> = families
        .filter(|family| !family.series.is_empty())
        .collect();
    families.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(families)
}

type Outcome = Result<(), &'static str>;

#[derive(Default)]
struct Reader {
    families: Vec<Read>,
    by_name: HashMap<String, usize>,
    /// The name of the last sample and its family, because the next sample mostly has the same.
    last: Option<(String, Target)>,
}

/// A family and the index of its series.
struct Read {
    family: TextFamily,
    index: SeriesIndex,
}

/// The family of a sample, by its position, and the role of the sample in it.
#[derive(Clone, Copy)]
struct Target {
    family: usize,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The value, or a bucket or quantile.
    Part,
    Sum,
    Count,
}

#[derive(Clone, Copy)]
enum Keyword {
    Help,
    Type,
}

impl Reader {
    fn line(&mut self, line: &[u8]) -> Outcome {
        let Some(content) = line.strip_suffix(b"\n") else {
            // A writer that stopped in the middle of a line may have written half a number.
            return match line.iter().all(|byte| matches!(byte, b' ' | b'\t')) {
                true => Ok(()),
                false => Err("the last line does not end with a line break"),
            };
        };
        let mut line = Line::new(content);
        line.skip_blanks();
        if line.is_at_end() {
            Ok(())
        } else if line.takes(b'#') {
            self.comment(line)
        } else {
            self.sample(line)
        }
    }

    fn comment(&mut self, mut line: Line<'_>) -> Outcome {
        line.skip_blanks();
        let keyword = match line.word() {
            b"HELP" => Keyword::Help,
            b"TYPE" => Keyword::Type,
            _ => return Ok(()),
        };
        line.skip_blanks();
        let name = line.metric_name()?;
        // A keyword or a name alone is an ordinary comment.
        if line.is_at_end() {
            return Ok(());
        }
        if !line.is_at_blank() {
            return Err("invalid metric name");
        }
        self.last = None;
        let Target { family, .. } = self.target(valid_metric_name(&name)?);
        line.skip_blanks();
        if line.is_at_end() {
            return Ok(());
        }
        let Some(Read { family, .. }) = self.families.get_mut(family) else {
            return Ok(());
        };
        match keyword {
            Keyword::Help if family.help.is_some() => Err("the metric has a second HELP line"),
            Keyword::Help => {
                family.help = Some(line.help()?);
                Ok(())
            }
            Keyword::Type if family.is_declared || !family.series.is_empty() => {
                Err("the metric has a second TYPE line, or one after its samples")
            }
            Keyword::Type => {
                family.kind = kind(line.rest())?;
                family.is_declared = true;
                Ok(())
            }
        }
    }

    fn sample(&mut self, mut line: Line<'_>) -> Outcome {
        let outside = match line.is_at(b'{') {
            true => None,
            false => Some(line.metric_name()?),
        };
        line.skip_blanks();
        let (inside, labels) = match line.takes(b'{') {
            true => line.labels(outside.is_none())?,
            false => (None, Labels::new()),
        };
        let name = outside.or(inside).ok_or("the sample has no name")?;
        let target = self.target(valid_metric_name(&name)?);
        line.skip_blanks();
        let value = line.word();
        if value.is_empty() {
            return Err("the sample has no value");
        }
        let value = parse_float(value).ok_or("the value is not a number")?;
        if !line.is_at_end() {
            return Err(behind_value(line));
        }
        self.add(target, labels, value)
    }

    /// Returns the family of a sample of this name. The names are the same, except for the suffix of a part of a summary or
    /// histogram.
    fn target(&mut self, name: &str) -> Target {
        if let Some((last, target)) = &self.last
            && last == name
        {
            return *target;
        }
        let target = self.known_target(name).unwrap_or_else(|| {
            let family = self.families.len();
            self.families.push(Read::new(name));
            self.by_name.insert(name.to_owned(), family);
            Target {
                family,
                role: Role::Part,
            }
        });
        self.last = Some((name.to_owned(), target));
        target
    }

    fn known_target(&self, name: &str) -> Option<Target> {
        if let Some(family) = self.by_name.get(name) {
            let (family, role) = (*family, Role::Part);
            return Some(Target { family, role });
        }
        let (suffix, role) = [
            ("_sum", Role::Sum),
            ("_count", Role::Count),
            ("_bucket", Role::Part),
        ]
        .into_iter()
        .find(|(suffix, _)| name.ends_with(suffix))?;
        let family = *self.by_name.get(name.strip_suffix(suffix)?)?;
        let kind = self.families.get(family)?.family.kind;
        kind.has_suffix(suffix).then_some(Target { family, role })
    }

    fn add(&mut self, target: Target, mut labels: Labels, value: f64) -> Outcome {
        let Some(Read { family, index }) = self.families.get_mut(target.family) else {
            return Ok(());
        };
        let bound = match family.kind.part_label() {
            Some(label) => take_bound(&mut labels, label)?,
            None => None,
        };
        labels.sort_unstable();
        if labels
            .windows(2)
            .any(|pair| matches!(pair, [(a, _), (b, _)] if a == b))
        {
            return Err("a label occurs twice");
        }
        if family.kind.part_label().is_none() {
            let points = Points::of(value);
            family.series.push(Series { labels, points });
            return Ok(());
        }
        let is_histogram = family.kind == MetricKind::Histogram;
        let place = index.place_of(labels, &mut family.series);
        let Some(series) = family.series.get_mut(place) else {
            return Ok(());
        };
        match (target.role, bound) {
            (Role::Sum, _) => series.points.set_sum(value),
            (Role::Count, _) if value < 0.0 => return Err("a count is negative"),
            (Role::Count, _) if is_histogram => series.points.set_count(value),
            // Go's parser converts them to integers.
            (Role::Count, _) => series.points.set_count(value.trunc()),
            (Role::Part, Some(bound)) => {
                if is_histogram && value < 0.0 {
                    return Err("a bucket is negative");
                }
                series.points.parts.push((bound, value));
            }
            (Role::Part, None) => {}
        }
        Ok(())
    }
}

impl Read {
    fn new(name: &str) -> Self {
        Self {
            family: TextFamily {
                name: name.to_owned(),
                help: None,
                kind: MetricKind::Untyped,
                is_declared: false,
                series: Vec::new(),
            },
            index: SeriesIndex::default(),
        }
    }
}

/// Removes the label of this name and returns it as a number. `NaN` is not a bound.
fn take_bound(labels: &mut Labels, label: &str) -> Result<Option<f64>, &'static str> {
    let mut bound = None;
    for (_, text) in labels.extract_if(.., |(name, _)| name == label) {
        bound = Some(parse_float(text.as_bytes()).ok_or("the bucket's bound is not a number")?);
    }
    Ok(bound.filter(|bound: &f64| !bound.is_nan()))
}

fn kind(text: &[u8]) -> Result<MetricKind, &'static str> {
    // Go's parser skips them.
    let text: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'\\').collect();
    match text.to_ascii_lowercase().as_slice() {
        b"counter" => Ok(MetricKind::Counter),
        b"gauge" => Ok(MetricKind::Gauge),
        b"histogram" | b"gaugehistogram" | b"gauge_histogram" => Ok(MetricKind::Histogram),
        b"summary" => Ok(MetricKind::Summary),
        b"untyped" => Ok(MetricKind::Untyped),
        _ => Err("unknown metric type"),
    }
}

/// Describes what is wrong with the text after the value.
fn behind_value(mut line: Line<'_>) -> &'static str {
    line.skip_blanks();
    let word = line.word();
    let number = std::str::from_utf8(word).is_ok_and(|word| word.parse::<i64>().is_ok());
    line.skip_blanks();
    match (word.is_empty(), line.is_at_end() && number) {
        (true, _) => "unexpected space after the value",
        (_, true) => "the sample has a timestamp, which is not supported",
        (_, false) => "unexpected text after the value",
    }
}

/// Returns the name if it needs no quotes, because only such names are shown.
fn valid_metric_name(name: &[u8]) -> Result<&str, &'static str> {
    let valid = |(place, byte): (usize, &u8)| match byte {
        b'0'..=b'9' => place > 0,
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | b':' => true,
        _ => false,
    };
    std::str::from_utf8(name)
        .ok()
        .filter(|_| !name.is_empty() && name.iter().enumerate().all(valid))
        .ok_or("invalid metric name")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> TextFamily {
        let mut families = parse(text.as_bytes()).unwrap();
        assert_eq!(families.len(), 1, "{families:?}");
        families.remove(0)
    }

    fn pairs(labels: &[(&str, &str)]) -> Labels {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        labels.iter().map(own).collect()
    }

    #[test]
    fn help_type_labels_and_values() {
        let family = only(
            "# a comment\n# HELP job_last How\\nlong.\n#TYPE job_last gauge\n\n\
             job_last{ job = \"b\\\"\\\\\\n\" , a=\"1\", } 1.5e3\r\n\tjob_last +Inf\n# HELP never x\n",
        );
        assert_eq!(
            (family.name.as_str(), family.kind),
            ("job_last", MetricKind::Gauge)
        );
        assert_eq!(family.help.as_deref(), Some("How\nlong."));
        assert_eq!(
            family.series[0].labels,
            pairs(&[("a", "1"), ("job", "b\"\\\n")])
        );
        assert_eq!(family.series[0].points.value, 1500.0);
        assert_eq!(family.series[1].points.value, f64::INFINITY);
    }

    #[test]
    fn histograms_and_summaries_are_put_together() {
        let histogram = only(
            "# TYPE h histogram\nh_bucket{le=\"1\",x=\"y\"} 3\nh_bucket{x=\"y\",le=\"+Inf\"} 5\nh_sum{x=\"y\"} 9\nh_count{x=\"y\"} 5\n",
        );
        assert_eq!(histogram.series.len(), 1);
        let points = &histogram.series[0].points;
        assert_eq!(points.parts, [(1.0, 3.0), (f64::INFINITY, 5.0)]);
        assert_eq!((points.sum(), points.count()), (9.0, 5.0));
        let summary = only("# TYPE s summary\ns{quantile=\"0.5\"} 7\ns_sum 8\ns_count 2.7\n");
        assert_eq!(summary.series[0].points.parts, [(0.5, 7.0)]);
        assert_eq!(summary.series[0].points.count(), 2.0);
        assert_eq!(
            parse(b"s_sum 8\ns_count 2\n").unwrap().len(),
            2,
            "untyped names are whole"
        );
        let mixed = "# TYPE h histogram\nh_sum{x=\"\"} 1\nh_bucket{x=\"a\",le=\"1\"} 2\nh_sum 3\nh_bucket{x=\"a\",le=\"2\"} 4\n";
        let mixed = only(mixed);
        assert_eq!(mixed.series.len(), 2, "an empty label is none: {mixed:?}");
        assert_eq!(mixed.series[1].points.parts, [(1.0, 2.0), (2.0, 4.0)]);
    }

    #[test]
    fn whatever_gos_reader_takes_is_taken() {
        for (text, families) in [
            ("# TYPE a\na 1\n", 1),
            ("# HELP\na 1\n", 1),
            ("# HELP a b \\\" c\na 1\n", 1),
            ("# TYPE\na 1\n", 1),
            ("#\n# \n#x\n# TYPE a gauge_histogram\na_sum 1\n", 1),
            ("{\"a\",b=\"x\"} 1\n", 1),
            ("{b=\"x\",\"a\"} 1\n{ \"a\" } 1\n{a,}2\n", 1),
            ("\"a\" 1\n\"a:b\"{\"c\"=\"d\"}2\na\"b\" 1\n", 3),
            ("# TYPE \"a\" gauge\na 1\n", 1),
            ("a+1\nb.5\nc{}-1\n", 3),
            (
                "a nan\na NaN\na +inf\na -Infinity\na 1e-400\na .5\na 5.\na 1E+3\n",
                1,
            ),
            ("# TYPE a counter\r\na 1\r\n\r\n", 1),
            ("a 1\n  \t", 1),
            ("a 1\n# TYPE b gauge\n# TYPE c\n", 1),
            ("# TYPE a g\\auge\na 1\n", 1),
            (
                "# TYPE h histogram\nh_bucket{le=\"1\",le=\"2\"} 3\nh 4\nh_bucket{le=\"nan\"} -3\nh_bucket -1\n",
                1,
            ),
        ] {
            let read = parse(text.as_bytes());
            assert_eq!(read.as_ref().map(Vec::len), Ok(families), "{text:?}");
        }
        let mut text = b"# Gr\xf6\xdfe in MB\n# HELP a Gr\xf6\xdfe in MB\r\na 1\n".to_vec();
        let family = parse(&text).unwrap().remove(0);
        assert_eq!(family.help.as_deref(), Some("Gr\u{FFFD}\u{FFFD}e in MB"));
        text.extend_from_slice(b"a{b=\"\xf6\"} 1\n");
        assert_eq!(
            parse(&text).unwrap_err().to_string(),
            "line 4: a label's value is not UTF-8"
        );
    }

    #[test]
    fn what_breaks_the_format_names_its_line() {
        let name = "line 1: invalid metric name";
        let label = "line 1: invalid label name";
        let value = "line 1: the value is not a number";
        let blank = "line 1: unexpected space after the value";
        let escape = "line 1: there is an unknown escape sequence";
        let kind = "line 1: unknown metric type";
        let behind_label = "line 1: expected a comma or a closing brace after a label";
        let second_type = "line 2: the metric has a second TYPE line, or one after its samples";
        for (text, what) in [
            (
                "a 1\nb 2",
                "line 2: the last line does not end with a line break",
            ),
            (
                "a 1\n# b",
                "line 2: the last line does not end with a line break",
            ),
            (
                "a 1 1700000000000\n",
                "line 1: the sample has a timestamp, which is not supported",
            ),
            ("a 1 2 3\n", "line 1: unexpected text after the value"),
            ("a 1 x\n", "line 1: unexpected text after the value"),
            ("a 1 \n", blank),
            ("a 1 \r\n", blank),
            ("a x\n", value),
            ("a +NaN\n", value),
            ("a -nan\n", value),
            ("a 1e400\n", value),
            ("a 0x1p3\n", value),
            ("a 1_0\n", value),
            ("a\r1\n", value),
            ("a 1\rb 2\n", value),
            ("a\n", "line 1: the sample has no value"),
            ("9a 1\n", name),
            ("{} 1\n", "line 1: the sample has no name"),
            ("a 1\n{b=\"c\"} 1\n", "line 2: the sample has no name"),
            ("{\"a\",\"b\"} 1\n", "line 1: the sample has two names"),
            ("{\"a.b\"} 1\n", name),
            ("{\"\"} 1\n", label),
            ("\"a 1\n", "line 1: a name in quotes does not end"),
            ("# HELP a-b x\n", name),
            ("a{b=\"c\" 1\n", behind_label),
            ("a{b=\"c\"\"} 1\n", behind_label),
            ("a{b=\"c\"x} 1\n", behind_label),
            ("a{b=c} 1\n", "line 1: a label's value has no quotes"),
            ("a{b=\"c} 1\n", "line 1: a label value has no closing quote"),
            ("a{b} 1\n", "line 1: a label has no value"),
            ("a{b:c=\"d\"} 1\n", "line 1: a label has no value"),
            ("a{,} 1\n", label),
            ("a{__name__=\"d\"} 1\n", label),
            ("a{\"b.c\"=\"d\"} 1\n", label),
            ("a{b=\"\\t\"} 1\n", escape),
            ("# HELP a \\t\n", escape),
            ("a{b=\"1\",b=\"2\"} 1\n", "line 1: a label occurs twice"),
            (
                "# HELP a x\n# HELP a x\na 1\n",
                "line 2: the metric has a second HELP line",
            ),
            ("a 1\n# TYPE a gauge\n", second_type),
            ("# TYPE h histogram\n# TYPE h_sum gauge\n", second_type),
            ("# TYPE a thing\n", kind),
            ("# TYPE a gauge \n", kind),
            (
                "# TYPE h histogram\nh_count -1\n",
                "line 2: a count is negative",
            ),
            (
                "# TYPE s summary\ns_count -1\n",
                "line 2: a count is negative",
            ),
            (
                "# TYPE h histogram\nh_bucket{le=\"1\"} -1\n",
                "line 2: a bucket is negative",
            ),
            (
                "# TYPE h histogram\nh_bucket{le=\"-nan\"} 1\n",
                "line 2: the bucket's bound is not a number",
            ),
        ] {
            let read = parse(text.as_bytes());
            assert_eq!(read.unwrap_err().to_string(), what, "{text:?}");
        }
    }
}

//! A reader of the text format in which other programs leave their metrics.

use std::collections::{BTreeMap, HashSet};

use crate::exposition::MetricKind;

/// Labels by name.
pub(crate) type Labels = Vec<(String, String)>;

/// A family as a file has it.
#[derive(Debug, PartialEq)]
pub(crate) struct TextFamily {
    pub(crate) name: String,
    pub(crate) help: Option<String>,
    pub(crate) kind: MetricKind,
    pub(crate) series: Vec<Series>,
}

/// What has the same labels. Labels are in order of name.
#[derive(Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    pub(crate) points: Points,
}

/// What is known of a series.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Points {
    /// The value, of what is neither a summary nor a histogram.
    pub(crate) value: f64,
    /// The quantiles of a summary or the upper bounds of a histogram's buckets, each with its value.
    pub(crate) parts: Vec<(f64, f64)>,
    pub(crate) sum: f64,
    pub(crate) count: f64,
}

/// Why a file is not read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(crate) struct TextError {
    line: usize,
    what: &'static str,
}

/// Reads a whole file. Gives its families in order of name, without those that have no samples.
///
/// # Errors
///
/// The first line that breaks the format, or that has a timestamp: the scrape's own time stands for all samples.
pub(crate) fn parse(text: &str) -> Result<Vec<TextFamily>, TextError> {
    let mut reader = Reader::default();
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let failure = |what| TextError {
            line: number + 1,
            what,
        };
        let trimmed = line.trim_matches([' ', '\t', '\r', '\n']);
        if trimmed.is_empty() {
            continue;
        }
        // A writer that died in the middle of a line has left half a number.
        let Some(line) = line.strip_suffix('\n') else {
            return Err(failure("the last line has no end"));
        };
        let line = line.trim_start_matches([' ', '\t']);
        match line.strip_prefix('#') {
            Some(comment) => reader.comment(comment),
            None => reader.sample(line),
        }
        .map_err(failure)?;
    }
    let families = reader.families.into_values();
    Ok(families
        .filter(|family| !family.series.is_empty())
        .collect())
}

#[derive(Default)]
struct Reader {
    families: BTreeMap<String, TextFamily>,
    typed: HashSet<String>,
}

type Outcome = Result<(), &'static str>;

impl Reader {
    fn comment(&mut self, comment: &str) -> Outcome {
        let (keyword, rest) = word(comment);
        if keyword != "HELP" && keyword != "TYPE" {
            return Ok(());
        }
        let (name, rest) = word(rest);
        if !is_metric_name(name) {
            return Err("the name of the metric is not valid");
        }
        if keyword == "TYPE" {
            return self.declare(name, rest.trim());
        }
        let family = self.family(name);
        if family.help.is_some() {
            return Err("the metric has a second HELP line");
        }
        if !rest.is_empty() {
            family.help = Some(unescape(rest, false)?);
        }
        Ok(())
    }

    fn declare(&mut self, name: &str, kind: &str) -> Outcome {
        let kind = match kind.to_ascii_lowercase().as_str() {
            "counter" => MetricKind::Counter,
            "gauge" => MetricKind::Gauge,
            "histogram" => MetricKind::Histogram,
            "summary" => MetricKind::Summary,
            "untyped" => MetricKind::Untyped,
            _ => return Err("the type of the metric is not known"),
        };
        let family = self.family(name);
        let sampled = !family.series.is_empty();
        family.kind = kind;
        let first = self.typed.insert(name.to_owned());
        if !first || sampled {
            return Err("the metric has a second TYPE line, or one after its samples");
        }
        Ok(())
    }

    fn sample(&mut self, line: &str) -> Outcome {
        let end = line.find(|c: char| !is_name_byte(c)).unwrap_or(line.len());
        let (name, rest) = line.split_at_checked(end).unwrap_or_default();
        if !is_metric_name(name) {
            return Err("the name of the metric is not valid");
        }
        let rest = rest.trim_start_matches([' ', '\t']);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (Vec::new(), rest),
        };
        let mut words = rest
            .split([' ', '\t', '\r'])
            .filter(|word| !word.is_empty());
        let value = words.next().ok_or("the sample has no value")?;
        let value: f64 = value.parse().map_err(|_| "the value is not a number")?;
        match (words.next(), words.next()) {
            (None, _) => self.add(name, labels, value),
            (Some(_), None) => Err("the sample has a timestamp, which is not supported"),
            (Some(_), Some(_)) => Err("there is more behind the value"),
        }
    }

    /// Adds a sample to its family, which is named after it or, for a part of a summary or histogram, almost.
    fn add(&mut self, sample: &str, mut labels: Labels, value: f64) -> Outcome {
        let (name, role) = self.role(sample);
        let family = self.family(&name);
        let part_label = match family.kind {
            MetricKind::Histogram => "le",
            MetricKind::Summary => "quantile",
            _ => "",
        };
        let part = labels.iter().position(|(label, _)| label == part_label);
        let bound = match part {
            Some(place) => {
                let (_, bound) = labels.remove(place);
                Some(bound.parse().map_err(|_| "the bound is not a number")?)
            }
            None => None,
        };
        labels.sort_unstable();
        if labels
            .windows(2)
            .any(|pair| matches!(pair, [(a, _), (b, _)] if a == b))
        {
            return Err("a label is there twice");
        }
        family.update(labels, |points| match (role, bound) {
            (Role::Sum, _) => points.sum = value,
            (Role::Count, _) => points.count = value,
            (Role::Part, Some(bound)) => points.parts.push((bound, value)),
            (Role::Part, None) => {}
            (Role::Value, _) => points.value = value,
        });
        Ok(())
    }

    fn role(&self, sample: &str) -> (String, Role) {
        let kind = |name: &str| Some(self.families.get(name)?.kind);
        match kind(sample) {
            Some(MetricKind::Summary) => return (sample.to_owned(), Role::Part),
            Some(_) => return (sample.to_owned(), Role::Value),
            None => {}
        }
        for (suffix, role) in [
            ("_sum", Role::Sum),
            ("_count", Role::Count),
            ("_bucket", Role::Part),
        ] {
            let Some(name) = sample.strip_suffix(suffix) else {
                continue;
            };
            match kind(name) {
                Some(MetricKind::Histogram) => return (name.to_owned(), role),
                Some(MetricKind::Summary) if suffix != "_bucket" => return (name.to_owned(), role),
                _ => {}
            }
        }
        (sample.to_owned(), Role::Value)
    }

    fn family(&mut self, name: &str) -> &mut TextFamily {
        self.families
            .entry(name.to_owned())
            .or_insert_with(|| TextFamily {
                name: name.to_owned(),
                help: None,
                kind: MetricKind::Untyped,
                series: Vec::new(),
            })
    }
}

/// What a sample is to its family.
#[derive(Clone, Copy)]
enum Role {
    Value,
    Part,
    Sum,
    Count,
}

impl TextFamily {
    /// The series of a summary or histogram with these labels; any other sample is a series of its own.
    fn update(&mut self, labels: Labels, change: impl FnOnce(&mut Points)) {
        let grouped = matches!(self.kind, MetricKind::Histogram | MetricKind::Summary);
        let known = self
            .series
            .iter_mut()
            .rfind(|series| grouped && series.labels == labels);
        if let Some(series) = known {
            return change(&mut series.points);
        }
        let mut points = Points::default();
        change(&mut points);
        self.series.push(Series { labels, points });
    }
}

/// The first word of the text and what follows the blanks behind it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches([' ', '\t']);
    let end = text.find([' ', '\t', '\r']).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or_default();
    (word, rest.trim_start_matches([' ', '\t', '\r']))
}

/// Reads labels up to the closing brace. Gives them with what follows.
fn labels(mut text: &str) -> Result<(Labels, &str), &'static str> {
    let mut labels = Labels::new();
    loop {
        text = text.trim_start_matches([' ', '\t']);
        if let Some(rest) = text.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (name, rest) = text.split_once('=').ok_or("a label has no value")?;
        let name = name.trim_end_matches([' ', '\t']);
        if !is_label_name(name) {
            return Err("the name of a label is not valid");
        }
        let rest = rest.trim_start_matches([' ', '\t']);
        let rest = rest
            .strip_prefix('"')
            .ok_or("a label's value has no quotes")?;
        let end = closing_quote(rest).ok_or("a label's value does not end")?;
        let (value, rest) = rest.split_at_checked(end).unwrap_or_default();
        labels.push((name.to_owned(), unescape(value, true)?));
        let rest = rest.trim_start_matches('"').trim_start_matches([' ', '\t']);
        text = match rest.strip_prefix(',') {
            Some(rest) => rest,
            None if rest.starts_with('}') => rest,
            None => return Err("there is neither a comma nor a brace behind a label"),
        };
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

fn unescape(text: &str, quotes: bool) -> Result<String, &'static str> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        plain.push(match characters.next() {
            Some('\\') => '\\',
            Some('n') => '\n',
            Some('"') if quotes => '"',
            _ => return Err("there is an unknown escape sequence"),
        });
    }
    Ok(plain)
}

fn is_name_byte(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

fn is_metric_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(is_name_byte)
}

fn is_label_name(name: &str) -> bool {
    is_metric_name(name) && !name.contains(':') && name != "__name__"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> TextFamily {
        let mut families = parse(text).unwrap();
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
        assert_eq!((points.sum, points.count), (9.0, 5.0));
        let summary = only("# TYPE s summary\ns{quantile=\"0.5\"} 7\ns_sum 8\ns_count 2\n");
        assert_eq!(summary.series[0].points.parts, [(0.5, 7.0)]);
        assert_eq!(
            parse("s_sum 8\ns_count 2\n").unwrap().len(),
            2,
            "untyped names are whole"
        );
    }

    #[test]
    fn what_breaks_the_format_names_its_line() {
        for (text, what) in [
            ("a 1\nb 2", "line 2: the last line has no end"),
            (
                "a 1 1700000000000\n",
                "line 1: the sample has a timestamp, which is not supported",
            ),
            ("a 1 2 3\n", "line 1: there is more behind the value"),
            ("a x\n", "line 1: the value is not a number"),
            ("a\n", "line 1: the sample has no value"),
            ("9a 1\n", "line 1: the name of the metric is not valid"),
            (
                "a{b=\"c\" 1\n",
                "line 1: there is neither a comma nor a brace behind a label",
            ),
            ("a{b=c} 1\n", "line 1: a label's value has no quotes"),
            ("a{b=\"c} 1\n", "line 1: a label's value does not end"),
            ("a{b} 1\n", "line 1: a label has no value"),
            (
                "a{b:c=\"d\"} 1\n",
                "line 1: the name of a label is not valid",
            ),
            (
                "a{b=\"\\t\"} 1\n",
                "line 1: there is an unknown escape sequence",
            ),
            ("a{b=\"1\",b=\"2\"} 1\n", "line 1: a label is there twice"),
            (
                "# HELP a x\n# HELP a x\na 1\n",
                "line 2: the metric has a second HELP line",
            ),
            (
                "a 1\n# TYPE a gauge\n",
                "line 2: the metric has a second TYPE line, or one after its samples",
            ),
            (
                "# TYPE a thing\n",
                "line 1: the type of the metric is not known",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), what, "{text:?}");
        }
    }
}

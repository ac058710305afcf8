//! The writer of the Prometheus text format 0.0.4.
//!
//! Collectors write whole families, in any order, straight into one reused buffer; [`Exposition::append_sorted`] then
//! puts the families in order of name, as every scrape of node_exporter does. Numbers are written as Go's
//! `strconv.FormatFloat(value, 'g', -1, 64)` writes them, so that a body can be compared byte for byte.

pub(crate) mod encoding;
mod go_number;
pub(crate) mod reader;

use std::ops::Range;

pub use self::go_number::{write_float, write_integer};
use crate::sources::{parse_decimal, parse_u64};

/// The type that a family declares in its `# TYPE` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A value that only grows while the source lives.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// Counts of observations by their size.
    Histogram,
    /// Quantiles of observations.
    Summary,
    /// A value whose source does not say what it is.
    Untyped,
}

/// A sample's value. Integers are kept apart because they need no search for the shortest digits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A counter as the kernel prints it.
    Integer(u64),
    /// Anything else, `NaN` and the infinities included.
    Float(f64),
}

impl Value {
    /// A decimal number: an integer where it is one and fits, else a double.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let integer = parse_u64(text).map(Self::Integer);
        integer.or_else(|| parse_decimal(text).map(Self::Float))
    }

    /// The value in a smaller unit. A product that does not fit an integer becomes a double.
    #[must_use]
    pub fn times(self, factor: u32) -> Self {
        match self {
            Self::Integer(number) => match number.checked_mul(factor.into()) {
                Some(product) => Self::Integer(product),
                None => Self::Float(number as f64 * f64::from(factor)),
            },
            Self::Float(number) => Self::Float(number * f64::from(factor)),
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Integer(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

/// The families of one scrape, in the order in which they were written.
#[derive(Debug, Default)]
pub struct Exposition {
    bytes: Vec<u8>,
    families: Vec<FamilySpan>,
}

#[derive(Clone, Debug)]
struct FamilySpan {
    name: Range<usize>,
    text: Range<usize>,
    samples_start: usize,
}

impl Exposition {
    /// Forgets all families and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.families.clear();
    }

    /// Starts a family. Its name and help are given in parts, so that a name made from a kernel's field needs no
    /// allocation; what a name cannot hold, wherever it came from, becomes `_`: one bad name would cost Prometheus the
    /// whole scrape. A family without samples leaves no trace.
    pub fn family<'a>(&'a mut self, name: &[&str], help: &[&str], kind: MetricKind) -> Family<'a> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(b"# HELP ");
        let name_start = self.bytes.len();
        for part in name {
            let bytes = part.bytes();
            self.bytes
                .extend(bytes.map(|byte| if is_name_byte(byte) { byte } else { b'_' }));
        }
        let name = name_start..self.bytes.len();
        self.bytes.push(b' ');
        for part in help {
            write_escaped(&mut self.bytes, part, false);
        }
        self.bytes.extend_from_slice(b"\n# TYPE ");
        self.bytes.extend_from_within(name.clone());
        self.bytes.extend_from_slice(match kind {
            MetricKind::Counter => b" counter\n",
            MetricKind::Gauge => b" gauge\n",
            MetricKind::Histogram => b" histogram\n",
            MetricKind::Summary => b" summary\n",
            MetricKind::Untyped => b" untyped\n",
        });
        let samples_start = self.bytes.len();
        Family {
            exposition: self,
            start,
            name,
            samples_start,
        }
    }

    /// Appends all families to `out` in order of their names. Of equal names the first one written describes the family,
    /// and their samples follow each other: files of other programs may add to any family.
    pub fn append_sorted(&self, out: &mut Vec<u8>) {
        append_sorted(&[self], out);
    }

    fn name_of(&self, span: &FamilySpan) -> &[u8] {
        self.bytes.get(span.name.clone()).unwrap_or_default()
    }
}

/// [`Exposition::append_sorted`] for several, as if they had been written one after the other.
pub fn append_sorted(parts: &[&Exposition], out: &mut Vec<u8>) {
    let mut spans = Vec::with_capacity(parts.iter().map(|part| part.families.len()).sum());
    for part in parts {
        spans.extend(part.families.iter().map(|span| (*part, span)));
    }
    // Stable: equal names stay as written.
    spans.sort_by(|a, b| a.0.name_of(a.1).cmp(b.0.name_of(b.1)));
    out.reserve(parts.iter().map(|part| part.bytes.len()).sum());
    let mut before: &[u8] = b"";
    for (part, span) in spans {
        let text = if part.name_of(span) == before {
            span.samples_start..span.text.end
        } else {
            span.text.clone()
        };
        out.extend_from_slice(part.bytes.get(text).unwrap_or_default());
        before = part.name_of(span);
    }
}

/// One family being written. Its samples are to be given in order of their label values.
#[derive(Debug)]
pub struct Family<'a> {
    exposition: &'a mut Exposition,
    start: usize,
    name: Range<usize>,
    samples_start: usize,
}

impl Family<'_> {
    /// Writes one sample. Labels are name and value, ordered by name; a value that is not UTF-8 has each run of
    /// foreign bytes replaced by U+FFFD.
    pub fn sample(&mut self, labels: &[(&str, &[u8])], value: impl Into<Value>) {
        self.part("", labels, value);
    }

    /// Writes one sample of a histogram or summary, whose name is the family's with a suffix.
    pub fn part(&mut self, suffix: &str, labels: &[(&str, &[u8])], value: impl Into<Value>) {
        let out = &mut self.exposition.bytes;
        out.extend_from_within(self.name.clone());
        out.extend_from_slice(suffix.as_bytes());
        let mut separator = b'{';
        for (name, value) in labels {
            out.push(separator);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"=\"");
            write_label_value(out, value);
            out.push(b'"');
            separator = b',';
        }
        if !labels.is_empty() {
            out.push(b'}');
        }
        out.push(b' ');
        match value.into() {
            Value::Integer(value) => write_integer(out, value),
            Value::Float(value) => write_float(out, value),
        }
        out.push(b'\n');
    }
}

impl Drop for Family<'_> {
    fn drop(&mut self) {
        if self.exposition.bytes.len() == self.samples_start {
            self.exposition.bytes.truncate(self.start);
        } else {
            let text = self.start..self.exposition.bytes.len();
            self.exposition.families.push(FamilySpan {
                name: self.name.clone(),
                text,
                samples_start: self.samples_start,
            });
        }
    }
}

/// Names of ours begin with a letter, so a digit is never first.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

fn write_label_value(out: &mut Vec<u8>, value: &[u8]) {
    if let Ok(text) = std::str::from_utf8(value) {
        return write_escaped(out, text, true);
    }
    let mut inside_foreign_run = false;
    for chunk in value.utf8_chunks() {
        if !chunk.valid().is_empty() {
            write_escaped(out, chunk.valid(), true);
            inside_foreign_run = false;
        }
        if !chunk.invalid().is_empty() && !inside_foreign_run {
            out.extend_from_slice("\u{FFFD}".as_bytes());
            inside_foreign_run = true;
        }
    }
}

fn write_escaped(out: &mut Vec<u8>, text: &str, quotes: bool) {
    let is_special = |byte: &u8| matches!(byte, b'\\' | b'\n') || (quotes && *byte == b'"');
    let mut rest = text.as_bytes();
    // Almost nothing has to be escaped, and what has not is copied whole.
    while let Some(place) = rest.iter().position(is_special) {
        let (plain, from_special) = rest.split_at(place);
        out.extend_from_slice(plain);
        let Some((special, after)) = from_special.split_first() else {
            break;
        };
        out.push(b'\\');
        out.push(if *special == b'\n' { b'n' } else { *special });
        rest = after;
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_sorted_and_empty_ones_vanish() {
        let mut exposition = Exposition::default();
        exposition
            .family(&["b"], &["second"], MetricKind::Gauge)
            .sample(&[], 2.5);
        drop(exposition.family(&["empty"], &["never"], MetricKind::Gauge));
        exposition
            .family(&["a_", "x"], &["f\\irst\n", "\"x\""], MetricKind::Counter)
            .sample(&[("l", b"v"), ("m", b"")], 3);
        let mut out = b"kept\n".to_vec();
        exposition.append_sorted(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "kept\n# HELP a_x f\\\\irst\\n\"x\"\n# TYPE a_x counter\na_x{l=\"v\",m=\"\"} 3\n\
             # HELP b second\n# TYPE b gauge\nb 2.5\n"
        );
    }

    #[test]
    fn a_family_written_twice_is_described_once() {
        let mut exposition = Exposition::default();
        let mut write = |name: &str, help: &str, value: u64| {
            exposition
                .family(&[name], &[help], MetricKind::Gauge)
                .part("_x", &[], value);
        };
        write("b", "first", 1);
        write("a", "other", 2);
        write("b", "second", 3);
        let mut out = Vec::new();
        exposition.append_sorted(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "# HELP a other\n# TYPE a gauge\na_x 2\n# HELP b first\n# TYPE b gauge\nb_x 1\nb_x 3\n"
        );
    }

    #[test]
    fn a_name_holds_only_what_a_name_may() {
        let mut exposition = Exposition::default();
        exposition
            .family(&["node_", "a b{é", "_total"], &["h"], MetricKind::Gauge)
            .sample(&[], 1);
        let mut out = Vec::new();
        exposition.append_sorted(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "# HELP node_a_b____total h\n# TYPE node_a_b____total gauge\nnode_a_b____total 1\n"
        );
    }

    #[test]
    fn label_values_are_escaped_and_made_utf8() {
        let mut out = Vec::new();
        write_label_value(&mut out, b"a\\b\"c\nd");
        assert_eq!(out, b"a\\\\b\\\"c\\nd");
        out.clear();
        write_label_value(&mut out, b"x\xff\xfey\"\xc3");
        assert_eq!(String::from_utf8(out).unwrap(), "x\u{FFFD}y\\\"\u{FFFD}");
    }

    #[test]
    fn several_are_merged_as_if_they_were_one() {
        let (mut first, mut second) = (Exposition::default(), Exposition::default());
        let write = |out: &mut Exposition, name: &str, value: u64| {
            out.family(&[name], &["h"], MetricKind::Untyped)
                .sample(&[], value);
        };
        write(&mut first, "b", 1);
        write(&mut second, "a", 2);
        write(&mut second, "b", 3);
        let mut out = Vec::new();
        append_sorted(&[&first, &second], &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "# HELP a h\n# TYPE a untyped\na 2\n# HELP b h\n# TYPE b untyped\nb 1\nb 3\n"
        );
    }
}

//! The writer of the Prometheus text format 0.0.4.
//!
//! Collectors write whole families in any order into one reused buffer. [`Exposition::append_sorted`] then orders the
//! families by name, as in every scrape of node_exporter. Numbers are formatted like Go's `strconv.FormatFloat(value, 'g',
//! -1, 64)`, so that bodies can be compared byte for byte.

use std::borrow::Cow;
use std::collections::HashSet;
pub(crate) mod encoding;
mod go_number;
pub(crate) mod reader;

use std::ops::Range;

pub use self::go_number::{write_float, write_integer};
use crate::sources::{parse_decimal, parse_u64};

/// The type that a family declares in its `# TYPE` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A value that only grows during the lifetime of its source.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// Counts of observations by their size.
    Histogram,
    /// Quantiles of observations.
    Summary,
    /// A value whose source does not define its type.
    Untyped,
}

impl MetricKind {
    /// The label that distinguishes the parts of a histogram or summary.
    pub(crate) fn part_label(self) -> Option<&'static str> {
        match self {
            Self::Histogram => Some("le"),
            Self::Summary => Some("quantile"),
            Self::Counter | Self::Gauge | Self::Untyped => None,
        }
    }

    /// Whether samples of such a family may have this suffix in their name.
    pub(crate) fn has_suffix(self, suffix: &str) -> bool {
        match self {
            Self::Histogram => matches!(suffix, "_bucket" | "_sum" | "_count"),
            Self::Summary => matches!(suffix, "_sum" | "_count"),
            Self::Counter | Self::Gauge | Self::Untyped => false,
        }
    }
}

/// The value of a sample. Integers are a separate case because they need no search for the shortest digits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A counter as the kernel prints it.
    Integer(u64),
    /// Anything else, `NaN` and the infinities included.
    Float(f64),
}

impl Value {
    /// Parses a decimal number: as an integer if it is one and fits, otherwise as a double.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let integer = parse_u64(text).map(Self::Integer);
        integer.or_else(|| parse_decimal(text).map(Self::Float))
    }

    /// Converts the value to a smaller unit. A product that does not fit an integer becomes a double.
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
    kind: MetricKind,
    text: Range<usize>,
    samples_start: usize,
    /// Whether each series is greater than the previous one, which proves that there are no duplicates.
    is_ascending: bool,
}

/// A family as it was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrittenFamily<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: MetricKind,
    /// Its samples, one line each.
    pub(crate) samples: &'a [u8],
}

impl Exposition {
    /// Removes all families and keeps the allocated memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.families.clear();
    }

    /// Starts a family. Its name and help are given in parts, so that a name with a kernel field needs no allocation.
    /// Characters that are not allowed in a name become `_`, because one invalid name would make Prometheus drop the whole
    /// scrape. A family without samples is left out.
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
            kind,
            last_series: None,
            is_ascending: true,
        }
    }

    /// The families in the order in which they were written.
    pub(crate) fn families(&self) -> impl Iterator<Item = WrittenFamily<'_>> {
        self.families.iter().map(|span| WrittenFamily {
            // Only characters that are allowed in a name are written as such.
            name: std::str::from_utf8(self.name_of(span)).unwrap_or_default(),
            kind: span.kind,
            samples: self.samples_of(span),
        })
    }

    /// Calls [`append_sorted`] for this exposition alone.
    pub fn append_sorted(&self, out: &mut Vec<u8>) {
        append_sorted(&[self], out);
    }

    fn name_of(&self, span: &FamilySpan) -> &[u8] {
        self.bytes.get(span.name.clone()).unwrap_or_default()
    }

    fn samples_of(&self, span: &FamilySpan) -> &[u8] {
        let samples = span.samples_start..span.text.end;
        self.bytes.get(samples).unwrap_or_default()
    }
}

/// Appends the families of all parts to `out`, ordered by name. If several parts have the same family, the first one
/// provides its type and help, and their samples follow each other, because files of other programs may add to any family.
/// Of several samples of one series only the first is kept: Prometheus would store the last, and other consumers refuse the
/// whole text. Returns the first duplicate series.
pub fn append_sorted(parts: &[&Exposition], out: &mut Vec<u8>) -> Option<String> {
    let mut spans = Vec::with_capacity(parts.iter().map(|part| part.families.len()).sum());
    for part in parts {
        spans.extend(part.families.iter().map(|span| (*part, span)));
    }
    // Stable: equal names stay as written.
    spans.sort_by(|a, b| a.0.name_of(a.1).cmp(b.0.name_of(b.1)));
    out.reserve(parts.iter().map(|part| part.bytes.len()).sum());
    let mut repeated = None;
    for family in spans.chunk_by(|a, b| a.0.name_of(a.1) == b.0.name_of(b.1)) {
        match family {
            [(part, span)] if span.is_ascending => {
                out.extend_from_slice(part.bytes.get(span.text.clone()).unwrap_or_default());
            }
            _ => {
                let found = append_once(family, out);
                repeated = repeated.or(found);
            }
        }
    }
    repeated.map(|series| String::from_utf8_lossy(series).into_owned())
}

/// Appends everything that was written under one name, each series once. Returns the first duplicate series.
fn append_once<'a>(
    family: &[(&'a Exposition, &FamilySpan)],
    out: &mut Vec<u8>,
) -> Option<&'a [u8]> {
    if let Some((part, span)) = family.first() {
        let header = span.text.start..span.samples_start;
        out.extend_from_slice(part.bytes.get(header).unwrap_or_default());
    }
    let (mut known, mut repeated) = (HashSet::new(), None);
    for line in family
        .iter()
        .flat_map(|(part, span)| part.samples_of(span).split_inclusive(|byte| *byte == b'\n'))
    {
        // A value contains no space.
        let end = line.iter().rposition(|byte| *byte == b' ');
        let series = line.get(..end.unwrap_or_default()).unwrap_or_default();
        if known.insert(series) {
            out.extend_from_slice(line);
        } else {
            repeated.get_or_insert(series);
        }
    }
    repeated
}

/// A family that is being written. Its samples must be given in the order of their label values.
#[derive(Debug)]
pub struct Family<'a> {
    exposition: &'a mut Exposition,
    start: usize,
    name: Range<usize>,
    samples_start: usize,
    kind: MetricKind,
    last_series: Option<Range<usize>>,
    is_ascending: bool,
}

impl Family<'_> {
    /// Writes one sample. Labels are pairs of name and value, ordered by name; in a value, each run of bytes that are not
    /// UTF-8 is replaced by U+FFFD.
    pub fn sample(&mut self, labels: &[(&str, &[u8])], value: impl Into<Value>) {
        self.part("", labels, value);
    }

    /// Writes one sample of a histogram or summary, whose name is the family's with a suffix.
    pub fn part(&mut self, suffix: &str, labels: &[(&str, &[u8])], value: impl Into<Value>) {
        let out = &mut self.exposition.bytes;
        let start = out.len();
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
        let series = start..out.len();
        if let Some(last) = self.last_series.replace(series.clone()) {
            self.is_ascending &= out.get(last) < out.get(series);
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
                kind: self.kind,
                text,
                samples_start: self.samples_start,
                is_ascending: self.is_ascending,
            });
        }
    }
}

/// Our names begin with a letter, so a digit is never the first character.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

fn write_label_value(out: &mut Vec<u8>, value: &[u8]) {
    if is_plain(value) {
        return out.extend_from_slice(value);
    }
    write_escaped(out, &valid_utf8(value), true);
}

/// Returns a value as it is shown: each run of bytes that are not UTF-8 becomes one U+FFFD.
pub(crate) fn valid_utf8(value: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(value) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(value.len());
    let mut inside_foreign_run = false;
    for chunk in value.utf8_chunks() {
        if !chunk.valid().is_empty() {
            clean.push_str(chunk.valid());
            inside_foreign_run = false;
        }
        if !chunk.invalid().is_empty() && !inside_foreign_run {
            clean.push(char::REPLACEMENT_CHARACTER);
            inside_foreign_run = true;
        }
    }
    Cow::Owned(clean)
}

/// Whether every byte is ASCII that needs no escaping, as in almost all labels; eight bytes are checked as one number.
fn is_plain(text: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH_BITS: u64 = 0x80 * ONES;
    let special = *b"\\\n\"";
    let (words, rest) = text.as_chunks::<8>();
    let is_plain_word = |bytes: &[u8; 8]| {
        let word = u64::from_ne_bytes(*bytes);
        // Subtracting 1 from a byte borrows into an unset high bit only if the byte is zero.
        let has_special = special.iter().any(|byte| {
            let differs = word ^ (u64::from(*byte) * ONES);
            differs.wrapping_sub(ONES) & !differs & HIGH_BITS != 0
        });
        word & HIGH_BITS == 0 && !has_special
    };
    words.iter().all(is_plain_word)
        && rest
            .iter()
            .all(|byte| byte.is_ascii() && !special.contains(byte))
}

fn write_escaped(out: &mut Vec<u8>, text: &str, quotes: bool) {
    let is_special = |byte: &u8| matches!(byte, b'\\' | b'\n') || (quotes && *byte == b'"');
    let mut rest = text.as_bytes();
    // Almost nothing needs escaping, and everything else is copied in one piece.
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
    fn only_ascii_without_special_characters_is_plain() {
        let word = *b"abcdefgh12345";
        assert!(is_plain(&word) && is_plain(b"") && is_plain(b"[]!#\x7f\x0b\t "));
        for place in 0..word.len() {
            for byte in 0..=u8::MAX {
                let mut text = word;
                text[place] = byte;
                let special = !byte.is_ascii() || [b'\\', b'\n', b'"'].contains(&byte);
                assert_eq!(is_plain(&text), !special, "{byte} in place {place}");
            }
        }
    }

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
            exposition.family(&[name], &[help], MetricKind::Gauge).part(
                "_x",
                &[("l", help.as_bytes())],
                value,
            );
        };
        write("b", "first", 1);
        write("a", "other", 2);
        write("b", "second", 3);
        let mut out = Vec::new();
        exposition.append_sorted(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "# HELP a other\n# TYPE a gauge\na_x{l=\"other\"} 2\n\
             # HELP b first\n# TYPE b gauge\nb_x{l=\"first\"} 1\nb_x{l=\"second\"} 3\n"
        );
    }

    /// What is written in order of these label values, as `value: samples`, and the series that was there twice.
    fn written(families: &[(&str, &[&[u8]])]) -> (String, Option<String>) {
        let mut exposition = Exposition::default();
        for (name, values) in families {
            let mut family = exposition.family(&[name], &["h"], MetricKind::Gauge);
            for (place, value) in values.iter().enumerate() {
                family.sample(&[("l", value)], place as u64);
            }
        }
        let mut out = Vec::new();
        let repeated = append_sorted(&[&exposition], &mut out);
        let text = String::from_utf8(out).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        (samples.collect::<Vec<_>>().join(" "), repeated)
    }

    #[test]
    fn each_series_is_there_once_and_the_first_counts() {
        let ascending: (&str, &[&[u8]]) = ("a", &[b"1", b"10", b"2"]);
        let (text, repeated) = written(&[ascending]);
        assert_eq!(
            (text.as_str(), repeated),
            ("a{l=\"1\"} 0 a{l=\"10\"} 1 a{l=\"2\"} 2", None)
        );
        let apart: (&str, &[&[u8]]) = ("a", &[b"2 x", b"1", b"2 x"]);
        let (text, repeated) = written(&[apart]);
        assert_eq!(text, "a{l=\"2 x\"} 0 a{l=\"1\"} 1");
        assert_eq!(repeated.as_deref(), Some("a{l=\"2 x\"}"));
        let alike_once_cleaned: (&str, &[&[u8]]) = ("a", &[b"caf\xe8", b"caf\xe9"]);
        let (text, repeated) = written(&[alike_once_cleaned]);
        assert_eq!(text, "a{l=\"caf\u{FFFD}\"} 0");
        assert!(repeated.is_some());
        let (text, _) = written(&[("a b", &[b"1"]), ("a-b", &[b"0", b"1"])]);
        assert_eq!(text, "a_b{l=\"1\"} 0 a_b{l=\"0\"} 0");
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
                .sample(&[("l", if value == 3 { b"x" } else { b"y" })], value);
        };
        write(&mut first, "b", 1);
        write(&mut second, "a", 2);
        write(&mut second, "b", 3);
        let mut out = Vec::new();
        append_sorted(&[&first, &second], &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "# HELP a h\n# TYPE a untyped\na{l=\"y\"} 2\n# HELP b h\n# TYPE b untyped\nb{l=\"y\"} 1\nb{l=\"x\"} 3\n"
        );
    }
}

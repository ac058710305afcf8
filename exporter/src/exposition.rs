//! The writer of the Prometheus text format 0.0.4.
//!
//! Collectors write whole families, in any order, straight into one reused buffer; [`Exposition::append_sorted`] then
//! puts the families in order of name, as every scrape of node_exporter does. Numbers are written as Go's
//! `strconv.FormatFloat(value, 'g', -1, 64)` writes them, so that a body can be compared byte for byte.

use std::ops::Range;

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
    if is_plain(value) {
        return out.extend_from_slice(value);
    }
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

/// Whether every byte is ASCII that needs no escape, as almost all labels are: eight bytes are looked at as one number.
fn is_plain(text: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH_BITS: u64 = 0x80 * ONES;
    let special = *b"\\\n\"";
    let (words, rest) = text.as_chunks::<8>();
    let is_plain_word = |bytes: &[u8; 8]| {
        let word = u64::from_ne_bytes(*bytes);
        // Where a byte is zero, and only there, taking 1 from it borrows into a high bit that was not set.
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

/// The exponent from which Go's shortest form is written with an `e`.
const EXPONENT_FROM: i32 = 6;
/// Every integer up to here is a double of its own, so its digits are the double's shortest digits.
const LARGEST_EXACT_INTEGER: u64 = 1 << 53;

/// Appends an integer as Go would write the double of the same value: `100000`, `1e+06`, `1.04448e+06`.
pub fn write_integer(out: &mut Vec<u8>, value: u64) {
    if value > LARGEST_EXACT_INTEGER {
        return write_float(out, value as f64);
    }
    let mut buffer = [0_u8; 20];
    let mut length = 0;
    let mut rest = value;
    for slot in buffer.iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        length += 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let digits = buffer.get(buffer.len() - length..).unwrap_or_default();
    write_decimal(out, trim_trailing_zeros(digits), length as i32);
}

/// Appends a double in Go's shortest form: `0`, `-1`, `2e-05`, `1.666827e+06`, `NaN`, `+Inf`.
pub fn write_float(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    if value == 0.0 {
        return out.push(b'0');
    }
    if value < 0.0 {
        out.push(b'-');
    }
    let mut buffer = ryu::Buffer::new();
    let mut digits = [0_u8; 40];
    let (length, point) = shortest_digits(buffer.format_finite(value.abs()), &mut digits);
    write_decimal(out, digits.get(..length).unwrap_or_default(), point);
}

/// Collects the significant digits of a positive number that ryu printed, and where the point stands: the number is
/// `0.DIGITS × 10^point`.
fn shortest_digits(printed: &str, digits: &mut [u8]) -> (usize, i32) {
    let (mantissa, exponent) = printed.split_once('e').unwrap_or((printed, "0"));
    let mut point: i32 = exponent.parse().unwrap_or_default();
    let mut length = 0;
    let mut fraction = false;
    for byte in mantissa.bytes() {
        if byte == b'.' {
            fraction = true;
            continue;
        }
        let leading_zero = length == 0 && byte == b'0';
        if !leading_zero && let Some(slot) = digits.get_mut(length) {
            *slot = byte;
            length += 1;
        }
        // A digit before the point moves it right; a leading zero after the point moves it left.
        match (fraction, leading_zero) {
            (false, false) => point += 1,
            (true, true) => point -= 1,
            (false, true) | (true, false) => {}
        }
    }
    (
        trim_trailing_zeros(digits.get(..length).unwrap_or_default()).len(),
        point,
    )
}

fn trim_trailing_zeros(digits: &[u8]) -> &[u8] {
    let significant = digits
        .iter()
        .rposition(|&digit| digit != b'0')
        .map_or(0, |last| last + 1);
    digits.get(..significant).unwrap_or_default()
}

fn write_decimal(out: &mut Vec<u8>, digits: &[u8], point: i32) {
    let Some((first, rest)) = digits.split_first() else {
        return out.push(b'0');
    };
    let exponent = point - 1;
    if (-4..EXPONENT_FROM).contains(&exponent) {
        return write_positional(out, digits, point);
    }
    out.push(*first);
    if !rest.is_empty() {
        out.push(b'.');
        out.extend_from_slice(rest);
    }
    out.push(b'e');
    out.push(if exponent < 0 { b'-' } else { b'+' });
    let magnitude = exponent.unsigned_abs();
    if magnitude >= 100 {
        out.push(b'0' + (magnitude / 100) as u8);
    }
    out.push(b'0' + (magnitude / 10 % 10) as u8);
    out.push(b'0' + (magnitude % 10) as u8);
}

fn write_positional(out: &mut Vec<u8>, digits: &[u8], point: i32) {
    if point <= 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', point.unsigned_abs() as usize));
        return out.extend_from_slice(digits);
    }
    let whole = point as usize;
    match digits.split_at_checked(whole) {
        Some((before, [])) => out.extend_from_slice(before),
        Some((before, after)) => {
            out.extend_from_slice(before);
            out.push(b'.');
            out.extend_from_slice(after);
        }
        None => {
            out.extend_from_slice(digits);
            out.extend(std::iter::repeat_n(b'0', whole - digits.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn float(value: f64) -> String {
        let mut out = Vec::new();
        write_float(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    fn integer(value: u64) -> String {
        let mut out = Vec::new();
        write_integer(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    /// Go's rule, told slowly: the shortest digits from the standard library, then the choice of form.
    fn go_reference(value: f64) -> String {
        let scientific = format!("{value:e}");
        let (mantissa, exponent) = scientific.split_once('e').unwrap();
        let exponent: i32 = exponent.parse().unwrap();
        if value == 0.0 {
            "0".into()
        } else if (-4..6).contains(&exponent) {
            format!("{value}")
        } else {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
    }

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
    fn floats_look_as_go_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (0.5, "0.5"),
            (100_000.0, "100000"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (1_044_480.0, "1.04448e+06"),
            (1_666_827.0, "1.666827e+06"),
            (123_456.75, "123456.75"),
            (2e-5, "2e-05"),
            (1e-4, "0.0001"),
            (0.000_123, "0.000123"),
            (1.5e-7, "1.5e-07"),
            (1e100, "1e+100"),
            (-2.5e-300, "-2.5e-300"),
            (5e-324, "5e-324"),
            (8_493_609_319_466_597.0 / 4.0, "2.1234023298666492e+15"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn integers_look_as_their_doubles() {
        for value in [
            0,
            1,
            10,
            999_999,
            1_000_000,
            12_345_678,
            1 << 53,
            (1 << 53) + 1,
            u64::MAX,
        ] {
            assert_eq!(integer(value), go_reference(value as f64), "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_float_matches_the_reference(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let (found, reference) = (float(value), go_reference(value));
            // Of two shortest texts equally near, the standard library takes the greater and Go the even one.
            let even = found.len() == reference.len() && found.parse() == Ok(value);
            prop_assert!(found == reference || even, "{found} is not {reference}");
        }

        #[test]
        fn everyday_float_matches_the_reference(thousandths in any::<u32>()) {
            let value = f64::from(thousandths) * 0.001;
            prop_assert_eq!(float(value), go_reference(value));
        }

        #[test]
        fn any_integer_matches_the_reference(value in any::<u64>(), shift in 0_u32..64) {
            let value = value >> shift;
            prop_assert_eq!(integer(value), go_reference(value as f64));
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

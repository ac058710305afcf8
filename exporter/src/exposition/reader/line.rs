//! Parses one line of the text format from left to right.

use std::borrow::Cow;

use super::series::Labels;

/// A name in the text, copied if it is quoted.
type Name<'a> = Cow<'a, [u8]>;

/// The rest of a line without its line feed.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    rest: &'a [u8],
}

impl<'a> Line<'a> {
    /// A line without its line feed. A carriage return is ignored only at the end of the line, where Windows writes it.
    pub(super) fn new(mut content: &'a [u8]) -> Self {
        while let [before @ .., b'\r'] = content {
            content = before;
        }
        Self { rest: content }
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_at_end(self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn is_at(self, byte: u8) -> bool {
        self.rest.first() == Some(&byte)
    }

    pub(super) fn is_at_blank(self) -> bool {
        self.rest.first().copied().is_some_and(is_blank)
    }

    /// Skips the byte if it comes next.
    pub(super) fn takes(&mut self, byte: u8) -> bool {
        let found = self.is_at(byte);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn skip_blanks(&mut self) {
        self.up_to(|byte| !is_blank(byte));
    }

    /// Returns the text before the next blank.
    pub(super) fn word(&mut self) -> &'a [u8] {
        self.up_to(is_blank)
    }

    /// Parses the name of a metric, with or without quotes; empty if there is none. It may still contain characters that
    /// are not allowed in a name.
    pub(super) fn metric_name(&mut self) -> Result<Name<'a>, &'static str> {
        self.name(|byte| is_label_byte(byte) || byte == b':')
    }

    /// Parses the labels up to the closing brace, and the name of the metric if it may be among them.
    pub(super) fn labels(
        &mut self,
        may_name: bool,
    ) -> Result<(Option<Name<'a>>, Labels), &'static str> {
        let (mut metric, mut labels) = (None, Labels::new());
        loop {
            self.skip_blanks();
            if self.takes(b'}') {
                return Ok((metric, labels));
            }
            let name = self.name(is_label_byte)?;
            if name.is_empty() {
                return Err("invalid label name");
            }
            self.skip_blanks();
            if self.takes(b'=') {
                let name = valid_label_name(&name)?;
                self.skip_blanks();
                labels.push((name.to_owned(), self.label_value()?));
                self.skip_blanks();
            } else if !may_name || !(self.is_at(b',') || self.is_at(b'}')) {
                return Err("a label has no value");
            } else if metric.replace(name).is_some() {
                return Err("the sample has two names");
            }
            if !self.takes(b',') && !self.is_at(b'}') {
                return Err("expected a comma or a closing brace after a label");
            }
        }
    }

    /// Returns the rest of the line as a HELP text.
    pub(super) fn help(mut self) -> Result<String, &'static str> {
        let mut text = Vec::with_capacity(self.rest.len());
        while let Some(byte) = self.next() {
            text.push(match byte {
                b'\\' => self.escaped()?,
                byte => byte,
            });
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn up_to(&mut self, ends: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| ends(*byte));
        let (before, rest) = self
            .rest
            .split_at_checked(end.unwrap_or(self.rest.len()))
            .unwrap_or_default();
        self.rest = rest;
        before
    }

    fn name(&mut self, belongs: impl Fn(u8) -> bool) -> Result<Name<'a>, &'static str> {
        if self.rest.first().is_some_and(u8::is_ascii_digit) {
            return Ok(Cow::default());
        }
        let plain = self.up_to(|byte| !belongs(byte));
        if !self.takes(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        // As in Go's parser, quotes may begin within the name and end it.
        let mut name = plain.to_vec();
        loop {
            match self.next().ok_or("a name in quotes does not end")? {
                b'"' => return Ok(Cow::Owned(name)),
                b'\\' => name.push(self.escaped()?),
                byte => name.push(byte),
            }
        }
    }

    fn label_value(&mut self) -> Result<String, &'static str> {
        if !self.takes(b'"') {
            return Err("a label's value has no quotes");
        }
        let mut value = Vec::new();
        loop {
            value.extend_from_slice(self.up_to(|byte| matches!(byte, b'"' | b'\\')));
            match self.next().ok_or("a label value has no closing quote")? {
                b'\\' => value.push(self.escaped()?),
                _ => return String::from_utf8(value).map_err(|_| "a label's value is not UTF-8"),
            }
        }
    }

    /// The character that an escape represents.
    fn escaped(&mut self) -> Result<u8, &'static str> {
        match self.next() {
            Some(byte @ (b'\\' | b'"')) => Ok(byte),
            Some(b'n') => Ok(b'\n'),
            _ => Err("there is an unknown escape sequence"),
        }
    }
}

/// Parses a number like Go's `ParseFloat` as used by expfmt: no sign before `NaN`, within the range, decimal.
pub(super) fn parse_float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok()?;
    let first_digit = text.trim_start_matches(['+', '-']);
    let is_written_so = first_digit.starts_with(['i', 'I']);
    let is_signed = first_digit.len() < text.len();
    match value {
        _ if value.is_nan() => (!is_signed).then_some(value),
        _ if value.is_infinite() => is_written_so.then_some(value),
        _ => Some(value),
    }
}

fn valid_label_name(name: &[u8]) -> Result<&str, &'static str> {
    std::str::from_utf8(name)
        .ok()
        .filter(|name| name.bytes().all(is_label_byte))
        .filter(|name| !name.starts_with(|first: char| first.is_ascii_digit()))
        .filter(|name| !name.is_empty() && *name != "__name__")
        .ok_or("invalid label name")
}

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

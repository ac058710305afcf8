//! Translates Go's syntax into that of the `regex` crate, using only constructs that both read in the same way: every
//! character becomes an escaped code point, every class a set of ranges, and every flag applies to one element.

use super::class::{Set, unicode_class};

/// Why a pattern is refused, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A range whose end is before its start, or an unknown class.
    #[error("invalid character class range: `{0}`")]
    Class(String),
    /// A backslash followed by a character without a meaning.
    #[error("invalid escape sequence: `{0}`")]
    Escape(String),
    /// A group without a usable name.
    #[error("invalid named capture: `{0}`")]
    Name(String),
    /// Look-around, back references and other flags than i, m, s and U.
    #[error("invalid or unsupported Perl syntax: `{0}`")]
    Perl(String),
    /// A repetition of a repetition.
    #[error("invalid nested repetition operator: `{0}`")]
    NestedRepetition(String),
    /// A repetition that is too large or empty.
    #[error("invalid repeat count: `{0}`")]
    Count(String),
    /// A class without an end.
    #[error("missing closing ]: `{0}`")]
    MissingBracket(String),
    /// A group without an end.
    #[error("missing closing )")]
    MissingParenthesis,
    /// The end of a group that was not opened.
    #[error("unexpected ): `{0}`")]
    UnexpectedParenthesis(String),
    /// Nothing to repeat.
    #[error("missing argument to repetition operator: `{0}`")]
    MissingArgument(String),
    /// A backslash with nothing behind it.
    #[error("trailing backslash at end of expression")]
    TrailingBackslash,
    /// Groups are nested too deeply.
    #[error("expression nests too deeply")]
    Depth,
    /// It would take too much memory.
    #[error("expression too large")]
    Size,
}

/// Go's limits.
const MAX_REPEATS: u32 = 1_000;
const MAX_GROUPS_DEPTH: usize = 1_000;

/// Translates the pattern for valid UTF-8.
pub(super) fn translate(pattern: &str) -> Result<String, PatternError> {
    let mut parser = Parser {
        rest: pattern,
        ..Parser::default()
    };
    parser.groups.push(Group::default());
    while let Some(next) = parser.rest.chars().next() {
        let before = parser.rest;
        let last_repetition = parser.last_repetition.take();
        match next {
            '*' | '+' | '?' => {
                parser.take();
                let operator = next.to_string();
                parser.repeat(before, last_repetition, &operator, Count::Any)?;
            }
            '{' => match parser.counts()? {
                Some((min, max)) => {
                    let operator = match max {
                        Some(max) => format!("{{{min},{max}}}"),
                        None => format!("{{{min},}}"),
                    };
                    let count = match max.unwrap_or(min) {
                        0 if max.is_some() => Count::None,
                        0 | 1 => Count::Any,
                        count => Count::Of(count),
                    };
                    parser.repeat(before, last_repetition, &operator, count)?;
                }
                None => parser.plain('{'),
            },
            _ => parser.element(next, pattern)?,
        }
    }
    match parser.groups.as_mut_slice() {
        [whole] => Ok(whole.take_text()),
        _ => Err(PatternError::MissingParenthesis),
    }
}

/// The flags in effect.
#[derive(Clone, Copy, Default)]
struct Flags {
    /// `i`
    is_folding: bool,
    /// `m`
    is_by_line: bool,
    /// `s`
    has_dot_all: bool,
}

#[derive(Default)]
struct Parser<'a> {
    rest: &'a str,
    flags: Flags,
    /// The open groups, starting with the whole pattern.
    groups: Vec<Group>,
    /// The pattern from the last repetition on, if nothing followed it.
    last_repetition: Option<&'a str>,
}

/// The minimum number of repetitions, for the limit on it.
enum Count {
    /// Never.
    None,
    /// Perhaps once or any number of times.
    Any,
    Of(u32),
}

/// An open group.
#[derive(Default)]
struct Group {
    /// The flags after the group.
    flags: Flags,
    alternatives: String,
    /// The largest product of nested counts in `alternatives`.
    counts: u32,
    items: Vec<Item>,
}

/// An item that may be repeated.
struct Item {
    text: String,
    /// The largest product of nested counts.
    counts: u32,
}

impl Group {
    fn end_alternative(&mut self) {
        for item in self.items.drain(..) {
            self.counts = self.counts.max(item.counts);
            self.alternatives.push_str(&item.text);
        }
    }

    fn take_text(&mut self) -> String {
        self.end_alternative();
        std::mem::take(&mut self.alternatives)
    }
}

impl<'a> Parser<'a> {
    fn element(&mut self, next: char, whole: &str) -> Result<(), PatternError> {
        match next {
            '(' => return self.open(),
            ')' => return self.close(whole),
            '[' => {
                let set = self.class()?;
                self.push(set.write(self.flags.is_folding));
                return Ok(());
            }
            '\\' => return self.escape(),
            _ => self.take(),
        };
        let by_line = self.flags.is_by_line;
        match next {
            '|' => {
                if let Some(group) = self.groups.last_mut() {
                    group.end_alternative();
                    group.alternatives.push('|');
                }
            }
            '^' => self.push(if by_line { "(?m:^)" } else { r"\A" }),
            '$' => self.push(if by_line { "(?m:$)" } else { r"\z" }),
            '.' if self.flags.has_dot_all => self.push("(?s:.)"),
            '.' => self.push("."),
            plain => self.literal(plain),
        }
        Ok(())
    }

    fn take(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let next = characters.next();
        self.rest = characters.as_str();
        next
    }

    fn takes(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// What was read since then.
    fn since(&self, before: &str) -> String {
        let length = before.len().saturating_sub(self.rest.len());
        before.get(..length).unwrap_or_default().to_owned()
    }

    fn push(&mut self, text: impl Into<String>) {
        self.push_item(Item {
            text: text.into(),
            counts: 1,
        });
    }

    fn push_item(&mut self, item: Item) {
        if let Some(group) = self.groups.last_mut() {
            group.items.push(item);
        }
    }

    fn plain(&mut self, character: char) {
        self.take();
        self.literal(character);
    }

    fn literal(&mut self, character: char) {
        let text = if character.is_ascii_alphanumeric() || character == '/' {
            character.to_string()
        } else {
            format!("\\x{{{:X}}}", u32::from(character))
        };
        // Case folding covers more than the ASCII letters.
        match self.flags.is_folding {
            true => self.push(format!("(?i:{text})")),
            false => self.push(text),
        }
    }

    fn open(&mut self) -> Result<(), PatternError> {
        let (before, outside) = (self.rest, self.flags);
        self.take();
        if self.rest.starts_with('?') && !self.flags_or_name(before)? {
            return Ok(());
        }
        if self.groups.len() > MAX_GROUPS_DEPTH {
            return Err(PatternError::Depth);
        }
        self.groups.push(Group {
            flags: outside,
            ..Group::default()
        });
        Ok(())
    }

    /// Reads what follows `(?`. Returns whether it opens a group rather than only setting flags for the rest of the present
    /// one.
    fn flags_or_name(&mut self, before: &str) -> Result<bool, PatternError> {
        if self.takes("?P<") || self.takes("?<") {
            let Some((name, rest)) = self.rest.split_once('>') else {
                return Err(PatternError::Name(before.to_owned()));
            };
            self.rest = rest;
            let is_valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
            return match !name.is_empty() && name.chars().all(is_valid) {
                true => Ok(true),
                false => Err(PatternError::Name(self.since(before))),
            };
        }
        self.take();
        let (mut flags, mut on, mut has_flag) = (self.flags, true, false);
        while let Some(next) = self.take() {
            match next {
                'i' => flags.is_folding = on,
                'm' => flags.is_by_line = on,
                's' => flags.has_dot_all = on,
                // It makes no difference which of several matches is found.
                'U' => {}
                '-' if on => {
                    (on, has_flag) = (false, false);
                    continue;
                }
                ':' | ')' if on || has_flag => {
                    self.flags = flags;
                    return Ok(next == ':');
                }
                _ => break,
            }
            has_flag = true;
        }
        Err(PatternError::Perl(self.since(before)))
    }

    fn close(&mut self, whole: &str) -> Result<(), PatternError> {
        self.take();
        let Some(mut group) = self.groups.pop().filter(|_| !self.groups.is_empty()) else {
            return Err(PatternError::UnexpectedParenthesis(whole.to_owned()));
        };
        self.flags = group.flags;
        let text = format!("(?:{})", group.take_text());
        let counts = group.counts.max(1);
        self.push_item(Item { text, counts });
        Ok(())
    }

    /// Parses the counts of a repetition in braces; text of another form is not a repetition.
    fn counts(&mut self) -> Result<Option<(u32, Option<u32>)>, PatternError> {
        let before = self.rest;
        let Some((inside, rest)) = before.get(1..).and_then(|rest| rest.split_once('}')) else {
            return Ok(None);
        };
        let (min, max) = inside.split_once(',').unwrap_or((inside, inside));
        let is_open = inside.contains(',') && max.is_empty();
        let is_number = |text: &str| {
            let has_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            has_digits && (text.len() == 1 || !text.starts_with('0'))
        };
        if !is_number(min) || !(is_open || is_number(max)) {
            return Ok(None);
        }
        self.rest = rest;
        let number = |text: &str| text.parse().ok().filter(|number| *number <= MAX_REPEATS);
        let counts = match (number(min), number(max)) {
            (Some(min), None) if is_open => Some((min, None)),
            (Some(min), Some(max)) if min <= max => Some((min, Some(max))),
            _ => None,
        };
        match counts {
            Some(counts) => Ok(Some(counts)),
            None => Err(PatternError::Count(self.since(before))),
        }
    }

    /// Repeats the last item.
    fn repeat(
        &mut self,
        before: &'a str,
        last: Option<&'a str>,
        operator: &str,
        count: Count,
    ) -> Result<(), PatternError> {
        self.takes("?");
        if let Some(last) = last {
            return Err(PatternError::NestedRepetition(self.since(last)));
        }
        let item = self.groups.last_mut().and_then(|group| group.items.pop());
        let Some(Item { text, counts }) = item else {
            return Err(PatternError::MissingArgument(self.since(before)));
        };
        let counts = match count {
            Count::None => 1,
            Count::Any => counts,
            Count::Of(count) => counts.saturating_mul(count),
        };
        if matches!(count, Count::Of(_)) && counts > MAX_REPEATS {
            return Err(PatternError::Count(self.since(before)));
        }
        let text = format!("(?:{text}{operator})");
        self.push_item(Item { text, counts });
        self.last_repetition = Some(before);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), PatternError> {
        if self.takes(r"\Q") {
            let (literal, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
            self.rest = rest;
            literal
                .chars()
                .for_each(|character| self.literal(character));
        } else if self.takes(r"\A") {
            self.push(r"\A");
        } else if self.takes(r"\z") {
            self.push(r"\z");
        } else if self.takes(r"\b") {
            self.push(r"(?-u:\b)");
        } else if self.takes(r"\B") {
            // Alone it would match a byte within a character.
            self.push(r"(?:(?-u:\B)(?:\b|\B))");
        } else if self.takes(r"\C") {
            return Err(PatternError::Escape(r"\C".to_owned()));
        } else if let Some(set) = self.escaped_class()? {
            self.push(set.write(self.flags.is_folding));
        } else {
            let code_point = self.escaped_character()?;
            match char::from_u32(code_point) {
                Some(character) => self.literal(character),
                // Surrogates occur in no text.
                None => self.push(Set::default().write(false)),
            }
        }
        Ok(())
    }

    /// A class that is written with a backslash.
    fn escaped_class(&mut self) -> Result<Option<Set>, PatternError> {
        let mut set = Set::default();
        let mut characters = self.rest.chars();
        characters.next();
        let Some(name) = characters.next() else {
            return Ok(None);
        };
        let rest = characters.as_str();
        if matches!(name, 'p' | 'P') {
            let before = self.rest;
            self.rest = rest;
            set.add_class(self.unicode_class(before, name == 'P')?);
            return Ok(Some(set));
        }
        if !set.add_perl(name) {
            return Ok(None);
        }
        self.rest = rest;
        Ok(Some(set))
    }

    /// The name of a Unicode class after `\p`.
    fn unicode_class(&mut self, before: &str, is_negated: bool) -> Result<String, PatternError> {
        let error = |text: String| Err(PatternError::Class(text));
        let name = if self.takes("{") {
            let Some((name, rest)) = self.rest.split_once('}') else {
                return error(before.to_owned());
            };
            self.rest = rest;
            name
        } else {
            let length = self.rest.chars().next().map_or(0, char::len_utf8);
            let (name, rest) = self.rest.split_at_checked(length).unwrap_or_default();
            self.rest = rest;
            name
        };
        let positive = name.strip_prefix('^');
        let is_negated = is_negated != positive.is_some();
        match unicode_class(positive.unwrap_or(name), is_negated) {
            Some(class) => Ok(class),
            None => error(self.since(before)),
        }
    }

    fn class(&mut self) -> Result<Set, PatternError> {
        let before = self.rest;
        let missing = || PatternError::MissingBracket(before.to_owned());
        self.take();
        let mut set = Set::default();
        set.is_negated = self.takes("^");
        let mut is_first = true;
        loop {
            if self.rest.is_empty() {
                return Err(missing());
            }
            if !std::mem::take(&mut is_first) && self.takes("]") {
                return Ok(set);
            }
            if let Some(named) = self.rest.strip_prefix("[:")
                && let Some((name, rest)) = named.split_once(":]")
            {
                let all = self.rest;
                self.rest = rest;
                if !set.add_posix(name) {
                    return Err(PatternError::Class(self.since(all)));
                }
                continue;
            }
            if self.rest.starts_with('\\')
                && let Some(class) = self.escaped_class()?
            {
                set.add_class(class.write(false));
                continue;
            }
            let range = self.rest;
            let low = self.class_character().ok_or_else(missing)??;
            let mut high = low;
            if self.rest.len() >= 2 && self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.take();
                high = self.class_character().ok_or_else(missing)??;
            }
            if high < low {
                return Err(PatternError::Class(self.since(range)));
            }
            set.add_range(low, high);
        }
    }

    fn class_character(&mut self) -> Option<Result<u32, PatternError>> {
        match self.rest.chars().next()? {
            '\\' => Some(self.escaped_character()),
            plain => {
                self.take();
                Some(Ok(u32::from(plain)))
            }
        }
    }

    /// The code point that an escape represents.
    fn escaped_character(&mut self) -> Result<u32, PatternError> {
        let before = self.rest;
        self.take();
        let Some(name) = self.take() else {
            return Err(PatternError::TrailingBackslash);
        };
        let is_octal = |text: &str| text.starts_with(|next: char| ('0'..='7').contains(&next));
        let found = match name {
            '0' => Some(self.digits(before, 1, 3)),
            '1'..='7' if is_octal(self.rest) => Some(self.digits(before, 1, 3)),
            'x' => self.hexadecimal(),
            'a' => Some(0x07),
            'f' => Some(0x0C),
            'n' => Some(0x0A),
            'r' => Some(0x0D),
            't' => Some(0x09),
            'v' => Some(0x0B),
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => Some(u32::from(other)),
            _ => None,
        };
        found.ok_or_else(|| PatternError::Escape(self.since(before)))
    }

    /// Parses an octal number in `text` of at most this many digits.
    fn digits(&mut self, text: &'a str, begin: usize, most: usize) -> u32 {
        let digits = text.get(begin..).unwrap_or_default();
        let count = digits
            .bytes()
            .take(most)
            .take_while(|byte| (b'0'..=b'7').contains(byte))
            .count();
        let (number, rest) = digits.split_at_checked(count).unwrap_or_default();
        self.rest = rest;
        u32::from_str_radix(number, 8).unwrap_or_default()
    }

    fn hexadecimal(&mut self) -> Option<u32> {
        let mut number = 0;
        if !self.takes("{") {
            let (first, second) = (self.take(), self.take());
            return Some(first?.to_digit(16)? * 16 + second?.to_digit(16)?);
        }
        if self.rest.starts_with('}') {
            self.take();
            return None;
        }
        loop {
            match self.take()? {
                '}' => return Some(number),
                digit => number = number * 16 + digit.to_digit(16)?,
            }
            if number > u32::from(char::MAX) {
                return None;
            }
        }
    }
}

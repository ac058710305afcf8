//! Sets of characters.

/// The characters between brackets.
#[derive(Default)]
pub(super) struct Set {
    pub(super) is_negated: bool,
    /// Formats the elements in the syntax of the `regex` crate.
    elements: String,
}

/// Lower and upper bounds.
type Ranges = &'static [(char, char)];

impl Set {
    /// Adds the code points of a range. Surrogates occur in no text.
    pub(super) fn add_range(&mut self, low: u32, high: u32) {
        let low = match low {
            0xD800..=0xDFFF => 0xE000,
            low => low,
        };
        let high = match high {
            0xD800..=0xDFFF => 0xD7FF,
            high => high,
        };
        if low <= high {
            self.elements
                .push_str(&format!("\\x{{{low:X}}}-\\x{{{high:X}}}"));
        }
    }

    /// Adds a class that is already in that syntax.
    pub(super) fn add_class(&mut self, class: String) {
        self.elements.push_str(&class);
    }

    /// Adds the class of a letter after a backslash; returns whether there is one.
    pub(super) fn add_perl(&mut self, letter: char) -> bool {
        let ranges: Ranges = match letter.to_ascii_lowercase() {
            'd' => DIGIT,
            's' => &[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')],
            'w' => WORD,
            _ => return false,
        };
        self.add_ranges(ranges, letter.is_ascii_uppercase());
        true
    }

    /// Adds the class of this name between `[:` and `:]`; returns whether there is one.
    pub(super) fn add_posix(&mut self, name: &str) -> bool {
        let positive = name.strip_prefix('^');
        let ranges: Ranges = match positive.unwrap_or(name) {
            "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
            "alpha" => &[('A', 'Z'), ('a', 'z')],
            "ascii" => &[('\0', '\x7f')],
            "blank" => &[('\t', '\t'), (' ', ' ')],
            "cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
            "digit" => DIGIT,
            "graph" => &[('!', '~')],
            "lower" => &[('a', 'z')],
            "print" => &[(' ', '~')],
            "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
            "space" => &[('\t', '\r'), (' ', ' ')],
            "upper" => &[('A', 'Z')],
            "word" => WORD,
            "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
            _ => return false,
        };
        self.add_ranges(ranges, positive.is_some());
        true
    }

    fn add_ranges(&mut self, ranges: Ranges, is_negated: bool) {
        let mut class = Set {
            is_negated,
            ..Self::default()
        };
        for (low, high) in ranges {
            class.add_range(u32::from(*low), u32::from(*high));
        }
        self.add_class(class.write(false));
    }

    /// Returns the set in the syntax of the `regex` crate, with or without case folding.
    pub(super) fn write(&self, is_folding: bool) -> String {
        let set = match (self.elements.as_str(), self.is_negated) {
            ("", true) => r"[\x{0}-\x{10FFFF}]".to_owned(),
            ("", false) => r"[^\x{0}-\x{10FFFF}]".to_owned(),
            (elements, true) => format!("[^{elements}]"),
            (elements, false) => format!("[{elements}]"),
        };
        match is_folding {
            true => format!("(?i:{set})"),
            false => set,
        }
    }
}

const DIGIT: Ranges = &[('0', '9')];
const WORD: Ranges = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];

/// The general category or script of this name.
pub(super) fn unicode_class(name: &str, is_negated: bool) -> Option<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' ');
    if name.is_empty() || !name.chars().all(is_part) {
        return None;
    }
    let letter = if is_negated { 'P' } else { 'p' };
    let is_surrogate = ["cs", "surrogate"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known));
    if is_surrogate {
        let set = Set {
            is_negated,
            ..Set::default()
        };
        return Some(set.write(false));
    }
    ["gc", "sc"].into_iter().find_map(|property| {
        let class = format!("\\{letter}{{{property}={name}}}");
        regex::bytes::Regex::new(&class).is_ok().then_some(class)
    })
}

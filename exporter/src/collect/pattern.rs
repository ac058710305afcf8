//! User-supplied patterns in the syntax of Go. node_exporter's flags are parsed by Go's
//! [`regexp`](https://pkg.go.dev/regexp/syntax), and the same flag must mean the same here.

mod class;
mod syntax;

use std::borrow::Cow;

use regex::bytes::{Regex, RegexBuilder};

pub use syntax::PatternError;

/// Go accepts patterns that use up to 128 MB of memory.
const MAX_BYTES: usize = 128 << 20;
/// More than Go's 1000 levels, because one level of Go may take several here.
const MAX_DEPTH: u32 = 5_000;

/// A regular expression in Go's syntax.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    ///
    /// Go refuses the pattern too, or it takes too much memory.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        RegexBuilder::new(&syntax::translate(pattern)?)
            .size_limit(MAX_BYTES)
            .nest_limit(MAX_DEPTH)
            .build()
            .map(Self)
            .map_err(|_| PatternError::Size)
    }

    /// Whether the pattern matches anywhere in the text. Each byte that is not UTF-8 counts as one character, U+FFFD.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.0.is_match(&characters(text))
    }
}

/// The text as Go reads it, one character at a time.
fn characters(text: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(text).is_ok() {
        return Cow::Borrowed(text);
    }
    let mut clean = Vec::with_capacity(text.len() * 3);
    for chunk in text.utf8_chunks() {
        clean.extend_from_slice(chunk.valid().as_bytes());
        for _ in chunk.invalid() {
            clean.extend_from_slice("\u{FFFD}".as_bytes());
        }
    }
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_matches_is_matched() {
        for (pattern, matching, other) in [
            (r"\Q/mnt/a.b\E", &["/mnt/a.b"][..], &["/mnt/axb"][..]),
            (r"\Qa.b", &["a.b"], &["axb"]),
            (r"a\Q\E*b", &["b", "aab"], &["a"]),
            (r"\Qab\E+$", &["abb"], &["aba"]),
            ("[[]x", &["[x"], &["x"]),
            ("[]a]x[^]a]", &["]xb", "axc"], &["bxb", "ax]"]),
            ("/mnt/{k}", &["/mnt/{k}"], &["/mnt/k"]),
            ("^a{,3}$", &["a{,3}"], &["aaa", ""]),
            ("^a{2$", &["a{2"], &["aa"]),
            ("^a{2,3}$", &["aa", "aaa"], &["a", "aaaa"]),
            ("^a{2}?$", &["aa"], &["a", "aaa"]),
            ("^x{01}$", &["x{01}"], &["x"]),
            ("^}{$", &["}{"], &[]),
            (r"/my\040disk", &["/my disk"], &["/my040disk"]),
            (
                r"^\12\x41\x{1F600}\a\f\t\n\r\v\08$",
                &["\nA\u{1F600}\x07\x0c\t\n\r\x0b\08"],
                &[],
            ),
            (r"/mnt/\p{^L}$", &["/mnt/\u{663}"], &["/mnt/a"]),
            (
                r"^\P{^L}\pL\p{Greek}\P{Lu}$",
                &["a\u{e9}\u{3b1}a"],
                &["a\u{e9}aa", "1\u{e9}\u{3b1}a"],
            ),
            (
                r"^\p{letter}\p{Old_Italic}\p{Any}$",
                &["a\u{10300}x"],
                &["1\u{10300}x"],
            ),
            (
                r"/mnt/\w+$",
                &["/mnt/k9"],
                &["/mnt/donn\u{e9}es", "/mnt/\u{663}"],
            ),
            (r"/mnt/\d$", &["/mnt/3"], &["/mnt/\u{663}"]),
            (r"^\s$", &[" ", "\t"], &["\u{a0}", "\x0b", "\u{2003}"]),
            (r"^[\W]\D\S$", &["\u{e9}\u{663}\u{a0}"], &["a\u{663}\u{a0}"]),
            (r"donn\b", &["donn\u{e9}es"], &["donna"]),
            (r"\B", &["ab", "\u{e9}"], &["a", "a\u{e9}b"]),
            (r"/mnt/\<t\>", &["/mnt/<t>"], &["/mnt/t"]),
            (r"^\_\-\#\ \/\.$", &["_-# /."], &[]),
            ("^[a&&b]$", &["a", "b", "&"], &["c"]),
            ("^[a~~b]$", &["~"], &["c"]),
            ("^[+--b]$", &["-", "b", ","], &["a"]),
            ("^[!--]$", &["!", "-", ","], &["a"]),
            ("^[a-]$", &["a", "-"], &["b"]),
            ("^[a-c-e]$", &["b", "-", "e"], &["d"]),
            (r"^[\d-z]$", &["4", "-", "z"], &["a"]),
            (
                "^[[:alpha:][:^digit:]5]$",
                &["a", "5", "-", "\u{e9}"],
                &["4"],
            ),
            ("^[[:alpha]$", &["[", ":", "a"], &["b"]),
            ("^[^a]$", &["\n", "b"], &["a"]),
            ("^[^[:^alpha:]]$", &["a"], &["1", "\u{e9}"]),
            ("^.$", &["a", "\u{e9}"], &["\n", "ab"]),
            ("(?s)^.$", &["\n"], &[]),
            (
                "(?i)^K\u{df}[a-c][^x]$",
                &["\u{212a}\u{df}BY", "k\u{1e9e}bk"],
                &["kssbX"],
            ),
            (r"(?i)^\w\W$", &["\u{17f}-"], &["ss", "s\u{212a}"]),
            ("^a(?i)b|c$", &["aB", "xC"], &["A"]),
            ("^a(?i:b)c$", &["aBc"], &["aBC"]),
            ("^((?i)a|b)c$", &["Bc"], &["BC"]),
            ("(?i)^a(?-i)b$", &["Ab"], &["AB"]),
            ("(?m)^b$", &["a\nb\nc"], &["ab"]),
            ("^b$", &["b"], &["a\nb\nc", "b\n"]),
            (r"\Ab\z", &["b"], &["b\n"]),
            ("(?U)^a+?$", &["aaa"], &["b"]),
            ("^(?P<x>a)(?<y>b)(?:c)()$", &["abc"], &["ab"]),
            ("^a*(?i)*$", &["aaa", ""], &["b"]),
            ("(|a)+|", &["", "b"], &[]),
            ("^*a$", &["a"], &["b"]),
            (r"[\x{D800}-\x{E000}]", &["\u{E000}"], &["a"]),
            (r"a\x{D800}?$", &["a"], &["b"]),
            ("", &["", "a"], &[]),
        ] {
            let compiled =
                Pattern::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            for text in matching {
                assert!(
                    compiled.is_match(text.as_bytes()),
                    "{pattern} matches {text:?}"
                );
            }
            for text in other {
                assert!(
                    !compiled.is_match(text.as_bytes()),
                    "{pattern} does not match {text:?}"
                );
            }
        }
    }

    #[test]
    fn a_byte_that_is_not_utf8_is_a_character() {
        let matches = |pattern: &str, text: &[u8]| Pattern::new(pattern).unwrap().is_match(text);
        assert!(matches("^/mnt/caf.$", b"/mnt/caf\xe9"));
        assert!(!matches("^.$", b"\xe9\xe8"));
        assert!(matches("^..$", b"\xe2\x82"));
        assert!(matches("^[^a]$", b"\xff"));
        assert!(matches("^\u{FFFD}$", b"\xff"));
        assert!(matches(r"a\b", b"a\xff"));
    }

    #[test]
    fn what_go_refuses_is_refused_with_its_reason() {
        for (pattern, reason) in [
            ("(", "missing closing )"),
            ("a)", "unexpected ): `a)`"),
            ("[a", "missing closing ]: `[a`"),
            ("[", "missing closing ]: `[`"),
            ("[]", "missing closing ]: `[]`"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("a|+", "missing argument to repetition operator: `+`"),
            ("(?i)*", "missing argument to repetition operator: `*`"),
            ("({2})", "missing argument to repetition operator: `{2}`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
            ("a*??", "invalid nested repetition operator: `*??`"),
            ("a{3,2}", "invalid repeat count: `{3,2}`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("(a{100}){100}", "invalid repeat count: `{100}`"),
            ("[a--b]", "invalid character class range: `a--`"),
            ("[b-a]", "invalid character class range: `b-a`"),
            ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
            (r"\p{Foo}", r"invalid character class range: `\p{Foo}`"),
            (r"\p{L", r"invalid character class range: `\p{L`"),
            (r"[a-\d]", r"invalid escape sequence: `\d`"),
            (r"\C", r"invalid escape sequence: `\C`"),
            (r"(a)\1", r"invalid escape sequence: `\1`"),
            (r"\8", r"invalid escape sequence: `\8`"),
            (r"\Z", r"invalid escape sequence: `\Z`"),
            (r"[\b]", r"invalid escape sequence: `\b`"),
            (r"a\E", r"invalid escape sequence: `\E`"),
            ("\\\u{e9}", "invalid escape sequence: `\\\u{e9}`"),
            (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
            (r"\xg0", r"invalid escape sequence: `\xg0`"),
            (r"a\", "trailing backslash at end of expression"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
            ("(?<!a)", "invalid named capture: `(?<!a)`"),
            ("(?P=a)", "invalid or unsupported Perl syntax: `(?P`"),
            ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
            ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
            ("(?P<a b>c)", "invalid named capture: `(?P<a b>`"),
        ] {
            let error = Pattern::new(pattern).map(|_| ()).unwrap_err();
            assert_eq!(error.to_string(), reason, "{pattern}");
        }
        let deep = format!("{}a{}", "(".repeat(2_000), ")".repeat(2_000));
        let error = Pattern::new(&deep).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "expression nests too deeply");
    }
}

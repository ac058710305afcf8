//! Wildcards in paths, as in Go's [`path/filepath`](https://pkg.go.dev/path/filepath#Match): `*` and `?` match no slash,
//! `[^x]` negates, and a backslash escapes the next character.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The pattern is not well formed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadPattern;

/// Returns the matching paths, in order. Directories that cannot be read do not match.
pub(super) fn glob(pattern: &str) -> Result<Vec<PathBuf>, BadPattern> {
    paths(pattern.as_bytes())
}

fn paths(pattern: &[u8]) -> Result<Vec<PathBuf>, BadPattern> {
    matches(pattern, b"")?;
    if !has_wildcards(pattern) {
        let path = PathBuf::from(OsStr::from_bytes(pattern));
        return Ok(path.symlink_metadata().map(|_| path).into_iter().collect());
    }
    let slash = pattern.iter().rposition(|byte| *byte == b'/');
    let (directory, name) = match slash.and_then(|slash| pattern.split_at_checked(slash)) {
        None => (&b"."[..], pattern),
        Some((b"", name)) => (&b"/"[..], name.get(1..).unwrap_or_default()),
        Some((directory, name)) => (directory, name.get(1..).unwrap_or_default()),
    };
    let directories = match has_wildcards(directory) {
        true => paths(directory)?,
        false => vec![PathBuf::from(OsStr::from_bytes(directory))],
    };
    let mut found = Vec::new();
    for directory in directories {
        for entry in sorted_names(&directory) {
            if matches(name, &entry)? {
                found.push(join(&directory, &entry));
            }
        }
    }
    Ok(found)
}

fn sorted_names(directory: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<Vec<u8>> = entries.map(|entry| entry.file_name().into_vec()).collect();
    names.sort_unstable();
    names
}

/// Without the `./` of an empty directory, as in Go.
fn join(directory: &Path, name: &[u8]) -> PathBuf {
    let name = OsStr::from_bytes(name);
    match directory == Path::new(".") {
        true => name.into(),
        // Cleaned as in Go.
        false => directory.join(name).components().collect(),
    }
}

fn has_wildcards(path: &[u8]) -> bool {
    path.iter()
        .any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
}

/// Whether the pattern matches the whole name.
fn matches(mut pattern: &[u8], mut name: &[u8]) -> Result<bool, BadPattern> {
    while !pattern.is_empty() {
        let (after_star, chunk, rest) = next_chunk(pattern);
        pattern = rest;
        if after_star && chunk.is_empty() {
            return Ok(!name.contains(&b'/'));
        }
        // The part of the name that the star matches, shortest first.
        let slash = name.iter().position(|byte| *byte == b'/');
        let longest = match after_star {
            true => slash.unwrap_or(name.len()),
            false => 0,
        };
        let mut left = None;
        for skipped in 0..=longest {
            let from = name.get(skipped..).unwrap_or_default();
            left = match_chunk(chunk, from)?.filter(|left| left.is_empty() || !rest.is_empty());
            if left.is_some() {
                break;
            }
        }
        match left {
            Some(left) => name = left,
            None => return Ok(false),
        }
    }
    Ok(name.is_empty())
}

/// Whether the pattern begins with a star, what comes up to the next star, and the rest.
fn next_chunk(pattern: &[u8]) -> (bool, &[u8], &[u8]) {
    let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
    let pattern = pattern.get(stars..).unwrap_or_default();
    let (mut is_in_class, mut is_escaped) = (false, false);
    let end = pattern.iter().position(|byte| {
        if std::mem::take(&mut is_escaped) {
            return false;
        }
        match byte {
            b'\\' => is_escaped = true,
            b'[' => is_in_class = true,
            b']' => is_in_class = false,
            b'*' => return !is_in_class,
            _ => {}
        }
        false
    });
    let (chunk, rest) = pattern
        .split_at_checked(end.unwrap_or(pattern.len()))
        .unwrap_or_default();
    (stars > 0, chunk, rest)
}

/// What is left of the name behind a match of the chunk, which has no star.
fn match_chunk<'a>(mut chunk: &[u8], name: &'a [u8]) -> Result<Option<&'a [u8]>, BadPattern> {
    // Once it has failed, the rest of the chunk is only checked.
    let mut left = Some(name);
    while let Some((first, rest)) = chunk.split_first() {
        left = left.filter(|left| !left.is_empty());
        chunk = rest;
        match first {
            b'[' => {
                let character = left.map(decode);
                let (is_match, rest) =
                    match_class(chunk, character.map(|(character, _)| character))?;
                left = character.filter(|_| is_match).map(|(_, left)| left);
                chunk = rest;
            }
            b'?' => {
                left = left.filter(|left| !left.starts_with(b"/"));
                left = left.map(|left| decode(left).1);
            }
            b'\\' => {
                let (escaped, rest) = chunk.split_first().ok_or(BadPattern)?;
                left = left.and_then(|left| left.strip_prefix(&[*escaped]));
                chunk = rest;
            }
            plain => left = left.and_then(|left| left.strip_prefix(&[*plain])),
        }
    }
    Ok(left)
}

/// Whether the class, whose bracket was passed, has the character; and what follows the class.
fn match_class(class: &[u8], character: Option<char>) -> Result<(bool, &[u8]), BadPattern> {
    let is_negated = class.starts_with(b"^");
    let mut rest = class.strip_prefix(b"^").unwrap_or(class);
    let (mut is_first, mut is_match) = (true, false);
    loop {
        if let Some(rest) = rest.strip_prefix(b"]")
            && !is_first
        {
            return Ok((is_match != is_negated, rest));
        }
        let (low, after) = class_character(rest)?;
        let (high, after) = match after.strip_prefix(b"-") {
            Some(after) => class_character(after)?,
            None => (low, after),
        };
        is_match |= character.is_some_and(|character| (low..=high).contains(&character));
        rest = after;
        is_first = false;
    }
}

/// A character of a class, perhaps escaped. Something must follow, for the class has to end.
fn class_character(text: &[u8]) -> Result<(char, &[u8]), BadPattern> {
    let text = match text {
        [] | [b'-' | b']', ..] => return Err(BadPattern),
        [b'\\', escaped @ ..] => escaped,
        text => text,
    };
    if text.is_empty() {
        return Err(BadPattern);
    }
    let (character, rest) = decode(text);
    match rest.is_empty() {
        true => Err(BadPattern),
        false => Ok((character, rest)),
    }
}

/// The first character and the rest. A byte that is not UTF-8 is a character of its own.
fn decode(text: &[u8]) -> (char, &[u8]) {
    let longest = text.get(..4).unwrap_or(text);
    let valid = longest.utf8_chunks().next().map(|chunk| chunk.valid());
    let character = valid.and_then(|valid| valid.chars().next());
    let length = character.map_or(1, char::len_utf8);
    (
        character.unwrap_or(char::REPLACEMENT_CHARACTER),
        text.get(length..).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_go() {
        for (pattern, name, expected) in [
            ("abc", "abc", Ok(true)),
            ("*", "abc", Ok(true)),
            ("**", "abc", Ok(true)),
            ("*", "a/b", Ok(false)),
            ("**", "a/b", Ok(false)),
            ("a*b*c", "axxbxbc", Ok(true)),
            ("a*b*c", "axxbxb", Ok(false)),
            ("*c", "abc", Ok(true)),
            ("a*/b", "a/c/b", Ok(false)),
            ("?b", "\u{e9}b", Ok(true)),
            ("a?b", "a/b", Ok(false)),
            ("w[^1]", "w2", Ok(true)),
            ("w[^1]", "w1", Ok(false)),
            ("w[!1]", "w1", Ok(true)),
            ("w[!1]", "w!", Ok(true)),
            ("w[!1]", "w2", Ok(false)),
            ("[a-c]x", "bx", Ok(true)),
            ("[\u{e0}-\u{ff}]", "\u{e9}", Ok(true)),
            ("[\\]a]", "]", Ok(true)),
            ("[\\-]", "-", Ok(true)),
            ("a[^-x]", "a", Err(BadPattern)),
            ("\\[x\\]*", "[x]", Ok(true)),
            ("\\*", "*", Ok(true)),
            ("\\a", "a", Ok(true)),
            (".*", ".hidden", Ok(true)),
            ("*", ".hidden", Ok(true)),
            ("[", "a", Err(BadPattern)),
            ("[]a]", "]", Err(BadPattern)),
            ("[-]", "-", Err(BadPattern)),
            ("[x-]", "x", Err(BadPattern)),
            ("[a", "a", Err(BadPattern)),
            ("\\", "a", Err(BadPattern)),
            ("b[", "a", Err(BadPattern)),
            ("b*[", "a", Ok(false)),
            ("b*[", "b", Err(BadPattern)),
            ("a[*]b*", "a*bc", Ok(true)),
        ] {
            let found = matches(pattern.as_bytes(), name.as_bytes());
            assert_eq!(found, expected, "{pattern} {name}");
        }
        assert_eq!(matches(b"?b", b"\xffb"), Ok(true));
        assert_eq!(matches(b"??", b"\xe2\x82"), Ok(true));
    }
}

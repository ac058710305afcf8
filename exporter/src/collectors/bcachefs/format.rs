//! The formats in which bcachefs prints numbers.

use crate::sources::{lines, parse_u64, trim};

/// Parses a number such as `427` or `2.05G`.
pub(super) fn amount(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(trim(text)).ok()?;
    let (number, letter) = match text.char_indices().last()? {
        (place, letter) if letter.is_ascii_alphabetic() => (text.get(..place)?, Some(letter)),
        _ => (text, None),
    };
    let factor = match letter {
        Some(letter) => {
            let place = "kmgtpe".find(letter.to_ascii_lowercase())?;
            1024_f64.powi(place as i32 + 1)
        }
        None => 1.0,
    };
    let number: f64 = number.trim().parse().ok()?;
    Some((number * factor) as u64)
}

/// The second of a counter's two lines; the first one counts since the file system was mounted.
pub(super) fn since_creation(text: &[u8]) -> Option<u64> {
    let after = |name: &[u8]| lines(text).find_map(|line| line.strip_prefix(name));
    match after(b"since filesystem creation:") {
        Some(number) => amount(number),
        None => after(b"since mount:").map(|_| 0),
    }
}

/// The paragraphs `read:` and `write:` of a device: operation, data type, bytes.
pub(super) fn io_done(text: &[u8]) -> impl Iterator<Item = (&'static [u8], &[u8], Option<u64>)> {
    let mut operation: Option<&'static [u8]> = None;
    lines(text).filter_map(move |line| {
        match trim(line) {
            b"read:" => operation = Some(b"read"),
            b"write:" => operation = Some(b"write"),
            line => {
                let (kind, bytes) = named(line)?;
                return Some((operation?, kind, bytes));
            }
        }
        None
    })
}

/// The paragraph of errors since the file system was created: type, count.
pub(super) fn errors_since_creation(text: &[u8]) -> impl Iterator<Item = (&[u8], Option<u64>)> {
    let heading = b"IO errors since ";
    lines(text)
        .skip_while(|line| !line.starts_with(b"IO errors since filesystem creation"))
        .skip(1)
        .take_while(move |line| !line.starts_with(heading))
        .filter_map(|line| named(trim(line)))
}

/// A line such as `user   : 17`.
fn named(line: &[u8]) -> Option<(&[u8], Option<u64>)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, [_, number @ ..]) = line.split_at_checked(colon)? else {
        return None;
    };
    Some((trim(name), parse_u64(trim(number))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_for_people() {
        assert_eq!(amount(b"2.00M"), Some(2 << 20));
        assert_eq!(amount(b" 17\n"), Some(17));
        assert_eq!(amount(b"1.5k"), Some(1536));
        assert_eq!(amount(b"1x"), None);
        assert_eq!(amount(b""), None);
    }

    #[test]
    fn counters_count_from_the_beginning() {
        let text = b"since mount:                   39\nsince filesystem creation:     1.0k\n";
        assert_eq!(since_creation(text), Some(1024));
        assert_eq!(since_creation(b"since mount: 3\n"), Some(0));
        assert_eq!(since_creation(b"3\n"), None);
    }

    #[test]
    fn paragraphs_of_a_device() {
        let found: Vec<_> = io_done(b"read:\nsb   :  3\nwrite:\nuser :x\n").collect();
        assert_eq!(
            found,
            [
                (b"read".as_slice(), b"sb".as_slice(), Some(3)),
                (b"write", b"user", None)
            ]
        );
        let text = b"IO errors since filesystem creation\n  read:    5\n  checksum:6\nIO errors since 8 y ago\n  read: 9\n";
        let found: Vec<_> = errors_since_creation(text).collect();
        assert_eq!(
            found,
            [(b"read".as_slice(), Some(5)), (b"checksum", Some(6))]
        );
    }
}

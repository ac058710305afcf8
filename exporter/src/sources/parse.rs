//! The few shapes in which the kernel prints numbers and lists, read from bytes without a copy.

/// The lines of a file that are not blank, without their ends. A last line without an end counts.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    all_lines(bytes).filter(|line| !trim(line).is_empty())
}

/// As [`lines`], with the blank ones: for files in which a blank line ends a paragraph.
pub fn all_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|&byte| byte == b'\n')
}

/// The fields of a line, split at any run of blanks.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty())
}

/// A decimal number, with nothing before or after it. `None` when it is not one or does not fit.
pub fn parse_u64(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// A hexadecimal number without a prefix. `None` when it is not one or does not fit.
pub fn parse_hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        number.checked_mul(16)?.checked_add(u64::from(digit))
    })
}

/// A number as sysfs prints it: decimal, or hexadecimal after `0x`.
pub fn parse_prefixed(text: &[u8]) -> Option<u64> {
    match text.strip_prefix(b"0x") {
        Some(digits) => parse_hex(digits),
        None => parse_u64(text),
    }
}

/// A number that may be negative. It is a double because that is what it becomes in the exposition.
pub fn parse_signed(text: &[u8]) -> Option<f64> {
    match text.strip_prefix(b"-") {
        Some(digits) => parse_u64(digits).map(|number| -(number as f64)),
        None => parse_u64(text).map(|number| number as f64),
    }
}

/// A finite number in decimal notation, with a sign, a fraction or an exponent where it has them.
pub fn parse_decimal(text: &[u8]) -> Option<f64> {
    // Rust also takes words for infinity and for what is no number.
    let plain = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    if !text.iter().all(plain) {
        return None;
    }
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}

/// The bytes without blanks and line ends around them.
pub fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_and_fields() {
        let split = |text: &'static str| lines(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(split("\na\n \t\nb"), [b"a".as_slice(), b"b"]);
        assert_eq!(split("a\n"), [b"a".as_slice()]);
        assert_eq!(
            all_lines(b"a\n\nb").collect::<Vec<_>>(),
            [b"a".as_slice(), b"", b"b"]
        );
        assert!(split("").is_empty());
        assert_eq!(
            fields(b"  a\tb  c ").collect::<Vec<_>>(),
            [b"a", b"b", b"c"]
        );
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in ["", "-1", "+1", "1 ", "0x1", "18446744073709551616"] {
            assert_eq!(parse_u64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn decimal_numbers() {
        for (text, number) in [
            ("18446744073709551616", 18_446_744_073_709_551_616.0),
            ("-1", -1.0),
            ("1.5e3", 1500.0),
        ] {
            assert_eq!(parse_decimal(text.as_bytes()), Some(number), "{text:?}");
        }
        for text in ["", "-", "nan", "inf", "1e999", "1 ", "0x1", "1_000"] {
            assert_eq!(parse_decimal(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn other_bases_and_signs() {
        assert_eq!(parse_hex(b"00fF"), Some(255));
        assert_eq!(parse_hex(b"ffffffffffffffff"), Some(u64::MAX));
        assert_eq!(parse_prefixed(b"0x1003"), Some(0x1003));
        assert_eq!(parse_prefixed(b"1003"), Some(1003));
        assert_eq!(parse_signed(b"-1"), Some(-1.0));
        assert_eq!(parse_signed(b"17"), Some(17.0));
        for text in ["", "x", "0x", "-", "10000000000000000", "+1"] {
            assert_eq!(parse_hex(text.as_bytes()), None, "{text:?}");
            assert_eq!(
                parse_prefixed(text.as_bytes()).filter(|_| text.len() < 9),
                None,
                "{text:?}"
            );
        }
        assert_eq!(parse_signed(b"--1"), None);
        assert_eq!(parse_signed(b"-"), None);
    }

    proptest! {
        #[test]
        fn numbers_round_trip(number in any::<u64>()) {
            prop_assert_eq!(parse_u64(number.to_string().as_bytes()), Some(number));
        }
    }
}

//! Parsers for the formats in which the kernel prints numbers and lists. They do not copy any bytes.

/// Iterates over the lines of a file that are not blank, without their line breaks. The last line may lack one.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    all_lines(bytes).filter(|line| !trim(line).is_empty())
}

/// Like [`lines`], including blank ones, for files in which a blank line ends a paragraph.
pub fn all_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|&byte| byte == b'\n')
}

/// Splits a line into fields at any run of blanks.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty())
}

/// Parses a decimal number without anything before or after it. `None` if it is invalid or does not fit.
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

/// Parses a hexadecimal number without a prefix. `None` if it is invalid or does not fit.
pub fn parse_hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        number.checked_mul(16)?.checked_add(u64::from(digit))
    })
}

/// Parses a number of sysfs: decimal, or hexadecimal after `0x`.
pub fn parse_prefixed(text: &[u8]) -> Option<u64> {
    match text.strip_prefix(b"0x") {
        Some(digits) => parse_hex(digits),
        None => parse_u64(text),
    }
}

/// Parses a number that may be negative, as a double, because the exposition needs one.
pub fn parse_signed(text: &[u8]) -> Option<f64> {
    match text.strip_prefix(b"-") {
        Some(digits) => parse_u64(digits).map(|number| -(number as f64)),
        None => parse_u64(text).map(|number| number as f64),
    }
}

/// Parses a finite number in decimal notation, with an optional sign, fraction and exponent.
pub fn parse_decimal(text: &[u8]) -> Option<f64> {
    // Rust also accepts words for infinity and NaN.
    let plain = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    if !text.iter().all(plain) {
        return None;
    }
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}

/// Removes blanks and line breaks at both ends.
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

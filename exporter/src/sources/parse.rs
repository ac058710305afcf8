//! The few shapes in which the kernel prints numbers and lists, read from bytes without a copy.

/// The lines of a file, without their ends. A last line without an end counts.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    body.split(|&byte| byte == b'\n')
        .filter(move |_| !body.is_empty())
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
        assert_eq!(split("a\n\nb"), [b"a".as_slice(), b"", b"b"]);
        assert_eq!(split("a\n"), [b"a".as_slice()]);
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

    proptest! {
        #[test]
        fn numbers_round_trip(number in any::<u64>()) {
            prop_assert_eq!(parse_u64(number.to_string().as_bytes()), Some(number));
        }
    }
}

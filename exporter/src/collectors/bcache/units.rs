//! The readable format in which bcache prints numbers.

/// Parses a number such as `427`, `1.1M` or `-20.4G`. The digit after the point counts tenths of 1024ths, as in the
/// kernel's own rounding, so `.5` is not quite a half.
pub(super) fn bytes(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (number, factor) = match text.char_indices().last()? {
        (_, last) if last.is_ascii_digit() => (text, 1.0),
        (place, last) => (text.get(..place)?, multiplier(last)?),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: f64 = digits(whole)?;
    let fraction = digits(fraction)? / 10.24;
    let value = ((whole + fraction) * factor) as i64;
    Some(if negative { -value } else { value })
}

fn digits(text: &str) -> Option<f64> {
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| all)
}

fn multiplier(letter: char) -> Option<f64> {
    let place = "kMGTPEZY".find(letter)?;
    Some(1024_f64.powi(place as i32 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        for (text, value) in [
            ("0", 0),
            ("542", 542),
            ("1.5k", 1524),
            ("512.0k", 524_288),
            ("20.4G", 21_894_266_880),
            ("-427.5k", -437_748),
        ] {
            assert_eq!(bytes(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["", "-", "k", "1.k", "1x", "1.1.1k", "+1"] {
            assert_eq!(bytes(text.as_bytes()), None, "{text:?}");
        }
    }
}

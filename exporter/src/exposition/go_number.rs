//! Formats numbers like Go's `strconv.FormatFloat(value, 'g', -1, 64)`.

/// The exponent from which Go's shortest form uses an `e`.
const EXPONENT_FROM: i32 = 6;
/// Up to this value every integer is exactly a double, so its digits are the shortest digits of the double.
const LARGEST_EXACT_INTEGER: u64 = 1 << 53;

/// Appends an integer as Go would format the double of the same value: `100000`, `1e+06`, `1.04448e+06`.
pub fn write_integer(out: &mut Vec<u8>, value: u64) {
    if value > LARGEST_EXACT_INTEGER {
        return write_float(out, value as f64);
    }
    let mut buffer = [0_u8; 20];
    let mut length = 0;
    let mut rest = value;
    for slot in buffer.iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        length += 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let digits = buffer.get(buffer.len() - length..).unwrap_or_default();
    write_decimal(out, trim_trailing_zeros(digits), length as i32);
}

/// Appends a double in Go's shortest form: `0`, `-1`, `2e-05`, `1.666827e+06`, `NaN`, `+Inf`.
pub fn write_float(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    if value == 0.0 {
        return out.push(b'0');
    }
    if value < 0.0 {
        out.push(b'-');
    }
    let mut buffer = ryu::Buffer::new();
    let mut digits = [0_u8; 40];
    let (length, point) = shortest_digits(buffer.format_finite(value.abs()), &mut digits);
    write_decimal(out, digits.get(..length).unwrap_or_default(), point);
}

/// Collects the significant digits of a positive number printed by ryu, and the position of the point: the number is
/// `0.DIGITS × 10^point`.
fn shortest_digits(printed: &str, digits: &mut [u8]) -> (usize, i32) {
    let (mantissa, exponent) = printed.split_once('e').unwrap_or((printed, "0"));
    let mut point: i32 = exponent.parse().unwrap_or_default();
    let mut length = 0;
    let mut fraction = false;
    for byte in mantissa.bytes() {
        if byte == b'.' {
            fraction = true;
            continue;
        }
        let leading_zero = length == 0 && byte == b'0';
        if !leading_zero && let Some(slot) = digits.get_mut(length) {
            *slot = byte;
            length += 1;
        }
        // A digit before the point moves it right; a leading zero after the point moves it left.
        match (fraction, leading_zero) {
            (false, false) => point += 1,
            (true, true) => point -= 1,
            (false, true) | (true, false) => {}
        }
    }
    (
        trim_trailing_zeros(digits.get(..length).unwrap_or_default()).len(),
        point,
    )
}

fn trim_trailing_zeros(digits: &[u8]) -> &[u8] {
    let significant = digits
        .iter()
        .rposition(|&digit| digit != b'0')
        .map_or(0, |last| last + 1);
    digits.get(..significant).unwrap_or_default()
}

fn write_decimal(out: &mut Vec<u8>, digits: &[u8], point: i32) {
    let Some((first, rest)) = digits.split_first() else {
        return out.push(b'0');
    };
    let exponent = point - 1;
    if (-4..EXPONENT_FROM).contains(&exponent) {
        return write_positional(out, digits, point);
    }
    out.push(*first);
    if !rest.is_empty() {
        out.push(b'.');
        out.extend_from_slice(rest);
    }
    out.push(b'e');
    out.push(if exponent < 0 { b'-' } else { b'+' });
    let magnitude = exponent.unsigned_abs();
    if magnitude >= 100 {
        out.push(b'0' + (magnitude / 100) as u8);
    }
    out.push(b'0' + (magnitude / 10 % 10) as u8);
    out.push(b'0' + (magnitude % 10) as u8);
}

fn write_positional(out: &mut Vec<u8>, digits: &[u8], point: i32) {
    if point <= 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', point.unsigned_abs() as usize));
        return out.extend_from_slice(digits);
    }
    let whole = point as usize;
    match digits.split_at_checked(whole) {
        Some((before, [])) => out.extend_from_slice(before),
        Some((before, after)) => {
            out.extend_from_slice(before);
            out.push(b'.');
            out.extend_from_slice(after);
        }
        None => {
            out.extend_from_slice(digits);
            out.extend(std::iter::repeat_n(b'0', whole - digits.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn float(value: f64) -> String {
        let mut out = Vec::new();
        write_float(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    fn integer(value: u64) -> String {
        let mut out = Vec::new();
        write_integer(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    /// Go's rule, told slowly: the shortest digits from the standard library, then the choice of form.
    fn go_reference(value: f64) -> String {
        let scientific = format!("{value:e}");
        let (mantissa, exponent) = scientific.split_once('e').unwrap();
        let exponent: i32 = exponent.parse().unwrap();
        if value == 0.0 {
            "0".into()
        } else if (-4..6).contains(&exponent) {
            format!("{value}")
        } else {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
    }

    #[test]
    fn floats_look_as_go_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (0.5, "0.5"),
            (100_000.0, "100000"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (1_044_480.0, "1.04448e+06"),
            (1_666_827.0, "1.666827e+06"),
            (123_456.75, "123456.75"),
            (2e-5, "2e-05"),
            (1e-4, "0.0001"),
            (0.000_123, "0.000123"),
            (1.5e-7, "1.5e-07"),
            (1e100, "1e+100"),
            (-2.5e-300, "-2.5e-300"),
            (5e-324, "5e-324"),
            (8_493_609_319_466_597.0 / 4.0, "2.1234023298666492e+15"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn integers_look_as_their_doubles() {
        for value in [
            0,
            1,
            10,
            999_999,
            1_000_000,
            12_345_678,
            1 << 53,
            (1 << 53) + 1,
            u64::MAX,
        ] {
            assert_eq!(integer(value), go_reference(value as f64), "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_float_matches_the_reference(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let (found, reference) = (float(value), go_reference(value));
            // Of two shortest texts equally near, the standard library takes the greater and Go the even one.
            let even = found.len() == reference.len() && found.parse() == Ok(value);
            prop_assert!(found == reference || even, "{found} is not {reference}");
        }

        #[test]
        fn everyday_float_matches_the_reference(thousandths in any::<u32>()) {
            let value = f64::from(thousandths) * 0.001;
            prop_assert_eq!(float(value), go_reference(value));
        }

        #[test]
        fn any_integer_matches_the_reference(value in any::<u64>(), shift in 0_u32..64) {
            let value = value >> shift;
            prop_assert_eq!(integer(value), go_reference(value as f64));
        }
    }
}

//! Amounts of resources, such as `500m` or `64Mi`.

/// An amount of a resource, in billionths. Not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Amount(u128);

/// One, in billionths.
const ONE: u128 = 1_000_000_000;

impl Amount {
    /// Parses a quantity in the format of the
    /// [Kubernetes API](https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/). Fractions of
    /// a billionth are rounded up. `None` for anything else, for a negative one, and for one that is too large to compare.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('+').unwrap_or(text);
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at_checked(end)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        let places = u32::try_from(fraction.len()).ok()?;
        let scaled = digits.parse::<u128>().ok()?.checked_mul(unit(suffix)?)?;
        Some(Self(scaled.div_ceil(10_u128.checked_pow(places)?)))
    }
}

/// The unit of a suffix, in billionths.
fn unit(suffix: &str) -> Option<u128> {
    let decimal = |power: u32| ONE.checked_mul(10_u128.checked_pow(power)?);
    let binary = |power: u32| ONE.checked_mul(2_u128.checked_pow(power)?);
    match suffix {
        "n" => Some(1),
        "u" => Some(1_000),
        "m" => Some(1_000_000),
        "" => Some(ONE),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            // Less than a billionth is no amount that anybody writes.
            let above = u32::try_from(power.checked_add(9)?).ok()?;
            10_u128.checked_pow(above)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_amounts_are_equal_in_every_notation() {
        for (one, other) in [
            ("1", "1000m"),
            ("0.5", "500m"),
            (".5", "5e-1"),
            ("1.", "1"),
            ("+2", "2"),
            ("64Mi", "65536Ki"),
            ("1.5Gi", "1536Mi"),
            ("1k", "1e3"),
            ("1M", "1E6"),
            ("2u", "2000n"),
            ("0.1n", "1n"),
        ] {
            assert_eq!(
                Amount::parse(one).unwrap(),
                Amount::parse(other).unwrap(),
                "{one} {other}"
            );
        }
    }

    #[test]
    fn amounts_are_ordered_by_value() {
        let ascending = [
            "0", "1n", "10m", "1", "1.001", "1k", "1Ki", "1M", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
            "2E",
        ];
        for pair in ascending.windows(2) {
            assert!(
                Amount::parse(pair[0]).unwrap() < Amount::parse(pair[1]).unwrap(),
                "{pair:?}"
            );
        }
    }

    #[test]
    fn anything_else_is_no_amount() {
        for text in [
            "",
            "m",
            "-1",
            "1 ",
            " 1",
            "1mi",
            "1K",
            "1e",
            "1.2.3",
            "1e99",
            "0x10",
            "lots",
            "1Mi1",
            "é",
            "99999999999999999999999999999999999999999999",
        ] {
            assert_eq!(Amount::parse(text), None, "{text:?}");
        }
    }
}

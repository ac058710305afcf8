//! `http_server_config` and `rate_limit`.

use std::collections::BTreeMap;
use std::time::Duration;

/// HTTP settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpServerConfig {
    /// Whether HTTP/2 is offered over TLS; `None` means yes.
    pub http2: Option<bool>,
    /// Headers set on every response.
    pub headers: BTreeMap<ResponseHeader, String>,
}

/// A header that may be set; all others are controlled by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResponseHeader {
    /// `Content-Security-Policy`
    ContentSecurityPolicy,
    /// `Strict-Transport-Security`
    StrictTransportSecurity,
    /// `X-Content-Type-Options`, only `nosniff`
    XContentTypeOptions,
    /// `X-Frame-Options`, only `deny` or `sameorigin`
    XFrameOptions,
    /// `X-XSS-Protection`
    XXssProtection,
}

impl ResponseHeader {
    const ALL: [Self; 5] = [
        Self::ContentSecurityPolicy,
        Self::StrictTransportSecurity,
        Self::XContentTypeOptions,
        Self::XFrameOptions,
        Self::XXssProtection,
    ];

    /// The name in the file and in responses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContentSecurityPolicy => "Content-Security-Policy",
            Self::StrictTransportSecurity => "Strict-Transport-Security",
            Self::XContentTypeOptions => "X-Content-Type-Options",
            Self::XFrameOptions => "X-Frame-Options",
            Self::XXssProtection => "X-XSS-Protection",
        }
    }

    pub(crate) fn from_name(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|header| header.as_str() == name)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::as_str).join(", ");
                format!("HTTP header {name:?} cannot be configured; allowed: {known}")
            })
    }

    pub(crate) fn check_value(self, value: &str) -> Result<(), String> {
        let allowed: &[&str] = match self {
            Self::XContentTypeOptions => &["nosniff"],
            Self::XFrameOptions => &["deny", "sameorigin"],
            _ => &[],
        };
        let known = allowed.is_empty() || allowed.iter().any(|one| one.eq_ignore_ascii_case(value));
        let printable = !value.is_empty() && value.bytes().all(|b| (b' '..=b'~').contains(&b));
        if known && printable {
            return Ok(());
        }
        Err(match allowed {
            [] => format!(
                "invalid value for {}: one line of printable ASCII is needed",
                self.as_str()
            ),
            _ => format!(
                "invalid value for {}; one of: {}",
                self.as_str(),
                allowed.join(", ")
            ),
        })
    }
}

/// A token bucket: one more request every `interval`, and a burst of `burst`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The time after which one token is added; never zero.
    pub interval: Duration,
    /// The size of the bucket; never zero.
    pub burst: u32,
}

/// Parses Go's notation of durations (`1m30s`, `100ms`, `1.5h`); a bare integer is nanoseconds, as in Go's YAML.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    if let Ok(nanoseconds) = text.parse::<u64>() {
        return Some(Duration::from_nanos(nanoseconds));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let number_len = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|n| *n > 0)?;
        let (number, tail) = rest.split_at(number_len);
        let unit_len = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// The inverse of [`parse_duration`], in the largest unit that needs no fraction.
pub(crate) fn format_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let units: [(u128, &str); 5] = [
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
    ];
    for (size, unit) in units {
        if nanoseconds > 0 && nanoseconds.is_multiple_of(size) {
            return format!("{}{unit}", nanoseconds / size);
        }
    }
    format!("{nanoseconds}ns")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        let cases = [
            ("1s", Some(Duration::from_secs(1))),
            ("100ms", Some(Duration::from_millis(100))),
            ("1m30s", Some(Duration::from_secs(90))),
            ("1.5h", Some(Duration::from_secs(5400))),
            ("1000", Some(Duration::from_nanos(1000))),
            ("", None),
            ("s", None),
            ("1", Some(Duration::from_nanos(1))),
            ("1.5", None),
            ("-1s", None),
            ("1 s", None),
            ("1d", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
    }

    #[test]
    fn durations_survive_writing() {
        for nanoseconds in [
            1,
            1_500,
            2_000_000,
            1_500_000_000,
            90_000_000_000,
            7_200_000_000_000,
        ] {
            let duration = Duration::from_nanos(nanoseconds);
            assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }
    }
}

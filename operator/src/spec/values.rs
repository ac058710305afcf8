//! Values that several blocks of the spec contain: durations and DNS names.

use jiff::SignedDuration;

use crate::{api::parse_duration, spec::error::SpecError};

/// Shortest lifetime of a certificate. Such short ones are for tests.
pub(crate) const MIN_DURATION: SignedDuration = SignedDuration::from_mins(1);
/// Longest lifetime of a certificate: half the lifetime of the CA, so that a CA in the first half of its lifetime never
/// shortens a certificate.
pub(crate) const MAX_DURATION: SignedDuration = SignedDuration::from_hours(43_800);

pub(crate) fn duration(
    field: &str,
    text: &str,
    min: SignedDuration,
    max: SignedDuration,
) -> Result<SignedDuration, SpecError> {
    let duration =
        parse_duration(text).map_err(|error| SpecError::new(field, error.to_string()))?;
    if (min..=max).contains(&duration) {
        return Ok(duration);
    }
    Err(SpecError::new(
        field,
        format!(
            "{text} is out of range: use a duration between {}s and {}h",
            min.as_secs(),
            max.as_hours()
        ),
    ))
}

pub(crate) fn dns_name(field: &str, name: &str) -> Result<String, SpecError> {
    if name.len() <= 253 && name.split('.').all(is_dns_label) {
        return Ok(name.to_owned());
    }
    Err(SpecError::new(
        field,
        format!("{name:?} is not a DNS name in lower case: use letters, digits, '-' and '.'"),
    ))
}

pub(crate) fn is_dns_label(label: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    label.len() <= 63
        && label.starts_with(alphanumeric)
        && label.ends_with(alphanumeric)
        && label.chars().all(|c| alphanumeric(c) || c == '-')
}

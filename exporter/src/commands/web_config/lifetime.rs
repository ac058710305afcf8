//! How long a certificate may live.

use jiff::SignedDuration;

/// The maximum lifetime of an exporter's certificate: five years, as in the operator.
const LONGEST: SignedDuration = SignedDuration::from_hours(43_800);
const SHORTEST: SignedDuration = SignedDuration::from_hours(1);

/// Parses the lifetime given by a flag.
pub(super) fn duration(text: &str) -> Result<SignedDuration, String> {
    let life = secure_exporter_web_config::parse_duration(text)
        .map(|life| SignedDuration::try_from(life).unwrap_or(SignedDuration::MAX))
        .ok_or_else(|| "not a duration: write hours, such as 8760h".to_owned())?;
    if (SHORTEST..=LONGEST).contains(&life) {
        // X.509 counts seconds.
        Ok(SignedDuration::from_secs(life.as_secs()))
    } else {
        Err("must be between 1h and 43800h (five years)".to_owned())
    }
}

//! When a certificate is renewed.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::pki::{CertificateFacts, issue::BACKDATING};

/// At most this part of a certificate's life is given away so that not all resources renew at the same moment.
const JITTER_PERCENT: i64 = 5;

/// When a certificate is to be renewed: where `percentage` of its life is left, and up to a twentieth of its life
/// earlier, by a hash of the resource's uid. The same uid always gives the same time.
pub fn renewal_time(facts: &CertificateFacts, percentage: u8, uid: &str) -> Timestamp {
    let life = life(facts);
    let left = part(life, i64::from(percentage));
    let jitter = SignedDuration::from_millis(
        part(life, JITTER_PERCENT)
            .as_millis()
            .try_into()
            .unwrap_or(i64::MAX)
            / 256
            * i64::from(spread(uid)),
    );
    facts
        .not_after
        .checked_sub(left)
        .and_then(|time| time.checked_sub(jitter))
        .unwrap_or(facts.not_before)
}

/// From issue to expiry: validity begins earlier than the issue, which must not count.
fn life(facts: &CertificateFacts) -> SignedDuration {
    facts.not_after.duration_since(facts.not_before) - BACKDATING
}

fn part(whole: SignedDuration, percent: i64) -> SignedDuration {
    SignedDuration::from_secs(whole.as_secs().saturating_mul(percent) / 100)
}

fn spread(uid: &str) -> u8 {
    Sha256::digest(uid).first().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(hours: i64) -> CertificateFacts {
        let issued = Timestamp::from_second(1_800_000_000).unwrap();
        CertificateFacts {
            serial_number: String::new(),
            subject: String::new(),
            issuer: String::new(),
            not_before: issued - BACKDATING,
            not_after: issued + SignedDuration::from_hours(hours),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            sha256_fingerprint: String::new(),
            is_authority: false,
        }
    }

    #[test]
    fn a_year_long_certificate_is_renewed_about_four_months_before_it_ends() {
        let facts = facts(8760);
        for uid in ["a", "b", "c", "d"] {
            let left = facts
                .not_after
                .duration_since(renewal_time(&facts, 33, uid));
            let days = left.as_hours() / 24;
            assert!(
                (120..=139).contains(&days),
                "{uid}: {days} days before the end"
            );
        }
    }

    #[test]
    fn different_resources_renew_at_different_times_and_each_always_at_the_same() {
        let facts = facts(8760);
        assert_eq!(renewal_time(&facts, 33, "a"), renewal_time(&facts, 33, "a"));
        assert_ne!(renewal_time(&facts, 33, "a"), renewal_time(&facts, 33, "b"));
    }

    #[test]
    fn backdating_does_not_shorten_a_short_life() {
        let facts = facts(1);
        let issued = facts.not_before + BACKDATING;
        assert!(renewal_time(&facts, 33, "a") > issued + SignedDuration::from_mins(30));
    }
}

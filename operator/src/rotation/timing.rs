//! When things happen: every timer of the machine, and when certificates and authorities are renewed.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use secure_exporter_pki::CertificateFacts;

/// Every wait of the machine but the overlap, which a resource sets itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// How long scrapers are told to trust a new authority before anything is served by it. A courtesy: the cross
    /// certificate serves those who learn of it later.
    pub trust_soak: SignedDuration,
    /// How long every exporter must have accepted a new password before scrapers are told to use it.
    pub accept_soak: SignedDuration,
    /// After how long an exporter that cannot be asked, on a node that is ready, is believed to have what was published:
    /// more than twice the longest that a kubelet takes.
    pub blind_wait: SignedDuration,
    /// For how long nobody may have used an old password before it is dropped.
    pub unused_for: SignedDuration,
    /// The shortest overlap that a resource gets, whatever it asks for.
    pub minimum_overlap: SignedDuration,
    /// How often exporters are asked while something rotates.
    pub probe_interval: SignedDuration,
    /// How often they are asked otherwise.
    pub sample_interval: SignedDuration,
    /// How long after an issuer's first refusal it is asked anew; each further one doubles it, up to 64 times.
    pub request_retry: SignedDuration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            trust_soak: SignedDuration::from_mins(15),
            accept_soak: SignedDuration::from_secs(30),
            blind_wait: SignedDuration::from_mins(15),
            unused_for: SignedDuration::from_hours(1),
            minimum_overlap: SignedDuration::from_mins(10),
            probe_interval: SignedDuration::from_secs(15),
            sample_interval: SignedDuration::from_mins(10),
            request_retry: SignedDuration::from_mins(1),
        }
    }
}

/// When an authority must be followed by the next: early enough that a leaf which it signs until then, and the overlap
/// on both sides of the change, end before it does.
pub fn authority_due(
    authority_end: Timestamp,
    leaf_duration: SignedDuration,
    overlap: SignedDuration,
) -> Timestamp {
    authority_end
        .checked_sub(leaf_duration)
        .and_then(|time| time.checked_sub(overlap))
        .and_then(|time| time.checked_sub(overlap))
        .unwrap_or(Timestamp::MIN)
}

/// At most this part of a certificate's life is given away so that not all resources renew at the same moment.
const JITTER_PERCENT: i64 = 5;

/// When a certificate is to be renewed: where `percentage` of its life is left, and up to a twentieth of its life
/// earlier, by a hash of the resource's uid. The same uid always gives the same time. `backdating` is how much earlier
/// than its issue its validity begins, which does not count as life.
pub fn renewal_time(
    facts: &CertificateFacts,
    backdating: SignedDuration,
    percentage: u8,
    uid: &str,
) -> Timestamp {
    let life = facts.not_after.duration_since(facts.not_before) - backdating;
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

fn part(whole: SignedDuration, percent: i64) -> SignedDuration {
    SignedDuration::from_secs(whole.as_secs().saturating_mul(percent) / 100)
}

fn spread(uid: &str) -> u8 {
    Sha256::digest(uid).first().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use secure_exporter_pki::BACKDATING;

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
            for_servers: true,
        }
    }

    #[test]
    fn a_year_long_certificate_is_renewed_about_four_months_before_it_ends() {
        let facts = facts(8760);
        for uid in ["a", "b", "c", "d"] {
            let left = facts
                .not_after
                .duration_since(renewal_time(&facts, BACKDATING, 33, uid));
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
        assert_eq!(
            renewal_time(&facts, BACKDATING, 33, "a"),
            renewal_time(&facts, BACKDATING, 33, "a")
        );
        assert_ne!(
            renewal_time(&facts, BACKDATING, 33, "a"),
            renewal_time(&facts, BACKDATING, 33, "b")
        );
    }

    #[test]
    fn backdating_does_not_shorten_a_short_life() {
        let facts = facts(1);
        let issued = facts.not_before + BACKDATING;
        assert!(renewal_time(&facts, BACKDATING, 33, "a") > issued + SignedDuration::from_mins(30));
    }
}

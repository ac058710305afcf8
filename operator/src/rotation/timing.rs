//! The timers of rotations, and when certificates and CAs are renewed.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use secure_exporter_pki::CertificateFacts;

/// All timers of rotations except the overlap, which the resource sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// How long a new CA is in the CA bundle before it signs. Not required for safety: with the cross certificate, scrapers
    /// that read the CA bundle later can verify as well.
    pub trust_soak: SignedDuration,
    /// How long exporters must have accepted a new password before it is published for the scrapers.
    pub accept_soak: SignedDuration,
    /// How long until a ready exporter that cannot be asked is assumed to have what was published: more than twice the maximum
    /// delay of a kubelet.
    pub blind_wait: SignedDuration,
    /// How long no client may have used an old password before it is dropped.
    pub unused_for: SignedDuration,
    /// The minimum of the overlap in the spec.
    pub minimum_overlap: SignedDuration,
    /// How often the exporters are asked while a rotation waits for them.
    pub probe_interval: SignedDuration,
    /// How often the exporters are asked otherwise.
    pub sample_interval: SignedDuration,
    /// How long until a certificate is ordered again after a refusal; doubles with each further refusal, up to 64 times.
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

impl Timers {
    /// Returns the overlap for `asked`, the value in the spec.
    pub fn overlap(&self, asked: SignedDuration) -> SignedDuration {
        asked.max(self.minimum_overlap)
    }
}

/// Returns when a CA must be rotated: early enough that the certificates that it signs until then, and the overlap before and
/// after the switch, end before it expires.
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

/// The maximum part of a certificate's lifetime by which a renewal is earlier, so that not all resources renew at the same
/// moment.
const JITTER_PERCENT: i64 = 5;

/// Returns when a certificate must be renewed: when `percentage` of its lifetime is left, or up to 5 % of its lifetime
/// earlier, depending on a hash of the resource's uid. `backdating` is how long before its issue the validity begins, which
/// does not count as lifetime.
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
    fn a_certificate_for_a_year_is_renewed_about_four_months_before_it_expires() {
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
    fn each_resource_has_its_own_renewal_time_and_always_the_same() {
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
    fn backdating_does_not_shorten_a_short_lifetime() {
        let facts = facts(1);
        let issued = facts.not_before + BACKDATING;
        assert!(renewal_time(&facts, BACKDATING, 33, "a") > issued + SignedDuration::from_mins(30));
    }
}

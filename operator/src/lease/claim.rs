//! Which release serves a namespace, by the Lease in it. Pure.
//!
//! Whether a Lease has ended is judged as client-go judges it: by how long this process has seen it unchanged, never by
//! comparing the clocks of two machines.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::MicroTime};

/// How long a Lease is valid after its last renewal.
pub const VALIDITY: Duration = Duration::from_secs(15 * 60);

/// How long a Lease is valid after its holder has stopped: longer than an upgrade of the holder takes.
pub const VALIDITY_AFTER_STOP: Duration = Duration::from_secs(60);

/// What to do about a Lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// Write this: the namespace is free, or ours.
    Hold(LeaseSpec),
    /// Another release holds it.
    LeaveTo(String),
}

/// Decides about the Lease of a namespace, which has not changed for `unchanged`; `None` if there is none.
pub fn claim(
    present: Option<&LeaseSpec>,
    release: &str,
    unchanged: Duration,
    now: Timestamp,
) -> Claim {
    let holder = present.and_then(holder);
    if let (Some(present), Some(other)) = (present, holder.filter(|holder| *holder != release))
        && unchanged < validity(present)
    {
        return Claim::LeaveTo(other.to_owned());
    }
    let before = present.filter(|_| holder == Some(release));
    let handovers = present.and_then(|it| it.lease_transitions).unwrap_or(0);
    Claim::Hold(LeaseSpec {
        holder_identity: Some(release.to_owned()),
        lease_duration_seconds: i32::try_from(VALIDITY.as_secs()).ok(),
        acquire_time: before
            .and_then(|it| it.acquire_time.clone())
            .or(Some(MicroTime(now))),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(match (before, present) {
            (None, Some(_)) => handovers.saturating_add(1),
            _ => handovers,
        }),
        ..LeaseSpec::default()
    })
}

/// The Lease of a release that has stopped. It keeps its holder, so that the next pod of the same release, as of an upgrade,
/// continues, and ends soon for all others.
pub fn released(held: &LeaseSpec) -> LeaseSpec {
    LeaseSpec {
        lease_duration_seconds: i32::try_from(VALIDITY_AFTER_STOP.as_secs()).ok(),
        ..held.clone()
    }
}

fn holder(lease: &LeaseSpec) -> Option<&str> {
    let holder = lease.holder_identity.as_deref();
    holder.filter(|holder| !holder.is_empty())
}

fn validity(lease: &LeaseSpec) -> Duration {
    let seconds = lease
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(VALIDITY, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: &str = "monitoring/secure-exporter";
    const THEM: &str = "other/secure-exporter";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn held(present: Option<&LeaseSpec>, release: &str, unchanged: Duration) -> LeaseSpec {
        match claim(present, release, unchanged, at(2000)) {
            Claim::Hold(lease) => lease,
            Claim::LeaveTo(other) => panic!("left to {other}"),
        }
    }

    fn first(release: &str) -> LeaseSpec {
        match claim(None, release, Duration::ZERO, at(1000)) {
            Claim::Hold(lease) => lease,
            Claim::LeaveTo(other) => panic!("left to {other}"),
        }
    }

    #[test]
    fn a_renewal_keeps_the_time_of_acquisition() {
        let renewed = held(Some(&first(US)), US, Duration::ZERO);
        assert_eq!(renewed.acquire_time, Some(MicroTime(at(1000))));
        assert_eq!(renewed.renew_time, Some(MicroTime(at(2000))));
        assert_eq!(renewed.lease_transitions, Some(0));
        assert_eq!(renewed.lease_duration_seconds, Some(900));
    }

    #[test]
    fn another_release_is_left_alone_until_its_lease_has_ended() {
        let theirs = first(THEM);
        for unchanged in [Duration::ZERO, VALIDITY - Duration::from_secs(1)] {
            let decided = claim(Some(&theirs), US, unchanged, at(2000));
            assert_eq!(decided, Claim::LeaveTo(THEM.to_owned()));
        }
        let taken = held(Some(&theirs), US, VALIDITY);
        assert_eq!(taken.holder_identity.as_deref(), Some(US));
        assert_eq!(taken.acquire_time, Some(MicroTime(at(2000))));
        assert_eq!(taken.lease_transitions, Some(1));
    }

    #[test]
    fn clocks_are_not_compared() {
        // By its clock the other machine renewed an hour ago.
        let decided = claim(Some(&first(THEM)), US, Duration::ZERO, at(1000 + 3600));
        assert_eq!(decided, Claim::LeaveTo(THEM.to_owned()));
    }

    #[test]
    fn a_released_lease_is_kept_for_the_next_pod_of_its_release_for_a_minute() {
        let free = released(&first(THEM));
        assert_eq!(free.renew_time, Some(MicroTime(at(1000))));
        let decided = claim(Some(&free), US, Duration::from_secs(59), at(2000));
        assert_eq!(decided, Claim::LeaveTo(THEM.to_owned()));
        let taken = held(Some(&free), US, VALIDITY_AFTER_STOP);
        assert_eq!(taken.lease_transitions, Some(1));
        let resumed = held(Some(&free), THEM, Duration::ZERO);
        assert_eq!(resumed.lease_duration_seconds, Some(900));
        assert_eq!(resumed.acquire_time, Some(MicroTime(at(1000))));
    }

    #[test]
    fn a_lease_says_itself_how_long_it_is_valid() {
        let mut theirs = first(THEM);
        theirs.lease_duration_seconds = Some(3);
        held(Some(&theirs), US, Duration::from_secs(3));
    }
}

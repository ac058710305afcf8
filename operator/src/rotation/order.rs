//! Orders of certificates from other issuers: when a certificate is ordered, and when the order is withdrawn or repeated.
//!
//! The key and the signing request are stored before the object is created, so that the object is a pure rendering of spec
//! and state: after a crash, or if the object was deleted, the same one is created again. A refused order is repeated after
//! a growing wait; the exporters keep serving the current certificate meanwhile.

pub mod cert_manager;
pub mod format;

use jiff::{SignedDuration, Timestamp};

use sha2::{Digest, Sha256};

use crate::rotation::{because::Because, state::State, timing::Timers};
use secure_exporter_pki::{IssueError, LeafParameters, SigningRequest, request_leaf};

/// An order whose certificate is not the serving certificate yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The key and the signing request.
    pub signing: SigningRequest,
    /// A fingerprint of the ordered parameters and the issuer.
    pub parameters: String,
    /// When the order was created.
    pub made: Timestamp,
    /// The number of the attempt since the last successful order, from 1.
    pub attempt: u32,
    /// When the operator noticed the refusal.
    pub refused: Option<Timestamp>,
}

impl Order {
    /// Returns a hash of the signing request, for the name of the CertificateRequest.
    pub fn hash(&self) -> String {
        // With the longest resource name (52 characters), the object's name has the maximum of 63 characters.
        let digest = Sha256::digest(&self.signing.request_pem);
        digest
            .iter()
            .take(5)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Whether the ordered certificate is the serving certificate now.
    pub fn is_answered(&self, state: &State) -> bool {
        state.leaf.key_pem == self.signing.key_pem
    }

    /// Returns when the next attempt is due, if this one was refused.
    pub fn next_attempt(&self, timers: &Timers) -> Option<Timestamp> {
        let doublings = self.attempt.saturating_sub(1).min(MAX_DOUBLINGS);
        let wait = timers.request_retry * (1 << doublings);
        self.refused
            .map(|refused| refused.checked_add(wait).unwrap_or(Timestamp::MAX))
    }

    /// Returns how soon to check the outcome: after as long as the order has already been waiting. Most issuers sign within
    /// seconds, some need an approval by a person.
    pub fn patience(&self, timers: &Timers, now: Timestamp) -> SignedDuration {
        let shortest = SignedDuration::from_secs(1);
        let waited = now.duration_since(self.made);
        waited.min(timers.probe_interval).max(shortest)
    }
}

/// The wait grows to at most 64 times the first one.
const MAX_DOUBLINGS: u32 = 6;

/// A change of the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderStep {
    /// A new order replaces the previous one.
    Ask {
        /// The reason.
        because: Because,
        /// The number of the attempt since the last successful order.
        attempt: u32,
        /// The fingerprint of the ordered parameters and the issuer.
        parameters: String,
    },
    /// The user requested a new certificate, which the pending order already brings.
    Join,
    /// The order was refused: the wait for the next attempt starts.
    NoteRefusal,
    /// The order is no longer needed.
    Withdraw,
}

/// What the next step of an order depends on, besides the order.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The fingerprint of the wanted parameters and the issuer; `None` if no other issuer signs.
    pub parameters: Option<&'a str>,
    /// Why the current serving certificate must be replaced; `None` if it need not.
    pub wanted: Option<Because>,
    /// Whether the user requested a new certificate by annotation, and the request was not handled yet.
    pub requested: bool,
    /// Whether the order was refused, or its certificate can never be used.
    pub is_refused: bool,
    /// The timers.
    pub timers: &'a Timers,
    /// The current time.
    pub now: Timestamp,
}

/// Returns the next step of the order; `None` if nothing changes.
pub fn decide(request: Option<&Order>, ask: &Ask<'_>) -> Option<OrderStep> {
    let Some(parameters) = ask.parameters else {
        return request.map(|_| OrderStep::Withdraw);
    };
    let again = |because, attempt| OrderStep::Ask {
        because,
        attempt,
        parameters: parameters.to_owned(),
    };
    let first = |because| again(because, 1);
    let Some(request) = request else {
        return ask.wanted.map(first);
    };
    if request.parameters != parameters {
        return Some(ask.wanted.map_or(OrderStep::Withdraw, first));
    }
    let Some(next) = request.next_attempt(ask.timers) else {
        let join = ask.requested.then_some(OrderStep::Join);
        return join.or(ask.is_refused.then_some(OrderStep::NoteRefusal));
    };
    if ask.requested {
        return Some(first(Because::Requested));
    }
    // A clock that was set back must not extend the wait.
    let is_backwards = request.refused.is_some_and(|refused| refused > ask.now);
    let attempt = request.attempt.saturating_add(1);
    (next <= ask.now || is_backwards).then(|| again(Because::Refused, attempt))
}

/// Returns the order after `step`. `leaf` are the parameters of a new one.
///
/// # Errors
/// The key or the signing request cannot be generated.
pub fn carry_out(
    step: &OrderStep,
    request: Option<Order>,
    leaf: &LeafParameters,
    now: Timestamp,
) -> Result<Option<Order>, IssueError> {
    match step {
        OrderStep::Ask {
            attempt,
            parameters,
            ..
        } => Ok(Some(Order {
            signing: request_leaf(leaf)?,
            parameters: parameters.clone(),
            made: now,
            attempt: *attempt,
            refused: None,
        })),
        OrderStep::Join => Ok(request),
        OrderStep::NoteRefusal => Ok(request.map(|request| Order {
            refused: Some(now),
            ..request
        })),
        OrderStep::Withdraw => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secure_exporter_pki::{SigningRequest, secret_text::SecretText};

    const NOW: i64 = 1_800_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(NOW + seconds).unwrap()
    }

    fn request() -> Order {
        Order {
            signing: SigningRequest {
                request_pem: "csr".into(),
                key_pem: SecretText::new("key".into()),
            },
            parameters: "a".into(),
            made: at(0),
            attempt: 1,
            refused: None,
        }
    }

    fn ask(timers: &Timers, seconds: i64) -> Ask<'_> {
        Ask {
            parameters: Some("a"),
            wanted: None,
            requested: false,
            is_refused: false,
            timers,
            now: at(seconds),
        }
    }

    fn first(because: Because) -> Option<OrderStep> {
        first_of("a", because)
    }

    fn first_of(parameters: &str, because: Because) -> Option<OrderStep> {
        Some(OrderStep::Ask {
            because,
            attempt: 1,
            parameters: parameters.into(),
        })
    }

    #[test]
    fn a_certificate_is_ordered_when_one_is_wanted_and_only_once() {
        let timers = Timers::default();
        let wanted = Ask {
            wanted: Some(Because::Due),
            ..ask(&timers, 0)
        };
        assert_eq!(decide(None, &ask(&timers, 0)), None);
        assert_eq!(decide(None, &wanted), first(Because::Due));
        assert_eq!(decide(Some(&request()), &wanted), None);
        let later = Ask {
            now: at(1_000_000),
            ..wanted
        };
        assert_eq!(decide(Some(&request()), &later), None);
        let requested = Ask {
            requested: true,
            ..later
        };
        assert_eq!(decide(Some(&request()), &requested), Some(OrderStep::Join));
    }

    #[test]
    fn an_order_with_other_parameters_is_replaced_or_withdrawn() {
        let timers = Timers::default();
        let other = Ask {
            parameters: Some("b"),
            ..ask(&timers, 0)
        };
        let wanted = Ask {
            wanted: Some(Because::SpecChanged),
            ..other
        };
        assert_eq!(
            decide(Some(&request()), &wanted),
            first_of("b", Because::SpecChanged)
        );
        assert_eq!(decide(Some(&request()), &other), Some(OrderStep::Withdraw));
        let managed = Ask {
            parameters: None,
            ..wanted
        };
        assert_eq!(
            decide(Some(&request()), &managed),
            Some(OrderStep::Withdraw)
        );
        assert_eq!(decide(None, &managed), None);
    }

    #[test]
    fn a_refused_order_is_repeated_after_a_wait_that_grows_to_a_limit() {
        let timers = Timers::default();
        let refused = Ask {
            is_refused: true,
            ..ask(&timers, 5)
        };
        assert_eq!(
            decide(Some(&request()), &refused),
            Some(OrderStep::NoteRefusal)
        );
        let minute = timers.request_retry.as_secs();
        for (attempt, minutes) in [(1, 1), (2, 2), (4, 8), (7, 64), (8, 64), (u32::MAX, 64)] {
            let noted = Order {
                attempt,
                refused: Some(at(0)),
                ..request()
            };
            let wait = minutes * minute;
            let before = Ask {
                is_refused: true,
                ..ask(&timers, wait - 1)
            };
            assert_eq!(decide(Some(&noted), &before), None, "{attempt}");
            let next = Some(OrderStep::Ask {
                because: Because::Refused,
                attempt: attempt.saturating_add(1),
                parameters: "a".into(),
            });
            assert_eq!(decide(Some(&noted), &ask(&timers, wait)), next, "{attempt}");
            // A request by annotation, or a clock that was set back, ends the wait.
            let requested = Ask {
                requested: true,
                ..before
            };
            assert_eq!(decide(Some(&noted), &requested), first(Because::Requested));
            assert_eq!(decide(Some(&noted), &ask(&timers, -60)), next, "{attempt}");
        }
    }

    #[test]
    fn the_outcome_is_checked_less_and_less_often() {
        let timers = Timers::default();
        for (waited, pause) in [(-9, 1), (0, 1), (4, 4), (900, 15)] {
            let pause = SignedDuration::from_secs(pause);
            assert_eq!(request().patience(&timers, at(waited)), pause);
        }
    }
}

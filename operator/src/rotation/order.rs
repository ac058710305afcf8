//! A request for a leaf that an issuer outside signs: when one is made, when it is given up and made again, and how it
//! lies in the state's Secret.
//!
//! Key and request are stored before anybody is asked, so that what is asked for is a pure rendering of spec and state:
//! after a crash, or where the object was deleted, the same is asked again. A refusal is answered by a new request after
//! a wait that grows; the leaf that is held serves on meanwhile.

pub mod cert_manager;
pub mod format;

use jiff::{SignedDuration, Timestamp};

use sha2::{Digest, Sha256};

use crate::rotation::{state::State, step::Because, timing::Timers};
use secure_exporter_pki::{IssueError, LeafParameters, SigningRequest, request_leaf};

/// What was asked for, and has not become the leaf yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafRequest {
    /// The key and the request.
    pub signing: SigningRequest,
    /// A fingerprint of what was asked for, and of whom.
    pub parameters: String,
    /// When it was made.
    pub made: Timestamp,
    /// The how manieth it is since the last one that succeeded, from 1.
    pub attempt: u32,
    /// When it was found to be refused.
    pub refused: Option<Timestamp>,
}

impl LeafRequest {
    /// A hash of the request, for the name of the object that asks for it.
    pub fn hash(&self) -> String {
        // As much as a name has room for: the longest name of a resource has 52 characters, and ends 63 with it.
        let digest = Sha256::digest(&self.signing.request_pem);
        digest
            .iter()
            .take(5)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Whether what was asked for is the leaf by now.
    pub fn is_answered(&self, state: &State) -> bool {
        state.leaf.key_pem == self.signing.key_pem
    }

    /// When the next one is due, where this one was refused.
    pub fn next_attempt(&self, timers: &Timers) -> Option<Timestamp> {
        let doublings = self.attempt.saturating_sub(1).min(MOST_DOUBLINGS);
        let wait = timers.request_retry * (1 << doublings);
        self.refused
            .map(|refused| refused.checked_add(wait).unwrap_or(Timestamp::MAX))
    }

    /// How soon to look for the answer: as long again as it is awaited already. Most issuers answer within seconds, some
    /// wait for a person.
    pub fn patience(&self, timers: &Timers, now: Timestamp) -> SignedDuration {
        let shortest = SignedDuration::from_secs(1);
        let waited = now.duration_since(self.made);
        waited.min(timers.probe_interval).max(shortest)
    }
}

/// Up to 64 times the first wait.
const MOST_DOUBLINGS: u32 = 6;

/// A change of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestStep {
    /// Another key and request, in the place of what there was.
    Ask {
        /// Why.
        because: Because,
        /// The how manieth since the last one that succeeded.
        attempt: u32,
    },
    /// Somebody asks for another leaf, which the request that is on its way already brings.
    Join,
    /// It was refused: the wait for the next one begins.
    NoteRefusal,
    /// Nothing is asked for any more.
    Withdraw,
}

/// Everything that the fate of a request rests on, besides the request.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The fingerprint of what is to be asked for, and of whom; `None` where no issuer outside is asked.
    pub parameters: Option<&'a str>,
    /// Why the held leaf must be followed by another; `None` where it is as it should be.
    pub wanted: Option<Because>,
    /// Whether somebody asked for another leaf by annotation, and was not answered yet.
    pub requested: bool,
    /// Whether the request was refused for good, or brought a certificate that can never be used.
    pub is_refused: bool,
    /// The waits.
    pub timers: &'a Timers,
    /// The time.
    pub now: Timestamp,
}

/// What happens to the request; `None` where it is left as it is.
pub fn decide(request: Option<&LeafRequest>, ask: &Ask<'_>) -> Option<RequestStep> {
    let first = |because| RequestStep::Ask {
        because,
        attempt: 1,
    };
    let Some(parameters) = ask.parameters else {
        return request.map(|_| RequestStep::Withdraw);
    };
    let Some(request) = request else {
        return ask.wanted.map(first);
    };
    if request.parameters != parameters {
        return Some(ask.wanted.map_or(RequestStep::Withdraw, first));
    }
    let Some(next) = request.next_attempt(ask.timers) else {
        let join = ask.requested.then_some(RequestStep::Join);
        return join.or(ask.is_refused.then_some(RequestStep::NoteRefusal));
    };
    if ask.requested {
        return Some(first(Because::Requested));
    }
    // A clock that was set back must not make the wait longer.
    let is_backwards = request.refused.is_some_and(|refused| refused > ask.now);
    (next <= ask.now || is_backwards).then(|| RequestStep::Ask {
        because: Because::Refused,
        attempt: request.attempt.saturating_add(1),
    })
}

/// The request after `step`, made with `leaf`, whose fingerprint, and that of whom is asked, is `parameters`.
///
/// # Errors
/// The key or the request could not be made.
pub fn carry_out(
    step: &RequestStep,
    request: Option<LeafRequest>,
    (leaf, parameters): (&LeafParameters, String),
    now: Timestamp,
) -> Result<Option<LeafRequest>, IssueError> {
    match step {
        RequestStep::Ask { attempt, .. } => Ok(Some(LeafRequest {
            signing: request_leaf(leaf)?,
            parameters,
            made: now,
            attempt: *attempt,
            refused: None,
        })),
        RequestStep::Join => Ok(request),
        RequestStep::NoteRefusal => Ok(request.map(|request| LeafRequest {
            refused: Some(now),
            ..request
        })),
        RequestStep::Withdraw => Ok(None),
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

    fn request() -> LeafRequest {
        LeafRequest {
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

    fn first(because: Because) -> Option<RequestStep> {
        Some(RequestStep::Ask {
            because,
            attempt: 1,
        })
    }

    #[test]
    fn one_is_made_where_a_leaf_is_wanted_and_waits_for_its_answer() {
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
        assert_eq!(
            decide(Some(&request()), &requested),
            Some(RequestStep::Join)
        );
    }

    #[test]
    fn what_is_no_longer_wanted_so_is_asked_anew_or_not_at_all() {
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
            first(Because::SpecChanged)
        );
        assert_eq!(
            decide(Some(&request()), &other),
            Some(RequestStep::Withdraw)
        );
        let managed = Ask {
            parameters: None,
            ..wanted
        };
        assert_eq!(
            decide(Some(&request()), &managed),
            Some(RequestStep::Withdraw)
        );
        assert_eq!(decide(None, &managed), None);
    }

    #[test]
    fn a_refused_one_is_followed_by_the_next_after_a_wait_that_grows_and_ends_growing() {
        let timers = Timers::default();
        let refused = Ask {
            is_refused: true,
            ..ask(&timers, 5)
        };
        assert_eq!(
            decide(Some(&request()), &refused),
            Some(RequestStep::NoteRefusal)
        );
        let minute = timers.request_retry.as_secs();
        for (attempt, minutes) in [(1, 1), (2, 2), (4, 8), (7, 64), (8, 64), (u32::MAX, 64)] {
            let noted = LeafRequest {
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
            let next = Some(RequestStep::Ask {
                because: Because::Refused,
                attempt: attempt.saturating_add(1),
            });
            assert_eq!(decide(Some(&noted), &ask(&timers, wait)), next, "{attempt}");
            // Nobody waits who has asked for it, nor where the clock was set back.
            let requested = Ask {
                requested: true,
                ..before
            };
            assert_eq!(decide(Some(&noted), &requested), first(Because::Requested));
            assert_eq!(decide(Some(&noted), &ask(&timers, -60)), next, "{attempt}");
        }
    }

    #[test]
    fn its_answer_is_looked_for_ever_less_often() {
        let timers = Timers::default();
        for (waited, pause) in [(-9, 1), (0, 1), (4, 4), (900, 15)] {
            let pause = SignedDuration::from_secs(pause);
            assert_eq!(request().patience(&timers, at(waited)), pause);
        }
    }
}

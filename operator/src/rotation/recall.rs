//! Determines the state and the order for a pass: as stored, as remembered by this process, or rebuilt from what is published.
//! Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    rotation::{
        order::Order,
        state::{
            State,
            published::Published,
            rebuild::{current_state, newest_state},
        },
    },
    spec::ValidSpec,
};

/// The content of the state's Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The state; `None` before the first certificate.
    pub state: Option<State>,
    /// The certificate that is on order from another issuer.
    pub order: Option<Order>,
}

/// What this process remembers of its last pass over a resource.
#[derive(Clone, Debug)]
pub struct Memory {
    /// What was stored.
    pub stored: Stored,
    /// When a certificate was last ordered.
    pub last_ordered: Option<Timestamp>,
    /// How often the clock had jumped by then.
    pub clock_jumps: u64,
    /// Since when this process has seen every minute pass.
    pub watched_since: Timestamp,
}

impl Memory {
    /// Whether the clock has jumped since then.
    pub fn precedes_jump(&self, clock_jumps: u64) -> bool {
        self.clock_jumps != clock_jumps
    }
}

/// Returns since when this process has seen every minute pass: since its first pass, or since the clock jumped. The timers of
/// rotations are stored by the wall clock, and nothing else tells how long a process that has ended was gone.
pub fn watched_since(memory: Option<&Memory>, clock_jumps: u64, now: Timestamp) -> Timestamp {
    let steady = memory.filter(|memory| !memory.precedes_jump(clock_jumps));
    steady.map_or(now, |memory| memory.watched_since)
}

/// The state and the order for a pass.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// What is stored.
    pub stored: Stored,
    /// The state to continue from; `None` if there is none.
    pub state: Option<State>,
    /// The order to continue from.
    pub order: Option<Order>,
    /// When a certificate was last ordered, as far as this process knows.
    pub last_ordered: Option<Timestamp>,
    /// The highest published generation. A new start continues above it.
    pub published_generation: u64,
    /// Whether the state was rebuilt from what is published.
    pub is_rebuilt: bool,
}

/// Whether the published objects may contain what must not be lost, so that the pass may only continue if they could be read.
pub fn depends_on_published(known: &Known, memory: Option<&Memory>) -> bool {
    known.state.is_none() || known.is_rebuilt || memory.is_none()
}

/// Whether [`recall`] rebuilds the state. Then it is slow, because it compares passwords with hashes: call it outside the async
/// workers.
pub fn is_rebuilt(stored: &Stored, memory: Option<&Memory>, published: &Published<'_>) -> bool {
    let remembered = memory.and_then(|memory| memory.stored.state.as_ref());
    newest_state(stored.state.as_ref(), remembered, published).is_none()
}

/// Determines the state and the order. `handled` are the handled requests in the status.
pub fn recall(
    stored: Stored,
    memory: Option<&Memory>,
    published: &Published<'_>,
    handled: &BTreeMap<String, String>,
    spec: &ValidSpec,
    now: Timestamp,
) -> Known {
    let remembered = memory.map(|memory| &memory.stored);
    let (state, is_rebuilt) = current_state(
        stored.state.as_ref(),
        remembered.and_then(|remembered| remembered.state.as_ref()),
        published,
        handled,
        spec,
        now,
    );
    // The order was deleted with the Secret.
    let order = match (&stored, remembered) {
        (
            Stored {
                state: None,
                order: None,
            },
            Some(remembered),
        ) => remembered.order.clone(),
        _ => stored.order.clone(),
    };
    Known {
        stored,
        state,
        order,
        last_ordered: memory.and_then(|memory| memory.last_ordered),
        published_generation: published.generation(),
        is_rebuilt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_watched_since_its_first_pass_or_since_the_clock_jumped() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let memory = Memory {
            stored: Stored::default(),
            last_ordered: None,
            clock_jumps: 1,
            watched_since: at(10),
        };
        assert_eq!(watched_since(None, 0, at(20)), at(20));
        assert_eq!(watched_since(Some(&memory), 1, at(20)), at(10));
        assert_eq!(watched_since(Some(&memory), 2, at(20)), at(20));
    }
}

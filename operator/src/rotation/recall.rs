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

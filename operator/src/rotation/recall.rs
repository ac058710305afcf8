//! What a pass goes by: the state and the order as they are stored, as this process remembers them, or made again from
//! what is published. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    rotation::{
        order::LeafRequest,
        state::{State, published::Published, rebuild::current_state},
    },
    spec::ValidSpec,
};

/// What the Secret with the state holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The state; `None` before the first certificate.
    pub state: Option<State>,
    /// The certificate that is on order from another issuer.
    pub order: Option<LeafRequest>,
}

/// What this process knew after its last pass over a resource.
#[derive(Clone, Debug)]
pub struct Memory {
    /// What was stored.
    pub stored: Stored,
    /// When an issuer was asked last.
    pub last_ordered: Option<Timestamp>,
    /// How often the clock had jumped by then.
    pub clock_jumps: u64,
}

/// What a pass goes by.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// What is stored.
    pub stored: Stored,
    /// The state to go on from; `None` where there is nothing to go on from.
    pub state: Option<State>,
    /// The order to go on from.
    pub order: Option<LeafRequest>,
    /// When an issuer was asked last, as far as this process knows.
    pub last_ordered: Option<Timestamp>,
    /// The highest generation that is published. Where everything begins again, it begins above it.
    pub published_generation: u64,
    /// Whether the state had to be made again from what is published.
    pub is_rebuilt: bool,
}

/// Puts together what is known. `handled` are the requests that the status says were acted on.
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
    // A Secret that was deleted took the order with it.
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

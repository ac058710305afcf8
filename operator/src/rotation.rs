//! The rotation: what the state is, when it must change, and what it becomes.
//!
//! [`plan`](mod@plan) is pure: its inputs are the spec, the state, what is published, the exporters' answers and the time.
//! Only [`carry_out`](mod@carry_out) generates keys and passwords.
//!
//! No scrape fails, whatever happens in between, because:
//! - the next state is stored before anything that is rendered from it is published;
//! - timers start when the publication was read back, never when it was intended;
//! - every combination of old and new that can occur works; an old credential is dropped last, and only on evidence;
//! - the renewal of the serving certificate waits for nothing.

pub mod adoption;
pub mod annotations;
pub(crate) mod authority;
pub mod because;
pub mod carry_out;
mod client;
pub mod decide;
pub mod evidence;
mod external;
mod leaf;
pub mod order;
pub(crate) mod password;
pub mod plan;
pub mod recall;
pub mod situation;
pub mod spec_in_force;
pub mod state;
pub mod step;
pub mod timing;

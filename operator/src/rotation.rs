//! The rotation machine: what the state is, when it must change, and what it becomes.
//!
//! [`decide`](decide()) is pure: it reads the spec, the state, what is published, what the exporters say, and the time it
//! is given. Only [`carry_out`](carry_out()) makes keys and passwords.
//!
//! What keeps scrapes from failing, whatever happens in between:
//! - the next state is stored before anything that follows from it is published;
//! - timers start when publication was read back, never when it was intended;
//! - every pair of old and new that can meet works; an old credential is dropped last, and only on evidence;
//! - the leaf waits for nothing.

pub mod annotations;
mod authority;
pub mod carry_out;
mod client;
pub mod decide;
pub mod evidence;
mod external;
mod leaf;
pub mod order;
mod password;
pub mod situation;
pub mod spec_in_force;
pub mod state;
pub mod step;
pub mod timing;

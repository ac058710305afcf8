//! The rotation machine: what the state is, when it must change, and what it becomes.
//!
//! `decide` is pure: it reads the spec, the state and the time it is given. Only `carry_out` makes keys and passwords.

pub mod carry_out;
pub mod decide;
pub mod state;
pub mod timing;

pub use carry_out::{RotationError, carry_out};
pub use decide::{Step, decide};

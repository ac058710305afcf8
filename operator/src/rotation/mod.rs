//! The rotation machine (pure): what the state is, and what it becomes.

pub mod state;

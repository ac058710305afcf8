//! The server: connections, their limits, authentication, and the responses.

pub(crate) mod activity;
pub(crate) mod auth;
mod client;
mod connections;
#[cfg(any(test, fuzzing))]
pub mod conversation;
pub(crate) mod counters;
pub(crate) mod fair_queue;
mod hashing;
pub(crate) mod limits;
pub(crate) mod listen;
pub(crate) mod paths;
pub(crate) mod prefix;
pub(crate) mod routes;
pub(crate) mod serve;

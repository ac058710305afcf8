//! Shared parts of the tests that run real servers.
#![forbid(unsafe_code)]

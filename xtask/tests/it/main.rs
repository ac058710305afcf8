//! Checks of the workspace itself, without any server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports a problem by failing"
)]

mod documentation;
mod imports;
mod manifests;
mod troubleshooting;

//! Tests of several modules together, without a server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a test says so by failing"
)]

mod crd_definition;
mod documentation;
mod drift;
mod fake_api;
mod fights;
mod lease;
mod log_bodies;
mod observation;
mod passes;
mod quiet_passes;
mod render_children;
mod requests;
mod rotation_model;
mod rotation_properties;
mod status_question;
mod trust_tables;
mod withdrawn_order;
mod writes;

//! Shared parts of the tests that run real servers: `cargo xtask test` starts them and says where they are.
#![forbid(unsafe_code)]
#![allow(
    clippy::indexing_slicing,
    reason = "a field that JSON lacks is null, and a test may end there"
)]

pub mod cert_manager;
pub mod certificate;
pub mod curl;
pub mod environment;
pub mod exporters;
pub mod gate;
pub mod hanging;
pub mod host;
pub mod installed_operator;
pub mod kubectl;
pub mod machine;
pub mod namespace;
pub mod operator;
pub mod pair;
pub mod process;
pub mod prometheus;
pub mod secret;
pub mod series;
pub mod ttar;
pub mod wait;

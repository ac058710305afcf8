//! `secure-exporter`: the metrics of a Linux host under node_exporter's names, with TLS and authentication.
//!
//! The binary is thin; the functionality is in this library, so that tests can reach it. A request flows in one direction:
//! [`server`] accepts and authenticates it, [`scrape`] runs the [`collectors`], which read the host through [`sources`] and
//! write their metrics with [`exposition`].
#![forbid(unsafe_code)]

mod about;
mod clock;
pub mod collect;
pub mod collectors;
pub mod commands;
mod credentials;
pub mod exposition;
pub mod flags;
pub mod log;
pub mod run;
pub mod scrape;
pub mod server;
pub mod sources;
pub mod version;

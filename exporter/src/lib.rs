//! `secure-exporter`: the metrics of a Linux host under node_exporter's names, behind TLS and authentication.
//!
//! The binary is thin; everything it does is here, so that tests can reach it.
//! A request flows one way: [`server`] accepts it and lets it in by the credentials, [`scrape`] runs the
//! [`collectors`], which read the host through [`sources`] and write what they found with [`exposition`].
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

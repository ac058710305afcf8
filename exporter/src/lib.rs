//! `secure-exporter`: the metrics of a Linux host under node_exporter's names, behind TLS and authentication.
//!
//! The binary is thin; everything it does is here, so that tests can reach it.
//! A request flows one way: [`web`] accepts and authenticates it, [`collectors`] read the host through [`sources`] and
//! write what they found with [`exposition`].
#![forbid(unsafe_code)]

pub mod collectors;
pub mod commands;
pub mod exposition;
pub mod flags;
pub mod log;
pub mod sources;
pub mod web;

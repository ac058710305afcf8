//! System tests of several crates together, with a real API server, a real kubelet and a real Prometheus.
#![allow(
    clippy::indexing_slicing,
    reason = "a field that JSON lacks is null, and a test may end there"
)]

mod alerts;
mod bare_host;
mod cert_manager;
mod chart;
mod cluster;
mod core_dumps;
mod crashes;
mod deadlines;
mod definition;
mod faults;
mod hanging;
mod issuers;
mod lease;
mod own_credentials;
mod parity;
mod pod_network;
mod prometheus;
mod prometheus_operator;
mod quiet;
mod renewal;
mod repair;
mod restore;
mod rotation;
mod vmagent;

//! Compares our exporter with the real node_exporter, on this host and on captured and made-up ones.

pub mod large_host;
pub mod pair;
pub mod series;
pub mod ttar;

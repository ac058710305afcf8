//! The two clusters that `cargo xtask test` starts. Tests find them by their names, so that no other contract is needed, and a
//! test can be run again by cargo alone while they are up.

use anyhow::{Result, ensure};

use crate::cluster::Cluster;

/// The cluster with a node, our images, and an operator that watches all namespaces.
pub const MAIN: &str = "test";
/// The cluster without nodes and without an operator: for tests that start and kill an operator of their own.
pub const CONTROL_PLANE: &str = "control-plane";

/// The cluster with a node.
///
/// # Errors
/// It is not up: the test was not started by `cargo xtask test`.
pub fn main() -> Result<Cluster> {
    find(MAIN)
}

/// The cluster without nodes.
///
/// # Errors
/// As [`main`].
pub fn control_plane() -> Result<Cluster> {
    find(CONTROL_PLANE)
}

fn find(name: &str) -> Result<Cluster> {
    let cluster = Cluster::named(name);
    ensure!(
        cluster.is_up(),
        "the cluster `{name}` is not up: run this test by `cargo xtask test`"
    );
    Ok(cluster)
}

//! The cluster's network: a bridge in the first node's namespace, to which this machine and every other node are connected,
//! and a route to each node's pods.

use std::{fs, process::Command};

use anyhow::{Result, bail};

use super::{
    extent::Extent,
    holder::Holder,
    layout::{Layout, Node},
};
use crate::process::output;

/// The interface with a node's address: the bridge on the first node, the veth to it on the others.
const NODES: &str = "nodes";

/// Connects this machine, the nodes and their pods. Every node's holder must run.
///
/// # Errors
/// An interface, address or route was refused.
pub fn connect(layout: &Layout) -> Result<()> {
    if layout.extent == Extent::ControlPlane {
        return Ok(());
    }
    // The node of the control plane, whether a kubelet runs there or not.
    let (first, nodes) = (layout.node(1), layout.nodes());
    connect_first(layout, &first)?;
    for node in nodes.iter().skip(1) {
        plug_in(layout, &first, node)?;
    }
    for there in &nodes {
        let route = format!("route replace {} via {}", there.pod_network, there.address);
        ip(&route)?;
        for here in nodes.iter().filter(|node| node.index != there.index) {
            ip_inside(&here.holder, &route)?;
        }
    }
    Ok(())
}

/// Removes this machine's end of the veth. It disappears with the namespace; if it has not (yet), it must not prevent the
/// next start. That of another cluster stays.
pub fn disconnect(layout: &Layout) {
    if owner(layout).is_some_and(|name| name == layout.name) {
        let _ = ip(&format!("link del {}", layout.outside_interface()));
    }
}

/// The name of the cluster that owns this interface, which the kernel keeps as the interface's alias.
fn owner(layout: &Layout) -> Option<String> {
    let alias = format!("/sys/class/net/{}/ifalias", layout.outside_interface());
    let name = fs::read_to_string(alias).ok()?.trim().to_owned();
    (!name.is_empty()).then_some(name)
}

fn connect_first(layout: &Layout, first: &Node) -> Result<()> {
    let outside = layout.outside_interface();
    let inside = |line: &str| ip_inside(&first.holder, line);
    let (name, pid) = (&layout.name, first.holder.living_pid()?);
    if let Some(owner) = owner(layout) {
        bail!(
            "the cluster `{owner}` has the addresses that `{name}` would have: take it down, or choose another --name"
        );
    }
    ip(&format!(
        "link add {outside} type veth peer name outside netns {pid}"
    ))?;
    ip(&format!("link set {outside} alias {name}"))?;
    ip(&format!(
        "addr add {}/24 dev {outside}",
        layout.outside_address()
    ))?;
    ip(&format!("link set {outside} up"))?;
    inside("link set lo up")?;
    inside(&format!("addr add {}/32 dev lo", layout.service_address()))?;
    inside(&format!("link add {NODES} type bridge"))?;
    inside(&format!("link set outside master {NODES}"))?;
    inside("link set outside up")?;
    bring_up(first)
}

fn plug_in(layout: &Layout, first: &Node, node: &Node) -> Result<()> {
    let (cable, pid) = (&node.name, node.holder.living_pid()?);
    let inside = |line: &str| ip_inside(&first.holder, line);
    inside(&format!(
        "link add {cable} type veth peer name {NODES} netns {pid}"
    ))?;
    inside(&format!("link set {cable} master {NODES}"))?;
    inside(&format!("link set {cable} up"))?;
    ip_inside(&node.holder, "link set lo up")?;
    bring_up(node)?;
    ip_inside(
        &node.holder,
        &format!(
            "route add {} via {}",
            layout.service_address(),
            first.address
        ),
    )
}

fn bring_up(node: &Node) -> Result<()> {
    let inside = |line: &str| ip_inside(&node.holder, line);
    inside(&format!("addr add {}/24 dev {NODES}", node.address))?;
    inside(&format!("link set {NODES} up"))?;
    // The kubelet wants a default route; it leads nowhere.
    inside(&format!("route add default dev {NODES}"))
}

fn ip(line: &str) -> Result<()> {
    output(Command::new("ip").args(line.split(' ')))?;
    Ok(())
}

/// Only joins the network, because a process ID in `line` must mean the same as outside.
fn ip_inside(holder: &Holder, line: &str) -> Result<()> {
    let pid = holder.living_pid()?.to_string();
    output(
        Command::new("nsenter")
            .args(["-n", "-t", &pid, "--", "ip"])
            .args(line.split(' ')),
    )?;
    Ok(())
}

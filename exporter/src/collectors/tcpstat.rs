//! `tcpstat`: TCP connections by state and the bytes in their queues, over netlink.

use std::path::PathBuf;

use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, Netlink, NetlinkError, u32_at};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "tcpstat",
    default_enabled: false,
    summary: "TCP connections by state; slow on hosts with very many connections.",
    options: &[],
    build,
};

/// `SOCK_DIAG_BY_FAMILY`
const BY_FAMILY: u16 = 20;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// `IPPROTO_TCP`
const TCP: u8 = 6;
/// `struct inet_diag_req_v2`
const REQUEST: usize = 56;
/// A bit for each state of [`STATES`].
const ALL_STATES: u32 = 0xfff;
/// The states by their numbers in the kernel, which begin with 1.
const STATES: [&str; 11] = [
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
];

struct Tcpstat {
    netlink: Netlink,
    /// Present where the kernel has IPv6.
    ipv6: PathBuf,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Connections {
    sockets: u64,
    states: [u64; STATES.len()],
    unknown: u64,
    receive_queues: u64,
    transmit_queues: u64,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Tcpstat {
        netlink: Netlink::socket_diagnosis(),
        ipv6: context.procfs("net/tcp6"),
    }))
}

impl Collector for Tcpstat {
    fn collect(&mut self, out: &mut Exposition, deadline: Deadline) -> Result<(), CollectError> {
        let mut connections = Connections::default();
        self.netlink.until(deadline);
        count(&mut self.netlink, IPV4, &mut connections)?;
        if self.ipv6.exists() {
            count(&mut self.netlink, IPV6, &mut connections)?;
        }
        connections.write(out);
        Ok(())
    }
}

fn count(
    netlink: &mut Netlink,
    family: u8,
    connections: &mut Connections,
) -> Result<(), NetlinkError> {
    let mut request = vec![family, TCP, 0, 0];
    request.extend_from_slice(&ALL_STATES.to_ne_bytes());
    request.resize(REQUEST, 0);
    netlink.dump("TCP sockets", BY_FAMILY, &request, |entry| {
        connections.add(entry)
    })
}

impl Connections {
    /// Counts a `struct inet_diag_msg`.
    fn add(&mut self, entry: &[u8]) {
        let (Some(state), Some(receive), Some(transmit)) =
            (entry.get(1), u32_at(entry, 56), u32_at(entry, 60))
        else {
            return;
        };
        self.sockets += 1;
        self.receive_queues += u64::from(receive);
        self.transmit_queues += u64::from(transmit);
        let place = usize::from(*state).checked_sub(1);
        match place.and_then(|place| self.states.get_mut(place)) {
            Some(count) => *count += 1,
            None => self.unknown += 1,
        }
    }

    /// Writes the states that some socket is in.
    fn write(&self, out: &mut Exposition) {
        let states = STATES.into_iter().zip(self.states);
        let mut rows: Vec<(&str, u64)> = states.filter(|(_, count)| *count > 0).collect();
        if self.unknown > 0 {
            rows.push(("unknown", self.unknown));
        }
        if self.sockets > 0 {
            rows.push(("rx_queued_bytes", self.receive_queues));
            rows.push(("tx_queued_bytes", self.transmit_queues));
        }
        rows.sort_unstable();
        let help = "Number of TCP connections by state, and the total bytes in their queues.";
        let mut family = out.family(&["node_tcp_connection_states"], &[help], MetricKind::Gauge);
        for (state, count) in rows {
            family.sample(&[("state", state.as_bytes())], count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: u8, receive: u32, transmit: u32) -> Vec<u8> {
        let mut entry = vec![IPV4, state];
        entry.resize(56, 0);
        entry.extend_from_slice(&receive.to_ne_bytes());
        entry.extend_from_slice(&transmit.to_ne_bytes());
        entry
    }

    #[test]
    fn states_are_counted_and_queues_summed() {
        let mut connections = Connections::default();
        for entry in [
            entry(1, 5, 6),
            entry(10, 0, 128),
            entry(1, 1, 0),
            entry(77, 0, 0),
        ] {
            connections.add(&entry);
        }
        connections.add(&entry(1, 9, 9)[..60]);
        let mut out = Exposition::default();
        connections.write(&mut out);
        let mut text = Vec::new();
        out.append_sorted(&mut text);
        let text = String::from_utf8(text).unwrap();
        let samples: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("node_tcp_connection_states"))
            .collect();
        assert_eq!(
            samples,
            [
                "{state=\"established\"} 2",
                "{state=\"listen\"} 1",
                "{state=\"rx_queued_bytes\"} 6",
                "{state=\"tx_queued_bytes\"} 134",
                "{state=\"unknown\"} 1"
            ]
        );
    }

    #[test]
    fn the_kernel_knows_a_socket_that_listens() {
        let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connections = Connections::default();
        count(&mut Netlink::socket_diagnosis(), IPV4, &mut connections).unwrap();
        let listen = STATES.iter().position(|state| *state == "listen").unwrap();
        assert!(connections.states[listen] >= 1, "{connections:?}");
    }
}

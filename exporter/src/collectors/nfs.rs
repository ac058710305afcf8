//! `nfs`: requests of the NFS client to its servers, from `/proc/net/rpc/nfs`.

use crate::collect::rpc_statistics::{Line, Procedures, VERSION_2, VERSION_3, each, parse_numbers};
use crate::collect::skipped::Skipped;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, fields, lines};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "nfs",
    default_enabled: true,
    summary: "Requests of the NFS client, from /proc/net/rpc/nfs.",
    options: &[],
    build,
};

const FILE: &str = "net/rpc/nfs";
/// The procedures of NFS 4 in the kernel's order. They are numbered by the client alone and differ from the server's.
const VERSION_4: [&str; 59] = [
    "Null",
    "Read",
    "Write",
    "Commit",
    "Open",
    "OpenConfirm",
    "OpenNoattr",
    "OpenDowngrade",
    "Close",
    "Setattr",
    "FsInfo",
    "Renew",
    "SetClientID",
    "SetClientIDConfirm",
    "Lock",
    "Lockt",
    "Locku",
    "Access",
    "Getattr",
    "Lookup",
    "LookupRoot",
    "Remove",
    "Rename",
    "Link",
    "Symlink",
    "Create",
    "Pathconf",
    "StatFs",
    "ReadLink",
    "ReadDir",
    "ServerCaps",
    "DelegReturn",
    "GetACL",
    "SetACL",
    "FsLocations",
    "ReleaseLockowner",
    "Secinfo",
    "FsidPresent",
    "ExchangeID",
    "CreateSession",
    "DestroySession",
    "Sequence",
    "GetLeaseTime",
    "ReclaimComplete",
    "GetDeviceInfo",
    "LayoutGet",
    "LayoutCommit",
    "LayoutReturn",
    "SecinfoNoName",
    "TestStateID",
    "FreeStateID",
    "GetDeviceList",
    "BindConnToSession",
    "DestroyClientID",
    "Seek",
    "Allocate",
    "DeAllocate",
    "LayoutStats",
    "Clone",
];

const LINES: [Line; 3] = [
    Line {
        name: "proc2",
        version: "2",
        methods: &VERSION_2,
    },
    Line {
        name: "proc3",
        version: "3",
        methods: &VERSION_3,
    },
    Line {
        name: "proc4",
        version: "4",
        methods: &VERSION_4,
    },
];

struct Nfs {
    file: KeptFile,
    statistics: Statistics,
}

struct Statistics {
    values: Values,
    procedures: Procedures,
}

/// Lines that a kernel does not print leave zeros; `None` means that a line cannot be read.
#[derive(Debug, PartialEq, Eq)]
struct Values {
    udp: Option<u64>,
    tcp: Option<u64>,
    connections: Option<u64>,
    calls: Option<u64>,
    retransmissions: Option<u64>,
    refreshes: Option<u64>,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            udp: Some(0),
            tcp: Some(0),
            connections: Some(0),
            calls: Some(0),
            retransmissions: Some(0),
            refreshes: Some(0),
        }
    }
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Nfs {
        file: KeptFile::new(context.procfs(FILE)),
        statistics: Statistics::new(),
    }))
}

impl Collector for Nfs {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let bytes = self.file.read().map_err(CollectError::optional)?;
        let mut skipped = Skipped::default();
        self.statistics.update(bytes, &mut skipped);
        self.statistics.write(out);
        skipped.result()
    }
}

impl Statistics {
    fn new() -> Self {
        Self {
            values: Values::default(),
            procedures: Procedures::new(&LINES, &[]),
        }
    }

    fn update(&mut self, bytes: &[u8], skipped: &mut Skipped) {
        self.values = Values::default();
        self.procedures.clear();
        for line in lines(bytes) {
            let read = self.take(line);
            skipped.line(FILE, line, read);
        }
    }

    fn take(&mut self, line: &[u8]) -> Option<()> {
        let mut parts = fields(line);
        let values = &mut self.values;
        match parts.next()? {
            b"net" => {
                let numbers = parse_numbers(parts);
                [_, values.udp, values.tcp, values.connections] = each(numbers);
                numbers?;
            }
            b"rpc" => {
                let numbers = parse_numbers(parts);
                [values.calls, values.retransmissions, values.refreshes] = each(numbers);
                numbers?;
            }
            b"proc2" => self.procedures.take("proc2", parts)?,
            b"proc3" => self.procedures.take("proc3", parts)?,
            b"proc4" => self.procedures.take("proc4", parts)?,
            _ => {}
        }
        Some(())
    }

    fn write(&self, out: &mut Exposition) {
        for (name, help, value) in [
            (
                "node_nfs_connections_total",
                "TCP connections made to NFS servers.",
                self.values.connections,
            ),
            (
                "node_nfs_rpc_authentication_refreshes_total",
                "Refreshes of RPC credentials.",
                self.values.refreshes,
            ),
            (
                "node_nfs_rpc_retransmissions_total",
                "RPCs that were retransmitted.",
                self.values.retransmissions,
            ),
            (
                "node_nfs_rpcs_total",
                "RPCs sent to NFS servers.",
                self.values.calls,
            ),
        ] {
            if let Some(value) = value {
                out.family(&[name], &[help], MetricKind::Counter)
                    .sample(&[], value);
            }
        }
        let help = "Packets exchanged with NFS servers.";
        let mut family = out.family(&["node_nfs_packets_total"], &[help], MetricKind::Counter);
        for (protocol, packets) in [("tcp", self.values.tcp), ("udp", self.values.udp)] {
            if let Some(packets) = packets {
                family.sample(&[("protocol", protocol.as_bytes())], packets);
            }
        }
        drop(family);
        let help = "Requests to NFS servers, by version and procedure.";
        self.procedures.write(&mut out.family(
            &["node_nfs_requests_total"],
            &[help],
            MetricKind::Counter,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;

    fn update(statistics: &mut Statistics, bytes: &[u8]) -> Result<(), CollectError> {
        whole(|skipped| statistics.update(bytes, skipped))
    }

    #[test]
    fn lines_of_later_kernels_are_passed_over_and_broken_ones_are_not() {
        let mut statistics = Statistics::new();
        update(
            &mut statistics,
            b"net 70 1 68 45\nrpc 1218785755 374636 1218815394\nproc9 1 2\n",
        )
        .unwrap();
        let expected = Values {
            udp: Some(1),
            tcp: Some(68),
            connections: Some(45),
            calls: Some(1_218_785_755),
            retransmissions: Some(374_636),
            refreshes: Some(1_218_815_394),
        };
        assert_eq!(statistics.values, expected);
        for line in ["net 1 2 3", "rpc 1 2 3 4", "rpc 1 x 3", "proc3 2 1"] {
            assert!(update(&mut statistics, line.as_bytes()).is_err(), "{line}");
        }
        assert!(update(&mut statistics, b"net 70 1 68 45\nrpc 1 x 3\n").is_err());
        assert_eq!(statistics.values.tcp, Some(68));
        assert_eq!(statistics.values.calls, None, "not read is not 0");
        update(&mut statistics, b"net 70 1 2 3\n").unwrap();
        assert_eq!(statistics.values.calls, Some(0), "a line that is gone");
    }
}

//! `nfsd`: statistics of this host's NFS server, from `/proc/net/rpc/nfsd`.

use crate::collect::rpc_statistics::{Line, Procedures, VERSION_2, VERSION_3, each, parse_numbers};
use crate::collect::skipped::Skipped;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::exposition::MetricKind::{self, Counter, Gauge};
use crate::sources::{Deadline, KeptFile, fields, lines, parse_u64};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "nfsd",
    default_enabled: true,
    summary: "Statistics of the NFS server, from /proc/net/rpc/nfsd.",
    options: &[],
    build,
};

const FILE: &str = "net/rpc/nfsd";
/// The operations of NFS 4 by their numbers in the protocol, which begin with 3.
const VERSION_4: [&str; 40] = [
    NO_OPERATION,
    NO_OPERATION,
    NO_OPERATION,
    "Access",
    "Close",
    "Commit",
    "Create",
    "DelegPurge",
    "DelegReturn",
    "GetAttr",
    "GetFH",
    "Link",
    "Lock",
    "Lockt",
    "Locku",
    "Lookup",
    "LookupRoot",
    "Nverify",
    "Open",
    "OpenAttr",
    "OpenConfirm",
    "OpenDgrd",
    "PutFH",
    "PutPubFH",
    "PutRootFH",
    "Read",
    "ReadDir",
    "ReadLink",
    "Remove",
    "Rename",
    "Renew",
    "RestoreFH",
    "SaveFH",
    "SecInfo",
    "SetAttr",
    "SetClientID",
    "SetClientIDConfirm",
    "Verify",
    "Write",
    "RelLockOwner",
];
const NO_OPERATION: &str = "";
const HIDDEN: [&str; 4] = [NO_OPERATION, "Null", "PutPubFH", "PutRootFH"];
/// The attributes requested from the holder of a delegation: a single number in a separate line.
const DELEGATED: &str = "wdeleg_getattr";
const LINES: [Line; 4] = [
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
        name: "proc4ops",
        version: "4",
        methods: &VERSION_4,
    },
    Line {
        name: DELEGATED,
        version: "4",
        methods: &["WdelegGetattr"],
    },
];

struct Nfsd {
    file: KeptFile,
    statistics: Statistics,
}

#[derive(Debug)]
struct Statistics {
    values: Values,
    procedures: Procedures,
}

/// Lines that a kernel does not print leave zeros; `None` means that a line cannot be read.
#[derive(Debug)]
struct Values {
    cache_hits: Option<u64>,
    cache_misses: Option<u64>,
    not_cached: Option<u64>,
    stale_handles: Option<u64>,
    read_bytes: Option<u64>,
    written_bytes: Option<u64>,
    threads: Option<u64>,
    read_ahead_size: Option<u64>,
    read_ahead_missed: Option<u64>,
    udp: Option<u64>,
    tcp: Option<u64>,
    connections: Option<u64>,
    calls: Option<u64>,
    bad_format: Option<u64>,
    bad_authentication: Option<u64>,
    bad_client: Option<u64>,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            cache_hits: Some(0),
            cache_misses: Some(0),
            not_cached: Some(0),
            stale_handles: Some(0),
            read_bytes: Some(0),
            written_bytes: Some(0),
            threads: Some(0),
            read_ahead_size: Some(0),
            read_ahead_missed: Some(0),
            udp: Some(0),
            tcp: Some(0),
            connections: Some(0),
            calls: Some(0),
            bad_format: Some(0),
            bad_authentication: Some(0),
            bad_client: Some(0),
        }
    }
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Nfsd {
        file: KeptFile::new(context.procfs(FILE)),
        statistics: Statistics::new(),
    }))
}

impl Collector for Nfsd {
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
            procedures: Procedures::new(&LINES, &HIDDEN),
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
            b"rc" => {
                let numbers = parse_numbers(parts);
                [values.cache_hits, values.cache_misses, values.not_cached] = each(numbers);
                numbers?;
            }
            b"fh" => {
                let numbers = parse_numbers::<5>(parts);
                [values.stale_handles, ..] = each(numbers);
                numbers?;
            }
            b"io" => {
                let numbers = parse_numbers(parts);
                [values.read_bytes, values.written_bytes] = each(numbers);
                numbers?;
            }
            // Older kernels add a histogram of how busy the threads were.
            b"th" => {
                values.threads = parts.next().and_then(parse_u64);
                values.threads?;
            }
            b"ra" => {
                let numbers = parse_numbers::<12>(parts);
                [values.read_ahead_size, .., values.read_ahead_missed] = each(numbers);
                numbers?;
            }
            b"net" => {
                let numbers = parse_numbers(parts);
                [_, values.udp, values.tcp, values.connections] = each(numbers);
                numbers?;
            }
            b"rpc" => {
                let numbers = parse_numbers(parts);
                [
                    values.calls,
                    _,
                    values.bad_format,
                    values.bad_authentication,
                    values.bad_client,
                ] = each(numbers);
                numbers?;
            }
            b"proc2" => self.procedures.take("proc2", parts)?,
            b"proc3" => self.procedures.take("proc3", parts)?,
            b"proc4ops" => self.procedures.take("proc4ops", parts)?,
            b"wdeleg_getattr" => {
                self.procedures.forget(DELEGATED);
                self.procedures.set(DELEGATED, &parse_numbers::<1>(parts)?);
            }
            _ => {}
        }
        Some(())
    }

    fn write(&self, out: &mut Exposition) {
        write_plain(&self.values, out);
        let help = "Packets exchanged with NFS clients.";
        let mut family = out.family(&["node_nfsd_packets_total"], &[help], Counter);
        for (protocol, packets) in [("tcp", self.values.tcp), ("udp", self.values.udp)] {
            if let Some(packets) = packets {
                family.sample(&[("proto", protocol.as_bytes())], packets);
            }
        }
        drop(family);
        let help = "RPCs that the NFS server could not accept, by reason.";
        let mut family = out.family(&["node_nfsd_rpc_errors_total"], &[help], Counter);
        for (error, calls) in [
            ("auth", self.values.bad_authentication),
            ("cInt", self.values.bad_client),
            ("fmt", self.values.bad_format),
        ] {
            if let Some(calls) = calls {
                family.sample(&[("error", error.as_bytes())], calls);
            }
        }
        drop(family);
        let help = "Requests to the NFS server, by version and procedure.";
        self.procedures
            .write(&mut out.family(&["node_nfsd_requests_total"], &[help], Counter));
    }
}

fn write_plain(values: &Values, out: &mut Exposition) {
    let rows: [(&str, &str, MetricKind, Option<u64>); 11] = [
        (
            "connections_total",
            "TCP connections made by NFS clients.",
            Counter,
            values.connections,
        ),
        (
            "disk_bytes_read_total",
            "Bytes read by the NFS server.",
            Counter,
            values.read_bytes,
        ),
        (
            "disk_bytes_written_total",
            "Bytes written by the NFS server.",
            Counter,
            values.written_bytes,
        ),
        (
            "file_handles_stale_total",
            "Stale file handles received from clients, whose files no longer exist.",
            Counter,
            values.stale_handles,
        ),
        (
            "read_ahead_cache_not_found_total",
            "Reads that were not found in the read-ahead cache.",
            Counter,
            values.read_ahead_missed,
        ),
        (
            "read_ahead_cache_size_blocks",
            "Size of the read-ahead cache, in blocks.",
            Gauge,
            values.read_ahead_size,
        ),
        (
            "reply_cache_hits_total",
            "Repeated requests answered from the reply cache.",
            Counter,
            values.cache_hits,
        ),
        (
            "reply_cache_misses_total",
            "Requests whose reply was added to the reply cache.",
            Counter,
            values.cache_misses,
        ),
        (
            "reply_cache_nocache_total",
            "Requests whose reply does not need to be cached.",
            Counter,
            values.not_cached,
        ),
        (
            "server_rpcs_total",
            "RPCs received by the NFS server.",
            Counter,
            values.calls,
        ),
        (
            "server_threads",
            "Number of NFS server threads.",
            Gauge,
            values.threads,
        ),
    ];
    for (name, help, kind, value) in rows {
        if let Some(value) = value {
            out.family(&["node_nfsd_", name], &[help], kind)
                .sample(&[], value);
        }
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
    fn kernels_of_all_ages_are_read() {
        let mut statistics = Statistics::new();
        update(&mut statistics, b"rc 1 2 3\nfh 4 0 0 0 0\nio 5 6\nth 8 0 0.000 0.1\nra 32 0 0 0 0 0 0 0 0 0 0 7\nnet 9 1 8 2\n\
                  rpc 10 6 1 2 3\nproc4 2 2 10853\nnovel 1\n",
            )
            .unwrap();
        let values = &statistics.values;
        assert_eq!(
            (values.cache_hits, values.cache_misses, values.not_cached),
            (Some(1), Some(2), Some(3))
        );
        assert_eq!(
            (
                values.stale_handles,
                values.read_bytes,
                values.written_bytes
            ),
            (Some(4), Some(5), Some(6))
        );
        assert_eq!(
            (
                values.threads,
                values.read_ahead_size,
                values.read_ahead_missed
            ),
            (Some(8), Some(32), Some(7))
        );
        assert_eq!(
            (values.udp, values.tcp, values.connections),
            (Some(1), Some(8), Some(2))
        );
        assert_eq!(
            (
                values.calls,
                values.bad_format,
                values.bad_authentication,
                values.bad_client
            ),
            (Some(10), Some(1), Some(2), Some(3))
        );
        for line in ["rc 1 2", "fh 1", "io 1 x", "th", "ra 1", "wdeleg_getattr"] {
            assert!(update(&mut statistics, line.as_bytes()).is_err(), "{line}");
        }
        update(&mut statistics, b"net 9 1 8 2\n").unwrap();
        assert_eq!(statistics.values.threads, Some(0), "a line that is gone");
    }
}

//! `nfsd`: what this host's NFS server was asked and how it fared, from `/proc/net/rpc/nfsd`.

use crate::collect::rpc_statistics::{Line, Procedures, VERSION_2, VERSION_3, parse_numbers};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::exposition::MetricKind::{self, Counter, Gauge};
use crate::sources::{KeptFile, fields, lines, parse_u64};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "nfsd",
    default_enabled: true,
    summary: "The NFS server, from /proc/net/rpc/nfsd.",
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
/// The attributes that were asked of the holder of a delegation: a lone number in a line of its own.
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

/// Lines that a kernel does not print leave zeros.
#[derive(Debug, Default)]
struct Values {
    cache_hits: u64,
    cache_misses: u64,
    not_cached: u64,
    stale_handles: u64,
    read_bytes: u64,
    written_bytes: u64,
    threads: u64,
    read_ahead_size: u64,
    read_ahead_missed: u64,
    udp: u64,
    tcp: u64,
    connections: u64,
    calls: u64,
    bad_format: u64,
    bad_authentication: u64,
    bad_client: u64,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Nfsd {
        file: KeptFile::new(context.procfs(FILE)),
        statistics: Statistics::new(),
    }))
}

impl Collector for Nfsd {
    fn collect(&mut self, out: &mut Exposition) -> Result<(), CollectError> {
        let bytes = self.file.read().map_err(CollectError::optional)?;
        self.statistics.update(bytes)?;
        self.statistics.write(out);
        Ok(())
    }
}

impl Statistics {
    fn new() -> Self {
        Self {
            values: Values::default(),
            procedures: Procedures::new(&LINES, &HIDDEN),
        }
    }

    fn update(&mut self, bytes: &[u8]) -> Result<(), CollectError> {
        self.values = Values::default();
        self.procedures.clear();
        for line in lines(bytes) {
            self.take(line)
                .ok_or_else(|| CollectError::malformed(FILE, line))?;
        }
        Ok(())
    }

    fn take(&mut self, line: &[u8]) -> Option<()> {
        let mut parts = fields(line);
        let values = &mut self.values;
        match parts.next()? {
            b"rc" => {
                [values.cache_hits, values.cache_misses, values.not_cached] = parse_numbers(parts)?;
            }
            b"fh" => [values.stale_handles, ..] = parse_numbers::<5>(parts)?,
            b"io" => [values.read_bytes, values.written_bytes] = parse_numbers(parts)?,
            // Older kernels add a histogram of how busy the threads were.
            b"th" => values.threads = parts.next().and_then(parse_u64)?,
            b"ra" => {
                [values.read_ahead_size, .., values.read_ahead_missed] =
                    parse_numbers::<12>(parts)?;
            }
            b"net" => [_, values.udp, values.tcp, values.connections] = parse_numbers(parts)?,
            b"rpc" => {
                [
                    values.calls,
                    _,
                    values.bad_format,
                    values.bad_authentication,
                    values.bad_client,
                ] = parse_numbers(parts)?;
            }
            b"proc2" => self.procedures.take("proc2", parts)?,
            b"proc3" => self.procedures.take("proc3", parts)?,
            b"proc4ops" => self.procedures.take("proc4ops", parts)?,
            b"wdeleg_getattr" => self.procedures.set(DELEGATED, &parse_numbers::<1>(parts)?),
            _ => {}
        }
        Some(())
    }

    fn write(&self, out: &mut Exposition) {
        write_plain(&self.values, out);
        let help = "Packets exchanged with NFS clients.";
        let mut family = out.family(&["node_nfsd_packets_total"], &[help], Counter);
        family.sample(&[("proto", b"tcp")], self.values.tcp);
        family.sample(&[("proto", b"udp")], self.values.udp);
        drop(family);
        let help = "Remote calls that the NFS server could not accept, by reason.";
        let mut family = out.family(&["node_nfsd_rpc_errors_total"], &[help], Counter);
        family.sample(&[("error", b"auth")], self.values.bad_authentication);
        family.sample(&[("error", b"cInt")], self.values.bad_client);
        family.sample(&[("error", b"fmt")], self.values.bad_format);
        drop(family);
        let help = "Requests to the NFS server, by version and procedure.";
        self.procedures
            .write(&mut out.family(&["node_nfsd_requests_total"], &[help], Counter));
    }
}

fn write_plain(values: &Values, out: &mut Exposition) {
    let rows: [(&str, &str, MetricKind, u64); 11] = [
        (
            "connections_total",
            "TCP connections made by NFS clients.",
            Counter,
            values.connections,
        ),
        (
            "disk_bytes_read_total",
            "Bytes that the NFS server has read.",
            Counter,
            values.read_bytes,
        ),
        (
            "disk_bytes_written_total",
            "Bytes that the NFS server has written.",
            Counter,
            values.written_bytes,
        ),
        (
            "file_handles_stale_total",
            "File handles of clients whose file had gone.",
            Counter,
            values.stale_handles,
        ),
        (
            "read_ahead_cache_not_found_total",
            "Reads that the read-ahead cache knew nothing of.",
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
            "Repeated requests that were answered from the reply cache.",
            Counter,
            values.cache_hits,
        ),
        (
            "reply_cache_misses_total",
            "Requests whose reply was put into the reply cache.",
            Counter,
            values.cache_misses,
        ),
        (
            "reply_cache_nocache_total",
            "Requests whose reply needs no cache.",
            Counter,
            values.not_cached,
        ),
        (
            "server_rpcs_total",
            "Remote calls received by the NFS server.",
            Counter,
            values.calls,
        ),
        (
            "server_threads",
            "Threads of the NFS server.",
            Gauge,
            values.threads,
        ),
    ];
    for (name, help, kind, value) in rows {
        out.family(&["node_nfsd_", name], &[help], kind)
            .sample(&[], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_of_all_ages_are_read() {
        let mut statistics = Statistics::new();
        statistics
            .update(
                b"rc 1 2 3\nfh 4 0 0 0 0\nio 5 6\nth 8 0 0.000 0.1\nra 32 0 0 0 0 0 0 0 0 0 0 7\nnet 9 1 8 2\n\
                  rpc 10 6 1 2 3\nproc4 2 2 10853\nnovel 1\n",
            )
            .unwrap();
        let values = &statistics.values;
        assert_eq!(
            (values.cache_hits, values.cache_misses, values.not_cached),
            (1, 2, 3)
        );
        assert_eq!(
            (
                values.stale_handles,
                values.read_bytes,
                values.written_bytes
            ),
            (4, 5, 6)
        );
        assert_eq!(
            (
                values.threads,
                values.read_ahead_size,
                values.read_ahead_missed
            ),
            (8, 32, 7)
        );
        assert_eq!((values.udp, values.tcp, values.connections), (1, 8, 2));
        assert_eq!(
            (
                values.calls,
                values.bad_format,
                values.bad_authentication,
                values.bad_client
            ),
            (10, 1, 2, 3)
        );
        for line in ["rc 1 2", "fh 1", "io 1 x", "th", "ra 1", "wdeleg_getattr"] {
            assert!(statistics.update(line.as_bytes()).is_err(), "{line}");
        }
        statistics.update(b"net 9 1 8 2\n").unwrap();
        assert_eq!(statistics.values.threads, 0, "a line that is gone");
    }
}

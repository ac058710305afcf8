//! `meminfo`: memory usage, from `/proc/meminfo`.

use crate::collect::skipped::Skipped;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind, Value};
use crate::sources::{Deadline, KeptFile, fields, lines};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "meminfo",
    default_enabled: true,
    summary: "Memory usage, from /proc/meminfo.",
    options: &[],
    build,
};

const FILE: &str = "meminfo";

struct Meminfo {
    file: KeptFile,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Meminfo {
        file: KeptFile::new(context.procfs(FILE)),
    }))
}

impl Collector for Meminfo {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        write(self.file.read()?, out)
    }
}

fn write(bytes: &[u8], out: &mut Exposition) -> Result<(), CollectError> {
    let mut skipped = Skipped::default();
    for line in lines(bytes) {
        let Some((key, value)) = skipped.line(FILE, line, parse(line)) else {
            continue;
        };
        if let Some(name) = metric_name(key) {
            out.family(
                &["node_memory_", name],
                &["Memory field ", name, " from /proc/meminfo."],
                MetricKind::Gauge,
            )
            .sample(&[], value);
        }
    }
    skipped.result()
}

/// A line's key and its value, in bytes if the line has a unit.
fn parse(line: &[u8]) -> Option<(&[u8], Value)> {
    let mut parts = fields(line);
    let key = parts.next()?.strip_suffix(b":")?;
    let value = parts.next().and_then(Value::parse)?;
    match parts.next() {
        None => Some((key, value)),
        // The only unit that the kernel uses.
        Some(b"kB") => Some((key, value.times(1024))),
        Some(_) => None,
    }
}

/// The name of a line's metric after `node_memory_`. Lines that node_exporter does not know are left out, so that a new
/// kernel does not cause a difference.
fn metric_name(key: &[u8]) -> Option<&'static str> {
    Some(match key {
        b"Active" => "Active_bytes",
        b"Active(anon)" => "Active_anon_bytes",
        b"Active(file)" => "Active_file_bytes",
        b"AnonHugePages" => "AnonHugePages_bytes",
        b"AnonPages" => "AnonPages_bytes",
        b"Bounce" => "Bounce_bytes",
        b"Buffers" => "Buffers_bytes",
        b"Cached" => "Cached_bytes",
        b"CmaFree" => "CmaFree_bytes",
        b"CmaTotal" => "CmaTotal_bytes",
        b"CommitLimit" => "CommitLimit_bytes",
        b"Committed_AS" => "Committed_AS_bytes",
        b"DirectMap1G" => "DirectMap1G_bytes",
        b"DirectMap2M" => "DirectMap2M_bytes",
        b"DirectMap4k" => "DirectMap4k_bytes",
        b"Dirty" => "Dirty_bytes",
        b"HardwareCorrupted" => "HardwareCorrupted_bytes",
        b"HugePages_Free" => "HugePages_Free",
        b"HugePages_Rsvd" => "HugePages_Rsvd",
        b"HugePages_Surp" => "HugePages_Surp",
        b"HugePages_Total" => "HugePages_Total",
        b"Hugepagesize" => "Hugepagesize_bytes",
        b"Inactive" => "Inactive_bytes",
        b"Inactive(anon)" => "Inactive_anon_bytes",
        b"Inactive(file)" => "Inactive_file_bytes",
        b"KernelStack" => "KernelStack_bytes",
        b"Mapped" => "Mapped_bytes",
        b"MemAvailable" => "MemAvailable_bytes",
        b"MemFree" => "MemFree_bytes",
        b"MemTotal" => "MemTotal_bytes",
        b"Mlocked" => "Mlocked_bytes",
        b"NFS_Unstable" => "NFS_Unstable_bytes",
        b"PageTables" => "PageTables_bytes",
        b"Percpu" => "Percpu_bytes",
        b"SReclaimable" => "SReclaimable_bytes",
        b"SUnreclaim" => "SUnreclaim_bytes",
        b"Shmem" => "Shmem_bytes",
        b"ShmemHugePages" => "ShmemHugePages_bytes",
        b"ShmemPmdMapped" => "ShmemPmdMapped_bytes",
        b"Slab" => "Slab_bytes",
        b"SwapCached" => "SwapCached_bytes",
        b"SwapFree" => "SwapFree_bytes",
        b"SwapTotal" => "SwapTotal_bytes",
        b"Unevictable" => "Unevictable_bytes",
        b"VmallocChunk" => "VmallocChunk_bytes",
        b"VmallocTotal" => "VmallocTotal_bytes",
        b"VmallocUsed" => "VmallocUsed_bytes",
        b"Writeback" => "Writeback_bytes",
        b"WritebackTmp" => "WritebackTmp_bytes",
        b"Zswap" => "Zswap_bytes",
        b"Zswapped" => "Zswapped_bytes",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kilobytes_become_bytes_and_counts_stay() {
        assert_eq!(
            parse(b"MemTotal:       24684092 kB"),
            Some((b"MemTotal".as_slice(), Value::Integer(24_684_092 * 1024)))
        );
        assert_eq!(
            parse(b"HugePages_Total:       7"),
            Some((b"HugePages_Total".as_slice(), Value::Integer(7)))
        );
        assert_eq!(parse(b"MemTotal: 5 MB"), None);
        // A container's file system that subtracts too much shows this.
        assert_eq!(
            parse(b"SwapFree: 18446744073709547520 kB"),
            Some((
                b"SwapFree".as_slice(),
                Value::Float(1.888_946_593_147_857_7e22)
            ))
        );
        assert_eq!(parse(b"MemTotal: x kB"), None);
        assert_eq!(parse(b"MemTotal 5 kB"), None);
    }

    #[test]
    fn an_unknown_line_is_passed_over_and_a_broken_one_costs_only_itself() {
        let mut out = Exposition::default();
        let text = b"\nMemTotal:\nMemFree: 1 kB\nNewInLinux9: 2 kB\n";
        let error = write(text, &mut out).unwrap_err().to_string();
        assert!(error.contains("\"MemTotal:\""), "{error}");
        let mut text = Vec::new();
        out.append_sorted(&mut text);
        let samples = String::from_utf8(text)
            .unwrap()
            .lines()
            .filter(|line| !line.starts_with('#'))
            .count();
        assert_eq!(samples, 1);
    }
}

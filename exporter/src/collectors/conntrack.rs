//! `conntrack`: the size of the connection tracking table, and statistics of its entries.

use crate::collect::skipped::Skipped;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, fields, lines, parse_hex, parse_u64, trim};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "conntrack",
    default_enabled: true,
    summary: "Tracked connections, from /proc/sys/net/netfilter and /proc/net/stat.",
    options: &[],
    build,
};

const COUNT: &str = "sys/net/netfilter/nf_conntrack_count";
const LIMIT: &str = "sys/net/netfilter/nf_conntrack_max";
const STATISTICS: &str = "net/stat/nf_conntrack";
/// The columns that are shown: their position, the end of the metric name, and the help text.
const COLUMNS: [(usize, &str, &str); 8] = [
    (
        10,
        "drop",
        "Packets dropped because no entry could be created or a protocol helper refused them.",
    ),
    (
        11,
        "early_drop",
        "Entries dropped to make room in a full table.",
    ),
    (2, "found", "Lookups that found an entry."),
    (5, "ignore", "Packets that already had an entry."),
    (8, "insert", "Entries inserted."),
    (
        9,
        "insert_failed",
        "Entries that could not be inserted, for example because another packet was faster.",
    ),
    (4, "invalid", "Packets that cannot be tracked."),
    (
        16,
        "search_restart",
        "Lookups restarted because the table was resized.",
    ),
];
/// The columns that every kernel prints; the last one came with Linux 2.6.35.
const OLDEST_WIDTH: usize = 16;

struct Conntrack {
    count: KeptFile,
    limit: KeptFile,
    statistics: KeptFile,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Conntrack {
        count: KeptFile::new(context.procfs(COUNT)),
        limit: KeptFile::new(context.procfs(LIMIT)),
        statistics: KeptFile::new(context.procfs(STATISTICS)),
    }))
}

impl Collector for Conntrack {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let mut skipped = Skipped::default();
        for (file, name, key, help) in [
            (
                &mut self.count,
                COUNT,
                "node_nf_conntrack_entries",
                "Number of entries in the connection tracking table.",
            ),
            (
                &mut self.limit,
                LIMIT,
                "node_nf_conntrack_entries_limit",
                "Maximum number of entries in the connection tracking table.",
            ),
        ] {
            let bytes = file.read().map_err(CollectError::optional)?;
            if let Some(value) = skipped.line(name, bytes, parse_u64(trim(bytes))) {
                out.family(&[key], &[help], MetricKind::Gauge)
                    .sample(&[], value);
            }
        }
        let bytes = self.statistics.read().map_err(CollectError::optional)?;
        for ((_, name, help), sum) in COLUMNS.into_iter().zip(parse(bytes, &mut skipped)) {
            out.family(
                &["node_nf_conntrack_stat_", name],
                &[help],
                MetricKind::Gauge,
            )
            .sample(&[], sum);
        }
        skipped.result()
    }
}

/// The sums of the shown columns over all CPUs, each of which has one line.
fn parse(bytes: &[u8], skipped: &mut Skipped) -> [u64; COLUMNS.len()] {
    let mut sums = [0_u64; COLUMNS.len()];
    for line in lines(bytes).skip(1) {
        let counts = skipped.line(STATISTICS, line, parse_cpu(line));
        for (sum, count) in sums.iter_mut().zip(counts.into_iter().flatten()) {
            *sum = sum.wrapping_add(count);
        }
    }
    sums
}

/// The shown columns of a CPU's line; 0 for a column that the kernel does not have yet.
fn parse_cpu(line: &[u8]) -> Option<[u64; COLUMNS.len()]> {
    let columns: Vec<u64> = fields(line).map(parse_hex).collect::<Option<_>>()?;
    let shown = COLUMNS.map(|(column, ..)| columns.get(column).copied().unwrap_or_default());
    (columns.len() >= OLDEST_WIDTH).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;

    fn parse(bytes: &[u8]) -> Result<[u64; COLUMNS.len()], CollectError> {
        whole(|skipped| crate::collectors::conntrack::parse(bytes, skipped))
    }

    #[test]
    fn columns_are_summed_over_cpus_with_and_without_the_newest() {
        let file = b"entries searched found new invalid ignore delete delete_list insert insert_failed drop early_drop \
            icmp_error expect_new expect_create expect_delete search_restart\n\
            21 0 a 0 b c 0 0 d e f 10 0 0 0 0 ff\n\
            21 0 1 0 2 3 0 0 4 5 6 7 0 0 0 0 1\n";
        let sums = parse(file).unwrap();
        assert_eq!(sums, [21, 23, 11, 15, 17, 19, 13, 256]);
        let old = b"heading\n21 0 a 0 b c 0 0 d e f 10 0 0 0 0\n";
        assert_eq!(parse(old).unwrap()[7], 0);
        assert!(parse(b"heading\n21 0 a\n").is_err());
        assert!(parse(b"heading\n21 0 zz\n").is_err());
    }
}

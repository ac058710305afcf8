//! `sockstat`: how many sockets there are and how much memory they hold, from `/proc/net/sockstat` and `sockstat6`.

use crate::collect::skipped::Skipped;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, fields, lines, parse_signed};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "sockstat",
    default_enabled: true,
    summary: "Sockets by protocol, from /proc/net/sockstat and /proc/net/sockstat6.",
    options: &[],
    build,
};

const IPV4: &str = "net/sockstat";
const IPV6: &str = "net/sockstat6";
/// The counts that have metrics, as the kernel names them.
const KEYS: [&str; 6] = ["inuse", "orphan", "tw", "alloc", "mem", "memory"];
/// Of these the kernel counts pages.
const PAGES: &str = "mem";

struct Sockstat {
    ipv4: KeptFile,
    ipv6: KeptFile,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Sockstat {
        ipv4: KeptFile::new(context.procfs(IPV4)),
        ipv6: KeptFile::new(context.procfs(IPV6)),
    }))
}

impl Collector for Sockstat {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let page = rustix::param::page_size() as f64;
        let mut skipped = Skipped::default();
        for (file, name) in [(&mut self.ipv4, IPV4), (&mut self.ipv6, IPV6)] {
            match file.read() {
                Ok(bytes) => write(bytes, name, page, &mut skipped, out),
                // The kernel was built or booted without this family.
                Err(error) if error.is_absent() => {}
                Err(error) => skipped.add(error.into()),
            }
        }
        skipped.result()
    }
}

fn write(bytes: &[u8], file: &'static str, page: f64, skipped: &mut Skipped, out: &mut Exposition) {
    for line in lines(bytes) {
        let Some((protocol, counts)) = skipped.line(file, line, parse(line)) else {
            continue;
        };
        if protocol == "sockets" {
            if file == IPV4 {
                let used = count_of(&counts, "used").unwrap_or_default();
                let help = "Number of sockets in use, of all protocols.";
                out.family(&["node_sockstat_sockets_used"], &[help], MetricKind::Gauge)
                    .sample(&[], used);
            }
            continue;
        }
        for key in KEYS {
            // A protocol that says nothing about it has none in use.
            let absent = (key == "inuse").then_some(0.0);
            if let Some(count) = count_of(&counts, key).or(absent) {
                write_count(protocol, key, count, out);
            }
        }
        if let Some(pages) = count_of(&counts, PAGES) {
            write_count(protocol, "mem_bytes", pages * page, out);
        }
    }
}

fn write_count(protocol: &str, key: &str, count: f64, out: &mut Exposition) {
    out.family(
        &["node_sockstat_", protocol, "_", key],
        &["Socket statistics of ", protocol, ": ", key, "."],
        MetricKind::Gauge,
    )
    .sample(&[], count);
}

type Counts<'a> = Vec<(&'a [u8], f64)>;

/// A line's protocol and its counts, each a name and a number.
fn parse(line: &[u8]) -> Option<(&str, Counts<'_>)> {
    let mut parts = fields(line);
    let protocol = str::from_utf8(parts.next()?.strip_suffix(b":")?).ok()?;
    let mut counts = Vec::new();
    while let Some(key) = parts.next() {
        counts.push((key, parts.next().and_then(parse_signed)?));
    }
    Some((protocol, counts)).filter(|(_, counts)| !counts.is_empty())
}

fn count_of(counts: &[(&[u8], f64)], key: &str) -> Option<f64> {
    let found = counts.iter().find(|(name, _)| *name == key.as_bytes());
    found.map(|(_, count)| *count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;

    fn write(
        bytes: &[u8],
        file: &'static str,
        page: f64,
        out: &mut Exposition,
    ) -> Result<(), CollectError> {
        whole(|skipped| crate::collectors::sockstat::write(bytes, file, page, skipped, out))
    }

    #[test]
    fn pages_become_bytes_and_unknown_counts_stay_unknown() {
        let mut out = Exposition::default();
        write(
            b"sockets: used 229\nTCP: inuse 4 mem 2 new 7\nFRAG: memory 5\n",
            IPV4,
            4096.0,
            &mut out,
        )
        .unwrap();
        let mut text = Vec::new();
        out.append_sorted(&mut text);
        let text = String::from_utf8(text).unwrap();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "node_sockstat_FRAG_inuse 0",
                "node_sockstat_FRAG_memory 5",
                "node_sockstat_TCP_inuse 4",
                "node_sockstat_TCP_mem 2",
                "node_sockstat_TCP_mem_bytes 8192",
                "node_sockstat_sockets_used 229",
            ]
        );
    }

    #[test]
    fn a_line_that_is_none_is_an_error() {
        for line in ["TCP inuse 1", "TCP:", "TCP: inuse", "TCP: inuse x"] {
            assert!(parse(line.as_bytes()).is_none(), "{line}");
        }
    }
}

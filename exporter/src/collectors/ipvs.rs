//! `ipvs`: traffic of the kernel's load balancer and the state of its backends, from `/proc/net/ip_vs_stats` and
//! `/proc/net/ip_vs`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::collect::skipped::Skipped;
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, fields, lines, parse_hex, parse_u64};

const LABELS: &str = "collector.ipvs.backend-labels";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "ipvs",
    default_enabled: true,
    summary: "IPVS load balancing, from /proc/net/ip_vs and /proc/net/ip_vs_stats.",
    options: &[OptionSpec::list(
        LABELS,
        "local_address,local_port,remote_address,remote_port,proto,local_mark",
        "Labels of the backends; backends whose labels are equal are added up.",
    )],
    build,
};

const STATISTICS: &str = "net/ip_vs_stats";
const BACKENDS: &str = "net/ip_vs";
/// The columns of the line of totals, all hexadecimal.
const TOTALS: [(&str, &str); 5] = [
    (
        "node_ipvs_connections_total",
        "Number of connections balanced.",
    ),
    (
        "node_ipvs_incoming_packets_total",
        "Packets received from clients.",
    ),
    (
        "node_ipvs_outgoing_packets_total",
        "Packets sent to clients.",
    ),
    (
        "node_ipvs_incoming_bytes_total",
        "Bytes received from clients.",
    ),
    ("node_ipvs_outgoing_bytes_total", "Bytes sent to clients."),
];
/// The totals follow two lines of headings.
const TOTALS_LINE: usize = 2;
/// In order of name, as their values stand in [`Key`].
const ALL_LABELS: [&str; 6] = [
    "local_address",
    "local_mark",
    "local_port",
    "proto",
    "remote_address",
    "remote_port",
];

struct Ipvs {
    statistics: KeptFile,
    backends: KeptFile,
    shown: [bool; ALL_LABELS.len()],
}

/// The values of [`ALL_LABELS`]; labels that are not shown are empty.
type Key = [String; ALL_LABELS.len()];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Backend {
    active: u64,
    inactive: u64,
    weight: u64,
}

/// The virtual service to which a backend belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Service {
    protocol: String,
    address: String,
    port: String,
    mark: String,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let chosen = context.list(LABELS, &ALL_LABELS)?;
    Ok(Box::new(Ipvs {
        statistics: KeptFile::new(context.procfs(STATISTICS)),
        backends: KeptFile::new(context.procfs(BACKENDS)),
        shown: ALL_LABELS.map(|label| chosen.contains(&label)),
    }))
}

impl Collector for Ipvs {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let mut skipped = Skipped::default();
        let statistics = self.statistics.read().map_err(CollectError::optional)?;
        let totals = skipped.part(parse_totals(statistics)).into_iter().flatten();
        for ((name, help), total) in TOTALS.into_iter().zip(totals) {
            out.family(&[name], &[help], MetricKind::Counter)
                .sample(&[], total);
        }
        let backends = parse_backends(self.backends.read()?, self.shown, &mut skipped);
        write_backends(&backends, self.shown, out);
        skipped.result()
    }
}

fn parse_totals(bytes: &[u8]) -> Result<[u64; TOTALS.len()], CollectError> {
    let line = lines(bytes).nth(TOTALS_LINE).unwrap_or_default();
    let malformed = || CollectError::malformed(STATISTICS, line);
    let mut totals = [0; TOTALS.len()];
    let mut columns = fields(line);
    for slot in &mut totals {
        *slot = columns.next().and_then(parse_hex).ok_or_else(malformed)?;
    }
    Ok(totals)
}

fn parse_backends(
    bytes: &[u8],
    shown: [bool; ALL_LABELS.len()],
    skipped: &mut Skipped,
) -> BTreeMap<Key, Backend> {
    let mut backends = BTreeMap::<Key, Backend>::new();
    // Backends of a service that cannot be read are left out, too.
    let mut service = None;
    for line in lines(bytes) {
        let mut parts = fields(line);
        match (parts.next(), parts.next()) {
            (Some(b"TCP" | b"UDP" | b"SCTP" | b"FWM"), Some(_)) => {
                service = skipped.line(BACKENDS, line, parse_service(line));
            }
            // The last line of the headings looks like that of a backend.
            (Some(b"->"), Some(b"RemoteAddress:Port")) => {}
            (Some(b"->"), Some(_)) => {
                let read = skipped.line(BACKENDS, line, parse_backend(line));
                let (Some(service), Some((address, port, backend))) = (&service, read) else {
                    continue;
                };
                let sum = backends
                    .entry(key(service, address, port, shown))
                    .or_default();
                sum.active = sum.active.wrapping_add(backend.active);
                sum.inactive = sum.inactive.wrapping_add(backend.inactive);
                sum.weight = sum.weight.wrapping_add(backend.weight);
            }
            (Some(b"IP" | b"Prot"), _) => {}
            // The line should be a service or a backend.
            (Some(_), Some(_)) if !line.starts_with(b" ") => {
                service = skipped.line(BACKENDS, line, None);
            }
            _ => {
                skipped.line::<()>(BACKENDS, line, None);
            }
        }
    }
    backends
}

fn key(service: &Service, address: String, port: String, shown: [bool; ALL_LABELS.len()]) -> Key {
    let service = service.clone();
    let mut key = [
        service.address,
        service.mark,
        service.port,
        service.protocol,
        address,
        port,
    ];
    for (value, shown) in key.iter_mut().zip(shown) {
        if !shown {
            value.clear();
        }
    }
    key
}

/// A service is a protocol and an address, or a mark of the firewall.
fn parse_service(line: &[u8]) -> Option<Service> {
    let mut parts = fields(line);
    let protocol = text(parts.next()?)?;
    let place = parts.next()?;
    if protocol == "FWM" {
        return Some(Service {
            protocol,
            port: "0".to_owned(),
            mark: text(place)?,
            ..Service::default()
        });
    }
    let (address, port) = parse_endpoint(place)?;
    Some(Service {
        protocol,
        address,
        port,
        ..Service::default()
    })
}

/// `-> ADDRESS:PORT FORWARD WEIGHT ACTIVE INACTIVE`
fn parse_backend(line: &[u8]) -> Option<(String, String, Backend)> {
    let mut parts = fields(line).skip(1);
    let (address, port) = parse_endpoint(parts.next()?)?;
    let mut numbers = parts.skip(1).map(parse_u64);
    let backend = Backend {
        weight: numbers.next()??,
        active: numbers.next()??,
        inactive: numbers.next()??,
    };
    Some((address, port, backend))
}

/// `C0A80016:0CEA`, or `[2001:0db8:…:0001]:0CEA`.
fn parse_endpoint(endpoint: &[u8]) -> Option<(String, String)> {
    let colon = endpoint.iter().rposition(|&byte| byte == b':')?;
    let (address, port) = endpoint.split_at_checked(colon)?;
    let port = u16::try_from(parse_hex(port.get(1..)?)?).ok()?;
    let address = match address.strip_prefix(b"[") {
        Some(rest) => {
            let inside = str::from_utf8(rest.strip_suffix(b"]")?).ok()?;
            let address: Ipv6Addr = inside.parse().ok()?;
            address.to_canonical().to_string()
        }
        None => Ipv4Addr::from_bits(u32::try_from(parse_hex(address)?).ok()?).to_string(),
    };
    Some((address, port.to_string()))
}

fn text(bytes: &[u8]) -> Option<String> {
    str::from_utf8(bytes).ok().map(str::to_owned)
}

type Column = fn(&Backend) -> u64;

fn write_backends(
    backends: &BTreeMap<Key, Backend>,
    shown: [bool; ALL_LABELS.len()],
    out: &mut Exposition,
) {
    let columns: [(&str, &str, Column); 3] = [
        (
            "node_ipvs_backend_connections_active",
            "Number of active connections of the backend.",
            |backend| backend.active,
        ),
        (
            "node_ipvs_backend_connections_inactive",
            "Number of inactive connections of the backend.",
            |backend| backend.inactive,
        ),
        (
            "node_ipvs_backend_weight",
            "Weight of the backend.",
            |backend| backend.weight,
        ),
    ];
    for (name, help, value) in columns {
        let mut family = out.family(&[name], &[help], MetricKind::Gauge);
        for (key, backend) in backends {
            let labels = ALL_LABELS.into_iter().zip(key).zip(shown);
            let labels: Vec<_> = labels
                .filter(|(_, shown)| *shown)
                .map(|((label, value), _)| (label, value.as_bytes()))
                .collect();
            family.sample(&labels, value(backend));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;

    fn parse_backends(
        bytes: &[u8],
        shown: [bool; ALL_LABELS.len()],
    ) -> Result<BTreeMap<Key, Backend>, CollectError> {
        whole(|skipped| crate::collectors::ipvs::parse_backends(bytes, shown, skipped))
    }

    const TABLE: &[u8] = b"IP Virtual Server version 1.2.1 (size=4096)\n\
        Prot LocalAddress:Port Scheduler Flags\n  \
        -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
        TCP  C0A80016:0CEA wlc\n  \
        -> C0A85216:0CEA      Tunnel  100    248        2\n  \
        -> C0A85215:0CEA      Tunnel  50     1          3\n\
        TCP  [2001:0db8:0000:0000:0000:0000:0000:0001]:0050 rr\n  \
        -> [2001:0db8:0000:0000:0000:0000:0000:0002]:0050 Masq 1 5 6\n\
        FWM  10001000 wlc\n  \
        -> C0A83215:0CEA      Route   20     64         1\n";

    #[test]
    fn every_backend_knows_its_service() {
        let backends = parse_backends(TABLE, [true; 6]).unwrap();
        let rows: Vec<_> = backends
            .iter()
            .map(|(key, backend)| {
                (
                    key.join(" "),
                    backend.weight,
                    backend.active,
                    backend.inactive,
                )
            })
            .collect();
        assert_eq!(
            rows,
            [
                (" 10001000 0 FWM 192.168.50.21 3306".to_owned(), 20, 64, 1),
                (
                    "192.168.0.22  3306 TCP 192.168.82.21 3306".to_owned(),
                    50,
                    1,
                    3
                ),
                (
                    "192.168.0.22  3306 TCP 192.168.82.22 3306".to_owned(),
                    100,
                    248,
                    2
                ),
                ("2001:db8::1  80 TCP 2001:db8::2 80".to_owned(), 1, 5, 6),
            ]
        );
    }

    #[test]
    fn backends_that_differ_in_no_label_are_added_up() {
        let backends = parse_backends(TABLE, [true, false, false, false, false, false]).unwrap();
        let sums: Vec<_> = backends
            .iter()
            .map(|(key, backend)| (key[0].as_str(), backend.weight))
            .collect();
        assert_eq!(sums, [("", 20), ("192.168.0.22", 150), ("2001:db8::1", 1)]);
    }

    #[test]
    fn totals_are_the_third_line() {
        let file = b"heading\nheading\n 16AA370 E33656E5 0 51D8C8883AB3 a\n\n";
        assert_eq!(
            parse_totals(file).unwrap(),
            [23_765_872, 3_811_989_221, 0, 89_991_519_156_915, 10]
        );
        assert!(parse_totals(b"heading\nheading\n1 2 3\n").is_err());
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for endpoint in [
            "C0A80016",
            "C0A80016:",
            "C0A80016:1FFFF",
            "C0A8001600:0001",
            "[::1:0001",
            "[x]:0001",
        ] {
            assert!(parse_endpoint(endpoint.as_bytes()).is_none(), "{endpoint}");
        }
        assert_eq!(
            parse_endpoint(b"[0000:0000:0000:0000:0000:ffff:0a00:0001]:0001"),
            Some(("10.0.0.1".to_owned(), "1".to_owned()))
        );
    }
}

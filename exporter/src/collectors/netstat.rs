//! `netstat`: selected counters of the network protocols, from `/proc/net/netstat`, `snmp` and `snmp6`.

use crate::collect::field_selection::FieldSelection;
use crate::collect::skipped::Skipped;
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::{Exposition, MetricKind, Value};
use crate::sources::{Deadline, KeptFile, fields, lines};

const FIELDS: &str = "collector.netstat.fields";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "netstat",
    default_enabled: true,
    summary: "Counters of IP, ICMP, TCP and UDP, from /proc/net/netstat, snmp and snmp6.",
    options: &[OptionSpec::pattern(
        FIELDS,
        "^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)|TcpExt_(Listen.*|\
         Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|\
         PassiveOpens|RetransSegs|CurrEstab)|Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$",
        "Regular expression of the fields to show, matched against PROTOCOL_FIELD.",
    )],
    build,
};

const EXTENDED: &str = "net/netstat";
const IPV4: &str = "net/snmp";
const IPV6: &str = "net/snmp6";

struct Netstat {
    extended: Source,
    ipv4: Source,
    ipv6: Source,
}

struct Source {
    file: KeptFile,
    shown: Shown,
}

/// The fields that are shown of one file, and a buffer for a field's full name.
struct Shown {
    selection: FieldSelection,
    name: Vec<u8>,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let pattern = context.pattern(FIELDS)?;
    let source = |file| Source {
        file: KeptFile::new(context.procfs(file)),
        shown: Shown {
            selection: FieldSelection::new(pattern.clone()),
            name: Vec::new(),
        },
    };
    Ok(Box::new(Netstat {
        extended: source(EXTENDED),
        ipv4: source(IPV4),
        ipv6: source(IPV6),
    }))
}

impl Collector for Netstat {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let mut skipped = Skipped::default();
        for (source, name) in [(&mut self.extended, EXTENDED), (&mut self.ipv4, IPV4)] {
            if let Some(bytes) = skipped.part(source.file.read()) {
                write_tables(bytes, name, &mut source.shown, &mut skipped, out);
            }
        }
        match self.ipv6.file.read() {
            Ok(bytes) => write_list(bytes, &mut self.ipv6.shown, &mut skipped, out),
            // The kernel was built or booted without IPv6.
            Err(error) if error.is_absent() => {}
            Err(error) => skipped.add(error.into()),
        }
        skipped.result()
    }
}

/// Writes a file in which each protocol has a line of names and a line of values.
fn write_tables(
    bytes: &[u8],
    file: &'static str,
    shown: &mut Shown,
    skipped: &mut Skipped,
    out: &mut Exposition,
) {
    let mut place = 0;
    let mut names: Option<&[u8]> = None;
    for line in lines(bytes) {
        match names.take() {
            Some(above) if fields(above).next() == fields(line).next() => {
                let read = write_table(above, line, &mut place, shown, out);
                skipped.line(file, line, read);
            }
            // One of a protocol's two lines is missing or has another name, so this is the first line of another protocol.
            above => {
                if let Some(above) = above {
                    skipped.line::<()>(file, above, None);
                }
                names = Some(line);
            }
        }
    }
    if let Some(above) = names {
        skipped.line::<()>(file, above, None);
    }
}

/// Writes one protocol's fields. `None` if one of them cannot be read, or if the numbers of names and values differ.
fn write_table(
    names: &[u8],
    values: &[u8],
    place: &mut usize,
    shown: &mut Shown,
    out: &mut Exposition,
) -> Option<()> {
    if fields(names).count() != fields(values).count() {
        return None;
    }
    let (mut names, values) = (fields(names), fields(values));
    let protocol = names.next()?.strip_suffix(b":")?;
    let mut all = Some(());
    for (name, value) in names.zip(values.skip(1)) {
        let written =
            Value::parse(value).and_then(|value| shown.write(*place, protocol, name, value, out));
        *place += usize::from(written.is_some());
        all = all.and(written);
    }
    all
}

/// Writes a file with a name and a value in each line. The protocol is the name up to its 6.
fn write_list(bytes: &[u8], shown: &mut Shown, skipped: &mut Skipped, out: &mut Exposition) {
    let mut place = 0;
    for line in lines(bytes) {
        let mut parts = fields(line);
        let (Some(whole), Some(value)) = (parts.next(), parts.next()) else {
            continue;
        };
        let Some(six) = whole.iter().position(|&byte| byte == b'6') else {
            continue;
        };
        let written = whole
            .split_at_checked(six + 1)
            .zip(Value::parse(value))
            .and_then(|((protocol, name), value)| shown.write(place, protocol, name, value, out));
        place += usize::from(skipped.line(IPV6, line, written).is_some());
    }
}

impl Shown {
    /// Writes one field if it is selected. `None` if its name is not text.
    fn write(
        &mut self,
        place: usize,
        protocol: &[u8],
        name: &[u8],
        value: Value,
        out: &mut Exposition,
    ) -> Option<()> {
        self.name.clear();
        self.name.extend_from_slice(protocol);
        self.name.push(b'_');
        self.name.extend_from_slice(name);
        if self.selection.shows(place, &self.name) {
            let name = str::from_utf8(&self.name).ok()?;
            out.family(
                &["node_netstat_", name],
                &["Network protocol counter ", name, "."],
                MetricKind::Untyped,
            )
            .sample(&[], value);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;

    fn write_tables(
        bytes: &[u8],
        file: &'static str,
        shown: &mut Shown,
        out: &mut Exposition,
    ) -> Result<(), CollectError> {
        whole(|skipped| crate::collectors::netstat::write_tables(bytes, file, shown, skipped, out))
    }

    fn write_list(
        bytes: &[u8],
        shown: &mut Shown,
        out: &mut Exposition,
    ) -> Result<(), CollectError> {
        whole(|skipped| crate::collectors::netstat::write_list(bytes, shown, skipped, out))
    }

    fn shown() -> Shown {
        Shown {
            selection: FieldSelection::new(None),
            name: Vec::new(),
        }
    }

    fn samples(out: &mut Exposition) -> Vec<String> {
        let mut text = Vec::new();
        out.append_sorted(&mut text);
        let text = String::from_utf8(text).unwrap();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn two_lines_make_a_table() {
        let mut out = Exposition::default();
        write_tables(
            b"Tcp: MaxConn InSegs\nTcp: -1 57252008\nUdp: NoPorts\nUdp: 120\n",
            IPV4,
            &mut shown(),
            &mut out,
        )
        .unwrap();
        assert_eq!(
            samples(&mut out),
            [
                "node_netstat_Tcp_InSegs 5.7252008e+07",
                "node_netstat_Tcp_MaxConn -1",
                "node_netstat_Udp_NoPorts 120"
            ]
        );
    }

    #[test]
    fn the_protocol_ends_with_its_six() {
        let mut out = Exposition::default();
        write_list(
            b"Ip6InOctets\t7\nUdpLite6InErrors 3\nOdd 9\n",
            &mut shown(),
            &mut out,
        )
        .unwrap();
        assert_eq!(
            samples(&mut out),
            [
                "node_netstat_Ip6_InOctets 7",
                "node_netstat_UdpLite6_InErrors 3"
            ]
        );
    }

    #[test]
    fn names_and_values_must_fit() {
        for file in [
            "Tcp: A B\nTcp: 1\n",
            "Tcp: A\nTcp: 1 2\n",
            "Tcp: A\n",
            "Tcp: A\nUdp: 1\n",
            "Tcp A\nTcp 1\n",
            "Tcp: A\nTcp: x\n",
        ] {
            let result = write_tables(
                file.as_bytes(),
                IPV4,
                &mut shown(),
                &mut Exposition::default(),
            );
            assert!(result.is_err(), "{file:?}");
        }
        assert!(write_list(b"Ip6InOctets x\n", &mut shown(), &mut Exposition::default()).is_err());
    }
}

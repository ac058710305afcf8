//! `udp_queues`: bytes in the queues of all UDP sockets, from `/proc/net/udp` and `udp6`.

use crate::collect::skipped::Skipped;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, KeptFile, fields, lines, parse_hex};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "udp_queues",
    default_enabled: true,
    summary: "Bytes in the queues of UDP sockets, from /proc/net/udp and /proc/net/udp6.",
    options: &[],
    build,
};

const IPV4: &str = "net/udp";
const IPV6: &str = "net/udp6";

struct UdpQueues {
    ipv4: KeptFile,
    ipv6: KeptFile,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Queues {
    receive: u64,
    transmit: u64,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(UdpQueues {
        ipv4: KeptFile::new(context.procfs(IPV4)),
        ipv6: KeptFile::new(context.procfs(IPV6)),
    }))
}

impl Collector for UdpQueues {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let help = "Bytes of UDP datagrams queued in the kernel, by queue.";
        let mut family = out.family(&["node_udp_queues"], &[help], MetricKind::Gauge);
        let mut skipped = Skipped::default();
        let mut absent = None;
        let mut present = false;
        for (file, name, ip) in [(&mut self.ipv4, IPV4, b"v4"), (&mut self.ipv6, IPV6, b"v6")] {
            match file.read() {
                Ok(bytes) => {
                    let queues = sum(bytes, name, &mut skipped);
                    family.sample(&[("ip", ip), ("queue", b"rx")], queues.receive);
                    family.sample(&[("ip", ip), ("queue", b"tx")], queues.transmit);
                    present = true;
                }
                // The kernel was built or booted without this family.
                Err(error) if error.is_absent() => absent = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        match absent {
            Some(error) if !present => Err(CollectError::optional(error)),
            _ => skipped.result(),
        }
    }
}

/// The sums over all sockets, each of which has a line.
fn sum(bytes: &[u8], file: &'static str, skipped: &mut Skipped) -> Queues {
    let mut sum = Queues::default();
    for line in lines(bytes).skip(1) {
        if let Some(queues) = skipped.line(file, line, parse(line)) {
            sum.receive = sum.receive.saturating_add(queues.receive);
            sum.transmit = sum.transmit.saturating_add(queues.transmit);
        }
    }
    sum
}

fn parse(line: &[u8]) -> Option<Queues> {
    let queues = fields(line).nth(4)?;
    let colon = queues.iter().position(|&byte| byte == b':')?;
    let (transmit, receive) = queues.split_at_checked(colon)?;
    Some(Queues {
        receive: parse_hex(receive.get(1..)?)?,
        transmit: parse_hex(transmit)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::skipped::whole;

    fn sum(bytes: &[u8], file: &'static str) -> Result<Queues, CollectError> {
        whole(|skipped| crate::collectors::udp_queues::sum(bytes, file, skipped))
    }

    #[test]
    fn queues_are_hexadecimal_and_summed() {
        let file = b"sl local rem st tx_queue rx_queue\n\
            0: 0100007F:0035 00000000:0000 07 00000010:000000FF 00:00000000 00000000 0 0 1 2 0 0\n\
            9: 0100007F:0036 00000000:0000 07 00000001:00000001 00:00000000 00000000 0 0 1 2 0 0\n";
        let expected = Queues {
            receive: 256,
            transmit: 17,
        };
        assert_eq!(sum(file, IPV4).unwrap(), expected);
        assert_eq!(sum(b"sl local\n", IPV4).unwrap(), Queues::default());
        for line in ["0: a b 07", "0: a b 07 0010", "0: a b 07 0010:xx"] {
            assert!(parse(line.as_bytes()).is_none(), "{line}");
        }
    }
}

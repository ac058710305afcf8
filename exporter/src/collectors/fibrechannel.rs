//! `fibrechannel`: the ports of Fibre Channel adapters, from `/sys/class/fc_host`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::collect::skipped::Skipped;
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{Deadline, Directory, ReadError, list_directories, parse_prefixed};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "fibrechannel",
    default_enabled: true,
    summary: "Ports of Fibre Channel adapters, from /sys/class/fc_host.",
    options: &[],
    build,
};

/// The attributes of the info metric, ordered by their labels' names, which are the files' names.
const WORDS: [&str; 10] = [
    "dev_loss_tmo",
    "fabric_name",
    "port_id",
    "port_name",
    "port_state",
    "port_type",
    "speed",
    "supported_classes",
    "supported_speeds",
    "symbolic_name",
];
/// Their prefix `0x` is removed.
const IDENTIFIERS: [&str; 3] = ["fabric_name", "port_id", "port_name"];
/// The counters below `statistics`: the file, the rest of the metric's name and its help.
const COUNTERS: [(&str, &str, &str); 14] = [
    ("dumped_frames", "dumped_frames_total", "Frames dumped."),
    ("error_frames", "error_frames_total", "Frames with errors."),
    (
        "fcp_packet_aborts",
        "fcp_packet_aborts_total",
        "SCSI packets aborted.",
    ),
    (
        "invalid_crc_count",
        "invalid_crc_total",
        "Frames with an invalid checksum (CRC).",
    ),
    (
        "invalid_tx_word_count",
        "invalid_tx_words_total",
        "Invalid words transmitted by the port.",
    ),
    (
        "link_failure_count",
        "link_failure_total",
        "Link failures of the port.",
    ),
    (
        "loss_of_signal_count",
        "loss_of_signal_total",
        "Times that the signal was lost.",
    ),
    (
        "loss_of_sync_count",
        "loss_of_sync_total",
        "Times that bit or word synchronization was lost.",
    ),
    (
        "nos_count",
        "nos_total",
        "Not-operational primitive sequences received.",
    ),
    ("rx_frames", "rx_frames_total", "Frames received."),
    ("rx_words", "rx_words_total", "Words received."),
    (
        "seconds_since_last_reset",
        "seconds_since_last_reset_total",
        "Seconds since the last reset of the port's statistics.",
    ),
    ("tx_frames", "tx_frames_total", "Frames sent."),
    ("tx_words", "tx_words_total", "Words sent."),
];
/// The value that an adapter returns for a counter that it does not have.
const NOT_COUNTED: u64 = u64::MAX;

struct FibreChannel {
    class: PathBuf,
}

struct Host {
    name: Vec<u8>,
    words: [Vec<u8>; WORDS.len()],
    counters: [Option<u64>; COUNTERS.len()],
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let class = context.sysfs("class/fc_host");
    Ok(Box::new(FibreChannel { class }))
}

impl Collector for FibreChannel {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let names = list_directories(&self.class).map_err(CollectError::optional)?;
        let mut skipped = Skipped::default();
        let mut hosts = Vec::new();
        for name in names {
            let path = self.class.join(OsStr::from_bytes(&name));
            hosts.extend(skipped.part(read(name, path)).flatten());
        }
        write(&hosts, out);
        skipped.result()
    }
}

/// `None` if it has disappeared since it was listed.
fn read(name: Vec<u8>, path: PathBuf) -> Result<Option<Host>, ReadError> {
    let mut buffer = Vec::new();
    let mut host = Host {
        name,
        words: Default::default(),
        counters: Default::default(),
    };
    let Some(directory) = Directory::open_if_present(path.clone())? else {
        return Ok(None);
    };
    for (slot, file) in host.words.iter_mut().zip(WORDS) {
        let word = directory.read(file, &mut buffer)?.unwrap_or_default();
        let word = match word {
            [_, _, digits @ ..] if IDENTIFIERS.contains(&file) && !digits.is_empty() => digits,
            _ => word,
        };
        slot.extend_from_slice(word);
    }
    if directory.has_vanished() {
        return Ok(None);
    }
    let Some(statistics) = Directory::open_if_present(path.join("statistics"))? else {
        return Ok(Some(host));
    };
    for (slot, (file, ..)) in host.counters.iter_mut().zip(COUNTERS) {
        let counter = statistics.read(file, &mut buffer)?.and_then(parse_prefixed);
        *slot = counter.filter(|counter| *counter != NOT_COUNTED);
    }
    Ok(Some(host))
}

fn write(hosts: &[Host], out: &mut Exposition) {
    for (place, (_, name, help)) in COUNTERS.into_iter().enumerate() {
        let name = ["node_fibrechannel_", name];
        let mut family = out.family(&name, &[help], MetricKind::Counter);
        for host in hosts {
            if let Some(counter) = host.counters.get(place).copied().flatten() {
                family.sample(&[("fc_host", &host.name)], counter);
            }
        }
    }
    let mut rows: Vec<Vec<(&str, &[u8])>> = hosts.iter().map(labels).collect();
    rows.sort_unstable();
    let help = "Information about the Fibre Channel port, in labels; the value is always 1.";
    let mut family = out.family(&["node_fibrechannel_info"], &[help], MetricKind::Gauge);
    for labels in &rows {
        family.sample(labels, 1);
    }
}

fn labels(host: &Host) -> Vec<(&str, &[u8])> {
    let words = host.words.iter().map(Vec::as_slice);
    let mut labels: Vec<_> = WORDS.into_iter().zip(words).collect();
    labels.push(("fc_host", &host.name));
    labels.sort_unstable();
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_adapter_does_not_count_or_say_is_left_out() {
        let host = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| std::fs::write(host.path().join(name), content);
        file("port_id", "0x000002\n").unwrap();
        file("fabric_name", "0x\n").unwrap();
        let bare = read(b"host0".to_vec(), host.path().to_owned())
            .unwrap()
            .unwrap();
        assert_eq!(bare.words[2], b"000002");
        assert_eq!(bare.words[1], b"0x");
        assert_eq!(bare.counters, [None; COUNTERS.len()]);
        std::fs::create_dir(host.path().join("statistics")).unwrap();
        file("statistics/tx_words", "0x10\n").unwrap();
        file("statistics/rx_words", "0xffffffffffffffff\n").unwrap();
        let counted = read(b"host0".to_vec(), host.path().to_owned())
            .unwrap()
            .unwrap();
        let seen: Vec<u64> = counted.counters.into_iter().flatten().collect();
        assert_eq!(seen, [16]);
    }
}

//! `nvmesubsystem`: NVMe subsystems and the controllers that lead to them, from `/sys/class/nvme-subsystem`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::collect::device::Device;
use crate::collect::samples::{Samples, gather};
use crate::collect::{BuildContext, BuildError, CollectError, Collector, CollectorSpec};
use crate::exposition::Exposition;
use crate::sources::{Deadline, list_directories};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "nvmesubsystem",
    default_enabled: false,
    summary: "NVMe subsystems and the states of their paths, from /sys/class/nvme-subsystem.",
    options: &[],
    build,
};

struct NvmeSubsystem {
    directory: PathBuf,
}

/// A path to a subsystem.
struct Controller {
    name: Vec<u8>,
    state: &'static str,
    transport: Vec<u8>,
}

/// What an entry of a subsystem's directory is, by its name.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Controller,
    Namespace,
    Other,
}

const LIVE: &str = "live";
const UNKNOWN: &str = "unknown";
/// The states that are shown, in order.
const STATES: [&str; 7] = [
    "connecting",
    "dead",
    "deleting",
    LIVE,
    "new",
    "resetting",
    UNKNOWN,
];

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(NvmeSubsystem {
        directory: context.sysfs("class/nvme-subsystem"),
    }))
}

impl Collector for NvmeSubsystem {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let names = list_directories(&self.directory).map_err(CollectError::within_reach)?;
        gather(out, |samples| {
            for name in names.iter().filter(|it| it.starts_with(b"nvme-subsys")) {
                let path = self.directory.join(OsStr::from_bytes(name));
                samples.device(&path, |device, samples| {
                    add_subsystem(device, &path, name, samples)
                });
            }
            Ok(())
        })
    }
}

fn add_subsystem(
    device: &mut Device,
    path: &Path,
    name: &[u8],
    samples: &mut Samples,
) -> Result<(), CollectError> {
    samples.gauge(
        "node_nvmesubsystem_info",
        "What the subsystem says of itself, in labels.",
        &[
            ("iopolicy", &device.label("iopolicy")?),
            ("model", &device.label("model")?),
            ("nqn", &device.label("subsysnqn")?),
            ("serial", &device.label("serial")?),
            ("subsystem", name),
        ],
        1,
    );
    let mut controllers = Vec::new();
    for entry in list_directories(path)? {
        match kind(&entry) {
            Entry::Controller => {
                let read = read_controller(path, entry);
                controllers.extend(samples.skipped.part(read).flatten());
            }
            Entry::Namespace => samples.gauge(
                "node_nvmesubsystem_namespace_info",
                "A namespace of the subsystem and its block device, in labels.",
                &[("device", &entry), ("subsystem", name)],
                1,
            ),
            Entry::Other => {}
        }
    }
    add_paths(&controllers, name, samples);
    Ok(())
}

/// `nvme0` is a controller, `nvme0n1` a namespace.
fn kind(entry: &[u8]) -> Entry {
    let Some(rest) = entry.strip_prefix(b"nvme") else {
        return Entry::Other;
    };
    let is_number = |text: &&[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let numbers: Vec<&[u8]> = rest.split(|&byte| byte == b'n').collect();
    match (numbers.iter().all(is_number), numbers.len()) {
        (true, 1) => Entry::Controller,
        (true, 2) => Entry::Namespace,
        _ => Entry::Other,
    }
}

/// `None` when it has gone since it was listed.
fn read_controller(subsystem: &Path, name: Vec<u8>) -> Result<Option<Controller>, CollectError> {
    let path = subsystem.join(OsStr::from_bytes(&name));
    let Some(mut device) = Device::open_listed(&path)? else {
        return Ok(None);
    };
    let controller = Controller {
        name,
        state: shown_state(&device.label("state")?),
        transport: device.label("transport")?,
    };
    Ok((!device.has_vanished()).then_some(controller))
}

/// The state that is shown for one of the kernel's.
fn shown_state(state: &[u8]) -> &'static str {
    if state == b"deleting (no IO)" {
        return "deleting";
    }
    let shown = STATES.iter().find(|shown| shown.as_bytes() == state);
    shown.copied().unwrap_or(UNKNOWN)
}

fn add_paths(controllers: &[Controller], subsystem: &[u8], samples: &mut Samples) {
    for controller in controllers {
        for state in STATES {
            samples.gauge(
                "node_nvmesubsystem_path_state",
                "The state of a controller that leads to the subsystem: 1 for the one that it is in, 0 for all others.",
                &[
                    ("controller", &controller.name),
                    ("state", state.as_bytes()),
                    ("subsystem", subsystem),
                    ("transport", &controller.transport),
                ],
                u64::from(state == controller.state),
            );
        }
    }
    let live = controllers.iter().filter(|it| it.state == LIVE).count();
    let labels = [("subsystem", subsystem)];
    for (name, help, count) in [
        (
            "node_nvmesubsystem_paths",
            "Controllers that lead to the subsystem.",
            controllers.len(),
        ),
        (
            "node_nvmesubsystem_paths_live",
            "Controllers that lead to the subsystem and are live.",
            live,
        ),
    ] {
        samples.gauge(name, help, &labels, count as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_and_namespaces_among_other_entries() {
        assert_eq!(kind(b"nvme12"), Entry::Controller);
        assert_eq!(kind(b"nvme12n3"), Entry::Namespace);
        for other in [
            "nvme",
            "nvme0c0n1",
            "nvme0n",
            "nvmen1",
            "nvme0n1n2",
            "power",
        ] {
            assert_eq!(kind(other.as_bytes()), Entry::Other, "{other}");
        }
    }

    #[test]
    fn states_of_the_kernel_as_they_are_shown() {
        for (state, shown) in [
            ("live", "live"),
            ("deleting", "deleting"),
            ("deleting (no IO)", "deleting"),
            ("suspended", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(shown_state(state.as_bytes()), shown);
        }
        assert!(STATES.is_sorted());
    }

    fn text(out: &Exposition) -> String {
        let mut text = Vec::new();
        out.append_sorted(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_controller_that_has_gone_is_no_path() {
        let class = tempfile::tempdir().unwrap();
        let subsystem = class.path().join("nvme-subsys0");
        let file = |path: &str, content: &str| {
            let path = subsystem.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        file("subsysnqn", "nqn.2014-08.org.example:a\n");
        file("nvme0/state", "live\n");
        file("nvme0/transport", "tcp\n");
        file("nvme1/state", "connecting\n");
        file("nvme1/transport", "tcp\n");
        std::os::unix::fs::symlink("../../gone/nvme2", subsystem.join("nvme2")).unwrap();
        let mut collector = NvmeSubsystem {
            directory: class.path().to_owned(),
        };
        let mut out = Exposition::default();
        let deadline = Deadline::after(std::time::Duration::MAX);
        collector.collect(&mut out, deadline).unwrap();
        let shown = text(&out);
        for line in [
            "node_nvmesubsystem_paths{subsystem=\"nvme-subsys0\"} 2\n",
            "node_nvmesubsystem_paths_live{subsystem=\"nvme-subsys0\"} 1\n",
            "node_nvmesubsystem_path_state{controller=\"nvme1\",state=\"connecting\",subsystem=\"nvme-subsys0\",\
             transport=\"tcp\"} 1\n",
        ] {
            assert!(shown.contains(line), "{shown}");
        }
        assert!(!shown.contains("nvme2"), "{shown}");

        std::fs::remove_dir_all(class.path().join("nvme-subsys0")).unwrap();
        let mut out = Exposition::default();
        collector.collect(&mut out, deadline).unwrap();
        assert_eq!(text(&out), "");
        collector.directory.push("absent");
        let error = collector.collect(&mut out, deadline).unwrap_err();
        assert!(matches!(error, CollectError::NoData(_)), "{error}");
    }
}

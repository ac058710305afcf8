//! An event that is counted, with its counter on each CPU.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use secure_exporter_perf_event::{Counter, Event};

use super::events::Known;
use crate::collect::CollectError;
use crate::collect::skipped::Skipped;
use crate::exposition::{Exposition, MetricKind};
use crate::sources::{ReadError, parse_u64, read_attribute};

/// An event and what counts it.
#[derive(Debug)]
pub(super) struct Counted {
    metric: Cow<'static, str>,
    help: Cow<'static, str>,
    source: Source,
    /// By the CPU's number as text, as samples are ordered. `None` where this machine cannot count it.
    counters: BTreeMap<String, Option<Counter>>,
}

/// Where the event comes from.
#[derive(Debug)]
enum Source {
    /// Of the kernel or the processor, which may not have it.
    Known(Event),
    /// A tracepoint, which was asked for by name.
    Tracepoint(Tracepoint),
}

/// A tracepoint, which has a number of its own on each kernel.
#[derive(Debug)]
struct Tracepoint {
    /// Below tracefs.
    path: String,
    event: Option<Event>,
}

impl From<&Known> for Counted {
    fn from(known: &Known) -> Self {
        Self {
            metric: known.metric.into(),
            help: known.help.into(),
            source: Source::Known(known.event),
            counters: BTreeMap::new(),
        }
    }
}

impl Counted {
    /// A tracepoint such as `sched:sched_process_exec`; `None` for what cannot be one.
    pub(super) fn tracepoint(text: &str) -> Option<Self> {
        let (subsystem, event) = text.split_once(':')?;
        let is_name = |name: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed)
        };
        (is_name(subsystem) && is_name(event)).then(|| Self {
            metric: format!(
                "node_perf_{}",
                text.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
            )
            .into(),
            help: format!("How often the kernel has passed the tracepoint {text}.").into(),
            source: Source::Tracepoint(Tracepoint {
                path: format!("events/{subsystem}/{event}/id"),
                event: None,
            }),
            counters: BTreeMap::new(),
        })
    }

    /// Whether the other one has the same metric.
    pub(super) fn is_shown_as(&self, other: &Self) -> bool {
        self.metric == other.metric
    }

    /// Writes what was counted on these CPUs, which are in order of their text, since each was first seen.
    pub(super) fn write(
        &mut self,
        tracefs: &[PathBuf],
        cpus: &[String],
        out: &mut Exposition,
        skipped: &mut Skipped,
    ) {
        let Some(event) = skipped.part(self.source.event(tracefs)) else {
            return;
        };
        // One that comes back would not be counted by its old counter.
        self.counters
            .retain(|cpu, _| cpus.binary_search(cpu).is_ok());
        for cpu in cpus {
            if !self.counters.contains_key(cpu) {
                let counter = skipped.part(self.source.open(event, cpu));
                self.counters.extend(counter.map(|it| (cpu.clone(), it)));
            }
        }
        let mut family = out.family(&[&self.metric], &[&self.help], MetricKind::Counter);
        for (cpu, counter) in &self.counters {
            let Some(counter) = counter else { continue };
            let count = counter.read().map_err(|source| failed("read", source));
            if let Some(count) = skipped.part(count) {
                family.sample(&[("cpu", cpu.as_bytes())], count);
            }
        }
    }
}

impl Source {
    fn event(&mut self, tracefs: &[PathBuf]) -> Result<Event, CollectError> {
        match self {
            Self::Known(event) => Ok(*event),
            Self::Tracepoint(tracepoint) => tracepoint.event(tracefs),
        }
    }

    /// Begins to count on a CPU; `None` where this machine cannot.
    fn open(&self, event: Event, cpu: &str) -> Result<Option<Counter>, CollectError> {
        let Ok(number) = cpu.parse() else {
            return Ok(None);
        };
        match Counter::open(event, number) {
            Ok(counter) => Ok(Some(counter)),
            Err(error) if matches!(self, Self::Known(_)) && is_unsupported(&error) => Ok(None),
            Err(error) => Err(failed("perf_event_open", with_fix(error))),
        }
    }
}

impl Tracepoint {
    fn event(&mut self, tracefs: &[PathBuf]) -> Result<Event, CollectError> {
        if let Some(event) = self.event {
            return Ok(event);
        }
        let paths = tracefs.iter().map(|mount| mount.join(&self.path));
        let path = paths.clone().find(|path| path.exists());
        // None is there, or none may be looked at; the first is where it should be.
        let path = path.or_else(|| paths.clone().next()).unwrap_or_default();
        let event = Event::tracepoint(read_id(&path)?);
        self.event = Some(event);
        Ok(event)
    }
}

fn read_id(path: &Path) -> Result<u64, CollectError> {
    let mut buffer = Vec::new();
    let text = read_attribute(path, &mut buffer).map_err(|source| ReadError::new(path, source))?;
    parse_u64(text).ok_or_else(|| CollectError::Attribute {
        path: path.to_owned(),
        text: String::from_utf8_lossy(text).into_owned(),
    })
}

/// Whether it is the machine that cannot count the event, or the CPU that has just gone.
fn is_unsupported(error: &io::Error) -> bool {
    [Errno::NOENT, Errno::NODEV, Errno::INVAL, Errno::OPNOTSUPP]
        .map(Errno::raw_os_error)
        .map(Some)
        .contains(&error.raw_os_error())
}

fn with_fix(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::new(
            error.kind(),
            format!(
                "{error}: it needs the capability CAP_PERFMON or kernel.perf_event_paranoid=0, and no sandbox that forbids it"
            ),
        ),
        _ => error,
    }
}

fn failed(name: &'static str, source: io::Error) -> CollectError {
    CollectError::SystemCall { name, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracepoints_by_name() {
        let counted = Counted::tracepoint("xhci-hcd:xhci_dbg.1").unwrap();
        assert_eq!(counted.metric, "node_perf_xhci_hcd_xhci_dbg_1");
        for text in [
            "sched", "sched:", ":a", "a:b:c", "../a:b", "a:../b", "a:b/c",
        ] {
            assert!(Counted::tracepoint(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_tracepoint_has_its_number_from_the_first_tracefs_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let mounts = ["absent", "debug"].map(|it| folder.path().join(it));
        let Source::Tracepoint(mut tracepoint) = Counted::tracepoint("a:b").unwrap().source else {
            unreachable!("it is a tracepoint");
        };
        let error = tracepoint.event(&mounts).unwrap_err().to_string();
        assert!(error.contains("absent/events/a/b/id"), "{error}");
        let path = mounts[1].join("events/a/b/id");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "none\n").unwrap();
        tracepoint.event(&mounts).unwrap_err();
        std::fs::write(&path, "312\n").unwrap();
        assert_eq!(tracepoint.event(&mounts).unwrap(), Event::tracepoint(312));
    }

    #[test]
    fn a_machine_without_the_event_is_no_failure_and_a_refusal_is_one() {
        let error = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        assert!(is_unsupported(&error(Errno::NOENT)) && is_unsupported(&error(Errno::OPNOTSUPP)));
        for errno in [Errno::ACCESS, Errno::PERM, Errno::MFILE] {
            assert!(!is_unsupported(&error(errno)), "{errno}");
        }
        let refused = with_fix(error(Errno::ACCESS)).to_string();
        assert!(refused.contains("CAP_PERFMON"), "{refused}");
    }
}

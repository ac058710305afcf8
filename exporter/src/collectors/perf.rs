//! `perf`: events that the processor and the kernel count on each CPU, through `perf_event_open`.

mod counted;
mod events;

use std::io;
use std::num::NonZero;
use std::path::PathBuf;

use rustix::process::{Resource, getrlimit};

use self::counted::Counted;
use self::events::{CACHE, HARDWARE, Known, SOFTWARE};
use crate::collect::cpu_list::parse_ranges;
use crate::collect::skipped::Skipped;
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::Exposition;
use crate::sources::{Deadline, ReadError, read_attribute};

const CPUS: &str = "collector.perf.cpus";
const TRACEPOINT: &str = "collector.perf.tracepoint";
const NO_HARDWARE: &str = "collector.perf.disable-hardware-profilers";
const ONLY_HARDWARE: &str = "collector.perf.hardware-profilers";
const NO_SOFTWARE: &str = "collector.perf.disable-software-profilers";
const ONLY_SOFTWARE: &str = "collector.perf.software-profilers";
const NO_CACHE: &str = "collector.perf.disable-cache-profilers";
const ONLY_CACHE: &str = "collector.perf.cache-profilers";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "perf",
    default_enabled: false,
    summary: "Events that processor and kernel count on each CPU; needs CAP_PERFMON.",
    options: &[
        OptionSpec::texts(
            ONLY_CACHE,
            "Event of the processor's caches to count, such as L1DataReadMiss, instead of all.",
        ),
        OptionSpec::list(
            CPUS,
            "",
            "CPUs to count on, such as 0,2-6 or 0-14:2 for every second one, instead of all.",
        ),
        OptionSpec::switch(
            NO_CACHE,
            "false",
            "Count no events of the processor's caches.",
        ),
        OptionSpec::switch(
            NO_HARDWARE,
            "false",
            "Count no other events of the processor.",
        ),
        OptionSpec::switch(NO_SOFTWARE, "false", "Count no events of the kernel."),
        OptionSpec::texts(
            ONLY_HARDWARE,
            "Event of the processor to count, such as CpuInstr, instead of all.",
        ),
        OptionSpec::texts(
            ONLY_SOFTWARE,
            "Event of the kernel to count, such as PageFault, instead of all.",
        ),
        OptionSpec::texts(
            TRACEPOINT,
            "Tracepoint of the kernel to count, such as sched:sched_process_exec.",
        ),
    ],
    build,
};

/// Counters may be one in so many of the files that may be open.
const FILES_PER_COUNTER: u64 = 2;

struct Perf {
    /// In order of their text; `None` for all.
    chosen: Option<Vec<String>>,
    /// The file that tells which CPUs there are.
    online: PathBuf,
    tracefs: [PathBuf; 2],
    events: Vec<Counted>,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let mut events = Vec::new();
    for (disabled, only, known) in [
        (NO_HARDWARE, ONLY_HARDWARE, HARDWARE.as_slice()),
        (NO_SOFTWARE, ONLY_SOFTWARE, &SOFTWARE),
        (NO_CACHE, ONLY_CACHE, &CACHE),
    ] {
        let chosen = chosen_events(context, only, known)?;
        if !context.switch(disabled)? {
            events.extend(chosen.into_iter().map(Counted::from));
        }
    }
    for text in context.texts(TRACEPOINT) {
        let tracepoint = Counted::tracepoint(text).ok_or_else(|| BuildError::Name {
            flag: TRACEPOINT,
            name: text.to_owned(),
            known: "tracepoints such as sched:sched_process_exec".to_owned(),
        })?;
        if !events.iter().any(|it| tracepoint.is_shown_as(it)) {
            events.push(tracepoint);
        }
    }
    Ok(Box::new(Perf {
        chosen: chosen_cpus(context)?,
        online: context.sysfs("devices/system/cpu/online"),
        // The second before Linux 4.1, and where only debugfs is mounted.
        tracefs: ["kernel/tracing", "kernel/debug/tracing"].map(|it| context.sysfs(it)),
        events,
    }))
}

/// The events that a flag chooses; without it all.
fn chosen_events(
    context: &BuildContext<'_>,
    flag: &'static str,
    known: &'static [Known],
) -> Result<Vec<&'static Known>, BuildError> {
    let names: Vec<&str> = context.texts(flag).collect();
    let is_known = |name: &str| known.iter().any(|it| it.name == name);
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        let known: Vec<&str> = known.iter().map(|it| it.name).collect();
        return Err(BuildError::Name {
            flag,
            name: (*unknown).to_owned(),
            known: known.join(", "),
        });
    }
    let is_chosen = |it: &&Known| names.is_empty() || names.contains(&it.name);
    Ok(known.iter().filter(is_chosen).collect())
}

/// The CPUs that the flag chooses; `None` without it.
fn chosen_cpus(context: &BuildContext<'_>) -> Result<Option<Vec<String>>, BuildError> {
    let text = context.value(CPUS);
    if text.is_empty() {
        return Ok(None);
    }
    let cpus = parse_cpus(text).ok_or_else(|| BuildError::Name {
        flag: CPUS,
        name: text.to_owned(),
        known: "CPUs such as 0,2-6 or 0-14:2".to_owned(),
    })?;
    Ok(Some(cpus))
}

/// The members of a list such as `0,2-6,8-14:2`, in order of their text.
fn parse_cpus(list: &str) -> Option<Vec<String>> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let number = |text: &str| text.parse::<u16>().ok();
        let Some((first, rest)) = part.split_once('-') else {
            cpus.push(number(part)?.to_string());
            continue;
        };
        let (last, stride) = rest.split_once(':').unwrap_or((rest, "1"));
        let stride = usize::from(stride.parse::<NonZero<u16>>().ok()?.get());
        let range = (number(first)?..=number(last)?).step_by(stride);
        cpus.extend(range.map(|cpu| cpu.to_string()));
    }
    cpus.sort_unstable();
    cpus.dedup();
    Some(cpus)
}

impl Collector for Perf {
    fn collect(&mut self, out: &mut Exposition, _: Deadline) -> Result<(), CollectError> {
        let cpus = self.cpus()?;
        let limit = getrlimit(Resource::Nofile).current;
        if let Some(refusal) = refusal(self.events.len(), cpus.len(), limit) {
            return Err(CollectError::SystemCall {
                name: "perf_event_open",
                source: io::Error::other(refusal),
            });
        }
        let mut skipped = Skipped::default();
        for event in &mut self.events {
            event.write(&self.tracefs, &cpus, out, &mut skipped);
        }
        skipped.result()
    }
}

impl Perf {
    /// The CPUs to count on that are online, in order of their text.
    fn cpus(&self) -> Result<Vec<String>, ReadError> {
        let mut buffer = Vec::new();
        let online = read_attribute(&self.online, &mut buffer)
            .map_err(|source| ReadError::new(&self.online, source))?;
        let mut cpus = parse_ranges(online);
        if let Some(chosen) = &self.chosen {
            cpus.retain(|cpu| chosen.binary_search(cpu).is_ok());
        }
        Ok(cpus)
    }
}

/// Why so much is not counted: each counter is an open file, and connections need some, too.
fn refusal(events: usize, cpus: usize, limit: Option<u64>) -> Option<String> {
    let counters = events.saturating_mul(cpus) as u64;
    let limit = limit.filter(|limit| counters > limit / FILES_PER_COUNTER)?;
    Some(format!(
        "{events} events on {cpus} CPUs take {counters} open files, which is more than half of the limit of {limit}: \
         raise the limit (LimitNOFILE= of systemd), or choose fewer events or CPUs by --collector.perf.*"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::Settings;

    #[test]
    fn cpus_in_lists_and_with_strides() {
        assert_eq!(parse_cpus("1").unwrap(), ["1"]);
        assert_eq!(parse_cpus("9-11,1,10").unwrap(), ["1", "10", "11", "9"]);
        assert_eq!(parse_cpus("1-10:5").unwrap(), ["1", "6"]);
        assert!(parse_cpus("5-4").unwrap().is_empty());
        for list in [
            "1,", "a", "1-", "-1", "1-4:0", "4:2", "1-2-3", "1-4:2:3", "70000",
        ] {
            assert_eq!(parse_cpus(list), None, "{list}");
        }
    }

    #[test]
    fn flags_that_make_no_sense_are_refused_by_name() {
        for (flag, value, words) in [
            (CPUS, "all", "0,2-6"),
            (TRACEPOINT, "sched", "sched:sched_process_exec"),
            (ONLY_HARDWARE, "CpuInstr\nCycles", "CpuCycles"),
            (ONLY_SOFTWARE, "CpuInstr", "PageFault"),
            (ONLY_CACHE, "l1", "L1DataReadHit"),
        ] {
            let settings = Settings {
                options: [(flag, value.to_owned())].into(),
                ..Settings::default()
            };
            let Err(error) = build(&BuildContext::new(&settings, SPEC.options)) else {
                unreachable!("{flag} may not be {value}");
            };
            let error = error.to_string();
            assert!(
                error.contains(flag) && error.contains(words),
                "{flag}: {error}"
            );
        }
    }

    #[test]
    fn events_are_chosen_by_name() {
        let chosen = |options: &[(&'static str, &str)]| {
            let options = options.iter().map(|(flag, it)| (*flag, (*it).to_owned()));
            let settings = Settings {
                options: options.collect(),
                ..Settings::default()
            };
            let context = BuildContext::new(&settings, SPEC.options);
            let chosen = chosen_events(&context, ONLY_HARDWARE, &HARDWARE).unwrap();
            chosen.iter().map(|it| it.name).collect::<Vec<_>>()
        };
        assert_eq!(chosen(&[]).len(), 9);
        assert_eq!(chosen(&[(ONLY_HARDWARE, "CpuInstr")]), ["CpuInstr"]);
    }

    #[test]
    fn counters_leave_files_for_connections() {
        assert_eq!(refusal(30, 16, Some(1024)), None);
        assert_eq!(refusal(30, 4096, None), None);
        let refusal = refusal(30, 18, Some(1024)).unwrap();
        assert!(refusal.contains("540 open files"), "{refusal}");
    }

    /// The kernel's own counters, where it lets this process have them.
    #[test]
    fn what_the_kernel_counts_is_shown_by_cpu() {
        let settings = Settings {
            options: [
                (NO_HARDWARE, "true".to_owned()),
                (NO_CACHE, "true".to_owned()),
                (CPUS, "0".to_owned()),
            ]
            .into(),
            ..Settings::default()
        };
        let mut collector = build(&BuildContext::new(&settings, SPEC.options)).unwrap();
        let mut out = Exposition::default();
        let result = collector.collect(&mut out, Deadline::after(std::time::Duration::MAX));
        let mut text = Vec::new();
        out.append_sorted(&mut text);
        let text = String::from_utf8(text).unwrap();
        match result {
            Ok(()) => {
                let samples = text.lines().filter(|line| !line.starts_with('#'));
                assert_eq!(samples.count(), SOFTWARE.len(), "{text}");
                assert!(
                    text.contains("\nnode_perf_context_switches_total{cpu=\"0\"} "),
                    "{text}"
                );
            }
            Err(error) => {
                assert_eq!(text, "");
                let error = error.to_string();
                assert!(
                    error.starts_with("perf_event_open failed: ") && error.ends_with("in all: 5"),
                    "{error}"
                );
            }
        }
    }
}

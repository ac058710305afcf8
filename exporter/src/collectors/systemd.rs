//! `systemd`: the units of systemd and their states, over the message bus.

#[cfg(test)]
mod fake_systemd;

use regex::bytes::Regex;
use zbus::zvariant::{OwnedObjectPath, OwnedValue};

use crate::collect::Pattern;
use crate::collect::samples::{Samples, gather};
use crate::collect::spec::compile;
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::Exposition;
use crate::sources::{BusError, Deadline, Peer, SystemBus};

const INCLUDE: &str = "collector.systemd.unit-include";
const FORMER_INCLUDE: &str = "collector.systemd.unit-whitelist";
const EXCLUDE: &str = "collector.systemd.unit-exclude";
const FORMER_EXCLUDE: &str = "collector.systemd.unit-blacklist";
const TASKS: &str = "collector.systemd.enable-task-metrics";
const RESTARTS: &str = "collector.systemd.enable-restarts-metrics";
const START_TIMES: &str = "collector.systemd.enable-start-time-metrics";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "systemd",
    default_enabled: false,
    summary: "Units of systemd and their states, over the system message bus.",
    options: &[
        OptionSpec::switch(
            RESTARTS,
            "false",
            "Show the number of restarts of each service.",
        ),
        OptionSpec::switch(START_TIMES, "false", "Show the start time of units."),
        OptionSpec::switch(
            TASKS,
            "false",
            "Show the number of tasks of each service and its limit.",
        ),
        OptionSpec::pattern(
            EXCLUDE,
            r".+\.(automount|device|mount|scope|slice)",
            "Regular expression of the units to leave out; the whole name must match.",
        ),
        OptionSpec::pattern(
            INCLUDE,
            ".+",
            "Regular expression of the units to show; the whole name must match.",
        ),
        OptionSpec::former(FORMER_EXCLUDE, EXCLUDE),
        OptionSpec::former(FORMER_INCLUDE, INCLUDE),
    ],
    build,
};

const SERVICE: &str = "org.freedesktop.systemd1";
const SERVICE_INTERFACE: &str = "org.freedesktop.systemd1.Service";
const STATES: [&str; 5] = ["activating", "active", "deactivating", "failed", "inactive"];
/// Since this version systemd reports its own state and that of timers.
const FIRST_WITH_STATE: f64 = 212.0;
const MICROSECONDS: f64 = 1e6;

struct Systemd {
    bus: SystemBus,
    include: Option<Pattern>,
    exclude: Option<Pattern>,
    version: Option<Regex>,
    tasks: bool,
    restarts: bool,
    start_times: bool,
}

/// A unit as systemd lists it: name, description, load state, active state, sub-state, the unit that it follows, its
/// object, and the number, kind and object of its job.
pub(super) type ListedUnit = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// The fields that are used.
struct Unit {
    name: String,
    loaded: bool,
    state: String,
    object: OwnedObjectPath,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(systemd(context, SystemBus::default())?))
}

fn systemd(context: &BuildContext<'_>, bus: SystemBus) -> Result<Systemd, BuildError> {
    Ok(Systemd {
        bus,
        include: whole(context, INCLUDE, FORMER_INCLUDE)?,
        exclude: whole(context, EXCLUDE, FORMER_EXCLUDE)?,
        version: Regex::new(r"[0-9]{3,}(\.[0-9]+)?").ok(),
        tasks: context.switch(TASKS)?,
        restarts: context.switch(RESTARTS)?,
        start_times: context.switch(START_TIMES)?,
    })
}

/// The pattern of a flag or its former name, made to match whole names.
fn whole(
    context: &BuildContext<'_>,
    flag: &'static str,
    former: &'static str,
) -> Result<Option<Pattern>, BuildError> {
    let old = context.given(former).filter(|pattern| !pattern.is_empty());
    let pattern = match (context.given(flag), old) {
        (Some(_), Some(_)) => return Err(BuildError::Exclusive(former, flag)),
        (None, Some(pattern)) => pattern,
        _ => context.value(flag),
    };
    compile(flag, &format!("^(?:{pattern})$"))
}

impl Collector for Systemd {
    fn collect(&mut self, out: &mut Exposition, deadline: Deadline) -> Result<(), CollectError> {
        self.bus.until(deadline);
        gather(out, |samples| {
            let version = self.add_version(samples)?;
            let units = self.list_units()?;
            add_summary(&units, samples);
            for unit in &units {
                if unit.loaded && self.shows(unit) {
                    self.add_unit(unit, version, samples)?;
                }
            }
            if version >= FIRST_WITH_STATE {
                let state: Option<String> = self.bus.property(manager(), "SystemState")?;
                let running = state.as_deref() == Some("running");
                let help = "Whether the system is running, with all its units up and none failed.";
                samples.gauge("node_systemd_system_running", help, &[], u64::from(running));
            }
            Ok(())
        })
    }
}

fn manager() -> Peer<'static> {
    Peer {
        service: SERVICE,
        object: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
    }
}

impl Systemd {
    /// Adds systemd's version and the virtualization. Returns the version as a number, 0 if it is unknown.
    fn add_version(&mut self, samples: &mut Samples) -> Result<f64, CollectError> {
        let text: Option<String> = self.bus.property(manager(), "Version")?;
        let text = text.unwrap_or_default();
        let digits = self
            .version
            .as_ref()
            .and_then(|version| version.find(text.as_bytes()));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits.as_bytes()).ok());
        let (number, label) = match digits.and_then(|digits| digits.parse().ok()) {
            Some(number) => (number, text.as_bytes()),
            None => (0.0, b"".as_slice()),
        };
        let help = "Version of systemd.";
        samples.gauge("node_systemd_version", help, &[("version", label)], number);
        let kind: Option<String> = self.bus.property(manager(), "Virtualization")?;
        let kind = match kind.as_deref() {
            None => "unknown",
            Some("") => "none",
            Some(kind) => kind,
        };
        let labels = [("virtualization_type", kind.as_bytes())];
        let help = "Virtualization or container technology that the system runs in, in a label.";
        samples.gauge("node_systemd_virtualization_info", help, &labels, 1);
        Ok(number)
    }

    fn list_units(&mut self) -> Result<Vec<Unit>, BusError> {
        let listed: Vec<ListedUnit> = self.bus.call(manager(), "ListUnits", &())?;
        let unit = |(name, _, load_state, state, _, _, object, ..): ListedUnit| Unit {
            name,
            loaded: load_state == "loaded",
            state,
            object,
        };
        Ok(listed.into_iter().map(unit).collect())
    }

    fn shows(&self, unit: &Unit) -> bool {
        let matches = |pattern: &Option<Pattern>| {
            pattern
                .as_ref()
                .is_some_and(|pattern| pattern.is_match(unit.name.as_bytes()))
        };
        matches(&self.include) && !matches(&self.exclude)
    }

    fn add_unit(
        &mut self,
        unit: &Unit,
        version: f64,
        samples: &mut Samples,
    ) -> Result<(), BusError> {
        let bus = &mut self.bus;
        let mut asked = Asked { bus, unit };
        asked.add_state(self.restarts, samples)?;
        if self.start_times {
            asked.add_start_time(samples)?;
        }
        if self.tasks {
            asked.add_tasks(samples)?;
        }
        if version >= FIRST_WITH_STATE {
            asked.add_timer(samples)?;
        }
        asked.add_socket(samples)
    }
}

fn add_summary(units: &[Unit], samples: &mut Samples) {
    let others = units.iter().map(|unit| unit.state.as_str());
    let mut states: Vec<&str> = STATES.into_iter().chain(others).collect();
    states.sort_unstable();
    states.dedup();
    for state in states {
        let count = units.iter().filter(|unit| unit.state == state).count();
        let labels = [("state", state.as_bytes())];
        samples.gauge(
            "node_systemd_units",
            "Number of units, by state.",
            &labels,
            count as f64,
        );
    }
}

/// A unit whose properties are queried.
struct Asked<'a> {
    bus: &'a mut SystemBus,
    unit: &'a Unit,
}

impl Asked<'_> {
    fn property<Property>(
        &mut self,
        interface: &'static str,
        name: &str,
    ) -> Result<Option<Property>, BusError>
    where
        Property: TryFrom<OwnedValue>,
    {
        let peer = Peer {
            service: SERVICE,
            object: self.unit.object.as_str(),
            interface,
        };
        self.bus.property(peer, name)
    }

    fn is(&self, kind: &str) -> bool {
        self.unit.name.ends_with(kind)
    }

    fn add_state(&mut self, restarts: bool, samples: &mut Samples) -> Result<(), BusError> {
        let name = self.unit.name.as_bytes();
        let kind: Option<String> = if self.is(".service") {
            self.property(SERVICE_INTERFACE, "Type")?
        } else if self.is(".mount") {
            self.property("org.freedesktop.systemd1.Mount", "Type")?
        } else {
            None
        };
        let kind = kind.unwrap_or_default();
        for state in STATES {
            let labels = [
                ("name", name),
                ("state", state.as_bytes()),
                ("type", kind.as_bytes()),
            ];
            let is_it = u64::from(self.unit.state == state);
            samples.gauge(
                "node_systemd_unit_state",
                "Whether the unit is in this state.",
                &labels,
                is_it,
            );
        }
        if restarts
            && self.is(".service")
            && let Some(count) = self.property::<u32>(SERVICE_INTERFACE, "NRestarts")?
        {
            let help = "Number of restarts of the service.";
            let value = f64::from(count);
            samples.counter(
                "node_systemd_service_restart_total",
                help,
                &[("name", name)],
                value,
            );
        }
        Ok(())
    }

    fn add_start_time(&mut self, samples: &mut Samples) -> Result<(), BusError> {
        let since = match self.unit.state.as_str() {
            "active" => {
                self.property::<u64>("org.freedesktop.systemd1.Unit", "ActiveEnterTimestamp")?
            }
            _ => Some(0),
        };
        if let Some(since) = since {
            let labels = [("name", self.unit.name.as_bytes())];
            let help = "Time at which the unit became active, in seconds since the epoch; 0 if it is not active.";
            let value = since as f64 / MICROSECONDS;
            samples.gauge("node_systemd_unit_start_time_seconds", help, &labels, value);
        }
        Ok(())
    }

    fn add_tasks(&mut self, samples: &mut Samples) -> Result<(), BusError> {
        if !self.is(".service") {
            return Ok(());
        }
        for (property, metric, help) in [
            (
                "TasksCurrent",
                "node_systemd_unit_tasks_current",
                "Current number of tasks of the service.",
            ),
            (
                "TasksMax",
                "node_systemd_unit_tasks_max",
                "Maximum number of tasks of the service.",
            ),
        ] {
            // The maximum number means that there is none.
            let count = self.property::<u64>(SERVICE_INTERFACE, property)?;
            if let Some(count) = count.filter(|count| *count != u64::MAX) {
                samples.gauge(metric, help, &[("name", self.unit.name.as_bytes())], count);
            }
        }
        Ok(())
    }

    fn add_timer(&mut self, samples: &mut Samples) -> Result<(), BusError> {
        let interface = "org.freedesktop.systemd1.Timer";
        if self.is(".timer")
            && let Some(last) = self.property::<u64>(interface, "LastTriggerUSec")?
        {
            let help = "Time at which the timer was last triggered, in seconds since the epoch.";
            let labels = [("name", self.unit.name.as_bytes())];
            let value = last as f64 / MICROSECONDS;
            samples.gauge(
                "node_systemd_timer_last_trigger_seconds",
                help,
                &labels,
                value,
            );
        }
        Ok(())
    }

    fn add_socket(&mut self, samples: &mut Samples) -> Result<(), BusError> {
        if !self.is(".socket") {
            return Ok(());
        }
        let interface = "org.freedesktop.systemd1.Socket";
        let labels = [("name", self.unit.name.as_bytes())];
        if let Some(count) = self.property::<u32>(interface, "NAccepted")? {
            let help = "Number of connections accepted by the socket.";
            let name = "node_systemd_socket_accepted_connections_total";
            samples.counter(name, help, &labels, f64::from(count));
        }
        if let Some(count) = self.property::<u32>(interface, "NConnections")? {
            let help = "Current number of connections of the socket.";
            let name = "node_systemd_socket_current_connections";
            samples.gauge(name, help, &labels, f64::from(count));
        }
        if let Some(count) = self.property::<u32>(interface, "NRefused")? {
            let help = "Number of connections refused by the socket.";
            let name = "node_systemd_socket_refused_connections_total";
            samples.gauge(name, help, &labels, f64::from(count));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::fake_systemd::bus;
    use super::*;
    use crate::collect::Settings;
    use crate::sources::FakeBus;
    use std::time::Duration;

    fn samples(bus: &FakeBus, flags: &[(&'static str, &str)]) -> Vec<String> {
        let mut settings = Settings::default();
        settings.options.extend(
            flags
                .iter()
                .map(|(flag, value)| (*flag, (*value).to_owned())),
        );
        let context = BuildContext::new(&settings, SPEC.options);
        let mut collector = systemd(&context, bus.client()).unwrap();
        let mut out = Exposition::default();
        collector
            .collect(&mut out, Deadline::after(Duration::from_secs(9)))
            .unwrap();
        let mut text = Vec::new();
        out.append_sorted(&mut text);
        let text = String::from_utf8(text).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.trim_start_matches("node_systemd_").to_owned())
            .collect()
    }

    #[test]
    fn units_and_the_system_as_systemd_reports_them() {
        let states = |name: &str, kind: &str, is: &str| -> Vec<String> {
            let line = |state: &&str| {
                let is_it = u8::from(*state == is);
                format!("unit_state{{name=\"{name}\",state=\"{state}\",type=\"{kind}\"}} {is_it}")
            };
            STATES.iter().map(line).collect()
        };
        let expected = [
            vec![
                "socket_accepted_connections_total{name=\"dbus.socket\"} 7".to_owned(),
                "socket_current_connections{name=\"dbus.socket\"} 2".to_owned(),
                "socket_refused_connections_total{name=\"dbus.socket\"} 1".to_owned(),
                "system_running 1".to_owned(),
                "timer_last_trigger_seconds{name=\"apt.timer\"} 1.7000000005e+09".to_owned(),
            ],
            states("apt.timer", "", "active"),
            states("dbus.socket", "", "failed"),
            states("ssh.service", "notify", "active"),
            vec![
                "units{state=\"activating\"} 0".to_owned(),
                "units{state=\"active\"} 3".to_owned(),
                "units{state=\"deactivating\"} 0".to_owned(),
                "units{state=\"failed\"} 1".to_owned(),
                "units{state=\"inactive\"} 1".to_owned(),
                "version{version=\"252.39-1~deb12u1\"} 252.39".to_owned(),
                "virtualization_info{virtualization_type=\"kvm\"} 1".to_owned(),
            ],
        ];
        assert_eq!(samples(&bus(), &[]), expected.concat());
    }

    #[test]
    fn flags_add_and_choose() {
        let found = samples(
            &bus(),
            &[
                (TASKS, "true"),
                (RESTARTS, "true"),
                (START_TIMES, "true"),
                (FORMER_INCLUDE, ".*[.]service|dbus.*"),
            ],
        );
        for line in [
            "service_restart_total{name=\"ssh.service\"} 3",
            "unit_start_time_seconds{name=\"dbus.socket\"} 0",
            "unit_tasks_current{name=\"ssh.service\"} 4",
        ] {
            assert!(
                found.iter().any(|sample| sample == line),
                "no {line} in {found:?}"
            );
        }
        let text = found.concat();
        assert!(!text.contains("tasks_max") && !text.contains("apt.timer"));
        let mounts = samples(&bus(), &[(EXCLUDE, "ssh"), (INCLUDE, "tmp.*|ssh.*")]).concat();
        assert!(
            mounts.contains("tmp.mount") && mounts.contains("ssh.service"),
            "whole names match"
        );
    }
}

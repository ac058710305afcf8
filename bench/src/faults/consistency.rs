//! Checks that during a drill nothing was lost, went back to an earlier version or was generated twice.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;
use testbed::kubectl::Kubectl;

use super::snapshot::Snapshot;
use crate::nodes::{
    count::{Clock, Prometheus, Samples},
    generations::Generations,
};

const PODS: &str = "app.kubernetes.io/name=secure-exporter,app.kubernetes.io/instance=nodes";
const SERIALS: &str = "secure_exporter_certificate_info";

/// The state before a drill, and what went wrong since.
pub struct ConsistencyCheck {
    before: Generations,
    daemon_set: Value,
    pods: BTreeMap<String, String>,
    highest: BTreeMap<String, u64>,
    /// The first value of each key and password, which are generated once. Never printed.
    generated: BTreeMap<String, String>,
    problems: Vec<String>,
}

impl ConsistencyCheck {
    /// Records the present state.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn start(kubectl: &Kubectl) -> Result<Self> {
        let snapshot = Snapshot::take(kubectl)?;
        let mut consistency = Self {
            before: Generations::of(&snapshot.status)?,
            daemon_set: daemon_set(kubectl)?,
            pods: pods(kubectl)?,
            highest: BTreeMap::new(),
            generated: BTreeMap::new(),
            problems: Vec::new(),
        };
        consistency.record(&snapshot);
        Ok(consistency)
    }

    /// The generations in force at the start.
    pub fn before(&self) -> &Generations {
        &self.before
    }

    /// Compares a snapshot with the earlier ones.
    pub fn record(&mut self, snapshot: &Snapshot) {
        for (secret, generation) in &snapshot.generations {
            let highest = self.highest.entry(secret.clone()).or_default();
            if generation < highest {
                self.problems.push(format!(
                    "{secret} went back from generation {highest} to {generation}"
                ));
            }
            *highest = (*highest).max(*generation);
        }
        let Some(state) = &snapshot.state else { return };
        for part in parts(&snapshot.status) {
            let Ok(now) = state.get(&part) else { continue };
            let first = self
                .generated
                .entry(part.clone())
                .or_insert_with(|| now.to_owned());
            if first != now {
                self.problems.push(format!("{part} was generated twice"));
                now.clone_into(first);
            }
        }
    }

    /// Compares the state at the end of the drill with the expected one, and returns everything that went wrong.
    ///
    /// # Errors
    /// The API server or Prometheus does not answer.
    pub fn finish(
        mut self,
        kubectl: &Kubectl,
        subjects: &str,
        prometheus: &Prometheus,
        clock: &Clock,
    ) -> Result<Vec<String>> {
        let snapshot = Snapshot::take(kubectl)?;
        self.record(&snapshot);
        let now = Generations::of(&snapshot.status)?;
        let asked = |word| u64::from(subjects.split(',').any(|part| part == word));
        for (what, before, now, more) in [
            ("CA", self.before.authority, now.authority, asked("ca")),
            (
                "password",
                self.before.password,
                now.password,
                asked("password"),
            ),
        ] {
            if now != before + more {
                self.problems.push(format!(
                    "one rotation took the {what} from generation {before} to {now}"
                ));
            }
        }
        if self.daemon_set != daemon_set(kubectl)? {
            self.problems.push("the DaemonSet was changed".to_owned());
        }
        if self.pods != pods(kubectl)? {
            self.problems
                .push("an exporter's pod was replaced or restarted".to_owned());
        }
        let served = prometheus.samples(SERIALS, clock)?;
        self.problems.extend(served_again(&served));
        Ok(self.problems)
    }
}

/// The keys of the state Secret that hold keys and passwords of the generations in the status and of the next ones.
fn parts(status: &Value) -> Vec<String> {
    let Ok(now) = Generations::of(status) else {
        return Vec::new();
    };
    let authorities = now.authority..=now.authority + 1;
    let passwords = now.password..=now.password + 1;
    authorities
        .flat_map(|it| [format!("ca-{it}.crt"), format!("ca-{it}.key")])
        .chain(passwords.flat_map(|it| [format!("password-{it}"), format!("password-{it}.bcrypt")]))
        .collect()
}

fn daemon_set(kubectl: &Kubectl) -> Result<Value> {
    Ok(kubectl.get("daemonset", "nodes")?["metadata"]["generation"].clone())
}

/// Returns the uid and the number of restarts of each pod, by name.
fn pods(kubectl: &Kubectl) -> Result<BTreeMap<String, String>> {
    let pods = kubectl.list("pods", PODS)?;
    let described = pods.iter().map(|pod| {
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        let which = format!("{} {restarts}", pod["metadata"]["uid"]);
        (pod["metadata"]["name"].to_string(), which)
    });
    Ok(described.collect())
}

/// Returns the certificates that an exporter served again after another one.
fn served_again(served: &[Samples]) -> Vec<String> {
    let mut by_exporter: BTreeMap<String, Vec<(f64, f64, String)>> = BTreeMap::new();
    for series in served {
        let (Some((first, _)), Some((last, _))) = (series.points.first(), series.points.last())
        else {
            continue;
        };
        by_exporter
            .entry(series.labels["instance"].to_string())
            .or_default()
            .push((*first, *last, series.labels["serial"].to_string()));
    }
    let mut problems = Vec::new();
    for (exporter, mut spans) in by_exporter {
        spans.sort_by(|one, other| one.0.total_cmp(&other.0));
        for pair in spans.windows(2) {
            if let [(_, last, serial), (next, ..)] = pair
                && last > next
            {
                problems.push(format!(
                    "{exporter} served the certificate {serial} again after a newer one"
                ));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn series(serial: &str, times: &[f64]) -> Samples {
        Samples {
            labels: json!({"instance": "node1", "serial": serial}),
            points: times.iter().map(|time| (*time, "1".to_owned())).collect(),
        }
    }

    #[test]
    fn a_certificate_that_is_served_again_is_found() {
        let (a, b) = (series("a", &[1.0, 2.0]), series("b", &[3.0, 4.0]));
        assert_eq!(served_again(&[b, a]), Vec::<String>::new());
        let (a, b) = (series("a", &[1.0, 5.0]), series("b", &[3.0, 4.0]));
        assert_eq!(served_again(&[a, b]).len(), 1);
    }
}

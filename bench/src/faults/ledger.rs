//! Whether anything was lost, went back, or was made twice.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;
use testbed::kubectl::Kubectl;

use super::sight::Sight;
use crate::nodes::{
    count::{Clock, Prometheus, Samples},
    generations::Generations,
};

const PODS: &str = "app.kubernetes.io/name=secure-exporter,app.kubernetes.io/instance=nodes";
const SERIALS: &str = "secure_exporter_certificate_info";

/// What there was, and what was found wrong since.
pub struct Ledger {
    before: Generations,
    daemon_set: Value,
    pods: BTreeMap<String, String>,
    highest: BTreeMap<String, u64>,
    /// The first that was seen of each key and password: each is made once. Never printed.
    made: BTreeMap<String, String>,
    problems: Vec<String>,
}

impl Ledger {
    /// Begins with what there is.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn open(kubectl: &Kubectl) -> Result<Self> {
        let sight = Sight::take(kubectl)?;
        let mut ledger = Self {
            before: Generations::of(&sight.status)?,
            daemon_set: daemon_set(kubectl)?,
            pods: pods(kubectl)?,
            highest: BTreeMap::new(),
            made: BTreeMap::new(),
            problems: Vec::new(),
        };
        ledger.note(&sight);
        Ok(ledger)
    }

    /// What was in force in the beginning.
    pub fn before(&self) -> &Generations {
        &self.before
    }

    /// Notes what is seen now.
    pub fn note(&mut self, sight: &Sight) {
        for (secret, generation) in &sight.generations {
            let highest = self.highest.entry(secret.clone()).or_default();
            if generation < highest {
                self.problems.push(format!(
                    "{secret} went back from generation {highest} to {generation}"
                ));
            }
            *highest = (*highest).max(*generation);
        }
        let Some(state) = &sight.state else { return };
        for part in parts(&sight.status) {
            let Ok(now) = state.get(&part) else { continue };
            let first = self
                .made
                .entry(part.clone())
                .or_insert_with(|| now.to_owned());
            if first != now {
                self.problems.push(format!("{part} was made twice"));
                now.clone_into(first);
            }
        }
    }

    /// Compares what there is at the end with what there should be, and returns all that is wrong.
    ///
    /// # Errors
    /// The API server or Prometheus does not answer.
    pub fn close(
        mut self,
        kubectl: &Kubectl,
        subjects: &str,
        prometheus: &Prometheus,
        clock: &Clock,
    ) -> Result<Vec<String>> {
        let sight = Sight::take(kubectl)?;
        self.note(&sight);
        let now = Generations::of(&sight.status)?;
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
        self.problems.extend(returned(&served));
        Ok(self.problems)
    }
}

/// Keys and passwords of the generations that a status speaks of, and of the next.
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

/// By name: which pod it is, and how often it was restarted.
fn pods(kubectl: &Kubectl) -> Result<BTreeMap<String, String>> {
    let pods = kubectl.list("pods", PODS)?;
    let described = pods.iter().map(|pod| {
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        let which = format!("{} {restarts}", pod["metadata"]["uid"]);
        (pod["metadata"]["name"].to_string(), which)
    });
    Ok(described.collect())
}

/// Certificates that an exporter served again after it had served another one.
fn returned(served: &[Samples]) -> Vec<String> {
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
    fn a_certificate_that_comes_back_is_noticed() {
        let (a, b) = (series("a", &[1.0, 2.0]), series("b", &[3.0, 4.0]));
        assert_eq!(returned(&[b, a]), Vec::<String>::new());
        let (a, b) = (series("a", &[1.0, 5.0]), series("b", &[3.0, 4.0]));
        assert_eq!(returned(&[a, b]).len(), 1);
    }
}

//! What a user can see of a fault: conditions, events, the operator's log and metrics, and its pod.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};
use testbed::kubectl::Kubectl;

use super::{operators::Operators, snapshot::Snapshot};

/// How many symptoms of each kind are printed.
const MAX_LINES: usize = 6;
/// How many characters of a symptom are printed.
const MAX_LINE_CHARS: usize = 400;

/// What could be seen before the fault.
pub struct Observer {
    conditions: BTreeMap<String, String>,
    events: BTreeMap<String, u64>,
    logs: BTreeMap<String, usize>,
    metrics: BTreeMap<String, String>,
    pods: Vec<String>,
    /// The address of the metrics, for the time without an API server.
    metrics_address: Option<String>,
    symptoms: Symptoms,
}

/// What a user could see of a fault, one line each.
#[derive(Default)]
pub struct Symptoms {
    /// Conditions that changed.
    pub conditions: Vec<String>,
    /// Warning events about the resource.
    pub events: Vec<String>,
    /// Warnings and errors in the operator's log.
    pub log: Vec<String>,
    /// Changed metrics of the operator that count or report failures.
    pub metrics: Vec<String>,
    /// Restarts of the operator's pod.
    pub pods: Vec<String>,
}

impl Symptoms {
    /// Returns the symptoms with the name of their kind.
    pub fn parts(&self) -> [(&'static str, &[String]); 5] {
        [
            ("condition", &self.conditions),
            ("event", &self.events),
            ("log", &self.log),
            ("metric", &self.metrics),
            ("pod", &self.pods),
        ]
    }

    /// Whether nothing could be seen.
    pub fn is_empty(&self) -> bool {
        self.parts().iter().all(|(_, lines)| lines.is_empty())
    }

    /// Returns the symptoms for the JSON file.
    pub fn to_json(&self) -> Value {
        let parts = self.parts();
        let parts = parts
            .iter()
            .map(|(kind, lines)| ((*kind).to_owned(), json!(lines)));
        Value::Object(parts.collect())
    }
}

impl Observer {
    /// Records the present state.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn start(kubectl: &Kubectl, operators: &Operators) -> Result<Self> {
        let snapshot = Snapshot::take(kubectl)?;
        let logs = operators.logs()?;
        let metrics_address = operators.pod_address().ok();
        let metrics = operators.metrics(metrics_address.as_deref());
        Ok(Self {
            conditions: conditions(&snapshot.status),
            events: events(kubectl)?,
            logs: logs
                .into_iter()
                .map(|(name, text)| (name, text.len()))
                .collect(),
            metrics: failure_metrics(&metrics.unwrap_or_default()),
            pods: restarts(operators)?,
            metrics_address,
            symptoms: Symptoms::default(),
        })
    }

    /// Records conditions and metrics during the fault, just before its end.
    pub fn observe_fault(&mut self, kubectl: &Kubectl, operators: &Operators) {
        self.symptoms.conditions = match Snapshot::take(kubectl) {
            Ok(snapshot) => self.changed_conditions(&snapshot.status),
            Err(error) => {
                let text = format!("{error:#}");
                let last = text.lines().last().unwrap_or_default();
                vec![cut(&format!("kubectl: {last}"))]
            }
        };
        self.symptoms.metrics = match operators.metrics(self.metrics_address.as_deref()) {
            Ok(text) => self.changed_metrics(&text),
            Err(error) => vec![cut(&format!("cannot read the metrics: {error:#}"))],
        };
    }

    /// Returns all symptoms, when the drill is over.
    ///
    /// # Errors
    /// The API server does not answer, or a log cannot be read.
    pub fn finish(mut self, kubectl: &Kubectl, operators: &Operators) -> Result<Symptoms> {
        let mut symptoms = std::mem::take(&mut self.symptoms);
        for (event, count) in events(kubectl)? {
            let before = self.events.get(&event).copied().unwrap_or_default();
            if count > before {
                symptoms.events.push(times(&event, count - before));
            }
        }
        symptoms.log = self.warnings_in_logs(operators)?;
        symptoms.pods = restarts(operators)?;
        symptoms.pods.retain(|pod| !self.pods.contains(pod));
        for lines in [
            &mut symptoms.events,
            &mut symptoms.log,
            &mut symptoms.metrics,
        ] {
            let more = lines.len().saturating_sub(MAX_LINES);
            lines.truncate(MAX_LINES);
            if more > 0 {
                lines.push(format!("and {more} more"));
            }
        }
        Ok(symptoms)
    }

    fn changed_conditions(&self, status: &Value) -> Vec<String> {
        conditions(status)
            .into_iter()
            .filter(|(kind, text)| self.conditions.get(kind) != Some(text))
            .filter(|(kind, _)| !["Rotating", "RequestsAccepted"].contains(&kind.as_str()))
            .map(|(kind, text)| cut(&format!("{kind}={text}")))
            .collect()
    }

    fn changed_metrics(&self, text: &str) -> Vec<String> {
        failure_metrics(text)
            .into_iter()
            .filter(|(name, value)| self.metrics.get(name).map_or("0", String::as_str) != value)
            .map(|(name, value)| {
                let before = self.metrics.get(&name).map_or("0", String::as_str);
                cut(&format!("{name}: {before} → {value}"))
            })
            .collect()
    }

    /// Lines that only differ in numbers count as one.
    fn warnings_in_logs(&self, operators: &Operators) -> Result<Vec<String>> {
        let mut found: Vec<(String, String, u64)> = Vec::new();
        for (name, text) in operators.logs()? {
            let known = self.logs.get(&name).copied().unwrap_or_default();
            for line in text.get(known..).unwrap_or_default().lines() {
                let Some(warning) = warning(line) else {
                    continue;
                };
                let kind: String = warning.chars().filter(|it| !it.is_ascii_digit()).collect();
                match found.iter_mut().find(|(same, ..)| *same == kind) {
                    Some((.., count)) => *count += 1,
                    None => found.push((kind, warning, 1)),
                }
            }
        }
        Ok(found
            .into_iter()
            .map(|(_, text, count)| times(&text, count))
            .collect())
    }
}

/// Returns the restarts of the operator's pods.
fn restarts(operators: &Operators) -> Result<Vec<String>> {
    let restart = |pod: &Value| {
        let container = &pod["status"]["containerStatuses"][0];
        let last = &container["lastState"]["terminated"];
        let (reason, code) = (last["reason"].as_str()?, last["exitCode"].as_i64()?);
        let count = container["restartCount"].as_u64()?;
        Some(format!(
            "restarts: {count}, the last after {reason}, exit code {code}"
        ))
    };
    Ok(operators.pods()?.iter().filter_map(restart).collect())
}

fn conditions(status: &Value) -> BTreeMap<String, String> {
    let all = status["conditions"].as_array().into_iter().flatten();
    all.map(|it| {
        let text = |field: &str| it[field].as_str().unwrap_or_default().to_owned();
        let words = format!("{} {}: {}", text("status"), text("reason"), text("message"));
        (text("type"), words)
    })
    .collect()
}

/// How often each warning about the resource was seen.
fn events(kubectl: &Kubectl) -> Result<BTreeMap<String, u64>> {
    let selector = "--field-selector=involvedObject.kind=SecureExporter,type=Warning";
    let text = kubectl.run(&["get", "events", selector, "-o", "json"])?;
    let list: Value = serde_json::from_str(&text)?;
    let mut events = BTreeMap::new();
    for event in list["items"].as_array().into_iter().flatten() {
        let text = |field: &str| event[field].as_str().unwrap_or_default();
        let words = format!("{}: {}", text("reason"), text("message"));
        let count = event["series"]["count"].as_u64();
        let count = count.or(event["count"].as_u64()).unwrap_or(1);
        *events.entry(words).or_default() += count;
    }
    Ok(events)
}

/// Returns the metrics that count or report failures, such as passes that did not succeed and blocked rotations.
fn failure_metrics(text: &str) -> BTreeMap<String, String> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let named = |name: &str| {
        let words = [
            "blocked",
            "error",
            "fail",
            "refused",
            "panic",
            "timeout",
            "condition",
        ];
        let other_outcome = name.contains("outcome=") && !name.contains("outcome=\"Success\"");
        other_outcome || words.iter().any(|word| name.contains(word))
    };
    samples
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(name, _)| named(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Returns the message of a warning or an error in the log, without its time and span.
fn warning(line: &str) -> Option<String> {
    let levels = [" WARN ", " ERROR "];
    let (at, level) = levels
        .iter()
        .find_map(|it| Some((line.find(it)?, it.trim())))?;
    let text = line.get(at..)?.trim_start().strip_prefix(level)?;
    let text = text.rsplit_once("}: ").map_or(text, |(_, words)| words);
    Some(cut(&format!("{level} {}", text.trim())))
}

fn times(text: &str, count: u64) -> String {
    let text = cut(text);
    if count > 1 {
        format!("{text} (× {count})")
    } else {
        text
    }
}

fn cut(text: &str) -> String {
    let text = text.replace('\n', " ");
    if text.chars().count() <= MAX_LINE_CHARS {
        return text;
    }
    format!("{}…", text.chars().take(MAX_LINE_CHARS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_warnings_and_failures_are_symptoms() {
        let line =
            "2026-11-29T05:00:00Z stderr F 2026-11-29T05:00:00Z  WARN pass{of=c}: a::b: no answer";
        assert_eq!(warning(line).unwrap(), "WARN a::b: no answer");
        assert_eq!(warning("2026-11-29T05:00:00Z  INFO a: b"), None);
        let text = "# HELP a b\nreconciles_total{outcome=\"Success\"} 3\nreconciles_total{outcome=\"Forbidden\"} 2\n";
        let found = failure_metrics(text);
        assert_eq!(found.len(), 1, "{found:?}");
    }
}

//! What a person can see of a fault: conditions, events, the operator's log and metrics, and its pod.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};
use testbed::kubectl::Kubectl;

use super::{operators::Operators, sight::Sight};

/// How much of each kind is told.
const MOST: usize = 6;
/// How much of a line is told.
const WIDTH: usize = 400;

/// What there was to be seen before.
pub struct Witness {
    conditions: BTreeMap<String, String>,
    events: BTreeMap<String, u64>,
    logs: BTreeMap<String, usize>,
    metrics: BTreeMap<String, String>,
    pods: Vec<String>,
    /// Where to ask for the metrics while the API server cannot say.
    metrics_address: Option<String>,
    during: Told,
}

/// What was to be seen since, one line each.
#[derive(Default)]
pub struct Told {
    /// Conditions that were others than before.
    pub conditions: Vec<String>,
    /// Warnings among the events about the resource.
    pub events: Vec<String>,
    /// Warnings and errors of the operator.
    pub log: Vec<String>,
    /// Metrics of the operator that speak of failure.
    pub metrics: Vec<String>,
    /// Of the operator's pod.
    pub pods: Vec<String>,
}

impl Told {
    /// Kind and lines.
    pub fn parts(&self) -> [(&'static str, &[String]); 5] {
        [
            ("condition", &self.conditions),
            ("event", &self.events),
            ("log", &self.log),
            ("metric", &self.metrics),
            ("pod", &self.pods),
        ]
    }

    /// Whether a person who looks at the resource, its events, the log or the metrics could not know.
    pub fn is_silent(&self) -> bool {
        self.parts().iter().all(|(_, lines)| lines.is_empty())
    }

    /// For the file of figures.
    pub fn to_json(&self) -> Value {
        let parts = self.parts();
        let parts = parts
            .iter()
            .map(|(kind, lines)| ((*kind).to_owned(), json!(lines)));
        Value::Object(parts.collect())
    }
}

impl Witness {
    /// Remembers what there is.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn begin(kubectl: &Kubectl, operators: &Operators) -> Result<Self> {
        let sight = Sight::take(kubectl)?;
        let logs = operators.logs()?;
        let metrics_address = operators.pod_address().ok();
        let metrics = operators.metrics(metrics_address.as_deref());
        Ok(Self {
            conditions: conditions(&sight.status),
            events: events(kubectl)?,
            logs: logs
                .into_iter()
                .map(|(name, text)| (name, text.len()))
                .collect(),
            metrics: complaints(&metrics.unwrap_or_default()),
            pods: restarts(operators)?,
            metrics_address,
            during: Told::default(),
        })
    }

    /// Looks while the fault lasts, just before its end.
    pub fn look(&mut self, kubectl: &Kubectl, operators: &Operators) {
        self.during.conditions = match Sight::take(kubectl) {
            Ok(sight) => self.other_conditions(&sight.status),
            Err(error) => {
                let text = format!("{error:#}");
                let last = text.lines().last().unwrap_or_default();
                vec![cut(&format!("kubectl says: {last}"))]
            }
        };
        self.during.metrics = match operators.metrics(self.metrics_address.as_deref()) {
            Ok(text) => self.other_metrics(&text),
            Err(error) => vec![cut(&format!("its metrics cannot be read: {error:#}"))],
        };
    }

    /// Tells all, when it is over.
    ///
    /// # Errors
    /// The API server does not answer, or a log cannot be read.
    pub fn tell(mut self, kubectl: &Kubectl, operators: &Operators) -> Result<Told> {
        let mut told = std::mem::take(&mut self.during);
        for (event, count) in events(kubectl)? {
            let before = self.events.get(&event).copied().unwrap_or_default();
            if count > before {
                told.events.push(times(&event, count - before));
            }
        }
        told.log = self.complaints_in_logs(operators)?;
        told.pods = restarts(operators)?;
        told.pods.retain(|pod| !self.pods.contains(pod));
        for lines in [&mut told.events, &mut told.log, &mut told.metrics] {
            let more = lines.len().saturating_sub(MOST);
            lines.truncate(MOST);
            if more > 0 {
                lines.push(format!("and {more} more"));
            }
        }
        Ok(told)
    }

    fn other_conditions(&self, status: &Value) -> Vec<String> {
        conditions(status)
            .into_iter()
            .filter(|(kind, text)| self.conditions.get(kind) != Some(text))
            .filter(|(kind, _)| !["Rotating", "RequestsAccepted"].contains(&kind.as_str()))
            .map(|(kind, text)| cut(&format!("{kind}={text}")))
            .collect()
    }

    fn other_metrics(&self, text: &str) -> Vec<String> {
        complaints(text)
            .into_iter()
            .filter(|(name, value)| self.metrics.get(name).map_or("0", String::as_str) != value)
            .map(|(name, value)| {
                let before = self.metrics.get(&name).map_or("0", String::as_str);
                cut(&format!("{name}: {before} → {value}"))
            })
            .collect()
    }

    /// Those that differ in numbers alone are one.
    fn complaints_in_logs(&self, operators: &Operators) -> Result<Vec<String>> {
        let mut found: Vec<(String, String, u64)> = Vec::new();
        for (name, text) in operators.logs()? {
            let known = self.logs.get(&name).copied().unwrap_or_default();
            for line in text.get(known..).unwrap_or_default().lines() {
                let Some(complaint) = complaint(line) else {
                    continue;
                };
                let kind: String = complaint
                    .chars()
                    .filter(|it| !it.is_ascii_digit())
                    .collect();
                match found.iter_mut().find(|(same, ..)| *same == kind) {
                    Some((.., count)) => *count += 1,
                    None => found.push((kind, complaint, 1)),
                }
            }
        }
        Ok(found
            .into_iter()
            .map(|(_, text, count)| times(&text, count))
            .collect())
    }
}

/// What the operator's pods say of their restarts.
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

/// Metrics whose names say that they speak of failure: passes that did not succeed, rotations that are blocked.
fn complaints(text: &str) -> BTreeMap<String, String> {
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

/// What a line of the log warns of, without its time and what it was about to do.
fn complaint(line: &str) -> Option<String> {
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
    if text.chars().count() <= WIDTH {
        return text;
    }
    format!("{}…", text.chars().take(WIDTH).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_from_what_goes_well() {
        let line =
            "2026-11-29T05:00:00Z stderr F 2026-11-29T05:00:00Z  WARN pass{of=c}: a::b: no answer";
        assert_eq!(complaint(line).unwrap(), "WARN a::b: no answer");
        assert_eq!(complaint("2026-11-29T05:00:00Z  INFO a: b"), None);
        let text = "# HELP a b\nreconciles_total{outcome=\"Success\"} 3\nreconciles_total{outcome=\"Forbidden\"} 2\n";
        let found = complaints(text);
        assert_eq!(found.len(), 1, "{found:?}");
    }
}

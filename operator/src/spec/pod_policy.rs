//! Which labels, annotations, priority classes and resources the exporters' pods may have.
//!
//! Injectors act on annotations and labels, and labels select pods for Services and NetworkPolicies; a pod with a priority
//! class evicts others; requests reserve a part of every node.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::{
    api::{Resources, WorkloadSpec},
    spec::{error::SpecError, quantity::Amount},
};

/// The entry of a list that allows everything.
const ANY: &str = "*";

/// The flags about pods, as the administrator wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRules {
    /// `--allowed-pod-label-prefixes`
    pub label_prefixes: Vec<String>,
    /// `--allowed-pod-annotation-prefixes`
    pub annotation_prefixes: Vec<String>,
    /// `--allowed-priority-classes`
    pub priority_classes: Vec<String>,
    /// `--max-exporter-resources`
    pub max_resources: Vec<String>,
}

/// What the exporters' pods may have in addition to what the operator always sets. The default allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodPolicy {
    label_prefixes: Allowed,
    annotation_prefixes: Allowed,
    priority_classes: Allowed,
    max_resources: BTreeMap<String, Max>,
}

/// The upper bound of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Max {
    text: String,
    amount: Amount,
}

/// Why a flag about pods is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PodPolicyError {
    /// A prefix can never be the beginning of a key.
    #[error(
        "invalid prefix {prefix:?} (--{flag}): use the beginning of a key, such as example.com/ or team, or * alone for every key"
    )]
    Prefix {
        /// The flag.
        flag: &'static str,
        /// The prefix.
        prefix: String,
    },
    /// A resource without a valid amount.
    #[error(
        "invalid resource {entry:?} (--max-exporter-resources): write a name and a quantity, such as cpu=500m or memory=256Mi"
    )]
    Resource {
        /// The entry.
        entry: String,
    },
}

const LABEL_FLAG: &str = "allowed-pod-label-prefixes";
const ANNOTATION_FLAG: &str = "allowed-pod-annotation-prefixes";

impl PodPolicy {
    /// Parses the flags.
    ///
    /// # Errors
    /// A prefix that no key has, or a resource without a valid quantity.
    pub fn new(rules: &PodRules) -> Result<Self, PodPolicyError> {
        Ok(Self {
            label_prefixes: prefixes(LABEL_FLAG, &rules.label_prefixes)?,
            annotation_prefixes: prefixes(ANNOTATION_FLAG, &rules.annotation_prefixes)?,
            priority_classes: Allowed::of(&rules.priority_classes),
            max_resources: entries(&rules.max_resources)
                .map(max_resource)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Checks what the author of a resource asks for.
    ///
    /// # Errors
    /// The first field that is not allowed.
    pub(crate) fn check(&self, spec: &WorkloadSpec) -> Result<(), SpecError> {
        check_affinity(spec)?;
        check_keys(
            "podLabels",
            LABEL_FLAG,
            &self.label_prefixes,
            spec.pod_labels.keys(),
        )?;
        check_keys(
            "podAnnotations",
            ANNOTATION_FLAG,
            &self.annotation_prefixes,
            spec.pod_annotations.keys(),
        )?;
        if let Some(class) = &spec.priority_class_name
            && !self.priority_classes.has(class)
        {
            return Err(SpecError::new(
                "spec.workload.priorityClassName",
                format!(
                    "priority class {class:?} is not allowed: use one of those that the operator's administrator allows \
                     ({}), or ask for it to be added to --allowed-priority-classes",
                    self.priority_classes
                ),
            ));
        }
        spec.resources
            .as_ref()
            .map_or(Ok(()), |it| self.check_resources(it))
    }

    fn check_resources(&self, resources: &Resources) -> Result<(), SpecError> {
        for (list, amounts) in [
            ("requests", &resources.requests),
            ("limits", &resources.limits),
        ] {
            for (name, quantity) in amounts {
                self.check_resource(name, quantity).map_err(|problem| {
                    SpecError::new(format!("spec.workload.resources.{list}[{name}]"), problem)
                })?;
            }
        }
        Ok(())
    }

    fn check_resource(&self, name: &str, Quantity(text): &Quantity) -> Result<(), String> {
        let amount = Amount::parse(text)
            .ok_or_else(|| format!("{text:?} is not a quantity: use one such as 100m or 64Mi"))?;
        let Some(max) = self.max_resources.get(name) else {
            let mut names: Vec<&str> = self.max_resources.keys().map(String::as_str).collect();
            if names.is_empty() {
                names.push("none");
            }
            return Err(format!(
                "resource {name:?} is not allowed: remove it, or ask the operator's administrator to add it to \
                 --max-exporter-resources (allowed: {})",
                names.join(", ")
            ));
        };
        if amount <= max.amount {
            return Ok(());
        }
        Err(format!(
            "{text} is more than {}, the maximum that the operator's administrator allows: use less, or ask for a higher \
             --max-exporter-resources",
            max.text
        ))
    }
}

/// The scheduler keeps pods off a node that the anti-affinity of a pod on it excludes: a DaemonSet with one could empty the
/// cluster.
fn check_affinity(spec: &WorkloadSpec) -> Result<(), SpecError> {
    let affinity = spec.affinity.as_ref();
    if affinity.is_some_and(|it| it.pod_affinity.is_some() || it.pod_anti_affinity.is_some()) {
        return Err(SpecError::new(
            "spec.workload.affinity",
            "may only contain nodeAffinity, because podAffinity and podAntiAffinity could keep other pods off the nodes: \
             remove them",
        ));
    }
    Ok(())
}

/// Values that are allowed, each as it is written or as a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Allowed {
    #[default]
    Nothing,
    These(Vec<String>),
    Everything,
}

impl Allowed {
    fn of(list: &[String]) -> Self {
        let these: Vec<String> = entries(list).map(str::to_owned).collect();
        if these.iter().any(|entry| entry == ANY) {
            Self::Everything
        } else if these.is_empty() {
            Self::Nothing
        } else {
            Self::These(these)
        }
    }

    fn has(&self, value: &str) -> bool {
        self.any(|entry| entry == value)
    }

    /// Whether a key starts with one of the entries. An entry without `/` is never the beginning of a domain: otherwise
    /// `example.com` would allow `example.com.attacker.test/key`.
    fn has_prefix_of(&self, key: &str) -> bool {
        self.any(|entry| key.starts_with(entry) && (entry.contains('/') || !key.contains('/')))
    }

    fn any(&self, is_match: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Nothing => false,
            Self::These(entries) => entries.iter().any(|entry| is_match(entry)),
            Self::Everything => true,
        }
    }
}

impl std::fmt::Display for Allowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("none"),
            Self::These(entries) => f.write_str(&entries.join(", ")),
            Self::Everything => f.write_str("all"),
        }
    }
}

fn check_keys<'a>(
    field: &str,
    flag: &str,
    allowed: &Allowed,
    mut keys: impl Iterator<Item = &'a String>,
) -> Result<(), SpecError> {
    match keys.find(|key| !allowed.has_prefix_of(key)) {
        None => Ok(()),
        Some(key) => Err(SpecError::new(
            format!("spec.workload.{field}[{key}]"),
            format!(
                "the key is not allowed: use one with a prefix that the operator's administrator allows ({allowed}), or ask \
                 for its prefix to be added to --{flag}"
            ),
        )),
    }
}

/// The entries of a list from a flag or an environment variable: an empty one is none, not the prefix of everything.
fn entries(list: &[String]) -> impl Iterator<Item = &str> {
    list.iter()
        .map(|entry| entry.trim())
        .filter(|entry| !entry.is_empty())
}

fn prefixes(flag: &'static str, list: &[String]) -> Result<Allowed, PodPolicyError> {
    let is_of_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let is_prefix = |entry: &str| {
        entry == ANY
            || (entry.chars().all(is_of_key)
                && entry.matches('/').count() <= 1
                && !entry.starts_with('/'))
    };
    match entries(list).find(|entry| !is_prefix(entry)) {
        Some(entry) => Err(PodPolicyError::Prefix {
            flag,
            prefix: entry.to_owned(),
        }),
        None => Ok(Allowed::of(list)),
    }
}

fn max_resource(entry: &str) -> Result<(String, Max), PodPolicyError> {
    entry
        .split_once('=')
        .filter(|(name, _)| !name.trim().is_empty())
        .and_then(|(name, text)| {
            let (name, text) = (name.trim().to_owned(), text.trim().to_owned());
            let amount = Amount::parse(&text)?;
            Some((name, Max { text, amount }))
        })
        .ok_or_else(|| PodPolicyError::Resource {
            entry: entry.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn list(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|&entry| entry.to_owned()).collect()
    }

    fn policy() -> PodPolicy {
        PodPolicy::new(&PodRules {
            label_prefixes: list(&["team", "example.com/", "corp.example/a-"]),
            annotation_prefixes: list(&[" note.example.com/ ", ""]),
            priority_classes: list(&["monitoring"]),
            max_resources: list(&["cpu=500m", "memory=256Mi"]),
        })
        .unwrap()
    }

    fn check(policy: &PodPolicy, workload: Value) -> Result<(), SpecError> {
        policy.check(&serde_json::from_value(workload).unwrap())
    }

    fn refusals(policy: &PodPolicy, workloads: &[(&str, Value)]) {
        for (field, workload) in workloads {
            let error = check(policy, workload.clone()).expect_err(&workload.to_string());
            assert_eq!(error.field, format!("spec.workload.{field}"), "{workload}");
        }
    }

    #[test]
    fn without_flags_the_author_may_put_nothing_on_pods() {
        let none = PodPolicy::default();
        assert_eq!(none, PodPolicy::new(&PodRules::default()).unwrap());
        check(&none, json!({})).unwrap();
        refusals(
            &none,
            &[
                ("podLabels[team]", json!({"podLabels": {"team": "x"}})),
                (
                    "podAnnotations[sidecar.istio.io/inject]",
                    json!({"podAnnotations": {"sidecar.istio.io/inject": "true"}}),
                ),
                (
                    "priorityClassName",
                    json!({"priorityClassName": "system-node-critical"}),
                ),
                (
                    "resources.requests[cpu]",
                    json!({"resources": {"requests": {"cpu": "1m"}}}),
                ),
            ],
        );
    }

    #[test]
    fn what_the_administrator_allows_is_accepted() {
        for workload in [
            json!({"podLabels": {"team": "x", "team-name": "x", "example.com/any": "x", "corp.example/a-b": "x"}}),
            json!({"podAnnotations": {"note.example.com/x": "y"}}),
            json!({"priorityClassName": "monitoring"}),
            json!({"resources": {"requests": {"cpu": "0.5", "memory": "262144Ki"}, "limits": {"memory": "256Mi"}}}),
        ] {
            check(&policy(), workload).unwrap();
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_field() {
        refusals(
            &policy(),
            &[
                // Neither a domain that begins with an entry, nor a key that only ends with one.
                (
                    "podLabels[example.com.attacker.test/x]",
                    json!({"podLabels": {"example.com.attacker.test/x": "y"}}),
                ),
                (
                    "podLabels[team.attacker.test/x]",
                    json!({"podLabels": {"team.attacker.test/x": "y"}}),
                ),
                ("podLabels[a-team]", json!({"podLabels": {"a-team": "y"}})),
                (
                    "podLabels[corp.example/b]",
                    json!({"podLabels": {"team": "x", "corp.example/b": "y"}}),
                ),
                // Labels and annotations have a list each.
                (
                    "podAnnotations[example.com/x]",
                    json!({"podAnnotations": {"example.com/x": "y"}}),
                ),
                (
                    "priorityClassName",
                    json!({"priorityClassName": "monitoring-high"}),
                ),
                (
                    "resources.requests[cpu]",
                    json!({"resources": {"requests": {"cpu": "501m"}}}),
                ),
                (
                    "resources.limits[memory]",
                    json!({"resources": {"limits": {"memory": "257Mi"}}}),
                ),
                (
                    "resources.limits[nvidia.com/gpu]",
                    json!({"resources": {"limits": {"nvidia.com/gpu": "1"}}}),
                ),
                (
                    "resources.limits[cpu]",
                    json!({"resources": {"limits": {"cpu": "lots"}}}),
                ),
            ],
        );
    }

    #[test]
    fn pods_can_keep_no_others_off_their_nodes() {
        let term = json!([{"topologyKey": "kubernetes.io/hostname", "labelSelector": {}, "namespaceSelector": {}}]);
        let rule = json!({"requiredDuringSchedulingIgnoredDuringExecution": term});
        for kind in ["podAffinity", "podAntiAffinity"] {
            let workload = json!({"affinity": {kind: rule}});
            refusals(&policy(), &[("affinity", workload)]);
        }
        let terms = json!([{"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}]);
        let rule =
            json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        check(&policy(), json!({"affinity": {"nodeAffinity": rule}})).unwrap();
    }

    #[test]
    fn a_star_allows_everything() {
        let all = PodPolicy::new(&PodRules {
            label_prefixes: list(&["*"]),
            annotation_prefixes: list(&["x", "*"]),
            priority_classes: list(&["*"]),
            max_resources: Vec::new(),
        })
        .unwrap();
        check(
            &all,
            json!({"podLabels": {"a": "b"}, "podAnnotations": {"c.test/d": "e"}, "priorityClassName": "f"}),
        )
        .unwrap();
    }

    #[test]
    fn a_refusal_says_what_is_allowed_and_which_flag_allows_more() {
        let error = check(&policy(), json!({"podLabels": {"app": "payments"}})).unwrap_err();
        for words in ["team, example.com/", "--allowed-pod-label-prefixes"] {
            assert!(error.problem.contains(words), "{error}");
        }
        let error = check(&PodPolicy::default(), json!({"priorityClassName": "x"})).unwrap_err();
        for words in ["(none)", "--allowed-priority-classes"] {
            assert!(error.problem.contains(words), "{error}");
        }
        let error = check(&policy(), json!({"resources": {"limits": {"cpu": "2"}}})).unwrap_err();
        for words in ["2 is more than 500m", "--max-exporter-resources"] {
            assert!(error.problem.contains(words), "{error}");
        }
    }

    #[test]
    fn an_error_in_a_flag_names_it() {
        for (entry, is_legal) in [
            ("a b", false),
            ("example.com/*", false),
            ("a/b/c", false),
            ("/x", false),
            ("*", true),
        ] {
            let rules = PodRules {
                annotation_prefixes: list(&[entry]),
                ..PodRules::default()
            };
            match PodPolicy::new(&rules) {
                Ok(_) => assert!(is_legal, "{entry}"),
                Err(error) => {
                    let text = error.to_string();
                    assert!(
                        !is_legal && text.contains("--allowed-pod-annotation-prefixes"),
                        "{text}"
                    );
                }
            }
        }
        for entry in ["cpu", "cpu=", "=1", "cpu=much"] {
            let rules = PodRules {
                max_resources: list(&[entry]),
                ..PodRules::default()
            };
            let error = PodPolicy::new(&rules).unwrap_err().to_string();
            assert!(error.contains("--max-exporter-resources"), "{error}");
        }
    }
}

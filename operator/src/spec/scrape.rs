//! `spec.scrape`, validated.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::{
    api::{InstanceLabel, MonitorMode, Relabeling, ScrapeServiceAccount, ScrapeSpec},
    names::Owner,
    spec::{
        error::SpecError,
        relabelings::{Labels, check_label_value, check_relabelings, is_label_name},
        values::duration,
    },
};

/// The scrape configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValidScrape {
    /// Value of the label `job`.
    pub job_label: String,
    /// The unique name of the scrape job.
    pub job_name: String,
    /// How often each node is scraped.
    pub interval: SignedDuration,
    /// How long Prometheus waits for a scrape.
    pub timeout: SignedDuration,
    /// The service accounts that may discover the pods, sorted.
    pub service_accounts: Vec<ScrapeServiceAccount>,
    /// What the label `instance` contains.
    #[serde(default)]
    pub instance_label: InstanceLabel,
    /// Labels that are added to all series.
    #[serde(default)]
    pub extra_labels: BTreeMap<String, String>,
    /// The user's rules for targets.
    #[serde(default)]
    pub relabelings: Vec<Relabeling>,
    /// The user's rules for samples.
    #[serde(default)]
    pub metric_relabelings: Vec<Relabeling>,
    /// The maximum number of samples of a scrape.
    #[serde(default)]
    pub sample_limit: Option<i32>,
    /// Whether there is a PodMonitor.
    #[serde(default)]
    pub monitor_mode: MonitorMode,
    /// Additional labels of the PodMonitor.
    #[serde(default)]
    pub monitor_labels: BTreeMap<String, String>,
}

pub(crate) fn scrape(spec: &ScrapeSpec, owner: &Owner) -> Result<ValidScrape, SpecError> {
    let second = SignedDuration::from_secs(1);
    let day = SignedDuration::from_hours(24);
    let interval = duration("spec.scrape.interval", &spec.interval, second, day)?;
    let timeout = duration("spec.scrape.timeout", &spec.timeout, second, day)?;
    if timeout > interval {
        return Err(SpecError::new(
            "spec.scrape.timeout",
            format!(
                "{} is longer than spec.scrape.interval ({}): shorten it",
                spec.timeout, spec.interval
            ),
        ));
    }
    if spec.job_name.is_empty() {
        return Err(SpecError::new("spec.scrape.jobName", "must not be empty"));
    }
    check_label_value("spec.scrape.jobName", &spec.job_name)?;
    check_extra_labels(&spec.extra_labels)?;
    let (targets, samples) = (&spec.relabelings, &spec.metric_relabelings);
    check_relabelings("spec.scrape.relabelings", targets, Labels::OfTargets)?;
    check_relabelings("spec.scrape.metricRelabelings", samples, Labels::OfSamples)?;
    let mut service_accounts = spec.service_accounts.clone();
    service_accounts.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    service_accounts.dedup();
    Ok(ValidScrape {
        job_label: spec.job_name.clone(),
        job_name: format!("secureexporter/{}/{}", owner.namespace, owner.name),
        interval,
        timeout,
        service_accounts,
        instance_label: spec.instance_label,
        extra_labels: spec.extra_labels.clone(),
        relabelings: targets.clone(),
        metric_relabelings: samples.clone(),
        sample_limit: spec.sample_limit,
        monitor_mode: spec.prometheus_operator.mode,
        monitor_labels: spec.prometheus_operator.labels.clone(),
    })
}

fn check_extra_labels(labels: &BTreeMap<String, String>) -> Result<(), SpecError> {
    for (name, value) in labels {
        let field = format!("spec.scrape.extraLabels[{name}]");
        if !is_label_name(name) || name.starts_with("__") {
            return Err(SpecError::new(
                field,
                "is not a label name: use letters, digits and '_', and do not begin with two underscores",
            ));
        }
        check_label_value(&field, value)?;
    }
    Ok(())
}

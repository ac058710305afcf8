//! A real Prometheus' API.
#![allow(
    clippy::indexing_slicing,
    reason = "a field that JSON lacks is null, and a test may end there"
)]

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    curl::Request,
    kubectl::Kubectl,
    paths,
    process::{Process, free_port},
    servers,
    wait::wait_until,
};

/// Starts the Prometheus of the example in the namespace of this kubectl, and returns the address of its API.
///
/// # Errors
/// It does not start.
pub fn start(kubectl: &Kubectl) -> Result<String> {
    kubectl.apply_file(&paths::repository().join("examples/prometheus.yaml"))?;
    kubectl.run(&[
        "rollout",
        "status",
        "deployment/prometheus",
        "--timeout=150s",
    ])?;
    let pod = pod(kubectl)?;
    let address = pod["status"]["podIP"].as_str();
    Ok(format!(
        "http://{}:9090",
        address.context("prometheus has no address")?
    ))
}

/// The pod of the example's Prometheus.
///
/// # Errors
/// There is none.
pub fn pod(kubectl: &Kubectl) -> Result<Value> {
    let pods = kubectl.list("pods", "app.kubernetes.io/name=prometheus")?;
    pods.into_iter().next().context("prometheus has no pod")
}

/// Starts a Prometheus beside the test, its data in the folder of its configuration, and says where its API answers.
///
/// # Errors
/// It does not start: holds what it said.
pub fn start_here(configuration: &Path) -> Result<(Process, String)> {
    let folder = configuration.parent().context("a file without a folder")?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut server = Process::spawn(
        Command::new(servers::ensure(&servers::PROMETHEUS)?)
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}")),
    )?;
    let address = format!("http://{address}");
    wait_until("prometheus to be ready", Duration::from_secs(30), || {
        server.check()?;
        Ok(Request::get(&format!("{address}/-/ready"))
            .send()
            .ok()
            .filter(|it| it.status == 200))
    })?;
    Ok((server, address))
}

/// One series of an answer.
#[derive(Debug)]
pub struct Series {
    /// Its labels.
    pub labels: Value,
    /// Its value, as Prometheus writes it.
    pub value: String,
}

/// Asks for the value of each series now; an empty answer is one too.
///
/// # Errors
/// Prometheus does not answer, or refuses the query.
pub fn query(address: &str, expression: &str) -> Result<Vec<Series>> {
    let series = |one: &Value| {
        Ok(Series {
            labels: one["metric"].clone(),
            value: one["value"][1]
                .as_str()
                .context("a series without value")?
                .to_owned(),
        })
    };
    query_raw(address, expression)?.iter().map(series).collect()
}

/// As [`query`], for an expression that gives several samples of each series: each as the API returns it.
///
/// # Errors
/// As there.
pub fn query_raw(address: &str, expression: &str) -> Result<Vec<Value>> {
    let encoded: String = expression
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect();
    let answer = Request::get(&format!("{address}/api/v1/query?query={encoded}")).send()?;
    ensure!(
        answer.status == 200,
        "HTTP {}: {}",
        answer.status,
        answer.body
    );
    let mut body: Value = serde_json::from_str(&answer.body)?;
    match body["data"]["result"].take() {
        Value::Array(series) => Ok(series),
        other => bail!("no result but {other}"),
    }
}

/// Waits until a query gives these many series, all of this value.
///
/// # Errors
/// It does not: holds the last answer, and what Prometheus says of its targets.
pub fn wait_for(address: &str, expression: &str, count: usize, value: &str) -> Result<Vec<Series>> {
    let what = format!("{expression} to be {value} in {count} series");
    wait_until(&what, Duration::from_secs(60), || {
        let series = query(address, expression)?;
        if series.len() == count && series.iter().all(|one| one.value == value) {
            return Ok(Some(series));
        }
        let targets = Request::get(&format!("{address}/api/v1/targets?state=active")).send()?;
        bail!("it is {series:?}; targets: {}", targets.body)
    })
}

//! A real Prometheus' API.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    curl::Request,
    environment,
    namespace::Namespace,
    process::{Process, free_port},
    wait::wait_until,
};

/// Starts the Prometheus of the example in a namespace, and says where its API answers.
///
/// # Errors
/// It does not start.
pub fn start(namespace: &Namespace) -> Result<String> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/prometheus.yaml");
    let example = example.to_str().context("a path that is no text")?;
    namespace.kubectl.run(&["apply", "-f", example])?;
    namespace.kubectl.run(&[
        "rollout",
        "status",
        "deployment/prometheus",
        "--timeout=150s",
    ])?;
    let pods = namespace
        .kubectl
        .list("pods", "app.kubernetes.io/name=prometheus")?;
    let address = pods[0]["status"]["podIP"]
        .as_str()
        .context("prometheus has no address")?;
    Ok(format!("http://{address}:9090"))
}

/// Starts a Prometheus beside the test, its data in the folder of its configuration, and says where its API answers.
///
/// # Errors
/// It does not start: holds what it said.
pub fn start_here(configuration: &Path) -> Result<(Process, String)> {
    let folder = configuration.parent().context("a file without a folder")?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut server = Process::spawn(
        Command::new(environment::prometheus()?)
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

/// Asks; an empty answer is one too.
///
/// # Errors
/// Prometheus does not answer, or refuses the query.
pub fn query(address: &str, expression: &str) -> Result<Vec<Series>> {
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
    let body: Value = serde_json::from_str(&answer.body)?;
    let series = |one: &Value| {
        Ok(Series {
            labels: one["metric"].clone(),
            value: one["value"][1]
                .as_str()
                .context("a series without value")?
                .to_owned(),
        })
    };
    body["data"]["result"]
        .as_array()
        .context("no result")?
        .iter()
        .map(series)
        .collect()
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

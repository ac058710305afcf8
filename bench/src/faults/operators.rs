//! The operator: in its pod as the chart installed it, or as a process on this machine with the same arguments, with a gate
//! between it and the API server or with a wrong clock.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testbed::{
    cluster::Cluster,
    curl::Request,
    debian,
    kubectl::Kubectl,
    operator::{Stage, gate::Gate},
    paths::{repository, target},
    process::{Process, free_port, visibly},
    product::{
        binaries::{self, OPERATOR},
        install::NAMESPACE,
    },
    progress::step,
    wait::wait_until,
};

const LABEL: &str = "app.kubernetes.io/name=secure-exporter-operator";
/// How long the operator may take to start or to stop.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// The library that shifts the clock of a dynamically linked program.
const FAKETIME: &str = "/usr/lib/*/faketime/libfaketimeMT.so.1";

/// The operator, wherever it runs.
pub struct Operators {
    kubectl: Kubectl,
    /// The Deployment's name.
    pub name: String,
    /// Where the nodes' kubelets keep the logs of pods.
    pod_logs: Vec<PathBuf>,
    stage: Stage,
    local: Option<LocalProcess>,
    clock: Option<Clock>,
    /// The logs of the local processes that have ended.
    old_logs: Vec<String>,
}

/// The files that are needed to run an operator with a wrong clock.
#[derive(Clone)]
struct Clock {
    library: PathBuf,
    program: PathBuf,
}

/// An operator on this machine.
struct LocalProcess {
    process: Process,
    port: u16,
}

impl Operators {
    /// The operator that the chart installed.
    ///
    /// # Errors
    /// It is not installed.
    pub fn of(cluster: &Cluster) -> Result<Self> {
        let kubectl = cluster.kubectl(NAMESPACE);
        let deployments = kubectl.list("deployments", LABEL)?;
        let deployment = deployments
            .first()
            .context("the operator has no Deployment")?;
        let name = deployment["metadata"]["name"].as_str();
        Ok(Self {
            name: name.context("a Deployment without a name")?.to_owned(),
            pod_logs: cluster
                .nodes()
                .iter()
                .map(|node| node.run.join("pod-logs"))
                .collect(),
            stage: Stage::of(cluster, NAMESPACE)?,
            kubectl,
            local: None,
            clock: None,
            old_logs: Vec::new(),
        })
    }

    /// The gate between the API server and an operator on this machine.
    pub fn gate(&self) -> &Gate {
        &self.stage.gate
    }

    /// Runs the operator in its pod.
    ///
    /// # Errors
    /// It does not start.
    pub fn in_pod(&mut self) -> Result<()> {
        self.stop_local()?;
        self.scale(1)?;
        self.kubectl.run(&[
            "rollout",
            "status",
            &format!("deployment/{}", self.name),
            "--timeout=120s",
        ])?;
        Ok(())
    }

    /// Runs the operator on this machine, behind the gate.
    ///
    /// # Errors
    /// As [`Self::in_pod`].
    pub fn behind_gate(&mut self) -> Result<()> {
        if self.local.is_some() {
            return Ok(());
        }
        let program = binaries::built(OPERATOR)?;
        self.start_local(&program, &[])
    }

    /// Runs the operator on this machine with a clock that is wrong by this offset, such as `+1h`.
    ///
    /// # Errors
    /// As [`Self::in_pod`].
    pub fn with_clock(&mut self, offset: &str) -> Result<()> {
        let clock = self.clock.clone().context("prepare_clock was not called")?;
        let settings = [
            ("LD_PRELOAD", clock.library.display().to_string()),
            ("FAKETIME", offset.to_owned()),
            // Only the time of day is wrong; waits and timeouts use the monotonic clock.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        self.stop_local()?;
        self.start_local(&clock.program, &settings)
    }

    /// Prepares [`Self::with_clock`].
    ///
    /// # Errors
    /// The operator cannot be built, or the library cannot be installed.
    pub fn prepare_clock(&mut self) -> Result<()> {
        debian::ensure_faketime()?;
        self.clock = Some(Clock {
            library: find_file(FAKETIME)?,
            program: step("build the operator, linked dynamically", build_dynamic)?,
        });
        Ok(())
    }

    /// Deletes the pod without waiting.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn delete_pod(&self) -> Result<()> {
        self.kubectl
            .run(&["delete", "pods", "-l", LABEL, "--wait=false"])?;
        Ok(())
    }

    /// Replaces the pod by a new one, whose start the kubelet does not delay because of earlier crashes.
    ///
    /// # Errors
    /// As [`Self::in_pod`].
    pub fn replace_pod(&mut self) -> Result<()> {
        self.stop_local()?;
        self.scale(0)?;
        self.wait_gone()?;
        self.in_pod()
    }

    /// Returns the logs of all pods and local processes, by name.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn logs(&self) -> Result<BTreeMap<String, String>> {
        let mut logs = BTreeMap::new();
        let mut local = self.old_logs.clone();
        if let Some(running) = &self.local {
            local.push(running.process.log()?);
        }
        for (index, text) in local.into_iter().enumerate() {
            logs.insert(format!("local-{index}"), text);
        }
        for folder in &self.pod_logs {
            for file in files_below(folder) {
                let name = file.display().to_string();
                if name.contains(&format!("/{NAMESPACE}_{}-", self.name)) {
                    let text = fs::read(&file).unwrap_or_default();
                    logs.insert(name, String::from_utf8_lossy(&text).into_owned());
                }
            }
        }
        Ok(logs)
    }

    /// Reads `/metrics` directly, without the API server.
    ///
    /// # Errors
    /// It does not answer.
    pub fn metrics(&self, address: Option<&str>) -> Result<String> {
        let address = match (&self.local, address) {
            (Some(local), _) => format!("127.0.0.1:{}", local.port),
            (None, Some(address)) => address.to_owned(),
            (None, None) => self.pod_address()?,
        };
        let answer = Request::get(&format!("http://{address}/metrics")).send()?;
        ensure!(answer.status == 200, "HTTP {}", answer.status);
        Ok(answer.body)
    }

    /// The address at which the pod serves its metrics.
    ///
    /// # Errors
    /// It has no pod.
    pub fn pod_address(&self) -> Result<String> {
        let pod = self.pods()?.into_iter().next().context("no pod")?;
        let address = pod["status"]["podIP"].as_str().context("no address")?;
        let port = &pod["spec"]["containers"][0]["ports"][0]["containerPort"];
        Ok(format!("{address}:{port}"))
    }

    /// The operator's pods.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn pods(&self) -> Result<Vec<Value>> {
        self.kubectl.list("pods", LABEL)
    }

    fn start_local(&mut self, program: &Path, environment: &[(&str, String)]) -> Result<()> {
        self.scale(0)?;
        self.wait_gone()?;
        let deployment = self.kubectl.get("deployment", &self.name)?;
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let port = free_port()?;
        let mut command = self.stage.command(program)?;
        configure_as_in_pod(&mut command, container, port);
        for (name, value) in environment {
            command.env(name, value);
        }
        let mut process = Process::spawn(&mut command)?;
        wait_until("the operator on this machine", START_TIMEOUT, || {
            process.check()?;
            let ready = Request::get(&format!("http://127.0.0.1:{port}/readyz")).send()?;
            Ok((ready.status == 200).then_some(()))
        })
        .with_context(|| process.log().unwrap_or_default())?;
        self.local = Some(LocalProcess { process, port });
        Ok(())
    }

    /// Stops the local process as the kubelet stops a container, so that it releases its Lease.
    fn stop_local(&mut self) -> Result<()> {
        let Some(mut local) = self.local.take() else {
            return Ok(());
        };
        if let Some(process) = i32::try_from(local.process.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        // A process that does not end is killed when it is dropped.
        let _ = local.process.ended(Duration::from_secs(25));
        self.old_logs.push(local.process.log()?);
        Ok(())
    }

    fn scale(&self, replicas: u8) -> Result<()> {
        let replicas = format!("--replicas={replicas}");
        self.kubectl
            .run(&["scale", &format!("deployment/{}", self.name), &replicas])?;
        Ok(())
    }

    fn wait_gone(&self) -> Result<()> {
        wait_until("the operator's pod to go", START_TIMEOUT, || {
            Ok(self.pods()?.is_empty().then_some(()))
        })
    }
}

/// Gives the command the arguments and environment of a container, except for the address of the metrics.
fn configure_as_in_pod(command: &mut Command, container: &Value, port: u16) {
    let variables: Vec<(String, String)> = container["env"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| {
            let name = it["name"].as_str()?.to_owned();
            let value = match it["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.namespace") => NAMESPACE,
                Some(_) => "local",
                None => it["value"].as_str().unwrap_or_default(),
            };
            Some((name, value.to_owned()))
        })
        .collect();
    let arguments = container["args"].as_array().into_iter().flatten();
    for argument in arguments.filter_map(Value::as_str) {
        if argument.starts_with("--listen-address") {
            command.arg(format!("--listen-address=127.0.0.1:{port}"));
            continue;
        }
        let expand = |text: String, (name, value): &(String, String)| {
            text.replace(&format!("$({name})"), value)
        };
        command.arg(variables.iter().fold(argument.to_owned(), expand));
    }
    command.envs(variables);
}

/// Builds a dynamically linked operator, because libfaketime cannot change the clock of a static program.
fn build_dynamic() -> Result<PathBuf> {
    visibly(Command::new(env!("CARGO")).current_dir(repository()).args([
        "build",
        "--quiet",
        "--locked",
        "--package",
        OPERATOR,
    ]))?;
    Ok(target().join("debug").join(OPERATOR))
}

/// Returns the file whose path matches a pattern with one `*`.
fn find_file(pattern: &str) -> Result<PathBuf> {
    let (before, after) = pattern.split_once('*').context("the pattern has no *")?;
    let mut folders = fs::read_dir(before)?.flatten();
    let found = folders.find_map(|folder| {
        let file = folder.path().join(after.trim_start_matches('/'));
        file.is_file().then_some(file)
    });
    found.with_context(|| format!("there is no {pattern}"))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

//! The operator: in its pod as the chart installed it, or on this machine, run in the same way, where there can be a gate
//! between it and the API server, and a clock of its own.

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
/// How long it may take to come or to go.
const SOON: Duration = Duration::from_secs(120);
/// What shifts the clock of a program that is linked dynamically, and of no other.
const FAKETIME: &str = "/usr/lib/*/faketime/libfaketimeMT.so.1";

/// The operator, wherever it runs.
pub struct Operators {
    kubectl: Kubectl,
    /// The Deployment's name.
    pub name: String,
    /// Where the nodes' kubelets keep the logs of pods.
    pod_logs: Vec<PathBuf>,
    stage: Stage,
    here: Option<Here>,
    clock: Option<Clock>,
    /// What those said that have ended.
    said: Vec<String>,
}

/// What it takes to run one whose clock is wrong.
#[derive(Clone)]
struct Clock {
    library: PathBuf,
    program: PathBuf,
}

/// One on this machine.
struct Here {
    process: Process,
    port: u16,
}

impl Operators {
    /// That of the chart, which runs.
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
            here: None,
            clock: None,
            said: Vec::new(),
        })
    }

    /// The gate of the one on this machine.
    pub fn gate(&self) -> &Gate {
        &self.stage.gate
    }

    /// Has it run in its pod.
    ///
    /// # Errors
    /// It does not start.
    pub fn in_pod(&mut self) -> Result<()> {
        self.end_here()?;
        self.scale(1)?;
        self.kubectl.run(&[
            "rollout",
            "status",
            &format!("deployment/{}", self.name),
            "--timeout=120s",
        ])?;
        Ok(())
    }

    /// Has it run on this machine.
    ///
    /// # Errors
    /// As [`Self::in_pod`].
    pub fn behind_the_gate(&mut self) -> Result<()> {
        if self.here.is_some() {
            return Ok(());
        }
        let program = binaries::built(OPERATOR)?;
        self.start_here(&program, &[])
    }

    /// Has it run on this machine with a clock that differs by so much, as `+1h`.
    ///
    /// # Errors
    /// As [`Self::in_pod`].
    pub fn with_clock(&mut self, offset: &str) -> Result<()> {
        let clock = self.clock.clone().context("no clock was prepared")?;
        let settings = [
            ("LD_PRELOAD", clock.library.display().to_string()),
            ("FAKETIME", offset.to_owned()),
            // Waits and timeouts are not to jump: only what it takes for the time of day is wrong.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        self.end_here()?;
        self.start_here(&clock.program, &settings)
    }

    /// Prepares [`Self::with_clock`].
    ///
    /// # Errors
    /// The operator or the library that shifts its clock is not to be had.
    pub fn prepare_clock(&mut self) -> Result<()> {
        debian::ensure_faketime()?;
        self.clock = Some(Clock {
            library: glob_one(FAKETIME)?,
            program: step("build the operator, linked dynamically", dynamic)?,
        });
        Ok(())
    }

    /// Deletes its pod, and waits for nothing.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn lose_pod(&self) -> Result<()> {
        self.kubectl
            .run(&["delete", "pods", "-l", LABEL, "--wait=false"])?;
        Ok(())
    }

    /// Has a new pod take the place of the present one, so that the kubelet remembers no crashes.
    ///
    /// # Errors
    /// As [`Self::in_pod`].
    pub fn new_pod(&mut self) -> Result<()> {
        self.end_here()?;
        self.scale(0)?;
        self.wait_gone()?;
        self.in_pod()
    }

    /// Everything that it has said, by who said it.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn logs(&self) -> Result<BTreeMap<String, String>> {
        let mut logs = BTreeMap::new();
        let mut here = self.said.clone();
        if let Some(running) = &self.here {
            here.push(running.process.log()?);
        }
        for (index, text) in here.into_iter().enumerate() {
            logs.insert(format!("here-{index}"), text);
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

    /// What it tells at `/metrics`, asked without the API server.
    ///
    /// # Errors
    /// It does not answer.
    pub fn metrics(&self, address: Option<&str>) -> Result<String> {
        let address = match (&self.here, address) {
            (Some(here), _) => format!("127.0.0.1:{}", here.port),
            (None, Some(address)) => address.to_owned(),
            (None, None) => self.pod_address()?,
        };
        let answer = Request::get(&format!("http://{address}/metrics")).send()?;
        ensure!(answer.status == 200, "HTTP {}", answer.status);
        Ok(answer.body)
    }

    /// Where its pod serves its metrics.
    ///
    /// # Errors
    /// It has no pod.
    pub fn pod_address(&self) -> Result<String> {
        let pod = self.pods()?.into_iter().next().context("no pod")?;
        let address = pod["status"]["podIP"].as_str().context("no address")?;
        let port = &pod["spec"]["containers"][0]["ports"][0]["containerPort"];
        Ok(format!("{address}:{port}"))
    }

    /// Its pods.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn pods(&self) -> Result<Vec<Value>> {
        self.kubectl.list("pods", LABEL)
    }

    fn start_here(&mut self, program: &Path, environment: &[(&str, String)]) -> Result<()> {
        self.scale(0)?;
        self.wait_gone()?;
        let deployment = self.kubectl.get("deployment", &self.name)?;
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let port = free_port()?;
        let mut command = self.stage.command(program)?;
        say_as_in_pod(&mut command, container, port);
        for (name, value) in environment {
            command.env(name, value);
        }
        let mut process = Process::spawn(&mut command)?;
        wait_until("the operator on this machine", SOON, || {
            process.check()?;
            let ready = Request::get(&format!("http://127.0.0.1:{port}/readyz")).send()?;
            Ok((ready.status == 200).then_some(()))
        })
        .with_context(|| process.log().unwrap_or_default())?;
        self.here = Some(Here { process, port });
        Ok(())
    }

    /// Stops it as the kubelet does, so that it gives back what it holds.
    fn end_here(&mut self) -> Result<()> {
        let Some(mut here) = self.here.take() else {
            return Ok(());
        };
        if let Some(process) = i32::try_from(here.process.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        // One that does not end is killed when it is dropped.
        let _ = here.process.ended(Duration::from_secs(25));
        self.said.push(here.process.log()?);
        Ok(())
    }

    fn scale(&self, replicas: u8) -> Result<()> {
        let replicas = format!("--replicas={replicas}");
        self.kubectl
            .run(&["scale", &format!("deployment/{}", self.name), &replicas])?;
        Ok(())
    }

    fn wait_gone(&self) -> Result<()> {
        wait_until("the operator's pod to go", SOON, || {
            Ok(self.pods()?.is_empty().then_some(()))
        })
    }
}

/// Arguments and environment of a container, but for where it serves its metrics.
fn say_as_in_pod(command: &mut Command, container: &Value, port: u16) {
    let variables: Vec<(String, String)> = container["env"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| {
            let name = it["name"].as_str()?.to_owned();
            let value = match it["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.namespace") => NAMESPACE,
                Some(_) => "here",
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

/// The operator as `cargo build` makes it: what we ship is linked statically, and takes no other clock.
fn dynamic() -> Result<PathBuf> {
    visibly(Command::new(env!("CARGO")).current_dir(repository()).args([
        "build",
        "--quiet",
        "--locked",
        "--package",
        OPERATOR,
    ]))?;
    Ok(target().join("debug").join(OPERATOR))
}

/// The one file whose path has one unknown folder in it.
fn glob_one(pattern: &str) -> Result<PathBuf> {
    let (before, after) = pattern.split_once('*').context("no unknown folder")?;
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

//! The whole product on a real cluster, from nothing to a scraped node, shown as a person wants to see it.

use std::{
    io::Write,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::{
    cluster::{Cluster, Layout, Shape},
    install::{self, NAMESPACE},
    servers::Kubernetes,
    shell::{output, step, wait_for},
};

#[derive(Args)]
pub struct Options {
    /// Leave everything running, and say how to look around and how to take it down
    #[arg(long)]
    pub keep: bool,
    /// The Kubernetes version
    #[arg(long, value_enum, value_name = "VERSION", default_value_t = Kubernetes::DEFAULT)]
    pub kubernetes: Kubernetes,
}

/// Runs the demo.
///
/// # Errors
/// A part did not do what it should: names it.
pub fn run(options: &Options) -> Result<ExitCode> {
    let begin = Instant::now();
    let shape = Shape {
        kubernetes: options.kubernetes,
        ..Shape::default()
    };
    let cluster = install::cluster(Layout::named("dev").shaped(shape))?;
    let shown = show(&cluster);
    if shown.is_err() {
        explain(&cluster);
    }
    if options.keep {
        keep(&cluster);
    } else {
        step("cluster down", || cluster.down())?;
        println!("\n(`cargo xtask demo --keep` leaves it running to look around)");
    }
    println!("all of it took {:.0} s", begin.elapsed().as_secs_f32());
    shown.map(|()| ExitCode::SUCCESS)
}

fn show(cluster: &Cluster) -> Result<()> {
    install::operator(cluster, &[])?;
    step(
        "kubectl apply -f examples/nodes-with-prometheus.yaml",
        || {
            install::apply(cluster, "examples/nodes-with-prometheus.yaml")?;
            wait_ready(cluster)
        },
    )?;
    let prometheus = step("kubectl apply -f examples/prometheus.yaml", || {
        install::apply(cluster, "examples/prometheus.yaml")?;
        wait_for_prometheus(cluster)
    })?;
    let up = step("the first scrape", || wait_for_scrape(&prometheus))?;

    title("kubectl get nodes");
    print!("{}", cluster.kubectl(&["get", "nodes"])?);
    title("kubectl get secureexporters");
    print!("{}", cluster.kubectl(&["-n", NAMESPACE, "get", "secexp"])?);
    title("kubectl get pods -o wide");
    print!(
        "{}",
        cluster.kubectl(&["-n", NAMESPACE, "get", "pods", "-o", "wide"])?
    );

    let exporter = Exporter::of(cluster)?;
    title("the certificate that the node serves, verified");
    println!("{}", exporter.certificate()?);
    title("without credentials");
    let status = exporter.status(false, true)?;
    println!("HTTP {status}");
    ensure!(status == "401", "metrics were served without a password");
    title("with another CA");
    println!("{}", exporter.refused()?);
    title("with the generated password");
    println!(
        "{}",
        exporter.metrics(&[
            "node_load1 ",
            "node_memory_MemAvailable_bytes ",
            "node_uname_info",
            "node_boot_time_seconds "
        ])?
    );
    title("what Prometheus says, with nothing but the Secret nodes-scrape mounted");
    println!("{up}\nits API: {prometheus}/api/v1/query?query=up");
    Ok(())
}

fn wait_ready(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&[
        "-n",
        NAMESPACE,
        "wait",
        "secexp/nodes",
        "--for=condition=Ready",
        "--timeout=90s",
    ])?;
    cluster.kubectl(&[
        "-n",
        NAMESPACE,
        "rollout",
        "status",
        "daemonset/nodes",
        "--timeout=60s",
    ])?;
    Ok(())
}

fn wait_for_prometheus(cluster: &Cluster) -> Result<String> {
    cluster.kubectl(&[
        "-n",
        NAMESPACE,
        "rollout",
        "status",
        "deployment/prometheus",
        "--timeout=90s",
    ])?;
    let address = install::prometheus_pod(cluster, "status.podIP")?;
    Ok(format!("http://{address}:9090"))
}

fn wait_for_scrape(prometheus: &str) -> Result<String> {
    wait_for("up == 1", Duration::from_secs(60), || {
        let answer: Value = serde_json::from_str(&output(
            Command::new("curl").args(["-sf", &format!("{prometheus}/api/v1/query?query=up")]),
        )?)?;
        let series = answer
            .pointer("/data/result")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let up = |one: &Value| one.pointer("/value/1").and_then(Value::as_str) == Some("1");
        if series.is_empty() || !series.iter().all(up) {
            bail!("targets: {answer}");
        }
        Ok(Some(
            series
                .iter()
                .map(|one| format!("up{} 1", one.get("metric").unwrap_or(&Value::Null)))
                .collect::<Vec<_>>()
                .join("\n"),
        ))
    })
}

/// An exporter as its scraper sees it: an address, and what the Secret `nodes-scrape` says.
struct Exporter {
    address: String,
    server_name: String,
    authority: tempfile::NamedTempFile,
    credentials: String,
}

impl Exporter {
    fn of(cluster: &Cluster) -> Result<Self> {
        let field = |name: &str| {
            let template = format!("go-template={{{{index .data \"{name}\" | base64decode}}}}");
            cluster.kubectl(&[
                "-n",
                NAMESPACE,
                "get",
                "secret",
                "nodes-scrape",
                "-o",
                &template,
            ])
        };
        let mut authority = tempfile::NamedTempFile::new()?;
        authority.write_all(field("ca.crt")?.as_bytes())?;
        Ok(Self {
            address: format!("{}:9100", cluster.node_address()),
            server_name: format!("nodes.{NAMESPACE}.svc"),
            authority,
            credentials: format!("user = \"{}:{}\"\n", field("username")?, field("password")?),
        })
    }

    fn certificate(&self) -> Result<String> {
        let handshake = output(
            Command::new("openssl")
                .args([
                    "s_client",
                    "-connect",
                    &self.address,
                    "-servername",
                    &self.server_name,
                ])
                .args([
                    "-verify_hostname",
                    &self.server_name,
                    "-verify_return_error",
                    "-CAfile",
                ])
                .arg(self.authority.path()),
        )?;
        let verified = handshake
            .lines()
            .find(|line| line.contains("Verify return code"))
            .unwrap_or_default()
            .trim()
            .to_owned();
        let mut inspect = Command::new("openssl")
            .args([
                "x509",
                "-noout",
                "-subject",
                "-issuer",
                "-enddate",
                "-ext",
                "subjectAltName",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        inspect
            .stdin
            .take()
            .context("openssl takes no input")?
            .write_all(handshake.as_bytes())?;
        let facts = String::from_utf8(inspect.wait_with_output()?.stdout)?;
        Ok(format!("{}\n{verified}", facts.trim_end()))
    }

    fn status(&self, authenticated: bool, verified: bool) -> Result<String> {
        self.curl(
            authenticated,
            verified,
            &["-o", "/dev/null", "-w", "%{http_code}"],
        )
    }

    fn refused(&self) -> Result<String> {
        match self.status(true, false) {
            Ok(status) => bail!("a certificate of an unknown CA was accepted: HTTP {status}"),
            Err(error) => Ok(format!("{error:#}")
                .lines()
                .last()
                .unwrap_or_default()
                .to_owned()),
        }
    }

    fn metrics(&self, prefixes: &[&str]) -> Result<String> {
        let text = self.curl(true, true, &[])?;
        let wanted: Vec<&str> = text
            .lines()
            .filter(|line| prefixes.iter().any(|prefix| line.starts_with(prefix)))
            .collect();
        ensure!(
            wanted.len() >= prefixes.len(),
            "of the metrics {prefixes:?} only these are served: {wanted:?}"
        );
        Ok(format!(
            "{}\n… {} lines in all",
            wanted.join("\n"),
            text.lines().count()
        ))
    }

    /// The password goes by standard input: a command line can be read by everyone on the machine.
    fn curl(&self, authenticated: bool, verified: bool, extra: &[&str]) -> Result<String> {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "-m", "10", "-K", "-", "--connect-to"])
            .arg(format!("::{}", self.address))
            .args(extra);
        if verified {
            command.arg("--cacert").arg(self.authority.path());
        }
        let mut child = command
            .arg(format!("https://{}:9100/metrics", self.server_name))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().context("curl takes no input")?;
        if authenticated {
            input.write_all(self.credentials.as_bytes())?;
        }
        drop(input);
        let result = child.wait_with_output()?;
        if !result.status.success() {
            bail!("{}", String::from_utf8_lossy(&result.stderr).trim());
        }
        Ok(String::from_utf8(result.stdout)?)
    }
}

/// What a person would ask first when something does not come up.
fn explain(cluster: &Cluster) {
    for arguments in [
        &["-n", NAMESPACE, "get", "all,secexp"][..],
        &["-n", NAMESPACE, "describe", "secexp"],
        &["-n", NAMESPACE, "get", "events", "--sort-by=.lastTimestamp"],
        &[
            "-n",
            NAMESPACE,
            "logs",
            "deployment/secure-exporter-operator",
            "--tail=30",
        ],
        &["-n", NAMESPACE, "logs", "daemonset/nodes", "--tail=30"],
    ] {
        eprintln!("\n# kubectl {}", arguments.join(" "));
        match cluster.kubectl(arguments) {
            Ok(text) => eprintln!("{text}"),
            Err(error) => eprintln!("{error:#}"),
        }
    }
}

fn keep(cluster: &Cluster) {
    println!("\nIt goes on running. To look around:");
    println!("  export KUBECONFIG={}", cluster.kubeconfig().display());
    println!("  cargo xtask cluster kubectl -- -n {NAMESPACE} get secexp,pods,secrets");
    println!("  cargo xtask cluster kubectl -- explain secureexporter.spec");
    println!("To take it down:");
    println!("  cargo xtask cluster down");
}

fn title(text: &str) {
    println!("\n── {text}");
}

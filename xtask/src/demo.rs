//! The whole product on a real cluster, from an empty cluster to a scraped node.

use std::{
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use clap::Args;

use testbed::{
    cluster::{Cluster, Layout, Shape},
    curl::Request,
    exporters::{Exporters, Scraper},
    paths::repository,
    process::{output, output_with_input},
    product::install::{self, NAMESPACE},
    progress::step,
    prometheus::{self, Series},
    servers::Kubernetes,
    wait::wait_until,
};

#[derive(Args)]
pub struct Options {
    /// Leave the cluster running, and print how to look around and how to stop it
    #[arg(long)]
    pub keep: bool,
    /// Version of Kubernetes
    #[arg(long, value_enum, value_name = "VERSION", default_value_t = Kubernetes::DEFAULT)]
    pub kubernetes: Kubernetes,
}

/// Runs the demo.
///
/// # Errors
/// Names the part that did not work.
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
    println!("total time: {:.0} s", begin.elapsed().as_secs_f32());
    shown.map(|()| ExitCode::SUCCESS)
}

fn show(cluster: &Cluster) -> Result<()> {
    install::operator(cluster, &[])?;
    let kubectl = cluster.kubectl(NAMESPACE);
    let exporters = Exporters::applied(&kubectl, cluster.node_address(), "nodes");
    step(
        "kubectl apply -f examples/nodes-with-prometheus.yaml",
        || {
            kubectl.apply_file(&repository().join("examples/nodes-with-prometheus.yaml"))?;
            exporters.wait_ready()
        },
    )?;
    let prometheus = step("kubectl apply -f examples/prometheus.yaml", || {
        prometheus::start(&kubectl)
    })?;
    let up = step("the first scrape", || wait_for_scrape(&prometheus))?;

    title("kubectl get nodes");
    print!("{}", kubectl.run(&["get", "nodes"])?);
    title("kubectl get secureexporters");
    print!("{}", kubectl.run(&["get", "secexp"])?);
    title("kubectl get pods -o wide");
    print!("{}", kubectl.run(&["get", "pods", "-o", "wide"])?);

    let scraper = exporters.scraper()?;
    title("the certificate that the node serves, verified");
    println!("{}", certificate(&exporters, &scraper)?);
    title("without credentials");
    let status = scraper.anonymous("/metrics").send()?.status;
    println!("HTTP {status}");
    ensure!(status == 401, "metrics were served without a password");
    title("with another CA");
    println!("{}", refused(scraper.unverified("/metrics"))?);
    title("with the generated password");
    println!("{}", metrics(&scraper.get("/metrics").send()?.body)?);
    title("what Prometheus says, with nothing but the Secret nodes-scrape mounted");
    println!("{up}\nits API: {prometheus}/api/v1/query?query=up");
    Ok(())
}

fn wait_for_scrape(prometheus: &str) -> Result<String> {
    wait_until("up == 1", Duration::from_secs(60), || {
        let series = prometheus::query(prometheus, "up")?;
        let is_up = |one: &Series| one.value == "1";
        ensure!(
            !series.is_empty() && series.iter().all(is_up),
            "targets: {series:?}"
        );
        let lines: Vec<String> = series
            .iter()
            .map(|one| format!("up{} 1", one.labels))
            .collect();
        Ok(Some(lines.join("\n")))
    })
}

fn certificate(exporters: &Exporters<'_>, scraper: &Scraper) -> Result<String> {
    let name = exporters.server_name();
    let handshake = output(
        Command::new("openssl")
            .args(["s_client", "-connect", &exporters.address()])
            .args(["-servername", &name, "-verify_hostname", &name])
            .args(["-verify_return_error", "-CAfile"])
            .arg(scraper.authorities()),
    )?;
    let verified = handshake
        .lines()
        .find(|line| line.contains("Verify return code"))
        .unwrap_or_default()
        .trim();
    let facts = output_with_input(
        Command::new("openssl")
            .args(["x509", "-noout", "-subject", "-issuer", "-enddate"])
            .args(["-ext", "subjectAltName"]),
        &handshake,
    )?;
    Ok(format!("{}\n{verified}", facts.trim_end()))
}

fn refused(request: Request) -> Result<String> {
    let Err(error) = request.send() else {
        bail!("a certificate of an unknown CA was accepted");
    };
    let error = format!("{error:#}");
    let said = error.find("curl: (").and_then(|at| error.get(at..));
    let reason = said.and_then(|said| said.lines().next());
    Ok(reason.unwrap_or(&error).to_owned())
}

fn metrics(body: &str) -> Result<String> {
    const SHOWN: [&str; 4] = [
        "node_load1 ",
        "node_memory_MemAvailable_bytes ",
        "node_uname_info",
        "node_boot_time_seconds ",
    ];
    let shown: Vec<&str> = body
        .lines()
        .filter(|line| SHOWN.iter().any(|prefix| line.starts_with(prefix)))
        .collect();
    ensure!(
        shown.len() >= SHOWN.len(),
        "of the metrics {SHOWN:?} only these are served: {shown:?}"
    );
    Ok(format!(
        "{}\n… {} lines in all",
        shown.join("\n"),
        body.lines().count()
    ))
}

/// Prints what helps to find out why something does not start.
fn explain(cluster: &Cluster) {
    let kubectl = cluster.kubectl(NAMESPACE);
    for arguments in [
        &["get", "all,secexp"][..],
        &["describe", "secexp"],
        &["get", "events", "--sort-by=.lastTimestamp"],
        &["logs", "deployment/secure-exporter-operator", "--tail=30"],
        &["logs", "daemonset/nodes", "--tail=30"],
    ] {
        kubectl.explain(arguments);
    }
}

fn keep(cluster: &Cluster) {
    println!("\nThe cluster keeps running. To look around:");
    println!("  export KUBECONFIG={}", cluster.kubeconfig().display());
    println!("  cargo xtask cluster kubectl -- -n {NAMESPACE} get secexp,pods,secrets");
    println!("  cargo xtask cluster kubectl -- explain secureexporter.spec");
    println!("To take it down:");
    println!("  cargo xtask cluster down");
}

fn title(text: &str) {
    println!("\n── {text}");
}

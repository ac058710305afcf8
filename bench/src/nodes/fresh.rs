//! A client that reads the files that Prometheus reads, with the same delay, and opens a new connection for each request. A
//! kept connection would not notice a certificate that cannot be verified.

use std::{
    fs,
    io::Write,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use testbed::{
    cluster::Cluster, process::output_with_input, product::install::NAMESPACE, prometheus,
};

const PORT: u16 = 9100;
const EVERY: Duration = Duration::from_secs(1);

/// The running client.
pub struct Fresh {
    stop: Arc<AtomicBool>,
    work: JoinHandle<Tally>,
}

/// The counters of the client.
#[derive(Default)]
pub struct Tally {
    /// Requests, each with its own handshake.
    pub handshakes: u64,
    /// Requests that did not return 200.
    pub failed: u64,
}

/// Starts the client: one request per second to each node.
///
/// # Errors
/// The mount of Prometheus cannot be found.
pub fn start(cluster: &Cluster) -> Result<Fresh> {
    let mount = mount(cluster)?;
    let nodes: Vec<Ipv4Addr> = cluster.nodes().iter().map(|node| node.address).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let work = thread::spawn(move || {
        let mut tally = Tally::default();
        while !stopped.load(Ordering::Relaxed) {
            let begin = Instant::now();
            for node in &nodes {
                tally.handshakes += 1;
                if let Err(error) = ask(&mount, *node) {
                    tally.failed += 1;
                    eprintln!("  a new connection to {node} failed: {error:#}");
                }
            }
            thread::sleep(EVERY.saturating_sub(begin.elapsed()));
        }
        tally
    });
    Ok(Fresh { stop, work })
}

impl Fresh {
    /// Stops the client.
    ///
    /// # Errors
    /// It had already ended.
    pub fn stop(self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        self.work
            .join()
            .map_err(|_| anyhow!("the client of new connections panicked"))
    }
}

/// The folder in which the kubelet of Prometheus' node keeps the Secret, as seen from here.
fn mount(cluster: &Cluster) -> Result<PathBuf> {
    let pod = prometheus::pod(&cluster.kubectl(NAMESPACE))?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let uid = text(&pod["metadata"]["uid"]).context("a pod without uid")?;
    let name = text(&pod["spec"]["nodeName"]).context("a pod without node")?;
    let nodes = cluster.nodes();
    let node = nodes
        .iter()
        .find(|node| node.name == name)
        .with_context(|| format!("there is no node {name}"))?;
    let inside = node
        .run
        .join("kubelet/pods")
        .join(uid)
        .join("volumes/kubernetes.io~secret/nodes-scrape");
    let root = PathBuf::from(format!("/proc/{}/root", node.holder.living_pid()?));
    Ok(root.join(inside.strip_prefix("/").unwrap_or(&inside)))
}

fn ask(mount: &Path, node: Ipv4Addr) -> Result<()> {
    // Resolved once, so that all files are of one version, which is kept as long as it is the newest.
    let version = mount.join(fs::read_link(mount.join("..data"))?);
    let read = |name: &str| fs::read_to_string(version.join(name));
    let (Ok(authorities), Ok(password), Ok(username)) =
        (read("ca.crt"), read("password"), read("username"))
    else {
        // A newer version replaced it at this moment.
        return ask(mount, node);
    };
    let pair = match (read("client.crt"), read("client.key")) {
        (Ok(certificate), Ok(key)) => format!("{certificate}{key}"),
        // The file is not needed, or a newer version has replaced it; the request then shows whether the rest works.
        _ => String::new(),
    };
    let (trusted, presented) = (file(&authorities)?, file(&pair)?);
    let name = format!("nodes.{NAMESPACE}.svc");
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-m", "5", "-o", "/dev/null", "-K", "-"])
        .args(["-w", "%{http_code}", "--cacert"])
        .arg(trusted.path())
        .args(["--connect-to", &format!("::{node}:{PORT}")])
        .arg(format!("https://{name}:{PORT}/metrics"));
    if !pair.is_empty() {
        curl.arg("--cert").arg(presented.path());
    }
    let user = format!("user = \"{username}:{password}\"\n");
    let status = output_with_input(&mut curl, &user)?;
    ensure!(status == "200", "HTTP {status}");
    Ok(())
}

fn file(text: &str) -> Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

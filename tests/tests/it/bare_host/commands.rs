//! The files of `web-config init` work with the real node_exporter and the real Prometheus.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Result;
use tempfile::TempDir;
use testbed::{
    certificate::served_serial,
    curl::Request,
    process::{Process, free_port, output},
    product::binaries,
    prometheus, servers,
    slot::Slot,
    wait::wait_until,
};

#[test]
fn the_files_serve_node_exporter_and_prometheus_as_they_are() -> Result<()> {
    let _slot = Slot::shared();
    let folder = TempDir::new()?;
    let directory = folder.path().join("conf");
    let port = free_port()?;
    web_config("init", &directory, &["--host", "localhost"])?;
    let carried = carry_to_prometheus(&directory, folder.path(), port)?;
    let (_server, address) = prometheus::start_here(&folder.path().join("prometheus.yml"))?;

    let node_exporter = serve(&servers::ensure(&servers::NODE_EXPORTER)?, &directory, port)?;
    prometheus::wait_for(&address, r#"up{job="node-exporter"}"#, 1, "1")?;
    let get = || {
        Request::get(&format!("https://localhost:{port}/metrics"))
            .authorities(&carried.join("ca.crt"))
    };
    assert_eq!(get().send()?.status, 401);

    // Renewed while a server reads certificate and key again for each handshake.
    let before = serial(port)?;
    web_config("renew", &directory, &[])?;
    assert_ne!(serial(port)?, before);
    let password = fs::read_to_string(carried.join("password"))?;
    let scrape = || get().user("prometheus", &password).send();
    assert_eq!(scrape()?.status, 200);

    // Our exporter replaces it with the same file, without a change of Prometheus.
    drop(node_exporter);
    let _ours = serve(&binaries::built(binaries::EXPORTER)?, &directory, port)?;
    wait_until("our metrics", Duration::from_secs(20), || {
        Ok(scrape()?.body.contains("secure_exporter_").then_some(()))
    })?;
    prometheus::wait_for(&address, r#"up{job="node-exporter"}"#, 1, "1")?;
    Ok(())
}

fn web_config(action: &str, directory: &Path, options: &[&str]) -> Result<String> {
    output(
        Command::new(binaries::built(binaries::EXPORTER)?)
            .args(["web-config", action, "--directory"])
            .arg(directory)
            .args(options),
    )
}

fn serve(program: &Path, directory: &Path, port: u16) -> Result<Process> {
    let mut server = Process::spawn(
        Command::new(program)
            .arg(format!(
                "--web.config.file={}",
                directory.join("config.yml").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}")),
    )?;
    wait_until("the server to answer", Duration::from_secs(20), || {
        server.check()?;
        Ok(Some(serial(port)?))
    })?;
    Ok(server)
}

fn serial(port: u16) -> Result<String> {
    served_serial(&format!("localhost:{port}"), "localhost")
}

/// Copies the files for Prometheus to its configuration, as the output of `init` describes, once by name and once pasted;
/// returns the path. Only the port is changed.
fn carry_to_prometheus(directory: &Path, to: &Path, port: u16) -> Result<PathBuf> {
    let carried = to.join("localhost");
    fs::rename(directory.join("prometheus"), &carried)?;
    let job = fs::read_to_string(carried.join("scrape.yml"))?;
    let job = job.replace("localhost:9100", &format!("localhost:{port}"));
    fs::write(carried.join("scrape.yml"), &job)?;
    let global = "global: {scrape_interval: 1s, scrape_timeout: 1s}\n";
    let named = to.join("prometheus.yml");
    fs::write(
        &named,
        format!("{global}scrape_config_files: [localhost/scrape.yml]\n"),
    )?;
    let pasted = carried.join("prometheus.yml");
    fs::write(&pasted, format!("{global}{job}"))?;
    for configuration in [&named, &pasted] {
        output(
            Command::new(servers::ensure(&servers::PROMTOOL)?)
                .args(["check", "config"])
                .arg(configuration),
        )?;
    }
    Ok(carried)
}

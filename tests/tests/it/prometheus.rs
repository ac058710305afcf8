//! A real Prometheus that is only given the generated Secret.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    exporters::{Exporters, unused_port},
    namespace::in_namespace,
    process::output,
    prometheus::{query, start, wait_for},
    servers,
    slot::Slot,
    wait::wait_until,
};

#[test]
fn the_example_scrapes_every_node_through_a_renewal() -> Result<()> {
    in_namespace(&Slot::shared(), "scraped", |namespace| {
        let spec = json!({
            "exporter": {"port": unused_port()},
            "tls": {"certificate": {"duration": "4m", "renewBeforePercentage": 66}},
            "scrape": {
                "interval": "2s",
                "timeout": "2s",
                "serviceAccounts": [{"namespace": namespace.name, "name": "prometheus"}],
            },
        });
        // The example mounts `nodes-scrape`.
        let exporters = Exporters::apply(namespace, "nodes", &spec)?;
        exporters.wait_ready()?;
        let address = start(&namespace.kubectl)?;

        let up = wait_for(&address, "up", 1, "1")?;
        ensure!(
            exporters.resource()?["status"]["clientCertificate"].is_null(),
            "nobody asked for a client certificate"
        );
        let labels = &up[0].labels;
        let pod = exporters.pod()?;
        assert_eq!(labels["job"], "node-exporter");
        for (label, value) in [
            ("instance", &pod["spec"]["nodeName"]),
            ("node", &pod["spec"]["nodeName"]),
            ("namespace", &pod["metadata"]["namespace"]),
            ("pod", &pod["metadata"]["name"]),
            ("container", &pod["spec"]["containers"][0]["name"]),
            ("endpoint", &json!("metrics")),
        ] {
            assert_eq!(labels[label], *value, "{label}");
        }
        ensure!(
            query(&address, "node_uname_info")?.len() == 1,
            "no node_uname_info"
        );
        ensure!(query(&address, "node_load1")?.len() == 1, "no node_load1");

        no_scrape_fails_through_a_renewal_of(&exporters, "certificate", &address)
    })
}

#[test]
fn the_example_presents_its_client_certificate_through_a_renewal() -> Result<()> {
    in_namespace(&Slot::shared(), "mutual", |namespace| {
        let spec = json!({
            "exporter": {"port": unused_port()},
            "authentication": {"methods": ["BasicAuth", "ClientCertificate"]},
            "tls": {"certificate": {"duration": "4m", "renewBeforePercentage": 66}},
            "scrape": {
                "interval": "2s",
                "timeout": "2s",
                "serviceAccounts": [{"namespace": namespace.name, "name": "prometheus"}],
            },
        });
        let exporters = Exporters::apply(namespace, "nodes", &spec)?;
        exporters.wait_ready()?;
        let without = exporters.scraper()?.get("/metrics").send()?;
        ensure!(
            without.status == 403,
            "HTTP {} with the password alone",
            without.status
        );
        let address = start(&namespace.kubectl)?;
        wait_for(&address, "up", 1, "1")?;
        no_scrape_fails_through_a_renewal_of(&exporters, "clientCertificate", &address)
    })
}

#[test]
fn the_scrape_configuration_is_one_that_promtool_accepts() -> Result<()> {
    in_namespace(&Slot::shared(), "promtool", |namespace| {
        let spec = json!({"exporter": {"port": unused_port()}, "scrape": {
            "jobName": "a: 'b' \"c\" #d", "interval": "90s", "extraLabels": {"cluster": "we$t"}, "sampleLimit": 50000,
            "relabelings": [
                {"action": "hashmod", "sourceLabels": ["node"], "modulus": 2, "targetLabel": "__tmp_shard"},
                {"action": "labelmap", "regex": "__meta_kubernetes_pod_label_(.+)", "replacement": "label_$1"},
                {"action": "keepequal", "sourceLabels": ["node"], "targetLabel": "instance"}],
            "metricRelabelings": [
                {"action": "labeldrop", "regex": "id|uuid"},
                {"action": "lowercase", "sourceLabels": ["device"], "targetLabel": "device"}]}});
        let exporters = Exporters::apply(namespace, "nodes", &spec)?;
        let secret = wait_until("the Secret", Duration::from_secs(60), || {
            exporters.secret("scrape").map(Some)
        })?;
        let folder = tempfile::tempdir()?;
        let mounted = folder.path().join("nodes-scrape");
        std::fs::create_dir(&mounted)?;
        secret.mount(&mounted)?;
        let yaml = std::fs::read_dir(&mounted)?
            .filter_map(Result::ok)
            .filter(|it| {
                Path::new(&it.file_name())
                    .extension()
                    .is_some_and(|it| it == "yaml")
            })
            .count();
        assert_eq!(yaml, 1, "a glob must find one configuration");
        let configuration = folder.path().join("prometheus.yml");
        std::fs::write(
            &configuration,
            "scrape_config_files: [nodes-scrape/*.yaml]\n",
        )?;
        let said = output(
            Command::new(servers::ensure(&servers::PROMTOOL)?)
                .args(["check", "config"])
                .arg(&configuration),
        )?;
        ensure!(said.contains("SUCCESS"), "{said}");
        let text = secret.get("scrape.yaml")?;
        ensure!(!text.contains("insecure_skip_verify"), "{text}");
        ensure!(
            !text.contains(secret.get("password")?),
            "the password is written into the configuration"
        );
        for words in [
            "ca_file",
            "server_name",
            &exporters.server_name(),
            "password_file",
        ] {
            ensure!(text.contains(words), "no {words} in: {text}");
        }
        Ok(())
    })
}

fn no_scrape_fails_through_a_renewal_of(
    exporters: &Exporters<'_>,
    certificate: &str,
    address: &str,
) -> Result<()> {
    let serial = || -> Result<Value> {
        let resource = exporters.resource()?;
        Ok(resource["status"][certificate]["serialNumber"].clone())
    };
    let before = serial()?;
    ensure!(before.is_string(), "no {certificate} in the status");
    wait_until("the renewal", Duration::from_secs(180), || {
        Ok((serial()? != before).then_some(()))
    })?;
    let scraped = samples(address)?;
    wait_until("ten more scrapes", Duration::from_secs(60), || {
        Ok((samples(address)? >= scraped + 10).then_some(()))
    })?;
    // No scrape failed since the target was first seen.
    let worst = query(address, "min_over_time(up[10m])")?;
    ensure!(worst.len() == 1 && worst[0].value == "1", "{worst:?}");
    Ok(())
}

fn samples(address: &str) -> Result<u64> {
    let series = query(address, "count_over_time(up[10m])")?;
    Ok(series.first().context("no series")?.value.parse()?)
}

//! Checks the alert rules of the chart with promtool, and that the operator and the exporter serve the metrics of the rules
//! and the dashboard.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Result, ensure};
use serde_json::json;
use testbed::{
    exporters::{Exporters, unused_port},
    namespace::in_namespace,
    operator::installed,
    paths,
    process::output,
    servers,
    slot::Slot,
    wait::wait_until,
};

#[test]
fn each_alert_fires_where_it_must_and_nowhere_else() -> Result<()> {
    let _slot = Slot::shared();
    let promtool = || Ok::<_, anyhow::Error>(Command::new(servers::ensure(&servers::PROMTOOL)?));
    let check = ["check", "rules", "--lint=all", "--lint-fatal"];
    output(promtool()?.args(check).arg(rules()))?;
    let test = rules().with_file_name("secure-exporter.test.yaml");
    output(promtool()?.args(["test", "rules"]).arg(&test))?;

    let text = fs::read_to_string(test)?;
    for line in fs::read_to_string(rules())?.lines() {
        if let Some((_, alert)) = line.split_once("- alert: ") {
            let fires = format!(r#"ALERTS{{alertname="{alert}",alertstate="firing","#);
            ensure!(text.contains(&fires), "no test in which {alert} fires");
        }
    }
    Ok(())
}

#[test]
fn the_metrics_of_the_rules_exist() -> Result<()> {
    in_namespace(&Slot::shared(), "alerts", |namespace| {
        let exporters = Exporters::apply(
            namespace,
            "nodes",
            &json!({"exporter": {"port": unused_port()}}),
        )?;
        exporters.wait_ready()?;
        let exposed = exporters.scraper()?.get("/metrics").send()?.body;
        let told = installed::metrics()? + &exposed;
        let names: BTreeSet<&str> = told
            .lines()
            .filter_map(|line| line.split(['{', ' ']).next())
            .collect();
        for file in [rules(), dashboard()] {
            let text = fs::read_to_string(file)?;
            let asked = metrics_of(&text);
            ensure!(asked.len() > 8, "only {asked:?}");
            for name in asked {
                ensure!(names.contains(name), "nobody tells {name}");
            }
        }

        let series = format!("namespace=\"{}\"", namespace.name);
        ensure!(told.contains(&series), "no series of the resource");
        namespace.kubectl.delete("secureexporter", "nodes")?;
        // Else its last success would be alerted on until the operator's end.
        wait_until("the end of its series", Duration::from_secs(90), || {
            Ok((!installed::metrics()?.contains(&series)).then_some(()))
        })
    })
}

/// The names of ours in expressions and texts.
fn metrics_of(text: &str) -> BTreeSet<&str> {
    text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_')
        .filter(|word| word.starts_with("secure_exporter_") || word.starts_with("node_"))
        .collect()
}

fn dashboard() -> PathBuf {
    paths::repository().join("charts/secure-exporter/dashboards/secure-exporter.json")
}

fn rules() -> PathBuf {
    paths::repository().join("charts/secure-exporter/alerts/secure-exporter.rules.yaml")
}

//! Exporters that do not use the node's network: they still show the node's network, and nothing of their own.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use testbed::{
    exporters::{Exporters, condition, unused_port},
    namespace::in_namespace,
    slot::Slot,
    wait::wait_until,
};

/// The default collectors that are left out.
const LEFT_OUT: [&str; 1] = ["conntrack"];

#[test]
fn the_network_of_the_node_is_shown_from_outside_of_it() -> Result<()> {
    // The pods of other tests would appear as devices of the node.
    in_namespace(&Slot::alone(), "apart", |namespace| {
        // Both use the same port, which only one of them has on the node.
        let port = unused_port();
        let on_host = json!({"exporter": {"port": port}});
        let apart = json!({"exporter": {"port": port}, "hostAccess": {"network": "Pod"}});
        let (on_host, apart) = (
            Exporters::apply(namespace, "on-host", &on_host)?,
            Exporters::apply(namespace, "apart", &apart)?,
        );
        on_host.wait_ready()?;
        apart.wait_ready()?;
        let pod = apart.pod()?;
        ensure!(pod["spec"]["hostNetwork"].is_null(), "{}", pod["spec"]);
        ensure!(pod["status"]["podIP"] != pod["status"]["hostIP"]);

        let (node, scraper) = (on_host.scraper()?, apart.scraper_of_pod()?);
        for (request, status) in [
            (scraper.anonymous("/metrics"), 401),
            (scraper.wrong("/metrics"), 401),
            (scraper.anonymous("/-/healthy"), 200),
        ] {
            ensure!(request.send()?.status == status);
        }
        ensure!(
            scraper.unverified("/metrics").send().is_err(),
            "another authority is accepted"
        );

        let before = Samples::of(&node.get("/metrics").send()?.body)?;
        let answer = scraper.get("/metrics").send()?;
        ensure!(answer.status == 200, "HTTP {}", answer.status);
        let between = Samples::of(&answer.body)?;
        let after = Samples::of(&node.get("/metrics").send()?.body)?;
        same_devices(&before, &between)?;
        for series in [
            r#"node_network_receive_bytes_total{device="nodes"}"#,
            r#"node_network_transmit_packets_total{device="nodes"}"#,
            r#"node_network_receive_bytes_total{device="lo"}"#,
            "node_netstat_Tcp_PassiveOpens",
            "node_netstat_Ip_Forwarding",
        ] {
            let value = |samples: &Samples| samples.value(series);
            let (low, told, high) = (value(&before)?, value(&between)?, value(&after)?);
            ensure!(
                low <= told && told <= high && high > 0.0,
                "{series} is {told}, and on the host from {low} to {high}"
            );
        }
        ensure!(before.value("node_netstat_Tcp_PassiveOpens")? > 0.0);
        nothing_of_its_own(&answer.body, &pod)?;
        same_families(&before, &between)?;

        let filtered = scraper.get("/metrics?collect[]=conntrack").send()?;
        ensure!(filtered.status == 400, "HTTP {}", filtered.status);
        let status = scraper.get("/-/status").send()?.body;
        let status: Value = serde_json::from_str(&status)?;
        assert_eq!(status["network"], "apart");
        assert_eq!(status["leftOut"], json!(LEFT_OUT));
        let log = namespace
            .kubectl
            .run(&["logs", pod["metadata"]["name"].as_str().context("no name")?])?;
        ensure!(
            log.contains("collector=conntrack") && log.contains("left out"),
            "{log}"
        );
        Ok(())
    })
}

#[test]
fn a_resource_that_runs_may_leave_the_nodes_network_and_come_back() -> Result<()> {
    in_namespace(&Slot::shared(), "moves", |namespace| {
        let port = json!({"port": unused_port()});
        let exporters = Exporters::apply(namespace, "nodes", &json!({"exporter": port}))?;
        exporters.wait_ready()?;
        ensure!(exporters.scraper()?.get("/metrics").send()?.status == 200);
        for (network, host_network) in [("Pod", Value::Null), ("Host", json!(true))] {
            let spec = json!({"exporter": port, "hostAccess": {"network": network}});
            Exporters::apply(namespace, "nodes", &spec)?;
            let what = format!("a pod with the network of the {network}");
            wait_until(&what, Duration::from_secs(120), || {
                let pod = exporters.pod()?;
                let declared = &pod["spec"]["containers"][0]["ports"][0]["hostPort"];
                ensure!(
                    pod["spec"]["hostNetwork"] == host_network,
                    "{}",
                    pod["spec"]
                );
                ensure!(declared.is_null() == host_network.is_null(), "{declared}");
                Ok(Some(()))
            })?;
            exporters.wait_ready()?;
            ensure!(exporters.scraper_of_pod()?.get("/metrics").send()?.status == 200);
            let resource = exporters.resource()?;
            let ready = condition(&resource["status"], "Ready")?;
            ensure!(ready["status"] == "True", "{ready}");
            let on_node = connect(&exporters.address());
            match network {
                "Host" => on_node?,
                _ => ensure!(
                    on_node
                        .as_ref()
                        .is_err_and(|it| it.kind() == ErrorKind::ConnectionRefused),
                    "on the node's address: {on_node:?}"
                ),
            }
        }
        Ok(())
    })
}

fn connect(address: &str) -> std::io::Result<()> {
    let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
    TcpStream::connect_timeout(&address, Duration::from_secs(5)).map(drop)
}

/// The pod has a loopback and an `eth0`; the node has neither this name nor this address.
fn nothing_of_its_own(body: &str, pod: &Value) -> Result<()> {
    for line in body
        .lines()
        .filter(|line| line.starts_with("node_network_receive_bytes"))
    {
        ensure!(
            !line.contains(r#"device="eth0""#),
            "the pod's own device: {line}"
        );
    }
    let (node, name) = (&pod["spec"]["nodeName"], &pod["metadata"]["name"]);
    let (node, name) = (
        node.as_str().context("no node")?,
        name.as_str().context("no name")?,
    );
    ensure!(
        body.contains(&format!(r#"nodename="{node}""#)),
        "it is not called {node}"
    );
    ensure!(!body.contains(name), "the pod's own name {name}");
    Ok(())
}

fn same_devices(host: &Samples, apart: &Samples) -> Result<()> {
    let devices = |samples: &Samples| {
        let start = "node_network_receive_bytes_total{";
        let series = samples.0.keys().filter(|it| it.starts_with(start));
        series.cloned().collect::<BTreeSet<String>>()
    };
    let (host, apart) = (devices(host), devices(apart));
    ensure!(
        host.len() > 1 && host == apart,
        "{host:?}, and apart {apart:?}"
    );
    Ok(())
}

/// What only the host's network namespace provides is left out; everything else is present in both.
fn same_families(host: &Samples, apart: &Samples) -> Result<()> {
    let families = |samples: &Samples| -> BTreeSet<String> {
        let names = samples.0.keys().filter_map(|it| it.split('{').next());
        let left_out = |name: &&str| !name.starts_with("node_nf_conntrack_");
        names.filter(left_out).map(str::to_owned).collect()
    };
    let (host, told) = (families(host), families(apart));
    let differ: Vec<_> = host.symmetric_difference(&told).collect();
    ensure!(differ.is_empty(), "only in one of the two: {differ:?}");
    for series in apart.0.keys() {
        let own = LEFT_OUT
            .iter()
            .any(|name| series.contains(&format!("collector=\"{name}\"")));
        if own || series.starts_with("node_nf_conntrack_") {
            bail!("it shows {series}");
        }
    }
    Ok(())
}

/// Values by series.
struct Samples(BTreeMap<String, f64>);

impl Samples {
    fn of(body: &str) -> Result<Self> {
        let lines = body.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').context("no value")?;
            Ok((series.to_owned(), value.parse()?))
        };
        Ok(Self(lines.map(sample).collect::<Result<_>>()?))
    }

    fn value(&self, series: &str) -> Result<f64> {
        let value = self.0.get(series).copied();
        value.with_context(|| format!("no {series}"))
    }
}

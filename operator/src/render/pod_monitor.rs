//! PodMonitor `<name>`: the scrape configuration for prometheus-operator. It refers to the keys of the Secret
//! `<name>-scrape`, never to files, which prometheus-operator may forbid.

use crate::{
    monitoring::{
        BasicAuth, PodMetricsEndpoint, PodMonitor, PodMonitorSpec, PodSelector, SecretKey,
        SecretOf, TlsConfig,
    },
    names::{Owner, PORT_NAME},
    render::{relabel_config::of_resource, scrape_config::seconds},
    spec::ValidSpec,
};

/// Renders the PodMonitor.
pub fn pod_monitor(spec: &ValidSpec, owner: &Owner) -> PodMonitor {
    let scrape = &spec.scrape;
    let key = |key: &str| SecretKey {
        name: owner.scrape_secret(),
        key: key.to_owned(),
    };
    let file = |name| SecretOf { secret: key(name) };
    let asks_certificate = spec.methods.ask_certificate();
    let endpoint = PodMetricsEndpoint {
        port: PORT_NAME.to_owned(),
        scheme: "https".to_owned(),
        interval: seconds(scrape.interval),
        scrape_timeout: seconds(scrape.timeout),
        basic_auth: spec.methods.ask_password().then(|| BasicAuth {
            username: key("username"),
            password: key("password"),
        }),
        tls_config: TlsConfig {
            ca: file("ca.crt"),
            cert: asks_certificate.then(|| file("client.crt")),
            key_secret: asks_certificate.then(|| key("client.key")),
            server_name: spec.server_name.clone(),
        },
        // prometheus-operator sets namespace, pod, container and endpoint itself.
        relabelings: of_resource(scrape),
        metric_relabelings: scrape.metric_relabelings.clone(),
    };
    let mut metadata = owner.child(owner.workload());
    let labels = metadata.labels.get_or_insert_default();
    for (name, value) in &scrape.monitor_labels {
        labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    PodMonitor {
        metadata,
        spec: PodMonitorSpec {
            selector: PodSelector {
                match_labels: owner.selector(),
            },
            pod_metrics_endpoints: vec![endpoint],
            sample_limit: scrape.sample_limit,
        },
    }
}

//! The scrape configuration in the formats of Prometheus, of prometheus-operator and vmagent, and of Alloy.
//!
//! Scrapers always verify the certificate with the CA bundle and the server name; `insecure_skip_verify` is never used.

use jiff::SignedDuration;
use serde::Serialize;

use crate::{
    api::Relabeling,
    names::{APP_NAME, INSTANCE_LABEL, NAME_LABEL, Owner},
    render::{
        error::RenderError,
        relabel_config::{RelabelConfig, discovered, quoted},
    },
    spec::ValidSpec,
};

/// Where the files are that the configuration refers to.
pub(crate) enum Directory {
    /// Next to the configuration: Prometheus resolves relative paths in a file of `scrape_config_files` from that file.
    OfThisFile,
    /// In this directory, for scrapers that do not read the configuration from a file.
    Absolute(String),
}

impl Directory {
    fn file(&self, name: &str) -> String {
        match self {
            Self::OfThisFile => name.to_owned(),
            Self::Absolute(directory) => format!("{directory}/{name}"),
        }
    }
}

/// Renders a file for `scrape_config_files`: a map with the key `scrape_configs`.
pub(crate) fn scrape_map(
    spec: &ValidSpec,
    owner: &Owner,
    directory: &Directory,
) -> Result<String, RenderError> {
    #[derive(Serialize)]
    struct File {
        scrape_configs: [ScrapeConfig; 1],
    }
    yaml(
        owner,
        &File {
            scrape_configs: [ScrapeConfig::new(spec, owner, directory)],
        },
    )
}

/// Renders a plain list for prometheus-operator's `additionalScrapeConfigs` and vmagent's `scrape_config_files`.
pub(crate) fn scrape_list(
    spec: &ValidSpec,
    owner: &Owner,
    directory: &Directory,
) -> Result<String, RenderError> {
    yaml(owner, &[ScrapeConfig::new(spec, owner, directory)])
}

/// Renders a module for Alloy: `import.file` it, then use `<import>.nodes "…" { forward_to = […] }`.
pub(crate) fn alloy(spec: &ValidSpec, owner: &Owner, directory: &Directory) -> String {
    let scrape = ScrapeConfig::new(spec, owner, directory);
    let rules: String = scrape
        .relabel_configs
        .iter()
        .map(RelabelConfig::alloy)
        .collect();
    let q = quoted;
    let file = |name: &str| format!("argument.directory.value + \"/{name}\"");
    let basic_auth = scrape.basic_auth.map_or_else(String::new, |basic| {
        format!(
            r#"    basic_auth {{
      username      = {username}
      password_file = {password_file}
    }}
"#,
            username = q(&basic.username),
            password_file = file("password"),
        )
    });
    let certificate = scrape.tls_config.cert_file.map_or_else(String::new, |_| {
        format!(
            r#"      cert_file   = {cert_file}
      key_file    = {key_file}
"#,
            cert_file = file("client.crt"),
            key_file = file("client.key"),
        )
    });
    let limit = scrape.sample_limit.map_or_else(String::new, |limit| {
        format!("    sample_limit    = {limit}\n")
    });
    let samples = SamplePath::new(&scrape.metric_relabel_configs);
    format!(
        r#"// {header}
declare "nodes" {{
  argument "forward_to" {{ }}

  argument "directory" {{
    comment  = "Where this Secret is mounted."
    optional = true
    default  = {directory}
  }}

  discovery.kubernetes "pods" {{
    role = "pod"
    namespaces {{
      names = [{namespace}]
    }}
    selectors {{
      role  = "pod"
      label = {selector}
    }}
  }}

  discovery.relabel "nodes" {{
    targets = discovery.kubernetes.pods.targets
{rules}  }}

  prometheus.scrape "nodes" {{
    targets         = discovery.relabel.nodes.output
    forward_to      = {receiver}
    job_name        = {job_name}
    scheme          = "https"
    scrape_interval = {interval}
    scrape_timeout  = {timeout}
{limit}{basic_auth}    tls_config {{
      ca_file     = {ca_file}
{certificate}      server_name = {server_name}
    }}
  }}
{relabel}}}
"#,
        receiver = samples.receiver,
        relabel = samples.component,
        header = header(owner),
        directory = q(directory.file("").trim_end_matches('/')),
        namespace = q(&owner.namespace),
        selector = q(&label_selector(owner)),
        job_name = q(&spec.scrape.job_name),
        interval = q(&scrape.scrape_interval),
        timeout = q(&scrape.scrape_timeout),
        ca_file = file("ca.crt"),
        server_name = q(&spec.server_name),
    )
}

/// Where Alloy sends the samples of a scrape.
struct SamplePath {
    /// What the scrape forwards to.
    receiver: &'static str,
    /// The component that relabels samples, if there are rules.
    component: String,
}

impl SamplePath {
    fn new(rules: &[RelabelConfig]) -> Self {
        if rules.is_empty() {
            return Self {
                receiver: "argument.forward_to.value",
                component: String::new(),
            };
        }
        let rules: String = rules.iter().map(RelabelConfig::alloy).collect();
        Self {
            receiver: "[prometheus.relabel.samples.receiver]",
            component: format!(
                "\n  prometheus.relabel \"samples\" {{\n    forward_to = argument.forward_to.value\n{rules}  }}\n"
            ),
        }
    }
}

#[derive(Serialize)]
struct ScrapeConfig {
    job_name: String,
    scheme: &'static str,
    scrape_interval: String,
    scrape_timeout: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    basic_auth: Option<BasicAuth>,
    tls_config: TlsConfig,
    kubernetes_sd_configs: [KubernetesSdConfig; 1],
    relabel_configs: Vec<RelabelConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metric_relabel_configs: Vec<RelabelConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample_limit: Option<i32>,
}

#[derive(Serialize)]
struct BasicAuth {
    username: String,
    password_file: String,
}

#[derive(Serialize)]
struct TlsConfig {
    ca_file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_file: Option<String>,
    server_name: String,
}

#[derive(Serialize)]
struct KubernetesSdConfig {
    role: &'static str,
    namespaces: Namespaces,
    selectors: [Selector; 1],
}

#[derive(Serialize)]
struct Namespaces {
    names: [String; 1],
}

#[derive(Serialize)]
struct Selector {
    role: &'static str,
    label: String,
}

impl ScrapeConfig {
    fn new(spec: &ValidSpec, owner: &Owner, directory: &Directory) -> Self {
        let asks_certificate = spec.methods.ask_certificate();
        let certificate_file = |name| asks_certificate.then(|| directory.file(name));
        Self {
            job_name: spec.scrape.job_name.clone(),
            scheme: "https",
            scrape_interval: seconds(spec.scrape.interval),
            scrape_timeout: seconds(spec.scrape.timeout),
            basic_auth: spec.methods.ask_password().then(|| BasicAuth {
                username: spec.username.clone(),
                password_file: directory.file("password"),
            }),
            tls_config: TlsConfig {
                ca_file: directory.file("ca.crt"),
                cert_file: certificate_file("client.crt"),
                key_file: certificate_file("client.key"),
                server_name: spec.server_name.clone(),
            },
            kubernetes_sd_configs: [KubernetesSdConfig {
                role: "pod",
                namespaces: Namespaces {
                    names: [owner.namespace.clone()],
                },
                // The API server only sends our pods, so that Prometheus does not receive and drop all others.
                selectors: [Selector {
                    role: "pod",
                    label: label_selector(owner),
                }],
            }],
            relabel_configs: rules(discovered(&spec.scrape)),
            metric_relabel_configs: rules(spec.scrape.metric_relabelings.clone()),
            sample_limit: spec.scrape.sample_limit,
        }
    }
}

fn rules(of: Vec<Relabeling>) -> Vec<RelabelConfig> {
    of.into_iter().map(RelabelConfig::from).collect()
}

fn header(owner: &Owner) -> String {
    format!(
        "Written by secure-exporter-operator for SecureExporter {}/{}; edits are overwritten.",
        owner.namespace, owner.name
    )
}

fn yaml(owner: &Owner, value: &impl Serialize) -> Result<String, RenderError> {
    serde_saphyr::to_string(value)
        .map(|text| format!("# {}\n{text}", header(owner)))
        .map_err(|error| RenderError::Yaml(error.to_string()))
}

fn label_selector(owner: &Owner) -> String {
    format!("{NAME_LABEL}={APP_NAME},{INSTANCE_LABEL}={}", owner.name)
}

/// Formats a duration in seconds, because Prometheus only accepts several units in one order.
pub(crate) fn seconds(duration: SignedDuration) -> String {
    format!("{}s", duration.as_secs())
}

//! The scrape job for Prometheus that fits a host.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::pki::Host;

/// The port of node_exporter, which is also our default.
const PORT: u16 = 9100;

/// What a scraper must know about a host.
pub(super) struct ScrapeJob<'a> {
    /// The name against which the certificate is verified.
    pub(super) server_name: &'a Host,
    /// The addresses of the exporters, at least one.
    pub(super) targets: Vec<&'a Host>,
    pub(super) username: &'a str,
}

impl ScrapeJob<'_> {
    /// Returns YAML that is both a file for `scrape_config_files` and a section of `prometheus.yml`. Prometheus resolves
    /// its relative paths from the directory of the file that contains it.
    pub(super) fn to_yaml(&self) -> String {
        let mut targets = String::new();
        for target in &self.targets {
            // Writing to a String cannot fail.
            let _ = writeln!(targets, "          - {}", quoted(&address(target)));
        }
        // The job's own name must be unlike every other; the label is what the dashboards and alerts select by.
        format!(
            "scrape_configs:
  - job_name: {job}
    scheme: https
    tls_config:
      ca_file: ca.crt
      server_name: {server_name}
    basic_auth:
      username: {username}
      password_file: password
    static_configs:
      - targets:
{targets}        labels:
          job: node-exporter
",
            job = quoted(&format!("secure-exporter-{}", self.server_name)),
            server_name = quoted(&self.server_name.to_string()),
            username = quoted(self.username),
        )
    }
}

/// A host with the port, as a target and in a URL.
fn address(host: &Host) -> String {
    match host {
        Host::Address(IpAddr::V6(address)) => format!("[{address}]:{PORT}"),
        other => format!("{other}:{PORT}"),
    }
}

/// JSON strings are valid double-quoted YAML strings.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prometheus_is_given() {
        let hosts = ["web1.example.org", "fd00::7"].map(|host| host.parse().unwrap());
        let [name, address] = &hosts;
        let job = ScrapeJob {
            server_name: name,
            targets: vec![name, address],
            username: "pro\"m",
        };
        assert_eq!(
            job.to_yaml(),
            r#"scrape_configs:
  - job_name: "secure-exporter-web1.example.org"
    scheme: https
    tls_config:
      ca_file: ca.crt
      server_name: "web1.example.org"
    basic_auth:
      username: "pro\"m"
      password_file: password
    static_configs:
      - targets:
          - "web1.example.org:9100"
          - "[fd00::7]:9100"
        labels:
          job: node-exporter
"#
        );
    }
}

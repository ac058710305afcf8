//! `/-/status`: what is served and which credentials are in use, for programs that rotate them.
//!
//! It only uses what is in memory: no collector runs, and the scrape thread is not involved.

use serde::Serialize;

use crate::clock::unix_now;
use crate::collect::{HostNetwork, Settings};
use crate::credentials::last_use::ClientCertificates;
use crate::credentials::snapshot::Snapshot;
use crate::credentials::tls::Leaf;
use crate::version;

/// The body, in a stable format. Times are seconds since the epoch by the clock of this machine. It contains no users,
/// passwords or hashes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    version: &'static str,
    start_time: i64,
    time: i64,
    /// Number of the configuration in use; 1 is the one that the process started with.
    snapshot: u64,
    /// `null` without TLS.
    certificate: Option<Certificate>,
    /// Every hash that is accepted now, ordered by ID.
    credentials: Vec<Credential>,
    /// Verified client certificates that authenticated a request, ordered by ID.
    client_certificates: Vec<ClientCertificate>,
    /// The value of `--host.network`.
    network: &'static str,
    /// Collectors that are enabled but cannot run in this network namespace, ordered by name.
    left_out: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Certificate {
    serial_number: String,
    sha256_fingerprint: String,
    not_before: i64,
    not_after: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Credential {
    id: String,
    /// `null` if it was not used since the process started or since the hash was added.
    last_used: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClientCertificate {
    id: String,
    last_used: i64,
}

/// Which part of the host this process can show.
#[derive(Debug, Default)]
pub(crate) struct View {
    network: HostNetwork,
    left_out: Vec<&'static str>,
}

impl View {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            network: settings.host_network,
            left_out: settings.left_out().map(|(name, _)| name).collect(),
        }
    }
}

impl Status {
    pub(crate) fn of(
        snapshot: &Snapshot,
        clients: &ClientCertificates,
        start_time: i64,
        view: &View,
    ) -> Self {
        let credentials = snapshot.users.iter().flat_map(|users| users.uses());
        let credentials = credentials.map(|(id, usage)| Credential {
            id,
            last_used: usage.last_used(),
        });
        let clients = clients.last_uses().into_iter();
        let clients = clients.map(|(id, last_used)| ClientCertificate { id, last_used });
        Self {
            version: version::VERSION,
            start_time,
            time: unix_now(),
            snapshot: snapshot.number,
            certificate: snapshot.tls.as_ref().map(|tls| Certificate::of(&tls.leaf)),
            credentials: credentials.collect(),
            client_certificates: clients.collect(),
            network: view.network.name(),
            left_out: view.left_out.clone(),
        }
    }

    pub(crate) fn to_json(&self) -> String {
        // Numbers and strings in a fixed structure cannot fail to serialize.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Certificate {
    fn of(leaf: &Leaf) -> Self {
        Self {
            serial_number: leaf.serial.clone(),
            sha256_fingerprint: leaf.sha256_fingerprint.clone(),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_stable() {
        let status = Status {
            version: "1.2.3",
            start_time: 100,
            time: 200,
            snapshot: 3,
            certificate: Some(Certificate {
                serial_number: "a1".into(),
                sha256_fingerprint: "b2".into(),
                not_before: -1,
                not_after: 9,
            }),
            credentials: vec![
                Credential {
                    id: "c3".into(),
                    last_used: Some(150),
                },
                Credential {
                    id: "d4".into(),
                    last_used: None,
                },
            ],
            client_certificates: vec![ClientCertificate {
                id: "e5".into(),
                last_used: 160,
            }],
            network: "apart",
            left_out: vec!["conntrack"],
        };
        assert_eq!(
            status.to_json(),
            r#"{"version":"1.2.3","startTime":100,"time":200,"snapshot":3,"#.to_owned()
                + r#""certificate":{"serialNumber":"a1","sha256Fingerprint":"b2","notBefore":-1,"notAfter":9},"#
                + r#""credentials":[{"id":"c3","lastUsed":150},{"id":"d4","lastUsed":null}],"#
                + r#""clientCertificates":[{"id":"e5","lastUsed":160}],"#
                + r#""network":"apart","leftOut":["conntrack"]}"#
        );
    }

    #[test]
    fn an_open_exporter_has_neither_certificate_nor_credentials() {
        let json = Status::of(
            &Snapshot::open(),
            &ClientCertificates::default(),
            1,
            &View::default(),
        )
        .to_json();
        assert!(
            json.ends_with(
                r#""snapshot":1,"certificate":null,"credentials":[],"clientCertificates":[],"network":"shared","leftOut":[]}"#
            ),
            "{json}"
        );
    }
}

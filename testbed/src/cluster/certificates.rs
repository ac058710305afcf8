//! The cluster's own certificates and kubeconfigs. They live as long as the cluster, in memory.

use std::{fs, net::Ipv4Addr, process::Command};

use anyhow::Result;

use super::layout::Layout;
use crate::process::output;

/// Extensions for openssl by type of certificate. openssl's own settings are not used, because they differ between
/// distributions.
const EXTENSIONS: &str = "\
[req]
distinguished_name = subject
[subject]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
authorityKeyIdentifier = keyid
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
authorityKeyIdentifier = keyid
";

/// Users of the API except the kubelets: file name, common name, organization.
const USERS: [(&str, &str, Option<&str>); 4] = [
    ("admin", "admin", Some("system:masters")),
    ("controllers", "system:kube-controller-manager", None),
    ("scheduler", "system:kube-scheduler", None),
    (
        "apiserver-to-kubelet",
        "kube-apiserver-kubelet-client",
        Some("system:masters"),
    ),
];

/// Writes the CA, the serving certificates, one client certificate and kubeconfig per user, and the ServiceAccount key.
///
/// # Errors
/// openssl is missing, or a file could not be written.
pub fn write(layout: &Layout) -> Result<()> {
    fs::create_dir_all(layout.pki(""))?;
    fs::write(layout.pki("extensions"), EXTENSIONS)?;
    let subject = subject("secure-exporter test cluster", None);
    certificate(layout, "ca", "ca", &subject, &["-days", "3650"])?;

    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "localhost",
    ];
    let addresses = [
        Ipv4Addr::LOCALHOST,
        layout.service_address(),
        layout.api_address(),
    ];
    serving(layout, "apiserver", &names, &addresses)?;
    for (file, name, organisation) in USERS {
        user(layout, file, name, organisation)?;
    }
    for node in layout.nodes() {
        let addresses = [Ipv4Addr::LOCALHOST, node.address];
        serving(layout, &node.kubelet_server(), &[&node.name], &addresses)?;
        let name = format!("system:node:{}", node.name);
        user(layout, &node.kubelet_user(), &name, Some("system:nodes"))?;
    }
    service_account_key(layout)
}

fn user(layout: &Layout, file: &str, name: &str, organisation: Option<&str>) -> Result<()> {
    signed(layout, file, "client", &subject(name, organisation), &[])?;
    fs::write(layout.kubeconfig(file), kubeconfig(layout, file))?;
    Ok(())
}

fn serving(layout: &Layout, file: &str, names: &[&str], addresses: &[Ipv4Addr]) -> Result<()> {
    let names = names.iter().map(|name| format!("DNS:{name}"));
    let addresses = addresses.iter().map(|address| format!("IP:{address}"));
    let all: Vec<String> = names.chain(addresses).collect();
    let names = format!("subjectAltName={}", all.join(","));
    let subject = subject(file, None);
    signed(layout, file, "server", &subject, &["-addext", &names])
}

/// A certificate that the cluster's CA signs.
fn signed(layout: &Layout, file: &str, kind: &str, subject: &str, more: &[&str]) -> Result<()> {
    let ca = ["-days", "3650", "-CA", "ca.crt", "-CAkey", "ca.key"];
    certificate(layout, file, kind, subject, &[&ca, more].concat())
}

/// A certificate and its key, self-signed by default.
fn certificate(
    layout: &Layout,
    file: &str,
    kind: &str,
    subject: &str,
    more: &[&str],
) -> Result<()> {
    openssl(
        layout,
        Command::new("openssl")
            .args(["req", "-x509", "-config", "extensions"])
            .args(["-extensions", kind, "-subj", subject])
            .args(["-nodes", "-newkey", "ec"])
            .args(["-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-keyout", &format!("{file}.key")])
            .args(["-out", &format!("{file}.crt")])
            .args(more),
    )
}

fn service_account_key(layout: &Layout) -> Result<()> {
    openssl(
        layout,
        Command::new("openssl")
            .args(["genpkey", "-algorithm", "EC"])
            .args(["-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-out", "service-accounts.key"]),
    )?;
    openssl(
        layout,
        Command::new("openssl")
            .args(["pkey", "-in", "service-accounts.key", "-pubout"])
            .args(["-out", "service-accounts.pub"]),
    )
}

fn openssl(layout: &Layout, command: &mut Command) -> Result<()> {
    output(command.current_dir(layout.pki("")))?;
    Ok(())
}

fn subject(name: &str, organisation: Option<&str>) -> String {
    let organisation = organisation.map_or_else(String::new, |name| format!("/O={name}"));
    format!("{organisation}/CN={name}")
}

fn kubeconfig(layout: &Layout, user: &str) -> String {
    let path = |file: &str| layout.pki(file).display().to_string();
    serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://{}:{}", layout.api_address(), layout.api_port()),
            "certificate-authority": path("ca.crt")}}],
        "users": [{"name": user, "user": {
            "client-certificate": path(&format!("{user}.crt")),
            "client-key": path(&format!("{user}.key"))}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn verified(layout: &Layout, purpose: &str, file: &str) -> Result<String> {
        let files = ["-CAfile", "ca.crt", &format!("{file}.crt")];
        let mut verify = Command::new("openssl");
        verify.args(["verify", "-x509_strict", "-purpose", purpose]);
        output(verify.args(files).current_dir(layout.pki("")))
    }

    #[test]
    fn every_certificate_is_good_for_its_use_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut layout = Layout::named("certificates");
        layout.run = folder.path().to_owned();
        write(&layout).unwrap();
        let nodes = layout.nodes();
        let servers: Vec<String> = ["apiserver".to_owned()]
            .into_iter()
            .chain(nodes.iter().map(|node| node.kubelet_server()))
            .collect();
        let users = USERS.iter().map(|(file, ..)| (*file).to_owned());
        let users: Vec<String> = users
            .chain(nodes.iter().map(|node| node.kubelet_user()))
            .collect();
        for (files, good, bad) in [
            (&servers, "sslserver", "sslclient"),
            (&users, "sslclient", "sslserver"),
        ] {
            for file in files {
                verified(&layout, good, file).unwrap();
                assert!(verified(&layout, bad, file).is_err(), "{file}");
            }
        }
        let text = output(
            Command::new("openssl")
                .args(["x509", "-noout", "-subject", "-nameopt", "RFC2253"])
                .args(["-ext", "subjectAltName", "-in"])
                .arg(layout.pki("apiserver.crt")),
        )
        .unwrap();
        assert!(text.contains("CN=apiserver"), "{text}");
        assert!(text.contains("DNS:kubernetes.default.svc"), "{text}");
        assert!(text.contains("IP Address:10.96.0.1"), "{text}");
        let admin = output(
            Command::new("openssl")
                .args(["x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in"])
                .arg(layout.pki("admin.crt")),
        )
        .unwrap();
        assert_eq!(admin.trim(), "subject=CN=admin,O=system:masters");
        let serials: BTreeSet<String> = servers
            .iter()
            .chain(&users)
            .map(|file| fs::read_to_string(layout.pki(&format!("{file}.crt"))).unwrap())
            .collect();
        assert_eq!(serials.len(), servers.len() + users.len());
    }
}

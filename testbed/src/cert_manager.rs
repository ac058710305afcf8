//! cert-manager's own controllers, and issuers for them.

use std::{fs, process::Command, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    kubectl::Kubectl,
    process::{Process, output},
    servers,
};

/// How long an issuer may take to become ready, or a request to be signed.
pub const ANSWER: Duration = Duration::from_secs(60);

/// Installs the definitions of cert-manager's resources, without its controllers.
///
/// # Errors
/// The API server refuses them.
pub fn install_definitions(kubectl: &Kubectl) -> Result<()> {
    kubectl.define(&servers::cert_manager_definitions()?)
}

/// Starts the controllers for the namespace of this kubectl. They end when this is dropped.
///
/// # Errors
/// They cannot be started.
pub fn start(kubectl: &Kubectl) -> Result<Process> {
    Process::spawn(
        Command::new(servers::ensure(&servers::CERT_MANAGER)?)
            .arg("-kubeconfig")
            .arg(kubectl.kubeconfig())
            .args(["-namespace", kubectl.namespace()]),
    )
}

/// Creates a CA and an Issuer of this name that signs with it; returns the CA certificate, PEM.
///
/// # Errors
/// openssl or the API server returned an error.
pub fn issuer(kubectl: &Kubectl, name: &str) -> Result<String> {
    let folder = tempfile::tempdir()?;
    output(
        Command::new("openssl")
            .current_dir(folder.path())
            .args(["req", "-new", "-x509", "-nodes", "-days", "30"])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-keyout", "ca.key", "-out", "ca.crt"])
            .args(["-subj", &format!("/O=Example/CN={name}")]),
    )?;
    let read = |file: &str| fs::read_to_string(folder.path().join(file));
    let authority = read("ca.crt")?;
    kubectl.apply(&json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": authority, "tls.key": read("ca.key")?},
    }))?;
    kubectl.apply(&json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Issuer",
        "metadata": {"name": name},
        "spec": {"ca": {"secretName": name}},
    }))?;
    Ok(authority)
}

/// Returns all requests of a namespace.
///
/// # Errors
/// The API server does not answer.
pub fn requests(kubectl: &Kubectl) -> Result<Vec<Value>> {
    kubectl.list(
        "certificaterequests",
        "app.kubernetes.io/name=secure-exporter",
    )
}

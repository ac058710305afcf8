//! cert-manager's own controllers, and issuers for them.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{environment, kubectl::Kubectl, process::Process, process::output};

/// How long an issuer may take to be ready, or a request to be signed.
pub const ANSWER: Duration = Duration::from_secs(60);

/// Installs the definitions of cert-manager's resources, and none of its controllers.
///
/// # Errors
/// The API server refuses them.
pub fn install_definitions(kubectl: &Kubectl) -> Result<()> {
    let folder = environment::cert_manager_definitions()?;
    let folder = folder.to_str().context("a path that is no text")?;
    kubectl.run(&["apply", "--server-side", "-f", folder])?;
    kubectl.run(&[
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        "-f",
        folder,
    ])?;
    Ok(())
}

/// Starts the controllers, for one namespace. They end when dropped.
///
/// # Errors
/// They cannot be started.
pub fn start(kubeconfig: &Path, namespace: &str) -> Result<Process> {
    Process::spawn(
        Command::new(environment::cert_manager()?)
            .arg("-kubeconfig")
            .arg(kubeconfig)
            .args(["-namespace", namespace]),
    )
}

/// Makes an authority and an Issuer of this name that signs with it; returns the authority's certificate, PEM.
///
/// # Errors
/// openssl or the API server refuses.
pub fn issuer(kubectl: &Kubectl, name: &str) -> Result<String> {
    let folder = tempfile::tempdir()?;
    output(
        Command::new("openssl")
            .current_dir(folder.path())
            .args(["req", "-new", "-x509", "-nodes", "-days", "30"])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-keyout", "ca.key", "-out", "ca.crt"])
            .args(["-subj", &format!("/O=Example/CN={name}")]),
        "",
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

/// All requests of a namespace.
///
/// # Errors
/// The API server does not answer.
pub fn requests(kubectl: &Kubectl) -> Result<Vec<Value>> {
    kubectl.list(
        "certificaterequests",
        "app.kubernetes.io/name=secure-exporter",
    )
}

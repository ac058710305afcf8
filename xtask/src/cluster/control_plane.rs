//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler, with the flags that make them small and quick.

use std::path::Path;

use anyhow::{Context, Result};

use super::{
    holder::{Server, spawn},
    layout::Layout,
};
use crate::shell::find_program;

/// Starts etcd and the API server.
///
/// # Errors
/// One of them could not be started.
pub fn start_api(layout: &Layout, commands: &Path) -> Result<[Server; 2]> {
    let etcd =
        find_program("etcd").context("etcd is not installed: apt-get install etcd-server")?;
    let data = layout.run.join("etcd").display().to_string();
    let etcd = spawn(
        layout,
        "etcd",
        &etcd,
        &flags(&[
            ("data-dir", &data),
            ("listen-client-urls", "http://127.0.0.1:2379"),
            ("advertise-client-urls", "http://127.0.0.1:2379"),
            ("listen-peer-urls", "http://127.0.0.1:2380"),
            ("initial-advertise-peer-urls", "http://127.0.0.1:2380"),
            ("initial-cluster", "default=http://127.0.0.1:2380"),
            ("log-level", "warn"),
            // One member in memory: it elects itself in 0.1 s instead of 1 s, and there is nothing to flush.
            ("heartbeat-interval", "10"),
            ("election-timeout", "100"),
            ("unsafe-no-fsync", "true"),
        ]),
    )?;
    let path = |file: &str| layout.pki(file).display().to_string();
    let scratch = layout.run.join("apiserver").display().to_string();
    let api = spawn(
        layout,
        "kube-apiserver",
        &commands.join("kube-apiserver"),
        &flags(&[
            ("etcd-servers", "http://127.0.0.1:2379"),
            ("secure-port", "443"),
            ("bind-address", "0.0.0.0"),
            ("advertise-address", &layout.node_address()),
            ("service-cluster-ip-range", "10.96.0.0/24"),
            ("tls-cert-file", &path("apiserver.crt")),
            ("tls-private-key-file", &path("apiserver.key")),
            ("client-ca-file", &path("ca.crt")),
            ("authorization-mode", "Node,RBAC"),
            ("enable-admission-plugins", "NodeRestriction"),
            ("allow-privileged", "true"),
            ("service-account-key-file", &path("service-accounts.pub")),
            (
                "service-account-signing-key-file",
                &path("service-accounts.key"),
            ),
            ("service-account-issuer", "https://kubernetes.default.svc"),
            (
                "kubelet-client-certificate",
                &path("apiserver-to-kubelet.crt"),
            ),
            ("kubelet-client-key", &path("apiserver-to-kubelet.key")),
            ("kubelet-certificate-authority", &path("ca.crt")),
            ("kubelet-preferred-address-types", "InternalIP"),
            ("cert-dir", &scratch),
            ("v", "1"),
        ]),
    )?;
    Ok([etcd, api])
}

/// Starts the controllers and the scheduler.
///
/// # Errors
/// One of them could not be started.
pub fn start_controllers(layout: &Layout, commands: &Path) -> Result<[Server; 2]> {
    let path = |file: &str| layout.pki(file).display().to_string();
    let config = |user: &str| layout.kubeconfig(user).display().to_string();
    let scratch = |name: &str| layout.run.join(name).display().to_string();
    let controllers = config("controllers");
    let controllers = spawn(
        layout,
        "kube-controller-manager",
        &commands.join("kube-controller-manager"),
        &flags(&[
            ("kubeconfig", &controllers),
            ("authentication-kubeconfig", &controllers),
            ("authorization-kubeconfig", &controllers),
            ("leader-elect", "false"),
            ("bind-address", "127.0.0.1"),
            ("use-service-account-credentials", "true"),
            (
                "service-account-private-key-file",
                &path("service-accounts.key"),
            ),
            ("root-ca-file", &path("ca.crt")),
            ("cert-dir", &scratch("controllers")),
            ("v", "1"),
        ]),
    )?;
    let scheduler = config("scheduler");
    let scheduler = spawn(
        layout,
        "kube-scheduler",
        &commands.join("kube-scheduler"),
        &flags(&[
            ("kubeconfig", &scheduler),
            ("authentication-kubeconfig", &scheduler),
            ("authorization-kubeconfig", &scheduler),
            ("leader-elect", "false"),
            ("bind-address", "127.0.0.1"),
            ("cert-dir", &scratch("scheduler")),
            ("v", "1"),
        ]),
    )?;
    Ok([controllers, scheduler])
}

/// `--name=value` for each pair.
pub fn flags(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs
        .iter()
        .map(|(name, value)| format!("--{name}={value}"))
        .collect()
}

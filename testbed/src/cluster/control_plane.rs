//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler, with flags that make them small and fast.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::{holder::Server, layout::Layout};
use crate::paths::find_program;

/// Starts etcd, with these flags in addition to the usual ones.
///
/// # Errors
/// It could not be started.
pub fn start_etcd(layout: &Layout, more: &[(&str, &str)]) -> Result<Server> {
    let etcd =
        find_program("etcd").context("etcd is not installed: apt-get install etcd-server")?;
    let (clients, peers) = layout.etcd_ports();
    let (clients, peers) = (local(clients), local(peers));
    let data = layout.run.join("etcd").display().to_string();
    let always: [(&str, &str); 10] = [
        ("data-dir", &data),
        ("listen-client-urls", &clients),
        ("advertise-client-urls", &clients),
        ("listen-peer-urls", &peers),
        ("initial-advertise-peer-urls", &peers),
        ("initial-cluster", &format!("default={peers}")),
        ("log-level", "warn"),
        // One member in memory: it elects itself in 0.1 s instead of 1 s, and nothing needs to be flushed.
        ("heartbeat-interval", "10"),
        ("election-timeout", "100"),
        ("unsafe-no-fsync", "true"),
    ];
    let arguments = flags(&[&always[..], more].concat());
    layout.holder().spawn("etcd", &etcd, &arguments)
}

/// Starts the API server, with etcd at the address in the layout.
///
/// # Errors
/// See [`start_etcd`].
pub fn start_api_server(layout: &Layout, commands: &Path) -> Result<Server> {
    let (clients, _) = layout.etcd_ports();
    let clients = local(clients);
    let path = |file: &str| layout.pki(file).display().to_string();
    let scratch = layout.run.join("apiserver").display().to_string();
    let policy = layout.run.join("audit-policy.json");
    fs::write(&policy, AUDIT_POLICY)?;
    layout.holder().spawn(
        "kube-apiserver",
        &commands.join("kube-apiserver"),
        &flags(&[
            ("etcd-servers", &clients),
            ("secure-port", &layout.api_port().to_string()),
            ("bind-address", "0.0.0.0"),
            ("advertise-address", &layout.api_address().to_string()),
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
            ("audit-policy-file", &policy.display().to_string()),
            ("audit-log-path", &layout.audit_log().display().to_string()),
            ("cert-dir", &scratch),
            ("v", "1"),
        ]),
    )
}

/// Logs every request without its content, except those of Kubernetes' own components.
const AUDIT_POLICY: &str = r#"{
    "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "userGroups": ["system:nodes", "system:serviceaccounts:kube-system"]},
        {"level": "None", "users": ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"]},
        {"level": "Metadata"}
    ]
}"#;

/// Starts the controllers and the scheduler.
///
/// # Errors
/// One of them could not be started.
pub fn start_controllers(layout: &Layout, commands: &Path) -> Result<[Server; 2]> {
    let path = |file: &str| layout.pki(file).display().to_string();
    let config = |user: &str| layout.kubeconfig(user).display().to_string();
    let scratch = |name: &str| layout.run.join(name).display().to_string();
    let (controller_port, scheduler_port) = layout.controller_ports();
    let controllers = config("controllers");
    let controllers = layout.holder().spawn(
        "kube-controller-manager",
        &commands.join("kube-controller-manager"),
        &flags(&[
            ("kubeconfig", &controllers),
            ("authentication-kubeconfig", &controllers),
            ("authorization-kubeconfig", &controllers),
            ("leader-elect", "false"),
            ("bind-address", "127.0.0.1"),
            ("secure-port", &controller_port.to_string()),
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
    let scheduler = layout.holder().spawn(
        "kube-scheduler",
        &commands.join("kube-scheduler"),
        &flags(&[
            ("kubeconfig", &scheduler),
            ("authentication-kubeconfig", &scheduler),
            ("authorization-kubeconfig", &scheduler),
            ("leader-elect", "false"),
            ("bind-address", "127.0.0.1"),
            ("secure-port", &scheduler_port.to_string()),
            ("cert-dir", &scratch("scheduler")),
            ("v", "1"),
        ]),
    )?;
    Ok([controllers, scheduler])
}

fn local(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// `--name=value` for each pair.
pub fn flags(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs
        .iter()
        .map(|(name, value)| format!("--{name}={value}"))
        .collect()
}

//! A `SecureExporter` of a test, the objects that the operator creates for it, and the access of a scraper.
#![allow(
    clippy::indexing_slicing,
    reason = "a field that JSON lacks is null, and a test may end there"
)]

use std::{
    collections::BTreeMap,
    io::Write,
    net::Ipv4Addr,
    path::Path,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::{
    curl::Request, kubectl::Kubectl, namespace::Namespace, secret::SecretData, wait::wait_until,
};

/// The default of `spec.exporter.port`.
const DEFAULT_PORT: u16 = 9100;
/// How long a new exporter may take until it is ready: several tests start theirs at once.
const START: Duration = Duration::from_secs(150);
/// How long the operator may take to report a problem.
const ANSWER: Duration = Duration::from_secs(60);
/// Everything that the operator creates.
const CHILDREN: &str = "secrets,configmaps,daemonsets.apps,services,serviceaccounts,\
                        roles.rbac.authorization.k8s.io,rolebindings.rbac.authorization.k8s.io";

/// Returns a port of the node that no other exporter of this run uses, because their pods share the node's network. Never
/// returns the default, 9100.
pub fn unused_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(9101);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Requests a rotation by an annotation, as a user does: `certificate`, `ca`, `password` or several of them, and after a
/// colon something that distinguishes the request from the last one.
///
/// # Errors
/// There is no such resource.
pub fn rotate(kubectl: &Kubectl, name: &str, request: &str) -> Result<()> {
    let annotation = format!("secureexporter.dev/rotate={request}");
    kubectl.annotate("secureexporter", name, &annotation)
}

/// Revokes CA and passwords at once, as a user does after a leak: `all`, and after a colon something that distinguishes the
/// request from the last one.
///
/// # Errors
/// See [`rotate`].
pub fn distrust(kubectl: &Kubectl, name: &str, request: &str) -> Result<()> {
    let annotation = format!("secureexporter.dev/distrust={request}");
    kubectl.annotate("secureexporter", name, &annotation)
}

/// The resource `nodes` of a namespace, or one with another name.
pub struct Exporters<'a> {
    kubectl: &'a Kubectl,
    node_address: Ipv4Addr,
    name: String,
    port: u16,
}

/// The manifest, as a user would write it.
pub fn resource(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "secureexporter.dev/v1alpha1",
        "kind": "SecureExporter",
        "metadata": {"name": name},
        "spec": spec,
    })
}

impl<'a> Exporters<'a> {
    /// Applies a `SecureExporter`. Its pods are on the node's network, so each test sets `spec.exporter.port` to an
    /// [`unused_port`]; the default is for the one test of an empty spec.
    ///
    /// # Errors
    /// The API server refused it.
    pub fn apply(namespace: &'a Namespace, name: &str, spec: &Value) -> Result<Self> {
        namespace.kubectl.apply(&resource(name, spec))?;
        Ok(Self {
            kubectl: &namespace.kubectl,
            node_address: namespace.node_address,
            name: name.to_owned(),
            port: match spec["exporter"]["port"].as_u64() {
                Some(port) => port.try_into()?,
                None => DEFAULT_PORT,
            },
        })
    }

    /// A `SecureExporter` with the default port that another user applied, on a node of this address.
    pub fn applied(kubectl: &'a Kubectl, node_address: Ipv4Addr, name: &str) -> Self {
        Self {
            kubectl,
            node_address,
            name: name.to_owned(),
            port: DEFAULT_PORT,
        }
    }

    /// Returns the resource with its status.
    ///
    /// # Errors
    /// There is none.
    pub fn resource(&self) -> Result<Value> {
        self.kubectl.get("secureexporter", &self.name)
    }

    /// Waits until it is ready in its current generation, and its one pod too.
    ///
    /// # Errors
    /// It does not become ready; the error contains its status.
    pub fn wait_ready(&self) -> Result<()> {
        wait_until(&format!("{} to be ready", self.name), START, || {
            let resource = self.resource()?;
            let status = &resource["status"];
            let current = status["observedGeneration"] == resource["metadata"]["generation"];
            let ready = condition(status, "Ready").is_ok_and(|it| it["status"] == "True");
            ensure!(
                current && ready && status["nodes"]["summary"] == "1/1",
                "its status: {status}"
            );
            self.pod()?;
            Ok(Some(()))
        })
    }

    /// Waits until the resource is not ready and the message of a condition contains all these words; returns that
    /// condition.
    ///
    /// # Errors
    /// There is no such condition.
    pub fn wait_refused(&self, words: &[&str]) -> Result<Value> {
        wait_until(&format!("a condition that says {words:?}"), ANSWER, || {
            let resource = self.resource()?;
            let conditions = resource["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let says = |it: &&Value| {
                let message = it["message"].as_str().unwrap_or_default();
                words.iter().all(|word| message.contains(word))
            };
            let ready = condition(&resource["status"], "Ready")?;
            ensure!(ready["status"] == "False", "it is ready: {ready}");
            let found = conditions.iter().find(says).cloned();
            Ok(Some(found.with_context(|| {
                format!("its conditions: {}", json!(conditions))
            })?))
        })
    }

    /// Returns its one running, ready pod.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub fn pod(&self) -> Result<Value> {
        let pods = self.kubectl.list("pods", &self.selector())?;
        let alive: Vec<_> = pods
            .into_iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .collect();
        ensure!(alive.len() == 1, "{} pods, and not one", alive.len());
        let pod = alive.into_iter().next().context("no pod")?;
        let container = &pod["status"]["containerStatuses"][0];
        ensure!(
            pod["status"]["phase"] == "Running" && container["ready"] == true,
            "its pod: {}",
            pod["status"]
        );
        Ok(pod)
    }

    /// Returns the Secret `<name>-<what>`.
    ///
    /// # Errors
    /// There is none.
    pub fn secret(&self, what: &str) -> Result<SecretData> {
        SecretData::of(
            &self
                .kubectl
                .get("secret", &format!("{}-{what}", self.name))?,
        )
    }

    /// Returns every object that the operator created, as kind and name, with its version.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn versions(&self) -> Result<BTreeMap<String, String>> {
        let children = self.kubectl.list(CHILDREN, &self.selector())?;
        let mut versions = BTreeMap::new();
        for child in children {
            let metadata = &child["metadata"];
            let kind = child["kind"].as_str().context("no kind")?;
            let name = metadata["name"].as_str().context("no name")?;
            let version = metadata["resourceVersion"].as_str().context("no version")?;
            versions.insert(format!("{kind}/{name}"), version.to_owned());
        }
        Ok(versions)
    }

    /// Waits for a complete pass of the operator over the resource. It deletes the trust bundle: when that has been created
    /// twice, at least one pass began after the call and has ended.
    ///
    /// # Errors
    /// The bundle is not created again.
    pub fn wait_reconciled(&self) -> Result<()> {
        let name = format!("{}-ca", self.name);
        for _ in 0..2 {
            let bundle = self.kubectl.get("configmap", &name)?;
            self.kubectl.delete("configmap", &name)?;
            let again = self.kubectl.wait_recreated("configmap", &bundle)?;
            ensure!(again["data"] == bundle["data"], "the bundle has changed");
        }
        Ok(())
    }

    /// The node's address of the exporter, host and port.
    pub fn address(&self) -> String {
        format!("{}:{}", self.node_address, self.port)
    }

    /// The address of its one pod, host and port.
    ///
    /// # Errors
    /// There is no such pod, or not one.
    pub fn pod_address(&self) -> Result<String> {
        let pod = self.pod()?;
        let address = pod["status"]["podIP"].as_str().context("no address")?;
        Ok(format!("{address}:{}", self.port))
    }

    /// The server name in its certificate.
    pub fn server_name(&self) -> String {
        format!("{}.{}.svc", self.name, self.kubectl.namespace())
    }

    /// Returns what a scraper has of it at present.
    ///
    /// # Errors
    /// The Secret does not exist or is incomplete.
    pub fn scraper(&self) -> Result<Scraper> {
        Scraper::of(self, self.address(), &self.secret("scrape")?)
    }

    /// Like [`Exporters::scraper`], at the address of its one pod.
    ///
    /// # Errors
    /// See there, or there is not exactly one pod.
    pub fn scraper_of_pod(&self) -> Result<Scraper> {
        Scraper::of(self, self.pod_address()?, &self.secret("scrape")?)
    }

    fn selector(&self) -> String {
        format!(
            "app.kubernetes.io/name=secure-exporter,app.kubernetes.io/instance={}",
            self.name
        )
    }
}

/// Returns a condition of a status.
///
/// # Errors
/// The status has no such condition.
pub fn condition<'a>(status: &'a Value, kind: &str) -> Result<&'a Value> {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let mut of_kind = conditions.filter(|it| it["type"] == kind);
    of_kind
        .next()
        .with_context(|| format!("there is no condition {kind}"))
}

/// The content of the Secret `<name>-scrape` for a scraper.
pub struct Scraper {
    url: String,
    address: String,
    authorities: NamedTempFile,
    username: String,
    password: String,
}

impl Scraper {
    fn of(exporters: &Exporters<'_>, address: String, secret: &SecretData) -> Result<Self> {
        let mut authorities = NamedTempFile::new()?;
        authorities.write_all(secret.get("ca.crt")?.as_bytes())?;
        Ok(Self {
            url: format!("https://{}:{}", exporters.server_name(), exporters.port),
            address,
            authorities,
            username: secret.get("username")?.to_owned(),
            password: secret.get("password")?.to_owned(),
        })
    }

    /// The file of the CAs that it trusts.
    pub fn authorities(&self) -> &Path {
        self.authorities.path()
    }

    /// A request with credentials that verifies chain and name.
    pub fn get(&self, path: &str) -> Request {
        self.anonymous(path).user(&self.username, &self.password)
    }

    /// A verified request with a wrong password.
    pub fn wrong(&self, path: &str) -> Request {
        self.anonymous(path).user(&self.username, "wrong")
    }

    /// A verified request without credentials.
    pub fn anonymous(&self, path: &str) -> Request {
        self.unverified(path).authorities(self.authorities.path())
    }

    /// A request without credentials that trusts the system's CAs, which do not include ours.
    pub fn unverified(&self, path: &str) -> Request {
        Request::get(&format!("{}{path}", self.url)).connect_to(&self.address)
    }
}

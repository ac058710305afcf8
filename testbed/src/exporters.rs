//! A `SecureExporter` of a test, what the operator made from it, and how a scraper reaches it.
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

/// What `spec.exporter.port` is by default.
const DEFAULT_PORT: u16 = 9100;
/// How long a new exporter may take until it is ready: several tests start theirs at once.
const START: Duration = Duration::from_secs(150);
/// How long the operator may take to say what is wrong.
const ANSWER: Duration = Duration::from_secs(60);
/// Everything that the operator makes.
const CHILDREN: &str = "secrets,configmaps,daemonsets.apps,services,serviceaccounts,\
                        roles.rbac.authorization.k8s.io,rolebindings.rbac.authorization.k8s.io";

/// A port of the node that no other exporter of this run has: their pods share the node's network. The default, 9100, is never
/// returned.
pub fn unused_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(9101);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Asks for a rotation as a person does, by an annotation: `certificate`, `ca`, `password` or several of them, and behind a
/// colon what makes the request another one than the last.
///
/// # Errors
/// There is no such resource.
pub fn rotate(kubectl: &Kubectl, name: &str, request: &str) -> Result<()> {
    let annotation = format!("secureexporter.dev/rotate={request}");
    kubectl.annotate("secureexporter", name, &annotation)
}

/// Ends trust and passwords at once, as a person does after a leak: `all`, and behind a colon what makes the request another
/// one than the last.
///
/// # Errors
/// As [`rotate`].
pub fn distrust(kubectl: &Kubectl, name: &str, request: &str) -> Result<()> {
    let annotation = format!("secureexporter.dev/distrust={request}");
    kubectl.annotate("secureexporter", name, &annotation)
}

/// The resource called `nodes` of a namespace, or one of another name.
pub struct Exporters<'a> {
    kubectl: &'a Kubectl,
    node_address: Ipv4Addr,
    name: String,
    port: u16,
}

/// The object, as a person would write it.
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

    /// The resource with its status.
    ///
    /// # Errors
    /// There is none.
    pub fn resource(&self) -> Result<Value> {
        self.kubectl.get("secureexporter", &self.name)
    }

    /// Waits until it is ready in its current generation, and its one pod too.
    ///
    /// # Errors
    /// It does not become so: holds its status.
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

    /// Waits until the resource is not ready and some condition's message holds all these words; returns that condition.
    ///
    /// # Errors
    /// No condition says so.
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

    /// Its one running, ready pod.
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

    /// The Secret `<name>-<what>`.
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

    /// Every object that the operator made, as kind and name, with its version.
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

    /// Waits until the operator has worked through the whole resource from now on. The trust bundle is what it is seen
    /// by: when it has come back twice, at least one pass began after the call and is over.
    ///
    /// # Errors
    /// The bundle does not come back.
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

    /// Where the node serves it, host and port.
    pub fn address(&self) -> String {
        format!("{}:{}", self.node_address, self.port)
    }

    /// Where its one pod serves it, host and port.
    ///
    /// # Errors
    /// There is no such pod, or not one.
    pub fn pod_address(&self) -> Result<String> {
        let pod = self.pod()?;
        let address = pod["status"]["podIP"].as_str().context("no address")?;
        Ok(format!("{address}:{}", self.port))
    }

    /// The name in its certificate.
    pub fn server_name(&self) -> String {
        format!("{}.{}.svc", self.name, self.kubectl.namespace())
    }

    /// What a scraper has of it, as of now.
    ///
    /// # Errors
    /// The Secret is not there or lacks something.
    pub fn scraper(&self) -> Result<Scraper> {
        Scraper::of(self, self.address(), &self.secret("scrape")?)
    }

    /// As [`Exporters::scraper`], at the address of its one pod.
    ///
    /// # Errors
    /// As there, or there is not one pod.
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

/// A condition of a status.
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

/// What the Secret `<name>-scrape` gives to a scraper.
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

    /// The file of the authorities that it trusts.
    pub fn authorities(&self) -> &Path {
        self.authorities.path()
    }

    /// A request with credentials, verified by chain and name.
    pub fn get(&self, path: &str) -> Request {
        self.anonymous(path).user(&self.username, &self.password)
    }

    /// A request with a wrong password, verified.
    pub fn wrong(&self, path: &str) -> Request {
        self.anonymous(path).user(&self.username, "wrong")
    }

    /// A request without credentials, verified.
    pub fn anonymous(&self, path: &str) -> Request {
        self.unverified(path).authorities(self.authorities.path())
    }

    /// A request without credentials that trusts what the system trusts, which is not our authority.
    pub fn unverified(&self, path: &str) -> Request {
        Request::get(&format!("{}{path}", self.url)).connect_to(&self.address)
    }
}

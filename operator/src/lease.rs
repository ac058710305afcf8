//! The Lease by which only one release serves a namespace, and which shows users and alerts that a release does.
//!
//! The holder is the release and not the pod, so that a new pod of the same release continues without waiting. The first pass
//! in a namespace creates the Lease. It is kept while the namespace has resources, and ends a minute after a clean stop.

pub mod claim;
pub mod error;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ObjectMeta, PostParams, Preconditions},
};
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use crate::{
    clock::Clock,
    lease::{
        claim::{Claim, VALIDITY, claim, released},
        error::LeaseError,
    },
    names::{APP_NAME, FIELD_MANAGER, MANAGED_BY, MANAGED_BY_LABEL, NAME_LABEL},
    observe::api_error,
    telemetry::metrics::Metrics,
};

/// Name of the Lease in each namespace that holds a resource.
pub const NAME: &str = "secure-exporter-operator";

/// How often a Lease is renewed.
const RENEWED_EVERY: Duration = Duration::from_secs(5 * 60);
/// How often it is checked which ones must be renewed, and which ones are no longer needed.
const CHECKED_EVERY: Duration = Duration::from_secs(15);
/// How often the Lease is read again after another writer was faster.
const MAX_ATTEMPTS: u32 = 3;

/// Who serves a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenure {
    /// This release.
    Ours {
        /// Since when, by the clock of the pod that acquired it.
        since: Timestamp,
    },
    /// Another release.
    Elsewhere {
        /// Its namespace and name.
        holder: String,
    },
}

/// The Leases of the namespaces that this release serves or would like to serve.
pub struct Leases {
    client: Client,
    release: String,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    namespaces: Mutex<HashMap<String, Arc<AsyncMutex<Known>>>>,
}

/// What is known about one Lease.
struct Known {
    /// The version that was last seen, and since when.
    seen: Option<(Option<String>, Instant)>,
    /// Our Lease as it was last written, and when.
    held: Option<(Lease, Instant)>,
}

impl Known {
    fn tenure(&self, within: Duration) -> Option<Tenure> {
        let (lease, at) = self.held.as_ref()?;
        let acquired = lease.spec.as_ref().and_then(|it| it.acquire_time.as_ref());
        (at.elapsed() < within).then(|| Tenure::Ours {
            since: acquired.map_or(Timestamp::MIN, |time| time.0),
        })
    }

    fn saw(&mut self, version: Option<String>) -> Duration {
        let now = Instant::now();
        match &self.seen {
            Some((before, since)) if *before == version => now.duration_since(*since),
            _ => {
                self.seen = Some((version, now));
                Duration::ZERO
            }
        }
    }
}

impl Leases {
    /// Creates them for a release, which is named by its namespace and name.
    pub fn new(
        client: Client,
        release: String,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            client,
            release,
            clock,
            metrics,
            namespaces: Mutex::default(),
        }
    }

    /// The release that they are held for.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Returns which release serves the namespace; this one does if no other one does. Asks the API server only when a renewal
    /// is due or another release holds the Lease.
    ///
    /// # Errors
    /// [`LeaseError`], unless this release has renewed the Lease a short time ago.
    pub async fn hold(&self, namespace: &str) -> Result<Tenure, LeaseError> {
        let known = self.known(namespace);
        let mut known = known.lock().await;
        self.renew(namespace, &mut known).await
    }

    /// Renews the Leases of the namespaces that have resources, and deletes those of the others, for as long as it is polled.
    pub async fn keep(&self, has_resources: impl Fn(&str) -> bool) {
        loop {
            tokio::time::sleep(CHECKED_EVERY).await;
            for (namespace, known) in self.all() {
                let mut known = known.lock().await;
                if !has_resources(&namespace) {
                    self.remove(&namespace, &mut known).await;
                    self.namespaces.lock().remove(&namespace);
                    self.metrics.forget_namespace(&namespace);
                } else if known.held.is_some() {
                    drop(self.renew(&namespace, &mut known).await);
                }
            }
        }
    }

    /// Frees all Leases, because the operator stops.
    pub async fn release_all(&self) {
        for (namespace, known) in self.all() {
            let mut known = known.lock().await;
            self.free(&namespace, &mut known).await;
        }
    }

    fn known(&self, namespace: &str) -> Arc<AsyncMutex<Known>> {
        let mut all = self.namespaces.lock();
        let new = || {
            Arc::new(AsyncMutex::new(Known {
                seen: None,
                held: None,
            }))
        };
        all.entry(namespace.to_owned()).or_insert_with(new).clone()
    }

    fn all(&self) -> Vec<(String, Arc<AsyncMutex<Known>>)> {
        let all = self.namespaces.lock();
        all.iter()
            .map(|(namespace, known)| (namespace.clone(), known.clone()))
            .collect()
    }

    async fn renew(&self, namespace: &str, known: &mut Known) -> Result<Tenure, LeaseError> {
        if let Some(ours) = known.tenure(RENEWED_EVERY) {
            return Ok(ours);
        }
        let tenure = match self.negotiate(namespace, known).await {
            Ok(tenure) => tenure,
            Err(error) => {
                tracing::warn!(namespace, %error, "the Lease {NAME} is not renewed");
                return known.tenure(VALIDITY).ok_or(match error {
                    LeaseError::Unread(source) if known.held.is_some() => {
                        LeaseError::Unconfirmed(source)
                    }
                    error => error,
                });
            }
        };
        let is_ours = matches!(tenure, Tenure::Ours { .. });
        self.metrics.leads(namespace, is_ours);
        Ok(tenure)
    }

    async fn negotiate(&self, namespace: &str, known: &mut Known) -> Result<Tenure, LeaseError> {
        let api = self.api(namespace);
        let mut attempts = 0;
        loop {
            let present = api.get_opt(NAME).await.map_err(LeaseError::Unread)?;
            let version = present.as_ref().and_then(ResourceExt::resource_version);
            let unchanged = known.saw(version);
            let before = present.as_ref().and_then(|lease| lease.spec.as_ref());
            let now = self.clock.now();
            let wanted = match claim(before, &self.release, unchanged, now) {
                Claim::Hold(spec) => spec,
                Claim::LeaveTo(holder) => {
                    known.held = None;
                    return Ok(Tenure::Elsewhere { holder });
                }
            };
            // Others count from when they see it, which is not before.
            let asked = Instant::now();
            attempts += 1;
            match write(&api, present, wanted).await {
                Ok(lease) => {
                    known.saw(lease.resource_version());
                    known.held = Some((lease, asked));
                    let since = known.tenure(VALIDITY);
                    return Ok(since.unwrap_or(Tenure::Ours { since: now }));
                }
                // Another writer was faster: read again which release holds it.
                Err(error) if is_overtaken(&error) && attempts < MAX_ATTEMPTS => {}
                Err(error) => return Err(LeaseError::Unwritten(error)),
            }
        }
    }

    /// Frees a Lease unless another process, such as the next pod of this release, has written it in the meantime.
    async fn free(&self, namespace: &str, known: &mut Known) {
        let Some((mut lease, _)) = known.held.take() else {
            return;
        };
        lease.spec = lease.spec.as_ref().map(released);
        let parameters = parameters();
        let written = self.api(namespace).replace(NAME, &parameters, &lease).await;
        log_failure(namespace, written.map(drop));
    }

    /// Deletes the Lease of a namespace without resources: there is nothing to serve, and nothing to alert about.
    async fn remove(&self, namespace: &str, known: &mut Known) {
        let Some((lease, _)) = known.held.take() else {
            return;
        };
        let parameters = DeleteParams::default().preconditions(Preconditions {
            uid: lease.uid(),
            resource_version: lease.resource_version(),
        });
        let deleted = self.api(namespace).delete(NAME, &parameters).await;
        log_failure(namespace, deleted.map(drop));
    }

    fn api(&self, namespace: &str) -> Api<Lease> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

fn log_failure(namespace: &str, freed: Result<(), kube::Error>) {
    match freed {
        Ok(()) => {}
        // Another process has written or deleted it.
        Err(error) if is_overtaken(&error) => {}
        Err(error) => {
            let error = api_error::text(&error);
            tracing::warn!(namespace, error, "cannot free the Lease {NAME}");
        }
    }
}

/// Whether the Lease was changed, created or deleted after it was read.
fn is_overtaken(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(refused) if matches!(refused.code, 404 | 409))
}

async fn write(
    api: &Api<Lease>,
    present: Option<Lease>,
    wanted: LeaseSpec,
) -> Result<Lease, kube::Error> {
    let Some(mut lease) = present else {
        let labels = [(NAME_LABEL, APP_NAME), (MANAGED_BY_LABEL, MANAGED_BY)];
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                labels: Some(labels.map(|(key, value)| (key.into(), value.into())).into()),
                ..ObjectMeta::default()
            },
            spec: Some(wanted),
        };
        return api.create(&parameters(), &lease).await;
    };
    lease.spec = Some(wanted);
    // The version that was read is sent with it, so that a Lease which changed in the meantime is not overwritten.
    lease.meta_mut().managed_fields = None;
    api.replace(NAME, &parameters(), &lease).await
}

fn parameters() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

//! The Lease by which only one release serves a namespace, and which shows users and alerts that a release does.
//!
//! The holder is the release and not the pod, so that a new pod of the same release continues without waiting. The first pass
//! in a namespace creates the Lease. It is kept while the namespace has resources, and ends a minute after a clean stop.
//!
//! Only passes write, so the Lease is read for them alone: before a pass, and while it runs. A release that
//! has lost its Lease, for example because a user deleted it, therefore writes beside the next holder for at most
//! [`Intervals::confirmed`] and the deadline of one request: 20 seconds. One that cannot read it continues for as long as it
//! lasts, because an expired certificate would be worse.

pub mod claim;
pub mod error;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use crate::{
    apply::leases,
    clock::Clock,
    lease::{
        claim::{Claim, VALIDITY, claim, released},
        error::LeaseError,
    },
    names::LEASE,
    observe::api_error,
    telemetry::{metrics::Metrics, repeats::Repeats},
};

/// How often it is checked which ones must be renewed, and which ones are no longer needed.
const CHECKED_EVERY: Duration = Duration::from_secs(15);
/// How often the Lease is read again after another writer was faster.
const MAX_ATTEMPTS: u32 = 3;

/// How long what is known about a Lease of this release counts.
#[derive(Clone, Copy, Debug)]
pub struct Intervals {
    /// How long after it was read a pass may rely on it.
    pub confirmed: Duration,
    /// How long after it was written it is renewed.
    pub renewed: Duration,
    /// How long after it was written no other release takes it.
    pub valid: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            confirmed: Duration::from_secs(10),
            renewed: Duration::from_secs(5 * 60),
            valid: VALIDITY,
        }
    }
}

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
    intervals: Intervals,
    failures: Repeats,
    namespaces: Mutex<HashMap<String, Arc<AsyncMutex<Known>>>>,
}

/// What is known about one Lease.
struct Known {
    /// The version that was last seen, and since when.
    seen: Option<(Option<String>, Instant)>,
    /// Our Lease, if this release is the last known holder.
    held: Option<Held>,
}

/// A Lease of this release.
struct Held {
    /// The Lease as it was last written.
    lease: Lease,
    /// Since when it has been valid at least.
    written: Instant,
    /// When it was last tried to read it.
    asked: Instant,
}

impl Held {
    fn tenure(&self) -> Tenure {
        let acquired = self
            .lease
            .spec
            .as_ref()
            .and_then(|it| it.acquire_time.as_ref());
        let since = acquired.map_or(Timestamp::MIN, |time| time.0);
        Tenure::Ours { since }
    }

    fn is_version(&self, seen: Option<&Lease>) -> bool {
        let version = self.lease.resource_version();
        version.is_some() && seen.and_then(ResourceExt::resource_version) == version
    }
}

impl Known {
    /// The tenure of this release while no other one takes its Lease.
    fn valid(&self, intervals: &Intervals) -> Option<&Held> {
        let held = self.held.as_ref();
        held.filter(|held| held.written.elapsed() < intervals.valid)
    }

    /// How long the Lease need not be read again.
    fn confirmed_for(&self, intervals: &Intervals) -> Duration {
        let held = self.valid(intervals);
        held.map_or(Duration::ZERO, |held| {
            intervals.confirmed.saturating_sub(held.asked.elapsed())
        })
    }

    fn is_renewal_due(&self, intervals: &Intervals) -> bool {
        let held = self.held.as_ref();
        held.is_some_and(|held| held.written.elapsed() >= intervals.renewed)
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
        intervals: Intervals,
    ) -> Self {
        Self {
            client,
            release,
            clock,
            metrics,
            intervals,
            failures: Repeats::default(),
            namespaces: Mutex::default(),
        }
    }

    /// The release that they are held for.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Returns which release serves the namespace; this one does if no other one does. Asks the API server unless this release
    /// has just confirmed that it holds the Lease.
    ///
    /// # Errors
    /// [`LeaseError`], unless this release has renewed the Lease a short time ago.
    pub async fn hold(&self, namespace: &str) -> Result<Tenure, LeaseError> {
        let known = self.known(namespace);
        let mut known = known.lock().await;
        if !known.confirmed_for(&self.intervals).is_zero()
            && let Some(held) = &known.held
        {
            return Ok(held.tenure());
        }
        self.confirm(namespace, &mut known).await
    }

    /// Waits until another release holds the Lease of the namespace, and returns its name.
    pub async fn lost(&self, namespace: &str) -> String {
        loop {
            let known = self.known(namespace);
            let confirmed = known.lock().await.confirmed_for(&self.intervals);
            tokio::time::sleep(if confirmed.is_zero() {
                // It could not be held, although no other release holds it.
                self.intervals.confirmed
            } else {
                confirmed
            })
            .await;
            if let Ok(Tenure::Elsewhere { holder }) = self.hold(namespace).await {
                return holder;
            }
        }
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
                } else if known.is_renewal_due(&self.intervals) {
                    drop(self.confirm(&namespace, &mut known).await);
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

    async fn confirm(&self, namespace: &str, known: &mut Known) -> Result<Tenure, LeaseError> {
        if let Some(held) = &mut known.held {
            // Also if it fails: while the API server does not answer, passes do not wait for it one after the other.
            held.asked = Instant::now();
        }
        let tenure = match self.negotiate(namespace, known).await {
            Ok(tenure) => tenure,
            Err(error) => {
                if self.failures.is_new(&format!("{namespace}: {error}")) {
                    tracing::warn!(namespace, %error, "cannot confirm that this release holds the Lease {LEASE}");
                }
                return match (known.valid(&self.intervals), error) {
                    (Some(held), _) => Ok(held.tenure()),
                    (None, LeaseError::Unread(source)) if known.held.is_some() => {
                        Err(LeaseError::Unconfirmed(source))
                    }
                    (None, error) => Err(error),
                };
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
            let present = api.get_opt(LEASE).await.map_err(LeaseError::Unread)?;
            let version = present.as_ref().and_then(ResourceExt::resource_version);
            let unchanged = known.saw(version);
            if !known.is_renewal_due(&self.intervals)
                && let Some(held) = &known.held
                && held.is_version(present.as_ref())
            {
                return Ok(held.tenure());
            }
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
            match leases::write(&api, present, wanted).await {
                Ok(lease) => {
                    known.saw(lease.resource_version());
                    let held = Held {
                        lease,
                        written: asked,
                        asked,
                    };
                    return Ok(known.held.insert(held).tenure());
                }
                // Another writer was faster: read again which release holds it.
                Err(error) if leases::is_overtaken(&error) && attempts < MAX_ATTEMPTS => {}
                Err(error) => return Err(LeaseError::Unwritten(error)),
            }
        }
    }

    /// Frees a Lease unless another process, such as the next pod of this release, has written it in the meantime.
    async fn free(&self, namespace: &str, known: &mut Known) {
        let Some(Held { mut lease, .. }) = known.held.take() else {
            return;
        };
        lease.spec = lease.spec.as_ref().map(released);
        let written = leases::replace(&self.api(namespace), &lease).await;
        log_failure(namespace, written.map(drop));
    }

    /// Deletes the Lease of a namespace without resources: there is nothing to serve, and nothing to alert about.
    async fn remove(&self, namespace: &str, known: &mut Known) {
        let Some(Held { lease, .. }) = known.held.take() else {
            return;
        };
        let deleted = leases::delete(&self.api(namespace), &lease).await;
        log_failure(namespace, deleted);
    }

    fn api(&self, namespace: &str) -> Api<Lease> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

fn log_failure(namespace: &str, freed: Result<(), kube::Error>) {
    match freed {
        Ok(()) => {}
        // Another process has written or deleted it.
        Err(error) if leases::is_overtaken(&error) => {}
        Err(error) => {
            let error = api_error::text(&error);
            tracing::warn!(namespace, error, "cannot free the Lease {LEASE}");
        }
    }
}

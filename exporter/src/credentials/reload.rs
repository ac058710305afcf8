//! Keeps the served snapshot in step with the files, and never serves less than before.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::watch;

use super::snapshot::{Require, Snapshot, SnapshotError};
use super::stamps::Stamps;

/// How often the files are looked at. A Secret volume follows its Secret a minute late, so nobody notices two seconds.
const POLL: Duration = Duration::from_secs(2);
/// How often they may look untouched before they are read all the same.
const TRUST: u32 = 15;
/// How long the files must keep still before they are believed: people copy a certificate and then its key.
const SETTLE: Duration = Duration::from_millis(150);

/// The snapshot that is served, and how often another was to take its place. Clones share both.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    served: watch::Sender<Arc<Snapshot>>,
    reloads: Arc<Reloads>,
}

impl Store {
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        Self {
            served: watch::Sender::new(Arc::new(snapshot)),
            reloads: Arc::default(),
        }
    }

    pub(crate) fn current(&self) -> Arc<Snapshot> {
        self.served.borrow().clone()
    }

    /// Tells of every later snapshot.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.served.subscribe()
    }

    pub(crate) fn reloads(&self) -> &Reloads {
        &self.reloads
    }
}

/// What became of changed files.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    successes: AtomicU64,
    failures: AtomicU64,
    last_failed: AtomicBool,
}

impl Reloads {
    fn succeeded(&self) {
        self.successes.fetch_add(1, Relaxed);
        self.configuration_is_good();
    }

    fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
        self.last_failed.store(true, Relaxed);
    }

    /// What is on disk is what is served.
    fn configuration_is_good(&self) {
        self.last_failed.store(false, Relaxed);
    }

    pub(crate) fn last_successful(&self) -> bool {
        !self.last_failed.load(Relaxed)
    }

    /// By `result`, ordered.
    pub(crate) fn by_result(&self) -> [(&'static str, u64); 2] {
        [
            ("failure", self.failures.load(Relaxed)),
            ("success", self.successes.load(Relaxed)),
        ]
    }
}

/// The task that looks at the files again and again.
pub(crate) struct Reloader {
    pub(crate) path: PathBuf,
    pub(crate) require: Require,
    pub(crate) store: Store,
}

impl Reloader {
    /// Polls for ever; a SIGHUP asks at once and has its answer logged in any case.
    pub(crate) async fn run(self, mut hangup: Signal) {
        let mut reported = None;
        let mut untouched = Untouched::since(&self.store.current());
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(POLL) => false,
                signal = hangup.recv() => signal.is_some(),
            };
            if !asked && untouched.still().await {
                continue;
            }
            untouched = Untouched::default();
            match self.settled().await {
                Some(result) => {
                    let loaded = result.as_ref().ok();
                    let seen =
                        loaded.map(|snapshot| (snapshot.fingerprint, Untouched::since(snapshot)));
                    self.take(result, asked, &mut reported);
                    // What was refused is looked at again, for a file that it lacked.
                    untouched = seen
                        .filter(|(fingerprint, _)| *fingerprint == self.store.current().fingerprint)
                        .map(|(_, untouched)| untouched)
                        .unwrap_or_default();
                }
                None if asked => {
                    tracing::info!("configuration is being written, reading it again shortly")
                }
                None => {}
            }
        }
    }

    /// What the files give, unless they change while they are read.
    async fn settled(&self) -> Option<Result<Snapshot, SnapshotError>> {
        let first = self.load().await?;
        if matches!(&first, Ok(snapshot) if self.is_served(snapshot)) {
            return Some(first);
        }
        tokio::time::sleep(SETTLE).await;
        let second = self.load().await?;
        (identity(&first) == identity(&second)).then_some(second)
    }

    async fn load(&self) -> Option<Result<Snapshot, SnapshotError>> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || Snapshot::load(&path))
            .await
            .ok()
    }

    fn is_served(&self, snapshot: &Snapshot) -> bool {
        self.store.current().fingerprint == snapshot.fingerprint
    }

    /// Serves the new snapshot, or says once why not.
    fn take(
        &self,
        result: Result<Snapshot, SnapshotError>,
        asked: bool,
        reported: &mut Option<String>,
    ) {
        let served = self.store.current();
        let result = result.and_then(|snapshot| {
            snapshot.fulfils(self.require)?;
            snapshot.may_replace(served.protections)?;
            Ok(snapshot)
        });
        match result {
            Ok(snapshot) if snapshot.fingerprint == served.fingerprint => {
                self.store.reloads.configuration_is_good();
                if reported.take().is_some() || asked {
                    tracing::info!("configuration on disk is the one in use");
                }
            }
            Ok(mut snapshot) => {
                *reported = None;
                self.store.reloads.succeeded();
                let serial = snapshot
                    .tls
                    .as_ref()
                    .map_or("none", |tls| tls.leaf.serial.as_str());
                tracing::info!(file = %self.path.display(), certificate_serial = serial, "configuration reloaded");
                if let Some(tls) = &snapshot.tls {
                    tls.log_warnings();
                }
                snapshot.follow(&served);
                self.store.served.send_replace(Arc::new(snapshot));
            }
            Err(error) => {
                let text = error.to_string();
                if asked || reported.as_ref() != Some(&text) {
                    self.store.reloads.failed();
                    tracing::error!(
                        error = text,
                        "configuration not reloaded, the last valid one stays in use"
                    );
                    *reported = Some(text);
                }
            }
        }
    }
}

/// Files that need not be read while nobody touches them. By default they have to be.
#[derive(Debug, Default)]
struct Untouched {
    stamps: Stamps,
    trust: u32,
}

impl Untouched {
    fn since(snapshot: &Snapshot) -> Self {
        Self {
            stamps: snapshot.stamps.clone(),
            trust: TRUST,
        }
    }

    async fn still(&mut self) -> bool {
        if self.trust == 0 {
            return false;
        }
        self.trust -= 1;
        let stamps = self.stamps.clone();
        let hold = tokio::task::spawn_blocking(move || stamps.hold());
        hold.await.unwrap_or(false)
    }
}

/// What two readings of unchanged files have in common.
fn identity(result: &Result<Snapshot, SnapshotError>) -> Result<[u8; 32], String> {
    result
        .as_ref()
        .map(|snapshot| snapshot.fingerprint)
        .map_err(ToString::to_string)
}

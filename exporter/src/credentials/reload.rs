//! Keeps the snapshot in use up to date with the files, and never replaces it by one with less protection.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::watch;

use super::snapshot::{Require, Snapshot, SnapshotError};
use super::stamps::Stamps;

/// How often the files are checked. A Secret volume is updated up to a minute after its Secret, so two seconds do not
/// matter.
const POLL: Duration = Duration::from_secs(2);
/// How often the files may look unchanged before they are read anyway.
const TRUST: u32 = 15;
/// How long the files must stay unchanged before they are used, because people copy a certificate first and its key
/// afterwards.
const SETTLE: Duration = Duration::from_millis(150);

/// The snapshot in use, and the number of reloads. Clones share both.
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

    /// Notifies about every later snapshot.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.served.subscribe()
    }

    pub(crate) fn reloads(&self) -> &Reloads {
        &self.reloads
    }
}

/// The results of reloads.
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

    /// The configuration on disk is the one in use.
    fn configuration_is_good(&self) {
        self.last_failed.store(false, Relaxed);
    }

    pub(crate) fn last_successful(&self) -> bool {
        !self.last_failed.load(Relaxed)
    }

    /// Counts by `result`, in a fixed order.
    pub(crate) fn by_result(&self) -> [(&'static str, u64); 2] {
        [
            ("failure", self.failures.load(Relaxed)),
            ("success", self.successes.load(Relaxed)),
        ]
    }
}

/// The task that checks the files repeatedly.
pub(crate) struct Reloader {
    pub(crate) path: PathBuf,
    pub(crate) require: Require,
    pub(crate) store: Store,
}

impl Reloader {
    /// Polls forever. A SIGHUP triggers a check at once, whose result is always logged.
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
                    // A refused configuration is read again, because a missing file may have appeared.
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

    /// Reads the files; `None` if they change during the read.
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

    /// Uses the new snapshot, or logs once why it cannot be used.
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

/// Files that need not be read again as long as they are unchanged. By default they must be read.
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

//! The server: credentials, connections, routes, and what it tells about itself.

mod auth;
mod client;
mod client_certificate;
mod counters;
mod files;
mod last_use;
mod limits;
mod reload;
mod routes;
mod scrape;
mod self_metrics;
mod serve;
mod snapshot;
mod stamps;
mod status;
mod tls;
pub mod version;

use std::io;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

use self::auth::Authenticator;
use self::counters::Counters;
pub use self::files::FileSetError;
use self::last_use::{ClientCertificates, unix_now};
use self::reload::{Reloader, Store};
use self::routes::Site;
use self::scrape::Scraper;
use self::self_metrics::SelfMetrics;
use self::snapshot::Snapshot;
pub use self::snapshot::SnapshotError;
pub use self::tls::TlsError;
use crate::collectors::{BuildError, Registry};
use crate::flags::{Flags, ListenAddress};

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A flag of a collector is wrong.
    #[error(transparent)]
    Collectors(#[from] BuildError),
    /// The configuration cannot be used.
    #[error(transparent)]
    Configuration(#[from] SnapshotError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another with --web.listen-address")]
    Listen {
        /// As given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The system lacks something basic.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// The system has no randomness.
    #[error("cannot start: no randomness from the system: {0}")]
    Randomness(#[from] getrandom::Error),
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// Only at the start, when something needed is missing or wrong.
pub fn run(flags: &Flags) -> Result<(), RunError> {
    tracing::info!(version = version::VERSION, "Starting secure-exporter");
    let registry = Registry::new(&flags.collectors)?;
    let snapshot = first_snapshot(flags)?;
    raise_descriptor_limit();
    let runtime = runtime(flags.worker_threads)?;
    let result = runtime.block_on(serve(flags, registry, snapshot));
    // A password still being checked must not hold up the end.
    runtime.shutdown_background();
    result
}

/// Files kept open and connections may be more than the cautious limit that most processes start with; Go raises it in
/// every program.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Not being allowed to leaves what there was.
    let _ = setrlimit(Resource::Nofile, all);
}

/// One thread serves on the main one, which has a stack and memory already.
fn runtime(threads: usize) -> io::Result<Runtime> {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder
        .worker_threads(threads)
        .thread_name("serve")
        .enable_all()
        .build()
}

fn first_snapshot(flags: &Flags) -> Result<Snapshot, SnapshotError> {
    let Some(path) = &flags.config_file else {
        return Ok(Snapshot::open());
    };
    let snapshot = Snapshot::load(path)?;
    snapshot.fulfils(flags.require)?;
    if let Some(tls) = &snapshot.tls {
        let now = unix_now();
        if now < tls.leaf.not_before || now > tls.leaf.not_after {
            tracing::warn!(
                serial = tls.leaf.serial,
                "the certificate is not valid now: clients that verify will refuse it"
            );
        }
    }
    Ok(snapshot)
}

async fn serve(flags: &Flags, mut registry: Registry, snapshot: Snapshot) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;

    let (store, counters) = (Store::new(snapshot), Arc::new(Counters::default()));
    let mut about_itself = SelfMetrics::new(
        store.clone(),
        counters.clone(),
        !flags.disable_exporter_metrics,
    );
    let scraper = Scraper::start(Box::new(move |out| {
        registry.scrape(out);
        about_itself.write(out);
    }))?;
    let site = Arc::new(Site {
        store: store.clone(),
        counters: counters.clone(),
        start_time: unix_now(),
        authenticator: Authenticator::new()?,
        client_certificates: ClientCertificates::default(),
        scraper,
        rate_limiter: limits::RateLimiter::default(),
        telemetry_path: flags.telemetry_path.clone(),
        scrapes: flags
            .max_requests
            .map(|limit| (limit, Semaphore::new(limit.min(Semaphore::MAX_PERMITS)))),
    });
    let listeners = listen(&flags.listen, &store)?;
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(serve::serve(listeners, site, stopped));
    match flags.config_file.clone() {
        Some(path) => {
            let reloader = Reloader {
                path,
                require: flags.require,
                store,
                counters,
            };
            tokio::spawn(reloader.run(hangup));
        }
        // Without a file there is nothing to reload, and SIGHUP must not kill.
        None => drop(tokio::spawn(async move {
            while hangup.recv().await.is_some() {}
        })),
    }

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("Stopping");
    stop.send_replace(true);
    // It has its own deadline.
    let _ = server.await;
    Ok(())
}

fn listen(
    addresses: &[ListenAddress],
    store: &Store,
) -> Result<Vec<tokio::net::TcpListener>, RunError> {
    let snapshot = store.current();
    let mut listeners = Vec::new();
    for address in addresses {
        let shown = match address {
            ListenAddress::Any(port) => format!(":{port}"),
            ListenAddress::One(address) => address.to_string(),
        };
        let listener = serve::listen(*address).map_err(|source| RunError::Listen {
            address: shown,
            source,
        })?;
        let address = listener.local_addr()?;
        tracing::info!(%address, "Listening on");
        let state = if snapshot.tls.is_some() {
            "TLS is enabled."
        } else {
            "TLS is disabled."
        };
        tracing::info!(http2 = snapshot.tls.is_some() && snapshot.http2, %address, "{state}");
        listeners.push(listener);
    }
    Ok(listeners)
}

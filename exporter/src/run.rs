//! Starts and stops the server: initial checks, running tasks, shutdown.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use listenfd::ListenFd;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

use crate::about::self_metrics::SelfMetrics;
use crate::about::status::View;
use crate::clock::unix_now;
use crate::collect::{BuildError, HostNetwork, HostNetworkError, Settings, check_apart};
use crate::credentials::last_use::ClientCertificates;
use crate::credentials::reload::{Reloader, Store};
use crate::credentials::snapshot::{Snapshot, SnapshotError};
use crate::flags::Flags;
use crate::scrape::Registry;
use crate::scrape::scraper::Scraper;
use crate::server::auth::Authenticator;
use crate::server::counters::Counters;
use crate::server::limits::{self, RateLimiter};
use crate::server::listen::{ActivationError, Listen, ListenAddress, Listener};
use crate::server::routes::Site;
use crate::server::serve;
use crate::version;

/// Why the exporter cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A flag of a collector is invalid.
    #[error(transparent)]
    Collectors(#[from] BuildError),
    /// The host's network is not where the flags say.
    #[error(transparent)]
    Network(#[from] HostNetworkError),
    /// The configuration cannot be used.
    #[error(transparent)]
    Configuration(#[from] SnapshotError),
    /// The exporter cannot listen on an address.
    #[error("cannot listen on {address}: {source}; choose another with --web.listen-address")]
    Listen {
        /// The address as given.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// systemd passed no socket to listen on.
    #[error("--web.systemd-socket: {0}")]
    Activation(#[from] ActivationError),
    /// A basic resource of the system is missing.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// Only at the start, if something is missing or invalid.
pub fn run(flags: &Flags) -> Result<(), RunError> {
    tracing::info!(version = version::VERSION, "Starting secure-exporter");
    // This changes the environment, so no other thread may exist yet.
    let handed = ListenFd::from_env();
    let registry = Registry::new(&flags.collectors)?;
    tell_of_network(&flags.collectors)?;
    let snapshot = first_snapshot(flags)?;
    let max_connections = max_connections();
    let runtime = runtime(flags.worker_threads)?;
    let result = runtime.block_on(serve(flags, registry, snapshot, handed, max_connections));
    // A password check in progress must not delay the shutdown.
    runtime.shutdown_background();
    result
}

/// Returns the number of connections that the limit on open files allows, after raising it.
fn max_connections() -> u32 {
    let files = raise_descriptor_limit();
    let connections = limits::max_connections(files);
    if connections < limits::MAX_CONNECTIONS {
        tracing::info!(
            connections,
            open_files = files,
            "the limit on open files allows fewer connections at a time than usual"
        );
    }
    connections
}

/// Files that stay open and connections may exceed the low limit that most processes start with; Go raises it in every
/// program. Returns the limit.
fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // If this is not allowed, the present limit stays.
    let _ = setrlimit(Resource::Nofile, all);
    getrlimit(Resource::Nofile).current
}

/// One thread serves on the main thread, which already has a stack.
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

/// Logs which collectors are left out.
fn tell_of_network(settings: &Settings) -> Result<(), HostNetworkError> {
    if settings.host_network == HostNetwork::Shared {
        return Ok(());
    }
    check_apart(&settings.procfs)?;
    for (collector, source) in settings.left_out() {
        tracing::warn!(
            collector,
            "collector is left out: with {source} it would show this process's own network rather than the host's"
        );
    }
    Ok(())
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
                "the serving certificate is not valid now: clients that verify it will refuse it"
            );
        }
        tls.log_warnings();
    }
    Ok(snapshot)
}

async fn serve(
    flags: &Flags,
    mut registry: Registry,
    snapshot: Snapshot,
    handed: ListenFd,
    max_connections: u32,
) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;

    let (store, counters) = (Store::new(snapshot), Arc::new(Counters::default()));
    let mut about_itself = SelfMetrics::new(
        store.clone(),
        counters.clone(),
        !flags.disable_exporter_metrics,
    );
    let scraper = Scraper::start(Box::new(move |selection, patience, out| {
        registry.scrape_within(selection, patience, about_itself.gather(), out);
    }))?;
    let site = Arc::new(Site {
        store: store.clone(),
        counters,
        start_time: unix_now(),
        authenticator: Authenticator::new()?,
        client_certificates: ClientCertificates::default(),
        collectors: running(&flags.collectors),
        scraper,
        rate_limiter: RateLimiter::default(),
        telemetry_path: flags.telemetry_path.clone(),
        view: View::of(&flags.collectors),
        scrapes: flags
            .max_requests
            .map(|limit| (limit, Semaphore::new(limit.min(Semaphore::MAX_PERMITS)))),
    });
    let listeners = listen(&flags.listen, handed, &store)?;
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(serve::serve(listeners, max_connections, site, stopped));
    match flags.config_file.clone() {
        Some(path) => {
            let reloader = Reloader {
                path,
                require: flags.require,
                store,
            };
            tokio::spawn(reloader.run(hangup));
        }
        // Without a file there is nothing to reload, and SIGHUP must not stop the process.
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

/// The collectors that a scrape may ask for.
fn running(settings: &Settings) -> BTreeSet<&'static str> {
    let enabled = settings.enabled.iter().copied();
    enabled.filter(|name| settings.runs(name)).collect()
}

fn listen(on: &Listen, handed: ListenFd, store: &Store) -> Result<Vec<Listener>, RunError> {
    let snapshot = store.current();
    let listeners = match on {
        Listen::Addresses(addresses) => addresses
            .iter()
            .copied()
            .map(bind)
            .collect::<Result<_, _>>()?,
        Listen::SystemdSockets => Listener::all_of(handed)?,
    };
    for listener in &listeners {
        let address = listener.address();
        tracing::info!(%address, "Listening on");
        let state = if snapshot.tls.is_some() {
            "TLS is enabled."
        } else {
            "TLS is disabled."
        };
        tracing::info!(http2 = snapshot.tls.is_some() && snapshot.http2, %address, "{state}");
    }
    Ok(listeners)
}

fn bind(address: ListenAddress) -> Result<Listener, RunError> {
    Listener::bind(address).map_err(|source| RunError::Listen {
        address: match address {
            ListenAddress::Any(port) => format!(":{port}"),
            ListenAddress::One(address) => address.to_string(),
        },
        source,
    })
}

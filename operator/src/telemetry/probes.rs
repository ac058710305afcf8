//! `/livez`, `/readyz` and `/metrics` over plain HTTP. None of them contains a secret.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use parking_lot::Mutex;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::telemetry::{metrics::Metrics, passes::Passes, repeats::Repeats};

/// How long a client may take to send the head of a request.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How many connections may be open at the same time. The client is not authenticated, and each connection is a file
/// descriptor that the client for the API server cannot have.
const MAX_CONNECTIONS: usize = 64;
/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The state behind the probes.
pub struct Health {
    passes: Arc<Passes>,
    was_alive: AtomicBool,
    is_ready: AtomicBool,
    /// The watched namespaces, and whether each could be listed, as soon as that is known.
    namespaces: Mutex<BTreeMap<String, Option<bool>>>,
}

impl Health {
    /// Creates the initial state: alive, but not ready until each of `namespaces` has been listed or refused.
    pub fn new(passes: Arc<Passes>, namespaces: impl IntoIterator<Item = String>) -> Self {
        let namespaces = namespaces.into_iter().map(|name| (name, None));
        Self {
            passes,
            was_alive: AtomicBool::new(true),
            is_ready: AtomicBool::new(false),
            namespaces: Mutex::new(namespaces.collect()),
        }
    }

    /// Records whether a namespace could be listed. One that could not does not make the operator unready, because it serves
    /// the others; but it must serve at least one. An operator that was ready stays ready: it continues with what it
    /// knows, and its metrics are needed most when something fails.
    pub fn answered(&self, namespace: &str, is_listed: bool) {
        let mut namespaces = self.namespaces.lock();
        namespaces.insert(namespace.to_owned(), Some(is_listed));
        let are_all_known = namespaces.values().all(Option::is_some);
        if are_all_known && namespaces.values().any(|listed| *listed == Some(true)) {
            self.is_ready.store(true, Ordering::Relaxed);
        }
    }

    /// Returns why the operator is not ready.
    fn unready(&self) -> Option<String> {
        if self.is_ready.load(Ordering::Relaxed) {
            return None;
        }
        let namespaces = self.namespaces.lock();
        let names = |listed: Option<bool>| {
            let matching = namespaces.iter().filter(|(_, it)| **it == listed);
            let names: Vec<&str> = matching.map(|(name, _)| name.as_str()).collect();
            names.join(", ")
        };
        Some(if namespaces.values().any(Option::is_none) {
            format!(
                "waiting for the CustomResourceDefinition and the first list of SecureExporters in: {}\n",
                names(None)
            )
        } else {
            format!(
                "the API server refuses to list SecureExporters in: {}\n",
                names(Some(false))
            )
        })
    }
}

/// Serves for as long as the process runs.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(%address, "serving /livez, /readyz and /metrics");
    accept(listener, router(health, metrics)).await;
    Ok(())
}

/// Serves each connection in its own task, so that a panic ends only that connection. `axum::serve` would do, but it
/// sets no timeout and has no limit, and a client that sends nothing would keep its connection forever.
async fn accept(listener: TcpListener, router: Router) {
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT);
    let (mut connections, repeats) = (Connections::default(), Repeats::default());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = builder.serve_connection(TokioIo::new(stream), service.clone());
                // A client may close its connection at any time.
                connections.push(tokio::spawn(async { drop(connection.await) }));
            }
            Err(error) => {
                if repeats.is_new(&error.to_string()) {
                    tracing::warn!(%error, "cannot accept a connection to /livez, /readyz and /metrics; retrying");
                }
                // Perhaps all file descriptors are in use.
                connections.close_oldest();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The open connections, the oldest first. A new one displaces the oldest if there are too many: a client that holds
/// connections open cannot lock out the kubelet's probes, which are answered at once.
#[derive(Default)]
struct Connections(VecDeque<JoinHandle<()>>);

impl Connections {
    fn push(&mut self, connection: JoinHandle<()>) {
        self.0.retain(|connection| !connection.is_finished());
        if self.0.len() >= MAX_CONNECTIONS {
            self.close_oldest();
        }
        self.0.push_back(connection);
    }

    fn close_oldest(&mut self) {
        if let Some(oldest) = self.0.pop_front() {
            oldest.abort();
        }
    }
}

fn router(health: Arc<Health>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(health)
        .route("/metrics", get(exposition))
        .with_state(metrics)
        .fallback(async || (StatusCode::NOT_FOUND, "not found\n"))
}

async fn livez(State(health): State<Arc<Health>>) -> (StatusCode, String) {
    let overdue = health.passes.overdue(Instant::now());
    let was_alive = health.was_alive.swap(overdue.is_none(), Ordering::Relaxed);
    let Some(overdue) = overdue else {
        return (StatusCode::OK, "ok\n".to_owned());
    };
    if was_alive {
        tracing::error!(%overdue, "/livez fails, because the operator is stuck; the kubelet will restart it");
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{overdue}\n"))
}

async fn readyz(State(health): State<Arc<Health>>) -> (StatusCode, String) {
    match health.unready() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

async fn exposition(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], metrics.text())
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;
    use crate::names::Owner;

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let request = format!("GET {path} HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("reads");
        answer
    }

    async fn bound(router: Router) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        tokio::spawn(accept(listener, router));
        address
    }

    fn passes() -> Arc<Passes> {
        Arc::new(Passes::new(1))
    }

    fn health() -> Arc<Health> {
        Arc::new(Health::new(passes(), ["monitoring".to_owned()]))
    }

    #[tokio::test]
    async fn each_path_has_its_answer_and_content_type() {
        let health = health();
        let address = bound(router(health.clone(), Arc::default())).await;
        for (path, status, content_type) in [
            ("/livez", "200", "text/plain; charset=utf-8"),
            ("/readyz", "503", "text/plain; charset=utf-8"),
            (
                "/metrics",
                "200",
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            ),
            ("/", "404", "text/plain; charset=utf-8"),
        ] {
            let answer = ask(address, path).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
            let header = format!("content-type: {content_type}\r\n");
            assert!(answer.contains(&header), "{answer}");
        }
        health.answered("monitoring", true);
        assert!(ask(address, "/readyz").await.ends_with("\r\n\r\nok\n"));
    }

    #[tokio::test]
    async fn a_panic_ends_one_connection_only() {
        async fn panics() {
            panic!("boom");
        }
        let router = router(health(), Arc::default()).route("/panic", get(panics));
        let address = bound(router).await;
        assert_eq!(ask(address, "/panic").await, "");
        assert!(ask(address, "/livez").await.ends_with("ok\n"));
    }

    #[test]
    fn a_refused_namespace_does_not_make_the_operator_unready() {
        let names = || ["gone", "kept", "slow"].map(str::to_owned);
        let health = Health::new(passes(), names());
        health.answered("gone", false);
        health.answered("kept", true);
        let why = health.unready().expect("one has not answered");
        assert!(why.ends_with("in: slow\n"), "{why}");
        health.answered("slow", true);
        assert_eq!(health.unready(), None);
        for name in names() {
            health.answered(&name, false);
        }
        assert_eq!(health.unready(), None, "readiness was lost");

        let health = Health::new(passes(), names());
        for name in names() {
            health.answered(&name, false);
        }
        let why = health.unready().expect("none can be served");
        assert!(why.ends_with("in: gone, kept, slow\n"), "{why}");
        health.answered("kept", true);
        assert_eq!(health.unready(), None);
    }

    #[tokio::test]
    async fn livez_fails_only_while_a_pass_is_overdue() {
        let passes = passes();
        let address = bound(router(
            Arc::new(Health::new(passes.clone(), [])),
            Arc::default(),
        ))
        .await;
        let owner = Owner::nodes();
        passes.begin(&owner).end(Some(Duration::from_secs(600)));
        assert!(ask(address, "/livez").await.starts_with("HTTP/1.1 200 "));
        let long_ago = Instant::now() - Duration::from_secs(200);
        passes.began(&owner, long_ago);
        let answer = ask(address, "/livez").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(
            answer.contains("monitoring/nodes has not ended"),
            "{answer}"
        );
        passes.begin(&owner).end(None);
        assert!(ask(address, "/livez").await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn clients_that_hold_connections_open_do_not_lock_others_out() {
        let address = bound(router(health(), Arc::default())).await;
        let mut held = Vec::new();
        for _ in 0..3 * MAX_CONNECTIONS {
            held.push(TcpStream::connect(address).await.expect("connects"));
        }
        assert!(ask(address, "/livez").await.ends_with("ok\n"));
        let mut closed = 0;
        for stream in &mut held {
            let mut byte = [0];
            let read = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut byte));
            closed += usize::from(read.await.is_ok());
        }
        assert!(closed > MAX_CONNECTIONS, "only {closed} were closed");
    }
}

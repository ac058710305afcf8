//! `/livez`, `/readyz` and `/metrics` over plain HTTP. None of them contains a secret.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
    serve::Listener,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use jiff::Timestamp;
use tokio::net::TcpListener;

use crate::{clock::Clock, telemetry::metrics::Metrics};

/// Watches are re-established every five minutes even if nothing happens, so an API client without an answer for three
/// times as long is dead.
const MAX_SILENCE_SECONDS: i64 = 900;
/// How long a client may take to send the head of a request.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The state behind the probes.
pub struct Health {
    ready: AtomicBool,
    last_answer: AtomicI64,
    clock: Arc<dyn Clock>,
}

impl Health {
    /// Creates the initial state: alive, but not ready.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            ready: AtomicBool::new(false),
            last_answer: AtomicI64::new(clock.now().as_second()),
            clock,
        }
    }

    /// Marks the operator as ready: the CRD is installed, and everything was listed once.
    pub fn ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Records an answer of the API server.
    pub fn answered(&self) {
        self.last_answer
            .store(self.clock.now().as_second(), Ordering::Relaxed);
    }

    fn is_alive(&self, now: Timestamp) -> bool {
        now.as_second() - self.last_answer.load(Ordering::Relaxed) < MAX_SILENCE_SECONDS
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

/// Serves each connection in a task of its own, so that a panic ends only that connection. `axum::serve` would do, but it
/// sets no timeout, and a client that sends nothing would keep its connection forever.
async fn accept(mut listener: TcpListener, router: Router) {
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT);
    loop {
        // axum's: it logs an error, such as too many open files, and tries again after a second.
        let (stream, _) = Listener::accept(&mut listener).await;
        let connection = builder.serve_connection(TokioIo::new(stream), service.clone());
        // A client that breaks off is no concern of ours.
        tokio::spawn(async { drop(connection.await) });
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

async fn livez(State(health): State<Arc<Health>>) -> (StatusCode, &'static str) {
    if health.is_alive(health.clock.now()) {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the API server has not answered for 15 minutes\n",
        )
    }
}

async fn readyz(State(health): State<Arc<Health>>) -> (StatusCode, &'static str) {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "waiting for the CustomResourceDefinition and the first list\n",
        )
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
    use crate::clock::SystemClock;

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

    fn health() -> Arc<Health> {
        Arc::new(Health::new(Arc::new(SystemClock::default())))
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
        health.ready();
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
}

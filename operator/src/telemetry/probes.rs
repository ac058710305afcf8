//! `/livez`, `/readyz` and `/metrics`, over plain HTTP: none of them says anything secret.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::net::TcpListener;

use crate::{clock::Clock, telemetry::metrics::Metrics};

/// A watch is re-established every five minutes even where nothing happens, so an API client that has not been
/// answered for three times as long is dead.
const LONGEST_SILENCE_SECONDS: i64 = 900;

/// What the probes ask.
pub struct Health {
    ready: AtomicBool,
    last_answer: AtomicI64,
    clock: Arc<dyn Clock>,
}

impl Health {
    /// Not ready, and alive.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            ready: AtomicBool::new(false),
            last_answer: AtomicI64::new(clock.now().as_second()),
            clock,
        }
    }

    /// The CRD is there, and everything was listed once.
    pub fn ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// The API server answered a request.
    pub fn answered(&self) {
        self.last_answer
            .store(self.clock.now().as_second(), Ordering::Relaxed);
    }

    fn is_alive(&self, now: Timestamp) -> bool {
        now.as_second() - self.last_answer.load(Ordering::Relaxed) < LONGEST_SILENCE_SECONDS
    }
}

/// Serves until the listener fails.
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
    loop {
        let (stream, _) = listener.accept().await?;
        let (health, metrics) = (health.clone(), metrics.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &health, &metrics);
                async move { Ok::<_, Infallible>(answer) }
            });
            // A client that breaks off is no concern of ours.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(std::time::Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer(
    request: &Request<Incoming>,
    health: &Health,
    metrics: &Metrics,
) -> Response<Full<Bytes>> {
    let (status, kind, text) = match request.uri().path() {
        "/livez" if health.is_alive(health.clock.now()) => {
            (StatusCode::OK, PLAIN, "ok\n".to_owned())
        }
        "/livez" => (
            StatusCode::SERVICE_UNAVAILABLE,
            PLAIN,
            "the API server has not answered for a quarter of an hour\n".to_owned(),
        ),
        "/readyz" if health.ready.load(Ordering::Relaxed) => {
            (StatusCode::OK, PLAIN, "ok\n".to_owned())
        }
        "/readyz" => (
            StatusCode::SERVICE_UNAVAILABLE,
            PLAIN,
            "waiting for the CustomResourceDefinition and the first list\n".to_owned(),
        ),
        "/metrics" => (
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            metrics.text(),
        ),
        _ => (StatusCode::NOT_FOUND, PLAIN, "not found\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(kind),
    );
    response
}

const PLAIN: &str = "text/plain; charset=utf-8";

//! An API server that answers as a test tells it to.

use std::sync::Arc;

use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::Request as HttpRequest,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use kube::{Client, Config};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// The code of an answer that never comes.
pub(crate) const NEVER: u16 = 0;

/// The API server. It ends with the test's runtime.
pub(crate) struct FakeApi {
    /// A client for it.
    pub(crate) client: Client,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// A request that it received.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The method, or `APPLY` and `JSON-PATCH` for these two kinds of PATCH.
    pub(crate) verb: String,
    /// The path, without the query.
    pub(crate) path: String,
    /// The body; null if it has none.
    pub(crate) body: Value,
}

impl FakeApi {
    /// Starts it. `answer` returns the status and the body of each answer.
    pub(crate) async fn start(
        answer: impl FnMut(&Request) -> (u16, Value) + Send + 'static,
    ) -> Self {
        // The only possible error is that a provider is already installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (log, answer) = (requests.clone(), Arc::new(Mutex::new(answer)));
        let router = Router::new().fallback(move |request: HttpRequest| {
            let (log, answer) = (log.clone(), answer.clone());
            async move {
                let request = read(request).await;
                let (code, body) = (*answer.lock())(&request);
                log.lock().push(request);
                if code == NEVER {
                    return std::future::pending().await;
                }
                respond(code, &body)
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut config = Config::new(address.parse().unwrap());
        // As the operator's own client.
        config.default_retry = false;
        let client = Client::try_from(config).unwrap();
        Self { client, requests }
    }

    /// The requests for an object whose path ends like this, in their order.
    pub(crate) fn verbs(&self, end: &str) -> Vec<String> {
        let requests = self.requests.lock();
        let matching = requests.iter().filter(|it| it.path.ends_with(end));
        matching.map(|it| it.verb.clone()).collect()
    }

    /// The bodies of the requests for an object whose path ends like this, in their order.
    pub(crate) fn bodies(&self, end: &str) -> Vec<Value> {
        let requests = self.requests.lock();
        let matching = requests.iter().filter(|it| it.path.ends_with(end));
        matching.map(|it| it.body.clone()).collect()
    }

    /// Returns all requests since the last call, in their order.
    pub(crate) fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock())
    }
}

/// The body of a refusal, as the API server writes it. `causes` are reasons and fields.
pub(crate) fn refusal(code: u16, reason: &str, causes: &[(&str, &str)]) -> (u16, Value) {
    let causes: Vec<Value> = causes
        .iter()
        .map(|(reason, field)| json!({"reason": reason, "field": field, "message": "no"}))
        .collect();
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": format!("{reason}!"), "details": {"causes": causes}});
    (code, body)
}

async fn read(request: HttpRequest) -> Request {
    let content_type = request.headers().get(CONTENT_TYPE);
    let content_type = content_type.map_or("", |value| value.to_str().unwrap());
    let verb = match content_type {
        "application/apply-patch+yaml" => "APPLY".to_owned(),
        "application/json-patch+json" => "JSON-PATCH".to_owned(),
        _ => request.method().to_string(),
    };
    let path = request.uri().path().to_owned();
    let bytes: Bytes = to_bytes(request.into_body(), usize::MAX).await.unwrap();
    let body = serde_json::from_slice(&bytes).unwrap_or_default();
    Request { verb, path, body }
}

fn respond(code: u16, body: &Value) -> Response {
    let code = StatusCode::from_u16(code).unwrap();
    (code, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

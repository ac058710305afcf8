//! Routes, and who may use them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST,
    LOCATION, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::{Body as _, Bytes};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::activity::Admitted;
use super::auth::{Authenticator, Verdict};
use super::client::{Client, Outdated};
use super::counters::Counters;
use super::limits::{RateLimiter, SCRAPE};
use super::paths;
use crate::about::status::{Status, View};
use crate::clock::unix_now;
use crate::credentials::client_certificate::Standing;
use crate::credentials::last_use::ClientCertificates;
use crate::credentials::reload::Store;
use crate::credentials::snapshot::Snapshot;
use crate::exposition::encoding::Encoding;
use crate::scrape::Selection;
use crate::scrape::scraper::Scraper;
use crate::version;

/// Available to everyone, and only says that the process answers.
const HEALTHY: &str = "/-/healthy";
/// What is served and which credentials are in use, for programs that rotate them.
const STATUS: &str = "/-/status";
/// Exactly the headers of node_exporter, so that byte-wise comparisons work.
const EXPOSITION: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=UTF-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) type Answer = Response<Full<Bytes>>;

/// Everything needed to answer requests; one instance per process.
pub(crate) struct Site {
    pub(crate) store: Store,
    pub(crate) counters: Arc<Counters>,
    /// When the process started to serve, in seconds since the epoch.
    pub(crate) start_time: i64,
    pub(crate) authenticator: Authenticator,
    pub(crate) client_certificates: ClientCertificates,
    /// The running collectors.
    pub(crate) collectors: BTreeSet<&'static str>,
    pub(crate) scraper: Scraper,
    pub(crate) rate_limiter: RateLimiter,
    pub(crate) telemetry_path: String,
    pub(crate) view: View,
    pub(crate) scrapes: Option<(usize, Semaphore)>,
}

impl Site {
    pub(super) async fn answer<B>(
        &self,
        client: &Client,
        request: &Request<B>,
    ) -> Result<Answer, Outdated> {
        let mut snapshot = self.store.current();
        let problem = host_problem(request);
        let mut answer = if let Some(problem) = problem {
            bad_request(problem)
        } else if request.uri().path() == HEALTHY {
            text(StatusCode::OK, "Healthy\n".into())
        } else {
            let admission = self.admit(client, &mut snapshot, request.headers());
            match admission.await? {
                Ok(_admitted) => self.route(&snapshot, request).await,
                Err(refusal) => refusal,
            }
        };
        for (name, value) in &snapshot.headers {
            answer.headers_mut().insert(name.clone(), value.clone());
        }
        if request.method() == Method::HEAD {
            answer = without_body(answer);
        }
        // HTTP/2 uses GOAWAY for this.
        let is_last = problem.is_some() || !Arc::ptr_eq(&client.began_with, &snapshot);
        if is_last && request.version() < Version::HTTP_2 {
            answer
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
            client.activity.leave();
        }
        Ok(answer)
    }

    /// Accepts a request, or returns the refusal. A configuration that is loaded while its password is checked is applied
    /// as well, and stored in `snapshot`.
    async fn admit(
        &self,
        client: &Client,
        snapshot: &mut Arc<Snapshot>,
        headers: &HeaderMap,
    ) -> Result<Result<Admitted, Answer>, Outdated> {
        if !self.rate_limiter.admit(snapshot.rate_limit, Instant::now()) {
            return Ok(Err(text(
                StatusCode::TOO_MANY_REQUESTS,
                "Too Many Requests\n".into(),
            )));
        }
        let verdict = loop {
            let standing = client.standing(snapshot)?;
            if let Some(refusal) = refusal(standing) {
                self.counters.certificate_judged(standing);
                client.activity.refuse();
                return Ok(Err(refusal));
            }
            let verdict = match &snapshot.users {
                None => None,
                Some(_) => Some(self.judge_password(client, headers).await),
            };
            let newest = self.store.current();
            if Arc::ptr_eq(snapshot, &newest) {
                break verdict;
            }
            *snapshot = newest;
        };
        if let Some(verdict) = verdict {
            self.counters.authenticated(verdict);
        }
        match verdict {
            None | Some(Verdict::Accepted) => {}
            Some(Verdict::Missing | Verdict::Refused) => {
                client.activity.refuse();
                return Ok(Err(unauthorized()));
            }
            Some(Verdict::Busy) => {
                return Ok(Err(text(
                    StatusCode::TOO_MANY_REQUESTS,
                    "Too many passwords are being checked.\n".into(),
                )));
            }
        }
        if let Some(certificate) = &client.presented.usage {
            certificate.used(unix_now());
        }
        let is_authenticated = verdict.is_some() || client.presented.usage.is_some();
        Ok(Ok(client.activity.admit(is_authenticated)))
    }

    async fn judge_password(&self, client: &Client, headers: &HeaderMap) -> Verdict {
        let store = self.store.clone();
        let newest = move || store.current().users.clone();
        self.authenticator
            .check(newest, headers.get(AUTHORIZATION), client.address.into())
            .await
    }

    async fn route<B>(&self, snapshot: &Snapshot, request: &Request<B>) -> Answer {
        match request.uri().path() {
            path if paths::is(path, &self.telemetry_path) => self.metrics(request).await,
            "/" => self.landing_page(),
            STATUS => self.status(snapshot),
            path => match paths::cleaned(path) {
                Some(clean) => redirect(clean, request.uri().query()),
                None => text(StatusCode::NOT_FOUND, "404 page not found\n".into()),
            },
        }
    }

    async fn metrics<B>(&self, request: &Request<B>) -> Answer {
        let query = request.uri().query().unwrap_or_default();
        let selection = match Selection::from_query(query, &self.collectors) {
            Ok(selection) => selection,
            Err(error) => return text(StatusCode::BAD_REQUEST, error.to_string()),
        };
        let _permit = match &self.scrapes {
            None => None,
            Some((limit, scrapes)) => match scrapes.try_acquire() {
                Ok(permit) => Some(permit),
                Err(_) => {
                    let reason = format!(
                        "Limit of concurrent requests reached ({limit}), try again later.\n"
                    );
                    return text(StatusCode::SERVICE_UNAVAILABLE, reason);
                }
            },
        };
        let encoding = Encoding::negotiate(request.headers());
        let timeout = scrape_timeout(request.headers());
        let scrape = self.scraper.scrape(selection, encoding, patience(timeout));
        let body = match tokio::time::timeout(timeout, scrape).await {
            Ok(Some(body)) => body,
            Ok(None) => {
                return text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "The collectors have stopped.\n".into(),
                );
            }
            Err(_) => {
                return text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "The collectors took too long.\n".into(),
                );
            }
        };
        let mut answer = Response::new(Full::new(body));
        answer.headers_mut().insert(CONTENT_TYPE, EXPOSITION);
        if let Some(name) = encoding.content_encoding() {
            answer
                .headers_mut()
                .insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        answer
    }

    fn status(&self, snapshot: &Snapshot) -> Answer {
        let clients = &self.client_certificates;
        let status = Status::of(snapshot, clients, self.start_time, &self.view);
        let mut answer = Response::new(Full::new(Bytes::from(status.to_json())));
        answer.headers_mut().insert(CONTENT_TYPE, JSON);
        answer
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }

    fn landing_page(&self) -> Answer {
        let page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"UTF-8\"><title>Node Exporter</title></head>\n\
             <body>\n<h1>Node Exporter</h1>\n<h2>secure-exporter: Prometheus Node Exporter, encrypted</h2>\n\
             <div>Version: {}</div>\n<ul><li><a href=\"{path}\">{path}</a></li></ul>\n</body>\n</html>\n",
            version::short(),
            path = self.telemetry_path,
        );
        let mut answer = Response::new(Full::new(Bytes::from(page)));
        answer.headers_mut().insert(CONTENT_TYPE, HTML);
        answer
    }
}

/// hyper leaves out the body only for HTTP/1.1; over HTTP/2 it would be sent and break the stream.
fn without_body(answer: Answer) -> Answer {
    let (mut head, body) = answer.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(head, Full::default())
}

/// Refuses a client because of its certificate.
fn refusal(standing: Standing) -> Option<Answer> {
    let reason = match standing {
        Standing::Fine => return None,
        Standing::CertificateMissing => "A client certificate is required.\n",
        Standing::NotTrusted => "The client certificate is no longer trusted.\n",
        Standing::NameNotAllowed => "The client certificate has no allowed name.\n",
    };
    Some(text(StatusCode::FORBIDDEN, reason.into()))
}

/// RFC 9112, section 3.2. The messages are those of Go's servers.
fn host_problem<B>(request: &Request<B>) -> Option<&'static str> {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (request.version(), hosts.next(), hosts.next()) {
        (_, _, Some(_)) => Some("too many Host headers"),
        (Version::HTTP_11, None, None) => Some("missing required Host header"),
        _ => None,
    }
}

fn bad_request(problem: &str) -> Answer {
    text(
        StatusCode::BAD_REQUEST,
        format!("400 Bad Request: {problem}"),
    )
}

fn unauthorized() -> Answer {
    let mut answer = text(StatusCode::UNAUTHORIZED, "Unauthorized\n".into());
    answer
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
    answer
}

fn text(status: StatusCode, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, PLAIN);
    answer
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// The response to a path that is not clean, with node_exporter's status.
fn redirect(mut location: String, query: Option<&str>) -> Answer {
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    let Ok(location) = HeaderValue::try_from(location) else {
        return text(StatusCode::NOT_FOUND, "404 page not found\n".into());
    };
    let mut answer = text(
        StatusCode::TEMPORARY_REDIRECT,
        "Temporary Redirect\n".into(),
    );
    answer.headers_mut().insert(LOCATION, location);
    answer
}

/// Prometheus sends its timeout; waiting longer is useless.
fn scrape_timeout(headers: &HeaderMap) -> Duration {
    headers
        .get("x-prometheus-scrape-timeout-seconds")
        .and_then(|value| value.to_str().ok()?.parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|timeout| !timeout.is_zero())
        .map_or(SCRAPE, |timeout| timeout.min(SCRAPE))
}

/// For collectors that hang. The remaining time must suffice for the others and for the response, without losing collectors
/// of a host that is merely busy when the scraper has a short timeout.
fn patience(timeout: Duration) -> Duration {
    timeout.mul_f64(0.7).max(Duration::from_millis(700))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_of_prometheus_is_used() {
        let timeout = |value| {
            scrape_timeout(&HeaderMap::from_iter([(
                http::HeaderName::from_static("x-prometheus-scrape-timeout-seconds"),
                HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(timeout("2.5"), Duration::from_millis(2500));
        assert_eq!(patience(timeout("10")), Duration::from_secs(7));
        assert_eq!(patience(timeout("0.1")), Duration::from_millis(700));
        for odd in ["0", "-1", "NaN", "1e30", "x"] {
            assert_eq!(timeout(odd), SCRAPE, "{odd}");
        }
    }
}

//! One connection from its first to its last byte, without a socket, for fuzzing and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secure_exporter_web_config::{BcryptHash, UserHashes};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::timeout;

use super::activity::Activity;
use super::auth::{Authenticator, Users};
use super::client::{Client, Presented};
use super::counters::Counters;
use super::limits::RateLimiter;
use super::routes::Site;
use super::serve;
use crate::about::status::View;
use crate::collect::Settings;
use crate::credentials::last_use::ClientCertificates;
use crate::credentials::reload::Store;
use crate::credentials::snapshot::Snapshot;
use crate::scrape::scraper::Scraper;

/// The text that requires [`AUTHORIZATION`].
pub const SECRET: &str = "node_secret 1\n";

/// The value of an `Authorization` header that is accepted.
pub static AUTHORIZATION: LazyLock<String> =
    LazyLock::new(|| format!("Basic {}", BASE64.encode("prometheus:a password of tests")));

/// Returns the server's response to `bytes` from a client that disconnects when nothing has arrived for `patience`. Two
/// things differ from a real server: the metrics are [`SECRET`], and there is no TLS.
///
/// # Panics
/// The system has no random numbers or cannot start a thread.
#[must_use]
pub fn converse(bytes: &[u8], http2: bool, patience: Duration) -> Vec<u8> {
    #[allow(clippy::expect_used)]
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(answer(bytes, http2, patience))
}

async fn answer(bytes: &[u8], http2: bool, patience: Duration) -> Vec<u8> {
    let site = SITE.clone();
    let (client, server) = tokio::io::duplex(1 << 20);
    let (_stop, stopped) = watch::channel(false);
    let unauthenticated = Client {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        presented: Presented::nothing(),
        began_with: site.store.current(),
        activity: Activity::new(),
    };
    let connection = serve::http(server, http2, unauthenticated, site, stopped);
    let (mut read, mut write) = tokio::io::split(client);
    let talk = async {
        // A client that is disconnected early cannot send everything.
        let _ = write.write_all(bytes).await;
        let mut answer = Vec::new();
        while let Ok(Ok(1..)) = timeout(patience, read.read_buf(&mut answer)).await {}
        let _ = write.shutdown().await;
        let _ = read.read_to_end(&mut answer).await;
        answer
    };
    let ((), answer) = tokio::join!(connection, talk);
    answer
}

static SITE: LazyLock<Arc<Site>> = LazyLock::new(|| Arc::new(site()));

#[allow(clippy::expect_used)]
fn site() -> Site {
    let hash = bcrypt::hash("a password of tests", 4).expect("a hash");
    let hash = BcryptHash::parse(&hash).expect("a hash of the right form");
    let users = BTreeMap::from([(
        "prometheus".to_owned(),
        UserHashes::new(vec![hash]).expect("one hash"),
    )]);
    let snapshot = Snapshot {
        users: Users::new(&users).map(Arc::new),
        ..Snapshot::open()
    };
    Site {
        store: Store::new(snapshot),
        counters: Arc::new(Counters::default()),
        start_time: 0,
        authenticator: Authenticator::new().expect("randomness"),
        client_certificates: ClientCertificates::default(),
        collectors: BTreeSet::from(["time"]),
        scraper: Scraper::start(Box::new(|_, _, out| {
            out.extend_from_slice(SECRET.as_bytes());
        }))
        .expect("a thread"),
        rate_limiter: RateLimiter::default(),
        telemetry_path: "/metrics".to_owned(),
        view: View::of(&Settings::default()),
        scrapes: None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(path: &str, headers: &str) -> String {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        let answer = converse(request.as_bytes(), false, Duration::from_secs(10));
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[test]
    fn the_right_header_alone_shows_metrics() {
        let right = format!("Authorization: {}\r\n", *AUTHORIZATION);
        assert!(ask("/metrics", &right).contains(SECRET));
        assert!(!ask("/metrics", "").contains(SECRET));
    }

    proptest! {
        #[test]
        fn no_other_header_does(value in "(Basic |basic |Bearer |)[ -~]{0,60}") {
            prop_assume!(value != *AUTHORIZATION);
            let answer = ask("/metrics", &format!("Authorization: {value}\r\n"));
            prop_assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        }

        #[test]
        fn bytes_of_unauthenticated_clients_are_answered_or_dropped(
            head in "(GET|POST|[A-Z]{1,9}) (/metrics|/-/status|/|[!-~]{0,30}) HTTP/1.[01]\r\n([!-9;-~]{1,20}: ?[ -~]{0,40}\r\n){0,4}",
            rest in proptest::collection::vec(any::<u8>(), 0..200),
            http2 in any::<bool>(),
        ) {
            let answer = converse(&[head.as_bytes(), &rest].concat(), http2, Duration::from_millis(1));
            prop_assert!(!String::from_utf8_lossy(&answer).contains(SECRET));
        }
    }
}

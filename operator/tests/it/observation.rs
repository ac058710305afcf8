//! How the generated objects are read.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
};
use kube::{Client, Config};
use secure_exporter_operator::observe::{children::Child, observe, pods::Pods};
use tokio::{net::TcpListener, sync::Barrier, time::timeout};

use crate::{fake_api::refusal, render_children::owner};

/// The generated objects.
const OBJECTS: usize = 9;

/// An API server that has no object, and answers only when it has been asked for all of them.
async fn answers_all_together() -> Client {
    let all_asked = Arc::new(Barrier::new(OBJECTS));
    let router = Router::new().fallback(move || {
        let all_asked = all_asked.clone();
        async move {
            all_asked.wait().await;
            let (_, body) = refusal(404, "NotFound", &[]);
            let content_type = [(CONTENT_TYPE, "application/json")];
            (StatusCode::NOT_FOUND, content_type, body.to_string())
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Client::try_from(Config::new(address.parse().unwrap())).unwrap()
}

#[tokio::test]
async fn no_read_waits_for_another_so_that_a_slow_api_server_does_not_use_up_the_pass() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = answers_all_together().await;
    let (pods, owner) = (Pods::default(), owner());
    let observed = timeout(
        Duration::from_secs(20),
        observe(&client, &pods, &owner, false),
    );
    let observed = observed.await.expect("they are read at the same time");
    assert!(matches!(observed.state, Child::Absent));
    assert!(matches!(observed.daemon_set, Child::Absent));
}

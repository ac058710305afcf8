//! The operator asks an exporter with the credentials of the scrapers, and with no others.

use std::{net::SocketAddr, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use secure_exporter_operator::{
    names::Owner,
    observe::probe::{Question, ask},
    rotation::{
        annotations::Requests,
        carry_out::carry_out,
        decide,
        evidence::{Exporter, Heard, Standing},
        situation::Situation,
        state::State,
        timing::Timers,
    },
    spec::ValidSpec,
    supplied::{certificate::Supply, credentials::SuppliedCredentials},
};
use secure_exporter_pki::inspect::certificates;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

const STATUS: &str = r#"{"startTime":100,"time":160,"credentials":[]}"#;

/// What the exporter received.
#[derive(Debug, PartialEq)]
struct Shown {
    certificate: bool,
    password: bool,
}

fn spec_and_state(methods: &[&str]) -> (ValidSpec, State) {
    let owner = Owner {
        name: "nodes".into(),
        namespace: "monitoring".into(),
        uid: "u".into(),
    };
    let spec = json!({"authentication": {"methods": methods, "basicAuth": {"bcryptCost": 4}}});
    let spec = ValidSpec::parse(&serde_json::from_value(spec).unwrap(), &owner).unwrap();
    let requests = Requests::default();
    let now = Timestamp::now();
    let situation = Situation {
        own: &SuppliedCredentials::default(),
        spec: &spec,
        requests: &requests,
        supply: &Supply::Managed,
        uid: "u",
        published: true,
        heard: &Heard::nobody(),
        timers: &Timers::default(),
        now,
        clock_jumped: false,
        watched_since: Timestamp::MIN,
    };
    let steps = decide::decide(None, &situation).unwrap();
    let state = carry_out(&steps, None, &spec, &owner, now).unwrap();
    (spec, state)
}

/// An exporter that answers one request, and records the credentials.
async fn exporter(state: &State, status: &'static str) -> (SocketAddr, JoinHandle<Shown>) {
    let mut roots = RootCertStore::empty();
    for authority in state.authorities.values() {
        roots.add_parsable_certificates(certificates(&authority.certificate_pem).unwrap());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            certificates(&state.leaf.certificate_pem).unwrap(),
            PrivateKeyDer::from_pem_slice(state.leaf.key_pem.expose().as_bytes()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut stream = acceptor.accept(stream).await.unwrap();
        let certificate = stream.get_ref().1.peer_certificates().is_some();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap().to_lowercase();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{STATUS}",
            STATUS.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        Shown {
            certificate,
            password: request.contains("authorization: basic "),
        }
    });
    (address, served)
}

#[tokio::test]
async fn the_operator_uses_the_credentials_of_the_scrapers() {
    for (methods, certificate, password) in [
        (&["BasicAuth"][..], false, true),
        (&["ClientCertificate"], true, false),
        (&["BasicAuth", "ClientCertificate"], true, true),
    ] {
        let (spec, state) = spec_and_state(methods);
        let (address, served) = exporter(&state, "200 OK").await;
        let question = Question::new(&state, &spec, Timestamp::now()).unwrap();
        let answer = ask(address, &question).await.unwrap();
        assert_eq!(answer.uptime.as_secs(), 60);
        assert!(answer.verified_by.contains(&1));
        assert!(answer.accepted.is_some());
        let expected = Shown {
            certificate,
            password,
        };
        assert_eq!(served.await.unwrap(), expected, "{methods:?}");
    }
}

#[tokio::test]
async fn an_exporter_that_refuses_the_password_is_not_verified() {
    let (spec, state) = spec_and_state(&["BasicAuth"]);
    let (address, _served) = exporter(&state, "401 Unauthorized").await;
    let question = Question::new(&state, &spec, Timestamp::now()).unwrap();
    let answer = ask(address, &question).await.unwrap();
    assert!(answer.verified_by.contains(&1));
    assert_eq!(answer.accepted, None);
    let serial_number = answer.serial_number.clone();
    let exporter = Exporter {
        node: "a".into(),
        ready: true,
        answer: Some(answer),
        silent_for: SignedDuration::ZERO,
    };
    assert_eq!(exporter.standing(&serial_number), Standing::Refusing);
}

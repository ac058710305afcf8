//! Asks one exporter: `GET /-/status` over a connection that is verified before any password is sent, with the credentials
//! of the scrapers: the client certificate, the password, or both.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    rotation::{evidence::Answer, state::State},
    spec::ValidSpec,
};
use secure_exporter_pki::{
    inspect::{InspectError, certificates, serial_number, verify_chain},
    secret_text::SecretText,
};

/// A longer answer is not one of our exporters.
const LONGEST_ANSWER: usize = 64 * 1024;

/// The credentials for asking the exporters of one resource.
pub struct Question {
    server_name: String,
    connector: TlsConnector,
    authorities: BTreeMap<u64, Vec<CertificateDer<'static>>>,
    /// `None` if basic authentication is not required.
    authorization: Option<SecretText>,
    now: Timestamp,
    /// The next password. It is tried once the exporter reports that it accepts it.
    candidate: Option<(String, SecretText)>,
}

/// Why an exporter did not answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It cannot be reached, or its certificate cannot be verified.
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    /// It closed the connection before its response.
    #[error("no HTTP response: {0}")]
    Http(#[from] hyper::Error),
    /// It responded with an unexpected status code.
    #[error("unexpected HTTP status {0}")]
    Status(StatusCode),
    /// Its response cannot be parsed.
    #[error("cannot parse the response: {0}")]
    Malformed(String),
    /// The exporter's certificate cannot be parsed.
    #[error(transparent)]
    Certificate(#[from] InspectError),
}

impl Question {
    /// Prepares the question for the exporters of `state`.
    ///
    /// # Errors
    /// A CA, the server name or the client certificate cannot be used.
    pub fn new(state: &State, spec: &ValidSpec, now: Timestamp) -> Result<Self, InspectError> {
        let mut authorities = BTreeMap::new();
        let mut roots = RootCertStore::empty();
        for (generation, authority) in &state.authorities {
            let chain = certificates(&authority.certificate_pem)?;
            roots.add_parsable_certificates(chain.clone());
            authorities.insert(*generation, chain);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let refused = |error: rustls::Error| InspectError::Refused(error.to_string());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(refused)?
            .with_root_certificates(roots);
        let client = state.client.as_ref();
        let mut config = match client.filter(|_| spec.methods.ask_certificate()) {
            Some(client) => {
                let chain = certificates(&client.certificate_pem)?;
                let key = PrivateKeyDer::from_pem_slice(client.key_pem.expose().as_bytes());
                let key = key.map_err(|_| InspectError::NoKey)?;
                config.with_client_auth_cert(chain, key).map_err(refused)?
            }
            None => config.with_no_client_auth(),
        };
        // A resumed session would show the certificate of the session that it resumes, and not the one that is served now.
        config.resumption = Resumption::disabled();
        let text = |generation: &u64| state.passwords.get(generation)?.password.as_ref();
        let active = text(&state.active_password).map_or("", SecretText::expose);
        let username = &spec.username;
        let newest = state.passwords.last_key_value();
        let candidate = newest
            .filter(|(generation, _)| **generation != state.active_password)
            .and_then(|(generation, newest)| {
                Some((newest.id()?, basic(username, text(generation)?.expose())))
            });
        Ok(Self {
            server_name: spec.server_name.clone(),
            connector: TlsConnector::from(Arc::new(config)),
            authorities,
            authorization: spec.methods.ask_password().then(|| basic(username, active)),
            candidate,
            now,
        })
    }
}

/// Asks one exporter.
///
/// # Errors
/// [`AskError`]. Refused credentials are an answer without [`Answer::accepted`]: the certificate was verified before.
pub async fn ask(address: SocketAddr, question: &Question) -> Result<Answer, AskError> {
    let name = ServerName::try_from(question.server_name.clone())
        .map_err(|_| InspectError::BadServerName(question.server_name.clone()))?;
    let stream = TcpStream::connect(address).await?;
    let stream = question.connector.connect(name, stream).await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let chain: Vec<CertificateDer<'static>> =
        chain.iter().map(|one| one.clone().into_owned()).collect();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await?;
    let serve = tokio::spawn(connection);
    let said = converse(&mut sender, question).await;
    serve.abort();
    let said = said?;
    Ok(Answer {
        serial_number: serial_number(&chain)?,
        verified_by: verified_by(&chain, question),
        uptime: said.as_ref().map_or(SignedDuration::ZERO, Said::uptime),
        accepted: said.map(Said::accepted),
    })
}

type Sender = hyper::client::conn::http1::SendRequest<Empty<Bytes>>;

/// Returns `None` if the credentials are refused. The next password is only tried if the exporter reports that it accepts it,
/// because a refusal would count as an attack. The attempt makes the exporter cache it before the first scraper uses it.
async fn converse(sender: &mut Sender, question: &Question) -> Result<Option<Said>, AskError> {
    let known = question.authorization.as_ref();
    let Some(said) = request(sender, &question.server_name, known).await? else {
        return Ok(None);
    };
    let Some((id, candidate)) = &question.candidate else {
        return Ok(Some(said));
    };
    if !said.credentials.iter().any(|one| one.id == *id) {
        return Ok(Some(said));
    }
    let tried = request(sender, &question.server_name, Some(candidate)).await?;
    Ok(Some(match tried {
        Some(again) => again,
        None => Said {
            credentials: said
                .credentials
                .into_iter()
                .filter(|one| one.id != *id)
                .collect(),
            ..said
        },
    }))
}

async fn request(
    sender: &mut Sender,
    host: &str,
    authorization: Option<&SecretText>,
) -> Result<Option<Said>, AskError> {
    let mut request = Request::get("/-/status").header(header::HOST, host);
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization.expose());
    }
    let request = request
        .body(Empty::new())
        .map_err(|error| AskError::Malformed(error.to_string()))?;
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER)
        .collect()
        .await
        .map_err(|error| AskError::Malformed(error.to_string()))?
        .to_bytes();
    match status {
        StatusCode::OK => serde_json::from_slice(&body)
            .map(Some)
            .map_err(|error| AskError::Malformed(error.to_string())),
        StatusCode::UNAUTHORIZED => Ok(None),
        other => Err(AskError::Status(other)),
    }
}

fn verified_by(chain: &[CertificateDer<'static>], question: &Question) -> BTreeSet<u64> {
    question
        .authorities
        .iter()
        .filter(|(_, roots)| {
            verify_chain(chain, roots, &question.server_name, question.now).is_ok()
        })
        .map(|(generation, _)| *generation)
        .collect()
}

fn basic(username: &str, password: &str) -> SecretText {
    let pair = zeroize::Zeroizing::new(format!("{username}:{password}"));
    SecretText::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
}

/// The fields of `/-/status` that the operator uses. Times are those of the exporter's clock, so only differences are used.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    start_time: i64,
    time: i64,
    credentials: Vec<Credential>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credential {
    id: String,
    last_used: Option<i64>,
}

impl Said {
    fn uptime(&self) -> SignedDuration {
        SignedDuration::from_secs(self.time.saturating_sub(self.start_time))
    }

    fn accepted(self) -> BTreeMap<String, Option<SignedDuration>> {
        let now = self.time;
        let ago = |then: i64| SignedDuration::from_secs(now.saturating_sub(then).max(0));
        self.credentials
            .into_iter()
            .map(|one| (one.id, one.last_used.map(ago)))
            .collect()
    }
}

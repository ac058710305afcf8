//! The client of a connection, and how a configuration judges it that may be newer than the connection.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{HandshakeKind, ServerConnection};
use secure_exporter_pki::Certificate;

use super::activity::Activity;
use crate::clock::unix_now;
use crate::credentials::client_certificate::{ClientPolicy, Standing};
use crate::credentials::last_use::{CertificateUse, ClientCertificates};
use crate::credentials::snapshot::Snapshot;

/// What is known about the connection of a request.
pub(super) struct Client {
    pub(super) address: IpAddr,
    pub(super) presented: Presented,
    /// The snapshot with which the connection was opened.
    pub(super) began_with: Arc<Snapshot>,
    pub(super) activity: Arc<Activity>,
}

/// The certificates that a client presented, and how they were judged when its connection was opened.
pub(super) struct Presented {
    chain: Option<Vec<CertificateDer<'static>>>,
    standing: Standing,
    /// The first expiry among the verified certificates, in seconds since the epoch. After it they are verified again for
    /// every request.
    expires: Option<i64>,
    /// The use of the verified client certificate.
    pub(super) usage: Option<Arc<CertificateUse>>,
}

/// The client was accepted when it connected and no longer is, because the configuration has changed or its certificate has
/// expired. The connection is closed without a response, because a refusal could be wrong: a client that connects again is
/// judged by its present certificate and the present configuration.
#[derive(Debug, thiserror::Error)]
#[error("the connection was opened with a configuration or certificate that is no longer valid")]
pub(super) struct Outdated;

impl Client {
    /// Judges the client by `snapshot`, which may be newer than the connection.
    pub(super) fn standing(&self, snapshot: &Arc<Snapshot>) -> Result<Standing, Outdated> {
        let has_expired = self.presented.expires.is_some_and(|end| end < unix_now());
        if Arc::ptr_eq(&self.began_with, snapshot) && !has_expired {
            return Ok(self.presented.standing);
        }
        let chain = self.presented.chain.as_deref();
        let standing = snapshot.tls.as_ref().map_or(Standing::Fine, |tls| {
            tls.clients.verify_and_judge(chain, UnixTime::now())
        });
        match standing {
            Standing::Fine => Ok(Standing::Fine),
            _ => Err(Outdated),
        }
    }
}

impl Presented {
    /// For a connection without TLS.
    pub(super) fn nothing() -> Self {
        Self {
            chain: None,
            standing: Standing::Fine,
            expires: None,
            usage: None,
        }
    }

    /// Returns the certificates of a handshake that has just ended.
    pub(super) fn in_session(
        session: &ServerConnection,
        policy: &ClientPolicy,
        known: &ClientCertificates,
    ) -> Self {
        let chain = session.peer_certificates();
        // A resumed session has the certificates of the original session, which may have expired in the meantime.
        let standing = match session.handshake_kind() {
            Some(HandshakeKind::Resumed) => policy.verify_and_judge(chain, UnixTime::now()),
            _ => policy.judge(chain),
        };
        let verified = chain.filter(|_| policy.verifies());
        Self {
            expires: verified.and_then(|chain| chain.iter().filter_map(|one| end(one)).min()),
            usage: verified.and_then(<[_]>::first).map(|leaf| known.of(leaf)),
            chain: chain.map(|chain| chain.iter().map(|one| one.clone().into_owned()).collect()),
            standing,
        }
    }
}

/// In seconds since the epoch; `None` if the certificate cannot be read.
fn end(der: &[u8]) -> Option<i64> {
    Some(Certificate::parse(der).ok()?.not_after())
}

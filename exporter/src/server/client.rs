//! Whom a connection belongs to, and how it stands under a configuration that may have come later.

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

/// What is known of the connection that a request came by.
pub(super) struct Client {
    pub(super) address: IpAddr,
    pub(super) presented: Presented,
    /// The snapshot that the connection began with.
    pub(super) began_with: Arc<Snapshot>,
    pub(super) activity: Arc<Activity>,
}

/// The certificates that a client presented, and how it stood with them when its connection began.
pub(super) struct Presented {
    chain: Option<Vec<CertificateDer<'static>>>,
    standing: Standing,
    /// The end of the first of the certificates that were verified, in seconds since 1970. From then on they are verified
    /// again for every request.
    expires: Option<i64>,
    /// Of the verified leaf.
    pub(super) usage: Option<Arc<CertificateUse>>,
}

/// The client stood well when it connected, and does not any more: the configuration has changed, or its certificate has
/// expired. Its connection ends without an answer: a client that dials again is judged by the present configuration and
/// certificate, and a refusal would be one of somebody who may be welcome.
#[derive(Debug, thiserror::Error)]
#[error("the connection was opened with a configuration or certificate that is no longer valid")]
pub(super) struct Outdated;

impl Client {
    /// How the client stands now under `snapshot`, which may have come after the connection.
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
    /// Of a connection without TLS.
    pub(super) fn nothing() -> Self {
        Self {
            chain: None,
            standing: Standing::Fine,
            expires: None,
            usage: None,
        }
    }

    /// What a handshake that has just ended brought.
    pub(super) fn in_session(
        session: &ServerConnection,
        policy: &ClientPolicy,
        known: &ClientCertificates,
    ) -> Self {
        let chain = session.peer_certificates();
        // A resumed session brings the certificates of the one it resumes, which may have expired meanwhile.
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

/// In seconds since 1970; `None` where the certificate cannot be read.
fn end(der: &[u8]) -> Option<i64> {
    Some(Certificate::parse(der).ok()?.not_after())
}

//! Whom a connection belongs to, and how it stands under a configuration that may have come later.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{HandshakeKind, ServerConnection};

use super::limits::Activity;
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
    /// Of the verified leaf.
    pub(super) usage: Option<Arc<CertificateUse>>,
}

/// The client stood well when it connected, and does not any more. Its connection ends without an answer: a client that
/// dials again is judged by the present configuration, and a refusal would be one of somebody who may be welcome.
#[derive(Debug, thiserror::Error)]
#[error("the connection began under a configuration whose clients are not admitted any more")]
pub(super) struct Outdated;

impl Client {
    /// How the client stands under `snapshot`, which may have come after the connection.
    pub(super) fn standing(&self, snapshot: &Arc<Snapshot>) -> Result<Standing, Outdated> {
        if Arc::ptr_eq(&self.began_with, snapshot) {
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
        let leaf = chain.and_then(<[_]>::first);
        Self {
            usage: leaf
                .filter(|_| policy.verifies())
                .map(|leaf| known.of(leaf)),
            chain: chain.map(|chain| chain.iter().map(|one| one.clone().into_owned()).collect()),
            standing,
        }
    }
}

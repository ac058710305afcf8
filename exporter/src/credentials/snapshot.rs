//! A consistent state of everything that the configuration determines.

use std::path::Path;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use secure_exporter_web_config::{ClientAuthType, RateLimit, WebConfig};

use super::files::{self, FileSet, FileSetError};
use super::stamps::Stamps;
use super::tls::{self, Tls, TlsError};
use crate::server::auth::Users;

/// The state in use, until it is replaced by the next snapshot.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Number of the snapshot; each process counts from 1.
    pub(crate) number: u64,
    /// `None` serves plain HTTP.
    pub(crate) tls: Option<Tls>,
    /// `None` disables password authentication.
    pub(crate) users: Option<Arc<Users>>,
    /// Headers of every response.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) http2: bool,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) protections: Protections,
    pub(crate) fingerprint: [u8; 32],
    /// Fingerprint of the files from which it was created.
    pub(crate) stamps: Stamps,
}

/// Why a snapshot cannot be created or used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The files cannot be read or understood.
    #[error(transparent)]
    Files(#[from] FileSetError),
    /// The certificate, the key or the CA bundle cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// `--web.require` demands something that the configuration lacks.
    #[error("--web.require demands {what}, which the configuration lacks: add {fix} to it")]
    Required {
        /// The key that is missing.
        what: &'static str,
        /// What to add to the configuration.
        fix: &'static str,
    },
    /// A protection was removed.
    #[error(
        "{0} was removed from the configuration: protection can only be turned off by a restart; add it again"
    )]
    Vanished(&'static str),
}

/// What a web configuration must provide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Require {
    /// `tls_server_config`
    pub tls: bool,
    /// `basic_auth_users`, or a required and verified client certificate.
    pub auth: bool,
}

/// The protections that a configuration specifies explicitly. Only their presence is compared, so that their content can be
/// changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Protections {
    tls: bool,
    users: bool,
    client_auth: bool,
    client_sans: bool,
    /// No client without a verified certificate is answered, which is as strong as a password.
    client_required: bool,
    /// The configuration explicitly disables client certificates; their allowed names are then not missed.
    no_client_auth: bool,
}

impl Snapshot {
    /// Serves plain HTTP without authentication, as node_exporter does without a configuration file.
    pub(crate) fn open() -> Self {
        Self {
            number: 1,
            tls: None,
            users: None,
            headers: Vec::new(),
            http2: false,
            rate_limit: None,
            protections: Protections::default(),
            fingerprint: [0; 32],
            stamps: Stamps::default(),
        }
    }

    /// Reads and checks the configuration and its files. Blocks.
    pub(crate) fn load(path: &Path) -> Result<Self, SnapshotError> {
        Self::of(&files::read(path)?)
    }

    /// Builds the snapshot of a set of files.
    pub(super) fn of(set: &FileSet) -> Result<Self, SnapshotError> {
        let config = &set.config;
        let http2 = config
            .http_server_config
            .as_ref()
            .and_then(|http| http.http2)
            .unwrap_or(true);
        let tls = match (&config.tls_server_config, &set.certificate, &set.key) {
            (Some(tls), Some(certificate), Some(key)) => Some(tls::build(
                tls,
                certificate,
                key,
                set.client_ca.as_ref(),
                http2,
            )?),
            _ => None,
        };
        Ok(Self {
            number: 1,
            tls,
            users: Users::new(&config.basic_auth_users).map(Arc::new),
            headers: headers(config),
            http2,
            rate_limit: config.rate_limit,
            protections: Protections::of(config),
            fingerprint: set.fingerprint,
            stamps: set.stamps.clone(),
        })
    }

    /// Checks whether this snapshot may be used when the exporter starts.
    pub(crate) fn fulfils(&self, require: Require) -> Result<(), SnapshotError> {
        match (require, self.protections) {
            (Require { tls: true, .. }, Protections { tls: false, .. }) => {
                Err(SnapshotError::Required {
                    what: "tls_server_config",
                    fix: "tls_server_config",
                })
            }
            (
                Require { auth: true, .. },
                Protections {
                    users: false,
                    client_required: false,
                    ..
                },
            ) => Err(SnapshotError::Required {
                what: "basic_auth_users",
                fix: "basic_auth_users, or client_auth_type: RequireAndVerifyClientCert,",
            }),
            _ => Ok(()),
        }
    }

    /// Takes the next number after `served`, and keeps what is known about the credentials that both accept.
    pub(crate) fn follow(&mut self, served: &Self) {
        self.number = served.number + 1;
        if let (Some(users), Some(before)) = (&mut self.users, &served.users) {
            Arc::make_mut(users).continue_uses(before);
        }
    }

    /// Checks whether this snapshot may replace `served`.
    pub(crate) fn may_replace(&self, served: Protections) -> Result<(), SnapshotError> {
        self.protections
            .vanished_from(served)
            .map_or(Ok(()), |name| Err(SnapshotError::Vanished(name)))
    }
}

impl Protections {
    fn of(config: &WebConfig) -> Self {
        let tls = config.tls_server_config.as_ref();
        let client_auth = tls.and_then(|tls| tls.client_auth_type);
        Self {
            tls: tls.is_some(),
            users: !config.basic_auth_users.is_empty(),
            client_auth: client_auth.is_some(),
            client_sans: tls.is_some_and(|tls| tls.client_allowed_sans.is_some()),
            client_required: client_auth == Some(ClientAuthType::RequireAndVerifyClientCert),
            no_client_auth: client_auth == Some(ClientAuthType::NoClientCert),
        }
    }

    fn vanished_from(self, before: Self) -> Option<&'static str> {
        let all = [
            (before.tls, self.tls, "tls_server_config"),
            (before.users, self.users, "basic_auth_users"),
            (
                before.client_auth,
                self.client_auth,
                "tls_server_config.client_auth_type",
            ),
            (
                before.client_sans,
                self.client_sans || self.no_client_auth,
                "tls_server_config.client_allowed_sans",
            ),
        ];
        all.into_iter()
            .find(|(before, now, _)| *before && !now)
            .map(|(_, _, name)| name)
    }
}

fn headers(config: &WebConfig) -> Vec<(HeaderName, HeaderValue)> {
    let configured = config
        .http_server_config
        .iter()
        .flat_map(|http| &http.headers);
    configured
        .filter_map(|(name, value)| {
            Some((
                name.as_str().parse::<HeaderName>().ok()?,
                HeaderValue::from_str(value).ok()?,
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protections(text: &str) -> Protections {
        Protections::of(&WebConfig::parse(text).unwrap())
    }

    #[test]
    fn a_required_certificate_is_authentication_and_any_other_is_not() {
        let asked = |kind: &str| {
            let text = format!(
                "tls_server_config:\n  cert_file: a\n  key_file: b\n  client_ca_file: c\n  client_auth_type: {kind}\n"
            );
            let snapshot = Snapshot {
                protections: protections(&text),
                ..Snapshot::open()
            };
            snapshot.fulfils(Require {
                tls: true,
                auth: true,
            })
        };
        asked("RequireAndVerifyClientCert").unwrap();
        for kind in [
            "VerifyClientCertIfGiven",
            "RequireAnyClientCert",
            "RequestClientCert",
        ] {
            let refused = asked(kind).unwrap_err().to_string();
            assert!(refused.contains("--web.require"), "{kind}: {refused}");
        }
    }

    #[test]
    fn only_explicit_protections_can_be_changed() {
        const TLS: &str = "tls_server_config:\n  cert_file: a\n  key_file: b\n";
        let mutual =
            format!("{TLS}  client_ca_file: c\n  client_auth_type: RequireAndVerifyClientCert\n");
        let named = format!("{mutual}  client_allowed_sans: [x]\n");
        let none = format!("{TLS}  client_auth_type: NoClientCert\n");
        let cases = [
            (TLS, "", Some("tls_server_config")),
            ("", TLS, None),
            (&mutual, TLS, Some("tls_server_config.client_auth_type")),
            (&mutual, &none, None),
            (
                &named,
                &mutual,
                Some("tls_server_config.client_allowed_sans"),
            ),
            (&named, &none, None),
            (&none, &mutual, None),
        ];
        for (before, after, expected) in &cases {
            assert_eq!(
                protections(after).vanished_from(protections(before)),
                *expected,
                "{before} {after}"
            );
        }
    }
}

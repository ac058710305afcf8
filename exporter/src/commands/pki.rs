//! A host's own certificate authority, and the certificate that it signs for the exporter.
//!
//! The authority is what makes a renewal no matter of Prometheus': that verifies by the authority's certificate, which
//! stays for ten years while the exporter's is replaced every year.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secure_exporter_pki::{
    AlternativeName, BACKDATING, Certificate, InspectError, IssueError, Serial, certify_host,
    issue_host_authority,
};

pub(super) use secure_exporter_pki::secret_text::SecretText;
pub(super) use secure_exporter_pki::{Host, HostParameters, IssuedPair, KeyType};

/// The parameters of an issued certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Issued {
    pub(super) parameters: HostParameters,
    /// Seconds since the epoch.
    pub(super) not_after: i64,
}

/// Why a certificate cannot be issued or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum PkiError {
    #[error(
        "{0:?} is neither an IP address nor the name of one host: write the host of the scrape URL, without https:// and port"
    )]
    Host(String),
    #[error(
        "the CA in {authority} has expired or does not match its key ({reason}): create a new one with \
         `web-config init --overwrite`, and copy the new ca.crt to Prometheus"
    )]
    Authority { authority: String, reason: String },
    #[error("{file}: no PEM certificate found")]
    NoCertificate { file: String },
    #[error(
        "the certificate contains no host name by which it could be verified: create a new one with `web-config init --overwrite`"
    )]
    NoHost,
    #[error(transparent)]
    Issue(IssueError),
}

/// Parses a host name or an IP address.
pub(super) fn host(text: &str) -> Result<Host, PkiError> {
    text.parse().map_err(|_| PkiError::Host(text.to_owned()))
}

/// Parses the type of a key on the command line.
pub(super) fn key_type() -> impl TypedValueParser<Value = KeyType> {
    PossibleValuesParser::new(KeyType::ALL.map(KeyType::name))
        .try_map(|name| KeyType::from_name(&name).ok_or("unknown type of key"))
}

/// Creates the CA of a host.
pub(super) fn authority(hosts: &[Host], now: i64) -> Result<IssuedPair, PkiError> {
    Serial::random()
        .and_then(|serial| issue_host_authority(hosts, time(now)?, serial))
        .map_err(|error| explained(error, "ca.crt"))
}

/// Generates a private key, in PEM. RSA takes up to several seconds.
pub(super) fn key(kind: KeyType) -> Result<SecretText, PkiError> {
    kind.generate_pem().map_err(PkiError::Issue)
}

/// Signs a certificate for the exporter's key, and verifies it as a scraper does. The certificate never outlives its CA.
/// `origin` names the CA in errors.
pub(super) fn leaf(
    parameters: &HostParameters,
    key: &SecretText,
    authority: &IssuedPair,
    origin: &str,
    now: i64,
) -> Result<String, PkiError> {
    Serial::random()
        .and_then(|serial| certify_host(parameters, key, authority, time(now)?, serial))
        .map_err(|error| explained(error, origin))
}

/// Returns the parameters of the first certificate of a PEM text. `origin` names it in errors.
pub(super) fn read(pem: &str, origin: &str) -> Result<Issued, PkiError> {
    let wrong = || PkiError::NoCertificate {
        file: origin.to_owned(),
    };
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| wrong())?;
    let certificate = Certificate::parse(&der).map_err(|_| wrong())?;
    let names = certificate.alternative_names().unwrap_or_default();
    let hosts = names
        .into_iter()
        .filter_map(|name| match name {
            AlternativeName::Host(host) => Some(host),
            AlternativeName::Email(_) | AlternativeName::Uri(_) => None,
        })
        .collect();
    let not_after = certificate.not_after();
    let whole = SignedDuration::from_secs(not_after.saturating_sub(certificate.not_before()));
    Ok(Issued {
        parameters: HostParameters {
            hosts,
            duration: whole.saturating_sub(BACKDATING).max(SignedDuration::ZERO),
        },
        not_after,
    })
}

impl Issued {
    /// Whether the last third of its lifetime has begun.
    pub(super) fn is_due(&self, now: i64) -> bool {
        now >= self
            .not_after
            .saturating_sub(self.parameters.duration.as_secs() / 3)
    }
}

fn time(seconds: i64) -> Result<Timestamp, IssueError> {
    Timestamp::from_second(seconds).map_err(|_| IssueError::OutOfTime)
}

/// Adds the file and the fix to an error. `origin` names the CA.
fn explained(error: IssueError, origin: &str) -> PkiError {
    let unusable = |reason: String| PkiError::Authority {
        authority: origin.to_owned(),
        reason,
    };
    match error {
        IssueError::Authority(InspectError::NoCertificate | InspectError::Damaged(_)) => {
            PkiError::NoCertificate {
                file: origin.to_owned(),
            }
        }
        IssueError::Authority(InspectError::Refused(reason)) => unusable(reason),
        IssueError::Authority(problem) => unusable(problem.to_string()),
        IssueError::AuthorityExpired(at) => unusable(format!("it expired at {at}")),
        IssueError::NoHost => PkiError::NoHost,
        other => PkiError::Issue(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_500_000;

    fn parameters() -> HostParameters {
        HostParameters {
            hosts: ["web1.example.org", "10.0.0.7", "fd00::7"]
                .map(|text| host(text).unwrap())
                .into(),
            duration: SignedDuration::from_hours(8760),
        }
    }

    #[test]
    fn a_certificate_is_read_as_it_was_issued() {
        let authority = authority(&parameters().hosts, NOW).unwrap();
        let key = key(KeyType::EcdsaP256).unwrap();
        let pem = leaf(&parameters(), &key, &authority, "ca.crt", NOW).unwrap();
        let issued = read(&pem, "tls.crt").unwrap();
        assert_eq!(issued.parameters, parameters());
        assert_eq!(issued.not_after, NOW + 31_536_000);
    }

    #[test]
    fn it_is_due_when_the_last_third_of_its_life_begins() {
        let issued = Issued {
            parameters: parameters(),
            not_after: NOW + 31_536_000,
        };
        assert!(!issued.is_due(NOW + 21_023_999));
        assert!(issued.is_due(NOW + 21_024_000));
    }

    #[test]
    fn an_authority_that_no_scraper_would_accept_signs_nothing() {
        let (ours, other) = (
            authority(&parameters().hosts, NOW).unwrap(),
            authority(&parameters().hosts, NOW).unwrap(),
        );
        let key = key(KeyType::EcdsaP256).unwrap();
        let mixed = IssuedPair {
            certificate_pem: ours.certificate_pem.clone(),
            key_pem: other.key_pem,
        };
        let late = NOW + 87_600 * 3600 + 1;
        for (authority, now) in [(&mixed, NOW), (&ours, late)] {
            let error = leaf(&parameters(), &key, authority, "ca.crt", now).unwrap_err();
            assert!(error.to_string().contains("ca.crt"), "{error}");
        }
        // It never outlives its authority.
        let pem = leaf(&parameters(), &key, &ours, "ca.crt", late - 3600).unwrap();
        assert_eq!(read(&pem, "tls.crt").unwrap().not_after, late - 1);
    }
}

//! A host's own certificate authority, and the certificate that it signs for the exporter.
//!
//! The authority is what makes a renewal no matter of Prometheus': that verifies by the authority's certificate, which
//! stays for ten years while the exporter's is replaced every year.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, RsaKeySize, SanType, SerialNumber,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
use zeroize::Zeroizing;

/// Ten years, as the operator's authorities: Prometheus holds a copy which nobody renews for it.
const AUTHORITY_LIFE: Duration = Duration::from_hours(87_600);
/// How far in the past a certificate begins, for clients whose clock is slow.
const BACKDATING: Duration = Duration::from_hours(1);
/// Of a common name, in characters (X.520, `ub-common-name`); OpenSSL refuses longer ones.
const MAX_COMMON_NAME: usize = 64;

/// A name or address by which clients reach the exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Name(String),
    Address(IpAddr),
}

/// The kind of a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum KeyType {
    EcdsaP256,
    EcdsaP384,
    #[value(name = "rsa-2048")]
    Rsa2048,
    #[value(name = "rsa-3072")]
    Rsa3072,
    #[value(name = "rsa-4096")]
    Rsa4096,
    #[value(name = "ed25519")]
    Ed25519,
}

/// What an exporter's certificate is issued for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    /// At least one.
    pub(super) hosts: Vec<Host>,
    /// From its making to its end.
    pub(super) life: Duration,
}

/// A certificate in PEM with its private key.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: Zeroizing<String>,
}

/// What an issued certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Issued {
    pub(super) terms: Terms,
    /// Seconds since 1970.
    pub(super) not_after: i64,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum PkiError {
    #[error(
        "{0:?} is neither an IP address nor the name of one host: write what follows https:// in a scrape's URL, without the port"
    )]
    Host(String),
    #[error(
        "the certificate authority in {authority} has ended or does not fit its key ({reason}): make a new one with \
         `web-config init --overwrite`, and give Prometheus the new ca.crt"
    )]
    Authority { authority: String, reason: String },
    #[error("{file}: {problem}")]
    Content { file: String, problem: &'static str },
    #[error(
        "the certificate names no host by which it could be verified: make one with `web-config init --overwrite`"
    )]
    NoHost,
    #[error("no randomness from the system: {0}")]
    Randomness(String),
    #[error("a certificate cannot be valid until a time so far away")]
    OutOfTime,
    #[error("the certificate could not be made: {0}")]
    Library(#[from] rcgen::Error),
}

impl Host {
    /// Reads a name or an address.
    pub(super) fn parse(text: &str) -> Result<Self, PkiError> {
        match ServerName::try_from(text) {
            Ok(ServerName::DnsName(name)) => Ok(Self::Name(name.as_ref().to_owned())),
            Ok(ServerName::IpAddress(_)) => text
                .parse()
                .map(Self::Address)
                .map_err(|_| PkiError::Host(text.to_owned())),
            _ => Err(PkiError::Host(text.to_owned())),
        }
    }

    /// As a host in a URL and a target.
    pub(super) fn in_url(&self) -> String {
        match self {
            Self::Address(IpAddr::V6(address)) => format!("[{address}]"),
            other => other.to_string(),
        }
    }

    fn san(&self) -> Result<SanType, PkiError> {
        Ok(match self {
            Self::Name(name) => SanType::DnsName(Ia5String::try_from(name.as_str())?),
            Self::Address(address) => SanType::IpAddress(*address),
        })
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl KeyType {
    /// A new private key, in PEM. RSA takes up to seconds.
    pub(super) fn generate(self) -> Result<Zeroizing<String>, PkiError> {
        let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
        let key = match self {
            Self::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Self::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            Self::Rsa2048 => rsa(RsaKeySize::_2048),
            Self::Rsa3072 => rsa(RsaKeySize::_3072),
            Self::Rsa4096 => rsa(RsaKeySize::_4096),
            Self::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        }?;
        Ok(Zeroizing::new(unix_lines(&key.serialize_pem())))
    }
}

/// Makes the authority of a host. Of what it signs a scraper believes only these hosts, so that a Prometheus that trusts the
/// authorities of many gives none of them power over another.
pub(super) fn authority(hosts: &[Host], now: i64) -> Result<Pair, PkiError> {
    let first = hosts.first().ok_or(PkiError::NoHost)?;
    let key = KeyType::EcdsaP256.generate()?;
    let mut params = params(&format!("secure-exporter CA of {first}"))?;
    params.name_constraints = Some(only(hosts));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = validity(now, AUTHORITY_LIFE)?;
    let certificate = params.self_signed(&KeyPair::from_pem(&key)?)?;
    Ok(Pair {
        certificate: unix_lines(&certificate.pem()),
        key,
    })
}

/// Signs a certificate for the exporter's key, and verifies it as a scraper does. It ends with its authority at the latest.
/// `origin` names the authority in errors.
pub(super) fn leaf(
    terms: &Terms,
    key: &str,
    authority: &Pair,
    origin: &str,
    now: i64,
) -> Result<String, PkiError> {
    let unusable = |reason: String| PkiError::Authority {
        authority: origin.to_owned(),
        reason,
    };
    let first = terms.hosts.first().ok_or(PkiError::NoHost)?;
    let mut params = params(&first.to_string())?;
    params.subject_alt_names = terms
        .hosts
        .iter()
        .map(Host::san)
        .collect::<Result<_, _>>()?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = validity(now, terms.life)?;
    let end = read(&authority.certificate, origin)?.not_after;
    params.not_after = params.not_after.min(at(end)?);

    let signer = KeyPair::from_pem(&authority.key).map_err(|error| unusable(error.to_string()))?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, signer)
        .map_err(|error| unusable(error.to_string()))?;
    let signed = params.signed_by(&KeyPair::from_pem(key)?, &issuer)?;
    for host in &terms.hosts {
        verify(signed.der(), &authority.certificate, host, now).map_err(unusable)?;
    }
    Ok(unix_lines(&signed.pem()))
}

/// What the first certificate of a PEM text was issued for. `origin` names it in errors.
pub(super) fn read(pem: &str, origin: &str) -> Result<Issued, PkiError> {
    let wrong = || PkiError::Content {
        file: origin.to_owned(),
        problem: "no certificate in PEM here",
    };
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| wrong())?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| wrong())?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let hosts = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(Host::Name((*name).to_owned())),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
                v4.or(v6).ok().map(Host::Address)
            }
            _ => None,
        })
        .collect();
    let validity = certificate.validity();
    let not_after = validity.not_after.timestamp();
    let seconds = not_after.saturating_sub(validity.not_before.timestamp());
    let whole = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Ok(Issued {
        terms: Terms {
            hosts,
            life: whole.saturating_sub(BACKDATING),
        },
        not_after,
    })
}

impl Issued {
    /// Whether the last third of its life has begun.
    pub(super) fn is_due(&self, now: i64) -> bool {
        let third = i64::try_from(self.terms.life.as_secs() / 3).unwrap_or(i64::MAX);
        now >= self.not_after.saturating_sub(third)
    }
}

/// A kind of name of which there is none is shut out as a whole; else it would be free.
fn only(hosts: &[Host]) -> NameConstraints {
    let permitted_subtrees: Vec<GeneralSubtree> = hosts
        .iter()
        .map(|host| match host {
            Host::Name(name) => GeneralSubtree::DnsName(name.clone()),
            Host::Address(address) => GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(
                *address,
                if address.is_ipv4() { 32 } else { 128 },
            )),
        })
        .collect();
    let mut excluded_subtrees = Vec::new();
    if !hosts.iter().any(|host| matches!(host, Host::Name(_))) {
        excluded_subtrees.push(GeneralSubtree::DnsName(String::new()));
    }
    if !hosts.iter().any(|host| matches!(host, Host::Address(_))) {
        let all = [
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Ipv6Addr::UNSPECIFIED.into(),
        ];
        excluded_subtrees.extend(
            all.map(|address| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, 0))),
        );
    }
    NameConstraints {
        permitted_subtrees,
        excluded_subtrees,
    }
}

fn params(common_name: &str) -> Result<CertificateParams, PkiError> {
    let mut serial = [0_u8; 16];
    getrandom::fill(&mut serial).map_err(|error| PkiError::Randomness(error.to_string()))?;
    if let Some(first) = serial.first_mut() {
        // Positive and of full length, as RFC 5280 wants it.
        *first = (*first & 0x7f) | 0x40;
    }
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    let common_name: String = common_name.chars().take(MAX_COMMON_NAME).collect();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    Ok(params)
}

fn validity(now: i64, life: Duration) -> Result<(OffsetDateTime, OffsetDateTime), PkiError> {
    let begin = at(now)?.checked_sub(BACKDATING.try_into().map_err(|_| PkiError::OutOfTime)?);
    let end = at(now)?.checked_add(life.try_into().map_err(|_| PkiError::OutOfTime)?);
    begin.zip(end).ok_or(PkiError::OutOfTime)
}

fn at(seconds: i64) -> Result<OffsetDateTime, PkiError> {
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| PkiError::OutOfTime)
}

fn verify(
    leaf: &CertificateDer<'_>,
    authority_pem: &str,
    host: &Host,
    now: i64,
) -> Result<(), String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let mut roots = RootCertStore::empty();
    let authority =
        CertificateDer::from_pem_slice(authority_pem.as_bytes()).map_err(|error| said(&error))?;
    roots.add(authority).map_err(|error| said(&error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| said(&error))?;
    let name = ServerName::try_from(host.to_string()).map_err(|error| said(&error))?;
    let now = Duration::from_secs(u64::try_from(now).unwrap_or(0));
    verifier
        .verify_server_cert(leaf, &[], &name, &[], UnixTime::since_unix_epoch(now))
        .map(|_| ())
        .map_err(|error| said(&error))
}

/// rcgen ends lines as MIME does; every other PEM file of a host ends them as Unix does.
fn unix_lines(pem: &str) -> String {
    pem.replace("\r\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_500_000;
    const YEAR: Duration = Duration::from_hours(8760);

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    fn terms() -> Terms {
        Terms {
            hosts: ["web1.example.org", "10.0.0.7", "fd00::7"].map(host).into(),
            life: YEAR,
        }
    }

    #[test]
    fn names_and_addresses_of_one_host_each() {
        assert_eq!(host("web1"), Host::Name("web1".into()));
        assert_eq!(host("::1"), Host::Address("::1".parse().unwrap()));
        assert_eq!(host("::1").in_url(), "[::1]");
        for text in [
            "",
            "*.example.org",
            "web1:9100",
            "https://web1",
            "[::1]",
            "a b",
        ] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_kind_of_key_gives_a_certificate_that_a_scraper_accepts() {
        let authority = authority(&terms().hosts, NOW).unwrap();
        for kind in KeyType::value_variants() {
            let key = kind.generate().unwrap();
            let pem = leaf(&terms(), &key, &authority, "ca.crt", NOW).unwrap();
            let issued = read(&pem, "tls.crt").unwrap();
            assert_eq!(issued.terms, terms(), "{kind:?}");
            assert_eq!(issued.not_after, NOW + 31_536_000);
        }
    }

    #[test]
    fn an_authority_is_believed_for_its_own_hosts_alone() {
        let key = KeyType::EcdsaP256.generate().unwrap();
        for (own, others) in [
            (
                "web1.example.org",
                ["web2.example.org", "10.0.0.7", "fd00::7"],
            ),
            ("10.0.0.7", ["web1.example.org", "10.0.0.8", "fd00::7"]),
            ("fd00::7", ["web1.example.org", "10.0.0.7", "fd00::8"]),
        ] {
            let authority = authority(&[host(own)], NOW).unwrap();
            let sign = |name: &str| {
                let terms = Terms {
                    hosts: vec![host(name)],
                    life: YEAR,
                };
                leaf(&terms, &key, &authority, "ca.crt", NOW)
            };
            assert!(sign(own).is_ok(), "{own}");
            for other in others {
                assert!(sign(other).is_err(), "{own} signs for {other}");
            }
        }
    }

    #[test]
    fn it_is_due_when_the_last_third_of_its_life_begins() {
        let issued = Issued {
            terms: terms(),
            not_after: NOW + 31_536_000,
        };
        assert!(!issued.is_due(NOW + 21_023_999));
        assert!(issued.is_due(NOW + 21_024_000));
    }

    #[test]
    fn an_authority_that_no_scraper_would_accept_signs_nothing() {
        let (ours, other) = (
            authority(&terms().hosts, NOW).unwrap(),
            authority(&terms().hosts, NOW).unwrap(),
        );
        let key = KeyType::EcdsaP256.generate().unwrap();
        let mixed = Pair {
            certificate: ours.certificate.clone(),
            key: other.key,
        };
        let late = NOW + 87_600 * 3600 + 1;
        for (authority, now) in [(&mixed, NOW), (&ours, late)] {
            let error = leaf(&terms(), &key, authority, "ca.crt", now).unwrap_err();
            assert!(error.to_string().contains("ca.crt"), "{error}");
        }
        // It never outlives its authority.
        let pem = leaf(&terms(), &key, &ours, "ca.crt", late - 3600).unwrap();
        assert_eq!(read(&pem, "tls.crt").unwrap().not_after, late - 1);
    }
}

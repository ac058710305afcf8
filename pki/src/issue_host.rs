//! Issues the certificates of `web-config` on a bare host: a CA of this host, and the exporter's certificate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CidrSubnet, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair,
    NameConstraints,
};

use crate::error::IssueError;
use crate::host::Host;
use crate::inspect::{certificates, verify_chain};
use crate::pem::unix_lines;
use crate::secret_text::SecretText;
use crate::sign::{IssuedPair, Leaf, Serial, authority_params, only_common_name, self_signed};
use crate::validity::{AUTHORITY_LIFE, end};

/// The parameters of the certificate of a host's exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostParameters {
    /// Names and addresses of the host, at least one. The first one is the subject.
    pub hosts: Vec<Host>,
    /// The time from the issue to the expiry.
    pub duration: SignedDuration,
}

/// Issues the CA of a host: a self-signed root with an ECDSA P-256 key, valid for [`AUTHORITY_LIFE`].
///
/// Its name constraints limit it to `hosts`, so that a Prometheus that trusts the CAs of many hosts accepts none of them for
/// another host.
pub fn issue_host_authority(
    hosts: &[Host],
    now: Timestamp,
    serial: Serial,
) -> Result<IssuedPair, IssueError> {
    let first = hosts.first().ok_or(IssueError::NoHost)?;
    let common_name = format!("secure-exporter CA of {first}");
    let mut params = authority_params(&common_name, now, end(now, AUTHORITY_LIFE)?, serial)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.name_constraints = Some(only(hosts));
    self_signed(&params)
}

/// Signs a certificate for the exporter's key, and verifies it for each of its hosts as a scraper does. It expires `duration`
/// from now, but never after its CA.
pub fn certify_host(
    parameters: &HostParameters,
    key_pem: &SecretText,
    authority: &IssuedPair,
    now: Timestamp,
    serial: Serial,
) -> Result<String, IssueError> {
    let first = parameters.hosts.first().ok_or(IssueError::NoHost)?;
    let names = parameters.hosts.iter().map(Host::subject_alternative_name);
    let leaf = Leaf {
        subject: only_common_name(&first.to_string()),
        names: names.collect::<Result<_, _>>()?,
        usage: ExtendedKeyUsagePurpose::ServerAuth,
        duration: parameters.duration,
    };
    let key = KeyPair::from_pem(key_pem.expose())?;
    let (certificate_pem, signer) = (&authority.certificate_pem, &authority.key_pem);
    let signed = leaf.sign(&key, certificate_pem, signer, now, serial)?;
    let roots = certificates(certificate_pem).map_err(IssueError::Authority)?;
    for host in &parameters.hosts {
        verify_chain(&[signed.der().clone()], &roots, &host.to_string(), now)
            .map_err(IssueError::Authority)?;
    }
    Ok(unix_lines(signed.pem()))
}

/// A kind of name that does not occur is excluded completely; otherwise every name of this kind would be permitted.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::InspectError;
    use crate::inspect::inspect;
    use crate::key::KeyType;

    fn now() -> Timestamp {
        "2026-11-23T15:00:00Z".parse().unwrap()
    }

    fn parameters(hosts: &[&str]) -> HostParameters {
        HostParameters {
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            duration: SignedDuration::from_hours(8760),
        }
    }

    fn authority(hosts: &[&str]) -> IssuedPair {
        let serial = Serial::from_bytes([7; 16]);
        issue_host_authority(&parameters(hosts).hosts, now(), serial).unwrap()
    }

    fn certify(
        hosts: &[&str],
        key_type: KeyType,
        authority: &IssuedPair,
        now: Timestamp,
    ) -> Result<String, IssueError> {
        let key = key_type.generate_pem().unwrap();
        let serial = Serial::from_bytes([9; 16]);
        certify_host(&parameters(hosts), &key, authority, now, serial)
    }

    #[test]
    fn every_kind_of_key_gives_a_certificate_that_a_scraper_accepts() {
        let hosts = ["web1.example.org", "10.0.0.7", "fd00::7"];
        let authority = authority(&hosts);
        for key_type in KeyType::ALL {
            assert_eq!(KeyType::from_name(key_type.name()), Some(key_type));
            let pem = certify(&hosts, key_type, &authority, now()).unwrap();
            let facts = inspect(&pem).unwrap();
            assert_eq!(facts.subject, "CN=web1.example.org");
            assert_eq!(facts.issuer, "CN=secure-exporter CA of web1.example.org");
            assert_eq!(facts.not_after, now() + SignedDuration::from_hours(8760));
        }
    }

    #[test]
    fn a_ca_is_only_accepted_for_its_own_hosts() {
        for (own, others) in [
            (
                "web1.example.org",
                ["web2.example.org", "10.0.0.7", "fd00::7"],
            ),
            ("10.0.0.7", ["web1.example.org", "10.0.0.8", "fd00::7"]),
            ("fd00::7", ["web1.example.org", "10.0.0.7", "fd00::8"]),
        ] {
            let authority = authority(&[own]);
            let sign = |name| certify(&[name], KeyType::EcdsaP256, &authority, now());
            assert!(sign(own).is_ok(), "{own}");
            for other in others {
                assert!(
                    matches!(
                        sign(other),
                        Err(IssueError::Authority(InspectError::Refused(_)))
                    ),
                    "{own} signs for {other}"
                );
            }
        }
    }

    #[test]
    fn without_a_host_nothing_is_issued() {
        let serial = Serial::from_bytes([7; 16]);
        assert!(matches!(
            issue_host_authority(&[], now(), serial),
            Err(IssueError::NoHost)
        ));
        assert!(matches!(
            certify(&[], KeyType::EcdsaP256, &authority(&["web1"]), now()),
            Err(IssueError::NoHost)
        ));
    }
}

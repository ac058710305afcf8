use jiff::SignedDuration;

use super::*;
use crate::{IssuedPair, KeyType, LeafParameters, Serial, Subject, issue};

const NAME: &str = "nodes.monitoring.svc";

fn now() -> Timestamp {
    "2026-11-23T15:00:00Z".parse().unwrap()
}

fn authority(byte: u8) -> IssuedPair {
    issue::issue_authority("n.m", 1, now(), Serial::from_bytes([byte; 16])).unwrap()
}

fn leaf(authority: &IssuedPair) -> IssuedPair {
    let parameters = LeafParameters {
        key_type: KeyType::EcdsaP256,
        subject: Subject {
            common_name: "nodes".into(),
            organization: None,
            organizational_unit: None,
            country: None,
            province: None,
            locality: None,
        },
        dns_names: vec![NAME.into()],
        ip_addresses: vec![],
        duration: SignedDuration::from_hours(1),
    };
    let serial = Serial::from_bytes([2; 16]);
    let (certificate, key) = (&authority.certificate_pem, &authority.key_pem);
    issue::issue_leaf(&parameters, certificate, key, now(), serial).unwrap()
}

#[test]
fn a_client_refuses_another_ca_another_name_and_another_time() {
    let ours = authority(1);
    let leaf = leaf(&ours).certificate_pem;
    let root = &ours.certificate_pem;
    let later = now() + SignedDuration::from_hours(2);
    assert_eq!(verify(&leaf, root, NAME, now()), Ok(()));
    for (bundle, name, at) in [
        (authority(3).certificate_pem.as_str(), NAME, now()),
        (root, "other.monitoring.svc", now()),
        (root, NAME, later),
    ] {
        let refused = verify(&leaf, bundle, name, at);
        assert!(
            matches!(refused, Err(InspectError::Refused(_))),
            "{refused:?}"
        );
    }
    assert_eq!(
        verify(&leaf, "", NAME, now()),
        Err(InspectError::NoCertificate)
    );
}

#[test]
fn a_mismatched_key_is_refused() {
    let (one, two) = (authority(1), authority(2));
    assert_eq!(
        check_key_matches(&one.certificate_pem, &one.key_pem),
        Ok(())
    );
    assert_eq!(
        check_key_matches(&one.certificate_pem, &two.key_pem),
        Err(InspectError::KeyMismatch)
    );
    let half = one.key_pem.expose();
    let half = SecretText::new(half[..half.len() / 2].to_owned());
    assert_eq!(
        check_key_matches(&one.certificate_pem, &half),
        Err(InspectError::NoKey)
    );
}

#[test]
fn a_damaged_certificate_is_refused() {
    let pem = authority(1).certificate_pem;
    assert_eq!(inspect(""), Err(InspectError::NoCertificate));
    assert!(inspect(&pem[..pem.len() / 2]).is_err());
    assert!(inspect(&pem.replacen("MII", "MIA", 1)).is_err());
}

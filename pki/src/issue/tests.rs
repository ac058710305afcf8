use super::*;
use crate::inspect::{check_key_matches, inspect, verify, verify_client};
use crate::validity::BACKDATING;

const SERVER_NAME: &str = "nodes.monitoring.svc";

fn now() -> Timestamp {
    "2026-11-23T15:00:00Z".parse().unwrap()
}

fn authority() -> IssuedPair {
    issue_authority("nodes.monitoring", 1, now(), Serial::from_bytes([7; 16])).unwrap()
}

fn parameters(key_type: KeyType) -> LeafParameters {
    LeafParameters {
        key_type,
        subject: Subject {
            common_name: "nodes".into(),
            organization: Some("Example".into()),
            organizational_unit: None,
            country: Some("CH".into()),
            province: None,
            locality: Some("Zürich".into()),
        },
        dns_names: vec![SERVER_NAME.into(), "extra.example.com".into()],
        ip_addresses: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
        duration: SignedDuration::from_hours(8760),
    }
}

fn leaf(parameters: &LeafParameters, authority: &IssuedPair, now: Timestamp) -> IssuedPair {
    issue_leaf(
        parameters,
        &authority.certificate_pem,
        &authority.key_pem,
        now,
        Serial::from_bytes([9; 16]),
    )
    .unwrap()
}

#[test]
fn the_authority_is_a_root_for_ten_years() {
    let facts = inspect(&authority().certificate_pem).unwrap();
    assert!(facts.is_authority);
    assert_eq!(facts.subject, "CN=nodes.monitoring node metrics CA g1");
    assert_eq!(facts.issuer, facts.subject);
    assert_eq!(facts.not_before, now() - BACKDATING);
    assert_eq!(facts.not_after, now() + AUTHORITY_LIFE);
}

#[test]
fn a_leaf_of_every_key_type_verifies_as_a_scraper_does() {
    let authority = authority();
    for key_type in [
        KeyType::EcdsaP256,
        KeyType::EcdsaP384,
        KeyType::Rsa2048,
        KeyType::Ed25519,
    ] {
        let leaf = leaf(&parameters(key_type), &authority, now());
        verify(
            &leaf.certificate_pem,
            &authority.certificate_pem,
            SERVER_NAME,
            now(),
        )
        .unwrap();
        check_key_matches(&leaf.certificate_pem, &leaf.key_pem).unwrap();
    }
}

#[test]
fn a_leaf_has_the_requested_parameters() {
    let leaf = leaf(&parameters(KeyType::EcdsaP256), &authority(), now());
    let facts = inspect(&leaf.certificate_pem).unwrap();
    assert!(!facts.is_authority);
    assert_eq!(facts.serial_number, "49".to_owned() + &"09".repeat(15));
    assert_eq!(facts.subject, "C=CH, L=Zürich, O=Example, CN=nodes");
    assert_eq!(facts.issuer, "CN=nodes.monitoring node metrics CA g1");
    assert_eq!(facts.dns_names, [SERVER_NAME, "extra.example.com"]);
    assert_eq!(
        facts.ip_addresses,
        parameters(KeyType::EcdsaP256).ip_addresses
    );
    assert_eq!(facts.not_before, now() - BACKDATING);
    assert_eq!(facts.not_after, now() + SignedDuration::from_hours(8760));
}

#[test]
fn a_leaf_never_outlives_its_authority() {
    let authority = authority();
    let authority_end = inspect(&authority.certificate_pem).unwrap().not_after;
    let late = authority_end - SignedDuration::from_hours(24);
    let leaf = leaf(&parameters(KeyType::EcdsaP256), &authority, late);
    assert_eq!(
        inspect(&leaf.certificate_pem).unwrap().not_after,
        authority_end
    );
}

#[test]
fn an_expired_or_mismatched_ca_signs_nothing() {
    let authority = authority();
    let sign = |key: &SecretText, at| {
        issue_leaf(
            &parameters(KeyType::EcdsaP256),
            &authority.certificate_pem,
            key,
            at,
            Serial::from_bytes([9; 16]),
        )
    };
    let end = inspect(&authority.certificate_pem).unwrap().not_after;
    assert!(matches!(
        sign(&authority.key_pem, end),
        Err(IssueError::AuthorityExpired(_))
    ));
    let other = issue_authority("other.monitoring", 1, now(), Serial::from_bytes([1; 16])).unwrap();
    assert!(matches!(
        sign(&other.key_pem, now()),
        Err(IssueError::Authority(_))
    ));
}

#[test]
fn a_long_name_is_truncated_before_the_generation() {
    let name = authority_common_name(&"n".repeat(110), 12);
    assert_eq!(name.len(), 64);
    assert!(name.ends_with(" node metrics CA g12"));
}

#[test]
fn every_parameter_changes_the_fingerprint() {
    let base = parameters(KeyType::EcdsaP256);
    type Change = fn(&mut LeafParameters);
    let changes: [Change; 9] = [
        |p| p.key_type = KeyType::EcdsaP384,
        |p| p.subject.common_name.push('x'),
        |p| p.subject.organization = None,
        |p| p.subject.organizational_unit = Some("Example".into()),
        |p| p.subject.country = Some("DE".into()),
        |p| p.subject.province = Some("Zürich".into()),
        |p| drop(p.dns_names.pop()),
        |p| p.ip_addresses.clear(),
        |p| p.duration = SignedDuration::from_hours(1),
    ];
    assert_eq!(
        base.fingerprint(),
        parameters(KeyType::EcdsaP256).fingerprint()
    );
    for (index, change) in changes.iter().enumerate() {
        let mut changed = base.clone();
        change(&mut changed);
        assert_ne!(base.fingerprint(), changed.fingerprint(), "change {index}");
    }
}

#[test]
fn the_fingerprint_is_a_stored_format() {
    assert_eq!(
        parameters(KeyType::EcdsaP256).fingerprint(),
        "57b5cf5f630dfc6b33e2965639b4b485"
    );
}

#[test]
fn no_key_is_shown() {
    let shown = format!("{:?}", authority());
    assert!(!shown.contains("PRIVATE"), "{shown}");
}

fn client(key: Option<&SecretText>, authority: &IssuedPair) -> IssuedPair {
    let parameters = parameters(KeyType::EcdsaP256);
    let (certificate, signer) = (&authority.certificate_pem, &authority.key_pem);
    let serial = Serial::from_bytes([3; 16]);
    issue_client(&parameters, key, certificate, signer, now(), serial).unwrap()
}

#[test]
fn a_client_certificate_is_not_valid_for_a_server_and_vice_versa() {
    let authority = authority();
    let bundle = &authority.certificate_pem;
    let client = client(None, &authority).certificate_pem;
    let server = leaf(&parameters(KeyType::EcdsaP256), &authority, now()).certificate_pem;
    verify_client(&client, bundle, now()).unwrap();
    verify_client(&server, bundle, now()).unwrap_err();
    verify(&client, bundle, SERVER_NAME, now()).unwrap_err();
    let after_its_end = now() + SignedDuration::from_hours(8761);
    verify_client(&client, bundle, after_its_end).unwrap_err();
    let foreign = issue_authority("n.m", 1, now(), Serial::from_bytes([8; 16])).unwrap();
    verify_client(&client, &foreign.certificate_pem, now()).unwrap_err();
}

#[test]
fn a_renewed_client_certificate_keeps_its_key() {
    let authority = authority();
    let first = client(None, &authority);
    let renewed = client(Some(&first.key_pem), &authority);
    assert_eq!(renewed.key_pem, first.key_pem);
    check_key_matches(&renewed.certificate_pem, &first.key_pem).unwrap();
    assert_ne!(client(None, &authority).key_pem, first.key_pem);
}

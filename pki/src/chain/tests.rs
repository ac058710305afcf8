use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints as Constraints, date_time_ymd,
};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;

const NOW: i64 = 1_780_000_000;

/// A certificate with its key and what it was made from.
struct Made {
    der: CertificateDer<'static>,
    key: KeyPair,
    params: CertificateParams,
}

fn params(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    change(&mut params);
    params
}

fn as_ca(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

fn own(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Made {
    let (params, key) = (params(name, change), KeyPair::generate().unwrap());
    let der = params.self_signed(&key).unwrap().der().clone();
    Made { der, key, params }
}

fn by(issuer: &Made, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Made {
    let (params, key) = (params(name, change), KeyPair::generate().unwrap());
    let parent = Issuer::from_params(&issuer.params, &issuer.key);
    let der = params.signed_by(&key, &parent).unwrap().der().clone();
    Made { der, key, params }
}

/// Splits the elements of a sequence's content.
fn elements(mut content: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !content.is_empty() {
        let (header, length) = match content[1] {
            length @ 0..=0x7f => (2, usize::from(length)),
            0x81 => (3, usize::from(content[2])),
            _ => (4, usize::from(content[2]) << 8 | usize::from(content[3])),
        };
        let (element, rest) = content.split_at(header + length);
        found.push(element);
        content = rest;
    }
    found
}

fn content(element: &[u8]) -> &[u8] {
    let inner: usize = match element[1] {
        0..=0x7f => 2,
        0x81 => 3,
        _ => 4,
    };
    &element[inner..]
}

fn wrapped(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], length.as_slice(), &content].concat()
}

/// The same certificate in version 1, which has no extensions.
fn version_1(made: &Made, signer: &KeyPair) -> CertificateDer<'static> {
    let parts = elements(content(&made.der));
    let kept = elements(content(parts[0]));
    let kept: Vec<&[u8]> = kept
        .into_iter()
        .filter(|element| !matches!(element[0], 0xa0 | 0xa3))
        .collect();
    let tbs = wrapped(0x30, &kept);
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signer.serialize_der()));
    let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let scheme = SignatureScheme::ECDSA_NISTP256_SHA256;
    let signature = key.choose_scheme(&[scheme]).unwrap().sign(&tbs).unwrap();
    let signature = wrapped(0x03, &[&[0], &signature]);
    CertificateDer::from(wrapped(0x30, &[&tbs, parts[1], &signature]))
}

fn verify(
    anchors: &[&CertificateDer<'static>],
    chain: &[&Made],
) -> Result<NameConstraints, ChainError> {
    let chain: Vec<CertificateDer<'static>> = chain.iter().map(|made| made.der.clone()).collect();
    verify_der(anchors, &chain)
}

fn verify_der(
    anchors: &[&CertificateDer<'static>],
    chain: &[CertificateDer<'static>],
) -> Result<NameConstraints, ChainError> {
    let mut trusted = TrustAnchors::default();
    for anchor in anchors {
        trusted.add((*anchor).clone()).unwrap();
    }
    let algorithms = aws_lc_rs::default_provider()
        .signature_verification_algorithms
        .all;
    let (leaf, others) = chain.split_first().unwrap();
    trusted.verify_client(leaf, others, NOW, algorithms)
}

const ACCEPTED: Result<NameConstraints, ChainError> = Ok(NameConstraints::Absent);

#[test]
fn what_openssl_makes_by_default_is_accepted() {
    let ca = own("ca", as_ca);
    let plain = by(&ca, "plain", |_| {});
    assert_eq!(verify(&[&ca.der], &[&plain]), ACCEPTED);
    let old = version_1(&plain, &ca.key);
    assert_eq!(verify_der(&[&ca.der], &[old]), ACCEPTED, "version 1");
    let flagged = by(&ca, "flagged", as_ca);
    assert_eq!(verify(&[&ca.der], &[&flagged]), ACCEPTED, "CA:TRUE");
    let any = by(&ca, "any", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    });
    assert_eq!(verify(&[&ca.der], &[&any]), ACCEPTED, "anyExtendedKeyUsage");
    for change in [as_ca, |_: &mut CertificateParams| {}] {
        let itself = own("itself", change);
        assert_eq!(verify(&[&ca.der, &itself.der], &[&itself]), ACCEPTED);
        assert_eq!(
            verify(&[&ca.der], &[&itself]),
            Err(ChainError::UnknownIssuer)
        );
    }
    let old_root = version_1(&own("ca", |_| {}), &own("x", |_| {}).key);
    assert_eq!(
        verify(&[&old_root, &ca.der], &[&plain]),
        ACCEPTED,
        "another of the same name is no hindrance"
    );
    let old_root = version_1(&ca, &ca.key);
    assert_eq!(
        verify(&[&old_root], &[&plain]),
        ACCEPTED,
        "a root of version 1"
    );
}

#[test]
fn a_ca_must_be_one_and_valid_and_for_clients() {
    let client = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let good = own("good", as_ca);
    type Change = fn(&mut CertificateParams);
    let cases: [(Change, ChainError); 7] = [
        (
            |params| {
                as_ca(params);
                params.not_after = date_time_ymd(2026, 2, 1);
            },
            ChainError::Expired,
        ),
        (
            |params| {
                as_ca(params);
                params.not_before = date_time_ymd(2026, 12, 1);
            },
            ChainError::NotYetValid,
        ),
        (
            |params| params.is_ca = IsCa::ExplicitNoCa,
            ChainError::NotAuthority,
        ),
        (|_| {}, ChainError::NotAuthority),
        (
            |params| {
                as_ca(params);
                params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            },
            ChainError::NotAuthority,
        ),
        (
            |params| {
                as_ca(params);
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            },
            ChainError::Purpose,
        ),
        (
            |params| {
                as_ca(params);
                let mut extension =
                    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
                extension.set_criticality(true);
                params.custom_extensions.push(extension);
            },
            ChainError::CriticalExtension,
        ),
    ];
    for (change, error) in cases {
        let ca = own("odd", change);
        let trusted = by(&ca, "client", client);
        assert_eq!(
            verify(&[&good.der, &ca.der], &[&trusted]),
            Err(error),
            "{error}"
        );
        let below = by(&good, "odd", change);
        let client = by(&below, "client", client);
        assert_eq!(
            verify(&[&good.der], &[&client, &below]),
            Err(error),
            "below: {error}"
        );
    }
    let server = by(&good, "server", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert_eq!(verify(&[&good.der], &[&server]), Err(ChainError::Purpose));
    assert_eq!(verify(&[&server.der], &[&server]), Err(ChainError::Purpose));
    let old = by(&good, "old", |params| {
        params.not_after = date_time_ymd(2026, 2, 1)
    });
    assert_eq!(verify(&[&good.der], &[&old]), Err(ChainError::Expired));
    assert_eq!(verify(&[&old.der], &[&old]), Err(ChainError::Expired));
    let middle = by(&good, "middle", |_| {});
    let old_middle = version_1(&middle, &good.key);
    let client = by(&middle, "client", client);
    let chain = [client.der.clone(), old_middle];
    assert_eq!(
        verify_der(&[&good.der], &chain),
        Err(ChainError::NotAuthority),
        "version 1 in the middle"
    );
}

#[test]
fn chains_are_built_as_far_as_their_limits_allow() {
    let root = own("root", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1))
    });
    let first = by(&root, "first", as_ca);
    let second = by(&first, "second", as_ca);
    let near = by(&first, "near", |_| {});
    let far = by(&second, "far", |_| {});
    assert_eq!(verify(&[&root.der], &[&near, &second, &first]), ACCEPTED);
    assert_eq!(
        verify(&[&root.der], &[&far, &second, &first]),
        Err(ChainError::PathLength)
    );
    assert_eq!(verify(&[&first.der], &[&far, &second]), ACCEPTED);
    assert_eq!(
        verify(&[&root.der], &[&near]),
        Err(ChainError::UnknownIssuer)
    );

    let namesake = own("root", as_ca);
    let forged = by(&namesake, "client", |_| {});
    assert_eq!(
        verify(&[&root.der], &[&forged]),
        Err(ChainError::BadSignature)
    );
    assert_eq!(verify(&[&root.der, &namesake.der], &[&forged]), ACCEPTED);
    let crowd: Vec<Made> = (0..200).map(|_| own("root", as_ca)).collect();
    let anchors: Vec<&CertificateDer<'static>> = crowd.iter().map(|made| &made.der).collect();
    assert_eq!(verify(&anchors, &[&forged]), Err(ChainError::TooLong));

    let constrained = own("constrained", |params| {
        as_ca(params);
        params.name_constraints = Some(Constraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("example.org".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    });
    let client = by(&constrained, "client", |_| {});
    assert_eq!(
        verify(&[&constrained.der], &[&client]),
        Ok(NameConstraints::Present)
    );
    let damaged = CertificateDer::from(vec![0x30, 0]);
    assert_eq!(
        verify_der(&[&root.der], &[damaged]),
        Err(ChainError::Damaged)
    );
}

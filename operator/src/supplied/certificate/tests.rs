use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType, date_time_ymd,
};

use super::*;
use crate::supplied::reference::ReferenceProblem;

const NAME: &str = "nodes.monitoring.svc";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn now() -> Timestamp {
    "2026-11-23T15:00:00Z".parse().unwrap()
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn root(name: &str) -> Authority {
    CertifiedIssuer::self_signed(authority_params(name), KeyPair::generate().unwrap()).unwrap()
}

fn leaf_params() -> CertificateParams {
    let mut params = params("node exporter");
    params.subject_alt_names = vec![SanType::DnsName(NAME.try_into().unwrap())];
    params.is_ca = IsCa::ExplicitNoCa;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// The three texts of a Secret.
#[derive(Clone)]
struct Texts {
    chain: String,
    key: String,
    bundle: String,
}

fn texts(root: &Authority, params: CertificateParams, key: &KeyPair) -> Texts {
    Texts {
        chain: params.signed_by(key, root).unwrap().pem(),
        key: key.serialize_pem(),
        bundle: root.pem(),
    }
}

fn good() -> Texts {
    texts(
        &root("Corporate Root"),
        leaf_params(),
        &KeyPair::generate().unwrap(),
    )
}

fn with(change: impl FnOnce(&mut CertificateParams)) -> Texts {
    let mut params = leaf_params();
    change(&mut params);
    texts(
        &root("Corporate Root"),
        params,
        &KeyPair::generate().unwrap(),
    )
}

fn found(key: &str, content: Content) -> Found {
    Found {
        place: Place::in_secret("corporate", key),
        content,
    }
}

fn material(texts: &Texts) -> Material {
    let of = |key, text: &str| {
        let bytes = Zeroizing::new(text.as_bytes().to_vec());
        found(key, Content::Bytes(bytes))
    };
    Material {
        chain: of("tls.crt", &texts.chain),
        key: of("tls.key", &texts.key),
        bundle: of("ca.crt", &texts.bundle),
    }
}

fn checked(texts: &Texts) -> Result<Supplied, SupplyProblem> {
    check(&material(texts), NAME, now())
}

#[test]
fn a_valid_certificate_is_taken_without_the_rest_of_the_files() {
    let good = good();
    let supplied = checked(&good).unwrap();
    let decorated = Texts {
        chain: format!(
            "subject=/CN=node exporter\n{}\nissuer=?\n",
            good.chain.replace('\n', "\r\n")
        ),
        key: format!(
            "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{}",
            good.key
        ),
        bundle: format!("# ours\n{}{}", good.bundle, good.bundle),
    };
    assert_eq!(checked(&decorated), Ok(supplied.clone()));
    assert!(verifies(
        &supplied.chain_pem,
        &supplied.bundle_pem,
        NAME,
        now()
    ));
    assert_eq!(supplied.bundle_pem.matches("BEGIN").count(), 1);
    let other = root("Another Root").pem();
    let [one, two] = [[&good.bundle, &other], [&other, &good.bundle]].map(|pair| Texts {
        bundle: pair.map(String::as_str).concat(),
        ..good.clone()
    });
    assert_eq!(checked(&one), checked(&two));
}

#[test]
fn every_supported_type_of_key_is_accepted() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let texts = texts(&root("Corporate Root"), leaf_params(), &key);
        assert!(checked(&texts).is_ok(), "{algorithm:?}");
    }
}

#[test]
fn a_chain_is_verified_through_its_intermediates() {
    let root = root("Corporate Root");
    let intermediate = CertifiedIssuer::signed_by(
        authority_params("Corporate Issuing"),
        KeyPair::generate().unwrap(),
        &root,
    )
    .unwrap();
    let key = KeyPair::generate().unwrap();
    let alone = Texts {
        bundle: root.pem(),
        ..texts(&intermediate, leaf_params(), &key)
    };
    assert_eq!(checked(&alone).unwrap_err().reason.text(), "ChainInvalid");
    let whole = Texts {
        chain: format!("{}{}", alone.chain, intermediate.pem()),
        ..alone.clone()
    };
    let supplied = checked(&whole).unwrap();
    assert_eq!(supplied.chain_pem.matches("BEGIN").count(), 2);
    // Also where the bundle has the intermediate itself.
    let pinned = Texts {
        bundle: intermediate.pem(),
        ..alone
    };
    assert!(checked(&pinned).is_ok());
}

#[test]
fn every_problem_has_a_reason_and_names_its_place() {
    let (good, other) = (good(), good());
    let (key, chain, bundle) = (
        "key tls.key of Secret corporate",
        "key tls.crt of Secret corporate",
        "key ca.crt of Secret corporate",
    );
    let is = |reason: &str, place: &str, texts: Texts| {
        let problem = checked(&texts).unwrap_err();
        assert_eq!(problem.reason.text(), reason, "{problem}");
        assert!(problem.message.contains(place), "{problem}");
        for line in texts.key.lines().filter(|line| line.len() > 30) {
            assert!(!format!("{problem:?}").contains(line), "it holds the key");
        }
    };
    let but = |change: &dyn Fn(&mut Texts)| {
        let mut texts = good.clone();
        change(&mut texts);
        texts
    };
    is("KeyMissing", chain, but(&|it| it.chain.clear()));
    is("KeyMissing", bundle, but(&|it| it.bundle.clear()));
    is(
        "CertificateUnreadable",
        chain,
        but(&|it| it.chain = "x".into()),
    );
    is(
        "CertificateUnreadable",
        chain,
        but(&|it| it.chain = it.chain.replacen("MII", "MIA", 1)),
    );
    is(
        "CertificateUnreadable",
        chain,
        but(&|it| it.chain = it.key.clone()),
    );
    is(
        "CertificateUnreadable",
        bundle,
        but(&|it| it.bundle = "x".into()),
    );
    is(
        "TooLong",
        bundle,
        but(&|it| it.bundle = it.bundle.repeat(1000)),
    );
    is("KeyUnreadable", key, but(&|it| it.key = it.chain.clone()));
    is(
        "KeyUnreadable",
        key,
        but(&|it| it.key = it.key.replace("PRIVATE", "ENCRYPTED PRIVATE")),
    );
    is("KeyMismatch", key, but(&|it| it.key = other.key.clone()));
    is(
        "BundleInvalid",
        bundle,
        but(&|it| it.bundle = it.chain.clone()),
    );
    is(
        "ChainInvalid",
        bundle,
        but(&|it| it.bundle = other.bundle.clone()),
    );
    is(
        "SuppliedExpired",
        chain,
        with(|params| params.not_after = date_time_ymd(2026, 11, 1)),
    );
    is(
        "NotYetValid",
        chain,
        with(|params| params.not_before = date_time_ymd(2026, 12, 1)),
    );
    is(
        "NameMissing",
        NAME,
        with(|params| params.subject_alt_names.clear()),
    );
    is(
        "UsageMissing",
        chain,
        with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
    );
    is(
        "NotALeaf",
        chain,
        with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
    );
}

#[test]
fn a_misplaced_key_is_never_shown() {
    let good = good();
    let line = good.key.replace('\n', "");
    for texts in [
        Texts {
            chain: line.clone(),
            ..good.clone()
        },
        Texts {
            bundle: line.clone(),
            ..good.clone()
        },
    ] {
        let problem = checked(&texts).unwrap_err();
        assert_eq!(problem.reason.text(), "CertificateUnreadable");
        let shown = format!("{problem} {problem:?}");
        let secret = good.key.lines().nth(1).unwrap();
        assert!(!shown.contains(secret.get(..20).unwrap()), "{shown}");
    }
}

#[test]
fn an_unsupported_key_is_refused() {
    // secp256k1, which no TLS library of ours signs with.
    let key = "-----BEGIN EC PRIVATE KEY-----\n\
               MHQCAQEEIOWMwia5J9HAd+o6pg7yy0aQFwAk6wHgFt9m0gkX7M5coAcGBSuBBAAK\n\
               oUQDQgAERrQgwjeZJ5MFfJtYQV81K+rmVTkKC0bP6Kh+TDJRQQ59Z9S1wLVqQG/h\n\
               2+SCh/xotC5cc+8v4qvYFo911fbuSQ==\n-----END EC PRIVATE KEY-----\n";
    let texts = Texts {
        key: key.to_owned(),
        ..good()
    };
    let problem = checked(&texts).unwrap_err();
    assert_eq!(problem.reason.text(), "KeyUnsupported", "{problem}");
}

#[test]
fn an_expired_ca_verifies_nothing() {
    let mut ended = authority_params("Corporate Root");
    ended.not_after = date_time_ymd(2026, 11, 1);
    let root = CertifiedIssuer::self_signed(ended, KeyPair::generate().unwrap()).unwrap();
    let texts = texts(&root, leaf_params(), &KeyPair::generate().unwrap());
    assert_eq!(checked(&texts).unwrap_err().reason.text(), "ChainInvalid");
}

#[test]
fn a_message_always_fits_into_a_condition() {
    let texts = with(|params| {
        let name =
            |index: u32| SanType::DnsName(format!("{index}.example.com").try_into().unwrap());
        params.subject_alt_names = (0..1000).map(name).collect();
    });
    let problem = checked(&texts).unwrap_err();
    assert_eq!(problem.reason.text(), "NameMissing");
    assert!(problem.message.len() < 2000);
}

#[test]
fn a_missing_object_or_key_is_named() {
    for (content, reason, words) in [
        (
            Content::NoObject,
            "SecretMissing",
            "Secret corporate does not exist",
        ),
        (
            Content::NoKey,
            "KeyMissing",
            "key tls.crt of Secret corporate does not exist",
        ),
        (
            Content::Refused(ReferenceProblem::Generated),
            "ReferenceRefused",
            "Secret corporate, to which spec.tls.issuer refers, cannot be used: it was generated",
        ),
    ] {
        let material = Material {
            chain: found("tls.crt", content),
            ..material(&good())
        };
        let problem = check(&material, NAME, now()).unwrap_err();
        assert_eq!(problem.reason.text(), reason);
        assert!(problem.message.contains(words), "{problem}");
    }
}

#[test]
fn neither_debug_nor_a_step_shows_the_key() {
    let good = good();
    let supplied = checked(&good).unwrap();
    let shown = format!("{supplied:?}");
    let secret = good.key.lines().nth(1).unwrap();
    assert!(!shown.contains(secret) && shown.contains("[redacted]"));
}

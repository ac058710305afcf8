use super::*;
use crate::{api::SecureExporterSpec, names::Owner};
use secure_exporter_pki::{Serial, issue, password};

const HASH: &str = "$2y$10$MXjBwpmKxIYjyCOS7Gq6U.DbStd7Nn5jKEnGYfkDbXTBe2uCJTK8i";

fn now() -> Timestamp {
    "2026-11-23T15:00:00Z".parse().unwrap()
}

fn authority(byte: u8) -> Authority {
    let pair = issue::issue_authority("n.m", 1, now(), Serial::from_bytes([byte; 16])).unwrap();
    Authority {
        certificate_pem: pair.certificate_pem,
        key_pem: Some(pair.key_pem),
        cross_pem: None,
    }
}

fn accepted() -> ValidSpec {
    let owner = Owner::nodes();
    ValidSpec::parse(&SecureExporterSpec::default(), &owner).unwrap()
}

#[test]
fn an_unknown_accepted_spec_counts_as_none() {
    let mut data = state().to_data();
    data.insert(
        ACCEPTED_SPEC_KEY.into(),
        ByteString(b"{\"later\": 1}".to_vec()),
    );
    assert_eq!(State::from_data(&data).unwrap().accepted, None);
    data.remove(ACCEPTED_SPEC_KEY);
    assert_eq!(State::from_data(&data).unwrap().accepted, None);
}

fn state() -> State {
    let (one, mut two) = (authority(1), authority(2));
    // What matters here is that it is an authority's certificate.
    two.cross_pem = Some(one.certificate_pem.clone());
    let password = |text: &str| Password {
        password: Some(SecretText::new(text.to_owned())),
        hash: password::hash(&SecretText::new(text.to_owned()), 4).unwrap(),
        cost: 4,
        created: now(),
        own: text == "new-secret",
    };
    State {
        generation: 7,
        // Which certificate the leaf is does not matter here, only that its key fits.
        leaf: Leaf {
            certificate_pem: two.certificate_pem.clone(),
            key_pem: two.key_pem.clone().unwrap(),
            authority_generation: 2,
            parameters: "fingerprint".into(),
        },
        client: Some(Client {
            certificate_pem: one.certificate_pem.clone(),
            key_pem: one.key_pem.clone().unwrap(),
            authority_generation: 1,
            parameters: "fingerprint".into(),
        }),
        authorities: BTreeMap::from([(1, one), (2, two)]),
        active_authority: 2,
        passwords: BTreeMap::from([(3, password("old-secret")), (4, password("new-secret"))]),
        active_password: 4,
        authority_progress: Some(Progress {
            confirmed: Some(now()),
            ..Progress::begin(AuthorityStage::LeafSwitched, now())
        }),
        password_progress: Some(Progress::begin(PasswordStage::Accepting, now())),
        users: BTreeMap::from([
            ("alice".into(), BcryptHash::parse(HASH).unwrap().into()),
            (
                "bob".into(),
                UserHashes::new(vec![
                    BcryptHash::parse(HASH).unwrap(),
                    BcryptHash::parse(&HASH.replace("$10$", "$12$")).unwrap(),
                ])
                .unwrap(),
            ),
        ]),
        accepted: Some(accepted()),
        handled: BTreeMap::from([("ca".into(), "ca:1".into())]),
    }
}

#[test]
fn a_state_is_read_as_it_was_written() {
    let state = state();
    let data = state.to_data();
    assert_eq!(State::from_data(&data), Ok(state.clone()));
    assert_eq!(State::from_data(&data).unwrap().to_data(), data);
    let index = text(&data, INDEX_KEY).unwrap();
    assert!(
        !index.contains("secret") && !index.contains("$2"),
        "{index}"
    );
}

#[test]
fn a_state_without_client_certificate_or_password_is_read_as_it_was_written() {
    let without_client = State {
        client: None,
        ..state()
    };
    let without_password = State {
        passwords: BTreeMap::new(),
        active_password: 0,
        password_progress: None,
        users: Users::new(),
        ..state()
    };
    for state in [without_client, without_password] {
        assert_eq!(State::from_data(&state.to_data()), Ok(state));
    }
}

#[test]
fn a_missing_key_is_an_error_that_names_it() {
    let complete = state().to_data();
    for key in complete.keys().filter(|key| *key != ACCEPTED_SPEC_KEY) {
        let mut data = complete.clone();
        data.remove(key);
        assert_eq!(
            State::from_data(&data),
            Err(StateError::Missing { key: key.clone() })
        );
    }
    assert!(State::from_data(&BTreeMap::new()).is_err());
}

#[test]
fn a_damaged_key_is_named_without_its_content() {
    let complete = state().to_data();
    for key in complete.keys().filter(|key| *key != ACCEPTED_SPEC_KEY) {
        for bytes in [&b""[..], b"\xff\xfe", b"s3cret-garbage"] {
            let is_password = !key.contains('.') && bytes == b"s3cret-garbage";
            if is_password {
                continue; // Any text is a password.
            }
            let mut data = complete.clone();
            data.insert(key.clone(), ByteString(bytes.to_vec()));
            let error = State::from_data(&data).unwrap_err();
            assert!(
                matches!(&error, StateError::Damaged { key: named, .. } if named == key),
                "{key}: {error}"
            );
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}

#[test]
fn mismatched_parts_are_refused() {
    let complete = state().to_data();
    for (to, from, named) in [
        ("ca-1.key", "ca-2.key", "ca-1.key"),
        ("leaf.crt", "ca-1.crt", "leaf.key"),
        ("client.crt", "ca-2.crt", "client.key"),
    ] {
        let mut data = complete.clone();
        data.insert(to.to_owned(), complete[from].clone());
        let error = State::from_data(&data).unwrap_err();
        assert!(
            matches!(&error, StateError::Damaged { key, .. } if key == named),
            "{error}"
        );
    }
}

#[test]
fn an_index_with_an_unknown_generation_is_refused() {
    let complete = state().to_data();
    for (from, to) in [
        ("\"activeAuthority\": 2", "\"activeAuthority\": 3"),
        ("\"activePassword\": 4", "\"activePassword\": 5"),
        ("\"authority\": 2", "\"authority\": 9"),
        ("\"authority\": 1", "\"authority\": 9"),
        ("\"format\": 1", "\"format\": 2"),
        ("\"format\": 1", "\"format\": 1, \"stage\": \"new\""),
        ("\"cost\": 4", "\"cost\": 5"),
        ("\"users\": 2", "\"users\": 3"),
    ] {
        let mut data = complete.clone();
        let index = text(&complete, INDEX_KEY).unwrap();
        assert!(index.contains(from), "{from} in {index}");
        let changed = index.replacen(from, to, 1);
        data.insert(INDEX_KEY.to_owned(), ByteString(changed.into_bytes()));
        assert!(State::from_data(&data).is_err(), "{to}");
    }
}

#[test]
fn no_secret_is_shown() {
    let shown = format!("{:?}", state());
    for secret in ["old-secret", "new-secret", "$2b$", "$2y$", "PRIVATE"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

use serde_json::{Value, json};

use super::*;
use crate::names::Owner;

const HASH: &str = "$2y$10$MXjBwpmKxIYjyCOS7Gq6U.DbStd7Nn5jKEnGYfkDbXTBe2uCJTK8i";

const ANY: ReferencePolicy = ReferencePolicy::AnyFitting;

fn spec(basic_auth: Value) -> ValidSpec {
    let owner = Owner::nodes();
    let spec = json!({"authentication": {"basicAuth": basic_auth}});
    ValidSpec::parse(&serde_json::from_value(spec).unwrap(), &owner).unwrap()
}

fn secret<'a>(entries: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Secret {
    let entries = entries.into_iter();
    Secret {
        data: Some(
            entries
                .map(|(key, value)| (key.to_owned(), ByteString(value.to_vec())))
                .collect(),
        ),
        ..Secret::default()
    }
}

fn password(secret: Option<&Secret>) -> UserSecret<SecretText> {
    let spec = spec(json!({"passwordSecretRef": {"name": "mine"}}));
    SuppliedCredentials::check(&spec, ANY, secret, None).password
}

fn users(secret: Option<&Secret>) -> UserSecret<Users> {
    let spec = spec(json!({"usersSecretRef": {"name": "people"}}));
    SuppliedCredentials::check(&spec, ANY, None, secret).users
}

fn problem<T>(own: &UserSecret<T>) -> Problem {
    own.problem().expect("it is accepted").problem.clone()
}

#[test]
fn secrets_that_the_spec_does_not_name_are_not_read() {
    let found = secret([("password", &b"x"[..])]);
    let none = SuppliedCredentials::check(&spec(json!({})), ANY, Some(&found), Some(&found));
    assert_eq!(none, SuppliedCredentials::default());
}

#[test]
fn a_password_is_accepted_if_scrapers_send_it_unchanged() {
    let longest = "x".repeat(72);
    for (written, read) in [
        ("correct horse battery", "correct horse battery"),
        ("correct horse battery\n", "correct horse battery"),
        ("correct horse battery\r\n", "correct horse battery"),
        ("with:colon:and:ümlaut", "with:colon:and:ümlaut"),
        (&longest, &longest),
    ] {
        let found = secret([("password", written.as_bytes())]);
        let expected = SecretText::new(read.to_owned());
        assert_eq!(
            password(Some(&found)),
            UserSecret::Usable(expected),
            "{written:?}"
        );
    }
    let spec = spec(json!({"passwordSecretRef": {"name": "mine", "key": "pw"}}));
    let found = secret([("pw", &b"correct horse battery"[..])]);
    let checked = SuppliedCredentials::check(&spec, ANY, Some(&found), None);
    assert!(checked.password.problem().is_none());
}

#[test]
fn an_unusable_password_is_refused_with_the_reason() {
    let key = || "password".to_owned();
    let long = "x".repeat(73);
    let cases: [(&[u8], Problem); 9] = [
        (b"", Problem::Empty(key())),
        (b"\n", Problem::Empty(key())),
        (b"elevenchars", Problem::TooShort(key())),
        (
            "eleven\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}".as_bytes(),
            Problem::TooShort(key()),
        ),
        (long.as_bytes(), Problem::TooLong(key())),
        (b"correct\thorse battery", Problem::Unprintable(key())),
        (b"correct horse battery\n\n", Problem::Unprintable(key())),
        (b" correct horse battery", Problem::Unprintable(key())),
        (b"correct horse \xff battery", Problem::NotText(key())),
    ];
    for (written, expected) in cases {
        let refused = password(Some(&secret([("password", written)])));
        assert_eq!(problem(&refused), expected, "{written:?}");
        let message = refused.problem().unwrap().to_string();
        assert!(
            message.starts_with("spec.authentication.basicAuth.passwordSecretRef: Secret mine: "),
            "{message}"
        );
        assert!(
            !message.contains("horse") && !message.contains("eleven"),
            "{message}"
        );
    }
    assert_eq!(problem(&password(None)), Problem::NoSecret);
    let other = secret([("pass", &b"correct horse battery"[..])]);
    assert_eq!(problem(&password(Some(&other))), Problem::NoKey(key()));
    assert_eq!(
        problem(&password(Some(&Secret::default()))),
        Problem::NoKey(key())
    );
}

#[test]
fn users_have_one_hash_or_more() {
    let other = HASH.replace("$2y$10$", "$2b$12$");
    let both = format!("{HASH}\n\n {other} \n");
    let found = secret([("alice", HASH.as_bytes()), ("bob.b-2_", both.as_bytes())]);
    let UserSecret::Usable(read) = users(Some(&found)) else {
        panic!("refused");
    };
    let texts = |name: &str| -> Vec<&str> {
        let hashes = read[name].as_slice().iter();
        hashes.map(BcryptHash::as_str).collect()
    };
    assert_eq!(texts("alice"), [HASH]);
    assert_eq!(texts("bob.b-2_"), [HASH, &other]);
    // An empty Secret: no additional users.
    assert_eq!(
        users(Some(&Secret::default())),
        UserSecret::Usable(BTreeMap::new())
    );
}

#[test]
fn one_invalid_user_makes_the_secret_unusable() {
    let long = "n".repeat(65);
    let bad = |line, source| Problem::BadHash {
        user: "bob".into(),
        line,
        source,
    };
    let mixed = format!("{HASH}\nopen sesame!");
    let cost = HASH.replace("$10$", "$17$");
    let many = format!("{HASH}\n").repeat(9);
    let too_much = Problem::TooMuchWork {
        user: "bob".into(),
        source: TooMuchWork::Hashes { count: 9 },
    };
    let cases: [(&str, &str, Problem); 10] = [
        ("bob", "open sesame!", bad(1, BcryptHashError::NotBcrypt)),
        ("bob", &mixed, bad(2, BcryptHashError::NotBcrypt)),
        (
            "bob",
            "$apr1$abcdefgh$0123456789012345678901",
            bad(1, BcryptHashError::Md5),
        ),
        (
            "bob",
            "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
            bad(1, BcryptHashError::NotBcrypt),
        ),
        ("bob", &cost, bad(1, BcryptHashError::Cost { cost: 17 })),
        ("bob", &HASH[..50], bad(1, BcryptHashError::Malformed)),
        ("bob", "\n", Problem::NoHash("bob".into())),
        ("bob", &many, too_much),
        ("prometheus", HASH, Problem::TakenName("prometheus".into())),
        (&long, HASH, Problem::BadName(long.clone())),
    ];
    for (name, value, expected) in cases {
        let found = secret([("alice", HASH.as_bytes()), (name, value.as_bytes())]);
        let refused = users(Some(&found));
        assert_eq!(problem(&refused), expected, "{name}");
        let message = refused.problem().unwrap().to_string();
        assert!(
            message.starts_with("spec.authentication.basicAuth.usersSecretRef: Secret people: "),
            "{message}"
        );
        assert!(
            !message.contains("sesame") && !message.contains("0123456789"),
            "{message}"
        );
    }
    assert_eq!(problem(&users(None)), Problem::NoSecret);
    let names: Vec<String> = (0..=MAX_HASHES).map(|n| format!("user{n}")).collect();
    let found = secret(names.iter().map(|name| (name.as_str(), HASH.as_bytes())));
    assert_eq!(problem(&users(Some(&found))), Problem::TooMany);
}

#[test]
fn debug_shows_neither_password_nor_hash() {
    let found = secret([("password", &b"correct horse battery"[..])]);
    let hashed = secret([("alice", HASH.as_bytes())]);
    let shown = format!("{:?} {:?}", password(Some(&found)), users(Some(&hashed)));
    assert!(
        !shown.contains("horse") && !shown.contains("$2y$"),
        "{shown}"
    );
}

#[test]
fn a_secret_that_may_not_be_referenced_is_refused_before_it_is_looked_at() {
    let spec = spec(json!({
        "passwordSecretRef": {"name": "other-scrape"}, "usersSecretRef": {"name": "token"}}));
    // The key does not exist: nobody may learn that.
    let mut generated = secret([("x", &b"y"[..])]);
    generated.metadata.annotations = Some(
        [(
            "secureexporter.dev/state-generation".to_owned(),
            "1".to_owned(),
        )]
        .into(),
    );
    let mut token = secret([("alice", HASH.as_bytes())]);
    token.type_ = Some("kubernetes.io/service-account-token".to_owned());
    let own = SuppliedCredentials::check(&spec, ANY, Some(&generated), Some(&token));
    assert_eq!(
        own.password.problem().unwrap().to_string(),
        "spec.authentication.basicAuth.passwordSecretRef: Secret other-scrape: it was generated for a SecureExporter, whose \
         credentials must not be used by another one: reference a Secret that you supply"
    );
    assert_eq!(
        own.users.problem().unwrap().to_string(),
        "spec.authentication.basicAuth.usersSecretRef: Secret token: its type is \"kubernetes.io/service-account-token\": use \
         a Secret of type Opaque"
    );
    let policy = ReferencePolicy::Labelled;
    let found = secret([("password", &b"correct horse battery"[..])]);
    let own = SuppliedCredentials::check(&spec, policy, Some(&found), None);
    assert_eq!(
        problem(&own.password),
        Problem::Reference(ReferenceProblem::Unlabelled)
    );
}

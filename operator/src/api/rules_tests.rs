//! Each CEL rule accepts valid specs, and refuses invalid ones with its own message.

use serde_json::{Value, json};

use crate::api::SecureExporter;

fn resource(name: &str, spec: Value) -> SecureExporter {
    serde_json::from_value(json!({
        "apiVersion": "secureexporter.dev/v1alpha1",
        "kind": "SecureExporter",
        "metadata": {"name": name, "namespace": "monitoring"},
        "spec": spec,
    }))
    .unwrap()
}

fn accepts(spec: Value) {
    if let Err(error) = resource("nodes", spec.clone()).validate_cel() {
        panic!("{spec} is refused: {error:?}");
    }
}

fn refuses(message: &str, name: &str, spec: Value) {
    let error = resource(name, spec.clone())
        .validate_cel()
        .expect_err(&format!("{name} {spec} is accepted"));
    assert!(format!("{error:?}").contains(message), "{spec}: {error:?}");
}

#[test]
fn valid_specs_are_accepted() {
    let certificate = |value: Value| json!({"tls": {"certificate": value}});
    for spec in [
        json!({}),
        certificate(json!({"duration": "1m"})),
        certificate(json!({"duration": "43800h"})),
        certificate(json!({"privateKey": {"algorithm": "ECDSA", "size": 384}})),
        certificate(json!({"privateKey": {"algorithm": "RSA", "size": 4096}})),
        certificate(json!({"privateKey": {"algorithm": "RSA"}})),
        certificate(json!({"privateKey": {"algorithm": "Ed25519"}})),
        json!({"scrape": {"interval": "15s", "timeout": "15s"}}),
        json!({"scrape": {"instanceLabel": "Address", "extraLabels": {"cluster": "west"}, "sampleLimit": 1,
            "relabelings": [{"action": "labeldrop", "regex": "endpoint"}]}}),
        json!({"exporter": {"collectors": {"enabled": ["cpu"], "disabled": ["vmstat"]}}}),
        json!({"exporter": {"extraArgs": [
            "--collector.filesystem.mount-points-exclude=^/(dev|proc)($|/)",
            "--no-collector.vmstat", "--collector.disable-defaults", "--log.format=json"]}}),
        json!({"authentication": {"basicAuth": {"username": "Team_1.scraper-2"}}}),
        json!({"authentication": {"methods": ["ClientCertificate"]}}),
        json!({"authentication": {"basicAuth": {
            "passwordSecretRef": {"name": "mine"}, "usersSecretRef": {"name": "people"}}}}),
        // rotationInterval has no effect on a user-supplied password, so it cannot be too short.
        json!({"authentication": {"basicAuth": {
            "rotationInterval": "1h", "passwordSecretRef": {"name": "mine", "key": "pw"}}}}),
        json!({"authentication": {"methods": ["BasicAuth", "ClientCertificate"]}}),
        json!({"authentication": {"basicAuth": {"bcryptCost": 4}}}),
        json!({"authentication": {"basicAuth": {"bcryptCost": 10, "passwordSecretRef": {"name": "mine"}}}}),
        json!({"exporter": {"collectors": {"disabled": ["systemd", "logind"]}}}),
        json!({"workload": {"affinity": {"nodeAffinity": {}}}}),
        json!({"workload": {"podLabels": {"team": "x", "example.com/app.kubernetes.io": "y"}}}),
    ] {
        accepts(spec);
    }
}

#[test]
fn invalid_specs_are_refused_with_the_reason() {
    let certificate = |value: Value| json!({"tls": {"certificate": value}});
    let key = |value: Value| certificate(json!({"privateKey": value}));
    let arguments = |text: &str| json!({"exporter": {"extraArgs": ["--collector.cpu", text]}});
    for (message, spec) in [
        (
            "duration must be between 1m and 43800h",
            certificate(json!({"duration": "59s"})),
        ),
        (
            "duration must be between 1m and 43800h",
            certificate(json!({"duration": "43800h1s"})),
        ),
        (
            "use 2160h for 90 days",
            certificate(json!({"duration": "90d"})),
        ),
        (
            "use 2160h for 90 days",
            json!({"authentication": {"basicAuth": {"rotationInterval": "90d"}}}),
        ),
        (
            "use 48h for 2 days",
            json!({"rotation": {"clientOverlap": "2d"}}),
        ),
        (
            "for example 30s or 1m",
            json!({"scrape": {"interval": "soon"}}),
        ),
        ("for example 10s", json!({"scrape": {"timeout": "soon"}})),
        ("size must be 256 or 384", key(json!({"size": 2048}))),
        (
            "size must be 256 or 384",
            key(json!({"algorithm": "RSA", "size": 1024})),
        ),
        (
            "size must be 256 or 384",
            key(json!({"algorithm": "Ed25519", "size": 256})),
        ),
        (
            "timeout must not be longer",
            json!({"scrape": {"interval": "10s", "timeout": "1m"}}),
        ),
        (
            "timeout must be at least 1s",
            json!({"scrape": {"timeout": "0s"}}),
        ),
        (
            "extraLabels must have names",
            json!({"scrape": {"extraLabels": {"a-b": "c"}}}),
        ),
        (
            "extraLabels must have names",
            json!({"scrape": {"extraLabels": {"__scheme__": "http"}}}),
        ),
        (
            "interval must be between",
            json!({"scrape": {"interval": "25h"}}),
        ),
        (
            "interval must be between",
            json!({"scrape": {"interval": "0s", "timeout": "0s"}}),
        ),
        (
            "both enabled and disabled",
            json!({"exporter": {"collectors": {"enabled": ["cpu"], "disabled": ["cpu"]}}}),
        ),
        (
            "extraArgs may only contain",
            arguments("--web.listen-address=:80"),
        ),
        (
            "extraArgs may only contain",
            arguments("--web.config.file="),
        ),
        ("extraArgs may only contain", arguments("--path.rootfs=/")),
        (
            "extraArgs may only contain",
            arguments("@/host/root/etc/shadow"),
        ),
        ("extraArgs may only contain", arguments("--collector.")),
        ("extraArgs may only contain", arguments("--collector.a b")),
        ("extraArgs may only contain", arguments("x --collector.cpu")),
        (
            "username may only contain",
            json!({"authentication": {"basicAuth": {"username": "a:b"}}}),
        ),
        (
            "username may only contain",
            json!({"authentication": {"basicAuth": {"username": ""}}}),
        ),
        (
            "need BasicAuth in methods",
            json!({"authentication": {"methods": ["ClientCertificate"], "basicAuth": {"passwordSecretRef": {"name": "mine"}}}}),
        ),
        (
            "need BasicAuth in methods",
            json!({"authentication": {"methods": ["ClientCertificate"], "basicAuth": {"usersSecretRef": {"name": "people"}}}}),
        ),
        (
            "passwordSecretRef must name a Secret that you supply",
            json!({"authentication": {"basicAuth": {"passwordSecretRef": {"name": "nodes-scrape"}}}}),
        ),
        (
            "usersSecretRef must name a Secret that you supply",
            json!({"authentication": {"basicAuth": {"usersSecretRef": {"name": "nodes-state"}}}}),
        ),
        (
            "bcryptCost must be at least 10",
            json!({"authentication": {"basicAuth": {"bcryptCost": 9, "passwordSecretRef": {"name": "mine"}}}}),
        ),
        (
            "need the node's message bus",
            json!({"exporter": {"collectors": {"enabled": ["cpu", "systemd"]}}}),
        ),
        (
            "need the node's message bus",
            json!({"exporter": {"collectors": {"enabled": ["logind"]}}}),
        ),
        (
            "needs the capability CAP_PERFMON",
            json!({"exporter": {"collectors": {"enabled": ["perf"]}}}),
        ),
        (
            "affinity may only contain nodeAffinity",
            json!({"workload": {"affinity": {"podAntiAffinity": {}}}}),
        ),
        (
            "affinity may only contain nodeAffinity",
            json!({"workload": {"affinity": {"nodeAffinity": {}, "podAffinity": {}}}}),
        ),
        (
            "podLabels may not set",
            json!({"workload": {"podLabels": {"app.kubernetes.io/name": "x"}}}),
        ),
        (
            "podLabels may not set",
            json!({"workload": {"podLabels": {"app.kubernetes.io/version": "x"}}}),
        ),
    ] {
        refuses(message, "nodes", spec);
    }
}

#[test]
fn an_issuer_sets_the_block_of_its_type_and_no_other() {
    let tls = |issuer: Value| json!({"tls": {"issuer": issuer}});
    let provided = json!({"secretName": "corporate"});
    let cert_manager = json!({"issuerRef": {"name": "vault"}});
    let with_bundle = |reference: Value| {
        tls(
            json!({"type": "Provided", "provided": {"secretName": "corporate", "caBundleRef": reference}}),
        )
    };
    let of_secret = json!({"name": "roots", "key": "ca.crt"});
    for spec in [
        tls(json!({"type": "Managed"})),
        tls(json!({"type": "Provided", "provided": provided})),
        tls(json!({"type": "CertManager", "certManager": cert_manager})),
        with_bundle(json!({"secretKeyRef": of_secret})),
        with_bundle(json!({"configMapKeyRef": of_secret})),
    ] {
        accepts(spec);
    }
    let mut mutual = tls(json!({"type": "Provided", "provided": provided}));
    mutual["authentication"] = json!({"methods": ["ClientCertificate"]});
    for (message, spec) in [
        ("provided must be set if", tls(json!({"type": "Provided"}))),
        (
            "provided must be set if",
            tls(json!({"provided": provided})),
        ),
        (
            "certManager must be set if",
            tls(json!({"type": "CertManager"})),
        ),
        (
            "certManager must be set if",
            tls(json!({"type": "Provided", "provided": provided, "certManager": cert_manager})),
        ),
        ("exactly one of", with_bundle(json!({}))),
        (
            "exactly one of",
            with_bundle(json!({"secretKeyRef": of_secret, "configMapKeyRef": of_secret})),
        ),
        ("issuer.type must be Managed", mutual),
    ] {
        refuses(message, "nodes", spec);
    }
}

#[test]
fn a_name_that_is_too_long_or_no_dns_label_is_refused() {
    refuses("at most 52 characters", &"n".repeat(53), json!({}));
    for name in ["1nodes", "no.des", "nodes-"] {
        refuses("DNS-1035", name, json!({}));
    }
    resource(&"n".repeat(52), json!({})).validate_cel().unwrap();
}

#[test]
fn fields_that_scrapers_depend_on_are_immutable() {
    let server = |name: Option<&str>| match name {
        Some(name) => json!({"tls": {"serverName": name}}),
        None => json!({}),
    };
    let user = |name: &str| json!({"authentication": {"basicAuth": {"username": name}}});
    let methods = |list: &[&str]| json!({"authentication": {"methods": list}});
    let update = |old: Value, new: Value| {
        resource("nodes", new).validate_cel_update(&resource("nodes", old))
    };
    for (message, old, new) in [
        (
            "serverName is immutable",
            server(Some("a.example.com")),
            server(Some("b.example.com")),
        ),
        (
            "serverName is immutable",
            server(None),
            server(Some("a.example.com")),
        ),
        (
            "serverName is immutable",
            server(Some("a.example.com")),
            server(None),
        ),
        ("username is immutable", user("a"), user("b")),
        ("username is immutable", json!({}), user("b")),
        (
            "methods is immutable",
            json!({}),
            methods(&["ClientCertificate"]),
        ),
        (
            "methods is immutable",
            methods(&["BasicAuth"]),
            methods(&["BasicAuth", "ClientCertificate"]),
        ),
        (
            "methods is immutable",
            methods(&["BasicAuth", "ClientCertificate"]),
            methods(&["ClientCertificate"]),
        ),
    ] {
        let error = update(old, new).unwrap_err();
        assert!(format!("{error:?}").contains(message), "{error:?}");
    }
    update(server(Some("a.example.com")), server(Some("a.example.com"))).unwrap();
    update(json!({}), json!({"exporter": {"port": 9101}})).unwrap();
    update(json!({}), user("prometheus")).unwrap();
    update(
        methods(&["BasicAuth", "ClientCertificate"]),
        methods(&["ClientCertificate", "BasicAuth"]),
    )
    .unwrap();
}

#[test]
fn an_empty_spec_has_the_defaults_of_the_types() {
    let from_json: super::SecureExporterSpec = serde_json::from_value(json!({})).unwrap();
    assert_eq!(from_json, super::SecureExporterSpec::default());
}

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::spec::{image_policy::ImagePolicy, pod_policy::PodPolicy};
use secure_exporter_pki::KeyType;

fn parse_all(spec: Value) -> Result<ParsedSpec, SpecError> {
    let policy = Policy {
        images: ImagePolicy::new("localhost/secure-exporter:dev", &[]).unwrap(),
        pods: PodPolicy::default(),
    };
    ParsedSpec::parse(
        &serde_json::from_value(spec).unwrap(),
        &Owner::nodes(),
        &policy,
    )
}

fn parse(spec: Value) -> Result<ValidSpec, SpecError> {
    parse_all(spec).map(|parsed| parsed.spec)
}

fn workload(spec: Value) -> Result<ValidWorkload, SpecError> {
    parse_all(spec).and_then(|parsed| parsed.workload)
}

#[test]
fn what_the_policy_forbids_only_affects_the_pods() {
    for (field, spec) in [
        (
            "spec.image.repository",
            json!({"image": {"repository": "registry.example.com/other"}}),
        ),
        (
            "spec.workload.podLabels[a]",
            json!({"workload": {"podLabels": {"a": "b"}}}),
        ),
        (
            "spec.workload.podAnnotations[sidecar.istio.io/inject]",
            json!({"workload": {"podAnnotations": {"sidecar.istio.io/inject": "true"}}}),
        ),
        (
            "spec.workload.priorityClassName",
            json!({"workload": {"priorityClassName": "system-node-critical"}}),
        ),
        (
            "spec.workload.resources.requests[cpu]",
            json!({"workload": {"resources": {"requests": {"cpu": 64}}}}),
        ),
        (
            "spec.workload.affinity",
            json!({"workload": {"affinity": {"podAntiAffinity": {}}}}),
        ),
    ] {
        let parsed = parse_all(spec).unwrap();
        assert_eq!(parsed.workload.unwrap_err().field, field);
        assert_eq!(parsed.spec, parse(json!({})).unwrap());
    }
}

#[test]
fn the_cost_of_the_hash_depends_on_who_chose_the_password() {
    let cost = |basic_auth: Value| {
        let spec = parse(json!({"authentication": {"basicAuth": basic_auth}}))?;
        Ok::<_, SpecError>((spec.bcrypt_cost, spec.has_default_bcrypt_cost))
    };
    let mine = json!({"name": "mine"});
    for (basic_auth, expected) in [
        (json!({}), (6, true)),
        (json!({"passwordSecretRef": mine}), (12, true)),
        (json!({"bcryptCost": 4}), (4, false)),
        // What the API server stored where it was the default.
        (json!({"bcryptCost": 10}), (10, false)),
        (
            json!({"bcryptCost": 10, "passwordSecretRef": mine}),
            (10, false),
        ),
    ] {
        assert_eq!(cost(basic_auth.clone()).unwrap(), expected, "{basic_auth}");
    }
    let error = cost(json!({"bcryptCost": 9, "passwordSecretRef": mine})).unwrap_err();
    assert_eq!(error.field, "spec.authentication.basicAuth.bcryptCost");
    assert_eq!(
        error.problem,
        "must be between 10 and 14 with passwordSecretRef"
    );
}

#[test]
fn a_spec_that_an_earlier_version_accepted_has_a_set_cost() {
    let spec = parse(json!({"authentication": {"basicAuth": {"bcryptCost": 10}}})).unwrap();
    let mut stored = serde_json::to_value(&spec).unwrap();
    stored
        .as_object_mut()
        .unwrap()
        .remove("hasDefaultBcryptCost");
    assert_eq!(serde_json::from_value::<ValidSpec>(stored).unwrap(), spec);
}

#[test]
fn a_quantity_may_be_a_number() {
    let resources =
        json!({"requests": {"cpu": 1, "memory": "24Mi"}, "limits": {"memory": 4_294_967_296_i64}});
    let read: Resources = serde_json::from_value(resources).unwrap();
    assert_eq!(read.requests["cpu"], Quantity("1".into()));
    assert_eq!(read.limits["memory"], Quantity("4294967296".into()));
}

#[test]
fn an_accepted_spec_is_read_as_it_was_stored() {
    let issuers = [
        json!({"type": "Managed"}),
        json!({"type": "Provided", "provided": {"secretName": "corporate"}}),
        json!({"type": "CertManager", "certManager": {"issuerRef": {"name": "ca"}, "caBundleRef": {"configMapKeyRef": {"name": "bundle", "key": "ca.crt"}}}}),
    ];
    for issuer in issuers {
        let spec = parse(json!({
            "tls": {"issuer": issuer, "certificate": {"additionalIPAddresses": ["2001:db8::1"],
                "privateKey": {"algorithm": "RSA", "size": 4096}, "subject": {"country": "CH"}}},
            "authentication": {"basicAuth": {"passwordSecretRef": {"name": "own"}, "usersSecretRef": {"name": "users"}}},
            "scrape": {"serviceAccounts": [{"namespace": "a", "name": "b"}]},
            "hostAccess": {"network": "Pod"},
        }))
        .unwrap();
        let stored = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<ValidSpec>(&stored).unwrap(), spec);
    }
}

#[test]
fn an_invalid_spec_takes_names_key_and_lifetime_from_the_serving_certificate() {
    let asked = json!({
        "exporter": {"port": 9443},
        "tls": {"serverName": "nodes.example.com", "certificate": {"duration": "100h",
            "privateKey": {"algorithm": "ECDSA", "size": 384}, "additionalDNSNames": ["x.example.com"]}},
        "authentication": {"methods": ["ClientCertificate"], "basicAuth": {"username": "scraper"}},
        "scrape": {"interval": "45s"},
    });
    let spec = parse(asked.clone()).unwrap();
    let now = "2027-01-01T00:00:00Z".parse().unwrap();
    let serial = || secure_exporter_pki::Serial::random().unwrap();
    let authority = secure_exporter_pki::issue_authority("a.b", 1, now, serial()).unwrap();
    let leaf = secure_exporter_pki::issue_leaf(
        &spec.certificate.parameters,
        &authority.certificate_pem,
        &authority.key_pem,
        now,
        serial(),
    )
    .unwrap();
    for broken in [
        ("/tls/certificate/duration", json!("1 year")),
        ("/tls/certificate/privateKey/size", json!(521)),
        ("/tls/certificate/additionalDNSNames/0", json!("no name")),
        ("/tls/issuer", json!({"type": "Provided"})),
        ("/exporter/collectors", json!({"enabled": ["cpuu"]})),
    ] {
        let mut invalid = asked.clone();
        let (parent, key) = broken.0.rsplit_once('/').unwrap();
        match invalid.pointer_mut(parent).unwrap() {
            Value::Array(items) => items[0] = broken.1,
            object => object[key] = broken.1,
        }
        assert!(parse(invalid.clone()).is_err(), "{}", broken.0);
        let raw = serde_json::from_value(invalid).unwrap();
        let derived = ValidSpec::of_served(&raw, &Owner::nodes(), &leaf.certificate_pem).unwrap();
        assert_eq!(derived, spec, "{}", broken.0);
    }
}

#[test]
fn an_empty_spec_has_working_defaults() {
    let spec = parse(json!({})).unwrap();
    assert_eq!(spec.port, 9100);
    assert_eq!(spec.server_name, "nodes.monitoring.svc");
    assert_eq!(spec.min_tls_version, MinTlsVersion::Tls13);
    assert_eq!(spec.certificate.renew_before_percentage, 33);
    assert_eq!(spec.certificate.parameters.key_type, KeyType::EcdsaP256);
    assert_eq!(
        spec.certificate.parameters.dns_names,
        ["nodes.monitoring.svc"]
    );
    assert_eq!(spec.certificate.parameters.subject.common_name, "nodes");
    assert_eq!(
        spec.certificate.parameters.duration,
        SignedDuration::from_hours(8760)
    );
    assert_eq!(
        (spec.username.as_str(), spec.bcrypt_cost),
        ("prometheus", 6)
    );
    assert_eq!(spec.methods, Methods::Password);
    assert_eq!(spec.scrape.job_label, "node-exporter");
    assert_eq!(spec.scrape.job_name, "secureexporter/monitoring/nodes");
    let workload = workload(json!({})).unwrap();
    assert_eq!(workload.image.reference, "localhost/secure-exporter:dev");
    assert_eq!(workload.tolerations.len(), 1);
    assert_eq!(workload.resources, default_resources());
}

#[test]
fn lists_are_sorted_where_their_order_means_nothing() {
    let parsed = parse_all(json!({
        "exporter": {"collectors": {"enabled": ["vmstat", "cpu"]}},
        "scrape": {"serviceAccounts": [
            {"namespace": "z", "name": "a"}, {"namespace": "a", "name": "z"}, {"namespace": "a", "name": "b"}]},
    }))
    .unwrap();
    let exporter = parsed.workload.unwrap().exporter;
    assert_eq!(exporter.enabled_collectors, ["cpu", "vmstat"]);
    let names: Vec<_> = parsed
        .spec
        .scrape
        .service_accounts
        .iter()
        .map(|a| a.name.as_str())
        .collect();
    assert_eq!(names, ["b", "z", "a"]);
}

#[test]
fn every_set_of_methods_except_the_empty_one_is_accepted() {
    let methods = |list: Value| parse(json!({"authentication": {"methods": list}}));
    for (list, expected) in [
        (json!(["BasicAuth"]), Methods::Password),
        (json!(["ClientCertificate"]), Methods::Certificate),
        (
            json!(["ClientCertificate", "BasicAuth"]),
            Methods::PasswordAndCertificate,
        ),
    ] {
        assert_eq!(methods(list).unwrap().methods, expected);
    }
    let refused = methods(json!([])).unwrap_err();
    assert_eq!(refused.field, "spec.authentication.methods");
}

#[test]
fn every_key_has_a_type() {
    for (algorithm, size, expected) in [
        ("ECDSA", Some(384), KeyType::EcdsaP384),
        ("RSA", None, KeyType::Rsa2048),
        ("RSA", Some(3072), KeyType::Rsa3072),
        ("RSA", Some(4096), KeyType::Rsa4096),
        ("Ed25519", None, KeyType::Ed25519),
    ] {
        let key = json!({"algorithm": algorithm, "size": size});
        let spec = parse(json!({"tls": {"certificate": {"privateKey": key}}})).unwrap();
        assert_eq!(spec.certificate.parameters.key_type, expected);
    }
}

#[test]
fn an_invalid_field_is_refused_with_its_path() {
    let certificate = |value: Value| json!({"tls": {"certificate": value}});
    let exporter = |value: Value| json!({"exporter": value});
    let basic = |value: Value| json!({"authentication": {"basicAuth": value}});
    let argument = |text: &str| exporter(json!({"extraArgs": [text]}));
    for (field, spec) in [
        (
            "spec.image.repository",
            json!({"image": {"repository": "evil.example.com/x"}}),
        ),
        ("spec.image.tag", json!({"image": {"tag": "a b"}})),
        (
            "spec.image.digest",
            json!({"image": {"digest": "sha256:1"}}),
        ),
        ("spec.exporter.port", exporter(json!({"port": 0}))),
        ("spec.exporter.port", exporter(json!({"port": 65536}))),
        (
            "spec.exporter.collectors.enabled[1]",
            exporter(json!({"collectors": {"enabled": ["cpu", "gpu"]}})),
        ),
        (
            "spec.exporter.collectors.disabled[0]",
            exporter(json!({"collectors": {"disabled": ["x"]}})),
        ),
        (
            "spec.exporter.collectors",
            exporter(json!({"collectors": {"enabled": ["cpu"], "disabled": ["cpu"]}})),
        ),
        (
            "spec.exporter.extraArgs[0]",
            argument("--web.config.file=/dev/null"),
        ),
        ("spec.exporter.extraArgs[0]", argument("--web.require=")),
        (
            "spec.exporter.extraArgs[0]",
            argument("@/host/root/etc/shadow"),
        ),
        ("spec.exporter.extraArgs[0]", argument("--path.rootfs=/")),
        ("spec.exporter.extraArgs[0]", argument("--collector.gpu")),
        ("spec.exporter.extraArgs[0]", argument("--log.")),
        ("spec.exporter.extraArgs[0]", argument("--log.level=debug")),
        ("spec.exporter.extraArgs[0]", argument("collector.cpu")),
        (
            "spec.tls.serverName",
            json!({"tls": {"serverName": "a..b"}}),
        ),
        (
            "spec.tls.certificate.duration",
            certificate(json!({"duration": "59s"})),
        ),
        (
            "spec.tls.certificate.duration",
            certificate(json!({"duration": "43801h"})),
        ),
        (
            "spec.tls.certificate.duration",
            certificate(json!({"duration": "a year"})),
        ),
        (
            "spec.tls.certificate.renewBeforePercentage",
            certificate(json!({"renewBeforePercentage": 91})),
        ),
        (
            "spec.tls.certificate.privateKey.size",
            certificate(json!({"privateKey": {"size": 2048}})),
        ),
        (
            "spec.tls.certificate.privateKey.size",
            certificate(json!({"privateKey": {"algorithm": "RSA", "size": 1024}})),
        ),
        (
            "spec.tls.certificate.privateKey.size",
            certificate(json!({"privateKey": {"algorithm": "Ed25519", "size": 256}})),
        ),
        (
            "spec.tls.certificate.subject.country",
            certificate(json!({"subject": {"country": "che"}})),
        ),
        (
            "spec.tls.certificate.additionalDNSNames[0]",
            certificate(json!({"additionalDNSNames": ["a_b"]})),
        ),
        (
            "spec.tls.certificate.additionalIPAddresses[0]",
            certificate(json!({"additionalIPAddresses": ["1.2.3"]})),
        ),
        (
            "spec.authentication.basicAuth.username",
            basic(json!({"username": "a:b"})),
        ),
        (
            "spec.authentication.basicAuth.username",
            basic(json!({"username": ""})),
        ),
        (
            "spec.authentication.basicAuth.bcryptCost",
            basic(json!({"bcryptCost": 15})),
        ),
        (
            "spec.authentication.basicAuth.passwordSecretRef",
            basic(json!({"passwordSecretRef": {"name": "nodes-state"}})),
        ),
        (
            "spec.authentication.basicAuth.usersSecretRef",
            basic(json!({"usersSecretRef": {"name": "nodes-server"}})),
        ),
        (
            "spec.authentication.basicAuth.usersSecretRef",
            json!({"authentication": {
                "methods": ["ClientCertificate"], "basicAuth": {"usersSecretRef": {"name": "people"}}}}),
        ),
        (
            "spec.scrape.timeout",
            json!({"scrape": {"interval": "10s", "timeout": "11s"}}),
        ),
        (
            "spec.scrape.interval",
            json!({"scrape": {"interval": "0s"}}),
        ),
        (
            "spec.workload.podLabels[app.kubernetes.io/name]",
            json!({"workload": {"podLabels": {"app.kubernetes.io/name": "x"}}}),
        ),
        (
            "spec.workload.updateStrategy.maxUnavailable",
            json!({"workload": {"updateStrategy": {"maxUnavailable": 0}}}),
        ),
        (
            "spec.workload.updateStrategy.maxUnavailable",
            json!({"workload": {"updateStrategy": {"maxUnavailable": "ten"}}}),
        ),
    ] {
        assert_eq!(workload(spec.clone()).unwrap_err().field, field, "{spec}");
    }
}

#[test]
fn a_user_supplied_password_has_no_interval() {
    let secret = json!({"name": "mine"});
    let basic_auth = json!({"rotationInterval": "1h", "passwordSecretRef": secret});
    let spec = parse(json!({"authentication": {"basicAuth": basic_auth}})).unwrap();
    assert_eq!(spec.rotation.password_interval, None);
    let place = spec.password_secret.as_ref().unwrap();
    assert_eq!(
        (place.name.as_str(), place.key.as_str()),
        ("mine", "password")
    );
    assert!(spec.has_supplied_secrets());
    assert!(!parse(json!({})).unwrap().has_supplied_secrets());
}

#[test]
fn every_issuer_has_its_source() {
    let issuer = |issuer: Value| parse(json!({"tls": {"issuer": issuer}}));
    let provided = |bundle: Value| {
        issuer(json!({
            "type": "Provided",
            "provided": {"secretName": "corporate", "caBundleRef": bundle},
        }))
    };
    assert_eq!(parse(json!({})).unwrap().issuer, ValidIssuer::Managed);
    let config_map = json!({"configMapKeyRef": {"name": "roots", "key": "ca.pem"}});
    for (bundle, expected) in [
        (json!(null), "key ca.crt of Secret corporate"),
        (
            json!({"secretKeyRef": {"name": "roots", "key": "tls.crt"}}),
            "key tls.crt of Secret roots",
        ),
        (config_map, "key ca.pem of ConfigMap roots"),
    ] {
        let ValidIssuer::Provided {
            secret_name,
            bundle,
        } = provided(bundle).unwrap().issuer
        else {
            panic!("another issuer");
        };
        assert_eq!(
            (secret_name.as_str(), bundle.to_string().as_str()),
            ("corporate", expected)
        );
    }
    let cert_manager =
        json!({"type": "CertManager", "certManager": {"issuerRef": {"name": "vault"}}});
    let ValidIssuer::CertManager { issuer, bundle } = issuer(cert_manager).unwrap().issuer else {
        panic!("another issuer");
    };
    assert_eq!(
        (issuer.kind.as_str(), issuer.group.as_str(), bundle),
        ("Issuer", "cert-manager.io", None)
    );
}

#[test]
fn an_issuer_that_cannot_issue_is_refused() {
    let provided = |name: &str| json!({"type": "Provided", "provided": {"secretName": name}});
    let bundle = |reference: Value| json!({"type": "Provided", "provided": {"secretName": "corporate", "caBundleRef": reference}});
    for (field, issuer) in [
        ("spec.tls.issuer", json!({"type": "Provided"})),
        ("spec.tls.issuer", json!({"type": "CertManager"})),
        (
            "spec.tls.issuer",
            json!({"provided": {"secretName": "corporate"}}),
        ),
        (
            "spec.tls.issuer.provided.secretName",
            provided("nodes-server"),
        ),
        (
            "spec.tls.issuer.provided.secretName",
            provided("nodes-state"),
        ),
        (
            "spec.tls.issuer.provided.caBundleRef",
            bundle(json!({"secretKeyRef": {"name": "nodes-scrape", "key": "ca.crt"}})),
        ),
        (
            "spec.tls.issuer.provided.caBundleRef",
            bundle(json!({"configMapKeyRef": {"name": "nodes-ca", "key": "ca.crt"}})),
        ),
        ("spec.tls.issuer.provided.caBundleRef", bundle(json!({}))),
    ] {
        let spec = json!({"tls": {"issuer": issuer}});
        assert_eq!(parse(spec.clone()).unwrap_err().field, field, "{spec}");
    }
    let both = json!({
        "tls": {"issuer": provided("corporate")},
        "authentication": {"methods": ["BasicAuth", "ClientCertificate"]},
    });
    assert_eq!(parse(both).unwrap_err().field, "spec.tls.issuer.type");
}

#[test]
fn arguments_for_collectors_and_logging_are_allowed() {
    let arguments = [
        "--collector.filesystem.mount-points-exclude=^/(dev|proc)($|/)",
        "--no-collector.vmstat",
        "--collector.disable-defaults",
        "--log.format=json",
    ];
    let workload = workload(json!({"exporter": {"extraArgs": arguments}})).unwrap();
    assert_eq!(workload.exporter.extra_args, arguments);
}

#[test]
fn an_invalid_name_is_refused() {
    for name in ["1nodes", "no.des", "Nodes", "nodes-", &"n".repeat(53)] {
        let owner = Owner {
            name: name.to_owned(),
            ..Owner::nodes()
        };
        let error = ValidSpec::parse(&SecureExporterSpec::default(), &owner).unwrap_err();
        assert_eq!(error.field, "metadata.name", "{name}");
    }
}

#[test]
fn a_misspelt_collector_is_answered_with_the_closest_name() {
    let problem = |name: &str| {
        let spec = json!({"exporter": {"collectors": {"enabled": [name]}}});
        parse_all(spec).unwrap_err().problem
    };
    assert_eq!(
        problem("file-system"),
        "unknown collector \"file-system\"; did you mean \"filesystem\"?"
    );
    assert_eq!(
        problem("cpufrq"),
        "unknown collector \"cpufrq\"; did you mean \"cpufreq\"?"
    );
    let unknown = problem("kubernetes");
    assert!(!unknown.contains("did you mean"), "{unknown}");
}

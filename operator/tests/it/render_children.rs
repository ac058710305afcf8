//! Every generated object, for the empty spec and for one that sets everything.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Secret;
use secure_exporter_operator::{
    names::Owner,
    render::{Children, RenderError, certificate_request, children, pod_monitor, state_secret},
    rotation::{
        order::Order,
        state::{Authority, Client, Leaf, Password, State},
    },
    spec::{
        ParsedSpec,
        image_policy::ImagePolicy,
        issuer::ValidIssuer,
        pod_policy::{PodPolicy, PodRules},
        policy::Policy,
    },
};
use secure_exporter_pki::{SigningRequest, secret_text::SecretText};
use secure_exporter_web_config::{BcryptHash, ClientAuthType, UserHashes, WebConfig};
use serde_json::{Value, json};

const HASH: &str = "$2b$04$......................1rjnAsbI3oe4Ca3k6oAqGZDVDZHhQ0u";

pub(crate) fn owner() -> Owner {
    Owner {
        name: "nodes".into(),
        namespace: "monitoring".into(),
        uid: "0b7d4a2e-0000-4000-8000-000000000001".into(),
    }
}

fn pem(kind: &str, text: &str) -> String {
    format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
}

fn authority(generation: u64) -> Authority {
    Authority {
        certificate_pem: pem("CERTIFICATE", &format!("authority {generation}")),
        key_pem: Some(SecretText::new(pem(
            "PRIVATE KEY",
            &format!("authority {generation}"),
        ))),
        cross_pem: None,
    }
}

fn password(generation: u64) -> Password {
    Password {
        password: Some(SecretText::new(format!(
            "password-of-generation-{generation}"
        ))),
        hash: SecretText::new(HASH.replacen("$......", &format!("$.....{generation}"), 1)),
        cost: 4,
        created: jiff::Timestamp::UNIX_EPOCH,
        own: false,
    }
}

pub(crate) fn state() -> State {
    State {
        generation: 5,
        authorities: BTreeMap::from([(1, authority(1))]),
        active_authority: 1,
        leaf: Leaf {
            certificate_pem: pem("CERTIFICATE", "leaf"),
            key_pem: SecretText::new(pem("PRIVATE KEY", "leaf")),
            authority_generation: 1,
            parameters: "fingerprint".into(),
        },
        client: Some(Client {
            certificate_pem: pem("CERTIFICATE", "client"),
            key_pem: SecretText::new(pem("PRIVATE KEY", "client")),
            authority_generation: 1,
            parameters: "fingerprint".into(),
        }),
        passwords: BTreeMap::from([(1, password(1))]),
        active_password: 1,
        authority_progress: None,
        password_progress: None,
        users: BTreeMap::new(),
        accepted: None,
        handled: BTreeMap::new(),
    }
}

pub(crate) fn valid(spec: Value) -> ParsedSpec {
    let allowed = ["registry.example.com/mirror".to_owned()];
    let policy = Policy {
        images: ImagePolicy::new("localhost/secure-exporter:dev", &allowed).unwrap(),
        pods: PodPolicy::new(&PodRules {
            label_prefixes: vec!["team".to_owned()],
            annotation_prefixes: vec!["example.com/".to_owned()],
            priority_classes: vec!["system-node-critical".to_owned()],
            max_resources: vec!["cpu=1".to_owned(), "memory=512Mi".to_owned()],
        })
        .unwrap(),
    };
    ParsedSpec::parse(&serde_json::from_value(spec).unwrap(), &owner(), &policy).unwrap()
}

pub(crate) fn everything() -> ParsedSpec {
    valid(json!({
        "image": {
            "repository": "registry.example.com/mirror/secure-exporter", "tag": "1.2.3",
            "pullPolicy": "Always", "pullSecrets": [{"name": "registry"}],
        },
        "exporter": {
            "port": 9443, "logLevel": "Debug",
            "collectors": {"enabled": ["cpu"], "disabled": ["vmstat", "loadavg"]},
            "extraArgs": ["--collector.netdev.device-exclude=^veth"],
        },
        "tls": {"minVersion": "TLS12", "serverName": "nodes.example.com"},
        "authentication": {
            "methods": ["BasicAuth", "ClientCertificate"], "basicAuth": {"username": "scraper"}},
        "scrape": {
            "jobName": "no$de", "interval": "1m", "timeout": "1m",
            "serviceAccounts": [
                {"namespace": "monitoring", "name": "prometheus"}, {"namespace": "edge", "name": "alloy"}],
            "instanceLabel": "Address",
            "extraLabels": {"cluster": "we$t"},
            "relabelings": [
                {"sourceLabels": ["__meta_kubernetes_pod_label_team"], "targetLabel": "team"},
                {"action": "drop", "sourceLabels": ["node"], "regex": "test-.*"}],
            "metricRelabelings": [
                {"action": "drop", "sourceLabels": ["__name__"], "separator": ",", "regex": "go_.*"}],
            "sampleLimit": 50000,
            "prometheusOperator": {"mode": "Enabled", "labels": {"release": "stack"}},
        },
        "workload": {
            "nodeSelector": {"pool": "metal"},
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "virtual", "operator": "DoesNotExist"}]}]}}},
            "priorityClassName": "system-node-critical",
            "resources": {"requests": {"cpu": "20m"}, "limits": {"memory": "128Mi"}},
            "updateStrategy": {"type": "OnDelete"},
            "podLabels": {"team": "metal"},
            "podAnnotations": {"example.com/note": "scraped by us"},
        },
    }))
}

pub(crate) fn render(parsed: &ParsedSpec, state: &State) -> Children {
    try_render(parsed, state).unwrap()
}

fn try_render(parsed: &ParsedSpec, state: &State) -> Result<Children, RenderError> {
    let workload = parsed.workload.as_ref().ok();
    children(&parsed.spec, workload, &owner(), state)
}

fn text(secret: &Secret, key: &str) -> String {
    let data = secret.data.as_ref().unwrap();
    let ByteString(bytes) = data.get(key).unwrap_or_else(|| panic!("no key {key}"));
    String::from_utf8(bytes.clone()).unwrap()
}

/// A Secret in readable form: the object without data, followed by its files.
fn readable(secret: &Secret) -> String {
    let head = Secret {
        data: None,
        ..secret.clone()
    };
    let mut written = serde_saphyr::to_string(&head).unwrap();
    for key in secret.data.as_ref().unwrap().keys() {
        written += &format!("--- {key}\n{}\n", text(secret, key));
    }
    written
}

fn snapshot(name: &str, children: &Children) {
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_yaml_snapshot!(format!("{name}-service-account"), children.service_account);
        if let Some(discovery) = &children.discovery {
            insta::assert_yaml_snapshot!(format!("{name}-role"), discovery.role);
            insta::assert_yaml_snapshot!(format!("{name}-role-binding"), discovery.role_binding);
        }
        insta::assert_snapshot!(format!("{name}-server-secret"), readable(&children.server_secret));
        insta::assert_snapshot!(format!("{name}-scrape-secret"), readable(&children.scrape_secret));
        insta::assert_yaml_snapshot!(format!("{name}-ca-config-map"), children.ca_config_map);
        insta::assert_yaml_snapshot!(format!("{name}-service"), children.service);
        insta::assert_yaml_snapshot!(format!("{name}-daemon-set"), children.daemon_set);
    });
}

#[test]
fn the_empty_spec() {
    let children = render(&valid(json!({})), &state());
    assert_eq!(children.discovery, None);
    snapshot("empty", &children);
}

#[test]
fn a_spec_that_sets_everything() {
    snapshot("everything", &render(&everything(), &state()));
}

#[test]
fn pods_in_the_pod_network_get_the_name_of_their_node() {
    let on_host = render(&valid(json!({})), &state()).daemon_set;
    let network = json!({"hostAccess": {"network": "Pod"}});
    let apart = render(&valid(network), &state()).daemon_set;
    let container = |set: &DaemonSet| {
        let pod = set.spec.clone().unwrap().template.spec.unwrap();
        (pod.host_network, pod.containers[0].clone())
    };
    let (host_network, with_host) = container(&on_host.unwrap());
    assert_eq!(host_network, Some(true));
    // Ours, so that it is removed when the pods move to the pod network.
    assert_eq!(with_host.ports.unwrap()[0].host_port, Some(9100));
    assert!(!with_host.args.unwrap().join(" ").contains("--host."));
    assert_eq!(with_host.env, None);

    let (host_network, alone) = container(&apart.unwrap());
    assert_eq!(host_network, None);
    let port = &alone.ports.unwrap()[0];
    assert_eq!((port.host_port, port.container_port), (None, 9100));
    let arguments = alone.args.unwrap();
    assert!(arguments.contains(&"--host.network=apart".to_owned()));
    assert!(arguments.contains(&"--host.name=$(NODE_NAME)".to_owned()));
    let variable = serde_json::to_value(&alone.env.unwrap()[0]).unwrap();
    assert_eq!(variable["name"], "NODE_NAME");
    let source = &variable["valueFrom"]["fieldRef"]["fieldPath"];
    assert_eq!(source, "spec.nodeName");
}

#[test]
fn the_state_secret() {
    let secret = state_secret(&owner(), Some(&state()), None);
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("state-secret", readable(&secret));
    });
}

pub(crate) fn request() -> Order {
    Order {
        signing: SigningRequest {
            request_pem: pem("CERTIFICATE REQUEST", "request"),
            key_pem: SecretText::new(pem("PRIVATE KEY", "request")),
        },
        parameters: "fingerprint".into(),
        made: jiff::Timestamp::UNIX_EPOCH,
        attempt: 1,
        refused: None,
    }
}

#[test]
fn the_certificate_request() {
    let spec = valid(json!({"tls": {
        "certificate": {"duration": "90m"},
        "issuer": {"type": "CertManager", "certManager": {"issuerRef": {"name": "first"}}},
    }}))
    .spec;
    let ValidIssuer::CertManager { issuer, .. } = &spec.issuer else {
        panic!("{:?}", spec.issuer);
    };
    let asked = certificate_request(&spec, &owner(), issuer, &request());
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_yaml_snapshot!("certificate-request", asked);
    });
    let other = Order {
        signing: SigningRequest {
            request_pem: pem("CERTIFICATE REQUEST", "another"),
            ..request().signing
        },
        ..request()
    };
    let other = certificate_request(&spec, &owner(), issuer, &other);
    assert_ne!(other.metadata.name, asked.metadata.name);
}

#[test]
fn an_order_is_stored_with_and_without_a_state() {
    let request = request();
    let both = state_secret(&owner(), Some(&state()), Some(&request));
    let data = both.data.unwrap();
    let (state_data, request_data) = (state().to_data(), request.to_data());
    assert!(
        state_data
            .iter()
            .chain(&request_data)
            .all(|(key, value)| data[key] == *value)
    );
    assert_eq!(data.len(), state_data.len() + request_data.len());
    assert!(!Order::is_alone_in(&data));
    let alone = state_secret(&owner(), None, Some(&request));
    assert!(Order::is_alone_in(&alone.data.unwrap()));
}

#[test]
fn the_exporter_can_read_the_web_configuration() {
    let mut state = state();
    state.passwords.insert(2, password(2));
    state.active_password = 2;
    let secret = render(&everything(), &state).server_secret;
    let config = WebConfig::parse(&text(&secret, "web-config.yml")).unwrap();
    let tls = config.tls_server_config.unwrap();
    assert_eq!(tls.cert_file.as_deref(), Some("tls.crt"));
    assert_eq!(tls.key_file.as_deref(), Some("tls.key"));
    assert_eq!(tls.client_ca_file.as_deref(), Some("client-ca.crt"));
    assert_eq!(
        tls.client_auth_type,
        Some(ClientAuthType::RequireAndVerifyClientCert)
    );
    let hashes: Vec<_> = config.basic_auth_users["scraper"]
        .as_slice()
        .iter()
        .map(|h| h.as_str().to_owned())
        .collect();
    assert_eq!(
        hashes,
        [password(2).hash.expose(), password(1).hash.expose()]
    );
}

#[test]
fn additional_users_never_replace_the_generated_one() {
    let mut state = state();
    let other = HASH.replace("$04$", "$10$");
    let theirs = UserHashes::from(BcryptHash::parse(&other).unwrap());
    for name in ["alice", "prometheus"] {
        state.users.insert(name.to_owned(), theirs.clone());
    }
    let secret = render(&valid(json!({})), &state).server_secret;
    let config = WebConfig::parse(&text(&secret, "web-config.yml")).unwrap();
    assert_eq!(config.basic_auth_users.len(), 2);
    assert_eq!(config.basic_auth_users["alice"], theirs);
    let own = &config.basic_auth_users["prometheus"];
    assert_eq!(own.as_slice()[0].as_str(), password(1).hash.expose());
}

#[test]
fn additional_users_alone_are_not_enough() {
    let mut state = state();
    let theirs = UserHashes::from(BcryptHash::parse(HASH).unwrap());
    state.users.insert("alice".to_owned(), theirs);
    state.passwords.clear();
    let outcome = try_render(&valid(json!({})), &state);
    assert_eq!(outcome, Err(RenderError::NoUsers));
}

#[test]
fn a_client_certificate_alone_replaces_the_password() {
    let spec = valid(json!({"authentication": {"methods": ["ClientCertificate"]}}));
    let mut state = state();
    state.passwords.clear();
    state.active_password = 0;
    let rendered = render(&spec, &state);
    let config = WebConfig::parse(&text(&rendered.server_secret, "web-config.yml")).unwrap();
    assert!(config.basic_auth_users.is_empty());
    assert_eq!(
        config.tls_server_config.unwrap().client_auth_type,
        Some(ClientAuthType::RequireAndVerifyClientCert)
    );
    let keys: Vec<_> = rendered
        .scrape_secret
        .data
        .as_ref()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(
        keys,
        [
            "ca.crt",
            "client.crt",
            "client.key",
            "config.alloy",
            "scrape-list",
            "scrape.yaml"
        ]
    );
    let file: Value =
        serde_saphyr::from_str(&text(&rendered.scrape_secret, "scrape.yaml")).unwrap();
    let scrape = &file["scrape_configs"][0];
    assert_eq!(scrape["basic_auth"], Value::Null);
    assert_eq!(scrape["tls_config"]["cert_file"], "client.crt");
    assert_eq!(scrape["tls_config"]["key_file"], "client.key");
    for dialect in ["scrape-list", "config.alloy"] {
        let config = text(&rendered.scrape_secret, dialect);
        assert!(!config.contains("basic_auth"), "{config}");
        assert!(config.contains("/client.key"), "{config}");
    }
}

/// The labels that a job sets, in order.
fn set_labels(parsed: &ParsedSpec) -> Vec<String> {
    let secret = render(parsed, &state()).scrape_secret;
    let list: Value = serde_saphyr::from_str(&text(&secret, "scrape-list")).unwrap();
    let rules = list[0]["relabel_configs"].as_array().unwrap().iter();
    rules
        .filter_map(|rule| Some(rule["target_label"].as_str()?.to_owned()))
        .collect()
}

#[test]
fn series_have_the_labels_that_common_rules_join_by() {
    let of_discovery = ["namespace", "pod", "container", "endpoint", "node"];
    let by_name = [&of_discovery[..], &["instance", "job"]].concat();
    assert_eq!(set_labels(&valid(json!({}))), by_name);
    // Prometheus itself sets the address.
    let by_address = json!({"scrape": {"instanceLabel": "Address"}});
    assert_eq!(
        set_labels(&valid(by_address)),
        [&of_discovery[..], &["job"]].concat()
    );
}

#[test]
fn a_pod_monitor_refers_to_secrets_and_never_to_files() {
    let monitor = pod_monitor(&everything().spec, &owner());
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_yaml_snapshot!("everything-pod-monitor", monitor);
    });
    let password_alone = pod_monitor(&valid(json!({})).spec, &owner());
    let endpoint = &password_alone.spec.pod_metrics_endpoints[0];
    assert_eq!(endpoint.tls_config.cert, None);
    assert!(endpoint.basic_auth.is_some());
    assert!(!serde_json::to_string(&monitor).unwrap().contains("/etc/"));
}

#[test]
fn no_rule_of_a_user_has_the_last_word_on_tls() {
    let rules = json!({"scrape": {"relabelings": [
        {"action": "labelmap", "regex": "__meta_kubernetes_pod_label_x(.+)x"}]}});
    let labels = set_labels(&valid(rules));
    assert_eq!(labels.last().map(String::as_str), Some("__scheme__"));
}

#[test]
fn prometheus_reads_strings_as_strings() {
    let spec = valid(json!({
        "authentication": {"basicAuth": {"username": "1e3"}}, "scrape": {"jobName": "yes: 'no' # \"\n"}}));
    let secret = render(&spec, &state()).scrape_secret;
    let file: Value = serde_saphyr::from_str(&text(&secret, "scrape.yaml")).unwrap();
    let list: Value = serde_saphyr::from_str(&text(&secret, "scrape-list")).unwrap();
    let scrape = &file["scrape_configs"][0];
    assert_eq!(scrape["basic_auth"]["username"], "1e3");
    let rules = scrape["relabel_configs"].as_array().unwrap();
    let job = rules.iter().find(|rule| rule["target_label"] == "job");
    assert_eq!(job.unwrap()["replacement"], "yes: 'no' # \"\n");
    assert_eq!(scrape["tls_config"]["ca_file"], "ca.crt");
    assert_eq!(
        list[0]["tls_config"]["ca_file"],
        "/etc/prometheus/secrets/nodes-scrape/ca.crt"
    );
    let yaml_keys = secret
        .data
        .as_ref()
        .unwrap()
        .keys()
        .filter(|key| key.ends_with(".yaml"));
    assert_eq!(
        yaml_keys.collect::<Vec<_>>(),
        ["scrape.yaml"],
        "people glob"
    );
}

#[test]
fn during_an_overlap_both_sides_trust_both_authorities_and_use_the_active_password() {
    let mut state = state();
    state.authorities.insert(2, authority(2));
    state.passwords.insert(2, password(2));
    let rendered = render(&everything(), &state);
    let bundle = authority(1).certificate_pem + &authority(2).certificate_pem;
    assert_eq!(text(&rendered.server_secret, "client-ca.crt"), bundle);
    assert_eq!(text(&rendered.scrape_secret, "ca.crt"), bundle);
    assert_eq!(
        rendered.ca_config_map.data.as_ref().unwrap()["ca.crt"],
        bundle
    );
    assert_eq!(
        text(&rendered.scrape_secret, "password"),
        password(1).password.unwrap().expose()
    );
}

#[test]
fn a_rotation_never_touches_the_pods() {
    let mut later = state();
    later.generation += 1;
    later.leaf.certificate_pem = pem("CERTIFICATE", "renewed");
    later.authorities.insert(2, authority(2));
    later.passwords.insert(2, password(2));
    later.active_password = 2;
    let spec = valid(json!({}));
    let (before, after) = (render(&spec, &state()), render(&spec, &later));
    assert_ne!(before.server_secret, after.server_secret);
    assert_eq!(before.daemon_set, after.daemon_set);
}

#[test]
fn nothing_that_would_open_or_break_the_endpoint_is_published() {
    type Change = fn(&mut State);
    let cases: [(Change, RenderError); 8] = [
        (|s| s.passwords.clear(), RenderError::NoUsers),
        (|s| s.client = None, RenderError::NoClientCertificate),
        (
            |s| s.client.as_mut().unwrap().authority_generation = 8,
            RenderError::MissingGeneration {
                what: "authority",
                generation: 8,
            },
        ),
        (|s| s.authorities.clear(), RenderError::EmptyBundle),
        (
            |s| s.authorities.get_mut(&1).unwrap().certificate_pem = "\n".into(),
            RenderError::EmptyBundle,
        ),
        (
            |s| s.active_password = 9,
            RenderError::MissingGeneration {
                what: "password",
                generation: 9,
            },
        ),
        (
            |s| s.leaf.authority_generation = 9,
            RenderError::MissingGeneration {
                what: "authority",
                generation: 9,
            },
        ),
        (
            |s| s.passwords.get_mut(&1).unwrap().hash = SecretText::new("$apr1$x$y".into()),
            RenderError::BadHash { generation: 1 },
        ),
    ];
    for (change, expected) in cases {
        let mut state = state();
        change(&mut state);
        assert_eq!(try_render(&everything(), &state), Err(expected));
    }
}

#[test]
fn secrets_are_only_where_they_belong() {
    let rendered = render(&everything(), &state());
    let server = readable(&rendered.server_secret);
    let scrape = readable(&rendered.scrape_secret);
    assert!(
        !server.contains("password-of-generation"),
        "a node learns the password's hash alone"
    );
    assert!(!scrape.contains("$2b$"));
    assert!(scrape.contains("PRIVATE KEY-----\nclient"));
    for others in ["leaf", "authority"] {
        assert!(!scrape.contains(&format!("PRIVATE KEY-----\n{others}")));
    }
    assert!(
        !server.contains("client\n-----END"),
        "it only verifies them"
    );
    assert!(server.contains("PRIVATE KEY-----\nleaf"));
    assert!(!server.contains("PRIVATE KEY-----\nauthority"));
    assert!(!scrape.contains("insecure_skip_verify"));
}

#[test]
fn every_child_is_owned_and_labelled() {
    let rendered = render(&everything(), &state());
    let discovery = rendered.discovery.unwrap();
    for metadata in [
        rendered.service_account.metadata,
        discovery.role.metadata,
        discovery.role_binding.metadata,
        rendered.server_secret.metadata.clone(),
        rendered.scrape_secret.metadata.clone(),
        rendered.ca_config_map.metadata,
        rendered.service.metadata,
        rendered.daemon_set.unwrap().metadata,
        state_secret(&owner(), Some(&state()), None).metadata,
    ] {
        assert_eq!(metadata.owner_references, Some(vec![owner().reference()]));
        assert_eq!(metadata.labels, Some(owner().labels()));
        assert_eq!(metadata.namespace.as_deref(), Some("monitoring"));
    }
}

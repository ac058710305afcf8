//! The definition on a real API server: its rules, its defaults, and how it reads.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testbed::{exporters::resource, namespace::in_namespace, slot::Slot, test_clusters};

/// A spec that must be refused, and words of the reason.
struct Refused {
    name: String,
    spec: Value,
    words: &'static str,
}

fn refused(spec: Value, words: &'static str) -> Refused {
    Refused {
        name: "nodes".to_owned(),
        spec,
        words,
    }
}

fn misnamed(name: &str, words: &'static str) -> Refused {
    Refused {
        name: name.to_owned(),
        spec: json!({}),
        words,
    }
}

fn cases() -> Vec<Refused> {
    let certificate = |value: Value| json!({"tls": {"certificate": value}});
    let key = |value: Value| json!({"tls": {"certificate": {"privateKey": value}}});
    let arguments = |argument: &str| json!({"exporter": {"extraArgs": [argument]}});
    let user = |value: Value| json!({"authentication": {"basicAuth": value}});
    let methods = |value: Value| json!({"authentication": {"methods": value}});
    let scrape = |value: Value| json!({"scrape": value});
    let issuer = |value: Value| json!({"tls": {"issuer": value}});
    let provided = json!({"secretName": "corporate"});
    let key_ref = json!({"name": "roots", "key": "ca.crt"});
    const SIZES: &str = "size must be 256 or 384";
    const ALLOWED: &str = "extraArgs may only contain";
    vec![
        misnamed(&"n".repeat(53), "at most 52 characters"),
        misnamed("1nodes", "DNS-1035"),
        misnamed("no.des", "DNS-1035"),
        refused(
            user(json!({"username": "a:b"})),
            "username may only contain",
        ),
        refused(user(json!({"username": ""})), "username"),
        refused(methods(json!([])), "methods"),
        refused(methods(json!(["Token"])), "Unsupported value"),
        refused(
            methods(json!(["BasicAuth", "BasicAuth"])),
            "Duplicate value",
        ),
        refused(
            json!({"authentication": {"methods": ["ClientCertificate"],
                "basicAuth": {"passwordSecretRef": {"name": "mine"}}}}),
            "need BasicAuth in methods",
        ),
        refused(
            user(json!({"passwordSecretRef": {"name": "nodes-scrape"}})),
            "passwordSecretRef must name a Secret that you supply",
        ),
        refused(
            user(json!({"usersSecretRef": {"name": "nodes-server"}})),
            "usersSecretRef must name a Secret that you supply",
        ),
        refused(user(json!({"passwordSecretRef": {}})), "name"),
        refused(
            user(json!({"passwordSecretRef": {"name": "mine", "key": ""}})),
            "key",
        ),
        refused(user(json!({"usersSecretRef": {"name": ""}})), "name"),
        refused(user(json!({"bcryptCost": 3})), "bcryptCost"),
        refused(
            user(json!({"bcryptCost": 9, "passwordSecretRef": {"name": "mine"}})),
            "bcryptCost must be at least 10 with passwordSecretRef",
        ),
        refused(user(json!({"bcryptCost": 15})), "bcryptCost"),
        refused(
            scrape(json!({"interval": "10s", "timeout": "11s"})),
            "timeout must not be longer",
        ),
        refused(
            scrape(json!({"interval": "5s"})),
            "timeout must not be longer",
        ),
        refused(
            scrape(json!({"interval": "soon"})),
            "interval must be between 1s and 24h",
        ),
        refused(
            certificate(json!({"duration": "90d"})),
            "use 2160h for 90 days",
        ),
        refused(key(json!({"algorithm": "ECDSA", "size": 2048})), SIZES),
        refused(key(json!({"size": 512})), SIZES),
        refused(key(json!({"algorithm": "RSA", "size": 1024})), SIZES),
        refused(key(json!({"algorithm": "Ed25519", "size": 256})), SIZES),
        refused(key(json!({"algorithm": "DSA"})), "algorithm"),
        refused(
            certificate(json!({"duration": "30s"})),
            "duration must be between",
        ),
        refused(
            certificate(json!({"duration": "43801h"})),
            "duration must be between",
        ),
        refused(
            certificate(json!({"renewBeforePercentage": 91})),
            "renewBeforePercentage",
        ),
        refused(
            certificate(json!({"subject": {"country": "Switzerland"}})),
            "country",
        ),
        refused(arguments("--web.config.file=/etc/passwd"), ALLOWED),
        refused(arguments("--web.require="), ALLOWED),
        refused(arguments("--path.rootfs=/"), ALLOWED),
        refused(arguments("@/etc/passwd"), ALLOWED),
        refused(arguments("--collector.cpu\n--web.config.file=/x"), ALLOWED),
        refused(arguments(""), ALLOWED),
        refused(json!({"exporter": {"port": 0}}), "port"),
        refused(json!({"exporter": {"port": 65536}}), "port"),
        refused(json!({"exporter": {"logLevel": "loud"}}), "logLevel"),
        refused(
            json!({"exporter": {"collectors": {"enabled": ["cpu"], "disabled": ["cpu"]}}}),
            "both enabled and disabled",
        ),
        refused(json!({"tls": {"minVersion": "TLS11"}}), "minVersion"),
        refused(
            issuer(json!({"type": "Provided"})),
            "provided must be set if and only if type is Provided",
        ),
        refused(
            issuer(json!({"provided": provided})),
            "provided must be set if and only if type is Provided",
        ),
        refused(
            issuer(json!({"type": "CertManager", "provided": provided})),
            "certManager must be set if and only if type is CertManager",
        ),
        refused(
            issuer(json!({"type": "Provided", "provided": {"secretName": ""}})),
            "secretName",
        ),
        refused(
            issuer(json!({"type": "Provided", "provided": {
                "secretName": "corporate",
                "caBundleRef": {"secretKeyRef": key_ref, "configMapKeyRef": key_ref}}})),
            "exactly one of secretKeyRef and configMapKeyRef",
        ),
        refused(
            json!({
                "tls": {"issuer": {"type": "Provided", "provided": provided}},
                "authentication": {"methods": ["BasicAuth", "ClientCertificate"]},
            }),
            "spec.tls.issuer.type must be Managed when",
        ),
        refused(json!({"tls": {"serverName": "Not A Name"}}), "serverName"),
        refused(
            json!({"exporter": {"collectors": {"enabled": ["systemd"]}}}),
            "need the node's message bus",
        ),
        refused(
            json!({"exporter": {"collectors": {"enabled": ["perf"]}}}),
            "needs the capability CAP_PERFMON",
        ),
        refused(
            json!({"workload": {"affinity": {"podAntiAffinity": {}}}}),
            "affinity may only contain nodeAffinity",
        ),
        refused(
            json!({"workload": {"resources": {"requests": {"cpu": "lots"}}}}),
            "spec.workload.resources.requests",
        ),
        // What the API server would keep and the operator could not read.
        refused(
            json!({"workload": {"updateStrategy": {"maxUnavailable": 1_u64 << 40}}}),
            "spec.workload.updateStrategy.maxUnavailable",
        ),
        refused(
            json!({"workload": {"podLabels": {"app.kubernetes.io/name": "mine"}}}),
            "podLabels may not set labels under app.kubernetes.io/",
        ),
        refused(
            json!({"workload": {"podLabels": {"app.kubernetes.io/instance": "mine"}}}),
            "podLabels may not set labels under app.kubernetes.io/",
        ),
    ]
}

#[test]
fn what_cannot_work_is_refused_with_the_reason() -> Result<()> {
    in_namespace(&Slot::shared(), "rules", |namespace| {
        for case in cases() {
            let answer = namespace
                .kubectl
                .would_apply(&resource(&case.name, &case.spec));
            let Err(error) = answer else {
                anyhow::bail!("accepted: {} {}", case.name, case.spec);
            };
            let said = error.to_string();
            ensure!(
                said.contains(case.words) && said.contains("is invalid"),
                "{}: no {:?} in: {said}",
                case.spec,
                case.words
            );
        }
        Ok(())
    })
}

#[test]
fn what_can_work_is_accepted() -> Result<()> {
    in_namespace(&Slot::shared(), "accepted", |namespace| {
        let everything = json!({
            "image": {"repository": "registry.example.com:5000/mirror/secure-exporter", "tag": "1"},
            "exporter": {
                "port": 65535,
                "logLevel": "Debug",
                "extraArgs": [
                    "--collector.filesystem.mount-points-exclude=^/(proc|sys)($|/)",
                    "--no-collector.vmstat",
                    "--collector.disable-defaults",
                    "--log.format=json",
                ],
                "collectors": {"enabled": ["cpu"], "disabled": ["stat"]},
            },
            "tls": {
                "minVersion": "TLS12",
                "serverName": "nodes.example.com",
                "certificate": {
                    "duration": "1h30m",
                    "renewBeforePercentage": 90,
                    "privateKey": {"algorithm": "RSA", "size": 4096},
                    "subject": {"commonName": "nodes", "organization": "Example", "country": "CH"},
                    "additionalDNSNames": ["*.nodes.example.com"],
                    "additionalIPAddresses": ["192.0.2.1", "2001:db8::1"],
                },
            },
            "authentication": {
                "methods": ["BasicAuth", "ClientCertificate"],
                "basicAuth": {"username": "scraper_1.x-y", "bcryptCost": 14},
            },
            "scrape": {
                "jobName": "node",
                "interval": "10s",
                "timeout": "10s",
                "serviceAccounts": [{"namespace": "monitoring", "name": "prometheus"}],
            },
            "workload": {
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "tolerations": [{"operator": "Exists"}],
                "affinity": {"nodeAffinity": {}},
                "priorityClassName": "system-node-critical",
                "resources": {"requests": {"cpu": "10m", "memory": "24Mi"}, "limits": {"cpu": 1, "memory": "1.5e8"}},
                "updateStrategy": {"type": "RollingUpdate", "maxUnavailable": "25%"},
                "podLabels": {"team": "x"},
                "podAnnotations": {"example.com/note": "y"},
            },
        });
        for (name, spec) in [
            ("n", json!({})),
            (&"n".repeat(52), json!({})),
            ("nodes", everything),
            (
                "nodes",
                json!({"tls": {"certificate": {"privateKey": {"size": 384}}}}),
            ),
            (
                "nodes",
                json!({"tls": {"certificate": {"privateKey": {"algorithm": "Ed25519"}}}}),
            ),
            (
                "nodes",
                json!({"scrape": null, "workload": {"podLabels": null}}),
            ),
            (
                "nodes",
                json!({"authentication": {"methods": ["ClientCertificate"]}}),
            ),
            (
                "nodes",
                json!({"authentication": {"basicAuth": {
                    "rotationInterval": "1h",
                    "passwordSecretRef": {"name": "mine"},
                    "usersSecretRef": {"name": "people"},
                }}}),
            ),
            (
                "nodes",
                json!({"tls": {"issuer": {"type": "Provided", "provided": {
                    "secretName": "corporate",
                    "caBundleRef": {"configMapKeyRef": {"name": "roots", "key": "ca.crt"}}}}}}),
            ),
            (
                "nodes",
                json!({"tls": {"issuer": {"type": "CertManager",
                    "certManager": {"issuerRef": {"name": "vault", "kind": "ClusterIssuer"}}}}}),
            ),
        ] {
            namespace.kubectl.would_apply(&resource(name, &spec))?;
        }
        Ok(())
    })
}

#[test]
fn what_scrapers_verify_cannot_change_under_them() -> Result<()> {
    in_namespace(&Slot::shared(), "immutable", |namespace| {
        // Refused by the operator for its image, so that nothing starts.
        let spec = |username: &str, server_name: Option<&str>| {
            json!({
                "image": {"repository": "example.com/none"},
                "authentication": {"basicAuth": {"username": username}},
                "tls": {"serverName": server_name},
            })
        };
        let apply = |username: &str, server_name: Option<&str>| {
            namespace
                .kubectl
                .apply(&resource("nodes", &spec(username, server_name)))
        };
        apply("one", Some("a.example.com"))?;
        for (username, server_name, words) in [
            ("two", Some("a.example.com"), "username is immutable"),
            ("one", Some("b.example.com"), "serverName is immutable"),
            ("one", None, "serverName is immutable"),
        ] {
            let answer = apply(username, server_name);
            ensure!(
                answer
                    .as_ref()
                    .is_err_and(|error| error.to_string().contains(words)),
                "{username} {server_name:?}: {answer:?}"
            );
        }
        apply("one", Some("a.example.com"))?;
        let methods = json!({"authentication": {"methods": ["BasicAuth", "ClientCertificate"]}});
        let answer = namespace.kubectl.apply(&resource("nodes", &methods));
        ensure!(
            answer
                .as_ref()
                .is_err_and(|error| error.to_string().contains("methods is immutable")),
            "{answer:?}"
        );
        Ok(())
    })
}

#[test]
fn explain_reads_well() -> Result<()> {
    let _slot = Slot::shared();
    let kubectl = test_clusters::main()?.kubectl("default");
    let spec = kubectl.run(&["explain", "secureexporter.spec"])?;
    for field in [
        "image",
        "exporter",
        "tls",
        "authentication",
        "scrape",
        "workload",
    ] {
        ensure!(
            spec.contains(&format!("\n  {field}\t")),
            "no {field} in: {spec}"
        );
    }
    ensure!(!spec.contains("<no description>"), "{spec}");
    for path in [
        "exporter",
        "tls.certificate",
        "tls.issuer.provided",
        "authentication.basicAuth",
        "authentication.basicAuth.passwordSecretRef",
        "authentication.basicAuth.usersSecretRef",
        "scrape",
        "workload",
    ] {
        let text = kubectl.run(&["explain", &format!("secexp.spec.{path}")])?;
        ensure!(!text.contains("<no description>"), "{path}: {text}");
    }
    let status = kubectl.run(&["explain", "secexp.status"])?;
    ensure!(!status.contains("<no description>"), "{status}");
    Ok(())
}

//! From `kubectl apply` to a served, verified, protected endpoint on a real node, and back to an empty cluster.

mod drift;
mod refusals;

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testbed::{
    certificate::served_serial,
    exporters::{Exporters, Scraper, condition, unused_port},
    kubectl::Kubectl,
    namespace::{Namespace, in_namespace},
    operator::installed,
    product::install::NAMESPACE,
    slot::Slot,
    test_clusters,
    wait::wait_until,
};

#[test]
fn an_empty_spec_is_a_working_system() -> Result<()> {
    in_namespace(&Slot::shared(), "empty", |namespace| {
        let exporters = Exporters::apply(namespace, "nodes", &json!({}))?;
        exporters.wait_ready()?;
        let scraper = exporters.scraper()?;
        serves_those_who_may(&scraper)?;

        let resource = exporters.resource()?;
        let ready = condition(&resource["status"], "Ready")?;
        assert!(
            ready["message"].as_str().is_some_and(|it| !it.is_empty()),
            "{ready}"
        );
        let served = served_serial(&exporters.address(), &exporters.server_name())?;
        let told = resource["status"]["certificate"]["serialNumber"]
            .as_str()
            .unwrap_or_default();
        assert_eq!(number(told), number(&served));

        let table = namespace.kubectl.run(&["get", "secexp"])?;
        let rows: Vec<Vec<&str>> = table
            .lines()
            .map(|it| it.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows[0],
            ["NAME", "READY", "NODES", "EXPIRES", "ROTATING", "AGE"]
        );
        assert_eq!(rows[1][..3], ["nodes", "True", "1/1"]);
        assert_eq!(rows[1][3], resource["status"]["certificate"]["notAfter"]);
        assert_eq!(rows[1][4], "False");

        let pod = exporters.pod()?;
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
        assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
        let mounts = pod["spec"]["containers"][0]["volumeMounts"].to_string();
        assert!(
            !mounts.contains("serviceaccount"),
            "a token in the pod: {mounts}"
        );
        Ok(())
    })
}

#[test]
fn every_kind_of_key_is_served() -> Result<()> {
    in_namespace(&Slot::shared(), "keys", |namespace| {
        let keys = [
            ("RSA", "rsa", unused_port()),
            ("ECDSA", "ecdsa", unused_port()),
            ("Ed25519", "ed25519", unused_port()),
        ];
        let mut all = Vec::new();
        for (algorithm, name, port) in keys {
            let spec = json!({
                "exporter": {"port": port},
                "tls": {"minVersion": "TLS12", "certificate": {"privateKey": {"algorithm": algorithm}}},
            });
            all.push(Exporters::apply(namespace, name, &spec)?);
        }
        for exporters in all {
            exporters.wait_ready()?;
            serves_those_who_may(&exporters.scraper()?)?;
        }
        Ok(())
    })
}

#[test]
fn a_renewal_reaches_clients_without_a_restart() -> Result<()> {
    in_namespace(&Slot::shared(), "renewal", |namespace| {
        // Renewed when two thirds of two minutes remain.
        let certificate = json!({"duration": "2m", "renewBeforePercentage": 66});
        let spec =
            json!({"exporter": {"port": unused_port()}, "tls": {"certificate": certificate}});
        let exporters = Exporters::apply(namespace, "nodes", &spec)?;
        exporters.wait_ready()?;
        let (address, name) = (exporters.address(), exporters.server_name());
        let pod = exporters.pod()?;
        let before = exporters.secret("server")?;
        let serial = served_serial(&address, &name)?;
        // A scraper with the first files keeps working, because the CA and the password stay the same.
        let scraper = exporters.scraper()?;
        let mut failed = None;
        wait_until(
            "another certificate to be served",
            Duration::from_secs(150),
            || {
                let answer = scraper.get("/metrics").send();
                if !answer.as_ref().is_ok_and(|it| it.status == 200) {
                    failed.get_or_insert_with(|| format!("{:?}", answer.map(|it| it.status)));
                }
                Ok((served_serial(&address, &name)? != serial).then_some(()))
            },
        )?;
        ensure!(
            failed.is_none(),
            "a scrape failed during the renewal: {failed:?}"
        );
        serves_those_who_may(&scraper)?;

        let after = exporters.secret("server")?;
        assert!(
            before.differs(&after).contains(&"tls.key".to_owned()),
            "the key is the old one"
        );
        assert!(
            !before
                .differs(&after)
                .contains(&"web-config.yml".to_owned())
        );
        let now = exporters.pod()?;
        assert_eq!(now["metadata"]["uid"], pod["metadata"]["uid"]);
        assert_eq!(now["status"]["containerStatuses"][0]["restartCount"], 0);
        let resource = exporters.resource()?;
        assert!(condition(&resource["status"], "Ready").is_ok_and(|it| it["status"] == "True"));
        Ok(())
    })
}

#[test]
fn delete_leaves_nothing_and_the_name_can_be_used_again() -> Result<()> {
    in_namespace(&Slot::shared(), "again", |namespace| {
        let before = everything(namespace)?;
        let spec = json!({
            "exporter": {"port": unused_port()},
            "scrape": {"serviceAccounts": [{"namespace": namespace.name, "name": "default"}]},
        });
        let first = Exporters::apply(namespace, "nodes", &spec)?;
        first.wait_ready()?;
        ensure!(
            everything(namespace)?.len() >= before.len() + 8,
            "the children are not counted"
        );
        let old = first.scraper()?;

        // At once, while the garbage collector is still at the children of the first.
        namespace.kubectl.delete("secureexporter", "nodes")?;
        let second = Exporters::apply(namespace, "nodes", &spec)?;
        second.wait_ready()?;
        wait_until("the second to serve", Duration::from_secs(60), || {
            serves_those_who_may(&second.scraper()?).map(Some)
        })?;
        ensure!(
            old.get("/metrics").send().is_err(),
            "the authority of the deleted one is still used"
        );

        namespace.kubectl.delete("secureexporter", "nodes")?;
        wait_until("everything to be gone", Duration::from_secs(90), || {
            let left = everything(namespace)?;
            ensure!(left == before, "left: {left:?}");
            Ok(Some(()))
        })
    })
}

/// htpasswd -nbBC 6 alice 'wonderland is open'
const ALICE_HASH: &str = "$2y$06$H0g7c9.qaKp4qEbNd2QNi.jU.5WJ4AA4HH3FOKtVWJ2PDTlUvRFhi";

#[test]
fn no_secret_is_revealed() -> Result<()> {
    in_namespace(&Slot::shared(), "untold", |namespace| {
        let own = |name: &str, texts: Value| {
            namespace.kubectl.apply(&json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": texts,
            }))
        };
        own("mine", json!({"password": "a password of my own"}))?;
        own("people", json!({"alice": ALICE_HASH}))?;
        let basic_auth = json!({
            "passwordSecretRef": {"name": "mine"}, "usersSecretRef": {"name": "people"},
        });
        let spec = json!({
            "exporter": {"port": unused_port(), "logLevel": "Debug"},
            "authentication": {"basicAuth": basic_auth},
        });
        let exporters = Exporters::apply(namespace, "nodes", &spec)?;
        exporters.wait_ready()?;
        let scraper = exporters.scraper()?;
        serves_those_who_may(&scraper)?;
        // Refused values do not appear in messages either: a password that is too short, and a password in place of a hash.
        own("mine", json!({"password": "too: short"}))?;
        own("people", json!({"alice": "password-in-the-wrong-place"}))?;
        // Also what is written if something fails.
        namespace.kubectl.delete("secret", "nodes-server")?;
        exporters.wait_reconciled()?;
        let resource = exporters.resource()?;
        let refused = condition(&resource["status"], "CredentialsAccepted")?;
        ensure!(refused["status"] == "False", "{refused}");
        let log = |kubectl: &Kubectl, name: &str| {
            kubectl.run(&[
                "logs",
                "-l",
                &format!("app.kubernetes.io/name={name}"),
                "--tail=-1",
            ])
        };
        let operator = test_clusters::main()?.kubectl(NAMESPACE);
        let told = [
            (
                "the exporter's log",
                log(&namespace.kubectl, "secure-exporter")?,
            ),
            (
                "the exporter's metrics",
                scraper.get("/metrics").send()?.body,
            ),
            (
                "the operator's log",
                log(&operator, "secure-exporter-operator")?,
            ),
            ("the operator's metrics", installed::metrics()?),
            (
                "the events",
                namespace.kubectl.run(&["get", "events", "-o", "yaml"])?,
            ),
            ("the status", exporters.resource()?.to_string()),
            (
                "the DaemonSet",
                namespace.kubectl.get("daemonset", "nodes")?.to_string(),
            ),
            (
                "the trust bundle",
                namespace.kubectl.get("configmap", "nodes-ca")?.to_string(),
            ),
        ];
        let secrets = [
            exporters.secret("state")?,
            exporters.secret("server")?,
            exporters.secret("scrape")?,
        ];
        let mut confidential: Vec<&str> = secrets.iter().flat_map(|it| it.confidential()).collect();
        confidential.extend(["too: short", "password-in-the-wrong-place", ALICE_HASH]);
        ensure!(
            confidential.len() > 8,
            "only {} secrets were found to look for",
            confidential.len()
        );
        for (place, text) in told {
            ensure!(!text.trim().is_empty(), "{place} is empty");
            // Those of other tests are in the operator's log and metrics too. A message may contain the prefix of hashes;
            // only a real hash continues with its cost.
            for sign in ["PRIVATE KEY", "$2b$0", "$2b$1", "$2y$0", "$2y$1"] {
                ensure!(!text.contains(sign), "{sign} in {place}");
            }
            for (index, secret) in confidential.iter().enumerate() {
                ensure!(!text.contains(secret), "secret {index} in {place}");
            }
        }
        Ok(())
    })
}

fn serves_those_who_may(scraper: &Scraper) -> Result<()> {
    let answer = scraper.get("/metrics").send()?;
    ensure!(
        answer.status == 200,
        "HTTP {} with credentials",
        answer.status
    );
    for name in [
        "node_load1 ",
        "node_uname_info{",
        "node_filesystem_size_bytes{",
        "node_cpu_seconds_total{",
    ] {
        ensure!(answer.body.contains(name), "no {name}");
    }
    for (what, request) in [
        ("no", scraper.anonymous("/metrics")),
        ("wrong", scraper.wrong("/metrics")),
    ] {
        let answer = request.send()?;
        ensure!(
            answer.status == 401,
            "HTTP {} with {what} credentials",
            answer.status
        );
        ensure!(
            answer.body.trim() == "Unauthorized",
            "it says {}",
            answer.body
        );
    }
    // The probes' path.
    ensure!(scraper.anonymous("/-/healthy").send()?.status == 200);
    let unknown = scraper.unverified("/metrics").send();
    ensure!(
        unknown
            .as_ref()
            .is_err_and(|error| error.to_string().contains("certificate")),
        "another authority is accepted: {unknown:?}"
    );
    Ok(())
}

/// Kind and name of everything in a namespace, except its events and what Kubernetes adds to each.
fn everything(namespace: &Namespace) -> Result<Vec<String>> {
    const KINDS: &str = "secureexporters,secrets,configmaps,daemonsets,controllerrevisions,pods,services,endpoints,\
                         endpointslices,serviceaccounts,roles,rolebindings";
    let text = namespace.kubectl.run(&["get", KINDS, "-o", "json"])?;
    let list: Value = serde_json::from_str(&text)?;
    let mut names: Vec<String> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|it| {
            let name = &it["metadata"]["name"];
            name != "kube-root-ca.crt" && !(it["kind"] == "ServiceAccount" && name == "default")
        })
        .map(|it| format!("{} {}", it["kind"], it["metadata"]["name"]))
        .collect();
    names.sort();
    Ok(names)
}

/// A serial number in a normalized form.
fn number(serial: &str) -> String {
    let digits: String = serial.chars().filter(char::is_ascii_hexdigit).collect();
    digits.trim_start_matches('0').to_lowercase()
}

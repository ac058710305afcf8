//! The effects of the chart's values on its objects.
#![allow(
    clippy::indexing_slicing,
    reason = "a field that JSON lacks is null, and a test may end there"
)]

use std::{fs, os::unix::fs::symlink, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use testbed::{
    namespace::in_labelled_namespace, process::output, servers, slot::Slot, test_clusters,
};

use super::{MONITORING, chart, checked, template};

#[test]
fn names_the_namespace_and_labels_can_be_chosen() -> Result<()> {
    let _slot = Slot::shared();
    let text = with_values(&json!({
        "nameOverride": "metrics",
        "namespaceOverride": "kube-public",
        "commonLabels": {"team": "infra", "grafana_dashboard": "no", "app.kubernetes.io/name": "stolen"},
        "operator": {"podLabels": {"team": "of-the-pod"}},
    }))?;
    // With a namespace of kubectl's the API server would refuse objects of another one.
    let kubectl = test_clusters::control_plane()?.kubectl("");
    let objects = checked(&kubectl, &text)?;
    for object in &objects {
        let metadata = &object["metadata"];
        let labels = &metadata["labels"];
        assert_eq!(labels["team"], "infra", "{metadata}");
        assert_eq!(labels["app.kubernetes.io/name"], "metrics", "{metadata}");
        let namespace = metadata["namespace"].as_str().unwrap_or("kube-public");
        assert_eq!(namespace, "kube-public", "{metadata}");
    }
    let deployment = find(&objects, "Deployment")?;
    assert_eq!(
        deployment["metadata"]["name"], "secure-exporter-metrics",
        "{deployment}"
    );
    let pod = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(pod["team"], "of-the-pod");
    let selected = json!({"app.kubernetes.io/name": "metrics", "app.kubernetes.io/instance": "secure-exporter"});
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], selected);
    assert_eq!(find(&objects, "Service")?["spec"]["selector"], selected);
    // A label that an object needs takes precedence over a common one.
    let dashboard = find(&objects, "ConfigMap")?;
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    // The release stays what Helm calls it; what is watched moves.
    assert_eq!(
        variable(deployment, "SECURE_EXPORTER_RELEASE"),
        "default/secure-exporter"
    );
    assert_eq!(
        variable(deployment, "SECURE_EXPORTER_WATCH_NAMESPACES"),
        "kube-public"
    );
    Ok(())
}

#[test]
fn one_registry_and_its_secrets_serve_all_images() -> Result<()> {
    let _slot = Slot::shared();
    let deployment = deployment(&json!({
        "global": {
            "imageRegistry": "registry.example.com:5000/mirror",
            "imagePullSecrets": ["one", {"name": "two"}],
            "storageClass": "what other charts use",
        },
        "imagePullSecrets": [{"name": "two"}, "three"],
        "operator": {"image": {"tag": "1"}},
        "exporter": {"image": {"repository": "team/exporter", "tag": "2"}},
    }))?;
    let pod = &deployment["spec"]["template"]["spec"];
    let image = pod["containers"][0]["image"].as_str().context("no image")?;
    let expected = "registry.example.com:5000/mirror/secure-exporter/secure-exporter-operator:1";
    assert_eq!(image, expected);
    // It does not use the chart's registry, so nothing is replaced.
    let exporter = variable(&deployment, "SECURE_EXPORTER_IMAGE");
    assert_eq!(exporter, "registry.example.com:5000/mirror/team/exporter:2");
    let secrets = json!([{"name": "one"}, {"name": "two"}, {"name": "three"}]);
    assert_eq!(pod["imagePullSecrets"], secrets);
    Ok(())
}

#[test]
fn it_can_be_a_subchart() -> Result<()> {
    let _slot = Slot::shared();
    let parent = tempfile::tempdir()?;
    let metadata = json!({
        "apiVersion": "v2", "name": "parent", "version": "1.0.0",
        "dependencies": [{"name": "secure-exporter", "version": ">=0.0.0-0", "condition": "secure-exporter.enabled"}],
    });
    fs::write(parent.path().join("Chart.yaml"), metadata.to_string())?;
    fs::create_dir(parent.path().join("charts"))?;
    symlink(chart(), parent.path().join("charts/secure-exporter"))?;
    let rendered = |enabled: &str| {
        let mut helm = Command::new(servers::ensure(&servers::HELM)?);
        helm.args(["template", "parent"]).arg(parent.path());
        helm.args(["--set", "global.imageRegistry=registry.example.com"]);
        helm.args(["--set", &format!("secure-exporter.enabled={enabled}")]);
        output(&mut helm)
    };
    let text = rendered("true")?;
    let image = "image: \"registry.example.com/secure-exporter/secure-exporter-operator:";
    ensure!(text.contains(image), "{text}");
    ensure!(!rendered("false")?.contains("kind: Deployment"));
    Ok(())
}

#[test]
fn pod_security_restricted_allows_the_operators_pod() -> Result<()> {
    let labels = [("pod-security.kubernetes.io/enforce", "restricted")];
    let slot = Slot::shared();
    let pod = |values: &Value| -> Result<Value> {
        let spec = deployment(values)?["spec"]["template"]["spec"].clone();
        Ok(
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator"}, "spec": spec}),
        )
    };
    in_labelled_namespace(&slot, "chart", &labels, |namespace| {
        let account = "secure-exporter-operator";
        namespace.kubectl.apply(
            &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}),
        )?;
        namespace.kubectl.would_apply(&pod(&json!({}))?)?;
        for weakened in [
            json!({"securityContext": {"allowPrivilegeEscalation": true}}),
            json!({"podSecurityContext": {"runAsNonRoot": false}}),
        ] {
            let refusal = namespace.kubectl.would_apply(&pod(&weakened)?);
            let refusal = format!("{:#}", refusal.err().context("it is allowed")?);
            ensure!(refusal.contains("restricted"), "{refusal}");
        }
        Ok(())
    })
}

#[test]
fn where_the_platform_assigns_the_user_none_is_set() -> Result<()> {
    let _slot = Slot::shared();
    let openshift = ["--api-versions", "security.openshift.io/v1"];
    ensure!(template(&[])?.contains("runAsUser: 29101\n"));
    let assigned = template(&openshift)?;
    ensure!(assigned.contains("runAsNonRoot: true"), "{assigned}");
    for id in ["runAsUser", "runAsGroup"] {
        ensure!(!assigned.contains(id), "{assigned}");
        let nobody = format!("podSecurityContext.{id}=null");
        ensure!(!template(&["--set", &nobody])?.contains(id), "{id}");
    }
    let chosen = ["--set", "podSecurityContext.runAsUser=1000680000"];
    let chosen = template(&[openshift, chosen].concat())?;
    ensure!(chosen.contains("runAsUser: 1000680000\n"), "{chosen}");
    Ok(())
}

#[test]
fn the_operator_can_be_stopped_spread_and_given_arguments() -> Result<()> {
    let _slot = Slot::shared();
    let spread = json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
    }]);
    let default = deployment(&json!({}))?;
    assert_eq!(default["spec"]["replicas"], 1);
    assert_eq!(default["spec"]["strategy"], json!({"type": "Recreate"}));
    ensure!(arguments(&default).contains(&"--concurrency=4"));

    let chosen = deployment(&json!({
        "replicaCount": 0,
        "concurrency": 9,
        "extraArgs": ["--shutdown-deadline=5"],
        "extraEnv": [{"name": "RUST_BACKTRACE", "value": "1"}],
        "topologySpreadConstraints": spread,
    }))?;
    assert_eq!(chosen["spec"]["replicas"], 0);
    for argument in ["--concurrency=9", "--shutdown-deadline=5"] {
        ensure!(arguments(&chosen).contains(&argument), "{chosen}");
    }
    assert_eq!(variable(&chosen, "RUST_BACKTRACE"), "1");
    let pod = &chosen["spec"]["template"]["spec"];
    assert_eq!(pod["topologySpreadConstraints"], spread);
    Ok(())
}

#[test]
fn disruptions_and_connections_can_be_limited() -> Result<()> {
    let _slot = Slot::shared();
    let kubectl = test_clusters::control_plane()?.kubectl("default");
    let objects = |values: Value| checked(&kubectl, &with_values(&values)?);
    let default = objects(json!({}))?;
    for kind in ["PodDisruptionBudget", "NetworkPolicy"] {
        ensure!(find(&default, kind).is_err(), "a {kind} nobody wants");
    }
    let selected = &find(&default, "Deployment")?["spec"]["selector"];

    let peers = json!([{"namespaceSelector": {"matchLabels": {"team": "monitoring"}}}]);
    let egress = json!([{"ports": [{"port": 6443, "protocol": "TCP"}]}]);
    let chosen = objects(json!({
        "podDisruptionBudget": {"mode": "Enabled", "minAvailable": 0},
        "networkPolicy": {"mode": "Enabled", "from": peers, "egress": egress},
    }))?;
    let budget = &find(&chosen, "PodDisruptionBudget")?["spec"];
    assert_eq!(budget["minAvailable"], 0);
    assert_eq!(&budget["selector"], selected);
    let policy = &find(&chosen, "NetworkPolicy")?["spec"];
    assert_eq!(&policy["podSelector"], selected);
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(policy["egress"], egress);
    assert_eq!(policy["ingress"][0]["from"], peers);
    let port = &find(&chosen, "Deployment")?["spec"]["template"]["spec"]["containers"][0]["ports"]
        [0]["containerPort"];
    assert_eq!(&policy["ingress"][0]["ports"][0]["port"], port);

    let modes = objects(json!({
        "podDisruptionBudget": {"mode": "Enabled"}, "networkPolicy": {"mode": "Enabled"},
    }))?;
    let budget = &find(&modes, "PodDisruptionBudget")?["spec"];
    assert_eq!(budget["maxUnavailable"], 1);
    // No rule about egress: everything is allowed.
    let policy = &find(&modes, "NetworkPolicy")?["spec"];
    assert_eq!(policy["policyTypes"], json!(["Ingress"]));
    Ok(())
}

#[test]
fn roles_and_account_can_be_the_administrators_own() -> Result<()> {
    let _slot = Slot::shared();
    let kubectl = test_clusters::control_plane()?.kubectl("default");
    let objects = |values: Value| checked(&kubectl, &with_values(&values)?);
    let is_role = |object: &&Value| {
        let kind = object["kind"].as_str().unwrap_or_default();
        kind.contains("Role")
    };
    let without = objects(json!({"rbac": {"create": false}}))?;
    assert_eq!(without.iter().find(is_role), None);

    let own = objects(json!({"serviceAccount": {"create": false, "name": "mine"}}))?;
    ensure!(find(&own, "ServiceAccount").is_err());
    let pod = &find(&own, "Deployment")?["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "mine");
    let bindings = own.iter().filter(|object| !object["subjects"].is_null());
    let subjects: Vec<&Value> = bindings.map(|it| &it["subjects"][0]["name"]).collect();
    assert_eq!(subjects, ["mine"; 2]);

    let named = objects(json!({"serviceAccount": {"name": "theirs"}}))?;
    let account = find(&named, "ServiceAccount")?;
    assert_eq!(account["metadata"]["name"], "theirs");
    Ok(())
}

#[test]
fn people_get_roles_of_their_own() -> Result<()> {
    let _slot = Slot::shared();
    let kubectl = test_clusters::control_plane()?.kubectl("default");
    for aggregate in [false, true] {
        let objects = checked(
            &kubectl,
            &with_values(&json!({"rbac": {"aggregate": aggregate}}))?,
        )?;
        for (level, writes) in [("view", false), ("edit", true)] {
            let name = format!("default:secure-exporter-operator:{level}");
            let role = objects.iter().find(|it| it["metadata"]["name"] == name);
            let role = role.with_context(|| format!("no {name}"))?;
            let labels = &role["metadata"]["labels"];
            let joined = &labels[format!("rbac.authorization.k8s.io/aggregate-to-{level}")];
            assert_eq!(joined == "true", aggregate, "{labels}");
            // So that it is not mistaken for one of the operator's.
            assert_eq!(labels["app.kubernetes.io/component"], "access");
            let verbs = role["rules"][0]["verbs"].as_array().context("no verbs")?;
            ensure!(verbs.contains(&json!("watch")), "{role}");
            assert_eq!(verbs.contains(&json!("delete")), writes, "{role}");
        }
    }
    Ok(())
}

#[test]
fn the_service_monitor_and_other_objects_are_as_told() -> Result<()> {
    let _slot = Slot::shared();
    let kubectl = test_clusters::control_plane()?.kubectl("default");
    for kind in MONITORING {
        let file = format!("monitoring.coreos.com_{kind}.yaml");
        kubectl.define(&servers::monitoring_definitions()?.join(file))?;
    }
    let relabelings =
        json!([{"targetLabel": "cluster", "replacement": "one", "action": "replace"}]);
    let dropped = json!([{"sourceLabels": ["__name__"], "regex": "process_.*", "action": "drop"}]);
    let objects = checked(
        &kubectl,
        &with_values(&json!({
            "serviceMonitor": {
                "mode": "Enabled", "interval": "1m", "scrapeTimeout": "20s",
                "relabelings": relabelings, "metricRelabelings": dropped,
            },
            "extraObjects": [
                {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "{{ .Release.Name }}-object"}},
                "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {{ .Release.Name }}-text\n",
            ],
        }))?,
    )?;
    let endpoint = &find(&objects, "ServiceMonitor")?["spec"]["endpoints"][0];
    assert_eq!(endpoint["interval"], "1m");
    assert_eq!(endpoint["scrapeTimeout"], "20s");
    assert_eq!(endpoint["relabelings"], relabelings);
    assert_eq!(endpoint["metricRelabelings"], dropped);
    for name in ["secure-exporter-object", "secure-exporter-text"] {
        let found = objects.iter().any(|it| it["metadata"]["name"] == name);
        ensure!(found, "no {name}");
    }
    Ok(())
}

#[test]
fn values_that_cannot_be_are_refused_by_name() -> Result<()> {
    let _slot = Slot::shared();
    for (values, told) in [
        (json!({"replicaCount": 2}), "/replicaCount"),
        (
            json!({"strategy": {"type": "RollingUpdate"}}),
            "/strategy/type",
        ),
        (json!({"concurrency": 0}), "/concurrency"),
        (json!({"extraArgs": ["run"]}), "/extraArgs/0"),
        (
            json!({"imagePullSecrets": [{"nam": "x"}]}),
            "/imagePullSecrets/0",
        ),
        (
            json!({"global": {"imageRegistry": "https://x"}}),
            "/global/imageRegistry",
        ),
        (
            json!({"networkPolicy": {"from": [{"pods": {}}]}}),
            "/networkPolicy/from/0",
        ),
        (
            json!({"serviceMonitor": {"interval": "often"}}),
            "/serviceMonitor/interval",
        ),
        (json!({"rbac": {"agregate": true}}), "agregate"),
        (
            json!({"nameOverride": "secure-exporter"}),
            "nameOverride must not be",
        ),
        (
            json!({"serviceAccount": {"create": false}}),
            "serviceAccount.name",
        ),
        (
            json!({"extraEnv": [{"name": "SECURE_EXPORTER_RELEASE", "value": "x"}]}),
            "SECURE_EXPORTER_RELEASE",
        ),
        (
            json!({"podDisruptionBudget": {"mode": "Enabled", "minAvailable": 0, "maxUnavailable": "50%"}}),
            "exclude each other",
        ),
    ] {
        let refusal = with_values(&values).err();
        let refusal = refusal.with_context(|| format!("accepted: {values}"))?;
        let refusal = format!("{refusal:#}");
        ensure!(refusal.contains(told), "{values}: {refusal}");
    }
    Ok(())
}

#[test]
fn a_flag_that_the_chart_sets_cannot_be_set_again() -> Result<()> {
    let _slot = Slot::shared();
    let all = "allowedPodLabelPrefixes={a},allowedPodAnnotationPrefixes={a},allowedPriorityClasses={a},requireReferenceLabel=true";
    let text = template(&["--set", all])?;
    let arguments = text.lines().filter_map(|line| {
        let argument = line.trim().strip_prefix("- ")?.trim_matches('"');
        argument.starts_with("--").then_some(argument)
    });
    let by_variables = [
        "--exporter-image=x",
        "--allowed-images=x",
        "--release=x/x",
        "--watch-namespaces=x",
    ];
    let arguments: Vec<&str> = arguments.chain(by_variables).collect();
    ensure!(arguments.len() > 20, "only {arguments:?}");
    for argument in arguments {
        let refusal = with_values(&json!({"extraArgs": [argument]})).err();
        let refusal = refusal.with_context(|| format!("accepted: {argument}"))?;
        let (flag, _) = argument.split_once('=').unwrap_or((argument, ""));
        let expected = format!("extraArgs must not contain {flag}, because the chart sets it");
        ensure!(format!("{refusal:#}").contains(&expected), "{refusal:#}");
    }
    Ok(())
}

#[test]
fn each_alert_links_to_what_to_do() -> Result<()> {
    let _slot = Slot::shared();
    let text = template(&["--set", "prometheusRule.mode=Enabled"])?;
    let page = fs::read_to_string(testbed::paths::repository().join("docs/troubleshooting.md"))?;
    let alerts: Vec<&str> = text.split("- alert: ").skip(1).collect();
    ensure!(alerts.len() > 10, "only {} alerts", alerts.len());
    for alert in alerts {
        let name = alert.lines().next().context("no name")?.trim();
        let link = format!("docs/troubleshooting.md#{}\n", name.to_lowercase());
        ensure!(alert.contains(&link), "{alert}");
        ensure!(page.contains(&format!("\n### {name}\n")), "{name}");
    }
    Ok(())
}

fn deployment(values: &Value) -> Result<Value> {
    let kubectl = test_clusters::control_plane()?.kubectl("default");
    let objects = checked(&kubectl, &with_values(values)?)?;
    find(&objects, "Deployment").cloned()
}

/// The chart's objects under these values.
fn with_values(values: &Value) -> Result<String> {
    let file = NamedTempFile::with_suffix(".json")?;
    fs::write(file.path(), values.to_string())?;
    template(&["--values", testbed::paths::text(file.path())?])
}

fn find<'a>(objects: &'a [Value], kind: &str) -> Result<&'a Value> {
    let found = objects.iter().find(|object| object["kind"] == kind);
    found.with_context(|| format!("no {kind}"))
}

/// An environment variable of the operator.
fn variable<'a>(deployment: &'a Value, name: &str) -> &'a Value {
    let variables = &deployment["spec"]["template"]["spec"]["containers"][0]["env"];
    let variables = variables.as_array().into_iter().flatten();
    let mut values = variables.filter(|it| it["name"] == name);
    values.next().map_or(&Value::Null, |it| &it["value"])
}

fn arguments(deployment: &Value) -> Vec<&str> {
    let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let arguments = arguments.as_array().into_iter().flatten();
    arguments.filter_map(Value::as_str).collect()
}

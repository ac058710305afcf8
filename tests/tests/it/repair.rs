//! Manual edits of the objects that are wholly the operator's are undone without deleting anything, and the operator stops
//! writing afterwards.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    exporters::{Exporters, condition, unused_port},
    kubectl::Kubectl,
    namespace::{Namespace, in_namespace},
    process::output,
    slot::Slot,
    wait::wait_until,
};

/// How long the operator may take to undo an edit.
const REPAIR: Duration = Duration::from_secs(60);

#[test]
fn every_edit_of_the_daemon_set_is_undone() -> Result<()> {
    in_namespace(&Slot::shared(), "repair-pods", |namespace| {
        let exporters = ready(namespace)?;
        let pod = |operation: &str, field: &str, value: Value| {
            let path = format!("/spec/template/spec/{field}");
            json!([{"op": operation, "path": path, "value": value}])
        };
        let container = |operation: &str, field: &str, value: Value| {
            pod(operation, &format!("containers/0/{field}"), value)
        };
        let shell = json!(["/bin/sh"]);
        let mut privileged = container("replace", "securityContext/privileged", json!(true));
        let also = container(
            "add",
            "securityContext/allowPrivilegeEscalation",
            json!(true),
        );
        privileged[0]["op"] = "add".into();
        let both = json!([also[0], privileged[0]]);
        let another_port = json!([
            container("replace", "ports/0/containerPort", json!(9999))[0],
            container("replace", "ports/0/hostPort", json!(9999))[0],
        ]);
        let edits = [
            pod("add", "hostPID", json!(true)),
            pod("add", "hostIPC", json!(true)),
            pod("add", "runtimeClassName", json!("other")),
            pod("add", "securityContext/supplementalGroups", json!([0])),
            pod(
                "add",
                "tolerations/-",
                json!({"key": "a", "operator": "Exists"}),
            ),
            container("add", "command", shell.clone()),
            container(
                "add",
                "lifecycle",
                json!({"postStart": {"exec": {"command": shell}}}),
            ),
            container(
                "add",
                "envFrom",
                json!([{"secretRef": {"name": "nodes-state"}}]),
            ),
            container(
                "add",
                "securityContext/capabilities/add",
                json!(["SYS_ADMIN"]),
            ),
            container("add", "securityContext/runAsUser", json!(0)),
            container(
                "add",
                "ports/-",
                json!({"name": "more", "containerPort": 9998}),
            ),
            // These two cannot be merged with what the operator applies.
            both,
            another_port,
            json!([{"op": "add", "path": "/spec/minReadySeconds", "value": 5}]),
        ];
        wait_undone(namespace, &exporters, "daemonset", &edits)?;
        exporters.wait_ready()
    })
}

#[test]
fn every_edit_of_the_service_and_of_the_permissions_is_undone() -> Result<()> {
    in_namespace(&Slot::shared(), "repair-service", |namespace| {
        let exporters = ready(namespace)?;
        let add = |path: &str, value: Value| json!([{"op": "add", "path": path, "value": value}]);
        let named = json!([
            {"op": "add", "path": "/spec/type", "value": "ExternalName"},
            {"op": "add", "path": "/spec/externalName", "value": "example.com"},
            {"op": "remove", "path": "/spec/clusterIP"},
            {"op": "remove", "path": "/spec/clusterIPs"},
        ]);
        let edits = [
            // Cannot be merged: the same name twice.
            add("/spec/ports/0/port", json!(9999)),
            add("/spec/ports/-", json!({"name": "more", "port": 9998})),
            add("/spec/externalIPs", json!(["192.0.2.1"])),
            add("/spec/selector/more", json!("narrow")),
            add("/spec/publishNotReadyAddresses", json!(true)),
            add("/spec/sessionAffinity", json!("ClientIP")),
            add("/spec/internalTrafficPolicy", json!("Local")),
            named,
        ];
        wait_undone(namespace, &exporters, "service", &edits)?;

        let everything = json!({"apiGroups": ["*"], "resources": ["secrets"], "verbs": ["get"]});
        let anybody = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"});
        let edits = [
            (
                "serviceaccount",
                "nodes",
                "/automountServiceAccountToken",
                json!(true),
            ),
            ("role", "nodes-discovery", "/rules/-", everything),
            ("rolebinding", "nodes-discovery", "/subjects/-", anybody),
        ];
        for (kind, name, path, value) in edits {
            let content = || -> Result<Value> {
                let mut object = namespace.kubectl.get(kind, name)?;
                object["metadata"] = object["metadata"]["uid"].take();
                Ok(object)
            };
            let before = content()?;
            edit(&namespace.kubectl, kind, name, &add(path, value))?;
            wait_until(&format!("{kind} {name} to be restored"), REPAIR, || {
                let now = content()?;
                ensure!(now == before, "it is {now}");
                Ok(Some(()))
            })?;
        }
        exporters.wait_ready()
    })
}

#[test]
fn a_field_that_a_policy_sets_again_is_reported_and_left() -> Result<()> {
    in_namespace(&Slot::shared(), "repair-policy", |namespace| {
        const FIELD: &str = "/spec/template/spec/shareProcessNamespace";
        let exporters = ready(namespace)?;
        let kubectl = &namespace.kubectl;
        let policy = Policy::create(namespace)?;
        policy.wait(true)?;
        // From now on, every write of the DaemonSet sets the field.
        kubectl.annotate("daemonset", "nodes", "example.com/touched=1")?;
        let refusal = exporters.wait_refused(&["spec.template.spec.shareProcessNamespace"])?;
        assert_eq!(refusal["reason"], "ForeignFields", "{refusal}");
        let generation = || -> Result<Value> {
            let set = kubectl.get("daemonset", "nodes")?;
            assert_eq!(
                set.pointer(FIELD),
                Some(&json!(true)),
                "the policy did not set the field"
            );
            Ok(set["metadata"]["generation"].clone())
        };
        let before = generation()?;
        exporters.wait_reconciled()?;
        assert_eq!(
            generation()?,
            before,
            "the operator keeps fighting the policy"
        );
        let ready = condition(&exporters.resource()?["status"], "Ready")?.clone();
        assert_eq!(ready["status"], "False", "{ready}");

        policy.delete()?;
        policy.wait(false)?;
        kubectl.annotate("daemonset", "nodes", "example.com/touched=2")?;
        exporters.wait_ready()?;
        let set = kubectl.get("daemonset", "nodes")?;
        assert_eq!(set.pointer(FIELD), None);
        Ok(())
    })
}

#[test]
fn a_field_of_ours_that_is_set_again_is_reported_with_its_manager_and_restored_later() -> Result<()>
{
    in_namespace(&Slot::shared(), "repair-fight", |namespace| {
        const FIELD: &str = "/spec/template/spec/containers/0/resources/requests/memory";
        let exporters = ready(namespace)?;
        let kubectl = &namespace.kubectl;
        let set = json!([{"op": "replace", "path": FIELD, "value": "40Mi"}]);
        let memory = || -> Result<Value> {
            let now = kubectl.get("daemonset", "nodes")?;
            Ok(now.pointer(FIELD).context("no request")?.clone())
        };
        let before = memory()?;
        edit(kubectl, "daemonset", "nodes", &set)?;
        wait_until("the first restoration", REPAIR, || {
            Ok((memory()? == before).then_some(()))
        })?;
        edit(kubectl, "daemonset", "nodes", &set)?;
        let path = "spec.template.spec.containers[exporter].resources.requests.memory";
        let refusal = exporters.wait_refused(&["DaemonSet nodes", path, "kubectl"])?;
        assert_eq!(refusal["reason"], "ForeignFields", "{refusal}");
        // Nobody sets it any more.
        wait_until("the second restoration", REPAIR, || {
            Ok((memory()? == before).then_some(()))
        })?;
        exporters.wait_ready()
    })
}

#[test]
fn an_immutable_secret_is_reported_with_the_command_that_fixes_it() -> Result<()> {
    in_namespace(&Slot::shared(), "repair-secret", |namespace| {
        let exporters = ready(namespace)?;
        let before = exporters.secret("scrape")?;
        let patch = json!({"immutable": true, "stringData": {"password": ""}}).to_string();
        namespace
            .kubectl
            .run(&["patch", "secret", "nodes-scrape", "-p", &patch])?;
        let refusal =
            exporters.wait_refused(&["nodes-scrape", "kubectl delete secret nodes-scrape"])?;
        let message = refusal["message"].as_str().context("no message")?;
        let (_, command) = message.split_once(": kubectl ").context("no command")?;
        let kubectl = namespace.kubectl.command()?;
        let words = std::iter::once(kubectl.get_program()).chain(kubectl.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        let script = format!("kubectl {command}").replace("kubectl ", &(words.join(" ") + " "));
        output(Command::new("sh").args(["-c", &script]))?;
        exporters.wait_ready()?;
        let differing = before.differs(&exporters.secret("scrape")?);
        ensure!(differing.is_empty(), "it differs in {differing:?}");
        Ok(())
    })
}

/// Makes each edit, a JSON patch, and waits until the object is as before; at the end it must not change any more.
fn wait_undone(
    namespace: &Namespace,
    exporters: &Exporters<'_>,
    kind: &str,
    edits: &[Value],
) -> Result<()> {
    let kubectl = &namespace.kubectl;
    let before = kubectl.get(kind, "nodes")?;
    for patch in edits {
        edit(kubectl, kind, "nodes", patch)?;
        wait_until(&format!("{kind} to be restored"), REPAIR, || {
            let now = kubectl.get(kind, "nodes")?;
            ensure!(
                now["spec"] == before["spec"],
                "after {patch}: {}",
                now["spec"]
            );
            ensure!(
                now["metadata"]["uid"] == before["metadata"]["uid"],
                "it was deleted"
            );
            Ok(Some(()))
        })?;
    }
    let generation =
        || Ok::<_, anyhow::Error>(kubectl.get(kind, "nodes")?["metadata"]["generation"].clone());
    let settled = generation()?;
    exporters.wait_reconciled()?;
    assert_eq!(generation()?, settled, "the operator keeps writing it");
    Ok(())
}

fn edit(kubectl: &Kubectl, kind: &str, name: &str, patch: &Value) -> Result<()> {
    let text = patch.to_string();
    kubectl.run(&["patch", kind, name, "--type=json", "-p", &text])?;
    Ok(())
}

/// Exporters whose pods are not restarted when the DaemonSet is edited.
fn ready(namespace: &Namespace) -> Result<Exporters<'_>> {
    let spec = json!({
        "exporter": {"port": unused_port()},
        "workload": {"updateStrategy": {"type": "OnDelete"}},
        "scrape": {"serviceAccounts": [{"namespace": namespace.name, "name": "default"}]},
    });
    let exporters = Exporters::apply(namespace, "nodes", &spec)?;
    exporters.wait_ready()?;
    Ok(exporters)
}

/// An admission policy that changes every DaemonSet of a namespace, as policy engines and webhooks do.
struct Policy<'a> {
    namespace: &'a Namespace,
    everywhere: Kubectl,
}

impl<'a> Policy<'a> {
    fn create(namespace: &'a Namespace) -> Result<Self> {
        let everywhere = testbed::test_clusters::main()?.kubectl("");
        let name = &namespace.name;
        let api = "admissionregistration.k8s.io/v1";
        let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["daemonsets"], "operations": ["CREATE", "UPDATE"]});
        let mutation = "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{shareProcessNamespace: true}}}}";
        everywhere.apply(&json!({
            "apiVersion": api,
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": [rule]},
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": mutation}}],
            },
        }))?;
        let selected = json!({"matchLabels": {"kubernetes.io/metadata.name": name}});
        everywhere.apply(&json!({
            "apiVersion": api,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "matchResources": {"namespaceSelector": selected}},
        }))?;
        Ok(Self {
            namespace,
            everywhere,
        })
    }

    fn delete(&self) -> Result<()> {
        for kind in ["mutatingadmissionpolicybinding", "mutatingadmissionpolicy"] {
            self.everywhere.delete(kind, &self.namespace.name)?;
        }
        Ok(())
    }

    /// Waits until the API server applies the policy, or no longer applies it: it takes a moment to notice a change.
    fn wait(&self, applies: bool) -> Result<()> {
        let without = json!({"spec": {"template": {"spec": {"shareProcessNamespace": null}}}});
        let what = format!("the policy to apply: {applies}");
        wait_until(&what, Duration::from_secs(60), || {
            let patch = without.to_string();
            let tried = self.namespace.kubectl.run(&[
                "patch",
                "daemonset",
                "nodes",
                "--type=merge",
                "-p",
                &patch,
                "--dry-run=server",
                "-o",
                "json",
            ])?;
            let tried: Value = serde_json::from_str(&tried)?;
            let field = &tried["spec"]["template"]["spec"]["shareProcessNamespace"];
            Ok(((*field == true) == applies).then_some(()))
        })
    }
}

//! Fields that can never be changed, and how a user creates such an object again. Pure.

use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{names::STATE_TYPE, observe::api_error};

/// A field that the API server does not allow to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImmutableField {
    /// The content or the type of a Secret or ConfigMap.
    Content,
    /// The selector of a DaemonSet, the role of a RoleBinding or the address of a Service.
    Reference,
}

/// Returns the immutable field that a write would have changed; `None` if that is not why it was refused.
pub(crate) fn immutable_field(error: &kube::Error) -> Option<ImmutableField> {
    api_error::causes(error).find_map(|cause| {
        let is_content = matches!(
            cause.field.as_str(),
            "data" | "binaryData" | "immutable" | "type"
        );
        let is_reference = matches!(cause.field.as_str(), "spec.selector" | "roleRef")
            || cause.field.starts_with("spec.clusterIP");
        // Other reasons are about the value, such as one that is too long.
        match cause.reason.as_str() {
            "FieldValueInvalid" | "FieldValueForbidden" if is_content => {
                Some(ImmutableField::Content)
            }
            "FieldValueInvalid" if is_reference => Some(ImmutableField::Reference),
            _ => None,
        }
    })
}

/// Returns the command that creates the object again: the state with its content, because it may be the only copy of a key; a
/// DaemonSet without ending its pods.
pub(crate) fn recreation_command<K>(object: &K, field: ImmutableField) -> String
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let kind = K::kind(&()).to_lowercase();
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    match field {
        ImmutableField::Content if is_state(object) => {
            format!(
                "kubectl get {kind} {name} -n {namespace} -o yaml | sed '/^immutable:/d; s|^type: .*|type: {STATE_TYPE}|' | kubectl replace --force -f - (if this answers AlreadyExists, the operator was faster, with the same content)"
            )
        }
        // The operator creates it again at once, from the state.
        ImmutableField::Content => format!("kubectl delete {kind} {name} -n {namespace}"),
        ImmutableField::Reference => {
            let is_daemon_set = kind == "daemonset";
            let orphan = if is_daemon_set {
                " --cascade=orphan"
            } else {
                ""
            };
            format!("kubectl delete {kind} {name} -n {namespace}{orphan}")
        }
    }
}

fn is_state<K: Serialize>(object: &K) -> bool {
    json!(object).get("type").and_then(Value::as_str) == Some(STATE_TYPE)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{
        apps::v1::DaemonSet,
        core::v1::{ConfigMap, Secret},
        rbac::v1::RoleBinding,
    };
    use serde::de::DeserializeOwned;

    use super::*;

    fn object<K: DeserializeOwned>(type_: Option<&str>) -> K {
        let metadata = json!({"name": "nodes", "namespace": "monitoring"});
        serde_json::from_value(json!({"metadata": metadata, "type": type_})).unwrap()
    }

    fn refusal(reason: &str, field: &str) -> kube::Error {
        let cause = json!({"reason": reason, "field": field, "message": "no"});
        let status = json!({"code": 422, "reason": "Invalid", "details": {"causes": [cause]}});
        kube::Error::Api(serde_json::from_value(status).unwrap())
    }

    #[test]
    fn only_a_changed_immutable_field_is_one() {
        use ImmutableField::{Content, Reference};
        let cases = [
            ("FieldValueForbidden", "data", Some(Content)),
            ("FieldValueInvalid", "type", Some(Content)),
            ("FieldValueTooLong", "data", None),
            ("FieldValueInvalid", "spec.selector", Some(Reference)),
            ("FieldValueInvalid", "roleRef", Some(Reference)),
            ("FieldValueInvalid", "spec.clusterIPs[0]", Some(Reference)),
            ("FieldValueDuplicate", "spec.ports[1].name", None),
            ("UnexpectedServerResponse", "", None),
        ];
        for (reason, field, expected) in cases {
            assert_eq!(
                immutable_field(&refusal(reason, field)),
                expected,
                "{field}"
            );
        }
    }

    #[test]
    fn the_command_loses_no_content_and_ends_no_pod() {
        let (content, reference) = (ImmutableField::Content, ImmutableField::Reference);
        assert_eq!(
            recreation_command(&object::<Secret>(Some("kubernetes.io/tls")), content),
            "kubectl delete secret nodes -n monitoring"
        );
        assert_eq!(
            recreation_command(&object::<ConfigMap>(None), content),
            "kubectl delete configmap nodes -n monitoring"
        );
        let command = recreation_command(&object::<Secret>(Some(STATE_TYPE)), content);
        let keeps_content = "-o yaml | sed '/^immutable:/d; s|^type: .*|type: secureexporter.dev/state|' | kubectl replace --force -f -";
        assert!(command.contains(keeps_content), "{command}");
        let set = json!({"metadata": {"name": "nodes", "namespace": "monitoring"}});
        assert_eq!(
            recreation_command(
                &serde_json::from_value::<DaemonSet>(set).unwrap(),
                reference
            ),
            "kubectl delete daemonset nodes -n monitoring --cascade=orphan"
        );
        let binding = json!({"metadata": {"name": "nodes", "namespace": "monitoring"}, "roleRef": {"apiGroup": "", "kind": "Role", "name": "x"}});
        assert_eq!(
            recreation_command(
                &serde_json::from_value::<RoleBinding>(binding).unwrap(),
                reference
            ),
            "kubectl delete rolebinding nodes -n monitoring"
        );
    }
}

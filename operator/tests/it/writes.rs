//! How objects are written, against an API server that refuses, repeats and changes.

use std::collections::BTreeMap;

use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Service};
use kube::Client;
use secure_exporter_operator::{
    apply::{Wanted, Writer, error::ApplyError, repairs::Repairs, verified::Verified},
    names::ChildKind,
    observe::children::{Child, Observed},
    render::{Children, certificate_request, state_secret},
    secret_object::SecretObject,
    spec::issuer::ValidIssuer,
    supplied::cert_manager::{Asked, CertificateRequest},
    telemetry::metrics::Metrics,
};
use serde_json::{Value, json};

use crate::{
    drift::{daemon_set_defaults, service_defaults, stored},
    fake_api::{FakeApi, Request, refusal},
    render_children::{owner, render, request, state, valid},
};

/// The operator's memory.
#[derive(Default)]
struct Operator {
    metrics: Metrics,
    repairs: Repairs,
    verified: Verified,
}

impl Operator {
    fn writer<'a>(&'a self, client: &'a Client) -> Writer<'a> {
        Writer {
            client,
            metrics: &self.metrics,
            repairs: &self.repairs,
            verified: &self.verified,
        }
    }
}

fn children() -> Children {
    render(&valid(json!({})), &state())
}

/// Stores what it gets.
fn accept(request: &Request) -> (u16, Value) {
    let mut object = request.body.clone();
    object["metadata"]["uid"] = "u".into();
    object["metadata"]["resourceVersion"] = "8".into();
    (200, object)
}

/// The object after a JSON patch.
fn patched(mut object: Value, patch: &Value) -> (u16, Value) {
    object["spec"] = patch[2]["value"].clone();
    object["metadata"]["resourceVersion"] = "9".into();
    (200, object)
}

/// An object whose creation the API server carries out. The answer is lost, and a proxy sends the request again.
async fn answer_lost(present: Value) -> FakeApi {
    FakeApi::start(move |request| match request.verb.as_str() {
        "POST" => refusal(409, "AlreadyExists", &[]),
        // The resource still exists.
        _ if request.path.contains("/secureexporters/") => {
            let uid = owner().uid;
            (200, json!({"metadata": {"name": "nodes", "uid": uid}}))
        }
        _ => (200, present.clone()),
    })
    .await
}

fn wanted_request() -> CertificateRequest {
    let spec = valid(json!({"tls": {"issuer": {
        "type": "CertManager", "certManager": {"issuerRef": {"name": "first"}}}}}))
    .spec;
    let ValidIssuer::CertManager { issuer, .. } = &spec.issuer else {
        panic!("{:?}", spec.issuer);
    };
    certificate_request(&spec, &owner(), issuer, &request())
}

#[tokio::test]
async fn a_certificate_request_whose_answer_was_lost_is_found_by_the_next_pass() {
    let wanted = wanted_request();
    let api = answer_lost(json!({})).await;
    let operator = Operator::default();
    let writer = operator.writer(&api.client);
    let create = async |open: Vec<CertificateRequest>| {
        let asked = Asked::Open(open);
        let wanted = Some(wanted.clone());
        writer.certificate_requests(wanted, &asked).await
    };
    // No accusation, and nothing that a user has to do.
    let failed = create(Vec::new()).await.unwrap_err();
    assert!(failed.is_conflict() && failed.is_passing(), "{failed:?}");
    create(vec![wanted.clone()]).await.unwrap();
    assert_eq!(api.verbs("certificaterequests"), ["POST", "GET"]);
}

#[tokio::test]
async fn a_certificate_request_of_somebody_else_is_named() {
    let wanted = wanted_request();
    let mut restored = wanted.clone();
    restored.metadata.owner_references = None;
    let api = answer_lost(json!({"metadata": {}, "items": [restored]})).await;
    let operator = Operator::default();
    let asked = Asked::Open(Vec::new());
    let written = operator
        .writer(&api.client)
        .certificate_requests(Some(wanted), &asked)
        .await;
    assert!(
        matches!(written, Err(ApplyError::Taken { .. })),
        "{written:?}"
    );
}

#[tokio::test]
async fn a_secret_whose_answer_was_lost_is_stored() {
    let secret = state_secret(&owner(), Some(&state()), None);
    let present = serde_json::to_value(&secret).unwrap();
    let wanted = || Wanted {
        state: Some(SecretObject::new(secret.clone())),
        children: None,
    };
    let operator = Operator::default();
    let api = answer_lost(present.clone()).await;
    let failed = operator
        .writer(&api.client)
        .write(&wanted(), &Observed::default())
        .await;
    assert!(failed.is_empty(), "{failed:?}");

    // Another one is left to the next pass, which reads it.
    let mut other = present;
    other["data"] = json!({});
    let api = answer_lost(other).await;
    let failed = operator
        .writer(&api.client)
        .write(&wanted(), &Observed::default())
        .await;
    assert!(
        matches!(&failed[..], [(ChildKind::State, error)] if error.is_conflict()),
        "{failed:?}"
    );
}

async fn write(operator: &Operator, api: &FakeApi, observed: &Observed) -> Vec<ApplyError> {
    let wanted = Wanted {
        state: None,
        children: Some(children()),
    };
    let failed = operator.writer(&api.client).write(&wanted, observed).await;
    failed.into_iter().map(|(_, error)| error).collect()
}

fn edited_service() -> Value {
    let mut service = stored(&children().service, &service_defaults());
    service["spec"]["ports"][0]["port"] = 9101.into();
    service
}

/// Observed with a Service whose port was edited by hand.
fn with_edited_service() -> Observed {
    let service: Service = serde_json::from_value(edited_service()).unwrap();
    let mut observed = Observed::default();
    observed.service = Child::Ours(service);
    observed
}

/// Refuses to merge our port with the edited one, until the list is replaced.
fn port_conflict(is_repaired: &mut bool, request: &Request) -> (u16, Value) {
    let is_service = request.path.ends_with("/services/nodes");
    match request.verb.as_str() {
        "APPLY" if is_service && !*is_repaired => refusal(
            422,
            "Invalid",
            &[("FieldValueDuplicate", "spec.ports[1].name")],
        ),
        "JSON-PATCH" if is_service => {
            *is_repaired = true;
            patched(edited_service(), &request.body)
        }
        "GET" => (200, edited_service()),
        _ => accept(request),
    }
}

#[tokio::test]
async fn a_list_that_cannot_be_merged_is_replaced_and_nothing_is_deleted() {
    let mut is_repaired = false;
    let api = FakeApi::start(move |request| port_conflict(&mut is_repaired, request)).await;
    let operator = Operator::default();
    let failed = write(&operator, &api, &with_edited_service()).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(
        api.verbs("/services/nodes"),
        ["APPLY", "GET", "JSON-PATCH", "APPLY"]
    );
}

#[tokio::test]
async fn a_version_that_cannot_be_repaired_is_tried_once_and_reported() {
    let api = FakeApi::start(|request| match request.verb.as_str() {
        "JSON-PATCH" => refusal(
            422,
            "Invalid",
            &[("FieldValueInvalid", "spec.ports[0].port")],
        ),
        _ => port_conflict(&mut false, request),
    })
    .await;
    let operator = Operator::default();
    for _ in 0..3 {
        let failed = write(&operator, &api, &with_edited_service()).await;
        assert!(
            matches!(&failed[..], [error] if error.is_invalid() && !error.is_passing()),
            "{failed:?}"
        );
    }
    let verbs = api.verbs("/services/nodes");
    let repairs = verbs.iter().filter(|verb| *verb == "JSON-PATCH").count();
    assert_eq!(repairs, 1, "{verbs:?}");
}

#[tokio::test]
async fn an_object_that_changes_during_its_repair_is_read_again() {
    let mut version = 1000;
    let api = FakeApi::start(move |request| match request.verb.as_str() {
        // As the API server answers to a failed test of a JSON patch.
        "JSON-PATCH" => refusal(422, "Invalid", &[("UnexpectedServerResponse", "")]),
        "GET" => {
            let mut service = edited_service();
            version += 1;
            service["metadata"]["resourceVersion"] = version.to_string().into();
            (200, service)
        }
        _ => port_conflict(&mut false, request),
    })
    .await;
    let operator = Operator::default();
    for _ in 0..2 {
        let failed = write(&operator, &api, &with_edited_service()).await;
        assert!(
            matches!(&failed[..], [error] if error.is_conflict() && error.is_passing()),
            "{failed:?}"
        );
    }
}

#[tokio::test]
async fn a_policy_that_refuses_every_write_is_no_conflict() {
    let api = FakeApi::start(|request| match request.verb.as_str() {
        "APPLY" | "JSON-PATCH" => refusal(422, "Invalid", &[("", "")]),
        _ => port_conflict(&mut false, request),
    })
    .await;
    let operator = Operator::default();
    for _ in 0..3 {
        let failed = write(&operator, &api, &with_edited_service()).await;
        assert!(failed.iter().any(ApplyError::is_invalid), "{failed:?}");
        assert!(
            !failed
                .iter()
                .any(|error| error.is_conflict() || error.is_passing()),
            "{failed:?}"
        );
    }
}

/// Answers with a DaemonSet into which this field of the pods was put.
fn with_field(request: &Request, field: &str) -> (u16, Value) {
    let (code, mut object) = accept(request);
    for (pointer, value) in daemon_set_defaults() {
        if let Some((parent, name)) = pointer.rsplit_once('/')
            && let Some(Value::Object(fields)) = object.pointer_mut(parent)
        {
            fields.insert(name.to_owned(), value);
        }
    }
    object["spec"]["template"]["spec"][field] = true.into();
    (code, object)
}

fn with_daemon_set() -> Observed {
    let daemon_set = stored(&children().daemon_set.unwrap(), &daemon_set_defaults());
    let daemon_set: DaemonSet = serde_json::from_value(daemon_set).unwrap();
    let mut observed = Observed::default();
    observed.daemon_set = Child::Ours(daemon_set);
    observed
}

#[tokio::test]
async fn what_others_added_is_removed() {
    let mut is_clean = false;
    let api = FakeApi::start(move |request| {
        let is_daemon_set = request.path.ends_with("/daemonsets/nodes");
        match request.verb.as_str() {
            "APPLY" if is_daemon_set && !is_clean => with_field(request, "hostPID"),
            "JSON-PATCH" => {
                is_clean = true;
                let present = stored(&children().daemon_set.unwrap(), &daemon_set_defaults());
                patched(present, &request.body)
            }
            _ => accept(request),
        }
    })
    .await;
    let operator = Operator::default();
    for _ in 0..2 {
        let failed = write(&operator, &api, &with_daemon_set()).await;
        assert!(failed.is_empty(), "{failed:?}");
    }
    let verbs = api.verbs("/daemonsets/nodes");
    assert_eq!(verbs, ["APPLY", "JSON-PATCH"]);
}

#[tokio::test]
async fn what_comes_straight_back_is_reported_and_not_fought() {
    // As a mutating admission webhook does.
    let api = FakeApi::start(move |request| {
        let is_daemon_set = request.path.ends_with("/daemonsets/nodes");
        match request.verb.as_str() {
            "JSON-PATCH" => {
                let present = stored(&children().daemon_set.unwrap(), &daemon_set_defaults());
                let (code, mut object) = patched(present, &request.body);
                object["spec"]["template"]["spec"]["hostPID"] = true.into();
                // Nothing changed.
                object["metadata"]["resourceVersion"] = "8".into();
                (code, object)
            }
            "APPLY" if is_daemon_set => with_field(request, "hostPID"),
            _ => accept(request),
        }
    })
    .await;
    let operator = Operator::default();
    let mut daemon_set = stored(&children().daemon_set.unwrap(), &daemon_set_defaults());
    daemon_set["metadata"]["resourceVersion"] = "8".into();
    daemon_set["spec"]["template"]["spec"]["hostPID"] = true.into();
    for _ in 0..3 {
        let mut observed = Observed::default();
        observed.daemon_set = Child::Ours(serde_json::from_value(daemon_set.clone()).unwrap());
        let failed = write(&operator, &api, &observed).await;
        let [error @ ApplyError::Drift { fields, .. }] = &failed[..] else {
            panic!("{failed:?}");
        };
        assert_eq!(fields, "spec.template.spec.hostPID");
        assert!(!error.is_passing());
    }
    let counts = api.verbs("/daemonsets/nodes").into_iter().fold(
        BTreeMap::<String, usize>::new(),
        |mut counts, verb| {
            *counts.entry(verb).or_default() += 1;
            counts
        },
    );
    assert_eq!(counts["JSON-PATCH"], 1, "{counts:?}");
    assert_eq!(counts["APPLY"], 1, "{counts:?}");
}

#[tokio::test]
async fn a_secret_that_a_webhook_changes_is_not_reported_as_published() {
    let api = FakeApi::start(|request| {
        let (code, mut object) = accept(request);
        if request.path.ends_with("/secrets") && request.body["metadata"]["name"] == "nodes-scrape"
        {
            object["data"]["password"] = "aHVudGVyMg==".into();
        }
        (code, object)
    })
    .await;
    let operator = Operator::default();
    let failed = write(&operator, &api, &Observed::default()).await;
    let [error @ ApplyError::Drift { fields, .. }] = &failed[..] else {
        panic!("{failed:?}");
    };
    assert_eq!(fields, "data.password");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

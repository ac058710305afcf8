//! How the Lease of a namespace is held, against an API server that fails.

use std::sync::Arc;

use secure_exporter_operator::{
    clock::SystemClock,
    lease::{Leases, NAME, Tenure, error::LeaseError},
    telemetry::metrics::Metrics,
};
use serde_json::{Value, json};

use crate::fake_api::{FakeApi, Request, refusal};

fn leases(api: &FakeApi) -> Leases {
    let release = "monitoring/secure-exporter".to_owned();
    let clock = Arc::new(SystemClock::default());
    Leases::new(
        api.client.clone(),
        release,
        clock,
        Arc::new(Metrics::default()),
    )
}

fn held_by(holder: &str) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": NAME, "namespace": "monitoring", "uid": "u", "resourceVersion": "7"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 900}})
}

fn stored(request: &Request) -> (u16, Value) {
    let mut lease = request.body.clone();
    lease["metadata"]["resourceVersion"] = "8".into();
    (200, lease)
}

#[tokio::test]
async fn a_conflict_that_does_not_end_is_an_error_and_not_a_storm_of_requests() {
    let api = FakeApi::start(|request| match request.verb.as_str() {
        "GET" => (200, held_by("monitoring/secure-exporter")),
        _ => refusal(409, "Conflict", &[]),
    })
    .await;
    let hold = leases(&api);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), hold.hold("monitoring"));
    let failed = ended.await.expect("it ends").expect_err("it is not held");
    assert!(matches!(failed, LeaseError::Unwritten(_)), "{failed:?}");
    assert_eq!(api.verbs(NAME).len(), 6, "{:?}", api.verbs(NAME));
}

#[tokio::test]
async fn a_lease_that_is_deleted_at_the_same_moment_is_created() {
    let mut is_deleted = false;
    let api = FakeApi::start(move |request| match request.verb.as_str() {
        "PUT" => {
            is_deleted = true;
            refusal(404, "NotFound", &[])
        }
        "GET" if is_deleted => refusal(404, "NotFound", &[]),
        "GET" => (200, held_by("monitoring/secure-exporter")),
        _ => stored(request),
    })
    .await;
    let held = leases(&api).hold("monitoring").await.unwrap();
    assert!(matches!(held, Tenure::Ours { .. }), "{held:?}");
}

/// A failing admission webhook answers 500, and would stop the renewal of every certificate.
#[tokio::test]
async fn a_free_lease_that_cannot_be_written_hides_nobody() {
    let unwritable = |present: Option<Value>| {
        FakeApi::start(move |request| match (request.verb.as_str(), &present) {
            ("GET", Some(present)) => (200, present.clone()),
            ("GET", None) => refusal(404, "NotFound", &[]),
            _ => refusal(500, "InternalError", &[]),
        })
    };
    for present in [
        None,
        Some(held_by("")),
        Some(held_by("monitoring/secure-exporter")),
    ] {
        let api = unwritable(present).await;
        let failed = leases(&api).hold("monitoring").await.unwrap_err();
        assert!(matches!(failed, LeaseError::Unwritten(_)), "{failed:?}");
    }
    let api = unwritable(Some(held_by("other/secure-exporter"))).await;
    let tenure = leases(&api).hold("monitoring").await.unwrap();
    assert!(matches!(tenure, Tenure::Elsewhere { .. }), "{tenure:?}");

    let api = FakeApi::start(|_| refusal(500, "InternalError", &[])).await;
    let failed = leases(&api).hold("monitoring").await.unwrap_err();
    assert!(matches!(failed, LeaseError::Unread(_)), "{failed:?}");
}

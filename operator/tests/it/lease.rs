//! How the Lease of a namespace is held, against an API server that fails.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use secure_exporter_operator::{
    client::REQUEST_DEADLINE,
    clock::SystemClock,
    controller::supervised,
    lease::{Intervals, Leases, Tenure, error::LeaseError},
    names::LEASE,
    report::problem::Problem,
    telemetry::metrics::Metrics,
};
use serde_json::{Value, json};

use crate::{
    fake_api::{FakeApi, NEVER, Request, refusal},
    passes::{Store, context, context_with, resource},
    render_children::owner,
};

const OURS: &str = "monitoring/secure-exporter";

fn leases(api: &FakeApi) -> Leases {
    with_intervals(api, Intervals::default())
}

fn with_intervals(api: &FakeApi, intervals: Intervals) -> Leases {
    let release = OURS.to_owned();
    let clock = Arc::new(SystemClock::default());
    Leases::new(
        api.client.clone(),
        release,
        clock,
        Arc::new(Metrics::default()),
        intervals,
    )
}

fn held_by(holder: &str) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": LEASE, "namespace": "monitoring", "uid": "u", "resourceVersion": "7"},
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
        "GET" => (200, held_by(OURS)),
        _ => refusal(409, "Conflict", &[]),
    })
    .await;
    let hold = leases(&api);
    let ended = tokio::time::timeout(Duration::from_secs(20), hold.hold("monitoring"));
    let failed = ended.await.expect("it ends").expect_err("it is not held");
    assert!(matches!(failed, LeaseError::Unwritten(_)), "{failed:?}");
    assert_eq!(api.verbs(LEASE).len(), 6, "{:?}", api.verbs(LEASE));
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
        "GET" => (200, held_by(OURS)),
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
    for present in [None, Some(held_by("")), Some(held_by(OURS))] {
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

/// An API server with one Lease, which a test can replace.
async fn with_lease() -> (FakeApi, Arc<Mutex<(u16, Value)>>) {
    let lease = Arc::new(Mutex::new(refusal(404, "NotFound", &[])));
    let shared = lease.clone();
    let api = FakeApi::start(move |request| {
        let mut lease = shared.lock();
        if request.verb != "GET" {
            *lease = stored(request);
        }
        lease.clone()
    })
    .await;
    (api, lease)
}

const NEXT_TIME: Intervals = Intervals {
    confirmed: Duration::ZERO,
    renewed: Duration::from_secs(3600),
    valid: Duration::from_secs(3600),
};

#[tokio::test]
async fn a_holder_reads_its_lease_again_and_renews_it_rarely() {
    let (api, _) = with_lease().await;
    let leases = with_intervals(&api, NEXT_TIME);
    let holds = async || leases.hold("monitoring").await.unwrap();
    assert!(matches!(holds().await, Tenure::Ours { .. }));
    assert!(matches!(holds().await, Tenure::Ours { .. }));
    let verbs: Vec<String> = api.verbs("");
    assert_eq!(verbs, ["GET", "POST", "GET"]);

    let (api, _) = with_lease().await;
    let renewed = Duration::ZERO;
    let leases = with_intervals(
        &api,
        Intervals {
            renewed,
            ..NEXT_TIME
        },
    );
    for _ in 0..2 {
        leases.hold("monitoring").await.unwrap();
    }
    assert_eq!(api.verbs(""), ["GET", "POST", "GET", "PUT"]);

    // The requests of passes that follow each other closely are not doubled.
    let (api, _) = with_lease().await;
    let leases = self::leases(&api);
    for _ in 0..9 {
        leases.hold("monitoring").await.unwrap();
    }
    assert_eq!(api.verbs(""), ["GET", "POST"]);
}

#[test]
fn a_release_that_lost_its_lease_stops_well_within_a_minute() {
    let bound = Intervals::default().confirmed + REQUEST_DEADLINE;
    assert!(bound <= Duration::from_secs(20), "{bound:?}");
}

#[tokio::test]
async fn a_deleted_lease_that_another_release_took_is_lost() {
    let (api, lease) = with_lease().await;
    let leases = with_intervals(&api, NEXT_TIME);
    leases.hold("monitoring").await.unwrap();
    *lease.lock() = (200, held_by("other/secure-exporter"));
    let tenure = leases.hold("monitoring").await.unwrap();
    assert!(matches!(tenure, Tenure::Elsewhere { .. }), "{tenure:?}");
}

#[tokio::test]
async fn a_deleted_lease_that_nobody_took_is_created_again() {
    let (api, lease) = with_lease().await;
    let leases = with_intervals(&api, NEXT_TIME);
    leases.hold("monitoring").await.unwrap();
    *lease.lock() = refusal(404, "NotFound", &[]);
    let tenure = leases.hold("monitoring").await.unwrap();
    assert!(matches!(tenure, Tenure::Ours { .. }), "{tenure:?}");
    assert_eq!(lease.lock().1["spec"]["holderIdentity"], OURS);
}

/// Renewal of certificates must not stop where the right to read the Lease was lost.
#[tokio::test]
async fn the_last_holder_of_a_lease_that_cannot_be_read_continues() {
    let (api, lease) = with_lease().await;
    let leases = with_intervals(&api, NEXT_TIME);
    leases.hold("monitoring").await.unwrap();
    *lease.lock() = refusal(500, "InternalError", &[]);
    let tenure = leases.hold("monitoring").await.unwrap();
    assert!(matches!(tenure, Tenure::Ours { .. }), "{tenure:?}");

    // Another release could have taken it by now, if it can read it.
    let (api, lease) = with_lease().await;
    let valid = Duration::ZERO;
    let leases = with_intervals(&api, Intervals { valid, ..NEXT_TIME });
    leases.hold("monitoring").await.unwrap();
    *lease.lock() = refusal(500, "InternalError", &[]);
    let failed = leases.hold("monitoring").await.unwrap_err();
    assert!(matches!(failed, LeaseError::Unconfirmed(_)), "{failed:?}");
    assert!(
        !Problem::lease(&failed).hides_holder(),
        "the pass would end"
    );

    // Not a release that never held it.
    let failed = self::leases(&api).hold("monitoring").await.unwrap_err();
    assert!(matches!(failed, LeaseError::Unread(_)), "{failed:?}");
    assert!(Problem::lease(&failed).hides_holder());
}

#[tokio::test]
async fn a_lease_that_cannot_be_written_stops_no_issuance() {
    const RESOURCE: &str =
        "/apis/secureexporter.dev/v1alpha1/namespaces/monitoring/secureexporters/nodes";
    let mut store = Store::default();
    store.objects.insert(RESOURCE.to_owned(), json!(resource()));
    let store = Arc::new(Mutex::new(store));
    let shared = store.clone();
    let api = FakeApi::start(move |request| {
        let is_lease = request.path.contains("/leases");
        match request.verb.as_str() {
            // As with an admission webhook that does not answer.
            "POST" | "PUT" if is_lease => refusal(500, "InternalError", &[]),
            _ => shared.lock().answer(request),
        }
    })
    .await;
    let context = Arc::new(context(&api.client));
    supervised(&resource(), &owner(), &context).await.unwrap();
    let state = "/api/v1/namespaces/monitoring/secrets/nodes-state";
    assert!(store.lock().objects.contains_key(state));
}

#[tokio::test]
async fn a_pass_that_runs_when_its_lease_is_lost_writes_nothing_more() {
    const CONDITIONS: &str = "/status/conditions/0/message";
    let is_lost = Arc::new(Mutex::new(false));
    let (lost, mut store) = (is_lost.clone(), Store::default());
    let api = FakeApi::start(move |request| {
        let is_lease = request.path.contains("/leases");
        match request.verb.as_str() {
            "GET" if is_lease && *lost.lock() => (200, held_by("other/secure-exporter")),
            "GET" if is_lease => refusal(404, "NotFound", &[]),
            "POST" if is_lease => stored(request),
            // The other release takes the Lease while the pass reads.
            "GET" if request.path.ends_with("/daemonsets/nodes") => {
                *lost.lock() = true;
                (NEVER, json!(null))
            }
            _ => store.answer(request),
        }
    })
    .await;
    let confirmed = Duration::from_millis(20);
    let context = context_with(
        &api.client,
        Intervals {
            confirmed,
            ..NEXT_TIME
        },
    );
    let next = supervised(&resource(), &owner(), &context).await;
    assert!(*is_lost.lock() && next.is_some(), "{next:?}");
    let status = api.bodies("/status");
    let [status] = &status[..] else {
        panic!("{status:?}");
    };
    let message = status.pointer(CONDITIONS).and_then(Value::as_str);
    assert!(
        message.unwrap().contains("other/secure-exporter"),
        "{status}"
    );
}

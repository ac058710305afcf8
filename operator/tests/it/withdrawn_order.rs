//! A CertificateRequest does not outlive the change to another issuer, even if it cannot be deleted at once.

use std::sync::Arc;

use parking_lot::Mutex;
use secure_exporter_operator::{
    controller::supervised,
    render::{certificate_request, state_secret},
    rotation::order::Order,
    spec::issuer::ValidIssuer,
};
use secure_exporter_pki::request_leaf;
use serde_json::json;

use crate::{
    fake_api::FakeApi,
    passes::{Store, context, resource},
    render_children::{owner, valid},
};

#[tokio::test]
async fn an_order_is_forgotten_when_its_request_is_deleted() {
    const SECRETS: &str = "/api/v1/namespaces/monitoring/secrets";
    const REQUESTS: &str = "/apis/cert-manager.io/v1/namespaces/monitoring/certificaterequests";
    let spec = valid(json!({"tls": {"issuer": {
        "type": "CertManager", "certManager": {"issuerRef": {"name": "first"}}}}}))
    .spec;
    let ValidIssuer::CertManager { issuer, .. } = &spec.issuer else {
        panic!("{:?}", spec.issuer);
    };
    let order = Order {
        signing: request_leaf(&spec.certificate.parameters).unwrap(),
        parameters: "fingerprint".into(),
        made: jiff::Timestamp::now(),
        attempt: 1,
        refused: None,
    };
    // The spec of the resource is empty, so that the operator is the issuer now.
    let request = certificate_request(&spec, &owner(), issuer, &order);
    let request_path = format!("{REQUESTS}/{}", request.metadata.name.clone().unwrap());
    let mut store = Store {
        refuses_to_delete: true,
        ..Store::default()
    };
    let state = state_secret(&owner(), None, Some(&order));
    store.put(&format!("{SECRETS}/nodes-state"), &json!(state));
    store.put(&request_path, &json!(request));
    let store = Arc::new(Mutex::new(store));
    let shared = store.clone();
    let api = FakeApi::start(move |request| shared.lock().answer(request)).await;
    let memory = Arc::new(context(&api.client));

    let is_on_order = |store: &Store| {
        let state = &store.objects[&format!("{SECRETS}/nodes-state")];
        assert!(
            state["data"]["leaf.key"].is_string(),
            "the operator issued nothing"
        );
        state["data"]["request.json"].is_string()
    };
    supervised(&resource(), &owner(), &memory).await.unwrap();
    assert!(
        is_on_order(&store.lock()),
        "nothing would look for the request"
    );
    assert!(store.lock().objects.contains_key(&request_path));

    store.lock().refuses_to_delete = false;
    // As after a restart.
    let memory = Arc::new(context(&api.client));
    supervised(&resource(), &owner(), &memory).await.unwrap();
    assert!(!store.lock().objects.contains_key(&request_path));
    assert!(!is_on_order(&store.lock()));
}

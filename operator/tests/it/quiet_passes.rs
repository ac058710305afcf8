//! What a pass that has nothing to do asks of the API server.

use std::sync::Arc;

use parking_lot::Mutex;
use secure_exporter_operator::controller::{context::Context, supervised};
use serde_json::json;

use crate::{
    fake_api::{FakeApi, Request},
    render_children::owner,
    withdrawn_order::{Store, context, resource},
};

const RESOURCE: &str =
    "/apis/secureexporter.dev/v1alpha1/namespaces/monitoring/secureexporters/nodes";
const SERVICE: &str = "/api/v1/namespaces/monitoring/services/nodes";

async fn cluster() -> (FakeApi, Arc<Mutex<Store>>) {
    let mut store = Store::default();
    store.objects.insert(RESOURCE.to_owned(), json!(resource()));
    let store = Arc::new(Mutex::new(store));
    let shared = store.clone();
    let api = FakeApi::start(move |request| shared.lock().answer(request)).await;
    (api, store)
}

/// Runs a pass, and returns its requests for generated objects that exist.
async fn pass(api: &FakeApi, context: &Context) -> Vec<Request> {
    api.take_requests();
    supervised(&resource(), &owner(), context).await.unwrap();
    let requests = api.take_requests().into_iter();
    let is_object = |path: &str| path.ends_with("/nodes") || path.contains("/nodes-");
    let of_objects =
        requests.filter(|it| is_object(&it.path) && !it.path.contains("/secureexporters/"));
    of_objects.collect()
}

fn writes(requests: &[Request]) -> Vec<String> {
    let writes = requests.iter().filter(|request| request.verb != "GET");
    writes
        .map(|it| format!("{} {}", it.verb, it.path))
        .collect()
}

#[tokio::test]
async fn what_is_as_it_was_after_the_last_write_is_not_written_again() {
    let (api, store) = cluster().await;
    let context = context(&api.client);
    assert!(!writes(&pass(&api, &context).await).is_empty());
    pass(&api, &context).await;
    let quiet = pass(&api, &context).await;
    assert_eq!(writes(&quiet), Vec::<String>::new());
    assert_eq!(quiet.len(), 9, "one GET for each generated object");

    // Another client changes the Service, and then restores it: it has another version.
    let mut service = store.lock().objects[SERVICE].clone();
    service["metadata"]["resourceVersion"] = "1000".into();
    service["spec"]["ports"][0]["port"] = 1.into();
    store.lock().objects.insert(SERVICE.to_owned(), service);
    assert_eq!(
        writes(&pass(&api, &context).await),
        [format!("APPLY {SERVICE}")]
    );
    assert_eq!(writes(&pass(&api, &context).await), Vec::<String>::new());
}

#[tokio::test]
async fn a_deleted_object_is_written_again() {
    let (api, store) = cluster().await;
    let context = context(&api.client);
    for _ in 0..3 {
        pass(&api, &context).await;
    }
    store.lock().objects.remove(SERVICE);
    assert_eq!(
        writes(&pass(&api, &context).await),
        [format!("APPLY {SERVICE}")]
    );
}

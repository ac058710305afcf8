//! Determines the state for a pass without blocking the async workers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

use crate::{
    controller::supervision::BlockingWork,
    report::problem::Problem,
    rotation::{
        recall::{self, Known, Memory, Stored},
        state::published::Published,
    },
    secret_object::SecretObject,
    spec::ValidSpec,
};

/// [`recall::recall`], outside the async workers if it is slow.
///
/// # Errors
/// The task was cancelled.
pub(crate) async fn recall(
    stored: Stored,
    memory: Option<&Memory>,
    published: &Published<'_>,
    handled: BTreeMap<String, String>,
    spec: &ValidSpec,
    now: Timestamp,
    blocking: &BlockingWork,
) -> Result<Known, Problem> {
    if !recall::is_rebuilt(&stored, memory, published) {
        let known = recall::recall(stored, memory, published, &handled, spec, now);
        return Ok(known);
    }
    let (memory, spec) = (memory.cloned(), spec.clone());
    let copy = |secret: Option<&Secret>| secret.cloned().map(SecretObject::new);
    let (server, scrape) = (copy(published.server), copy(published.scrape));
    let (bundle, bundle_is_foreign) = (published.bundle.cloned(), published.bundle_is_foreign);
    let work = move || {
        let published = Published {
            server: server.as_deref(),
            scrape: scrape.as_deref(),
            bundle: bundle.as_ref(),
            bundle_is_foreign,
        };
        recall::recall(stored, memory.as_ref(), &published, &handled, &spec, now)
    };
    blocking.run(work).await.map_err(|_| Problem::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use serde_json::json;

    use super::*;
    use crate::{
        names::Owner,
        render::children,
        rotation::{
            annotations::Requests,
            evidence::Heard,
            plan::{Circumstances, Issued, carry_out, plan},
            state::State,
            timing::Timers,
        },
        supplied::{cert_manager::Asked, credentials::SuppliedCredentials},
    };

    const NOTHING: Published<'_> = Published {
        server: None,
        scrape: None,
        bundle: None,
        bundle_is_foreign: false,
    };

    fn first_state(spec: &ValidSpec, now: Timestamp) -> State {
        let issued = Issued {
            provided: None,
            requests: Asked::Open(Vec::new()),
            bundle: None,
        };
        let plan = plan(
            &Known::default(),
            &Circumstances {
                spec,
                owner: &Owner::nodes(),
                requests: &Requests::default(),
                own: &SuppliedCredentials::default(),
                issued: &issued,
                published: &NOTHING,
                heard: &Heard::default(),
                timers: &Timers::default(),
                now,
                clock_jumped: false,
                watched_since: Timestamp::MIN,
            },
        )
        .unwrap();
        let next = carry_out(&plan.steps, Known::default(), spec, &Owner::nodes(), now).unwrap();
        next.state.unwrap()
    }

    /// bcrypt at this cost takes longer than anything else here.
    #[tokio::test]
    async fn passwords_are_compared_with_hashes_outside_the_async_workers() {
        let spec = json!({"authentication": {"basicAuth": {"bcryptCost": 10}}});
        let spec =
            ValidSpec::parse(&serde_json::from_value(spec).unwrap(), &Owner::nodes()).unwrap();
        let now = "2027-01-01T00:00:00Z".parse().unwrap();
        let state = first_state(&spec, now);
        let children = children(&spec, None, &Owner::nodes(), &state).unwrap();
        let published = Published {
            server: Some(&children.server_secret),
            scrape: Some(&children.scrape_secret),
            bundle: Some(&children.ca_config_map),
            bundle_is_foreign: false,
        };
        let (blocking, _ended) = BlockingWork::new();
        let mut context = Context::from_waker(Waker::noop());

        let stored = Stored {
            state: Some(state.clone()),
            order: None,
        };
        let handled = BTreeMap::new();
        let mut kept = pin!(recall(
            stored,
            None,
            &published,
            handled.clone(),
            &spec,
            now,
            &blocking,
        ));
        assert!(
            matches!(kept.as_mut().poll(&mut context), Poll::Ready(Ok(known)) if !known.is_rebuilt)
        );

        let lost = Stored::default();
        let mut rebuilt = pin!(recall(
            lost, None, &published, handled, &spec, now, &blocking
        ));
        assert!(rebuilt.as_mut().poll(&mut context).is_pending());
        let known = rebuilt.await.unwrap();
        assert!(known.is_rebuilt);
        let rebuilt = known.state.unwrap();
        assert_eq!(rebuilt.passwords[&1].password, state.passwords[&1].password);
    }
}

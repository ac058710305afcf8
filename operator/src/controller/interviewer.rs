//! Prepares the questions to the exporters of a resource, from what the last pass remembers.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use futures::FutureExt;
use kube::Client;
use parking_lot::Mutex;

use crate::{
    clock::Clock,
    controller::{context::Remembered, wakes::Wakes},
    observe::{
        agenda::Pace,
        pods::Pods,
        probe::{Question, ask},
        prober::{Ask, Interviewer, Prober, Surroundings},
    },
    rotation::timing::Timers,
};

/// Returns the prober that asks with the states that the passes remember.
pub fn prober(
    client: &Client,
    pods: &Arc<Pods>,
    wakes: &Arc<Wakes>,
    remembered: &Arc<Mutex<HashMap<String, Remembered>>>,
    clock: &Arc<dyn Clock>,
    timers: &Timers,
) -> Prober {
    let wakes = wakes.clone();
    Prober::new(Surroundings {
        client: client.clone(),
        pods: pods.clone(),
        interviewer: Arc::new(StateInterviewer {
            remembered: remembered.clone(),
            clock: clock.clone(),
        }),
        wake: Arc::new(move |owner| wakes.wake(&owner.namespace, &owner.name)),
        pace: Pace::of(timers),
    })
}

/// Asks with the credentials in the states that the passes remember.
struct StateInterviewer {
    /// What was last known about each resource, by uid.
    remembered: Arc<Mutex<HashMap<String, Remembered>>>,
    clock: Arc<dyn Clock>,
}

impl Interviewer for StateInterviewer {
    fn prepare(&self, uid: &str) -> Option<Ask> {
        let question = {
            let remembered = self.remembered.lock();
            let state = remembered.get(uid)?.memory.stored.state.as_ref()?;
            Question::new(state, state.accepted.as_ref()?, self.clock.now())
        };
        // Where it is not usable, the passes report it.
        let question = question.inspect_err(|error| {
            tracing::debug!(%error, "the exporters cannot be asked");
        });
        let question = Arc::new(question.ok()?);
        Some(Arc::new(move |address: SocketAddr| {
            let question = question.clone();
            let asked = async move {
                let asked = ask(address, &question).await;
                let asked = asked.inspect_err(
                    |error| tracing::debug!(%address, %error, "an exporter did not answer"),
                );
                asked.ok()
            };
            asked.boxed()
        }))
    }
}

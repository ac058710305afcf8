//! Limits the effects of every pass: one that takes too long is cut off, and one that panics is retried. Neither may end or
//! block the passes over other resources.

use std::{
    any::Any,
    convert::Infallible,
    panic::{AssertUnwindSafe, resume_unwind},
    time::{Duration, Instant},
};

use futures::FutureExt;
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    task::JoinError,
};

use crate::{
    controller::{backoff::PerObject, schedule::spread},
    names::Owner,
    telemetry::{metrics::Metrics, passes::Passes},
};

/// The work of one pass that blocks a thread, such as the generation of keys. It cannot be cut off, so the pass after one
/// that was cut off waits for it.
#[derive(Clone)]
pub(crate) struct BlockingWork {
    running: Sender<Infallible>,
}

impl BlockingWork {
    /// Creates it, with a receiver that ends when all of this work has ended.
    pub(crate) fn new() -> (Self, Receiver<Infallible>) {
        let (running, ended) = channel(1);
        (Self { running }, ended)
    }

    /// Runs `work` outside the async workers. A panic in it is one of the pass.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let running = self.running.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _running = running;
            work()
        });
        match task.await {
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            ended => ended,
        }
    }
}

/// Runs passes.
pub(crate) struct Supervision<'a> {
    pub(crate) passes: &'a Passes,
    pub(crate) metrics: &'a Metrics,
    pub(crate) backoff: &'a PerObject,
    pub(crate) deadline: Duration,
}

impl Supervision<'_> {
    /// Runs a pass until it ends, panics or has taken too long, and returns how long to wait for the next one; `None` to
    /// wait for a change. Afterwards nothing of the pass runs any more.
    pub(crate) async fn run<F>(
        &self,
        owner: &Owner,
        pass: impl FnOnce(BlockingWork) -> F,
    ) -> Option<Duration>
    where
        F: Future<Output = Option<Duration>>,
    {
        let begin = Instant::now();
        let tracked = self.passes.begin(owner);
        let (blocking, mut blocking_ended) = BlockingWork::new();
        let pass = AssertUnwindSafe(async { pass(blocking).await }).catch_unwind();
        let ended = tokio::time::timeout(self.deadline, pass).await;
        // Returns when the last sender is dropped: with the last work that blocks a thread.
        let _ = blocking_ended.recv().await;
        let resource = format!("{}/{}", owner.namespace, owner.name);
        let outcome = match ended {
            Ok(Ok(next)) => Ok(next),
            Ok(Err(panic)) => {
                let panic = panic_message(&*panic);
                tracing::error!(
                    resource,
                    panic,
                    "a reconciliation panicked, which is a bug in the operator; retrying"
                );
                Err("Panicked")
            }
            Err(_) => {
                let seconds = self.deadline.as_secs();
                tracing::warn!(
                    resource,
                    seconds,
                    "a reconciliation took too long and was cut off; retrying"
                );
                Err("DeadlineExceeded")
            }
        };
        let next = outcome.unwrap_or_else(|outcome| {
            self.metrics.passed(outcome, begin.elapsed().as_secs_f64());
            Some(self.backoff.failed(&owner.uid))
        });
        let next = next.map(|pause| spread(pause, &owner.uid));
        tracked.end(next);
        next
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        thread::sleep,
    };

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    struct Rig {
        passes: Passes,
        metrics: Metrics,
        backoff: PerObject,
        owner: Owner,
    }

    impl Rig {
        fn new() -> Self {
            Self {
                passes: Passes::new(1),
                metrics: Metrics::default(),
                backoff: PerObject::default(),
                owner: Owner::nodes(),
            }
        }

        async fn run<F>(&self, pass: impl FnOnce(BlockingWork) -> F) -> Option<Duration>
        where
            F: Future<Output = Option<Duration>>,
        {
            let supervision = Supervision {
                passes: &self.passes,
                metrics: &self.metrics,
                backoff: &self.backoff,
                deadline: SHORT,
            };
            let ended = supervision.run(&self.owner, pass);
            let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
            ended.expect("the pass ends")
        }

        fn counts(&self, outcome: &str) -> bool {
            let series =
                format!("secure_exporter_operator_reconciles_total{{outcome=\"{outcome}\"}} 1");
            self.metrics.text().contains(&series)
        }
    }

    #[tokio::test]
    async fn a_pass_that_takes_too_long_is_cut_off_counted_and_retried() {
        let rig = Rig::new();
        let next = rig.run(|_| pending()).await.expect("is retried");
        assert!(next <= Duration::from_secs(3), "{next:?}");
        assert!(rig.counts("DeadlineExceeded"), "{}", rig.metrics.text());
        let then = rig.run(|_| pending()).await.expect("is retried");
        assert!(then >= Duration::from_secs(2), "no backoff: {then:?}");
    }

    #[tokio::test]
    async fn a_panic_is_counted_and_retried_and_ends_nothing_else() {
        let rig = Rig::new();
        let panics = async |_| -> Option<Duration> { panic!("boom") };
        assert!(rig.run(panics).await.is_some());
        assert!(rig.counts("Panicked"), "{}", rig.metrics.text());
        assert_eq!(rig.run(async |_| None).await, None);

        let in_a_thread = async |work: BlockingWork| {
            let _ = work.run(|| panic!("boom in a thread")).await;
            None
        };
        let rig = Rig::new();
        assert!(rig.run(in_a_thread).await.is_some());
        assert!(rig.counts("Panicked"), "{}", rig.metrics.text());
    }

    #[tokio::test]
    async fn nothing_of_a_pass_that_was_cut_off_runs_beside_the_next_one() {
        let rig = Rig::new();
        let has_ended = Arc::new(AtomicBool::new(false));
        let at_the_end = has_ended.clone();
        rig.run(async |work: BlockingWork| {
            let _ = work
                .run(move || {
                    sleep(10 * SHORT);
                    at_the_end.store(true, Ordering::SeqCst);
                })
                .await;
            None
        })
        .await;
        assert!(rig.counts("DeadlineExceeded"), "{}", rig.metrics.text());
        assert!(has_ended.load(Ordering::SeqCst), "it still runs");
    }

    #[tokio::test]
    async fn the_next_pass_is_expected_when_it_is_due() {
        let rig = Rig::new();
        rig.run(async |_| Some(Duration::from_secs(600))).await;
        let now = Instant::now();
        assert_eq!(rig.passes.overdue(now + Duration::from_secs(700)), None);
        assert!(
            rig.passes
                .overdue(now + Duration::from_secs(1000))
                .is_some()
        );
    }
}

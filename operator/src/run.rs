//! Assembles the operator and runs it until a signal stops it.

use std::{future::pending, process::ExitCode, sync::Arc, time::Duration};

use futures::future::join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};
use tokio::{
    sync::Semaphore,
    task::{JoinError, JoinHandle},
};
use tokio_util::sync::CancellationToken;

use crate::{
    arguments::{RunArguments, Scope},
    client::client,
    clock::{Clock, SystemClock},
    controller::{
        backoff::PerObject, context::Context, interviewer::prober, serving::serve, wakes::Wakes,
    },
    lease::{Intervals, Leases},
    observe::{api_error, pods::Pods},
    spec::policy::PolicyError,
    telemetry::{
        events::Events,
        metrics::Metrics,
        passes::Passes,
        probes::{self, Health},
        repeats::Repeats,
    },
};

/// How long the release of the Leases may take at the end.
const RELEASE_DEADLINE: Duration = Duration::from_secs(3);

/// Why the operator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A flag of the policy is invalid.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The configuration of the API client is missing or invalid.
    #[error(
        "cannot configure the client for the API server: {0}; in a cluster, mount the ServiceAccount token into the pod; elsewhere, set KUBECONFIG"
    )]
    Client(#[from] kube::Error),
    /// The address of the probes and metrics cannot be bound.
    #[error("cannot serve /livez, /readyz and /metrics: {0}; choose another --listen-address")]
    Health(#[source] std::io::Error),
    /// The signal handlers cannot be installed.
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] std::io::Error),
    /// A task panicked.
    #[error("the task that {task} failed: {source}; this is a bug in the operator")]
    Task {
        /// What the task does.
        task: &'static str,
        /// How the task ended.
        source: JoinError,
    },
}

/// Runs the operator until SIGTERM or SIGINT. Running passes may then take until the deadline to end.
///
/// # Errors
/// [`RunError`]
pub async fn run(arguments: RunArguments) -> Result<(), RunError> {
    let policy = arguments.policy()?;
    let passes = Arc::new(Passes::new(arguments.concurrency));
    let namespaces = namespaces(arguments.scope());
    let names = namespaces.iter().map(|name| name.as_deref().unwrap_or("*"));
    let health = Arc::new(Health::new(passes.clone(), names.map(str::to_owned)));
    let metrics = Arc::new(Metrics::default());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let client = client().await?;
    let leases = Arc::new(Leases::new(
        client.clone(),
        arguments.release.clone(),
        clock.clone(),
        metrics.clone(),
        Intervals::default(),
    ));
    let timers = arguments.timers.timers();
    let (pods, wakes, remembered) = (
        Arc::<Pods>::default(),
        Arc::<Wakes>::default(),
        Arc::default(),
    );
    let context = Arc::new(Context {
        prober: prober(&client, &pods, &wakes, &remembered, &clock, &timers),
        pods,
        dependents: Default::default(),
        versions: Default::default(),
        rests: Default::default(),
        wakes,
        remembered,
        leases: leases.clone(),
        events: Events::new(client.clone()),
        client,
        clock,
        policy,
        references: arguments.references(),
        metrics: metrics.clone(),
        passes,
        permits: Semaphore::new(usize::from(arguments.concurrency)),
        backoff: PerObject::default(),
        logged: Default::default(),
        repairs: Default::default(),
        pod_monitors: Default::default(),
        verified: Default::default(),
        timers,
    });
    let (stop, signals) = stop_signal().map_err(RunError::Signals)?;

    let served = tokio::spawn(probes::serve(
        arguments.listen_address,
        health.clone(),
        metrics,
    ));
    let (renewing, passes) = (leases.clone(), context.passes.clone());
    let keeping = tokio::spawn(async move {
        let has_resources = |namespace: &str| passes.has_some_in(namespace);
        renewing.keep(has_resources).await;
    });
    let watching = context.clone();
    let monitors = tokio::spawn(async move { watching.pod_monitors.keep(&watching.client).await });
    let work = tokio::spawn(work(context, health, namespaces, stop.clone()));
    let tasks = Tasks {
        probes: served,
        leases: keeping,
        signals,
        monitors,
        work,
    };
    let ended = supervise(tasks, stop, arguments.shutdown_deadline).await;
    if tokio::time::timeout(RELEASE_DEADLINE, leases.release_all())
        .await
        .is_err()
    {
        tracing::warn!(
            "the API server did not answer in time to release the Leases; they expire after 15 minutes"
        );
    }
    tracing::info!("stopped");
    ended
}

/// The exit code of the operator. Prints the error.
pub fn exit_code(outcome: Result<(), RunError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The tasks of the operator.
struct Tasks {
    /// Serves the probes and metrics.
    probes: JoinHandle<std::io::Result<()>>,
    /// Renews the Leases.
    leases: JoinHandle<()>,
    /// Waits for a signal.
    signals: JoinHandle<()>,
    /// Watches whether the cluster has PodMonitors.
    monitors: JoinHandle<()>,
    /// Watches the resources.
    work: JoinHandle<()>,
}

/// Waits until the work ends, or any task fails: without one of them the operator would only seem to run.
async fn supervise(
    tasks: Tasks,
    stop: CancellationToken,
    shutdown_deadline: Duration,
) -> Result<(), RunError> {
    tokio::select! {
        served = tasks.probes => outcome("serves the probes", served)
            .and_then(|end| end.map_err(RunError::Health)),
        failed = failure("waits for signals", tasks.signals) => Err(failed),
        failed = failure("renews the Leases", tasks.leases) => Err(failed),
        failed = failure("watches the definition of PodMonitors", tasks.monitors) => Err(failed),
        ended = bounded(tasks.work, stop, shutdown_deadline) => ended,
    }
}

/// Converts the result of a task that may have panicked.
fn outcome<T>(task: &'static str, ended: Result<T, JoinError>) -> Result<T, RunError> {
    ended.map_err(|source| RunError::Task { task, source })
}

/// Completes if the task panics. A task that ends otherwise has done its work.
async fn failure(task: &'static str, ended: JoinHandle<()>) -> RunError {
    match outcome(task, ended.await) {
        Ok(()) => pending().await,
        Err(error) => error,
    }
}

/// The namespaces to watch; `None` for all of them.
fn namespaces(scope: Scope) -> Vec<Option<String>> {
    match scope {
        Scope::Cluster => vec![None],
        Scope::Namespaces(names) => names.into_iter().map(Some).collect(),
    }
}

async fn work(
    context: Arc<Context>,
    health: Arc<Health>,
    namespaces: Vec<Option<String>>,
    stop: CancellationToken,
) {
    tokio::select! {
        () = wait_for_definition(&context.client) => {}
        () = stop.cancelled() => return,
    }
    let stopping = context.clone();
    let close = async {
        stop.cancelled().await;
        // Passes that have not begun yet never will.
        stopping.permits.close();
        pending().await
    };
    let served = namespaces
        .into_iter()
        .map(|namespace| serve(context.clone(), health.clone(), namespace, stop.clone()));
    tokio::select! {
        _ = join_all(served) => {}
        () = close => {}
    }
}

/// Without the CustomResourceDefinition every list returns 404, which would look like an empty cluster.
async fn wait_for_definition(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = "secureexporters.secureexporter.dev";
    let repeats = Repeats::default();
    loop {
        match api.get_opt(name).await {
            Ok(Some(_)) => return,
            Ok(None) if !repeats.is_new("absent") => {}
            Ok(None) => tracing::warn!(
                name,
                "the CustomResourceDefinition is not installed; to install it: set crds.enabled of the Helm chart, or kubectl apply --server-side -f crds"
            ),
            // Without permission to read definitions, resources may still be watched.
            Err(kube::Error::Api(refused)) if refused.code == 403 => return,
            Err(error) => {
                let error = api_error::text(&error);
                if repeats.is_new(&error) {
                    tracing::warn!(
                        name,
                        error,
                        "cannot read the CustomResourceDefinition; retrying"
                    );
                }
            }
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// Ends with the work, or at the deadline after the signal, because kube's graceful shutdown waits forever if the first
/// list never succeeded.
async fn bounded(
    mut work: JoinHandle<()>,
    stop: CancellationToken,
    deadline: Duration,
) -> Result<(), RunError> {
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(deadline).await;
    };
    tokio::select! {
        ended = &mut work => outcome("watches the SecureExporters", ended),
        () = late => {
            // Nothing may be written any more when the Leases are free, and none be acquired again.
            work.abort();
            let _ = work.await;
            tracing::warn!("the shutdown deadline has passed; running passes are aborted and will be repeated after the next start");
            Ok(())
        }
    }
}

fn stop_signal() -> std::io::Result<(CancellationToken, JoinHandle<()>)> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let signals = tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("received a stop signal; waiting for running passes to end");
        stopping.cancel();
    });
    Ok((stop, signals))
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::error::TryRecvError;

    use super::*;

    const A_MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_panic_of_the_work_is_a_failure_that_names_it() {
        let work = tokio::spawn(async { panic!("boom") });
        let error = bounded(work, CancellationToken::new(), A_MINUTE)
            .await
            .expect_err("the work panicked");
        let text = error.to_string();
        assert!(text.contains("watches the SecureExporters"), "{text}");
        assert!(text.contains("boom"), "{text}");
    }

    #[tokio::test]
    async fn a_panic_of_any_task_is_a_failure_and_no_clean_stop() {
        let signals = tokio::spawn(async { panic!("boom") });
        let failed = tokio::time::timeout(A_MINUTE, failure("waits for signals", signals)).await;
        let text = failed.expect("it is noticed").to_string();
        assert!(text.contains("waits for signals"), "{text}");
        let signals = tokio::spawn(async {});
        let ended = tokio::time::timeout(
            Duration::from_millis(50),
            failure("waits for signals", signals),
        );
        assert!(ended.await.is_err(), "a signal is no failure");
    }

    /// Names the task that panics in the process of [`an_operator_whose_task_panics`].
    const PANICS: &str = "SECURE_EXPORTER_TEST_PANICS";

    /// The operator's process, as far as the supervision of its tasks goes. Run by the next test.
    #[test]
    #[ignore = "it is run in a process of its own by the next test"]
    fn an_operator_whose_task_panics() -> ExitCode {
        async fn run<T>(panics: bool) -> T {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(!panics, "boom");
            pending().await
        }
        let panicking = std::env::var(PANICS).unwrap_or_default();
        let panics = |name: &str| name == panicking;
        let runtime = tokio::runtime::Runtime::new().expect("starts");
        runtime.block_on(async {
            let tasks = Tasks {
                probes: tokio::spawn(run(panics("probes"))),
                leases: tokio::spawn(run(panics("leases"))),
                signals: tokio::spawn(run(panics("signals"))),
                monitors: tokio::spawn(run(panics("monitors"))),
                work: tokio::spawn(run(panics("work"))),
            };
            let ended = supervise(tasks, CancellationToken::new(), A_MINUTE);
            match tokio::time::timeout(Duration::from_secs(3), ended).await {
                Ok(ended) => exit_code(ended),
                Err(_) => ExitCode::SUCCESS,
            }
        })
    }

    #[test]
    fn a_panic_of_any_task_ends_the_process_with_a_failure_that_names_it() {
        let program = std::env::current_exe().expect("is known");
        let run = |panicking: &str| {
            std::process::Command::new(&program)
                .args(["--exact", "run::tests::an_operator_whose_task_panics"])
                .args(["--ignored", "--nocapture"])
                .env(PANICS, panicking)
                .output()
                .expect("runs")
        };
        for (panicking, task) in [
            ("probes", "serves the probes"),
            ("leases", "renews the Leases"),
            ("signals", "waits for signals"),
            ("monitors", "watches the definition of PodMonitors"),
            ("work", "watches the SecureExporters"),
        ] {
            let ended = run(panicking);
            let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert!(!ended.status.success(), "{panicking}: {errors}");
            let named = format!("error: the task that {task} failed");
            assert!(errors.contains(&named), "{panicking}: {errors}");
        }
        let ended = run("none");
        assert!(ended.status.success(), "{ended:?}");
    }

    #[tokio::test]
    async fn work_that_does_not_end_is_cut_off_at_the_deadline() {
        let stop = CancellationToken::new();
        stop.cancel();
        let work = tokio::spawn(pending());
        let ended = tokio::time::timeout(A_MINUTE, bounded(work, stop, Duration::ZERO)).await;
        assert!(matches!(ended, Ok(Ok(()))), "{ended:?}");
    }

    #[tokio::test]
    async fn nothing_is_written_beside_the_next_holder_of_a_lease() {
        let (running, mut ended) = tokio::sync::mpsc::channel::<()>(1);
        let work = tokio::spawn(async move {
            let _running = running;
            pending().await
        });
        let stop = CancellationToken::new();
        stop.cancel();
        bounded(work, stop, Duration::ZERO).await.expect("stops");
        assert!(
            matches!(ended.try_recv(), Err(TryRecvError::Disconnected)),
            "the work continues"
        );
    }
}

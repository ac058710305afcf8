//! Assembles the operator and runs it until a signal stops it.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    arguments::{RunArguments, Scope},
    clock::SystemClock,
    controller::{self, backoff::PerObject, context::Context},
    spec::policy::PolicyError,
    telemetry::{
        events::Events,
        metrics::Metrics,
        probes::{self, Health},
    },
};

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
    let clock = Arc::new(SystemClock::default());
    let health = Arc::new(Health::new(clock.clone()));
    let metrics = Arc::new(Metrics::default());
    let client = Client::try_default().await?;
    let context = Arc::new(Context {
        events: Events::new(client.clone()),
        client: client.clone(),
        clock,
        policy,
        references: arguments.references(),
        metrics: metrics.clone(),
        backoff: PerObject::default(),
        timers: arguments.timers.timers(),
        samples: Default::default(),
        remembered: Default::default(),
    });
    let stop = stop_signal().map_err(RunError::Signals)?;

    let served = tokio::spawn(probes::serve(
        arguments.listen_address,
        health.clone(),
        metrics,
    ));
    let listening = tokio::spawn(listen(client.clone(), health.clone()));
    let work = tokio::spawn(work(
        context,
        health,
        arguments.scope(),
        arguments.concurrency,
        stop.clone(),
    ));
    let ended = tokio::select! {
        served = served => outcome("serves the probes", served)
            .and_then(|end| end.map_err(RunError::Health)),
        ended = bounded(work, stop, arguments.shutdown_deadline) => ended,
    };
    listening.abort();
    tracing::info!("stopped");
    ended
}

/// Converts the result of a task that may have panicked.
fn outcome<T>(task: &'static str, ended: Result<T, JoinError>) -> Result<T, RunError> {
    ended.map_err(|source| RunError::Task { task, source })
}

async fn work(
    context: Arc<Context>,
    health: Arc<Health>,
    scope: Scope,
    concurrency: u16,
    stop: CancellationToken,
) {
    tokio::select! {
        () = wait_for_definition(&context.client) => {}
        () = stop.cancelled() => return,
    }
    tracing::info!(?scope, "watching SecureExporters");
    let namespaces: Vec<Option<String>> = match scope {
        Scope::Cluster => vec![None],
        Scope::Namespaces(names) => names.into_iter().map(Some).collect(),
    };
    let announced = async {
        for namespace in &namespaces {
            controller::wait_until_listed(&context.client, namespace.as_deref()).await;
        }
        health.ready();
        // Readiness does not end the work.
        std::future::pending::<()>().await;
    };
    let watched = join_all(namespaces.iter().map(|namespace| {
        let stopped = stop.clone().cancelled_owned();
        controller::watch(context.clone(), namespace.as_deref(), concurrency, stopped)
    }));
    tokio::select! {
        () = announced => {}
        _ = watched => {}
    }
}

/// Without the CustomResourceDefinition every list returns 404, which would look like an empty cluster.
async fn wait_for_definition(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = "secureexporters.secureexporter.dev";
    loop {
        match api.get_opt(name).await {
            Ok(Some(_)) => return,
            Ok(None) => tracing::warn!(
                name,
                "the CustomResourceDefinition is not installed; to install it: kubectl apply --server-side -f charts/secure-exporter/crds"
            ),
            // Without permission to read definitions, resources may still be watched.
            Err(kube::Error::Api(refused)) if refused.code == 403 => return,
            Err(error) => tracing::warn!(%error, "the API server does not answer"),
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// Asks the API server for its version every minute, so that liveness knows whether it answers.
async fn listen(client: Client, health: Arc<Health>) {
    loop {
        if client.apiserver_version().await.is_ok() {
            health.answered();
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

/// Ends with the work, or at the deadline after the signal, because kube's graceful shutdown waits forever if the first
/// list never succeeded.
async fn bounded(
    work: JoinHandle<()>,
    stop: CancellationToken,
    deadline: Duration,
) -> Result<(), RunError> {
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(deadline).await;
    };
    tokio::select! {
        ended = work => outcome("watches the SecureExporters", ended),
        () = late => {
            tracing::warn!("the shutdown deadline has passed; running passes are aborted and will be repeated after the next start");
            Ok(())
        }
    }
}

fn stop_signal() -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stop = CancellationToken::new();
    // The guard also cancels if the task panics: otherwise no signal could stop the process.
    let stopping = stop.clone().drop_guard();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("received a stop signal; waiting for running passes to end");
        drop(stopping);
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
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
    async fn work_that_does_not_end_is_cut_off_at_the_deadline() {
        let stop = CancellationToken::new();
        stop.cancel();
        let work = tokio::spawn(std::future::pending());
        let ended = tokio::time::timeout(A_MINUTE, bounded(work, stop, Duration::ZERO)).await;
        assert!(matches!(ended, Ok(Ok(()))), "{ended:?}");
    }
}

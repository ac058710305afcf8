//! Puts the operator together and runs it until it is told to stop.

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
    spec::image_policy::{ImagePolicy, ImagePolicyError},
    telemetry::{
        events::Events,
        metrics::Metrics,
        probes::{self, Health},
    },
};

/// Why the operator could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An image setting.
    #[error(transparent)]
    Images(#[from] ImagePolicyError),
    /// The API server cannot be found.
    #[error(
        "cannot find the API server: {0}. In a cluster the pod needs its ServiceAccount token; elsewhere set KUBECONFIG"
    )]
    Client(#[from] kube::Error),
    /// The address of the probes.
    #[error("cannot serve /livez, /readyz and /metrics: {0}")]
    Health(#[source] std::io::Error),
    /// Signals.
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] std::io::Error),
    /// A task panicked.
    #[error("the task that {task} failed: {source}; this is a bug in the operator")]
    Task {
        /// What the task does.
        task: &'static str,
        /// How it ended.
        source: JoinError,
    },
}

/// Runs the operator until SIGTERM or SIGINT, and then for at most the deadline.
///
/// # Errors
/// As [`RunError`] says.
pub async fn run(arguments: RunArguments) -> Result<(), RunError> {
    let images = ImagePolicy::new(&arguments.exporter_image, &arguments.allowed_images)?;
    let clock = Arc::new(SystemClock::default());
    let health = Arc::new(Health::new(clock.clone()));
    let metrics = Arc::new(Metrics::default());
    let client = Client::try_default().await?;
    let context = Arc::new(Context {
        events: Events::new(client.clone()),
        client: client.clone(),
        clock,
        images,
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

/// What a task returned, or that it panicked.
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
        // Being ready is an announcement, and never the end of the work.
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

/// Without the definition every list is a 404, which would look like a quiet cluster.
async fn wait_for_definition(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = "secureexporters.secureexporter.dev";
    loop {
        match api.get_opt(name).await {
            Ok(Some(_)) => return,
            Ok(None) => tracing::warn!(
                name,
                "the CustomResourceDefinition is not installed: kubectl apply --server-side -f charts/secure-exporter/crds"
            ),
            // Whoever may not read definitions may still watch resources.
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

/// Ends with the work, or at the deadline after the signal: kube's own graceful end waits for ever where the first list
/// never succeeded.
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
            tracing::warn!("the deadline has passed; running passes are cut off and will be repeated");
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
    // Dropped at the task's end, however it ends: a task that listens no more must not leave a process that nothing stops.
    let stopping = stop.clone().drop_guard();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("received a signal to stop; waiting for the running passes");
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

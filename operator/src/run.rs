//! Puts the operator together and runs it until it is told to stop.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};
use tokio::sync::watch::{Receiver, channel};

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
    let outcome = tokio::select! {
        served = served => served.ok().map_or(Ok(()), |end| end.map_err(RunError::Health)),
        () = bounded(work, stop, arguments.shutdown_deadline) => Ok(()),
    };
    listening.abort();
    tracing::info!("stopped");
    outcome
}

async fn work(
    context: Arc<Context>,
    health: Arc<Health>,
    scope: Scope,
    concurrency: u16,
    stop: Receiver<bool>,
) {
    tokio::select! {
        () = wait_for_definition(&context.client) => {}
        () = stopped(stop.clone()) => return,
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
        let stopped = stopped(stop.clone());
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
async fn bounded(work: tokio::task::JoinHandle<()>, stop: Receiver<bool>, deadline: Duration) {
    let late = async {
        stopped(stop).await;
        tokio::time::sleep(deadline).await;
    };
    tokio::select! {
        _ = work => {}
        () = late => {
            tracing::warn!("the deadline has passed; running passes are cut off and will be repeated");
        }
    }
}

async fn stopped(mut stop: Receiver<bool>) {
    // An error is the sender's end, which is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn stop_signal() -> std::io::Result<Receiver<bool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (send, receive) = channel(false);
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to stop; ending the passes that run");
        send.send_replace(true);
        // Kept, so that a receiver made later still learns of it.
        std::future::pending::<()>().await;
    });
    Ok(receive)
}

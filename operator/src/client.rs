//! The client for the API server, with a deadline for every request. Neither kube nor the kernel sets one: a connection
//! whose other end has vanished would hold a pass for as long as the kernel retransmits, which is a quarter of an hour, or
//! for ever if there is nothing to retransmit.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::body::{Body, Frame, SizeHint};
use kube::{Client, Config, client::ClientBuilder};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tower::{BoxError, Layer, Service, layer::layer_fn};

/// How long the API server may take for the whole answer to a request.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// How long a watch lasts until it is established again, in seconds. kube considers one dead that has been silent for five
/// seconds longer. An API server that vanished and came back is therefore noticed within a minute.
pub const WATCH_SECONDS: u32 = 45;

/// A request had no complete answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {} s", .0.as_secs_f32())]
pub struct NoAnswer(Duration);

/// Configures the client: from `KUBECONFIG`, or from the pod's ServiceAccount.
///
/// # Errors
/// There is no configuration, or it is invalid.
pub async fn client() -> Result<Client, kube::Error> {
    let config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    with_deadline(config, REQUEST_DEADLINE)
}

fn with_deadline(mut config: Config, deadline: Duration) -> Result<Client, kube::Error> {
    // kube would repeat a request up to fifteen times: a busy API server would look like one that does not answer, and an
    // object that was created without confirmation like another controller's. The next pass tries again, after reading.
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config)?;
    Ok(builder.with_layer(&deadline_layer(deadline)).build())
}

fn deadline_layer<S>(deadline: Duration) -> impl Layer<S, Service = WithDeadline<S>> {
    layer_fn(move |service| WithDeadline { service, deadline })
}

/// A service whose answers must be complete in time.
struct WithDeadline<S> {
    service: S,
    deadline: Duration,
}

impl<S, B, Q> Service<http::Request<Q>> for WithDeadline<S>
where
    S: Service<http::Request<Q>, Response = http::Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = http::Response<WithEnd<B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.service.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: http::Request<Q>) -> Self::Future {
        let is_watch = is_watch(request.uri());
        let allowed = self.deadline;
        let end = Instant::now() + allowed;
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = timeout_at(end, answer)
                .await
                .map_err(|_| NoAnswer(allowed))?
                .map_err(Into::into)?;
            // A watch must only begin in time; its events come as long as it lasts.
            let end = (!is_watch).then(|| Box::pin(sleep_until(end)));
            Ok(answer.map(|body| WithEnd { body, end, allowed }))
        })
    }
}

fn is_watch(uri: &http::Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    query.split('&').any(|pair| pair == "watch=true")
}

/// A body that fails at the deadline.
struct WithEnd<B> {
    body: B,
    end: Option<Pin<Box<Sleep>>>,
    allowed: Duration,
}

impl<B> Body for WithEnd<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let allowed = self.allowed;
        match &mut self.end {
            None => Poll::Pending,
            Some(end) => {
                ready!(end.as_mut().poll(context));
                Poll::Ready(Some(Err(NoAnswer(allowed).into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use kube::{Api, api::WatchParams};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::observe::api_error::{Class, class, text};

    const SHORT: Duration = Duration::from_millis(300);

    /// A server that accepts every connection, reads a request, sends `answer` and then nothing more.
    async fn secrets(answer: &'static str) -> Api<Secret> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        tokio::spawn(async move {
            let mut open: Vec<TcpStream> = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                open.push(stream);
            }
        });
        let url = format!("http://{address}").parse().expect("is a URL");
        let client = with_deadline(Config::new(url), SHORT).expect("is valid");
        Api::namespaced(client, "monitoring")
    }

    #[tokio::test]
    async fn a_request_without_an_answer_ends_at_the_deadline_and_is_reported_as_that() {
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"kind\":",
        ] {
            let secrets = secrets(answer).await;
            let ended = tokio::time::timeout(Duration::from_secs(20), secrets.get("nodes-state"));
            let error = ended
                .await
                .expect("the request ends")
                .expect_err("there is no answer");
            assert_eq!(class(&error), Class::Timeout, "{error:?}");
            assert_eq!(
                text(&error),
                "the API server did not answer within 0.3 s",
                "{answer}"
            );
        }
    }

    #[tokio::test]
    async fn a_watch_must_begin_in_time_and_may_then_last() {
        let params = WatchParams::default();
        let silent = secrets("").await;
        let ended = tokio::time::timeout(Duration::from_secs(20), silent.watch(&params, "0"));
        assert!(ended.await.expect("the watch ends").is_err());

        let begun = secrets("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let events = begun.watch(&params, "0").await.expect("the watch begins");
        let mut events = Box::pin(events);
        let next = tokio::time::timeout(3 * SHORT, futures::StreamExt::next(&mut events));
        assert!(next.await.is_err(), "the watch was cut off");
    }
}

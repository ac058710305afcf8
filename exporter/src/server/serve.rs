//! Accepts, encrypts, serves and closes connections.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::activity::{Activity, Watched};
use super::client::{Client, Presented};
use super::connections::Connections;
use super::counters::HandshakeFailure;
use super::limits::{DRAIN, HANDSHAKE, MAX_HEAD_BYTES, MAX_HEADERS, MAX_STREAMS};
use super::listen::{Listener, Stream, peek};
use super::routes::Site;
use crate::credentials::tls::Tls;

/// The message of Go's servers, so that users find it in a search.
const PLAIN_HTTP_ANSWER: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// The maximum that is still read of a request that gets no response.
const MAX_DRAINED_BYTES: u64 = 64 * 1024;
/// How often it is logged that connections cannot be accepted.
const REPORT_AGAIN: Duration = Duration::from_secs(60);

/// Serves at most this many connections until `stop` becomes true, then closes the listeners and waits for open requests.
pub(crate) async fn serve(
    listeners: Vec<Listener>,
    max_connections: u32,
    site: Arc<Site>,
    stop: watch::Receiver<bool>,
) {
    let connections = Connections::new(max_connections);
    let loops: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let (site, connections, stop) = (site.clone(), connections.clone(), stop.clone());
            tokio::spawn(accept(listener, site, connections, stop))
        })
        .collect();
    for one in loops {
        // A loop ends only with `stop`, or with a panic.
        let _ = one.await;
    }
    if !connections.ended(DRAIN).await {
        tracing::warn!("some requests were still open when the shutdown timeout expired");
    }
}

async fn accept(
    listener: Listener,
    site: Arc<Site>,
    connections: Connections,
    mut stop: watch::Receiver<bool>,
) {
    let mut reported: Option<Instant> = None;
    loop {
        let next = async {
            let (stream, address) = listener.accept().await?;
            let activity = Activity::new();
            let place = connections.place(address, activity.clone()).await;
            Ok((stream, address, activity, place))
        };
        let accepted: io::Result<_> = tokio::select! {
            next = next => next,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, address, activity, place)) => {
                let (site, stop) = (site.clone(), stop.clone());
                tokio::spawn(async move {
                    let served = connection(stream, address, activity.clone(), site, stop);
                    tokio::select! {
                        () = served => {}
                        () = activity.evicted() => tracing::debug!(%address, "closed to make room for another connection"),
                    }
                    drop(place);
                });
            }
            Err(error) => {
                if reported.is_none_or(|time| time.elapsed() > REPORT_AGAIN) {
                    tracing::warn!(%error, "cannot accept a connection");
                    reported = Some(Instant::now());
                }
                // Usually too many files are open. Trying again at once would only use CPU.
                connections.make_room();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(
    stream: Stream,
    address: IpAddr,
    activity: Arc<Activity>,
    site: Arc<Site>,
    stop: watch::Receiver<bool>,
) {
    let snapshot = site.store.current();
    let client = |presented| Client {
        address,
        presented,
        began_with: snapshot.clone(),
        activity: activity.clone(),
    };
    let Some(tls) = &snapshot.tls else {
        return http(stream, false, client(Presented::nothing()), site, stop).await;
    };
    let handshake = tokio::time::timeout(HANDSHAKE, handshake(stream, tls));
    match handshake.await.unwrap_or(Err(HandshakeFailure::Timeout)) {
        Ok(stream) => {
            let (_, session) = stream.get_ref();
            let http2 = session.alpn_protocol() == Some(b"h2");
            let presented = Presented::in_session(session, &tls.clients, &site.client_certificates);
            http(stream, http2, client(presented), site, stop).await;
        }
        Err(failure) => {
            site.counters.handshake_failed(failure);
            tracing::debug!(%address, ?failure, "TLS handshake failed");
        }
    }
}

async fn handshake(mut stream: Stream, tls: &Tls) -> Result<TlsStream<Stream>, HandshakeFailure> {
    match peek(&stream).await {
        Ok(None) | Err(_) => return Err(HandshakeFailure::Closed),
        // A TLS record begins with byte 22, an HTTP method with a letter.
        Ok(Some(first)) if first.is_ascii_uppercase() => {
            refuse_plain_http(&mut stream).await;
            return Err(HandshakeFailure::PlainHttp);
        }
        Ok(Some(_)) => {}
    }
    TlsAcceptor::from(tls.server.clone())
        .accept(stream)
        .await
        .map_err(|error| reason(&error))
}

fn reason(error: &io::Error) -> HandshakeFailure {
    let error = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>());
    match error {
        Some(rustls::Error::InvalidCertificate(_)) => HandshakeFailure::ClientCertificate,
        Some(rustls::Error::PeerIncompatible(_)) => HandshakeFailure::Incompatible,
        Some(rustls::Error::AlertReceived(_)) => HandshakeFailure::RefusedByClient,
        _ => HandshakeFailure::Tls,
    }
}

async fn refuse_plain_http(stream: &mut Stream) {
    // The client may already be gone, so an error has no receiver.
    let _ = stream.write_all(PLAIN_HTTP_ANSWER).await;
    let _ = stream.shutdown().await;
    // Closing a socket with unread bytes would reset the connection, and the client would lose the response.
    let _ = tokio::io::copy(&mut stream.take(MAX_DRAINED_BYTES), &mut tokio::io::sink()).await;
}

pub(super) async fn http<S>(
    stream: S,
    http2: bool,
    client: Client,
    site: Arc<Site>,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let client = Arc::new(client);
    let (activity, began_with) = (&client.activity, &client.began_with);
    let mut snapshots = site.store.subscribe();
    let io = TokioIo::new(Watched::new(stream, activity.clone(), http2));
    let service = service_fn(|request: Request<Incoming>| {
        let busy = activity.begin(!request.body().is_end_stream());
        let (site, client) = (site.clone(), client.clone());
        async move {
            let answer = site.answer(&client, &request).await;
            drop(busy);
            answer
        }
    });
    let builder = connection_builder(http2);
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    let mut expired = std::pin::pin!(activity.expired());
    let (mut is_stopping, mut is_outdated) = (false, false);
    loop {
        tokio::select! {
            // The deadlines are checked after the client's data was processed.
            biased;
            // How a connection ends is up to the client.
            _ = connection.as_mut() => return,
            () = expired.as_mut() => return,
            _ = stop.wait_for(|stop| *stop), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = snapshots.wait_for(|now| !Arc::ptr_eq(now, began_with)), if !is_outdated => {
                is_outdated = true;
                activity.outlive_configuration();
                // An idle HTTP/1.1 connection is left open, because closing it could collide with a request on its way. The
                // response to that request will announce the close.
                if http2 {
                    connection.as_mut().graceful_shutdown();
                    activity.leave();
                }
            }
        }
    }
}

/// ALPN determines the version, so it is not guessed from bytes.
fn connection_builder(http2: bool) -> auto::Builder<TokioExecutor> {
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut builder = if http2 {
        builder.http2_only()
    } else {
        builder.http1_only()
    };
    builder
        .http1()
        .timer(TokioTimer::new())
        // `Activity` provides the deadline of the header.
        .header_read_timeout(None)
        // A client that has closed its sending side still waits for the response.
        .half_close(true)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_STREAMS);
    builder
}

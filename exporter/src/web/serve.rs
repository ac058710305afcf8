//! Connections: accepted, encrypted, served, and let go.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::client::{Client, Presented};
use super::counters::HandshakeFailure;
use super::limits::{
    Activity, DRAIN, HANDSHAKE, MAX_CONNECTIONS, MAX_HEAD_BYTES, MAX_HEADERS, MAX_STREAMS, Watched,
};
use super::routes::Site;
use super::snapshot::Snapshot;
use super::tls::Tls;
use crate::flags::ListenAddress;

/// As Go's servers say it, so that people find the answer in a search.
const PLAIN_HTTP_ANSWER: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// Connections that the kernel holds ready.
const BACKLOG: u32 = 1024;
/// What is still read of a request that gets no answer.
const MAX_DRAINED_BYTES: u64 = 64 * 1024;

/// Opens a listening socket.
///
/// # Errors
/// What the system says, the address being taken above all.
pub(super) fn listen(address: ListenAddress) -> io::Result<TcpListener> {
    match address {
        ListenAddress::One(address) => bind(address),
        ListenAddress::Any(port) => match bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
            Ok(listener) => Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
            // A kernel without IPv6.
            Err(_) => bind(SocketAddr::from(([0, 0, 0, 0], port))),
        },
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        // Both families, whatever the host's default is.
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop` turns true, then lets open requests end.
pub(super) async fn serve(
    listeners: Vec<TcpListener>,
    site: Arc<Site>,
    stop: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let loops: Vec<_> = listeners
        .into_iter()
        .map(|listener| tokio::spawn(accept(listener, site.clone(), slots.clone(), stop.clone())))
        .collect();
    for one in loops {
        // A loop ends with `stop` alone; one that panicked has ended too.
        let _ = one.await;
    }
    // Every connection holds a slot: all of them free means that all have ended.
    let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
    if tokio::time::timeout(DRAIN, slots.acquire_many(all))
        .await
        .is_err()
    {
        tracing::warn!("some requests were still open when the time to end them was over");
    }
}

async fn accept(
    listener: TcpListener,
    site: Arc<Site>,
    slots: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let next = async {
            let slot = slots.clone().acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        };
        let (slot, accepted) = tokio::select! {
            next = next => match next {
                Some(next) => next,
                None => return,
            },
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (site, stop) = (site.clone(), stop.clone());
                tokio::spawn(async move {
                    connection(stream, peer, site, stop).await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of descriptors, mostly: trying again at once would only burn time.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    site: Arc<Site>,
    stop: watch::Receiver<bool>,
) {
    // Answers are written whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let snapshot = site.store.current();
    let address = peer.ip().to_canonical();
    let Some(tls) = &snapshot.tls else {
        let presented = Presented::nothing();
        return http(stream, false, presented, address, snapshot, site, stop).await;
    };
    let handshake = tokio::time::timeout(HANDSHAKE, handshake(stream, tls));
    match handshake.await.unwrap_or(Err(HandshakeFailure::Timeout)) {
        Ok(stream) => {
            let (_, session) = stream.get_ref();
            let http2 = session.alpn_protocol() == Some(b"h2");
            let presented = Presented::in_session(session, &tls.clients, &site.client_certificates);
            http(stream, http2, presented, address, snapshot, site, stop).await;
        }
        Err(failure) => {
            site.counters.handshake_failed(failure);
            tracing::debug!(%peer, ?failure, "no TLS connection");
        }
    }
}

async fn handshake(
    mut stream: TcpStream,
    tls: &Tls,
) -> Result<TlsStream<TcpStream>, HandshakeFailure> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(0) | Err(_) => return Err(HandshakeFailure::Closed),
        // A TLS record begins with 22, a method with a letter.
        Ok(_) if first.first().is_some_and(u8::is_ascii_uppercase) => {
            refuse_plain_http(&mut stream).await;
            return Err(HandshakeFailure::PlainHttp);
        }
        Ok(_) => {}
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

async fn refuse_plain_http(stream: &mut TcpStream) {
    // The client may be gone already; there is nobody else to tell.
    let _ = stream.write_all(PLAIN_HTTP_ANSWER).await;
    let _ = stream.shutdown().await;
    // Closing with unread bytes would reset the connection and take the answer back.
    let _ = tokio::io::copy(&mut stream.take(MAX_DRAINED_BYTES), &mut tokio::io::sink()).await;
}

pub(super) async fn http<S>(
    stream: S,
    http2: bool,
    presented: Presented,
    address: IpAddr,
    began_with: Arc<Snapshot>,
    site: Arc<Site>,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::new(http2);
    let mut snapshots = site.store.subscribe();
    let client = Arc::new(Client {
        address,
        presented,
        began_with: began_with.clone(),
        activity: activity.clone(),
    });
    let io = TokioIo::new(Watched {
        stream,
        activity: activity.clone(),
    });
    let service = service_fn(|request| {
        let (site, client, busy) = (site.clone(), client.clone(), activity.begin());
        async move {
            let answer = site.answer(&client, &request).await;
            drop(busy);
            answer
        }
    });
    let builder = connection_builder(http2);
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    let mut closing = false;
    loop {
        tokio::select! {
            // How a connection ended is the client's business.
            _ = connection.as_mut() => return,
            () = activity.expired() => return,
            _ = stop.wait_for(|stop| *stop), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            // An idle HTTP/1.1 connection is left alone: closing it could cross with a request on its way.
            _ = snapshots.wait_for(|now| !Arc::ptr_eq(now, &began_with)), if http2 && !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The version is settled by ALPN, so neither is guessed from bytes.
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
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_STREAMS);
    builder
}

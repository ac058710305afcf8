//! The sockets that accept connections: configured addresses, or sockets passed by systemd.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use listenfd::ListenFd;
use rustix::net::{RecvFlags, sockopt};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

/// Connections that the kernel queues.
const BACKLOG: u32 = 1024;

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// On addresses, at least one.
    Addresses(Vec<ListenAddress>),
    /// On the sockets passed by systemd.
    SystemdSockets,
}

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenAddress {
    /// Every address of the host, for IPv4 and IPv6 if the kernel supports both.
    Any(u16),
    /// One address.
    One(SocketAddr),
}

/// An accepted TCP or unix connection.
pub(crate) type Stream = Either<TcpStream, UnixStream>;

/// A listening socket.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Why the sockets passed by systemd cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// `--web.systemd-socket` without a socket unit.
    #[error(
        "no socket activation file descriptors found: start the socket unit rather than the service, or use --web.listen-address instead of --web.systemd-socket"
    )]
    None,
    /// A datagram socket, an accepted connection, or no socket at all.
    #[error(
        "file descriptor {0} of LISTEN_FDS is not a listening stream socket: the socket unit needs ListenStream= and Accept=no"
    )]
    NotAListener(usize),
    /// A system call for a socket failed.
    #[error("cannot listen on a socket from systemd: {0}")]
    System(#[from] io::Error),
}

impl Listener {
    /// Opens a listening socket.
    ///
    /// # Errors
    /// The system's error, for example because the address is already in use.
    pub(crate) fn bind(address: ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::One(address) => bind(address),
            ListenAddress::Any(port) => {
                match bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
                    Ok(listener) => Ok(listener),
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
                    // A kernel without IPv6.
                    Err(_) => bind(SocketAddr::from(([0, 0, 0, 0], port))),
                }
            }
        }
        .map(Self::Tcp)
    }

    /// Returns the sockets that systemd has opened (sd_listen_fds(3)), under any name.
    ///
    /// # Errors
    /// There are none, or one of them is not a listening socket.
    pub(crate) fn all_of(mut handed: ListenFd) -> Result<Vec<Self>, ActivationError> {
        let listeners: Vec<_> = (0..handed.len())
            .map(|index| take(&mut handed, index))
            .collect::<Result<_, _>>()?;
        if listeners.is_empty() {
            return Err(ActivationError::None);
        }
        Ok(listeners)
    }

    /// Describes the address for the log.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|error| error.to_string(), |address| address.to_string()),
            Self::Unix(listener) => listener
                .local_addr()
                .ok()
                .and_then(|address| Some(address.as_pathname()?.display().to_string()))
                .unwrap_or_else(|| "a unix socket".to_owned()),
        }
    }

    /// Accepts the next connection, and returns the address by which limits count it. Clients of a unix socket are on this
    /// host.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, IpAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Responses are written in one piece, so waiting for more data would only delay them.
                let _ = stream.set_nodelay(true);
                Ok((Either::Left(stream), peer.ip().to_canonical()))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Either::Right(stream), IpAddr::V4(Ipv4Addr::LOCALHOST)))
            }
        }
    }
}

/// Returns the first byte that the client sends without consuming it; `None` if the client closes the connection instead.
pub(crate) async fn peek(stream: &Stream) -> io::Result<Option<u8>> {
    let mut first = [0];
    let count = match stream {
        Either::Left(stream) => stream.peek(&mut first).await?,
        Either::Right(stream) => {
            let peek = || Ok(rustix::net::recv(stream, &mut first, RecvFlags::PEEK)?.1);
            stream.async_io(Interest::READABLE, peek).await?
        }
    };
    let [byte] = first;
    Ok((count > 0).then_some(byte))
}

fn take(handed: &mut ListenFd, index: usize) -> Result<Listener, ActivationError> {
    /// sd_listen_fds(3): SD_LISTEN_FDS_START.
    const FIRST: usize = 3;
    // For other address families this is an error, which leaves the descriptor open.
    if let Ok(Some(listener)) = handed.take_tcp_listener(index)
        && listens(&listener)
    {
        listener.set_nonblocking(true)?;
        return Ok(Listener::Tcp(TcpListener::from_std(listener)?));
    }
    if let Ok(Some(listener)) = handed.take_unix_listener(index)
        && listens(&listener)
    {
        listener.set_nonblocking(true)?;
        return Ok(Listener::Unix(UnixListener::from_std(listener)?));
    }
    Err(ActivationError::NotAListener(FIRST + index))
}

/// A socket of a single connection looks the same except for this.
fn listens(socket: impl AsFd) -> bool {
    sockopt::socket_acceptconn(socket).unwrap_or(false)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        // Both families, whatever the host's default is.
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

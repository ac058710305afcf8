//! The sockets that connections come in by: addresses of our own choice, or what systemd hands over.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use listenfd::ListenFd;
use rustix::net::{RecvFlags, sockopt};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

/// Connections that the kernel holds ready.
const BACKLOG: u32 = 1024;

/// Where connections come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// On addresses, at least one.
    Addresses(Vec<ListenAddress>),
    /// On the sockets that systemd hands over.
    SystemdSockets,
}

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenAddress {
    /// Every address of the host, both families where the kernel has both.
    Any(u16),
    /// One address.
    One(SocketAddr),
}

/// An accepted connection, of TCP or of a unix socket.
pub(crate) type Stream = Either<TcpStream, UnixStream>;

/// A socket that connections come in by.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Why the sockets that systemd hands over cannot be used.
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
    /// The system refused to go on with a socket.
    #[error("cannot listen on a socket from systemd: {0}")]
    System(#[from] io::Error),
}

impl Listener {
    /// Opens a listening socket.
    ///
    /// # Errors
    /// What the system says, the address being taken above all.
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

    /// The sockets that systemd has opened (sd_listen_fds(3)), whatever their names are.
    ///
    /// # Errors
    /// There are none, or one is not for listening.
    pub(crate) fn all_of(mut handed: ListenFd) -> Result<Vec<Self>, ActivationError> {
        let listeners: Vec<_> = (0..handed.len())
            .map(|index| take(&mut handed, index))
            .collect::<Result<_, _>>()?;
        if listeners.is_empty() {
            return Err(ActivationError::None);
        }
        Ok(listeners)
    }

    /// What it listens on, for the log.
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

    /// The next connection, and the address that limits count it by. Whoever reaches a unix socket is on this host.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, IpAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are written whole; waiting for more would only delay them.
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

/// The first byte that the client sends, which stays to be read; `None` when it closes instead.
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
    // Of another family it is an error, which leaves the descriptor in its place.
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

/// Not so a socket of one connection, which looks the same otherwise.
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

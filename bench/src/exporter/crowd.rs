//! Unauthenticated clients that hold many connections and send little on them.

use std::{
    io::{ErrorKind, Read},
    net::{Ipv4Addr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use super::client::Target;

/// Number of connections.
const SIZE: usize = 400;
/// Number of connections whose end is awaited.
pub const SILENT: usize = 1000;
/// How often the crowd looks for closed connections and replaces them.
const LOOK: Duration = Duration::from_millis(50);

/// What the clients do on a connection.
#[derive(Clone, Copy)]
pub enum Manner {
    /// Nothing; not even the TLS handshake is started.
    Silent,
    /// Complete the handshake and send half of a request's header.
    Stalled,
}

/// A crowd that keeps the number of its connections until it is stopped.
pub struct Crowd {
    stop: Arc<AtomicBool>,
    work: JoinHandle<Result<()>>,
}

impl Crowd {
    /// Starts the crowd and returns when all connections are open.
    ///
    /// # Errors
    /// Nothing listens there.
    pub fn gather(target: &Target, manner: Manner) -> Result<Self> {
        let mut members = (0..SIZE)
            .map(|_| Member::join(target, manner))
            .collect::<Result<Vec<_>>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, target) = (stop.clone(), target.clone());
        let work = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(LOOK);
                members.retain_mut(|member| !member.is_closed());
                while members.len() < SIZE {
                    members.push(Member::join(&target, manner)?);
                }
            }
            Ok(())
        });
        Ok(Self { stop, work })
    }

    /// Stops the crowd.
    ///
    /// # Errors
    /// It could not keep the number of its connections.
    pub fn disperse(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.work
            .join()
            .map_err(|_| anyhow!("the crowd panicked"))?
    }
}

/// Returns how many of [`SILENT`] connections without any traffic are still open after this time.
///
/// # Errors
/// Nothing listens there.
pub fn left_open(target: &Target, time: Duration) -> Result<usize> {
    let began = Instant::now();
    let mut open = (0..SILENT)
        .map(|_| Member::join(target, Manner::Silent))
        .collect::<Result<Vec<_>>>()?;
    while !open.is_empty() && began.elapsed() < time {
        thread::sleep(LOOK);
        open.retain_mut(|member| !member.is_closed());
    }
    Ok(open.len())
}

/// Opens one of the connections.
struct Member(TcpStream);

impl Member {
    fn join(target: &Target, manner: Manner) -> Result<Self> {
        match manner {
            Manner::Silent => Self::with(TcpStream::connect((Ipv4Addr::LOCALHOST, target.port()))?),
            Manner::Stalled => {
                let mut connection = target.connect()?;
                connection.begin_only()?;
                Self::with(connection.into_socket())
            }
        }
    }

    fn with(socket: TcpStream) -> Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    fn is_closed(&mut self) -> bool {
        let mut farewell = [0; 4096];
        loop {
            match self.0.read(&mut farewell) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Ok(0) | Err(_) => return true,
            }
        }
    }
}

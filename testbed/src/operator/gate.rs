//! A gate between an operator and the API server. It lets so many writes pass and then none: as if the process had died
//! right there. Requests go one by one through connections of their own, and on by `kubectl proxy`.
#![allow(
    clippy::indexing_slicing,
    reason = "a request that is cut short ends the test"
)]

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    kubectl::Kubectl,
    process::{Process, free_port},
    wait::wait_until,
};

/// Where the last write is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Before the API server has it.
    Before,
    /// When the API server has it, and the operator has no answer.
    After,
}

/// The gate, and the proxy behind it.
pub struct Gate {
    /// Where the operator finds the API server.
    pub address: String,
    state: Arc<State>,
    _proxy: Process,
}

struct State {
    upstream: u16,
    left: AtomicI64,
    cut_after: AtomicBool,
    closed: AtomicBool,
    swallows: AtomicBool,
    /// How often it has begun to swallow.
    floods: AtomicU64,
    /// Connections that are open, and on which nothing ever comes.
    dead: Mutex<Vec<TcpStream>>,
}

impl Gate {
    /// An open gate to the API server of this kubectl.
    ///
    /// # Errors
    /// kubectl does not start.
    pub fn open(kubectl: &Kubectl) -> Result<Self> {
        let upstream = free_port()?;
        let port = format!("--port={upstream}");
        let proxy = Process::spawn(kubectl.command()?.args(["proxy", &port]))?;
        wait_until("kubectl proxy", Duration::from_secs(20), || {
            Ok(TcpStream::connect(("127.0.0.1", upstream)).ok())
        })?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let state = Arc::new(State {
            upstream,
            left: AtomicI64::new(i64::MAX),
            cut_after: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            swallows: AtomicBool::new(false),
            floods: AtomicU64::new(0),
            dead: Mutex::default(),
        });
        let address = format!("http://{}", listener.local_addr()?);
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = shared.clone();
                thread::spawn(move || drop(state.pass(client)));
            }
        });
        Ok(Self {
            address,
            state,
            _proxy: proxy,
        })
    }

    /// Lets `writes` more pass but the last, at which it closes.
    pub fn close_at(&self, writes: i64, cut: Cut) {
        self.state
            .cut_after
            .store(cut == Cut::After, Ordering::SeqCst);
        self.state.closed.store(false, Ordering::SeqCst);
        self.state.left.store(writes, Ordering::SeqCst);
    }

    /// Lets everything pass again.
    pub fn reopen(&self) {
        self.close_at(i64::MAX, Cut::Before);
    }

    /// Swallows every request until [`Self::answer`]: the connection stays open, and there is never an answer, as if the
    /// other machine had lost its power. What is under way is lost as well, watches included.
    pub fn swallow(&self) {
        self.state.floods.fetch_add(1, Ordering::SeqCst);
        self.state.swallows.store(true, Ordering::SeqCst);
    }

    /// Answers new requests again. Those that were swallowed stay so.
    pub fn answer(&self) {
        self.state.swallows.store(false, Ordering::SeqCst);
    }

    /// How many connections are dead by now.
    pub fn swallowed(&self) -> usize {
        self.state.dead().len()
    }

    /// Whether it has closed.
    pub fn is_closed(&self) -> bool {
        self.state.closed.load(Ordering::SeqCst)
    }
}

impl State {
    fn pass(&self, mut client: TcpStream) -> Result<()> {
        let request = read_request(&mut client)?;
        let floods = self.floods.load(Ordering::SeqCst);
        if self.swallows.load(Ordering::SeqCst) {
            self.dead().push(client);
            return Ok(());
        }
        if self.closed.load(Ordering::SeqCst) {
            return Ok(());
        }
        let last = is_write(&request) && self.left.fetch_sub(1, Ordering::SeqCst) <= 1;
        let cut_after = self.cut_after.load(Ordering::SeqCst);
        if last {
            self.closed.store(true, Ordering::SeqCst);
            if !cut_after {
                return Ok(());
            }
        }
        let mut server = TcpStream::connect(("127.0.0.1", self.upstream))?;
        server.write_all(&request)?;
        if last {
            // Read to the end, so that it was surely done, and told to nobody.
            server.read_to_end(&mut Vec::new())?;
            return Ok(());
        }
        // Bytes are passed on as they come: a watch never ends.
        let mut buffer = [0; 16 * 1024];
        loop {
            let count = server.read(&mut buffer)?;
            if self.floods.load(Ordering::SeqCst) != floods {
                self.dead().push(client);
                return Ok(());
            }
            if count == 0 {
                client.shutdown(Shutdown::Both)?;
                return Ok(());
            }
            client.write_all(&buffer[..count])?;
        }
    }

    fn dead(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request with its body, changed to be the only one of its connection.
fn read_request(client: &mut TcpStream) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        let count = client.read(&mut buffer)?;
        ensure!(count > 0, "the connection ended within a request");
        bytes.extend_from_slice(&buffer[..count]);
    };
    let head = std::str::from_utf8(&bytes[..end])?.to_owned();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>())
        .context("a length that is no number")?;
    while bytes.len() < end + length {
        let count = client.read(&mut buffer)?;
        ensure!(count > 0, "the connection ended within a body");
        bytes.extend_from_slice(&buffer[..count]);
    }
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    Ok([head.as_bytes(), &bytes[end..]].concat())
}

/// Events do not count: nothing depends on them.
fn is_write(request: &[u8]) -> bool {
    let line = request
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let writes = ["POST ", "PUT ", "PATCH "];
    writes.iter().any(|method| line.starts_with(method)) && !line.contains("/events")
}

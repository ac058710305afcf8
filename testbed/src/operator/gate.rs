//! A gate between an operator and the API server. It lets a number of writes pass and then none, as if the process had died
//! right there, and it injects network faults. Each request has its own connection, and is passed on to `kubectl proxy`.
#![allow(
    clippy::indexing_slicing,
    reason = "a request that is cut short ends the test"
)]

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::disruption::{ConnectionState, Disruption, DisruptionState, Opened};
use crate::{
    kubectl::Kubectl,
    process::{Process, free_port},
    wait::wait_until,
};

/// How soon a connection notices a changed disruption.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The answer of an API server that has too many requests.
const TOO_MANY_REQUESTS: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Too many requests, please try again later.","reason":"TooManyRequests","details":{"retryAfterSeconds":1},"code":429}"#;

/// When the last write is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Before the API server has received it.
    Before,
    /// After the API server has carried it out, and before the operator has the answer.
    After,
}

/// The gate, and the proxy behind it.
pub struct Gate {
    /// The address of the API server for the operator.
    pub address: String,
    state: Arc<State>,
    _proxy: Process,
}

struct State {
    upstream: u16,
    left: AtomicI64,
    cut_after: AtomicBool,
    closed: AtomicBool,
    disruption: DisruptionState,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.state.disruption.end();
    }
}

impl Gate {
    /// Opens a gate to the API server of this kubectl. Requests that pass it have the rights of the kubectl user.
    ///
    /// # Errors
    /// kubectl does not start.
    pub fn open(kubectl: &Kubectl) -> Result<Self> {
        Self::open_with(kubectl, &[])
    }

    /// Like [`Self::open`], with the rights of this ServiceAccount.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_as(kubectl: &Kubectl, namespace: &str, account: &str) -> Result<Self> {
        let user = format!("--as=system:serviceaccount:{namespace}:{account}");
        Self::open_with(kubectl, &[&user])
    }

    fn open_with(kubectl: &Kubectl, arguments: &[&str]) -> Result<Self> {
        let upstream = free_port()?;
        let port = format!("--port={upstream}");
        let mut proxy = kubectl.command()?;
        let proxy = Process::spawn(proxy.args(["proxy", &port]).args(arguments))?;
        wait_until("kubectl proxy", Duration::from_secs(20), || {
            Ok(TcpStream::connect(("127.0.0.1", upstream)).ok())
        })?;
        let (address, state) = listen(upstream)?;
        Ok(Self {
            address,
            state,
            _proxy: proxy,
        })
    }

    /// Closes the gate at the last one of the next `writes` writes.
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

    /// Replaces the current disruption; [`Disruption::None`] ends it.
    pub fn disrupt(&self, disruption: Disruption) {
        self.state.disruption.set(disruption);
    }

    /// Returns how many requests came during a disruption.
    pub fn disrupted_requests(&self) -> u64 {
        self.state.disruption.disrupted_requests()
    }

    /// Returns how many watches the API server answered 410, because they started from a version which it no longer has.
    pub fn expired_watches(&self) -> u64 {
        self.state.disruption.expired_watches()
    }

    /// Whether it has closed.
    pub fn is_closed(&self) -> bool {
        self.state.closed.load(Ordering::SeqCst)
    }
}

/// Starts to pass requests on to a port of this machine, and returns the address of the gate.
fn listen(upstream: u16) -> Result<(String, Arc<State>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let state = Arc::new(State {
        upstream,
        left: AtomicI64::new(i64::MAX),
        cut_after: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        disruption: DisruptionState::default(),
    });
    let address = format!("http://{}", listener.local_addr()?);
    let shared = state.clone();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let state = shared.clone();
            thread::spawn(move || drop(state.pass(client)));
        }
    });
    Ok((address, state))
}

impl State {
    fn pass(&self, mut client: TcpStream) -> Result<()> {
        let request = read_request(&mut client)?;
        if self.closed.load(Ordering::SeqCst) {
            return Ok(());
        }
        let (disruption, opened) = self.disruption.new_request();
        match disruption {
            Disruption::None => {}
            Disruption::Delay(delay) => thread::sleep(delay),
            Disruption::TooManyRequests => return refuse(&mut client),
            Disruption::Hang => {
                self.hold(opened);
                return Ok(());
            }
            Disruption::Cut => return Ok(()),
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
            // The answer is read to its end, so that the write is certainly done, and is sent to nobody.
            server.read_to_end(&mut Vec::new())?;
            return Ok(());
        }
        self.relay(&mut server, &mut client, opened)
    }

    /// Passes bytes on as they arrive, because a watch does not end.
    fn relay(&self, server: &mut TcpStream, client: &mut TcpStream, opened: Opened) -> Result<()> {
        server.set_read_timeout(Some(POLL_INTERVAL))?;
        let mut buffer = [0; 16 * 1024];
        loop {
            let read = server.read(&mut buffer);
            match self.disruption.connection(opened) {
                ConnectionState::Open => {}
                ConnectionState::Hanging => {
                    self.hold(opened);
                    break;
                }
                ConnectionState::Closed => break,
            }
            match read {
                Ok(0) => break,
                Ok(count) => {
                    self.disruption.count_expired_watch(&buffer[..count]);
                    client.write_all(&buffer[..count])?;
                }
                Err(error) if is_timeout(error.kind()) => {}
                Err(error) => return Err(error.into()),
            }
        }
        client.shutdown(Shutdown::Both)?;
        Ok(())
    }

    /// Keeps a connection open on which nothing passes.
    fn hold(&self, opened: Opened) {
        while self.disruption.connection(opened) == ConnectionState::Hanging {
            thread::sleep(POLL_INTERVAL);
        }
    }
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

fn refuse(client: &mut TcpStream) -> Result<()> {
    let length = TOO_MANY_REQUESTS.len();
    write!(
        client,
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{TOO_MANY_REQUESTS}"
    )?;
    client.shutdown(Shutdown::Write)?;
    Ok(())
}

/// Reads a request with its body, and changes it so that the connection is closed after it.
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

/// Whether a request writes an object. Events do not count, because nothing depends on them.
fn is_write(request: &[u8]) -> bool {
    let line = request
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let writes = ["POST ", "PUT ", "PATCH "];
    writes.iter().any(|method| line.starts_with(method)) && !line.contains("/events")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(400);

    /// Answers each request with `one` at once and with `two` after a message on the channel, and then closes the connection.
    fn server() -> Result<(u16, std::sync::mpsc::Sender<()>)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (finish, waits) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let _ = read_request(&mut client);
                let _ = client.write_all(b"one");
                let _ = waits.recv();
                let _ = client.write_all(b"two");
            }
        });
        Ok((port, finish))
    }

    fn ask(address: &str) -> Result<TcpStream> {
        let address = address.strip_prefix("http://").context("no http")?;
        let mut client = TcpStream::connect(address)?;
        client.set_read_timeout(Some(SOON))?;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
        Ok(client)
    }

    /// Returns what arrives soon, or `None` if nothing arrives and the connection is not closed either.
    fn receive(client: &mut TcpStream) -> Option<String> {
        let mut buffer = [0; 256];
        let count = client.read(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
    }

    #[test]
    fn each_disruption_does_what_it_says() -> Result<()> {
        let (upstream, finish) = server()?;
        let (address, state) = listen(upstream)?;
        let mut before = ask(&address)?;
        assert_eq!(receive(&mut before).as_deref(), Some("one"));

        state.disruption.set(Disruption::Hang);
        finish.send(())?;
        let mut during = ask(&address)?;
        assert_eq!(
            receive(&mut before),
            None,
            "it is neither answered nor closed"
        );
        assert_eq!(receive(&mut during), None);
        state.disruption.set(Disruption::None);
        assert_eq!(receive(&mut before), None, "it hangs for ever");
        assert_eq!(receive(&mut during), None);

        let mut after = ask(&address)?;
        assert_eq!(receive(&mut after).as_deref(), Some("one"));
        state.disruption.set(Disruption::TooManyRequests);
        let refused = receive(&mut ask(&address)?).unwrap_or_default();
        assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
        finish.send(())?;
        assert_eq!(
            receive(&mut after).as_deref(),
            Some("two"),
            "a request that is being answered continues"
        );

        state.disruption.set(Disruption::None);
        let mut cut = ask(&address)?;
        assert_eq!(receive(&mut cut).as_deref(), Some("one"));
        state.disruption.set(Disruption::Cut);
        assert_eq!(receive(&mut cut).as_deref(), Some(""));
        state.disruption.end();
        assert_eq!(receive(&mut before).as_deref(), Some(""));
        Ok(())
    }
}

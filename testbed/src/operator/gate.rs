//! A gate between an operator and the API server. It lets so many writes pass and then none: as if the process had died
//! right there. And it makes the weather on the way. Requests go one by one through connections of their own, and on by
//! `kubectl proxy`.
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

use super::weather::{Fate, Since, Sky, Weather};
use crate::{
    kubectl::Kubectl,
    process::{Process, free_port},
    wait::wait_until,
};

/// How soon a connection learns of other weather.
const GLANCE: Duration = Duration::from_millis(100);
/// What an API server answers whom it has too many requests of.
const TOO_MANY: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Too many requests, please try again later.","reason":"TooManyRequests","details":{"retryAfterSeconds":1},"code":429}"#;

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
    sky: Sky,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.state.sky.end();
    }
}

impl Gate {
    /// An open gate to the API server of this kubectl. Whoever goes through it is taken for this user, or else for that of
    /// kubectl.
    ///
    /// # Errors
    /// kubectl does not start.
    pub fn open(kubectl: &Kubectl) -> Result<Self> {
        Self::open_with(kubectl, &[])
    }

    /// The same for a user who may do less: what passes is done in the name of this ServiceAccount.
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

    /// Changes the weather.
    pub fn change(&self, weather: Weather) {
        self.state.sky.change(weather);
    }

    /// How many requests have met other weather than a clear sky.
    pub fn touched(&self) -> u64 {
        self.state.sky.touched()
    }

    /// How often the API server said that a watch begins at a version which it no longer has.
    pub fn expired(&self) -> u64 {
        self.state.sky.expired()
    }

    /// Whether it has closed.
    pub fn is_closed(&self) -> bool {
        self.state.closed.load(Ordering::SeqCst)
    }
}

/// Begins to let requests pass to a port of this machine, and says where.
fn listen(upstream: u16) -> Result<(String, Arc<State>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let state = Arc::new(State {
        upstream,
        left: AtomicI64::new(i64::MAX),
        cut_after: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        sky: Sky::default(),
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
        let (weather, since) = self.sky.meets();
        match weather {
            Weather::Clear => {}
            Weather::Slow(delay) => thread::sleep(delay),
            Weather::TooMany => return refuse(&mut client),
            Weather::BlackHole => {
                self.hold(since);
                return Ok(());
            }
            Weather::Cut => return Ok(()),
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
        self.relay(&mut server, &mut client, since)
    }

    /// Passes bytes on as they come, for a watch never ends.
    fn relay(&self, server: &mut TcpStream, client: &mut TcpStream, since: Since) -> Result<()> {
        server.set_read_timeout(Some(GLANCE))?;
        let mut buffer = [0; 16 * 1024];
        loop {
            let read = server.read(&mut buffer);
            match self.sky.fate(since) {
                Fate::Open => {}
                Fate::Swallowed => {
                    self.hold(since);
                    break;
                }
                Fate::Ended => break,
            }
            match read {
                Ok(0) => break,
                Ok(count) => {
                    self.sky.look_for_expiry(&buffer[..count]);
                    client.write_all(&buffer[..count])?;
                }
                Err(error) if is_a_glance(error.kind()) => {}
                Err(error) => return Err(error.into()),
            }
        }
        client.shutdown(Shutdown::Both)?;
        Ok(())
    }

    /// Keeps a connection that nothing comes through any more.
    fn hold(&self, since: Since) {
        while self.sky.fate(since) == Fate::Swallowed {
            thread::sleep(GLANCE);
        }
    }
}

fn is_a_glance(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

fn refuse(client: &mut TcpStream) -> Result<()> {
    let length = TOO_MANY.len();
    write!(
        client,
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{TOO_MANY}"
    )?;
    client.shutdown(Shutdown::Write)?;
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(400);

    /// Answers each request with one word at once, and the second when it has come by the channel, after which it ends.
    fn server() -> Result<(u16, std::sync::mpsc::Sender<()>)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (go_on, waits) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let _ = read_request(&mut client);
                let _ = client.write_all(b"one");
                let _ = waits.recv();
                let _ = client.write_all(b"two");
            }
        });
        Ok((port, go_on))
    }

    fn ask(address: &str) -> Result<TcpStream> {
        let address = address.strip_prefix("http://").context("no http")?;
        let mut client = TcpStream::connect(address)?;
        client.set_read_timeout(Some(SOON))?;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
        Ok(client)
    }

    /// What comes soon; `None` where nothing comes and the connection does not end either.
    fn hears(client: &mut TcpStream) -> Option<String> {
        let mut buffer = [0; 256];
        let count = client.read(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
    }

    #[test]
    fn weather_does_what_it_says() -> Result<()> {
        let (upstream, go_on) = server()?;
        let (address, state) = listen(upstream)?;
        let mut before = ask(&address)?;
        assert_eq!(hears(&mut before).as_deref(), Some("one"));

        state.sky.change(Weather::BlackHole);
        go_on.send(())?;
        let mut meanwhile = ask(&address)?;
        assert_eq!(hears(&mut before), None, "neither a word nor an end");
        assert_eq!(hears(&mut meanwhile), None);
        state.sky.change(Weather::Clear);
        assert_eq!(hears(&mut before), None, "it is lost for ever");
        assert_eq!(hears(&mut meanwhile), None);

        let mut after = ask(&address)?;
        assert_eq!(hears(&mut after).as_deref(), Some("one"));
        state.sky.change(Weather::TooMany);
        let refused = hears(&mut ask(&address)?).unwrap_or_default();
        assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
        go_on.send(())?;
        assert_eq!(
            hears(&mut after).as_deref(),
            Some("two"),
            "what goes on goes on"
        );

        state.sky.change(Weather::Clear);
        let mut cut = ask(&address)?;
        assert_eq!(hears(&mut cut).as_deref(), Some("one"));
        state.sky.change(Weather::Cut);
        assert_eq!(hears(&mut cut).as_deref(), Some(""));
        state.sky.end();
        assert_eq!(hears(&mut before).as_deref(), Some(""));
        Ok(())
    }
}

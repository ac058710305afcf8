//! A small HTTPS client: no process, no runtime, nothing kept from one connection to the next, so that what is measured
//! is the exporter.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, client::Resumption,
    crypto::aws_lc_rs, pki_types::ServerName,
};

/// Who scrapes.
pub const USER: &str = "prometheus";
/// A scrape that takes this long has failed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An exporter to ask.
#[derive(Clone)]
pub struct Target {
    port: u16,
    tls: Arc<ClientConfig>,
    authorization: String,
}

impl Target {
    /// One on 127.0.0.1.
    ///
    /// # Errors
    /// The TLS library lacks what it should have.
    pub fn new(port: u16, roots: RootCertStore, password: &str) -> Result<Self> {
        let mut tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Prometheus does not resume sessions either.
        tls.resumption = Resumption::disabled();
        Ok(Self {
            port,
            tls: Arc::new(tls),
            authorization: basic(password),
        })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new connection, with the handshake made.
    ///
    /// # Errors
    /// Nobody listens, or the certificate is another.
    pub fn connect(&self) -> Result<Connection> {
        let address = Ipv4Addr::LOCALHOST;
        let mut socket = TcpStream::connect((address, self.port))
            .with_context(|| format!("cannot connect to port {}", self.port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        let name = ServerName::IpAddress(address.into());
        let mut tls = ClientConnection::new(self.tls.clone(), name)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        Ok(Connection {
            stream: BufReader::with_capacity(64 * 1024, StreamOwned::new(tls, socket)),
            authorization: self.authorization.clone(),
        })
    }
}

fn basic(password: &str) -> String {
    BASE64_STANDARD.encode(format!("{USER}:{password}"))
}

/// A connection that is kept from one request to the next.
pub struct Connection {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    authorization: String,
}

/// What came back.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// As it was sent: compressed where that was asked for and done.
    pub body: Vec<u8>,
    /// The exporter wants no more requests on this connection.
    pub last: bool,
}

impl Connection {
    /// Sends the beginning of a request, and no more.
    ///
    /// # Errors
    /// The connection broke.
    pub fn begin_only(&mut self) -> Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")?;
        Ok(stream.flush()?)
    }

    /// What lies below the encryption.
    pub fn into_socket(self) -> TcpStream {
        self.stream.into_inner().sock
    }

    /// Goes on with another password.
    pub fn authorize(&mut self, password: &str) {
        self.authorization = basic(password);
    }

    /// The metrics as text.
    ///
    /// # Errors
    /// Not with 200, or not as text.
    pub fn scrape(&mut self) -> Result<String> {
        let answer = self.get(false)?;
        ensure!(answer.status == 200, "HTTP {}", answer.status);
        Ok(String::from_utf8(answer.body)?)
    }

    /// Asks for the metrics with the headers that Prometheus sends.
    ///
    /// # Errors
    /// The connection broke, or what came is not HTTP.
    pub fn get(&mut self, gzip: bool) -> Result<Answer> {
        let encoding = if gzip { "gzip" } else { "identity" };
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\n\
             Accept: text/plain;version=0.0.4;q=1\r\nAccept-Encoding: {encoding}\r\n\
             Authorization: Basic {}\r\n\r\n",
            self.authorization
        );
        let stream = self.stream.get_mut();
        stream.write_all(request.as_bytes())?;
        stream.flush()?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Answer> {
        let line = self.line()?;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok())
            .with_context(|| format!("this is not HTTP: {line:?}"))?;
        let (mut length, mut chunked, mut last) = (None, false, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line
                .split_once(':')
                .map(|(name, value)| (name, value.trim()))
            {
                None if line.is_empty() => break,
                None => bail!("this is not a header: {line:?}"),
                Some(("content-length", value)) => length = Some(value.parse()?),
                Some(("transfer-encoding", value)) => chunked = value == "chunked",
                Some(("connection", value)) => last = value == "close",
                Some(_) => {}
            }
        }
        let mut body = Vec::new();
        match length {
            _ if chunked => self.chunks(&mut body)?,
            Some(length) => self.take(length, &mut body)?,
            None => bail!("an answer without a length"),
        }
        Ok(Answer { status, body, last })
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> Result<()> {
        loop {
            let line = self.line()?;
            let length = u64::from_str_radix(&line, 16)
                .with_context(|| format!("this is not a chunk's length: {line:?}"))?;
            self.take(length, body)?;
            let end = self.line()?;
            ensure!(end.is_empty(), "a chunk is longer than it says");
            if length == 0 {
                return Ok(());
            }
        }
    }

    fn take(&mut self, length: u64, body: &mut Vec<u8>) -> Result<()> {
        let got = (&mut self.stream).take(length).read_to_end(body)?;
        ensure!(got as u64 == length, "the answer was cut off");
        Ok(())
    }

    /// A line without its end.
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let end = line.trim_end_matches(['\r', '\n']).len();
        ensure!(end < line.len(), "the answer was cut off");
        line.truncate(end);
        Ok(line)
    }
}

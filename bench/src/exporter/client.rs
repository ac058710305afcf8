//! A small HTTPS client without a process, a runtime, or state shared between connections, so that only the exporter is
//! measured.

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

/// The user name of the scrapers.
pub const USER: &str = "prometheus";
/// A scrape that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A client of one exporter.
#[derive(Clone)]
pub struct Target {
    port: u16,
    tls: Arc<ClientConfig>,
    authorization: String,
}

impl Target {
    /// Creates a client of an exporter on 127.0.0.1.
    ///
    /// # Errors
    /// The TLS library lacks a required algorithm.
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

    /// The address on which the exporter listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Opens a new connection, including the handshake.
    ///
    /// # Errors
    /// Nothing listens there, or the certificate is a different one.
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

/// A connection that is kept between requests.
pub struct Connection {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    authorization: String,
}

/// A response.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body as it was sent; compressed if the request asked for it and the exporter did so.
    pub body: Vec<u8>,
    /// Whether the exporter closes the connection after this response.
    pub last: bool,
}

impl Connection {
    /// Sends only the beginning of a request.
    ///
    /// # Errors
    /// The connection broke.
    pub fn begin_only(&mut self) -> Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")?;
        Ok(stream.flush()?)
    }

    /// The socket below the TLS session.
    pub fn into_socket(self) -> TcpStream {
        self.stream.into_inner().sock
    }

    /// Uses another password from now on.
    pub fn authorize(&mut self, password: &str) {
        self.authorization = basic(password);
    }

    /// Returns the metrics as text.
    ///
    /// # Errors
    /// The status is not 200, or the body is not text.
    pub fn scrape(&mut self) -> Result<String> {
        let answer = self.get(false)?;
        ensure!(answer.status == 200, "HTTP {}", answer.status);
        Ok(String::from_utf8(answer.body)?)
    }

    /// Requests the metrics with the headers that Prometheus sends.
    ///
    /// # Errors
    /// The connection broke, or the response is not HTTP.
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
            .with_context(|| format!("the response is not HTTP: {line:?}"))?;
        let (mut length, mut chunked, mut last) = (None, false, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line
                .split_once(':')
                .map(|(name, value)| (name, value.trim()))
            {
                None if line.is_empty() => break,
                None => bail!("not a header: {line:?}"),
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
            None => bail!("the response has no length"),
        }
        Ok(Answer { status, body, last })
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> Result<()> {
        loop {
            let line = self.line()?;
            let length = u64::from_str_radix(&line, 16)
                .with_context(|| format!("not the length of a chunk: {line:?}"))?;
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
        ensure!(got as u64 == length, "the response is truncated");
        Ok(())
    }

    /// Reads a line, without its line break.
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let end = line.trim_end_matches(['\r', '\n']).len();
        ensure!(end < line.len(), "the response is truncated");
        line.truncate(end);
        Ok(line)
    }
}

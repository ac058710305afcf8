//! The real binary on real sockets, and a client for it.
#![allow(dead_code)] // each test binary uses its part
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)] // it is all tests

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const PASSWORD: &str = "correct horse";
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Polls until there is a value, or the test fails.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not happen in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Seconds since the epoch.
pub fn unix_now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// A running exporter; killed when dropped.
pub struct Exporter {
    child: Child,
    log: Arc<Mutex<String>>,
    pub address: SocketAddr,
    /// Standard error, if nothing reads it.
    unread: Option<BufReader<ChildStderr>>,
}

impl Exporter {
    /// Starts on a port chosen by the system and waits until it listens.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_by(&mut command(arguments))
    }

    /// Starts with another command, which must listen on TCP.
    pub fn start_by(command: &mut Command) -> Self {
        let (mut child, log) = spawn(command);
        let address = wait_for("listening", || {
            assert!(
                child.try_wait().unwrap().is_none(),
                "ended at once: {}",
                log.lock().unwrap()
            );
            let log = log.lock().unwrap();
            log.lines().find_map(listening)
        });
        Self {
            child,
            log,
            address,
            unread: None,
        }
    }

    /// Starts with a standard error that nothing reads after it listens.
    pub fn start_unread(arguments: &[&str]) -> Self {
        let mut child = command(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let mut unread = BufReader::new(child.stderr.take().unwrap());
        let address = wait_for("listening", || {
            let mut line = String::new();
            assert_ne!(unread.read_line(&mut line).unwrap(), 0, "ended at once");
            listening(&line)
        });
        Self {
            child,
            log: Arc::default(),
            address,
            unread: Some(unread),
        }
    }

    /// The log that nothing reads.
    pub fn take_unread(&mut self) -> BufReader<ChildStderr> {
        self.unread.take().unwrap()
    }

    pub fn with_config(config: &Path) -> Self {
        Self::start(&[&format!("--web.config.file={}", config.display())])
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn wait_for_log(&self, text: &str) {
        wait_for(text, || self.log().contains(text).then_some(()));
    }

    /// A file of the process in /proc.
    pub fn proc_file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    pub fn wait_for_end(&mut self) -> Option<i32> {
        wait_for("the end", || self.child.try_wait().unwrap()).code()
    }

    /// A request by a client that does not verify the certificate.
    pub fn get(&self, path: &str, options: &[&str]) -> Reply {
        self.curl("https", path, &[&["-k"], options].concat())
    }

    pub fn get_plain(&self, path: &str, options: &[&str]) -> Reply {
        self.curl("http", path, options)
    }

    /// The response to a request below the limit on parallel requests, which others compete for.
    pub fn get_plain_admitted(&self, path: &str, options: &[&str]) -> Reply {
        wait_for("a place below the limit", || {
            let reply = self.get_plain(path, options);
            let refused = reply.text().starts_with("Limit of concurrent requests");
            (!refused).then_some(reply)
        })
    }

    /// A request with the correct password.
    pub fn scrape(&self) -> Reply {
        self.get("/metrics", &["-u", &format!("alice:{PASSWORD}")])
    }

    pub fn curl(&self, scheme: &str, path: &str, options: &[&str]) -> Reply {
        let url = format!("{scheme}://localhost:{}{path}", self.address.port());
        let output = Command::new("curl")
            .args(["-q", "-s", "-i", "--noproxy", "*", "--max-time", "30"])
            // To curl a unix socket is no IPv4.
            .args((!options.contains(&"--unix-socket")).then_some("--ipv4"))
            .args(options)
            .arg(url)
            .output()
            .expect("curl is needed: apt-get install curl");
        Reply::read(&output.stdout, output.status.code())
    }

    pub fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// A connection from a certain address of this host.
    pub fn tcp_from(&self, source: IpAddr) -> TcpStream {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::new(source, 0)).unwrap();
        connect(&socket, &self.address).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    pub fn plain_bytes(&self, request: &[u8]) -> String {
        let mut stream = self.tcp();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs an exporter that must refuse to start, and returns its output.
pub fn refusal(arguments: &[&str]) -> String {
    refusal_of(&mut command(arguments))
}

/// The same with another command.
pub fn refusal_of(command: &mut Command) -> String {
    let (child, log) = spawn(command);
    let mut child = Killed(child);
    let code = wait_for("the refusal", || child.0.try_wait().unwrap()).code();
    assert_eq!(code, Some(1));
    wait_for("its reason", || {
        let log = log.lock().unwrap();
        log.lines()
            .find(|line| line.contains("rror"))
            .map(str::to_owned)
    })
}

/// An exporter that should refuse but serves must not outlive the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The address in a log line about listening.
fn listening(line: &str) -> Option<SocketAddr> {
    let address = line.split("address=").nth(1)?;
    line.contains("Listening on")
        .then(|| address.split_whitespace().next()?.parse().ok())?
}

fn command(arguments: &[&str]) -> Command {
    command_of(
        Command::new(env!("CARGO_BIN_EXE_secure-exporter")),
        arguments,
    )
}

/// The exporter with this limit on open files.
pub fn command_with_files(limit: u32, arguments: &[&str]) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\"")]);
    shell.arg(env!("CARGO_BIN_EXE_secure-exporter"));
    command_of(shell, arguments)
}

fn command_of(mut command: Command, arguments: &[&str]) -> Command {
    command
        .arg("--web.listen-address=127.0.0.1:0")
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn spawn(command: &mut Command) -> (Child, Arc<Mutex<String>>) {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let log = Arc::new(Mutex::new(String::new()));
    let (copy, stderr) = (log.clone(), child.stderr.take().unwrap());
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut log = copy.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
    (child, log)
}

/// A response as printed by curl.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    pub curl: Option<i32>,
}

impl Reply {
    fn read(output: &[u8], curl: Option<i32>) -> Self {
        let border = output
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .map_or(output.len(), |at| at + 4);
        let (head, body) = output.split_at(border);
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.trim().parse().ok())
            .unwrap_or(0);
        Self {
            status,
            head,
            body: body.to_vec(),
            curl,
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn has_header(&self, line: &str) -> bool {
        self.head.lines().any(|one| one == line)
    }

    pub fn sample(&self, name: &str) -> Option<f64> {
        self.text()
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }
}

/// A self-signed pair for `localhost`.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Pair {
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        Self {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        }
    }
}

pub fn hash(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap()
}

/// The configuration of the operator, with relative paths.
pub fn config_text(hash: &str) -> String {
    format!(
        "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\nbasic_auth_users:\n  alice: {hash}\n"
    )
}

/// A directory that behaves like a Secret volume of the kubelet.
pub struct Volume {
    directory: tempfile::TempDir,
    generation: u32,
}

impl Volume {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let mut volume = Self {
            directory: tempfile::tempdir().unwrap(),
            generation: 0,
        };
        volume.swap(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), volume.path(name)).unwrap();
        }
        volume
    }

    pub fn with(pair: &Pair, config: &str) -> Self {
        Self::new(&[
            ("web-config.yml", config),
            ("tls.crt", &pair.certificate),
            ("tls.key", &pair.key),
        ])
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("web-config.yml")
    }

    /// Replaces all files at once, like the kubelet: a new directory, and the link replaced by a rename.
    pub fn swap(&mut self, files: &[(&str, &str)]) {
        let old = self.path(&format!("..{}", self.generation));
        self.generation += 1;
        let name = format!("..{}", self.generation);
        std::fs::create_dir(self.path(&name)).unwrap();
        for (file, content) in files {
            std::fs::write(self.path(&name).join(file), content).unwrap();
        }
        symlink(&name, self.path("..data_tmp")).unwrap();
        std::fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
        let _ = std::fs::remove_dir_all(old);
    }

    pub fn swap_to(&mut self, pair: &Pair, config: &str) {
        self.swap(&[
            ("web-config.yml", config),
            ("tls.crt", &pair.certificate),
            ("tls.key", &pair.key),
        ]);
    }
}

/// A client that trusts only one certificate.
pub fn client_config(trusted: &Pair) -> rustls::ClientConfig {
    client_config_of(trusted, rustls::crypto::aws_lc_rs::default_provider())
}

/// The same with its own algorithms.
pub fn client_config_of(
    trusted: &Pair,
    provider: rustls::crypto::CryptoProvider,
) -> rustls::ClientConfig {
    use rustls::pki_types::pem::PemObject as _;
    let certificate =
        rustls::pki_types::CertificateDer::from_pem_slice(trusted.certificate.as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A kept HTTP/1.1 connection that trusts only one certificate.
pub struct Connection(rustls::StreamOwned<rustls::ClientConnection, TcpStream>);

impl Connection {
    pub fn open(exporter: &Exporter, trusted: &Pair) -> std::io::Result<Self> {
        Self::open_by(exporter, Arc::new(client_config(trusted)))
    }

    /// With the client's own settings, which keep its sessions.
    pub fn open_by(
        exporter: &Exporter,
        config: Arc<rustls::ClientConfig>,
    ) -> std::io::Result<Self> {
        Self::open_on(exporter.tcp(), config)
    }

    /// On an existing TCP connection.
    pub fn open_on(tcp: TcpStream, config: Arc<rustls::ClientConfig>) -> std::io::Result<Self> {
        let session =
            rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        let mut connection = Self(rustls::StreamOwned::new(session, tcp));
        while connection.0.conn.is_handshaking() {
            connection.0.conn.complete_io(&mut connection.0.sock)?;
        }
        Ok(connection)
    }

    /// Returns the header of the response, in lower case; the body is read and discarded.
    pub fn get(&mut self, path: &str, authorization: &str) -> std::io::Result<String> {
        self.ask(path, authorization)?;
        self.answer()
    }

    /// Sends a request without reading the response.
    pub fn ask(&mut self, path: &str, authorization: &str) -> std::io::Result<()> {
        write!(
            self.0,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n\r\n"
        )?;
        self.0.flush()
    }

    /// Returns the header of the next response, in lower case; the body is read and discarded.
    pub fn answer(&mut self) -> std::io::Result<String> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte)?;
            head.extend_from_slice(&byte);
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .unwrap();
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok(head)
    }

    /// The result of the handshake.
    pub fn session(&self) -> &rustls::ClientConnection {
        &self.0.conn
    }

    pub fn is_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    pub fn write_raw(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
        self.0.flush().unwrap();
    }

    /// Closes the sending side, both in TLS and in TCP.
    pub fn close_half(&mut self) {
        self.0.conn.send_close_notify();
        self.0.flush().unwrap();
        self.0.sock.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// Reads until the server has sent these bytes.
    pub fn wait_for_bytes(&mut self, bytes: &[u8]) {
        let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
        while !read.windows(bytes.len()).any(|window| window == bytes) {
            let count = self.0.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "closed before");
            read.extend_from_slice(&buffer[..count]);
        }
    }

    /// Waits until the server has closed the connection; data before that is discarded.
    pub fn wait_for_close(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    let kind = error.kind();
                    assert_ne!(kind, std::io::ErrorKind::WouldBlock, "it is kept open");
                    return;
                }
            }
        }
    }

    /// Whether the server has closed the connection, waiting for it.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }
}

pub fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
    )
}

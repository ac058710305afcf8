//! Sockets opened by another program: systemd's protocol, implemented by a shell.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // it is all tests

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use crate::web_support::{
    Exporter, PASSWORD, Pair, Volume, config_text, hash, refusal, refusal_of,
};

/// Hands the sockets over as descriptors 3 and 4, as sd_listen_fds(3) has it.
fn activated(first: impl Into<OwnedFd>, second: impl Into<OwnedFd>, arguments: &[&str]) -> Command {
    const SCRIPT: &str = "LISTEN_FDS=2 LISTEN_PID=$$ LISTEN_FDNAMES=tcp:unix exec \"$@\" 3<&0 4<&1 0</dev/null 1>/dev/null";
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            SCRIPT,
            "sh",
            env!("CARGO_BIN_EXE_secure-exporter"),
            "--web.systemd-socket",
        ])
        .args(arguments)
        .stdin(Stdio::from(first.into()))
        .stdout(Stdio::from(second.into()));
    command
}

#[test]
fn tcp_and_unix_sockets_are_served_in_the_same_way() {
    let pair = Pair::new();
    let volume = Volume::with(&pair, &config_text(&hash(PASSWORD)));
    let path = volume.path("exporter.sock");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    let config = format!("--web.config.file={}", volume.config().display());
    // The address is ignored if there are sockets; it could not be listened on.
    let ignored = format!("--web.listen-address={address}");
    let exporter = Exporter::start_by(&mut activated(tcp, unix, &[&config, &ignored]));
    assert_eq!(exporter.address, address);
    let path = path.display().to_string();
    exporter.wait_for_log(&format!("address={path}"));
    for version in ["--http1.1", "--http2"] {
        let user = format!("alice:{PASSWORD}");
        for socket in [&[][..], &["--unix-socket", &path]] {
            let get = |options: &[&str]| {
                exporter.get("/metrics", &[socket, &[version], options].concat())
            };
            assert_eq!(get(&[]).status, 401, "{socket:?}");
            assert_eq!(get(&["-u", "alice:wrong"]).status, 401, "{socket:?}");
            let reply = get(&["-u", &user]);
            assert_eq!(reply.status, 200, "{socket:?}: {reply:?}");
            assert!(reply.text().contains("\nnode_load1 "));
        }
    }
    let plain = exporter.get_plain("/metrics", &["--unix-socket", &path]);
    assert_eq!(
        (plain.status, plain.text().as_str()),
        (400, "Client sent an HTTP request to an HTTPS server.\n")
    );
}

#[test]
fn without_usable_sockets_the_error_names_what_is_missing() {
    let reason = refusal(&["--web.systemd-socket"]);
    assert!(
        reason.contains("no socket activation file descriptors found")
            && reason.contains("socket unit"),
        "{reason}"
    );

    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    for (second, what) in [
        (OwnedFd::from(connected), "a connection"),
        (
            OwnedFd::from(std::fs::File::open("/dev/null").unwrap()),
            "no socket",
        ),
        (
            OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()),
            "a datagram socket",
        ),
    ] {
        let reason = refusal_of(&mut activated(tcp.try_clone().unwrap(), second, &[]));
        assert!(
            reason.contains("file descriptor 4") && reason.contains("ListenStream="),
            "{what}: {reason}"
        );
    }
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "LISTEN_FDS=1 LISTEN_PID=1 exec \"$@\" 3<&0 0</dev/null",
            "sh",
        ])
        .args([
            env!("CARGO_BIN_EXE_secure-exporter"),
            "--web.systemd-socket",
        ])
        .stdin(Stdio::from(OwnedFd::from(tcp)));
    assert!(refusal_of(&mut command).contains("no socket activation file descriptors found"));
}

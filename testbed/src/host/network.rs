//! A network namespace on this host, with its own devices and sysfs.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    paths::find_program,
    process::{Process, output, output_with_input},
    wait::wait_until,
};

/// How long it may take to enter a namespace.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a namespace's process prints when it runs and its sysfs is mounted.
const READY: &str = "the sysfs is mounted";

/// The number of namespaces created so far.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// A network namespace, which is removed with its devices when this is dropped.
pub struct Network {
    name: String,
    /// The process that keeps the namespace and its sysfs.
    holder: Process,
}

impl Network {
    /// Creates a namespace whose loopback device is up.
    ///
    /// # Errors
    /// This process is not root, or `ip` is missing.
    pub fn new(name: &str) -> Result<Self> {
        // The name must be unique on this host, because other programs may create namespaces as well.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{number}", std::process::id());
        output(ip()?.args(["netns", "add", &name]))?;
        // `ip netns exec` mounts a sysfs that shows this namespace.
        let script = format!("echo '{READY}'; exec sleep infinity");
        let mut command = ip()?;
        command.args(["netns", "exec", &name, "sh", "-c", &script]);
        let network = Self {
            holder: Process::spawn(&mut command)?,
            name,
        };
        network.ip("link set lo up")?;
        network.ready()
    }

    fn ready(mut self) -> Result<Self> {
        wait_until("a process in a namespace", PATIENCE, || {
            self.holder.check()?;
            Ok(self.holder.log()?.contains(READY).then_some(()))
        })?;
        Ok(self)
    }

    /// Its name for `ip`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` with these arguments in the namespace.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn ip(&self, words: &str) -> Result<()> {
        output(ip()?.args(["-n", &self.name]).args(words.split(' '))).map(drop)
    }

    /// Runs `ip` once for many lines in the namespace.
    ///
    /// # Errors
    /// The kernel refused one.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        let arguments = ["-n", &self.name, "-batch", "-"];
        output_with_input(ip()?.args(arguments), lines).map(drop)
    }

    /// Its sysfs as seen by other processes.
    pub fn sysfs(&self) -> PathBuf {
        Path::new("/proc")
            .join(self.holder.id().to_string())
            .join("root/sys")
    }

    /// Starts a server in it that gets its socket like from systemd, and returns its port of 127.0.0.1 on the host, so that
    /// no device of the namespace carries the traffic of the test.
    ///
    /// # Errors
    /// The program does not exist.
    pub fn serve(&self, program: &Path, arguments: &[&str]) -> Result<(Process, u16)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let holder = self.holder.id().to_string();
        let mut command = Command::new(find_program("nsenter").context("nsenter is missing")?);
        command
            .args(["--target", &holder, "--mount", "--net", "sh", "-c"])
            .arg("export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\" 3<&0 0</dev/null")
            .arg("sh")
            .arg(program)
            .arg("--web.systemd-socket")
            .args(arguments);
        let socket = Stdio::from(OwnedFd::from(listener));
        Ok((Process::spawn_with_input(&mut command, socket)?, port))
    }

    /// The names of its devices.
    ///
    /// # Errors
    /// It has ended.
    pub fn devices(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.sysfs().join("class/net"))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Ok(mut ip) = ip() {
            // Its processes end with the holder and the servers.
            let _ = output(ip.args(["netns", "delete", &self.name]));
        }
    }
}

fn ip() -> Result<Command> {
    Ok(Command::new(find_program("ip").context("ip is missing")?))
}

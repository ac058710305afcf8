//! The holder: a process that sleeps in namespaces of its own, which every other process of the cluster joins. It is
//! process 1 of its process namespace, so that its end is the end of all of them, of the mounts and of the network.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::layout::{Extent, Layout};
use crate::shell::{output, tail, wait_for};

/// Sets the mount namespace up. Folders that kubelet and containerd write to are hidden behind empty ones, and four
/// kernel settings, which the kubelet would otherwise write for the whole machine, behind files with the wanted values.
const SCRIPT: &str = r#"
set -e
mount --make-rprivate /
mount --make-rshared /
mount -t proc proc /proc
for folder in /run/netns /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers /etc/cni; do
  mkdir -p $folder; mount -t tmpfs tmpfs $folder; mount --make-rshared $folder
done
printf '127.0.0.1 localhost\n%s %s\n' "$NODE_ADDRESS" "$NODE_NAME" > "$RUN/hosts"
mount --bind "$RUN/hosts" /etc/hosts
: > "$RUN/resolv.conf"; touch /etc/resolv.conf; mount --bind "$RUN/resolv.conf" /etc/resolv.conf
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1; do
  file="$RUN/sysctl.$(echo "${setting%%=*}" | tr / .)"
  echo "${setting#*=}" > "$file"; mount --bind "$file" "/proc/sys/${setting%%=*}"
done
"#;

/// Says that all is set up, and sleeps.
const SLEEP: &str = r#"
touch "$RUN/held"
trap : TERM
while :; do sleep 1000 & wait; done
"#;

/// Starts the holder and lays the network between it and this machine.
///
/// # Errors
/// A namespace, mount or interface was refused.
pub fn start(layout: &Layout) -> Result<()> {
    fs::create_dir_all(layout.logs())?;
    fs::create_dir_all(layout.run.join("pid"))?;
    let log = File::create(layout.logs().join("holder.log"))?;
    Command::new("setsid")
        .args(["unshare", "--pid", "--fork", "--kill-child"])
        .args(match layout.extent {
            Extent::Whole => &["--net", "--mount", "--propagation", "private"][..],
            Extent::ControlPlane => &["--user", "--map-root-user"],
        })
        .args(["bash", "-c"])
        .arg(match layout.extent {
            Extent::Whole => format!("{SCRIPT}{SLEEP}"),
            Extent::ControlPlane => SLEEP.to_owned(),
        })
        .env("RUN", &layout.run)
        .env("NODE_ADDRESS", layout.node_address())
        .env("NODE_NAME", layout.node_name())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start unshare")
        .and_then(|unshare| {
            let held = layout.run.join("held");
            wait_for("the holder's namespaces", Duration::from_secs(10), || {
                Ok(held.exists().then_some(()))
            })
            .with_context(|| {
                let log = fs::read_to_string(layout.logs().join("holder.log"));
                tail(&log.unwrap_or_default(), 5)
            })?;
            let child = only_child(unshare.id())?;
            fs::write(pid_file(layout), child.to_string())?;
            Ok(())
        })?;
    match layout.extent {
        Extent::Whole => connect(layout),
        Extent::ControlPlane => Ok(()),
    }
}

/// Kills the holder and waits until it is gone.
///
/// # Errors
/// It is still there after some seconds.
pub fn stop(layout: &Layout) -> Result<()> {
    if let Some(pid) = pid(layout)
        && let Some(process) = i32::try_from(pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        wait_for(
            "the cluster's processes gone",
            Duration::from_secs(10),
            || Ok((!alive(pid)).then_some(())),
        )?;
    }
    // The cable goes with the namespace; where it did not (yet), it must not stand in the way of the next start.
    let _ = output(Command::new("ip").args(["link", "del", &layout.outside_interface()]));
    Ok(())
}

/// The holder's process id, where it lives and is ours.
pub fn pid(layout: &Layout) -> Option<u32> {
    let pid = fs::read_to_string(pid_file(layout)).ok()?.parse().ok()?;
    alive(pid).then_some(pid)
}

/// A command that will run inside the cluster's namespaces.
///
/// # Errors
/// The holder does not live.
pub fn command(layout: &Layout, program: impl AsRef<OsStr>) -> Result<Command> {
    let Some(pid) = pid(layout) else {
        bail!("the cluster `{}` is not up", layout.name);
    };
    let mut command = Command::new("nsenter");
    command
        .args(match layout.extent {
            Extent::Whole => &["-m", "-n", "-p"][..],
            Extent::ControlPlane => &["-U", "--preserve-credentials", "-p"],
        })
        .args(["-t", &pid.to_string(), "--"])
        .arg(program.as_ref());
    Ok(command)
}

/// A program that was started inside and should go on running.
pub struct Server {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Server {
    /// Asks whether it still runs.
    ///
    /// # Errors
    /// It has ended: holds the last lines of its log.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            bail!(
                "{} has ended ({status}); its last words:\n{}",
                self.name,
                tail(&log, 5)
            );
        }
        Ok(())
    }
}

/// Starts a program that goes on running inside, with a log of its own.
///
/// # Errors
/// It could not be started.
pub fn spawn(layout: &Layout, name: &str, program: &Path, arguments: &[String]) -> Result<Server> {
    let path = layout.logs().join(format!("{name}.log"));
    let log = File::create(&path)?;
    let child = command(layout, program)?
        .args(arguments)
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        // A cloud's metadata address answers nobody here; asking it costs the kubelet seconds.
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .current_dir(&layout.run)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    Ok(Server {
        name: name.to_owned(),
        log: path,
        child,
    })
}

/// Every process inside, by name, with its resident memory in KiB.
///
/// # Errors
/// The holder does not live.
pub fn processes(layout: &Layout) -> Result<Vec<(String, u64)>> {
    let text = output(command(layout, "ps")?.args(["-eo", "rss=,comm="]))?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let (memory, name) = line.trim().split_once(' ')?;
            Some((name.trim().to_owned(), memory.parse().ok()?))
        })
        .collect())
}

fn connect(layout: &Layout) -> Result<()> {
    let pid = pid(layout).context("the holder ended at once; see holder.log")?;
    let (outside, node) = (layout.outside_interface(), layout.node_address());
    let ip = |line: String| output(Command::new("ip").args(line.split(' ')));
    let inside = |line: String| output(command(layout, "ip")?.args(line.split(' ')));
    ip(format!(
        "link add {outside} type veth peer name outside netns {pid}"
    ))?;
    ip(format!(
        "addr add {}/24 dev {outside}",
        layout.outside_address()
    ))?;
    ip(format!("link set {outside} up"))?;
    inside("link set lo up".into())?;
    inside(format!("addr add {}/32 dev lo", layout.service_address()))?;
    // The node's address is on a bridge, so that further nodes can be plugged in.
    inside("link add nodes type bridge".into())?;
    inside("link set outside master nodes".into())?;
    inside("link set outside up".into())?;
    inside(format!("addr add {node}/24 dev nodes"))?;
    inside("link set nodes up".into())?;
    // The kubelet wants a default route; it leads nowhere.
    inside("route add default dev nodes".into())?;
    ip(format!("route replace {} via {node}", layout.pod_network()))?;
    Ok(())
}

fn pid_file(layout: &Layout) -> PathBuf {
    layout.run.join("pid/holder")
}

fn only_child(pid: u32) -> Result<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    text.split_whitespace()
        .next()
        .and_then(|child| child.parse().ok())
        .context("unshare has no child")
}

fn alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next().map(str::to_owned));
    state.is_some_and(|state| state != "Z" && state != "X")
}

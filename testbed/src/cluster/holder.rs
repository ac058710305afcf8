//! A holder: a process that sleeps in its own namespaces, which the other processes of a node join. It is process 1 of its
//! process namespace, so that its end also ends all of them, the mounts and the network. The first node's holder also holds
//! the control plane and, in its process namespace, the holders of all other nodes, so that one kill ends everything.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{extent::Extent, programs};
use crate::{
    process::{output, tail},
    wait::wait_until,
};

/// Prints the process ID as it is outside. A later mount hides this /proc, so this comes first.
const SAY_PID: &str = r#"
set -e
read -r pid rest < /proc/self/stat
echo "$pid" > "$FOLDER/holder.pid"
"#;

/// Sets up the mount namespace. Folders that kubelet and containerd write to are hidden by empty ones. Four kernel settings
/// that the kubelet would otherwise change for the whole machine are hidden by files with the wanted values.
const MOUNT: &str = r#"
mount --make-rprivate /
mount --make-rshared /
mount -t proc proc /proc
for folder in /run/netns /run/containerd /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers /etc/cni; do
  mkdir -p $folder; mount -t tmpfs tmpfs $folder; mount --make-rshared $folder
done
mount --bind "$FOLDER/hosts" /etc/hosts
: > "$FOLDER/resolv.conf"; touch /etc/resolv.conf; mount --bind "$FOLDER/resolv.conf" /etc/resolv.conf
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1; do
  file="$FOLDER/sysctl.$(echo "${setting%%=*}" | tr / .)"
  echo "${setting#*=}" > "$file"; mount --bind "$file" "/proc/sys/${setting%%=*}"
done
"#;

/// Reports that everything is set up, and sleeps.
const SLEEP: &str = r#"
touch "$FOLDER/held"
trap : TERM
while :; do sleep 1000 & wait; done
"#;

/// The holder of one set of namespaces, running or not.
#[derive(Clone)]
pub struct Holder {
    /// What it holds, for messages.
    pub of: String,
    /// Its own files.
    pub folder: PathBuf,
    /// The folder for the logs of the programs inside.
    pub logs: PathBuf,
    /// Without root there is only a process namespace.
    pub extent: Extent,
}

impl Holder {
    /// Starts it, in the process namespace of another one if given. `hosts` is the content of its `/etc/hosts`.
    ///
    /// # Errors
    /// A namespace or mount was refused, or the other holder does not run.
    pub fn start(&self, hosts: &str, within: Option<&Self>) -> Result<()> {
        fs::create_dir_all(&self.logs)?;
        fs::create_dir_all(&self.folder)?;
        fs::write(self.folder.join("hosts"), hosts)?;
        let log = self.log();
        let file = File::create(&log)?;
        let mut command = Command::new("setsid");
        if let Some(outer) = within {
            let pid = outer.living_pid()?.to_string();
            command.args(["nsenter", "-p", "-t", &pid, "--"]);
        }
        command.args(["unshare", "--pid", "--fork", "--kill-child"]);
        match self.extent {
            Extent::Whole => command
                .args(["--net", "--mount", "--propagation", "private", "bash", "-c"])
                .arg([SAY_PID, MOUNT, SLEEP].concat()),
            Extent::ControlPlane => command
                .args(["--user", "--map-root-user", "bash", "-c"])
                .arg([SAY_PID, SLEEP].concat()),
        };
        command
            .env("FOLDER", &self.folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot start unshare")?;
        let held = self.folder.join("held");
        wait_until(
            &format!("the namespaces of {}", self.of),
            Duration::from_secs(10),
            || Ok(held.exists().then_some(())),
        )
        .with_context(|| tail(&fs::read_to_string(log).unwrap_or_default(), 5))
    }

    /// Kills it and everything inside, and waits until it is gone.
    ///
    /// # Errors
    /// It is still there after some seconds.
    pub fn stop(&self) -> Result<()> {
        if let Some(pid) = self.pid()
            && let Some(process) = i32::try_from(pid)
                .ok()
                .and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
            wait_until(
                &format!("the processes of {} gone", self.of),
                Duration::from_secs(10),
                || {
                    programs::continue_starters(&self.folder);
                    Ok((!alive(pid)).then_some(()))
                },
            )?;
        }
        Ok(())
    }

    /// Its process ID, if it runs.
    pub fn pid(&self) -> Option<u32> {
        let text = fs::read_to_string(self.folder.join("holder.pid")).ok()?;
        text.trim().parse().ok().filter(|pid| alive(*pid))
    }

    /// Like [`Self::pid`].
    ///
    /// # Errors
    /// It does not run.
    pub fn living_pid(&self) -> Result<u32> {
        self.pid().with_context(|| {
            format!(
                "the holder of {} does not live; its log: {}",
                self.of,
                self.log().display()
            )
        })
    }

    /// A command that will run inside.
    ///
    /// # Errors
    /// The holder does not run.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command
            .args(match self.extent {
                Extent::Whole => &["-m", "-n", "-p"][..],
                Extent::ControlPlane => &["-U", "--preserve-credentials", "-p"],
            })
            .args(["-t", &self.living_pid()?.to_string(), "--"])
            .arg(program.as_ref());
        Ok(command)
    }

    /// Starts a program that keeps running inside, with its own log.
    ///
    /// # Errors
    /// It could not be started.
    pub fn spawn(&self, name: &str, program: &Path, arguments: &[String]) -> Result<Server> {
        let path = self.logs.join(format!("{name}.log"));
        // A program that is started again appends to its log.
        let log = File::options().create(true).append(true).open(&path)?;
        let child = self
            .command(program)?
            .args(arguments)
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env(programs::HELD_IN, &self.folder)
            // A cloud's metadata address does not exist here; querying it costs the kubelet seconds.
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .current_dir(&self.folder)
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

    /// Returns every process inside, including those of inner holders, by name, with its resident memory in KiB.
    ///
    /// # Errors
    /// The holder does not run.
    pub fn processes(&self) -> Result<Vec<(String, u64)>> {
        let text = output(self.command("ps")?.args(["-eo", "rss=,comm="]))?;
        Ok(text
            .lines()
            .filter_map(|line| {
                let (memory, name) = line.trim().split_once(' ')?;
                Some((name.trim().to_owned(), memory.parse().ok()?))
            })
            .collect())
    }

    fn log(&self) -> PathBuf {
        let name = self.folder.file_name().unwrap_or_default();
        self.logs
            .join(format!("holder-{}.log", name.to_string_lossy()))
    }
}

/// A program that was started inside and must keep running.
pub struct Server {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Server {
    /// Checks that it still runs.
    ///
    /// # Errors
    /// It has ended; the error contains the last lines of its log.
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

#[cfg(test)]
mod tests {
    use rustix::process::Signal;

    use super::*;

    #[test]
    fn a_stopped_program_does_not_block_the_end() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let holder = Holder {
            of: "a test".into(),
            folder: folder.path().join("run"),
            logs: folder.path().join("log"),
            // Needs least, and is as good for root.
            extent: Extent::ControlPlane,
        };
        holder.start("", None)?;
        let mut server = holder.spawn("sleep", Path::new("/bin/sleep"), &["1000".into()])?;
        let soon = Duration::from_secs(10);
        let sleeping = wait_until("the program to run", soon, || {
            server.check()?;
            let found = programs::held(&holder.folder, "sleep");
            Ok((!found.is_empty()).then_some(found))
        })?;
        programs::signal(&sleeping, Signal::STOP)?;
        wait_until("what waits for it to stop as well", soon, || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", server.child.id()))?;
            Ok(stat.contains(") T ").then_some(()))
        })?;
        holder.stop()?;
        wait_until("its end outside", soon, || {
            Ok(server.check().is_err().then_some(()))
        })
    }
}

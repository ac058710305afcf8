//! The thread that hashes passwords: one, so that strangers cost one core at most; and behind all others, so that where it
//! shares that core with a scrape, the scrape goes first.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use tokio::sync::oneshot;

/// Its nice value. It counts among the threads of this process, where each container or unit has its share of the CPU.
const NICENESS: i32 = 19;

type Work = Box<dyn FnOnce() + Send>;

/// The way to the thread, which is started by the first password: whoever has no users needs none.
#[derive(Debug, Default)]
pub(super) struct Hashing {
    works: OnceLock<Sender<Work>>,
}

impl Hashing {
    /// What `work` returns, after all that was sent before; `None` when it panicked, or the system gives no thread.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let work = move || {
            // The client may have gone meanwhile.
            let _ = reply.send(work());
        };
        self.works()?.send(Box::new(work)).ok()?;
        answer.await.ok()
    }

    fn works(&self) -> Option<&Sender<Work>> {
        if let Some(works) = self.works.get() {
            return Some(works);
        }
        match start() {
            // Of two that come first at once, one wins, and the thread of the other ends.
            Ok(works) => Some(self.works.get_or_init(|| works)),
            Err(error) => {
                tracing::error!(%error, "no thread to hash passwords");
                None
            }
        }
    }
}

/// Starts the thread, which ends with its last sender.
fn start() -> io::Result<Sender<Work>> {
    let (works, received) = channel::<Work>();
    std::thread::Builder::new()
        .name("password".into())
        .spawn(move || {
            // Of a thread, on Linux, whatever POSIX says of processes. Where it is forbidden, passwords are hashed all the
            // same.
            if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
                tracing::debug!(%error, "passwords are hashed at the priority of scrapes");
            }
            for work in received {
                // It has nothing that could be left half done; the next password is none the worse for it.
                let _ = catch_unwind(AssertUnwindSafe(work));
            }
        })?;
    Ok(works)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nice value of the thread that asks, by proc_pid_stat(5).
    fn own_niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        rest.split(' ').nth(16).unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn passwords_are_hashed_behind_all_else_and_nothing_else_is_slowed() {
        let before = own_niceness();
        let hashing = Hashing::default();
        assert_eq!(hashing.run(own_niceness).await, Some(NICENESS));
        assert_eq!(own_niceness(), before);
    }

    #[tokio::test]
    async fn one_that_panics_takes_no_other_along() {
        let hashing = Hashing::default();
        assert_eq!(hashing.run(|| panic!("once")).await, None::<()>);
        assert_eq!(hashing.run(|| 1).await, Some(1));
    }
}

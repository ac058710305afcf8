//! The thread that hashes passwords. There is only one, so that unauthenticated clients can use one core at most; and it
//! has the lowest priority, so that scrapes go first if they share that core.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::oneshot;

use super::fair_queue::FairQueue;
use super::prefix::Prefix;

/// Its nice value. It only matters among the threads of this process if each container or unit has its own share of the
/// CPU.
const NICENESS: i32 = 19;
/// Maximum number of waiting passwords. A flood must come from as many networks to keep others from being checked.
pub(super) const MAX_WAITING: usize = 128;

type Work = Box<dyn FnOnce() + Send>;
type Waiting = Arc<Mutex<FairQueue<Work>>>;

/// The channel to the thread, which is started by the first password, so that exporters without users do not need it.
pub(super) struct Hashing {
    waiting: Waiting,
    /// Announces one more waiting job.
    arrivals: OnceLock<Sender<()>>,
}

impl Default for Hashing {
    fn default() -> Self {
        Self {
            waiting: Arc::new(Mutex::new(FairQueue::new(MAX_WAITING))),
            arrivals: OnceLock::new(),
        }
    }
}

impl Hashing {
    /// Returns the result of `work` after the turn of `prefix` and its earlier jobs; `None` if the queue had no room, the
    /// job panicked, or the thread could not be started. The job runs even if its client has disconnected, so that a
    /// correct password that had to wait for too long is known the next time.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        prefix: Prefix,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move || {
            // The client may have disconnected in the meantime.
            let _ = reply.send(work());
        });
        let arrivals = self.arrivals()?;
        let dropped = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(prefix, work);
        // If one job was removed for this one, the number of jobs is unchanged.
        if dropped.is_none() {
            arrivals.send(()).ok()?;
        }
        drop(dropped);
        answer.await.ok()
    }

    fn arrivals(&self) -> Option<&Sender<()>> {
        if let Some(arrivals) = self.arrivals.get() {
            return Some(arrivals);
        }
        match start(self.waiting.clone()) {
            // If two requests come first at the same time, one of them is used, and the thread of the other ends.
            Ok(arrivals) => Some(self.arrivals.get_or_init(|| arrivals)),
            Err(error) => {
                tracing::error!(%error, "cannot start the thread that hashes passwords");
                None
            }
        }
    }
}

/// Starts the thread, which ends with the last sender.
fn start(waiting: Waiting) -> io::Result<Sender<()>> {
    let (arrivals, arrived) = channel();
    std::thread::Builder::new()
        .name("password".into())
        .spawn(move || serve(&waiting, &arrived))?;
    Ok(arrivals)
}

fn serve(waiting: &Waiting, arrived: &Receiver<()>) {
    // On Linux this applies to the thread, although POSIX defines it for processes. If it is not allowed, passwords are
    // hashed anyway.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "cannot lower the priority of hashing passwords below that of scrapes");
    }
    for () in arrived {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(work) = next {
            // The job leaves nothing in an inconsistent state, so the next password is not affected.
            let _ = catch_unwind(AssertUnwindSafe(work));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn prefix(last: u8) -> Prefix {
        Prefix::from(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)))
    }

    /// The nice value of the calling thread, by proc_pid_stat(5).
    fn own_niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        rest.split(' ').nth(16).unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn passwords_are_hashed_with_the_lowest_priority() {
        let before = own_niceness();
        let hashing = Hashing::default();
        assert_eq!(hashing.run(prefix(1), own_niceness).await, Some(NICENESS));
        assert_eq!(own_niceness(), before);
    }

    #[tokio::test]
    async fn one_that_panics_takes_no_other_along() {
        let hashing = Hashing::default();
        assert_eq!(hashing.run(prefix(1), || panic!("once")).await, None::<()>);
        assert_eq!(hashing.run(prefix(1), || 1).await, Some(1));
    }

    #[tokio::test]
    async fn a_late_client_waits_for_one_turn_of_each_other_and_floods_lose_their_surplus() {
        let hashing = Arc::new(Hashing::default());
        let (enter, entered) = channel();
        let (go_on, gate) = channel::<()>();
        let running = tokio::spawn({
            let hashing = hashing.clone();
            async move {
                let block = move || {
                    enter.send(()).unwrap();
                    gate.recv()
                };
                hashing.run(prefix(0), block).await
            }
        });
        tokio::task::spawn_blocking(move || entered.recv().unwrap())
            .await
            .unwrap();
        let done = Arc::new(Mutex::new(Vec::new()));
        let ask = |last| {
            let (hashing, done) = (hashing.clone(), done.clone());
            tokio::spawn(async move {
                let work = move || done.lock().unwrap().push(last);
                hashing.run(prefix(last), work).await
            })
        };
        let flood: Vec<_> = (0..10 * MAX_WAITING)
            .map(|n| ask(1 + (n % 5) as u8))
            .collect();
        let all_have_asked = async || {
            for _ in 0..10 * MAX_WAITING {
                tokio::task::yield_now().await;
            }
        };
        all_have_asked().await;
        let late = ask(99);
        all_have_asked().await;
        drop(go_on);
        running.await.unwrap();
        assert_eq!(late.await.unwrap(), Some(()));
        let position = done.lock().unwrap().iter().position(|one| *one == 99);
        assert!(
            position.is_some_and(|position| position <= 5),
            "{position:?}"
        );
        let mut checked = 0;
        for one in flood {
            checked += usize::from(one.await.unwrap().is_some());
        }
        assert_eq!(checked, MAX_WAITING - 1);
    }
}

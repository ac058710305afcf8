//! Asking file systems for their size, when any of them may never answer.
//!
//! `statfs` on a dead NFS server or FUSE daemon blocks in the kernel and cannot be interrupted. So a thread of its
//! own asks, and the scrape waits for it only so long. A mount that did not answer is left to the thread that hangs in
//! it, and is asked no more until that thread comes back.

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;

/// How long a scrape waits for the first mount that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it waits for each further one: the scraper's own time is running out.
const LATE_PATIENCE: Duration = Duration::from_millis(250);
/// How many threads may hang at once. Beyond it mounts are reported as not answering without being asked.
const MOST_STUCK: usize = 8;

/// The size of a file system, in its own blocks of `block_size` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Bytes in a block.
    pub block_size: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks that are free.
    pub blocks_free: u64,
    /// Blocks that are free to an ordinary user.
    pub blocks_available: u64,
    /// File nodes in all.
    pub files: u64,
    /// File nodes that are free.
    pub files_free: u64,
}

/// What asking a mount came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its size.
    Size(FileSystem),
    /// The kernel refused.
    Refused(Errno),
    /// It did not answer in time, now or at an earlier scrape.
    Stuck,
}

/// What asks one file system; replaced in tests, where nothing real hangs on demand.
type Ask = fn(&CStr) -> Result<FileSystem, Errno>;

/// Asks mounts for their size, never longer than a few seconds in all.
#[derive(Debug)]
pub struct Prober {
    ask: Ask,
    patience: Duration,
    worker: Option<Worker>,
    stuck: HashMap<Arc<CStr>, Worker>,
}

/// It is handed all mounts at once, because waking it for each costs more than the question.
#[derive(Debug)]
struct Worker {
    requests: Sender<Vec<Arc<CStr>>>,
    done: Receiver<()>,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    answers: Mutex<Vec<Result<FileSystem, Errno>>>,
    abandoned: AtomicBool,
}

impl Default for Prober {
    fn default() -> Self {
        Self::with(ask_kernel, PATIENCE)
    }
}

impl Prober {
    fn with(ask: Ask, patience: Duration) -> Self {
        Self {
            ask,
            patience,
            worker: None,
            stuck: HashMap::new(),
        }
    }

    /// Asks every mount, and puts one answer for each into `answers`, in place of what was there.
    pub fn probe(&mut self, mounts: &[Arc<CStr>], answers: &mut Vec<Answer>) {
        answers.clear();
        answers.resize(mounts.len(), Answer::Stuck);
        self.forget_recovered();
        let mut patience = self.patience;
        let mut next = 0;
        // Each turn of the loop ends with all mounts answered, or with one more worker given up.
        while next < mounts.len() && self.stuck.len() < MOST_STUCK {
            match self.round(mounts, answers, next, patience) {
                Some(hanging) => next = hanging + 1,
                None => return,
            }
            patience = LATE_PATIENCE.min(self.patience);
        }
    }

    /// Sends all mounts from `from` on to one worker and collects its answers. Gives the index of the mount in which
    /// the worker hangs, if it does.
    fn round(
        &mut self,
        mounts: &[Arc<CStr>],
        answers: &mut [Answer],
        from: usize,
        patience: Duration,
    ) -> Option<usize> {
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => Worker::start(self.ask)?,
        };
        let asked = |(index, mount): &(usize, &Arc<CStr>)| {
            *index >= from && !self.stuck.contains_key(*mount)
        };
        let numbered = || mounts.iter().enumerate().filter(asked);
        // A worker that has gone is noticed below, where its answers are missing.
        let batch = numbered().map(|(_, mount)| mount.clone()).collect();
        let _ = worker.requests.send(batch);
        let waited = worker.done.recv_timeout(patience);
        if waited == Err(RecvTimeoutError::Timeout) {
            worker.progress.abandoned.store(true, Ordering::Release);
        }
        let given = worker.progress.take();
        let answered = given.len();
        for (answer, (index, _)) in given.into_iter().zip(numbered()) {
            let slot = answers.get_mut(index)?;
            *slot = answer.map_or_else(Answer::Refused, Answer::Size);
        }
        match waited {
            Ok(()) => {
                self.worker = Some(worker);
                None
            }
            Err(RecvTimeoutError::Timeout) => {
                let (index, mount) = numbered().nth(answered)?;
                let mount = mount.clone();
                self.stuck.insert(mount, worker);
                Some(index)
            }
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// A worker that has come back has answered for its mount: the mount may be asked again.
    fn forget_recovered(&mut self) {
        self.stuck
            .retain(|_, worker| worker.done.try_recv() == Err(TryRecvError::Empty));
    }
}

impl Worker {
    /// `None` when the system gives no more threads: then no mount can be asked in this scrape.
    fn start(ask: Ask) -> Option<Self> {
        let (requests, inbox) = channel::<Vec<Arc<CStr>>>();
        let (finish, done) = channel();
        let progress = Arc::new(Progress::default());
        let shared = progress.clone();
        let work = move || {
            for batch in inbox {
                for mount in batch {
                    let answer = ask(&mount);
                    if shared.abandoned.load(Ordering::Acquire) {
                        return;
                    }
                    shared.lock().push(answer);
                }
                if finish.send(()).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("statfs".to_owned())
            .spawn(work)
            .ok()?;
        Some(Self {
            requests,
            done,
            progress,
        })
    }
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, Vec<Result<FileSystem, Errno>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<Result<FileSystem, Errno>> {
        std::mem::take(&mut *self.lock())
    }
}

/// The types of these fields differ between architectures.
#[allow(clippy::unnecessary_cast)]
fn ask_kernel(mount: &CStr) -> Result<FileSystem, Errno> {
    let found = rustix::fs::statfs(mount)?;
    Ok(FileSystem {
        block_size: found.f_bsize as u64,
        blocks: found.f_blocks as u64,
        blocks_free: found.f_bfree as u64,
        blocks_available: found.f_bavail as u64,
        files: found.f_files as u64,
        files_free: found.f_ffree as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: FileSystem = FileSystem {
        block_size: 1,
        blocks: 2,
        blocks_free: 1,
        blocks_available: 1,
        files: 0,
        files_free: 0,
    };

    fn mounts(names: &[&CStr]) -> Vec<Arc<CStr>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    #[test]
    fn the_kernel_answers_or_refuses() {
        let mut answers = Vec::new();
        Prober::default().probe(&mounts(&[c"/", c"/nonexistent", c"/proc"]), &mut answers);
        assert!(
            matches!(
                answers[..],
                [
                    Answer::Size(_),
                    Answer::Refused(Errno::NOENT),
                    Answer::Size(_)
                ]
            ),
            "{answers:?}"
        );
    }

    #[test]
    fn a_hanging_mount_is_passed_over_until_it_answers() {
        static RELEASED: AtomicBool = AtomicBool::new(false);
        let ask: Ask = |mount| {
            while mount == c"/dead" && !RELEASED.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(SIZE)
        };
        let mut prober = Prober::with(ask, Duration::from_millis(50));
        let mounts = mounts(&[c"/a", c"/dead", c"/b"]);
        let mut answers = Vec::new();
        for _ in 0..3 {
            prober.probe(&mounts, &mut answers);
            assert_eq!(
                answers,
                [Answer::Size(SIZE), Answer::Stuck, Answer::Size(SIZE)]
            );
            assert_eq!(
                prober.stuck.len(),
                1,
                "one thread hangs, however often the mount is scraped"
            );
        }
        RELEASED.store(true, Ordering::Release);
        for _ in 0..1000 {
            prober.probe(&mounts, &mut answers);
            if answers == [Answer::Size(SIZE); 3] {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the mount was not asked again: {answers:?}");
    }

    #[test]
    fn threads_that_hang_are_bounded() {
        let ask: Ask = |_| {
            std::thread::park();
            Ok(SIZE)
        };
        let mut prober = Prober::with(ask, Duration::from_millis(1));
        let names: Vec<Arc<CStr>> = (0..3 * MOST_STUCK)
            .map(|n| Arc::from(std::ffi::CString::new(format!("/{n}")).unwrap()))
            .collect();
        let mut answers = Vec::new();
        prober.probe(&names, &mut answers);
        assert!(answers.iter().all(|answer| *answer == Answer::Stuck));
        assert_eq!(prober.stuck.len(), MOST_STUCK);
    }
}

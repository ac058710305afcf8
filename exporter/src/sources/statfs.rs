//! Queries file systems for their size, although any of them may never answer.
//!
//! `statfs` on an unreachable NFS server or FUSE daemon blocks in the kernel and cannot be interrupted. A mount that does
//! not answer in time is left to the thread that hangs in it, and is not queried again until that thread returns. A file
//! system that is mounted in several places is queried in one of them first; if that hangs, the others would hang as well.

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use super::crew::{Batch, Crew};
use super::deadline::Deadline;

/// How long a scrape waits for mounts that do not answer, unless its own deadline is shorter.
const PATIENCE: Duration = Duration::from_secs(5);
/// After this time without an answer other threads continue with the mounts that were not queried yet.
const STEP: Duration = Duration::from_millis(20);

/// The size of a file system, in its own blocks of `block_size` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Bytes per block.
    pub block_size: u64,
    /// Total number of blocks.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Blocks that are free for unprivileged users.
    pub blocks_available: u64,
    /// Total number of file nodes.
    pub files: u64,
    /// Free file nodes.
    pub files_free: u64,
}

/// The result of querying a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its size.
    Size(FileSystem),
    /// The kernel refused.
    Refused(Errno),
    /// It did not answer in time, now or in an earlier scrape.
    Stuck,
}

/// The function that queries one file system; replaced in tests, where nothing real hangs on demand.
type Ask = fn(&CStr) -> Result<FileSystem, Errno>;

/// A mount to query.
#[derive(Clone, Debug)]
pub struct Target {
    path: Arc<CStr>,
    /// Whether it is the first mount of its file system to be queried.
    leads: bool,
    /// Whether the file system has answered in this scrape.
    answered: Arc<AtomicBool>,
}

impl Target {
    /// Where it is mounted, as seen by this process.
    #[cfg(test)]
    pub fn path(&self) -> &CStr {
        &self.path
    }

    /// The mounts of all file systems, each with its path and an identifier of its file system.
    pub fn of<FileSystem: Eq + std::hash::Hash>(mounts: Vec<(Arc<CStr>, FileSystem)>) -> Vec<Self> {
        let mut leaders: HashMap<FileSystem, (usize, Arc<AtomicBool>)> = HashMap::new();
        let mut targets: Vec<Self> = Vec::with_capacity(mounts.len());
        for (place, (path, file_system)) in mounts.into_iter().enumerate() {
            let (leader, answered) = leaders
                .entry(file_system)
                .or_insert_with(|| (place, Arc::default()));
            let answered = Arc::clone(answered);
            // A shorter path crosses fewer other mounts, which may hang.
            let leads = match targets.get_mut(*leader) {
                Some(first) if first.path.count_bytes() <= path.count_bytes() => false,
                Some(first) => {
                    first.leads = false;
                    *leader = place;
                    true
                }
                None => true,
            };
            targets.push(Self {
                path,
                leads,
                answered,
            });
        }
        targets
    }
}

/// The state of a mount in this scrape.
#[derive(Clone, Copy, Debug)]
enum Reply {
    Answer(Answer),
    /// The first mount of the same file system has not answered yet.
    Waits,
}

/// Queries mounts for their size, for a few seconds in total at most. At most one thread hangs in each file system.
#[derive(Debug)]
pub struct Prober {
    crew: Crew<Target, Reply>,
    /// The mounts that did not answer, each with the batch and the position in it where the answer will be stored.
    stuck: HashMap<Arc<CStr>, Place>,
}

/// A batch, and a position in it where an answer will be stored.
type Place = (Arc<Batch<Target, Reply>>, usize);

impl Default for Prober {
    fn default() -> Self {
        Self::with(ask_kernel)
    }
}

impl Prober {
    fn with(ask: Ask) -> Self {
        let work = move |target: &Target| {
            if !target.leads && !target.answered.load(Ordering::Acquire) {
                return Reply::Waits;
            }
            let answer = ask(&target.path).map_or_else(Answer::Refused, Answer::Size);
            target.answered.store(true, Ordering::Release);
            Reply::Answer(answer)
        };
        Self {
            crew: Crew::new("statfs", work),
            stuck: HashMap::new(),
        }
    }

    /// Queries every mount, and stores one answer for each in `answers`. Waits for mounts that do not answer for at most
    /// half of the time until the deadline, because other collectors may hang as well.
    pub fn probe(&mut self, targets: &[Target], answers: &mut Vec<Answer>, deadline: Deadline) {
        answers.clear();
        answers.resize(targets.len(), Answer::Stuck);
        // Mounts that have answered since then may be queried again.
        self.stuck
            .retain(|_, (batch, place)| batch.outcome(*place).is_none());
        for target in targets {
            target.answered.store(false, Ordering::Release);
        }
        let end = Deadline::after((deadline.left() / 2).min(PATIENCE));
        let free = |place: &usize| {
            let target = targets.get(*place);
            target.is_some_and(|target| !self.stuck.contains_key(&target.path))
        };
        let leads = |place: &usize| targets.get(*place).is_some_and(|target| target.leads);
        let (leaders, others): (Vec<usize>, Vec<usize>) =
            (0..targets.len()).filter(free).partition(leads);
        let turns = [leaders, others].concat();
        let mut waiting = self.ask(targets, &turns, answers, end);
        // Their first mounts were slow and answered while the others were queried.
        waiting.retain(|place| {
            let target = targets.get(*place);
            target.is_some_and(|target| target.answered.load(Ordering::Acquire))
        });
        self.ask(targets, &waiting, answers, end);
    }

    /// Queries the mounts at these positions. Returns those that wait for another one.
    fn ask(
        &mut self,
        targets: &[Target],
        turns: &[usize],
        answers: &mut [Answer],
        end: Deadline,
    ) -> Vec<usize> {
        let jobs: Vec<Target> = turns
            .iter()
            .filter_map(|place| targets.get(*place).cloned())
            .collect();
        let batch = self.crew.run(jobs, STEP, end);
        let mut waiting = Vec::new();
        for (job, place) in turns.iter().enumerate() {
            match batch.outcome(job) {
                Some(Reply::Waits) => waiting.push(*place),
                Some(Reply::Answer(answer)) => {
                    if let Some(slot) = answers.get_mut(*place) {
                        *slot = answer;
                    }
                }
                None if batch.was_begun(job) => {
                    if let Some(target) = targets.get(*place) {
                        let path = Arc::clone(&target.path);
                        self.stuck.insert(path, (Arc::clone(&batch), job));
                    }
                }
                None => {}
            }
        }
        waiting
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

    /// Mounts, each of its own file system.
    fn targets(names: &[&CStr]) -> Vec<Target> {
        let mounts = names.iter().enumerate();
        Target::of(
            mounts
                .map(|(place, name)| (Arc::from(*name), place))
                .collect(),
        )
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_millis(600))
    }

    /// Threads of this process that query mounts.
    fn threads() -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let name = |task: &std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
        let asks = |task: &std::fs::DirEntry| name(task).is_ok_and(|name| name.trim() == "statfs");
        tasks.filter(asks).count()
    }

    #[test]
    fn the_kernel_answers_or_refuses() {
        let mut answers = Vec::new();
        let targets = targets(&[c"/", c"/nonexistent", c"/proc"]);
        Prober::default().probe(&targets, &mut answers, Deadline::after(PATIENCE));
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
        let mut prober = Prober::with(ask);
        let targets = targets(&[c"/a", c"/dead", c"/b"]);
        let mut answers = Vec::new();
        for _ in 0..3 {
            prober.probe(&targets, &mut answers, soon());
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
            prober.probe(&targets, &mut answers, soon());
            if answers == [Answer::Size(SIZE); 3] {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the mount was not asked again: {answers:?}");
    }

    #[test]
    fn any_number_of_hanging_mounts_in_any_order_leaves_the_others_their_sizes() {
        let ask: Ask = |mount| {
            while mount.to_bytes().starts_with(b"/dead") {
                std::thread::park();
            }
            Ok(SIZE)
        };
        let mut prober = Prober::with(ask);
        // Every third of 120 mounts is sound; the hanging ones have 40 file systems, each mounted twice.
        let name = |n: usize| match n % 3 {
            0 => format!("/sound{n}"),
            1 => format!("/dead{n}"),
            _ => format!("/dead{}/below", n - 1),
        };
        let mounts = (0..120).map(|n| {
            let path = std::ffi::CString::new(name(n)).unwrap();
            (Arc::from(path), if n % 3 == 2 { n - 1 } else { n })
        });
        let targets = Target::of(mounts.collect());
        let before = threads();
        let mut answers = Vec::new();
        for _ in 0..3 {
            let begin = std::time::Instant::now();
            // A scrape timeout of one second leaves this much.
            prober.probe(
                &targets,
                &mut answers,
                Deadline::after(Duration::from_millis(700)),
            );
            assert!(begin.elapsed() < Duration::from_millis(700));
            for (n, answer) in answers.iter().enumerate() {
                let expected = match n % 3 {
                    0 => Answer::Size(SIZE),
                    _ => Answer::Stuck,
                };
                assert_eq!(*answer, expected, "{}", name(n));
            }
            assert_eq!(prober.stuck.len(), 40);
        }
        // Other tests have threads with the same name.
        assert!(threads() <= before + 45, "{} threads", threads());
    }

    #[test]
    fn a_slow_file_system_has_its_sizes_in_all_places() {
        let ask: Ask = |_| {
            std::thread::sleep(STEP * 3);
            Ok(SIZE)
        };
        let mounts = [c"/a", c"/a/b", c"/c"].map(|path| (Arc::from(path), 1));
        let mut answers = Vec::new();
        let end = Deadline::after(PATIENCE);
        Prober::with(ask).probe(&Target::of(mounts.into()), &mut answers, end);
        assert_eq!(answers, [Answer::Size(SIZE); 3]);
    }
}

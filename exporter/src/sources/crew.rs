//! Runs jobs that may never return, on threads that can be abandoned.
//!
//! Reading from an unreachable file server, a FUSE daemon or a broken device may block in the kernel, where it cannot be
//! interrupted. One thread works through a batch of jobs. If it makes no progress, other threads continue with the jobs after
//! the one that hangs, twice as many threads each time, so that any number of jobs that hang delays the others by only a few
//! steps. The caller that waits for the batch abandons threads that hang. It must not start the same job again before it has
//! returned; each job then holds one thread at most.

use std::fmt;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::deadline::Deadline;

/// Threads with a common name for one kind of job.
pub struct Crew<Job, Outcome> {
    name: &'static str,
    work: Arc<Work<Job, Outcome>>,
    /// The thread that starts each batch. It is kept between batches unless it hangs.
    first: Option<Sender<Arc<Batch<Job, Outcome>>>>,
}

type Work<Job, Outcome> = dyn Fn(&Job) -> Outcome + Send + Sync;

/// Jobs, started in order, and their results.
#[derive(Debug)]
pub struct Batch<Job, Outcome> {
    jobs: Vec<Job>,
    progress: Mutex<Progress<Outcome>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Progress<Outcome> {
    /// The next job to start.
    next: usize,
    outcomes: Vec<Option<Outcome>>,
    finished: usize,
    /// No further job is started.
    closed: bool,
    first_is_busy: bool,
}

impl<Job, Outcome> Crew<Job, Outcome>
where
    Job: Send + Sync + 'static,
    Outcome: Send + 'static,
{
    /// Creates a crew without threads; they are started when there is work.
    pub fn new(name: &'static str, work: impl Fn(&Job) -> Outcome + Send + Sync + 'static) -> Self {
        Self {
            name,
            work: Arc::new(work),
            first: None,
        }
    }

    /// Runs the jobs. Returns when all have ended, or at the end at the latest. More threads are started whenever no job
    /// ends for a `step`.
    pub fn run(
        &mut self,
        jobs: Vec<Job>,
        step: Duration,
        end: Deadline,
    ) -> Arc<Batch<Job, Outcome>> {
        let batch = Arc::new(Batch::new(jobs));
        if batch.jobs.is_empty() {
            return batch;
        }
        let kept = self.first.take();
        let Some(first) = kept
            .filter(|first| first.send(Arc::clone(&batch)).is_ok())
            .or_else(|| self.start_first(&batch))
        else {
            // The system cannot start a thread, so nothing can be done.
            return batch;
        };
        if batch.watch(step, end, |count| self.reinforce(&batch, count)) {
            self.first = Some(first);
        }
        batch
    }

    fn start_first(
        &self,
        batch: &Arc<Batch<Job, Outcome>>,
    ) -> Option<Sender<Arc<Batch<Job, Outcome>>>> {
        let (sender, inbox) = channel::<Arc<Batch<Job, Outcome>>>();
        let work = Arc::clone(&self.work);
        let run = move || {
            for batch in inbox {
                batch.work_through(&*work, true);
            }
        };
        let thread = std::thread::Builder::new().name(self.name.to_owned());
        thread.spawn(run).ok()?;
        sender.send(Arc::clone(batch)).ok()?;
        Some(sender)
    }

    fn reinforce(&self, batch: &Arc<Batch<Job, Outcome>>, count: usize) {
        for _ in 0..count {
            let (batch, work) = (Arc::clone(batch), Arc::clone(&self.work));
            let thread = std::thread::Builder::new().name(self.name.to_owned());
            // Without another thread the batch ends with the results so far.
            let _ = thread.spawn(move || batch.work_through(&*work, false));
        }
    }
}

impl<Job, Outcome> Batch<Job, Outcome> {
    fn new(jobs: Vec<Job>) -> Self {
        let outcomes = jobs.iter().map(|_| None).collect();
        Self {
            jobs,
            progress: Mutex::new(Progress {
                next: 0,
                outcomes,
                finished: 0,
                closed: false,
                first_is_busy: true,
            }),
            changed: Condvar::new(),
        }
    }

    /// Whether the job was started. A job that was started and has no result hangs.
    pub fn was_begun(&self, job: usize) -> bool {
        job < self.lock().next
    }

    /// The result of the job; `None` while it hangs, or if it was never started.
    pub fn outcome(&self, job: usize) -> Option<Outcome>
    where
        Outcome: Copy,
    {
        self.lock().outcomes.get(job).copied().flatten()
    }

    fn work_through(&self, work: &Work<Job, Outcome>, is_first: bool) {
        let mut done: Option<(usize, Outcome)> = None;
        loop {
            let mut progress = self.lock();
            if let Some((job, outcome)) = done.take() {
                progress.finished += 1;
                if let Some(slot) = progress.outcomes.get_mut(job) {
                    *slot = Some(outcome);
                }
            }
            let place = progress.next;
            let Some(job) = self.jobs.get(place).filter(|_| !progress.closed) else {
                if is_first {
                    progress.first_is_busy = false;
                }
                drop(progress);
                self.changed.notify_all();
                return;
            };
            progress.next += 1;
            drop(progress);
            done = Some((place, work(job)));
        }
    }

    /// Waits for all jobs. Returns whether the first thread is free.
    fn watch(&self, step: Duration, end: Deadline, reinforce: impl Fn(usize)) -> bool {
        let (mut seen, mut threads) = (0, 1);
        let mut look = Deadline::after(step);
        let mut progress = self.lock();
        while progress.finished < self.jobs.len() && !end.has_passed() {
            let pause = look.left().min(end.left());
            let woken = self.changed.wait_timeout(progress, pause);
            progress = woken.unwrap_or_else(PoisonError::into_inner).0;
            if !look.has_passed() {
                continue;
            }
            let waiting = self.jobs.len() - progress.next;
            if progress.next == seen && waiting > 0 {
                drop(progress);
                reinforce(threads.min(waiting));
                threads *= 2;
                progress = self.lock();
            }
            seen = progress.next;
            look = Deadline::after(step);
        }
        progress.closed = true;
        !progress.first_is_busy
    }

    fn lock(&self) -> MutexGuard<'_, Progress<Outcome>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Job, Outcome> fmt::Debug for Crew<Job, Outcome> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const STEP: Duration = Duration::from_millis(20);

    #[test]
    fn jobs_that_hang_delay_no_other_and_hold_one_thread_each() {
        let mut crew = Crew::new("crew-test", |job: &usize| {
            // Nine in ten hang.
            if job % 10 != 9 {
                loop {
                    std::thread::park();
                }
            }
            *job
        });
        let begin = Instant::now();
        let batch = crew.run((0..100).collect(), STEP, Deadline::after(STEP * 50));
        // It ends although ninety jobs hang.
        assert!(begin.elapsed() < STEP * 1000);
        for job in 0..100 {
            assert!(batch.was_begun(job), "{job}");
            assert_eq!(batch.outcome(job), (job % 10 == 9).then_some(job));
        }
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let name = |task: &std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
        let threads = tasks.filter(|task| name(task).is_ok_and(|name| name.trim() == "crew-test"));
        assert_eq!(threads.count(), 90);
    }

    #[test]
    fn one_thread_does_what_does_not_hang() {
        let mut crew = Crew::new("crew-kept", |_: &()| std::thread::current().id());
        let mut ids = Vec::new();
        for _ in 0..3 {
            let batch = crew.run(vec![(); 50], STEP * 100, Deadline::after(STEP * 500));
            ids.extend((0..50).map(|job| batch.outcome(job).unwrap()));
        }
        ids.dedup();
        assert_eq!(ids.len(), 1);
        assert!(
            !crew
                .run(Vec::new(), STEP, Deadline::after(STEP))
                .was_begun(0)
        );
    }

    #[test]
    fn what_comes_back_late_has_an_outcome_and_begins_nothing_more() {
        let mut crew = Crew::new("crew-late", |pause: &Duration| std::thread::sleep(*pause));
        let batch = crew.run(vec![STEP * 10, STEP], STEP * 100, Deadline::after(STEP));
        assert_eq!(batch.outcome(0), None);
        while batch.outcome(0).is_none() {
            std::thread::sleep(STEP);
        }
        std::thread::sleep(STEP * 3);
        assert!(!batch.was_begun(1));
    }
}

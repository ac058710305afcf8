//! Asks the exporters of every resource in the background. A pass takes what was heard: it never waits for an exporter, and
//! an exporter that does not answer causes no pass.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use kube::Client;
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::{Notify, Semaphore},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::{
    clock::sleep_until,
    names::Owner,
    observe::{
        agenda::{Agenda, Due, Evidence, Pace, Topic},
        api_error,
        pods::{ExporterPod, Pods, list},
    },
    rotation::evidence::Answer,
};

/// How many exporters of one resource are asked concurrently.
const AT_ONCE: usize = 64;
/// How many exporters of all resources are asked concurrently.
const AT_ONCE_IN_ALL: usize = 256;
/// How long an exporter may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the watch of the pods may take to begin. Without it, they are read for each resource.
const FIRST_LIST_PATIENCE: Duration = Duration::from_secs(2);
/// How often changed pods are looked at, at most: in a rollout, thousands change within seconds.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Asks one exporter; `None` if it does not answer.
pub type Ask = Arc<dyn Fn(SocketAddr) -> BoxFuture<'static, Option<Answer>> + Send + Sync>;

/// Prepares the questions to the exporters of a resource, with its credentials.
pub trait Interviewer: Send + Sync {
    /// Returns how to ask the exporters of the resource with this uid; `None` if that is not known, or not possible.
    fn prepare(&self, uid: &str) -> Option<Ask>;
}

/// What the background tasks need.
#[derive(Clone)]
pub struct Surroundings {
    /// Client for the API server.
    pub client: Client,
    /// The watched pods.
    pub pods: Arc<Pods>,
    /// Prepares the questions.
    pub interviewer: Arc<dyn Interviewer>,
    /// Asks for a pass over a resource, because something was heard.
    pub wake: Arc<dyn Fn(&Owner) + Send + Sync>,
    /// How often exporters are asked.
    pub pace: Pace,
}

/// The background tasks, one for each resource.
pub struct Prober {
    surroundings: Surroundings,
    permits: Arc<Semaphore>,
    tasks: Mutex<HashMap<String, Task>>,
}

struct Task {
    desk: Arc<Desk>,
    handle: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// What a task and the passes share.
struct Desk {
    owner: Owner,
    notes: Mutex<Notes>,
    changed: Notify,
}

struct Notes {
    agenda: Agenda,
    /// Whether the pods must be looked at again.
    is_dirty: bool,
    /// Whether a round was asked for that has not begun.
    wants_round: bool,
    /// Whether the questions must be prepared again.
    has_other_topic: bool,
    /// Why the pods could not be read.
    failure: Option<Arc<kube::Error>>,
}

impl Prober {
    /// Creates it without any task.
    pub fn new(surroundings: Surroundings) -> Self {
        Self {
            surroundings,
            permits: Arc::new(Semaphore::new(AT_ONCE_IN_ALL)),
            tasks: Mutex::default(),
        }
    }

    /// Returns what the exporters of this DaemonSet have answered; `None` if one of them has not been asked yet.
    ///
    /// # Errors
    /// The pods could not be read.
    pub fn heard(
        &self,
        owner: &Owner,
        daemon_set: &str,
    ) -> Result<Option<Evidence>, Arc<kube::Error>> {
        let Some(desk) = self.desk(owner) else {
            return Ok(None);
        };
        let notes = desk.notes.lock();
        match &notes.failure {
            Some(failure) => Err(failure.clone()),
            None if notes.agenda.topic().daemon_set != daemon_set => Ok(None),
            None => Ok(notes.agenda.evidence(Instant::now())),
        }
    }

    /// Whether it asks the exporters of a resource.
    pub fn is_at_work(&self, owner: &Owner) -> bool {
        let tasks = self.tasks.lock();
        tasks
            .get(&owner.uid)
            .is_some_and(|task| !task.handle.is_finished())
    }

    /// Asks the exporters of a resource from now on. `held` are the nodes that hold up a rotation; `None` if that is not
    /// known at the moment.
    pub fn direct(&self, owner: &Owner, topic: Topic, held: Option<BTreeSet<String>>) {
        let mut tasks = self.tasks.lock();
        // A task only ends by itself if it panicked.
        tasks.retain(|uid, task| *uid != owner.uid || !task.handle.is_finished());
        let task = tasks
            .entry(owner.uid.clone())
            .or_insert_with(|| self.begin(owner, topic.clone()));
        {
            let mut notes = task.desk.notes.lock();
            notes.has_other_topic |= *notes.agenda.topic() != topic;
            notes.is_dirty |= notes.agenda.direct(topic, held, Instant::now());
        }
        task.desk.changed.notify_one();
    }

    /// Asks all exporters of a resource once more, those in the pods that the API server lists now. A pass is asked for when
    /// all have been asked.
    pub fn confirm(&self, owner: &Owner) {
        if let Some(desk) = self.desk(owner) {
            let mut notes = desk.notes.lock();
            // A round that began again at each pass would never end.
            notes.wants_round |= !notes.agenda.is_in_round();
            drop(notes);
            desk.changed.notify_one();
        }
    }

    /// Takes note that the pods of a resource changed.
    pub fn pods_changed(&self, namespace: &str, name: &str) {
        let tasks = self.tasks.lock();
        let of_resource = tasks
            .values()
            .filter(|task| task.desk.owner.namespace == namespace && task.desk.owner.name == name);
        for task in of_resource {
            task.desk.notes.lock().is_dirty = true;
            task.desk.changed.notify_one();
        }
    }

    /// Ends the task of a resource, and forgets what it heard.
    pub fn forget(&self, uid: &str) {
        self.tasks.lock().remove(uid);
    }

    fn desk(&self, owner: &Owner) -> Option<Arc<Desk>> {
        let tasks = self.tasks.lock();
        let at_work = tasks
            .get(&owner.uid)
            .filter(|task| !task.handle.is_finished());
        at_work.map(|task| task.desk.clone())
    }

    fn begin(&self, owner: &Owner, topic: Topic) -> Task {
        let desk = Arc::new(Desk {
            owner: owner.clone(),
            notes: Mutex::new(Notes {
                agenda: Agenda::new(topic, self.surroundings.pace),
                is_dirty: true,
                wants_round: false,
                has_other_topic: false,
                failure: None,
            }),
            changed: Notify::new(),
        });
        let patience = match self.surroundings.pods.is_watched(owner) {
            true => Duration::ZERO,
            false => FIRST_LIST_PATIENCE,
        };
        let work = Work {
            surroundings: self.surroundings.clone(),
            permits: self.permits.clone(),
            desk: desk.clone(),
            running: JoinSet::new(),
            ask: None,
            look_at: Instant::now() + patience,
            ask_at: Instant::now(),
        };
        Task {
            desk,
            handle: tokio::spawn(work.run()),
        }
    }
}

/// The work of one task.
struct Work {
    surroundings: Surroundings,
    permits: Arc<Semaphore>,
    desk: Arc<Desk>,
    running: JoinSet<Asked>,
    /// Kept only while exporters are asked: it contains credentials.
    ask: Option<Ask>,
    /// When the pods may be looked at again.
    look_at: Instant,
    /// When exporters may be asked again.
    ask_at: Instant,
}

/// The outcome of a question.
struct Asked {
    pod: String,
    sent: Instant,
    answer: Option<Answer>,
}

impl Work {
    async fn run(mut self) {
        loop {
            self.look_at_pods().await;
            self.ask_next();
            if self.running.is_empty() {
                self.ask = None;
            }
            let desk = self.desk.clone();
            let next = self.next_look();
            tokio::select! {
                Some(asked) = self.running.join_next() => {
                    if let Ok(asked) = asked {
                        self.note(asked);
                    }
                }
                () = desk.changed.notified() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// Reads the pods if they changed, and from the API server for a round, or if the watch does not show them.
    async fn look_at_pods(&mut self) {
        let now = Instant::now();
        let wants_round = {
            let mut notes = self.notes();
            if !notes.wants_round && (!notes.is_dirty || now < self.look_at) {
                return;
            }
            // Before the pods are read, so that no later change is missed.
            notes.is_dirty = false;
            std::mem::take(&mut notes.wants_round)
        };
        let (pods, client) = (&self.surroundings.pods, &self.surroundings.client);
        let watched = pods.watched(&self.desk.owner).filter(|_| !wants_round);
        let is_watched = watched.is_some();
        let read = match watched {
            Some(pods) => Ok(pods),
            None => list(client, &self.desk.owner).await,
        };
        let is_news = self.meet(read, wants_round);
        let pace = self.surroundings.pace;
        let is_read = self.notes().failure.is_none();
        self.look_at = Instant::now()
            + match (is_watched || wants_round, is_read) {
                (true, true) => LOOK_INTERVAL,
                // Nothing tells of changes.
                (false, true) => pace.soon,
                (_, false) => pace.awaited,
            };
        if is_news {
            (self.surroundings.wake)(&self.desk.owner);
        }
    }

    /// Returns whether a pass should look at the evidence.
    fn meet(&self, read: Result<Vec<Arc<ExporterPod>>, kube::Error>, begins_round: bool) -> bool {
        let mut notes = self.notes();
        if begins_round {
            // The answers must be to questions from now.
            notes.has_other_topic = true;
        }
        match read {
            Ok(pods) => {
                let now = Instant::now();
                // Without a watch, they are read again after a while.
                notes.is_dirty |= !self.surroundings.pods.is_watched(&self.desk.owner);
                let had_failed = notes.failure.take().is_some();
                let is_news = notes.agenda.meet(&pods, now);
                let is_over = begins_round && notes.agenda.begin_round(now);
                is_news || is_over || had_failed
            }
            Err(error) => {
                let error_text = api_error::text(&error);
                tracing::debug!(error = error_text, "cannot read the pods of a DaemonSet");
                notes.is_dirty = true;
                notes.failure.replace(Arc::new(error)).is_none()
            }
        }
    }

    /// Asks as many exporters as may be asked concurrently.
    fn ask_next(&mut self) {
        if std::mem::take(&mut self.notes().has_other_topic) {
            self.ask = None;
        }
        let (free, now) = (AT_ONCE.saturating_sub(self.running.len()), Instant::now());
        if free == 0 || now < self.ask_at {
            return;
        }
        let due = self.notes().agenda.take_due(free, now);
        if due.is_empty() {
            return;
        }
        if self.ask.is_none() {
            self.ask = self.surroundings.interviewer.prepare(&self.desk.owner.uid);
        }
        let Some(ask) = self.ask.clone() else {
            let mut notes = self.notes();
            for one in &due {
                notes.agenda.put_back(&one.pod);
            }
            drop(notes);
            self.ask_at = now + self.surroundings.pace.awaited;
            return;
        };
        for one in due {
            let asked = ask_one(ask.clone(), self.permits.clone(), one);
            self.running.spawn(asked);
        }
    }

    fn note(&self, asked: Asked) {
        let Asked { pod, sent, answer } = asked;
        let is_news = self
            .notes()
            .agenda
            .answered(&pod, sent, answer, Instant::now());
        if is_news {
            (self.surroundings.wake)(&self.desk.owner);
        }
    }

    /// Returns when there is something to do, if nothing happens until then.
    fn next_look(&self) -> Option<Instant> {
        let now = Instant::now();
        let notes = self.notes();
        let look = notes.is_dirty.then_some(self.look_at);
        let may_ask = self.running.len() < AT_ONCE;
        let ask = notes.agenda.next_due(now).filter(|_| may_ask);
        let ask = ask.map(|ask| ask.max(self.ask_at));
        look.into_iter().chain(ask).min()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.desk.notes.lock()
    }
}

async fn ask_one(ask: Ask, permits: Arc<Semaphore>, due: Due) -> Asked {
    // It is never closed.
    let _permit = permits.acquire().await;
    let sent = Instant::now();
    // An exporter whose question panicked would count as being asked for ever.
    let asked = AssertUnwindSafe(async { ask(due.address).await }).catch_unwind();
    let answer = timeout(PATIENCE, asked).await.ok().and_then(Result::ok);
    Asked {
        pod: due.pod,
        sent,
        answer: answer.flatten(),
    }
}

#[cfg(test)]
mod tests;

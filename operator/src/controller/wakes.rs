//! Asks for passes: not for one at each of many changes in a row.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::{Duration, Instant},
};

use futures::{Stream, stream};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{clock::sleep_until, names::Owner, observe::pods::ResourceName};

/// How long after a pass was asked for the next one is, at the earliest. In a rollout, thousands of pods change within minutes.
const PAUSE: Duration = Duration::from_secs(3);

/// Asks for passes over the resources of the watched namespaces.
#[derive(Debug, Default)]
pub struct Wakes {
    /// By namespace; `None` is all namespaces.
    watches: Mutex<HashMap<Option<String>, UnboundedSender<ResourceName>>>,
    /// How often a pass was asked for, by resource.
    news: Mutex<HashMap<ResourceName, u64>>,
}

impl Wakes {
    /// Asks for a pass over a resource. Nobody hears it if its namespace is not watched.
    pub fn wake(&self, namespace: &str, name: &str) {
        let resource = (namespace.to_owned(), name.to_owned());
        *self.news.lock().entry(resource.clone()).or_default() += 1;
        let watches = self.watches.lock();
        let own = watches.get(&Some(namespace.to_owned()));
        if let Some(watch) = own.or_else(|| watches.get(&None)) {
            // A watch that has just ended needs no pass.
            let _ = watch.send(resource);
        }
    }

    /// Returns how often a pass over a resource was asked for. If a pass finds that nothing is left to do, and this number is as
    /// it was before the pass read anything, then nothing has happened since.
    pub fn news(&self, owner: &Owner) -> u64 {
        let resource = (owner.namespace.clone(), owner.name.clone());
        self.news.lock().get(&resource).copied().unwrap_or_default()
    }

    /// Forgets a deleted resource.
    pub fn forget(&self, owner: &Owner) {
        let resource = (owner.namespace.clone(), owner.name.clone());
        self.news.lock().remove(&resource);
    }

    /// Forgets the resources that do not exist any more. Events of their generated objects and pods come after them.
    pub fn keep(&self, exists: impl Fn(&str, &str) -> bool) {
        let mut news = self.news.lock();
        news.retain(|(namespace, name), _| exists(namespace, name));
    }

    /// Returns the resources of one namespace, or of all, over which a pass is asked for.
    pub fn listen(&self, namespace: Option<&str>) -> impl Stream<Item = ResourceName> + use<> {
        let (sender, receiver) = unbounded_channel();
        let namespace = namespace.map(str::to_owned);
        self.watches.lock().insert(namespace, sender);
        spaced(receiver)
    }
}

/// The first of many wakes at once, and the others together after the pause.
fn spaced(receiver: UnboundedReceiver<ResourceName>) -> impl Stream<Item = ResourceName> {
    let waiting = Waiting {
        receiver,
        recent: HashMap::new(),
        due: BTreeSet::new(),
        pending: HashSet::new(),
    };
    stream::unfold(waiting, async |mut waiting| {
        let next = waiting.next().await?;
        Some((next, waiting))
    })
}

struct Waiting {
    receiver: UnboundedReceiver<ResourceName>,
    /// When each was woken last.
    recent: HashMap<ResourceName, Instant>,
    due: BTreeSet<(Instant, ResourceName)>,
    pending: HashSet<ResourceName>,
}

impl Waiting {
    async fn next(&mut self) -> Option<ResourceName> {
        loop {
            let now = Instant::now();
            if let Some((due, _)) = self.due.first()
                && *due <= now
                && let Some((_, resource)) = self.due.pop_first()
            {
                self.pending.remove(&resource);
                self.recent.retain(|_, woken| now - *woken < PAUSE);
                self.recent.insert(resource.clone(), now);
                return Some(resource);
            }
            let next = self.due.first().map(|(due, _)| *due);
            tokio::select! {
                woken = self.receiver.recv() => self.add(woken?, Instant::now()),
                () = sleep_until(next) => {}
            }
        }
    }

    fn add(&mut self, resource: ResourceName, now: Instant) {
        if !self.pending.insert(resource.clone()) {
            return;
        }
        let woken = self.recent.get(&resource);
        let due = woken.map_or(now, |woken| now.max(*woken + PAUSE));
        self.due.insert((due, resource));
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::StreamExt;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn many_changes_in_a_row_are_two_passes() {
        let wakes = Wakes::default();
        let mut woken = pin!(wakes.listen(Some("monitoring")));
        for _ in 0..1000 {
            wakes.wake("monitoring", "nodes");
        }
        wakes.wake("elsewhere", "nodes");
        let begin = Instant::now();
        let nodes = ("monitoring".to_owned(), "nodes".to_owned());
        assert_eq!(woken.next().await, Some(nodes.clone()));
        assert!(begin.elapsed() < PAUSE / 2, "the first one waits");
        wakes.wake("monitoring", "other");
        let other = ("monitoring".to_owned(), "other".to_owned());
        assert_eq!(woken.next().await, Some(other), "it waits for another");
        assert!(begin.elapsed() < PAUSE / 2);

        for _ in 0..1000 {
            wakes.wake("monitoring", "nodes");
        }
        assert_eq!(woken.next().await, Some(nodes));
        assert!(begin.elapsed() >= PAUSE);
        assert!(timeout(PAUSE, woken.next()).await.is_err(), "a third one");
    }
}

//! The connections that are open: so many at a time, and nobody keeps a newcomer out.
//!
//! Anybody can open connections and say nothing, or, where there are no users, ask for something and then say nothing. When
//! all places are taken, the next connection gets the place of one whose client has not shown credentials; without any such,
//! that of an authenticated one between two requests. It is the longest idle one of the network that holds the most. So a
//! scraper gets in at once, and loses its place only to more connections from its own network.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::activity::Activity;
use super::prefix::Prefix;

/// How often a newcomer looks again for a connection that could make room, where all were being answered.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// All open connections. Clones share them.
#[derive(Clone)]
pub(super) struct Connections {
    places: Arc<Semaphore>,
    limit: u32,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    next: u64,
    /// In the order in which they came.
    by_number: BTreeMap<u64, (Prefix, Arc<Activity>)>,
}

/// A connection's place, given back when dropped.
pub(super) struct Place {
    number: u64,
    open: Arc<Mutex<Open>>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limit as usize)),
            limit,
            open: Arc::default(),
        }
    }

    /// A place for a connection that has been accepted, as soon as there is one. `None` would be the end of all places,
    /// which nobody declares.
    pub(super) async fn place(&self, address: IpAddr, activity: Arc<Activity>) -> Option<Place> {
        let permit = loop {
            if let Ok(permit) = self.places.clone().try_acquire_owned() {
                break permit;
            }
            self.make_room();
            let place = self.places.clone().acquire_owned();
            if let Ok(permit) = tokio::time::timeout(LOOK_AGAIN, place).await {
                break permit.ok()?;
            }
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.next;
        open.next += 1;
        open.by_number.insert(number, (address.into(), activity));
        Some(Place {
            number,
            open: self.open.clone(),
            _permit: permit,
        })
    }

    /// Waits until all connections have ended; false if they have not by then.
    pub(super) async fn ended(&self, deadline: Duration) -> bool {
        let all = self.places.acquire_many(self.limit);
        tokio::time::timeout(deadline, all).await.is_ok()
    }

    /// Ends one connection for a newcomer, unless all are being answered.
    pub(super) fn make_room(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, activity)) = open
            .dispensable()
            .and_then(|number| open.by_number.remove(&number))
        {
            activity.evict();
        }
    }
}

impl Open {
    /// Which one has to go.
    fn dispensable(&self) -> Option<u64> {
        let candidates: Vec<_> = self
            .by_number
            .iter()
            .filter_map(|(number, (prefix, activity))| {
                let (eviction, since) = activity.eviction()?;
                Some((eviction, *prefix, since, *number))
            })
            .collect();
        let readiest = candidates.iter().map(|(eviction, ..)| *eviction).min()?;
        let readiest = || candidates.iter().filter(|(one, ..)| *one == readiest);
        let mut counts: HashMap<Prefix, usize> = HashMap::new();
        for (_, prefix, ..) in readiest() {
            *counts.entry(*prefix).or_default() += 1;
        }
        let most = counts.values().copied().max()?;
        readiest()
            .filter(|(_, prefix, ..)| counts.get(prefix) == Some(&most))
            .min_by_key(|(_, _, since, number)| (*since, *number))
            .map(|(.., number)| *number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .by_number
            .remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn peer(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
    }

    #[tokio::test]
    async fn the_longest_idle_of_the_fullest_network_makes_room() {
        let connections = Connections::new(6);
        let mut places = Vec::new();
        let mut activities = Vec::new();
        for last in [1, 1, 2, 2, 2, 1] {
            let activity = Activity::new();
            places.push(connections.place(peer(last), activity.clone()).await);
            activities.push(activity);
        }
        drop(activities[0].admit(true));
        let answered = activities[2].admit(false);
        // Two that may go are left of each network; the first of all is number 1.
        let found = || connections.open.lock().unwrap().dispensable();
        assert_eq!(found(), Some(1));
        drop(answered);
        assert_eq!(found(), Some(2));
        // With credentials, or without being asked for any, it has been idle for the shortest time.
        drop(activities[2].begin(false));
        assert_eq!(found(), Some(3));
        for activity in &activities {
            drop(activity.admit(true));
        }
        assert_eq!(found(), Some(0));
        let answered = activities[0].begin(false);
        assert_eq!(found(), Some(3));
        let all: Vec<_> = activities.iter().map(|one| one.begin(false)).collect();
        assert_eq!(found(), None);
        drop((answered, all));
    }

    #[tokio::test]
    async fn a_network_of_ipv6_counts_as_one() {
        let connections = Connections::new(3);
        let mut places = Vec::new();
        for address in ["2001:db8:1::1", "2001:db8:2::1", "2001:db8:2::2"] {
            let address = address.parse().unwrap();
            places.push(connections.place(address, Activity::new()).await);
        }
        assert_eq!(connections.open.lock().unwrap().dispensable(), Some(1));
    }

    #[tokio::test]
    async fn a_newcomer_gets_the_place_of_the_first_that_has_its_answer() {
        let connections = Connections::new(1);
        let activity = Activity::new();
        let place = connections.place(peer(1), activity.clone()).await;
        let answered = activity.admit(false);
        let newcomer = tokio::spawn({
            let connections = connections.clone();
            async move { connections.place(peer(2), Activity::new()).await }
        });
        tokio::time::sleep(2 * LOOK_AGAIN).await;
        assert!(!newcomer.is_finished());
        drop(answered);
        activity.evicted().await;
        drop(place);
        assert!(newcomer.await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_newcomer_waits_for_the_place_of_who_is_evicted() {
        let connections = Connections::new(1);
        let stranger = Activity::new();
        let place = connections.place(peer(1), stranger.clone()).await;
        let newcomer = tokio::spawn({
            let connections = connections.clone();
            async move { connections.place(peer(2), Activity::new()).await }
        });
        stranger.evicted().await;
        assert!(!newcomer.is_finished());
        drop(place);
        let place = newcomer.await.unwrap();
        assert!(place.is_some());
        assert!(!connections.ended(Duration::from_millis(10)).await);
        drop(place);
        assert!(connections.ended(Duration::from_secs(10)).await);
    }
}

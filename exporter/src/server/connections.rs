//! The open connections: their number is limited, and no client can keep new ones out.
//!
//! Any client can open connections and leave them idle. When the limit is reached, a new connection replaces one of a client
//! that has not shown credentials, or else one of an authenticated client that is between two requests. The connection that is
//! closed is the longest idle one of the network that holds the most. A scraper therefore connects at once, and only loses its
//! connection to more connections from its own network.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::activity::Activity;
use super::prefix::Prefix;

/// How often a new connection looks again for one that can be closed, if requests were being answered on all of them.
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
    /// In the order in which they were opened.
    by_number: BTreeMap<u64, (Prefix, Arc<Activity>)>,
}

/// A connection's place, which is released when this is dropped.
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

    /// Waits for a place for an accepted connection. `None` would mean that there are no more places at all, which never
    /// happens.
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

    /// Closes one connection for a new one, unless all are being answered.
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
    /// Selects the connection to close.
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
        // Two closable connections are left of each network; the first of all is number 1.
        let found = || connections.open.lock().unwrap().dispensable();
        assert_eq!(found(), Some(1));
        drop(answered);
        assert_eq!(found(), Some(2));
        // It is authenticated, or no authentication is required, but it has been idle for the shortest time.
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
    async fn a_new_connection_replaces_the_first_one_whose_request_is_answered() {
        let connections = Connections::new(1);
        let activity = Activity::new();
        let place = connections.place(peer(1), activity.clone()).await;
        let answered = activity.admit(false);
        let new_connection = tokio::spawn({
            let connections = connections.clone();
            async move { connections.place(peer(2), Activity::new()).await }
        });
        tokio::time::sleep(2 * LOOK_AGAIN).await;
        assert!(!new_connection.is_finished());
        drop(answered);
        activity.evicted().await;
        drop(place);
        assert!(new_connection.await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_new_connection_waits_for_the_end_of_the_one_it_replaces() {
        let connections = Connections::new(1);
        let idle = Activity::new();
        let place = connections.place(peer(1), idle.clone()).await;
        let new_connection = tokio::spawn({
            let connections = connections.clone();
            async move { connections.place(peer(2), Activity::new()).await }
        });
        idle.evicted().await;
        assert!(!new_connection.is_finished());
        drop(place);
        let place = new_connection.await.unwrap();
        assert!(place.is_some());
        assert!(!connections.ended(Duration::from_millis(10)).await);
        drop(place);
        assert!(connections.ended(Duration::from_secs(10)).await);
    }
}

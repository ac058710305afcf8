//! The connections that are open: so many at a time, and no stranger keeps a newcomer out.
//!
//! Anybody can open connections and say nothing. When all places are taken, the next connection gets the place of a
//! stranger, who has not shown credentials and waits for no answer: the one that came first of the address that holds
//! the most. So a scraper gets in at once, and loses its place only to more strangers from its own address.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::Activity;

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
    by_number: BTreeMap<u64, (IpAddr, Arc<Activity>)>,
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
        let permit = match self.places.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.evict_stranger();
                self.places.clone().acquire_owned().await.ok()?
            }
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.next;
        open.next += 1;
        open.by_number.insert(number, (address, activity));
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

    /// Lets one go for a newcomer, whose place it is from then on.
    fn evict_stranger(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, activity)) = open
            .stranger()
            .and_then(|number| open.by_number.remove(&number))
        {
            activity.evict();
        }
    }
}

impl Open {
    /// Who has to go. Friends, and those who are being answered, stay.
    fn stranger(&self) -> Option<u64> {
        let strangers = || {
            self.by_number
                .iter()
                .filter(|(_, (_, activity))| activity.is_idle_stranger())
        };
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for (_, (address, _)) in strangers() {
            *counts.entry(*address).or_default() += 1;
        }
        let most = counts.values().copied().max()?;
        strangers()
            .find(|(_, (address, _))| counts.get(address) == Some(&most))
            .map(|(number, _)| *number)
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
    async fn the_first_stranger_of_the_fullest_address_makes_room() {
        let connections = Connections::new(6);
        let mut places = Vec::new();
        let mut activities = Vec::new();
        for last in [1, 1, 2, 2, 2, 1] {
            let activity = Activity::new();
            places.push(connections.place(peer(last), activity.clone()).await);
            activities.push(activity);
        }
        activities[0].is_a_friend();
        let answered = activities[2].begin();
        // Two strangers at rest are left of each address; the first of all is number 1.
        let found = || connections.open.lock().unwrap().stranger();
        assert_eq!(found(), Some(1));
        drop(answered);
        assert_eq!(found(), Some(2));
        for activity in &activities {
            activity.is_a_friend();
        }
        assert_eq!(found(), None);
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

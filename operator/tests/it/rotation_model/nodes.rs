//! The nodes and scrapers of the model: what reaches them late, and whether each scrape works.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::{DEAF_LAG, Health, KUBELET_LAG, Node, OVERLAP, SCRAPER_LAG, World, own::RESIDENT};

impl World {
    pub(super) fn scrape(&mut self) -> Result<(), String> {
        let now = self.now;
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if node.health == Health::CutOff {
                continue;
            }
            let late = SignedDuration::from_mins(KUBELET_LAG as i64);
            let was_away =
                node.health == Health::Frozen || now.duration_since(node.well_since) <= late;
            // Its node was gone for longer than a certificate lives; scrapers change to the next client certificate an
            // overlap earlier.
            let overlap = match self.spec.methods.ask_certificate() {
                true => SignedDuration::from_mins(OVERLAP),
                false => SignedDuration::ZERO,
            };
            if node.served.end - overlap <= now && was_away {
                continue;
            }
            // It was there from the beginning, and nobody ever removed it.
            if self.spec.methods.ask_password() && !node.served.users.contains(RESIDENT) {
                return Err(format!("{now}: node {index}: {RESIDENT} is refused"));
            }
            for scraper in &self.scrapers {
                if self.distrusted.excuses(node, scraper) {
                    continue;
                }
                node.served
                    .meets(&scraper.given, now)
                    .map_err(|why| format!("{now}: node {index} ({:?}): {why}", node.health))?;
                if let Some(hash) = node.served.hash_of(&scraper.given.password) {
                    node.used.insert(hash, now);
                }
            }
        }
        Ok(())
    }

    pub(super) fn deafen(&mut self, node: u8) {
        let now = self.now;
        let node = self.node(node);
        if node.health == Health::Well {
            node.health = Health::Deaf;
            let latest = now + SignedDuration::from_mins(DEAF_LAG as i64);
            node.delivery = node.delivery.map(|time| time.min(latest));
        }
    }

    pub(super) fn schedule(&mut self) {
        let (served, given) = (self.store.served(), self.store.given());
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            if served.is_some() && served.as_ref() != Some(&node.served) && node.delivery.is_none()
            {
                let lag = match node.health {
                    Health::Deaf => self.roll(DEAF_LAG),
                    _ if self.is_blind() => self.roll(DEAF_LAG),
                    _ => self.roll(KUBELET_LAG),
                };
                self.nodes[index].delivery = Some(self.now + lag);
            }
        }
        for index in 0..self.scrapers.len() {
            let scraper = &self.scrapers[index];
            if given.is_some()
                && given.as_ref() != Some(&scraper.given)
                && scraper.delivery.is_none()
            {
                self.scrapers[index].delivery = Some(self.now + self.roll(SCRAPER_LAG));
            }
        }
    }

    pub(super) fn deliver(&mut self) {
        let (served, given) = (self.store.served(), self.store.given());
        let (server, scrape) = (
            self.store.server_generation(),
            self.store.scrape_generation(),
        );
        for node in &mut self.nodes {
            let follows = matches!(node.health, Health::Well | Health::Deaf);
            if follows && node.delivery.is_some_and(|time| time <= self.now) {
                node.delivery = None;
                node.served = served.clone().unwrap_or_else(|| node.served.clone());
                node.used
                    .retain(|hash, _| node.served.hashes.contains(hash));
            }
            if Some(&node.served) == served.as_ref() {
                node.generation = server;
            }
        }
        for scraper in &mut self.scrapers {
            if scraper.delivery.is_some_and(|time| time <= self.now) {
                scraper.delivery = None;
                scraper.given = given.clone().unwrap_or_else(|| scraper.given.clone());
            }
            if Some(&scraper.given) == given.as_ref() {
                scraper.generation = scrape;
            }
        }
    }

    pub(super) fn node(&mut self, index: u8) -> &mut Node {
        let count = self.nodes.len();
        &mut self.nodes[usize::from(index) % count]
    }

    /// A node with an exporter that starts with what is published.
    pub(super) fn join(&mut self) {
        let Some(served) = self.store.served() else {
            return;
        };
        self.joined += 1;
        self.nodes.push(Node {
            name: self.joined,
            daemon_set: self.daemon_set,
            health: Health::Well,
            served,
            generation: self.store.server_generation(),
            delivery: None,
            started: self.now,
            used: BTreeMap::new(),
            heard: self.now,
            well_since: self.now,
        });
    }

    /// Exporters of an earlier DaemonSet are replaced one by one; the new one starts with what is published.
    pub(super) fn replace_exporters(&mut self) {
        let (daemon_set, now) = (self.daemon_set, self.now);
        let generation = self.store.server_generation();
        let Some(served) = self.store.served() else {
            return;
        };
        for index in 0..self.nodes.len() {
            let is_due = self.roll(4) == SignedDuration::ZERO;
            let node = &mut self.nodes[index];
            let is_reached = matches!(node.health, Health::Well | Health::Deaf);
            if node.daemon_set != daemon_set && is_reached && is_due {
                node.daemon_set = daemon_set;
                node.served = served.clone();
                node.generation = generation;
                node.delivery = None;
                node.started = now;
                node.heard = now;
                node.used.clear();
            }
        }
    }
}

//! A model of a cluster in the middle of rotations: API server, operator, nodes with their kubelets, and scrapers, each
//! late in its own way. The machine, the rendering and the rebuilding are the real ones; only the world is a model.
//!
//! A step of time is a minute. In each, every scraper scrapes every exporter that can be reached: a pair that does not
//! work ends the run.

mod asked_for;
mod broken;
mod distrust;
mod event;
mod hear;
pub mod issuer;
mod mutant;
mod nodes;
mod operator;
pub mod orders;
mod own;
mod published;
mod reads;
mod writes;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use secure_exporter_operator::{
    names::{ChildKind, DISTRUST_ANNOTATION, Owner, ROTATE_ANNOTATION},
    rotation::{
        annotations::Requests,
        recall::{Memory, Stored},
        state::State,
        timing::Timers,
    },
    spec::{ValidSpec, issuer::ValidIssuer, methods::Methods},
};

use asked_for::spec;
use distrust::{Distrusted, Leaked};
pub use event::Event;
use issuer::Issuer;
pub use mutant::Mutant;
use orders::Orders;
use own::OwnSecrets;
use published::{Given, Served, Store};
use reads::Unreadable;

const OVERLAP: i64 = 60;
/// Longest lag of a scraper: less than the overlap, which is the bound that the promise has.
const SCRAPER_LAG: u64 = 55;
/// Longest lag of a kubelet whose exporter answers: longer than every timer.
const KUBELET_LAG: u64 = 150;
/// Longest lag of a kubelet whose exporter cannot be asked: less than `blind_wait`.
const DEAF_LAG: u64 = 25;

/// More nodes than these teach nothing.
const MOST_NODES: usize = 6;

/// How long the operator may be away: less than what is left of a certificate when it is renewed.
const LONGEST_ABSENCE: u64 = 90;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Health {
    Well,
    Frozen,
    CutOff,
    Deaf,
}

struct Node {
    name: u32,
    /// Which DaemonSet its exporter belongs to.
    daemon_set: u32,
    health: Health,
    served: Served,
    /// The generation of the state that this is of, or a later one that brought nothing else.
    generation: u64,
    /// When its kubelet brings what is published by then.
    delivery: Option<Timestamp>,
    started: Timestamp,
    used: BTreeMap<String, Timestamp>,
    /// When the operator that runs heard of it last, it was not ready, or it began to ask.
    heard: Timestamp,
    well_since: Timestamp,
}

struct Scraper {
    given: Given,
    /// As of a node.
    generation: u64,
    delivery: Option<Timestamp>,
}

/// Where the certificate comes from.
#[derive(Clone, Copy)]
enum Signer {
    Operator,
    Person,
    CertManager,
}

/// The world.
pub struct World {
    now: Timestamp,
    /// By how much the operator's clock is wrong, and how often it has jumped.
    clock_offset: SignedDuration,
    clock_jumps: u64,
    mutant: Mutant,
    spec: ValidSpec,
    owner: Owner,
    timers: Timers,
    /// Whether the resource's spec can be accepted.
    is_valid: bool,
    /// Which object is refused, and until when.
    refused: Option<(ChildKind, Timestamp)>,
    /// Which DaemonSet there is, and from when its controller has looked at it.
    daemon_set: u32,
    daemon_set_seen: Timestamp,
    annotations: BTreeMap<String, String>,
    requests: Requests,
    distrusted: Distrusted,
    leaked: Leaked,
    issuer: Option<Issuer>,
    orders: Option<Orders>,
    asked: u32,
    own: OwnSecrets,
    /// What the status says was acted on.
    handled: BTreeMap<String, String>,
    /// Whether a restored state was not looked at yet: that is a loss, and the promise is about one at a time.
    restored: bool,
    store: Store,
    history: Vec<Stored>,
    /// Of which object the next pass sees an old version.
    stale: Option<ChildKind>,
    /// What cannot be read, and until when.
    unread: Option<(Unreadable, Timestamp)>,
    running: bool,
    back: Timestamp,
    kill_after: Option<u8>,
    memory: Option<Memory>,
    nodes: Vec<Node>,
    scrapers: Vec<Scraper>,
    dice: u64,
    joined: u32,
}

impl World {
    /// A cluster whose exporters and scrapers have what the first pass published.
    pub fn new(nodes: usize, methods: Methods, mutant: Mutant, seed: u64) -> Self {
        Self::begin(nodes, methods, mutant, seed, Signer::Operator)
    }

    /// The same, and the certificate comes from somebody else.
    pub fn with_issuer(nodes: usize, mutant: Mutant, seed: u64) -> Self {
        Self::begin(nodes, Methods::Password, mutant, seed, Signer::Person)
    }

    /// The same, and the certificate is ordered.
    pub fn with_orders(nodes: usize, mutant: Mutant, seed: u64) -> Self {
        Self::begin(nodes, Methods::Password, mutant, seed, Signer::CertManager)
    }

    fn begin(nodes: usize, methods: Methods, mutant: Mutant, seed: u64, signer: Signer) -> Self {
        let owner = Owner {
            name: "nodes".into(),
            namespace: "monitoring".into(),
            uid: "u".into(),
        };
        let now: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        let minutes = SignedDuration::from_mins;
        let mut world = Self {
            now,
            clock_offset: SignedDuration::ZERO,
            clock_jumps: 0,
            mutant: Mutant::Sound,
            spec: spec(&owner, methods),
            owner,
            timers: Timers {
                trust_soak: minutes(5),
                accept_soak: minutes(2),
                blind_wait: minutes(30),
                unused_for: minutes(20),
                minimum_overlap: minutes(1),
                probe_interval: minutes(1),
                sample_interval: minutes(1),
                request_retry: minutes(1),
            },
            is_valid: true,
            refused: None,
            daemon_set: 0,
            daemon_set_seen: now,
            annotations: BTreeMap::new(),
            requests: Requests::default(),
            distrusted: Distrusted::default(),
            leaked: Leaked::default(),
            issuer: None,
            orders: None,
            asked: 0,
            own: OwnSecrets::new(),
            handled: BTreeMap::new(),
            restored: false,
            store: Store::default(),
            history: Vec::new(),
            stale: None,
            unread: None,
            running: true,
            back: now,
            kill_after: None,
            memory: None,
            nodes: Vec::new(),
            scrapers: Vec::new(),
            dice: seed | 1,
            joined: 0,
        };
        match signer {
            Signer::Operator => {}
            Signer::Person => {
                world.issuer = Some(Issuer::new(&world.spec, now));
                world.spec.issuer = issuer::provided();
            }
            Signer::CertManager => {
                world.orders = Some(Orders::new());
                world.spec.issuer = orders::cert_manager();
            }
        }
        let given = loop {
            world.operate().unwrap();
            if let Some(given) = world.store.given() {
                break given;
            }
            world.now += minutes(1);
            world.answer_orders();
        };
        (0..nodes).for_each(|_| world.join());
        // It breaks from here on: a cluster that never began to work proves nothing.
        world.mutant = mutant;
        world.scrapers = (0..2)
            .map(|_| Scraper {
                given: given.clone(),
                generation: world.store.scrape_generation(),
                delivery: None,
            })
            .collect();
        world
    }

    /// Requests a rotation by annotation, with this value.
    pub fn request(&mut self, value: &str) {
        self.annotate(ROTATE_ANNOTATION, value);
    }

    /// Ends the trust in what has leaked, by annotation.
    pub fn distrust(&mut self, value: &str) {
        self.annotate(DISTRUST_ANNOTATION, value);
    }

    fn annotate(&mut self, annotation: &str, value: &str) {
        self.annotations
            .insert(annotation.to_owned(), value.to_owned());
        self.requests = Requests::read(Some(&self.annotations));
    }

    /// Loses the text of every password, as with the state and the Secret that scrapers mount.
    pub fn lose_password(&mut self) {
        self.memory = None;
        let mut stored = self.store.state.get().unwrap().clone();
        let passwords = &mut stored.state.as_mut().unwrap().passwords;
        passwords.values_mut().for_each(|it| it.password = None);
        self.store.state.set(Some(stored));
    }

    /// What the resource asks for.
    pub fn spec(&mut self) -> &mut ValidSpec {
        &mut self.spec
    }

    /// What is stored.
    pub fn state(&self) -> &State {
        self.store.state().unwrap()
    }

    /// The time by the operator's clock.
    fn clock(&self) -> Timestamp {
        self.now + self.clock_offset
    }

    /// Lets something happen.
    ///
    /// # Errors
    /// A scrape failed, or something was lost: says what.
    pub fn happen(&mut self, event: &Event) -> Result<(), String> {
        let now = self.now;
        match *event {
            Event::Pass(minutes) => (0..=minutes % 30).try_for_each(|_| self.minute())?,
            Event::Kill(writes) => self.kill_after = Some(writes % 12),
            Event::Delete(which) if !self.restored => self.store.delete(which),
            Event::Delete(_) => {}
            Event::Restore(age) => self.restore(usize::from(age)),
            Event::Freeze(node) => self.node(node).health = Health::Frozen,
            Event::CutOff(node) => self.node(node).health = Health::CutOff,
            Event::Deafen(node) => self.deafen(node),
            Event::Return(node) => {
                let node = self.node(node);
                if node.health != Health::Deaf && node.health != Health::Well {
                    node.well_since = now;
                }
                node.health = Health::Well;
                self.schedule();
            }
            Event::Restart(node) => {
                let node = self.node(node);
                node.started = now;
                node.used.clear();
            }
            Event::Ask(subject) => self.ask(subject),
            Event::Password(what) => self.change_password(what),
            Event::Users(what) => self.own.change_users(what),
            Event::Jump(minutes) => {
                // A clock that is wrong by more than the backdating makes certificates that nobody accepts yet.
                self.clock_offset = SignedDuration::from_mins(i64::from(minutes % 50));
                self.clock_jumps += 1;
            }
            Event::Distrust(what) => self.end_trust(what),
            Event::Stale(which) => self.make_stale(which),
            Event::Unread(which) => self.fail_reads(which),
            Event::Spoil(which) => self.is_valid = which % 2 == 1,
            Event::Refuse(which) => {
                let kinds = [
                    ChildKind::Server,
                    ChildKind::Scrape,
                    ChildKind::Bundle,
                    ChildKind::State,
                ];
                let end = now + self.roll(LONGEST_ABSENCE);
                self.refused = Some((kinds[usize::from(which) % 4], end));
            }
            Event::Recreate => {
                self.daemon_set += 1;
                self.daemon_set_seen = now + SignedDuration::from_mins(2);
            }
            Event::Join if self.nodes.len() < MOST_NODES => self.join(),
            Event::Join => {}
            Event::Leave(node) if self.nodes.len() > 1 => {
                let node = usize::from(node) % self.nodes.len();
                self.nodes.remove(node);
            }
            Event::Leave(_) => {}
            Event::Issue(act) => {
                if let Some(issuer) = &mut self.issuer {
                    issuer.act(act, &mut self.spec, now);
                }
            }
            Event::Order(act) => self.act_on_orders(act),
        }
        Ok(())
    }

    /// Heals everything and waits: all that was begun must end, and nothing may be lost.
    ///
    /// # Errors
    /// It does not end, or a scrape failed.
    pub fn settle(&mut self) -> Result<(), String> {
        self.kill_after = None;
        self.running = true;
        self.is_valid = true;
        self.refused = None;
        (self.stale, self.unread) = (None, None);
        if let Some(issuer) = &mut self.issuer {
            issuer.mend();
        }
        if let Some(orders) = &mut self.orders {
            orders.mend();
        }
        for node in 0..self.nodes.len() {
            self.happen(&Event::Return(node as u8))?;
        }
        for _ in 0..900 {
            self.minute()?;
            if self.is_steady() {
                return Ok(());
            }
        }
        Err(format!(
            "a rotation does not end: {:?}",
            self.store.state.get()
        ))
    }

    fn is_steady(&self) -> bool {
        let state = self.store.state();
        let is_quiet = state.is_some_and(|state| {
            state.authority_progress.is_none()
                && state.password_progress.is_none()
                && state.authorities.len() == 1
                && state.passwords.len() == usize::from(self.spec.methods.ask_password())
                && state.client.is_some() == self.spec.methods.ask_certificate()
                && self.is_at_its_issuer(state)
                && self.has_ended_trust(state)
        });
        let (served, given) = (self.store.served(), self.store.given());
        is_quiet
            && self.follows_own_secrets()
            && self
                .nodes
                .iter()
                .all(|node| node.daemon_set == self.daemon_set)
            && self
                .nodes
                .iter()
                .all(|node| Some(&node.served) == served.as_ref())
            && self
                .scrapers
                .iter()
                .all(|it| Some(&it.given) == given.as_ref())
    }

    fn is_at_its_issuer(&self, state: &State) -> bool {
        let active = &state.authorities[&state.active_authority];
        let is_its = match (&self.spec.issuer, &self.issuer) {
            (ValidIssuer::Managed, _) => active.key_pem.is_some(),
            (ValidIssuer::Provided { .. }, Some(issuer)) => {
                let supplied = issuer.checked(&self.spec, self.now);
                supplied.is_ok_and(|supplied| {
                    active.certificate_pem == supplied.bundle_pem
                        && state.leaf.certificate_pem == supplied.chain_pem
                        && state.leaf.key_pem == supplied.key_pem
                })
            }
            _ => active.key_pem.is_none(),
        };
        is_its && self.has_its_orders(state)
    }

    fn minute(&mut self) -> Result<(), String> {
        self.now += SignedDuration::from_mins(1);
        if !self.running && self.back <= self.now {
            self.running = true;
            self.nodes.iter_mut().for_each(|node| node.heard = self.now);
        }
        self.deliver();
        self.answer_orders();
        self.replace_exporters();
        self.scrape()?;
        if self.running {
            self.operate()?;
            self.schedule();
        }
        Ok(())
    }

    fn restore(&mut self, age: usize) {
        // One loss at a time: the promise does not go further while the operator is down.
        if self.store.is_whole() && self.history.len() > age + 1 {
            let older = self.history[self.history.len() - 2 - age].clone();
            self.store.state.set(Some(older));
            self.restored = true;
        }
    }

    fn ask(&mut self, subject: u8) {
        self.asked += 1;
        let word = ["certificate", "ca", "password"][usize::from(subject) % 3];
        self.request(&format!("{word}:{}", self.asked));
    }

    /// A lag of up to so many minutes, by xorshift: the same seed is the same run.
    fn roll(&mut self, most: u64) -> SignedDuration {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        SignedDuration::from_mins((self.dice % most) as i64)
    }

    /// With overlaps of nothing, for the mutant without.
    pub fn without_overlap(mut self) -> Self {
        self.spec.rotation.client_overlap = SignedDuration::ZERO;
        self.timers.minimum_overlap = SignedDuration::ZERO;
        self.timers.unused_for = SignedDuration::ZERO;
        self
    }
}

//! A model of a cluster in the middle of rotations: API server, operator, nodes with their kubelets, and scrapers, each
//! late in its own way. The machine, the rendering and the rebuilding are the real ones; only the world is a model.
//!
//! A step of time is a minute. In each, every scraper scrapes every exporter that can be reached: a pair that does not
//! work ends the run.

pub mod issuer;
mod nodes;
mod operator;
mod own;
mod published;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use secure_exporter_operator::{
    api::SecureExporterSpec,
    names::{ChildKind, DISTRUST_ANNOTATION, Owner, ROTATE_ANNOTATION},
    rotation::{annotations::Requests, state::State, timing::Timers},
    spec::{ValidSpec, issuer::ValidIssuer, methods::Methods},
    supplied::certificate::Supply,
};
use serde_json::{Value, json};

use issuer::{Act, Issuer};
use own::OwnSecrets;
use published::{Given, Served, Store};

/// What happens next.
#[derive(Clone, Debug)]
pub enum Event {
    /// This many minutes pass.
    Pass(u8),
    /// The operator is killed after so many further writes, and is back within an hour and a half.
    Kill(u8),
    /// One generated Secret is deleted: 0 state, 1 server, 2 scrape, 3 bundle.
    Delete(u8),
    /// An earlier state is restored from a backup.
    Restore(u8),
    /// A node's kubelet stops, and its exporter keeps what it has.
    Freeze(u8),
    /// A node is cut off from everybody.
    CutOff(u8),
    /// A node is well again.
    Return(u8),
    /// The operator cannot reach a node's exporter, and scrapers can.
    Deafen(u8),
    /// A node's exporter restarts with the files that it has.
    Restart(u8),
    /// The user requests a rotation: 0 certificate, 1 CA, 2 password.
    Ask(u8),
    /// The user's own Secret with a password: 0 and 1 another one, 2 broken, 3 deleted, 4 named by the spec or not.
    Password(u8),
    /// The user-supplied Secret with additional users: 0 changed, 1 one user less, 2 invalid, 3 deleted.
    Users(u8),
    /// The operator's clock jumps by so many minutes.
    Jump(i8),
    /// Another issuer does something; without another issuer, nothing happens.
    Issue(Act),
    /// The spec turns into one that cannot be accepted (even), or is mended (odd).
    Spoil(u8),
    /// For at most an hour and a half the API server refuses one object: 0 server, 1 scrape, 2 bundle, 3 state.
    Refuse(u8),
    /// The DaemonSet is deleted and made again: exporters of the earlier one serve until theirs is replaced.
    Recreate,
    /// A node joins, with a new exporter.
    Join,
    /// A node leaves.
    Leave(u8),
}

/// What is broken in the machine on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mutant {
    /// Nothing.
    Sound,
    /// Old credentials end with the switch.
    NoOverlap,
    /// Timers start when something is decided on.
    TimersFromIntent,
    /// The leaf waits for the end of other rotations.
    LeafQueues,
    /// The client certificate waits for the end of other rotations.
    ClientQueues,
    /// The cross certificate is left out of the chain.
    NoCross,
    /// It is left out of the chain of the client certificate.
    NoClientCross,
    /// The client certificate changes with the leaf whether exporters can verify it or not.
    ClientJumps,
    /// It stays with the old authority when that is dropped.
    ClientStays,
    /// A clock that jumps is believed.
    BelievesJumps,
    /// A state from a backup is believed.
    BelievesBackups,
    /// A user-supplied password is published for the scrapers before exporters accept it.
    OwnPasswordAtOnce,
    /// Additional users are removed when their Secret is deleted.
    UsersEndWithSecret,
    /// Requests that an older state does not know are acted on again.
    ForgetsRequests,
    /// A certificate of another issuer is served before its CA is in the CA bundle.
    LeafFirst,
    /// It is served as soon as its CA is in the CA bundle.
    SoftTrust,
    /// Nothing is renewed while the spec cannot be accepted.
    WaitsForValidSpec,
    /// The state is stored behind what follows from it.
    StateLast,
    /// Credentials are published for the scrapers before the exporters have them.
    ScrapersFirst,
}

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
    delivery: Option<Timestamp>,
}

/// The world.
pub struct World {
    now: Timestamp,
    clock_offset: SignedDuration,
    jumped: bool,
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
    requests: Requests,
    issuer: Option<Issuer>,
    asked: u32,
    own: OwnSecrets,
    /// What the status says was acted on.
    handled: BTreeMap<String, String>,
    /// Whether a restored state was not looked at yet: that is a loss, and the promise is about one at a time.
    restored: bool,
    store: Store,
    history: Vec<State>,
    running: bool,
    back: Timestamp,
    kill_after: Option<u8>,
    remembered: Option<State>,
    nodes: Vec<Node>,
    scrapers: Vec<Scraper>,
    dice: u64,
    joined: u32,
}

impl World {
    /// A cluster whose exporters and scrapers have what the first pass published.
    pub fn new(nodes: usize, methods: Methods, mutant: Mutant, seed: u64) -> Self {
        Self::begin(nodes, methods, mutant, seed, false)
    }

    /// The same, and the certificate comes from somebody else.
    pub fn with_issuer(nodes: usize, mutant: Mutant, seed: u64) -> Self {
        Self::begin(nodes, Methods::Password, mutant, seed, true)
    }

    fn begin(nodes: usize, methods: Methods, mutant: Mutant, seed: u64, has_issuer: bool) -> Self {
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
            jumped: false,
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
            requests: Requests::default(),
            issuer: None,
            asked: 0,
            own: OwnSecrets::new(),
            handled: BTreeMap::new(),
            restored: false,
            store: Store::default(),
            history: Vec::new(),
            running: true,
            back: now,
            kill_after: None,
            remembered: None,
            nodes: Vec::new(),
            scrapers: Vec::new(),
            dice: seed | 1,
            joined: 0,
        };
        if has_issuer {
            world.issuer = Some(Issuer::new(&world.spec, now));
            world.spec.issuer = issuer::provided();
        }
        world.operate().unwrap();
        let given = world.store.given().unwrap();
        (0..nodes).for_each(|_| world.join());
        // It breaks from here on: a cluster that never began to work proves nothing.
        world.mutant = mutant;
        world.scrapers = (0..2)
            .map(|_| Scraper {
                given: given.clone(),
                delivery: None,
            })
            .collect();
        world
    }

    /// Requests a rotation by annotation, with this value.
    pub fn request(&mut self, value: &str) {
        let annotations = BTreeMap::from([(ROTATE_ANNOTATION.to_owned(), value.to_owned())]);
        self.requests = Requests::read(Some(&annotations));
    }

    /// Ends the trust in what has leaked, by annotation.
    pub fn distrust(&mut self, value: &str) {
        let annotations = BTreeMap::from([(DISTRUST_ANNOTATION.to_owned(), value.to_owned())]);
        self.requests = Requests::read(Some(&annotations));
    }

    /// Loses the text of every password, as with the state and the Secret that scrapers mount.
    pub fn lose_password(&mut self) {
        self.remembered = None;
        let state = self.store.state.as_mut().unwrap();
        state
            .passwords
            .values_mut()
            .for_each(|it| it.password = None);
    }

    /// What the resource asks for.
    pub fn spec(&mut self) -> &mut ValidSpec {
        &mut self.spec
    }

    /// What is stored.
    pub fn state(&self) -> &State {
        self.store.state.as_ref().unwrap()
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
                if self.running {
                    self.clock_offset = SignedDuration::from_mins(i64::from(minutes % 50));
                    self.jumped = true;
                }
            }
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
        if let Some(issuer) = &mut self.issuer {
            issuer.mend();
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
        Err(format!("a rotation does not end: {:?}", self.store.state))
    }

    fn is_steady(&self) -> bool {
        let state = self.store.state.as_ref();
        let is_quiet = state.is_some_and(|state| {
            state.authority_progress.is_none()
                && state.password_progress.is_none()
                && state.authorities.len() == 1
                && state.passwords.len() == usize::from(self.spec.methods.ask_password())
                && state.client.is_some() == self.spec.methods.ask_certificate()
                && self.is_at_its_issuer(state)
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
        match self.supply(&self.spec) {
            Supply::Managed => active.key_pem.is_some(),
            Supply::External(supply) => supply.is_ok_and(|supplied| {
                active.certificate_pem == supplied.bundle_pem
                    && state.leaf.certificate_pem == supplied.chain_pem
                    && state.leaf.key_pem == supplied.key_pem
            }),
        }
    }

    fn minute(&mut self) -> Result<(), String> {
        self.now += SignedDuration::from_mins(1);
        if !self.running && self.back <= self.now {
            self.running = true;
            self.nodes.iter_mut().for_each(|node| node.heard = self.now);
        }
        self.deliver();
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
            self.store.state = Some(self.history[self.history.len() - 2 - age].clone());
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

impl World {
    /// The resource's own spec, where it cannot be accepted: what of it is valid is what is asked for.
    fn asked_for(&self) -> SecureExporterSpec {
        let mut spec = raw_spec(self.spec.methods);
        let basic_auth = &mut spec.authentication.basic_auth;
        basic_auth
            .password_secret_ref
            .clone_from(&self.spec.password_secret);
        if let ValidIssuer::Provided { secret_name, .. } = &self.spec.issuer {
            spec.tls.issuer = serde_json::from_value(
                json!({"type": "Provided", "provided": {"secretName": secret_name}}),
            )
            .unwrap();
        }
        spec.exporter.collectors.enabled = vec!["cpuu".into()];
        spec
    }
}

fn spec(owner: &Owner, methods: Methods) -> ValidSpec {
    ValidSpec::parse(&raw_spec(methods), owner).unwrap()
}

fn raw_spec(methods: Methods) -> SecureExporterSpec {
    let users = match methods {
        Methods::Certificate => Value::Null,
        Methods::Password | Methods::PasswordAndCertificate => json!({"name": own::USERS}),
    };
    let methods = match methods {
        Methods::Password => json!(["BasicAuth"]),
        Methods::Certificate => json!(["ClientCertificate"]),
        Methods::PasswordAndCertificate => json!(["BasicAuth", "ClientCertificate"]),
    };
    let spec = json!({
        "tls": {"certificate": {"duration": "20h", "renewBeforePercentage": 33}},
        "authentication": {"methods": methods, "basicAuth": {"bcryptCost": 4, "rotationInterval": "12h", "usersSecretRef": users}},
        "rotation": {"clientOverlap": format!("{OVERLAP}m")},
    });
    serde_json::from_value(spec).unwrap()
}

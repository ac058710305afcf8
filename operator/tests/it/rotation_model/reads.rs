//! What a pass reads of the API server. An object may be missing, be older than the stored one, or not be readable at all.

use std::rc::Rc;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Resource;
use secure_exporter_operator::{
    names::{ChildKind, published_generation},
    render::Children,
    rotation::{
        recall::Stored,
        state::{State, published::Published},
    },
};

use super::{DEAF_LAG, World};

/// A stored object, with its version and what it was before the last change.
pub struct Object<T> {
    present: Option<Rc<T>>,
    before: Option<Rc<T>>,
    version: u64,
}

impl<T> Default for Object<T> {
    fn default() -> Self {
        Self {
            present: None,
            before: None,
            version: 0,
        }
    }
}

impl<T> Object<T> {
    pub fn get(&self) -> Option<&T> {
        self.present.as_deref()
    }

    pub fn set(&mut self, next: Option<T>) {
        self.before = std::mem::replace(&mut self.present, next.map(Rc::new));
        self.version += 1;
    }

    /// Whether the object is what was read: the API server answers a write of another version with 409, and so the creation
    /// of what exists.
    pub fn is_as(&self, seen: &Seen<T>) -> bool {
        matches!(seen, Seen::Read { version, .. } if *version == self.version)
    }

    fn read(&self, is_stale: bool) -> Seen<T> {
        let (object, version) = match is_stale && self.version > 0 {
            true => (&self.before, self.version - 1),
            false => (&self.present, self.version),
        };
        Seen::Read {
            object: object.clone(),
            version,
        }
    }
}

/// An object as a pass sees it.
pub enum Seen<T> {
    Read { object: Option<Rc<T>>, version: u64 },
    Unread,
}

impl<T> Seen<T> {
    pub fn object(&self) -> Option<&T> {
        match self {
            Self::Read { object, .. } => object.as_deref(),
            Self::Unread => None,
        }
    }

    pub fn is_unread(&self) -> bool {
        matches!(self, Self::Unread)
    }
}

/// Everything that a pass sees.
pub struct Read {
    pub state: Seen<Stored>,
    pub server: Seen<Secret>,
    pub scrape: Seen<Secret>,
    pub bundle: Seen<ConfigMap>,
}

impl Read {
    pub fn published(&self) -> Published<'_> {
        Published {
            server: self.server.object(),
            scrape: self.scrape.object(),
            bundle: self.bundle.object(),
            bundle_is_foreign: false,
        }
    }

    pub fn state(&self) -> Option<&State> {
        self.state.object()?.state.as_ref()
    }

    pub fn is_unread(&self, child: ChildKind) -> bool {
        match child {
            ChildKind::State => self.state.is_unread(),
            ChildKind::Server => self.server.is_unread(),
            ChildKind::Scrape => self.scrape.is_unread(),
            ChildKind::Bundle => self.bundle.is_unread(),
            _ => false,
        }
    }

    /// Whether the object is not as rendered.
    pub fn differs(&self, child: ChildKind, rendered: &Children) -> bool {
        match child {
            ChildKind::Server => self.server.object() != Some(&*rendered.server_secret),
            ChildKind::Bundle => self.bundle.object() != Some(&rendered.ca_config_map),
            ChildKind::Scrape => self.scrape.object() != Some(&*rendered.scrape_secret),
            _ => false,
        }
    }

    /// The generation of the state that the object belongs to. A lower one never replaces a higher one.
    pub fn generation(&self, child: ChildKind) -> u64 {
        let meta = match child {
            ChildKind::State => return self.state().map_or(0, |state| state.generation),
            ChildKind::Server => self.server.object().map(Resource::meta),
            ChildKind::Scrape => self.scrape.object().map(Resource::meta),
            ChildKind::Bundle => self.bundle.object().map(Resource::meta),
            _ => None,
        };
        meta.map_or(0, published_generation)
    }
}

/// What may not be readable for some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unreadable {
    State,
    Server,
    Scrape,
    Bundle,
    /// The DaemonSet or its pods, so that no exporter is asked.
    Pods,
    /// The Secrets of the user's own.
    Credentials,
    /// What another issuer supplies, or the requests to it.
    Supply,
}

impl Unreadable {
    const ALL: [Self; 7] = [
        Self::State,
        Self::Server,
        Self::Scrape,
        Self::Bundle,
        Self::Pods,
        Self::Credentials,
        Self::Supply,
    ];
}

/// The objects that a pass reads first.
const OBJECTS: [ChildKind; 4] = [
    ChildKind::State,
    ChildKind::Server,
    ChildKind::Scrape,
    ChildKind::Bundle,
];

/// For how long something cannot be read.
const LONGEST_FAILURE: u64 = 45;

impl World {
    /// What the next pass sees of one object is old.
    pub(super) fn make_stale(&mut self, which: u8) {
        self.stale = Some(OBJECTS[usize::from(which) % OBJECTS.len()]);
    }

    pub(super) fn fail_reads(&mut self, which: u8) {
        let what = Unreadable::ALL[usize::from(which) % Unreadable::ALL.len()];
        self.unread = Some((what, self.now + self.roll(LONGEST_FAILURE)));
        // A pass that ends early asks no exporter, which is the same as one that does not answer.
        let latest = self.now + SignedDuration::from_mins(DEAF_LAG as i64);
        for node in &mut self.nodes {
            node.delivery = node.delivery.map(|time| time.min(latest));
        }
    }

    pub(super) fn is_unread(&self, what: Unreadable) -> bool {
        self.unread
            .is_some_and(|(unread, end)| unread == what && self.now < end)
    }

    /// Whether any read fails, so that exporters may not be asked.
    pub(super) fn is_blind(&self) -> bool {
        self.unread.is_some_and(|(_, end)| self.now < end)
    }

    pub(super) fn read(&mut self) -> Read {
        let stale = self.stale.take().filter(|stale| self.may_be_stale(*stale));
        let store = &self.store;
        let is_stale = |child| stale == Some(child);
        let is_unread = |what| self.is_unread(what);
        Read {
            state: seen(
                &store.state,
                is_unread(Unreadable::State),
                is_stale(ChildKind::State),
            ),
            server: seen(
                &store.server,
                is_unread(Unreadable::Server),
                is_stale(ChildKind::Server),
            ),
            scrape: seen(
                &store.scrape,
                is_unread(Unreadable::Scrape),
                is_stale(ChildKind::Scrape),
            ),
            bundle: seen(
                &store.bundle,
                is_unread(Unreadable::Bundle),
                is_stale(ChildKind::Bundle),
            ),
        }
    }

    /// Whether an old version may be seen. The API server answers each read with the newest version, so this is a change
    /// that happens between a read and a write. What is left after a loss has not been written for as long as the loss lasts.
    fn may_be_stale(&self, child: ChildKind) -> bool {
        self.store.is_whole() && !self.restored || self.store.is_missing(child)
    }
}

fn seen<T>(object: &Object<T>, is_unread: bool, is_stale: bool) -> Seen<T> {
    match is_unread {
        true => Seen::Unread,
        false => object.read(is_stale),
    }
}

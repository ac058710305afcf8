//! What the API server holds, and what exporters and scrapers make of it.

use std::collections::BTreeSet;

use super::{
    issuer::number,
    reads::{Object, Read},
};
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use secure_exporter_operator::{
    names::{ChildKind, published_generation},
    render::Children,
    rotation::{
        recall::Stored,
        state::{State, published::Published},
    },
};
use secure_exporter_pki::{
    inspect::{check_key_matches, inspect},
    password,
    secret_text::SecretText,
};
use secure_exporter_web_config::{BcryptHash, ClientAuthType, WebConfig};

/// The stored objects.
#[derive(Default)]
pub struct Store {
    pub state: Object<Stored>,
    pub server: Object<Secret>,
    pub scrape: Object<Secret>,
    pub bundle: Object<ConfigMap>,
    served: Option<Served>,
    given: Option<Given>,
}

impl Store {
    pub fn state(&self) -> Option<&State> {
        self.state.get()?.state.as_ref()
    }

    /// What an exporter would get now.
    pub fn served(&self) -> Option<Served> {
        self.served.clone().filter(|_| self.server.get().is_some())
    }

    /// What exporters got last, even if it was deleted since.
    pub fn last_served(&self) -> Option<&Served> {
        self.served.as_ref()
    }

    /// What a scraper would get now.
    pub fn given(&self) -> Option<Given> {
        self.given.clone().filter(|_| self.scrape.get().is_some())
    }

    /// The generation of what an exporter would get.
    pub fn server_generation(&self) -> u64 {
        self.server
            .get()
            .map_or(0, |it| published_generation(&it.metadata))
    }

    /// The generation of what a scraper would get.
    pub fn scrape_generation(&self) -> u64 {
        self.scrape
            .get()
            .map_or(0, |it| published_generation(&it.metadata))
    }

    pub fn published(&self) -> Published<'_> {
        Published {
            server: self.server.get(),
            scrape: self.scrape.get(),
            bundle: self.bundle.get(),
            bundle_is_foreign: false,
        }
    }

    pub fn is_missing(&self, child: ChildKind) -> bool {
        match child {
            ChildKind::State => self.state.get().is_none(),
            ChildKind::Server => self.server.get().is_none(),
            ChildKind::Scrape => self.scrape.get().is_none(),
            ChildKind::Bundle => self.bundle.get().is_none(),
            _ => false,
        }
    }

    /// Whether nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.state().is_some()
            && self.server.get().is_some()
            && self.scrape.get().is_some()
            && self.bundle.get().is_some()
    }

    /// Deletes one object, if none is missing already: the promise is about any one of them.
    pub fn delete(&mut self, which: u8) {
        if !self.is_whole() {
            return;
        }
        match which % 4 {
            0 => self.state.set(None),
            1 => self.server.set(None),
            2 => self.scrape.set(None),
            _ => self.bundle.set(None),
        }
    }

    /// Whether the object is not as rendered.
    pub fn differs(&self, child: ChildKind, rendered: &Children) -> bool {
        match child {
            ChildKind::Server => self.server.get() != Some(&*rendered.server_secret),
            ChildKind::Bundle => self.bundle.get() != Some(&rendered.ca_config_map),
            ChildKind::Scrape => self.scrape.get() != Some(&*rendered.scrape_secret),
            _ => false,
        }
    }

    /// Whether the object has not changed since it was read.
    pub fn is_as(&self, child: ChildKind, read: &Read) -> bool {
        match child {
            ChildKind::State => self.state.is_as(&read.state),
            ChildKind::Server => self.server.is_as(&read.server),
            ChildKind::Scrape => self.scrape.is_as(&read.scrape),
            ChildKind::Bundle => self.bundle.is_as(&read.bundle),
            _ => true,
        }
    }

    /// # Errors
    /// No exporter could load it.
    pub fn put(&mut self, child: ChildKind, rendered: &Children) -> Result<(), String> {
        match child {
            ChildKind::Server => {
                let server = &rendered.server_secret;
                let key = SecretText::new(text(server, "tls.key").to_owned());
                check_key_matches(text(server, "tls.crt"), &key).map_err(|why| {
                    format!("exporters are given a key of another certificate: {why}")
                })?;
                self.served = Some(Served::of(server));
                self.server.set(Some(Secret::clone(server)));
            }
            ChildKind::Bundle => self.bundle.set(Some(rendered.ca_config_map.clone())),
            ChildKind::Scrape => {
                self.given = Some(Given::of(&rendered.scrape_secret));
                self.scrape
                    .set(Some(Secret::clone(&rendered.scrape_secret)));
            }
            _ => {}
        }
        Ok(())
    }
}

/// What an exporter serves and accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    pub chain: Chain,
    pub end: Timestamp,
    pub hashes: BTreeSet<String>,
    /// Users besides the one of the scrapers.
    pub users: BTreeSet<String>,
    /// Authorities whose client certificates it lets in; `None` where it asks for none.
    pub clients: Option<BTreeSet<u64>>,
}

impl Served {
    fn of(secret: &Secret) -> Self {
        let chain = Chain::of(text(secret, "tls.crt"));
        let config = WebConfig::parse(text(secret, "web-config.yml")).unwrap();
        let asks = config.tls_server_config.unwrap().client_auth_type;
        let mut users = config.basic_auth_users;
        let hashes = users.remove("prometheus");
        Self {
            clients: asks.map(|asks| {
                assert_eq!(asks, ClientAuthType::RequireAndVerifyClientCert);
                authorities(text(secret, "client-ca.crt"))
            }),
            end: chain.end,
            chain,
            users: users.into_keys().collect(),
            hashes: hashes
                .iter()
                .flat_map(|hashes| hashes.as_slice())
                .map(|hash| hash.as_str().to_owned())
                .collect(),
        }
    }

    /// Whether one of the authorities in `bundle` is enough.
    pub fn is_verified_by(&self, bundle: &str) -> bool {
        let trusted = authorities(bundle);
        let cross = self.chain.cross;
        trusted.contains(&self.chain.authority)
            || cross.is_some_and(|(by, _)| trusted.contains(&by))
    }

    /// Whether it lets in whoever presents this client certificate.
    pub fn admits(&self, client: Option<&Chain>, now: Timestamp) -> Result<(), String> {
        let Some(trusted) = &self.clients else {
            return Ok(());
        };
        let client = client.ok_or("no client certificate is presented")?;
        client
            .is_good_for(trusted, now)
            .map_err(|why| format!("the client certificate: {why}"))
    }

    pub fn meets(&self, given: &Given, now: Timestamp) -> Result<(), String> {
        self.chain.is_good_for(&given.trusted, now)?;
        self.admits(given.client.as_ref(), now)?;
        match (self.hashes.is_empty(), self.hash_of(&given.password)) {
            (true, None) if self.clients.is_some() => Ok(()),
            (false, Some(_)) => Ok(()),
            _ => Err("the password is refused".into()),
        }
    }

    /// The hash that a password belongs to.
    pub fn hash_of(&self, secret: &Option<SecretText>) -> Option<String> {
        let secret = secret.as_ref()?;
        self.hashes
            .iter()
            .find(|hash| remembered_verify(secret, hash))
            .cloned()
    }
}

/// What is presented: a certificate, and perhaps a cross certificate behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    pub serial_number: String,
    pub end: Timestamp,
    pub authority: u64,
    /// Who certified the authority, and until when.
    pub cross: Option<(u64, Timestamp)>,
}

impl Chain {
    pub fn of(pem: &str) -> Self {
        let leaf = inspect(pem).unwrap();
        let rest = pem.replacen(first_certificate(pem).trim_end(), "", 1);
        let cross = inspect(&rest).ok();
        let cross = cross.map(|cross| (number(&cross.issuer), cross.not_after));
        Self {
            authority: number(&leaf.issuer),
            serial_number: leaf.serial_number,
            end: leaf.not_after,
            cross,
        }
    }

    fn is_good_for(&self, trusted: &BTreeSet<u64>, now: Timestamp) -> Result<(), String> {
        let is_trusted = trusted.iter().any(|generation| {
            self.authority == *generation
                || self
                    .cross
                    .is_some_and(|(by, end)| by == *generation && end > now)
        });
        if !is_trusted {
            return Err(format!(
                "a certificate of authority {} (cross {:?}) meets trust in {trusted:?}",
                self.authority, self.cross
            ));
        }
        if self.end <= now {
            return Err(format!("a certificate ended at {}", self.end));
        }
        Ok(())
    }
}

/// What a scraper trusts and uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    pub trusted: BTreeSet<u64>,
    pub password: Option<SecretText>,
    client: Option<Chain>,
    client_key: Option<SecretText>,
}

impl Given {
    fn of(secret: &Secret) -> Self {
        let data = secret.data.as_ref().unwrap();
        let secret_text = |key: &str| {
            let found = data.contains_key(key).then(|| text(secret, key));
            found.map(|text| SecretText::new(text.to_owned()))
        };
        let client = secret_text("client.crt");
        Self {
            trusted: authorities(text(secret, "ca.crt")),
            password: secret_text("password"),
            client: client.map(|pem| Chain::of(pem.expose())),
            client_key: secret_text("client.key"),
        }
    }
}

pub fn authorities(bundle: &str) -> BTreeSet<u64> {
    const END: &str = "-----END CERTIFICATE-----";
    bundle
        .split_inclusive(END)
        .filter(|part| part.contains(END))
        .map(|pem| number(&inspect(pem).unwrap().subject))
        .collect()
}

pub fn first_certificate(chain: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    let end = chain.find(END).unwrap() + END.len();
    format!("{}\n", &chain[..end])
}

pub fn id(hash: &str) -> String {
    BcryptHash::parse(hash).unwrap().id()
}

fn text<'a>(secret: &'a Secret, key: &str) -> &'a str {
    let ByteString(bytes) = &secret.data.as_ref().unwrap()[key];
    std::str::from_utf8(bytes).unwrap()
}

/// bcrypt is slow on purpose, and every minute asks the same.
fn remembered_verify(secret: &SecretText, hash: &str) -> bool {
    use std::cell::RefCell;
    use std::collections::HashMap;
    thread_local! {
        static KNOWN: RefCell<HashMap<(String, String), bool>> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| {
        let key = (secret.expose().to_owned(), hash.to_owned());
        *known
            .entry(key)
            .or_insert_with(|| password::verify(secret, &SecretText::new(hash.to_owned())).unwrap())
    })
}

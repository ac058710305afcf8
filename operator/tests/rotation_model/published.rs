//! What the API server holds, and what exporters and scrapers make of it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use secure_exporter_operator::{
    api::ValidSpec,
    names::Owner,
    pki::{inspect::inspect, issue::authority_generation, password},
    render::{Children, children},
    rotation::{rebuild::Published, state::State},
    secret_text::SecretText,
};
use secure_exporter_web_config::{BcryptHash, WebConfig};

/// The stored objects.
#[derive(Default)]
pub struct Store {
    pub state: Option<State>,
    server: Option<Secret>,
    scrape: Option<Secret>,
    bundle: Option<ConfigMap>,
    served: Option<Served>,
    given: Option<Given>,
}

impl Store {
    /// What an exporter would get now.
    pub fn served(&self) -> Option<Served> {
        self.served.clone().filter(|_| self.server.is_some())
    }

    /// What a scraper would get now.
    pub fn given(&self) -> Option<Given> {
        self.given.clone().filter(|_| self.scrape.is_some())
    }

    pub fn published(&self) -> Published<'_> {
        Published {
            server: self.server.as_ref(),
            scrape: self.scrape.as_ref(),
            bundle: self.bundle.as_ref(),
        }
    }

    /// Whether nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.state.is_some()
            && self.server.is_some()
            && self.scrape.is_some()
            && self.bundle.is_some()
    }

    /// Deletes one object, if none is missing already: the promise is about any one of them.
    pub fn delete(&mut self, which: u8) {
        if !self.is_whole() {
            return;
        }
        match which % 4 {
            0 => self.state = None,
            1 => self.server = None,
            2 => self.scrape = None,
            _ => self.bundle = None,
        }
    }

    pub fn shows(&self, spec: &ValidSpec, owner: &Owner, state: &State) -> bool {
        let rendered = children(spec, owner, state).unwrap();
        (0..3).all(|object| !self.differs(object, &rendered))
    }

    /// Whether the object (0 server, 1 bundle, 2 scrape: the order of writing) is not as rendered.
    pub fn differs(&self, object: u8, rendered: &Children) -> bool {
        match object {
            0 => self.server.as_ref() != Some(&rendered.server_secret),
            1 => self.bundle.as_ref() != Some(&rendered.ca_config_map),
            _ => self.scrape.as_ref() != Some(&rendered.scrape_secret),
        }
    }

    pub fn put(&mut self, object: u8, rendered: &Children, state: &State) -> Result<(), String> {
        match object {
            0 => {
                self.served = Some(Served::of(&rendered.server_secret));
                self.server = Some(rendered.server_secret.clone());
            }
            1 => self.bundle = Some(rendered.ca_config_map.clone()),
            _ => {
                self.given = Some(Given::of(&rendered.scrape_secret));
                self.scrape = Some(rendered.scrape_secret.clone());
            }
        }
        if state.passwords.is_empty() {
            return Err("nobody could log in".into());
        }
        Ok(())
    }
}

/// What an exporter serves and accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    pub serial_number: String,
    pub end: Timestamp,
    authority: u64,
    cross: Option<(u64, Timestamp)>,
    pub hashes: BTreeSet<String>,
}

impl Served {
    fn of(secret: &Secret) -> Self {
        let chain = text(secret, "tls.crt");
        let leaf = inspect(chain).unwrap();
        let rest = chain.replacen(first_certificate(chain).trim_end(), "", 1);
        let cross = inspect(&rest).ok().map(|cross| {
            (
                authority_generation(&cross.issuer).unwrap(),
                cross.not_after,
            )
        });
        let config = WebConfig::parse(text(secret, "web-config.yml")).unwrap();
        let hashes = config.basic_auth_users.values();
        Self {
            serial_number: leaf.serial_number,
            end: leaf.not_after,
            authority: authority_generation(&leaf.issuer).unwrap(),
            cross,
            hashes: hashes
                .flat_map(|hashes| hashes.as_slice())
                .map(|hash| hash.as_str().to_owned())
                .collect(),
        }
    }

    pub fn is_verified_by(&self, generation: u64) -> bool {
        self.authority == generation || self.cross.is_some_and(|(by, _)| by == generation)
    }

    pub fn meets(&self, given: &Given, now: Timestamp) -> Result<(), String> {
        let trusted = given.trusted.iter().any(|generation| {
            self.authority == *generation
                || self
                    .cross
                    .is_some_and(|(by, end)| by == *generation && end > now)
        });
        if !trusted {
            return Err(format!(
                "a certificate of authority {} (cross {:?}) meets a scraper that trusts {:?}",
                self.authority, self.cross, given.trusted
            ));
        }
        if self.end <= now {
            return Err(format!("the certificate ended at {}", self.end));
        }
        match self.hash_of(&given.password) {
            Some(_) => Ok(()),
            None => Err("the password is refused".into()),
        }
    }

    /// The hash that a password belongs to.
    pub fn hash_of(&self, secret: &SecretText) -> Option<String> {
        self.hashes
            .iter()
            .find(|hash| remembered_verify(secret, hash))
            .cloned()
    }
}

/// What a scraper trusts and uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    trusted: BTreeSet<u64>,
    pub password: SecretText,
}

impl Given {
    fn of(secret: &Secret) -> Self {
        const END: &str = "-----END CERTIFICATE-----";
        let bundle = text(secret, "ca.crt");
        let certificates = bundle
            .split_inclusive(END)
            .filter(|part| part.contains(END));
        Self {
            trusted: certificates
                .map(|pem| authority_generation(&inspect(pem).unwrap().subject).unwrap())
                .collect(),
            password: SecretText::new(text(secret, "password").to_owned()),
        }
    }
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

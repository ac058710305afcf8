//! The person with an issuer of their own, who keeps a Secret with its certificate: renews it, goes to another authority,
//! breaks it, deletes it. What the operator reads of it goes through the real check.

use jiff::{SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use secure_exporter_operator::{
    spec::{
        ValidSpec,
        issuer::{Place, ValidIssuer},
    },
    supplied::certificate::{Content, Found, Material, Supplied, SupplyProblem, check},
};
use secure_exporter_pki::{
    IssuedPair, Serial,
    issue::{authority_generation, issue_leaf},
    secret_text::SecretText,
};
use zeroize::Zeroizing;

/// What the person does.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Puts another certificate of the same authority into the Secret.
    Renew,
    /// Goes to an authority that nobody has heard of.
    NewAuthority,
    /// Goes back to the authority from before, with a new certificate.
    OldAuthority,
    /// Writes the authority from before into the bundle as well, or takes it out.
    OtherBundle,
    /// Puts a key into the Secret that does not belong to the certificate.
    Break,
    /// Deletes the Secret.
    Delete,
    /// Puts back what was there.
    Mend,
    /// Lets the operator sign, or the issuer again.
    ChangeIssuer,
}

impl Act {
    pub const ALL: [Self; 8] = [
        Self::Renew,
        Self::NewAuthority,
        Self::OldAuthority,
        Self::OtherBundle,
        Self::Break,
        Self::Delete,
        Self::Mend,
        Self::ChangeIssuer,
    ];
}

/// The person, and their Secret.
pub struct Issuer {
    roots: Vec<IssuedPair>,
    signs: usize,
    before: usize,
    bundles_both: bool,
    leaf: IssuedPair,
    key_is_wrong: bool,
    is_there: bool,
    serial: u8,
}

impl Issuer {
    pub fn new(spec: &ValidSpec, now: Timestamp) -> Self {
        let roots = vec![root(0)];
        let leaf = leaf(&roots[0], spec, now, 1);
        Self {
            roots,
            signs: 0,
            before: 0,
            bundles_both: false,
            leaf,
            key_is_wrong: false,
            is_there: true,
            serial: 1,
        }
    }

    pub fn act(&mut self, act: Act, spec: &mut ValidSpec, now: Timestamp) {
        match act {
            Act::Renew => self.renew(spec, now),
            Act::NewAuthority => {
                self.roots.push(root(self.roots.len()));
                self.go_to(self.roots.len() - 1, spec, now);
            }
            Act::OldAuthority => self.go_to(self.before, spec, now),
            Act::OtherBundle => self.bundles_both = !self.bundles_both,
            Act::Break => self.key_is_wrong = true,
            Act::Delete => self.is_there = false,
            Act::Mend => self.mend(),
            Act::ChangeIssuer => {
                spec.issuer = match spec.issuer {
                    ValidIssuer::Managed => provided(),
                    _ => ValidIssuer::Managed,
                }
            }
        }
    }

    pub fn mend(&mut self) {
        (self.key_is_wrong, self.is_there) = (false, true);
    }

    pub fn checked(&self, spec: &ValidSpec, now: Timestamp) -> Result<Supplied, SupplyProblem> {
        let found = |key: &str, text: &str| Found {
            place: Place::in_secret("corporate", key),
            content: match self.is_there {
                true => Content::Bytes(Zeroizing::new(text.as_bytes().to_vec())),
                false => Content::NoObject,
            },
        };
        let key = match self.key_is_wrong {
            true => &self.roots[0].key_pem,
            false => &self.leaf.key_pem,
        };
        let mut bundle = self.roots[self.signs].certificate_pem.clone();
        if self.bundles_both {
            bundle.push_str(&self.roots[self.before].certificate_pem);
        }
        let material = Material {
            chain: found("tls.crt", &self.leaf.certificate_pem),
            key: found("tls.key", key.expose()),
            bundle: found("ca.crt", &bundle),
        };
        check(&material, &spec.server_name, now)
    }

    fn go_to(&mut self, root: usize, spec: &ValidSpec, now: Timestamp) {
        (self.before, self.signs) = (self.signs, root);
        self.renew(spec, now);
    }

    fn renew(&mut self, spec: &ValidSpec, now: Timestamp) {
        self.serial = self.serial.wrapping_add(1);
        self.leaf = leaf(&self.roots[self.signs], spec, now, self.serial);
        self.mend();
    }
}

pub fn provided() -> ValidIssuer {
    ValidIssuer::Provided {
        secret_name: "corporate".to_owned(),
        bundle: Place::in_secret("corporate", "ca.crt"),
    }
}

/// What the model calls an authority, by its subject: the operator's by their generation, the others by numbers above.
pub fn number(subject: &str) -> u64 {
    const OTHERS: u64 = 1_000_000;
    let other = || subject.rsplit_once(" Root ")?.1.parse::<u64>().ok();
    authority_generation(subject).unwrap_or_else(|| OTHERS + other().unwrap())
}

pub fn root(number: usize) -> IssuedPair {
    let mut params = CertificateParams::default();
    let name = format!("Corporate Root {number}");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    IssuedPair {
        certificate_pem: params.self_signed(&key).unwrap().pem(),
        key_pem: SecretText::new(key.serialize_pem()),
    }
}

fn leaf(root: &IssuedPair, spec: &ValidSpec, now: Timestamp, serial: u8) -> IssuedPair {
    let mut parameters = spec.certificate.parameters.clone();
    parameters.duration = SignedDuration::from_hours(2400);
    let serial = Serial::from_bytes([serial; 16]);
    let (certificate, key) = (&root.certificate_pem, &root.key_pem);
    issue_leaf(&parameters, certificate, key, now, serial).unwrap()
}

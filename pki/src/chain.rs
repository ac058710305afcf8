//! Whether a client's certificate leads to a trusted one.
//!
//! The rules are those of Go's [`crypto/x509`](https://pkg.go.dev/crypto/x509#Certificate.Verify), which node_exporter's users
//! know: certificates as `openssl` makes them by default are accepted, be they of version 1, CA certificates, or trusted
//! themselves; and a CA must be valid, a CA, and allowed to sign for clients, even where it is trusted. Stricter than Go are
//! the least sizes of RSA keys, and critical extensions about policies, which are refused.

mod link;

use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm};

use crate::error::{ChainError, InspectError};
use link::Link;

/// Certificates in a chain, the client's own and the trusted one included.
const MAX_CERTIFICATES: usize = 10;
/// As many as Go checks for one client.
const MAX_SIGNATURE_CHECKS: usize = 100;

/// Whether a CA of the chain restricts the names of what it signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameConstraints {
    /// None does.
    Absent,
    /// One does, which remains to be checked.
    Present,
}

/// The certificates that are trusted to issue those of clients, and as those of clients.
#[derive(Clone, Debug, Default)]
pub struct TrustAnchors(Vec<Anchor>);

#[derive(Clone, Debug)]
struct Anchor {
    der: CertificateDer<'static>,
    subject: Vec<u8>,
}

impl TrustAnchors {
    /// Adds a certificate. Whether it may sign is checked each time it should have.
    ///
    /// # Errors
    ///
    /// The certificate cannot be parsed.
    pub fn add(&mut self, der: CertificateDer<'static>) -> Result<(), InspectError> {
        let damaged = |_| InspectError::Damaged("it is not X.509".to_owned());
        let subject = Link::parse(&der).map_err(damaged)?.subject().to_vec();
        self.0.push(Anchor { der, subject });
        Ok(())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The subjects, in DER.
    pub fn subjects(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|anchor| anchor.subject.as_slice())
    }

    /// Those that may issue certificates of clients at this time, in seconds since 1970.
    pub fn issuers(&self, now: i64) -> impl Iterator<Item = &CertificateDer<'static>> {
        let usable = move |anchor: &&Anchor| check_issuer(&anchor.der, now).is_ok();
        self.0.iter().filter(usable).map(|anchor| &anchor.der)
    }

    /// Checks the certificate of a client at this time, in seconds since 1970. That the client has its key is not checked.
    ///
    /// # Errors
    ///
    /// No chain leads to a trusted certificate by which every rule is kept.
    pub fn verify_client(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: i64,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<NameConstraints, ChainError> {
        let client = Link::parse(leaf)?;
        client.check_at(now)?;
        client.check_key()?;
        if self.0.iter().any(|anchor| anchor.der == *leaf) {
            client.check_purpose()?;
            return Ok(NameConstraints::Absent);
        }
        // What the client sends besides may be damaged; it is only not used then.
        let intermediates = intermediates.iter().map(|der| Link::parse(der));
        let intermediates: Vec<Link<'_>> = intermediates.flatten().collect();
        let is_wanted = |anchor: &&Anchor| {
            let mut issued = intermediates.iter().chain([&client]);
            issued.any(|link| link.issuer() == anchor.subject)
        };
        let anchors = self.0.iter().filter(is_wanted);
        let anchors: Vec<Link<'_>> = anchors
            .flat_map(|anchor| Link::parse(&anchor.der))
            .collect();
        let mut search = Search {
            anchors: &anchors,
            intermediates: &intermediates,
            now,
            algorithms,
            checks_left: MAX_SIGNATURE_CHECKS,
        };
        search.climb(&[&client])
    }
}

/// Checks whether a certificate may issue those of clients at this time, in seconds since 1970.
///
/// # Errors
///
/// What keeps it from doing so.
pub fn check_issuer(der: &[u8], now: i64) -> Result<(), ChainError> {
    let link = Link::parse(der)?;
    link.check_may_sign()?;
    link.check_at(now)?;
    link.check_key()?;
    link.check_purpose()
}

/// The way from a client's certificate up to a trusted one.
struct Search<'s> {
    anchors: &'s [Link<'s>],
    intermediates: &'s [Link<'s>],
    now: i64,
    algorithms: &'s [&'s dyn SignatureVerificationAlgorithm],
    checks_left: usize,
}

impl<'s> Search<'s> {
    /// Continues a chain up to a trusted certificate. Of several chains, one without name constraints is preferred.
    fn climb(&mut self, chain: &[&Link<'s>]) -> Result<NameConstraints, ChainError> {
        let Some(child) = chain.last() else {
            return Err(ChainError::UnknownIssuer);
        };
        let (anchors, intermediates) = (self.anchors, self.intermediates);
        let trusted = anchors.iter().map(|parent| (parent, true));
        let others = intermediates.iter().map(|parent| (parent, false));
        let (mut is_constrained, mut first_error) = (false, None);
        for (parent, is_trusted) in trusted.chain(others) {
            if parent.subject() != child.issuer() || chain.iter().any(|link| link.is_same(parent)) {
                continue;
            }
            if self.checks_left == 0 || chain.len() >= MAX_CERTIFICATES {
                return Err(ChainError::TooLong);
            }
            self.checks_left -= 1;
            let checked = self.check_parent(chain, parent, is_trusted);
            let longer = || [chain, &[parent]].concat();
            let found = match (checked, is_trusted) {
                (Err(error), _) => Err(error),
                (Ok(()), true) => check_whole(&longer()),
                (Ok(()), false) => self.climb(&longer()),
            };
            match found {
                Ok(NameConstraints::Absent) => return found,
                Ok(NameConstraints::Present) => is_constrained = true,
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        match is_constrained {
            true => Ok(NameConstraints::Present),
            false => Err(first_error.unwrap_or(ChainError::UnknownIssuer)),
        }
    }

    fn check_parent(
        &self,
        chain: &[&Link<'_>],
        parent: &Link<'_>,
        is_trusted: bool,
    ) -> Result<(), ChainError> {
        let Some(child) = chain.last() else {
            return Err(ChainError::UnknownIssuer);
        };
        parent.check_may_sign()?;
        if !is_trusted && !parent.is_authority() {
            return Err(ChainError::NotAuthority);
        }
        parent.check_at(self.now)?;
        parent.check_key()?;
        let authorities_below = chain.len() - 1;
        if parent
            .max_authorities_below()
            .is_some_and(|most| authorities_below > most)
        {
            return Err(ChainError::PathLength);
        }
        child.check_signed_by(parent, self.algorithms)
    }
}

/// What only a whole chain shows.
fn check_whole(chain: &[&Link<'_>]) -> Result<NameConstraints, ChainError> {
    for link in chain {
        link.check_purpose()?;
    }
    match chain.iter().any(|link| link.has_name_constraints()) {
        true => Ok(NameConstraints::Present),
        false => Ok(NameConstraints::Absent),
    }
}

#[cfg(test)]
mod tests;

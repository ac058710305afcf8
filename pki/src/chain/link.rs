//! One certificate of a chain.

use rustls::pki_types::SignatureVerificationAlgorithm;
use x509_parser::oid_registry::Oid;
use x509_parser::prelude::{BasicConstraints, FromDer, X509Certificate, X509Version};
use x509_parser::public_key::PublicKey;

use crate::der;
use crate::error::ChainError;

/// The least size that the signature algorithms accept.
const MIN_RSA_BITS: usize = 2048;

/// The arcs of `2.5.29` that are checked here, or that restrict nothing: subjectKeyIdentifier, keyUsage,
/// subjectAltName, basicConstraints, nameConstraints, cRLDistributionPoints, certificatePolicies, authorityKeyIdentifier,
/// extendedKeyUsage.
const KNOWN_EXTENSIONS: [u8; 9] = [14, 15, 17, 19, 30, 31, 32, 35, 37];

/// A parsed certificate with the parts that the signature algorithms want.
pub(super) struct Link<'a> {
    certificate: X509Certificate<'a>,
    basic_constraints: Option<BasicConstraints>,
    signature_algorithm: &'a [u8],
    key_algorithm: &'a [u8],
    key: &'a [u8],
}

impl<'a> Link<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Result<Self, ChainError> {
        let parsed = X509Certificate::from_der(der).map_err(|_| ChainError::Damaged)?;
        let ([], certificate) = parsed else {
            return Err(ChainError::Damaged);
        };
        let tbs = &certificate.tbs_certificate;
        // Extensions that are there twice could be understood in two ways.
        certificate
            .extensions_map()
            .map_err(|_| ChainError::Damaged)?;
        if tbs.signature != certificate.signature_algorithm {
            return Err(ChainError::Damaged);
        }
        let basic_constraints = certificate
            .basic_constraints()
            .map_err(|_| ChainError::Damaged)?
            .map(|extension| extension.value.clone());
        let signature_algorithm = der::signature_algorithm(der).ok_or(ChainError::Damaged)?;
        let (key_algorithm, key) =
            der::public_key(tbs.subject_pki.raw).ok_or(ChainError::Damaged)?;
        Ok(Self {
            basic_constraints,
            signature_algorithm,
            key_algorithm,
            key,
            certificate,
        })
    }

    pub(super) fn subject(&self) -> &[u8] {
        self.certificate.tbs_certificate.subject.as_raw()
    }

    pub(super) fn issuer(&self) -> &[u8] {
        self.certificate.tbs_certificate.issuer.as_raw()
    }

    /// Whether both are of the same holder, so that one above the other makes a circle.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.subject() == other.subject()
            && (self.key_algorithm, self.key) == (other.key_algorithm, other.key)
    }

    pub(super) fn is_authority(&self) -> bool {
        self.basic_constraints
            .as_ref()
            .is_some_and(|constraints| constraints.ca)
    }

    pub(super) fn max_authorities_below(&self) -> Option<usize> {
        let constraints = self.basic_constraints.as_ref()?;
        usize::try_from(constraints.path_len_constraint?).ok()
    }

    pub(super) fn has_name_constraints(&self) -> bool {
        !matches!(self.certificate.name_constraints(), Ok(None))
    }

    /// Its time and what it says to be essential.
    pub(super) fn check_at(&self, now: i64) -> Result<(), ChainError> {
        let is_known = |oid: &Oid<'_>| match oid.as_bytes() {
            [0x55, 0x1d, arc] => KNOWN_EXTENSIONS.contains(arc),
            _ => false,
        };
        let mut critical = self
            .certificate
            .iter_extensions()
            .filter(|extension| extension.critical);
        if critical.any(|extension| !is_known(&extension.oid)) {
            return Err(ChainError::CriticalExtension);
        }
        let validity = self.certificate.validity();
        if now < validity.not_before.timestamp() {
            Err(ChainError::NotYetValid)
        } else if now > validity.not_after.timestamp() {
            Err(ChainError::Expired)
        } else {
            Ok(())
        }
    }

    /// A certificate of version 1 cannot say that it is of a CA, so it may sign where it is trusted.
    pub(super) fn check_may_sign(&self) -> Result<(), ChainError> {
        let is_version_1 = self.certificate.version() != X509Version::V3;
        let is_authority =
            self.is_authority() || (is_version_1 && self.basic_constraints.is_none());
        let usage = self
            .certificate
            .key_usage()
            .map_err(|_| ChainError::Damaged)?;
        let may_sign =
            usage.is_none_or(|usage| usage.value.flags == 0 || usage.value.key_cert_sign());
        match is_authority && may_sign {
            true => Ok(()),
            false => Err(ChainError::NotAuthority),
        }
    }

    /// Without an extended key usage it is for everything.
    pub(super) fn check_purpose(&self) -> Result<(), ChainError> {
        let usage = self
            .certificate
            .extended_key_usage()
            .map_err(|_| ChainError::Damaged)?;
        let Some(usage) = usage.map(|extension| extension.value) else {
            return Ok(());
        };
        let others = [
            usage.server_auth,
            usage.code_signing,
            usage.email_protection,
            usage.time_stamping,
            usage.ocsp_signing,
            !usage.other.is_empty(),
        ];
        match usage.any || usage.client_auth || !others.contains(&true) {
            true => Ok(()),
            false => Err(ChainError::Purpose),
        }
    }

    pub(super) fn check_key(&self) -> Result<(), ChainError> {
        match self.certificate.public_key().parsed() {
            Ok(PublicKey::RSA(key)) if key.key_size() < MIN_RSA_BITS => Err(ChainError::WeakKey),
            _ => Ok(()),
        }
    }

    pub(super) fn check_signed_by(
        &self,
        parent: &Link<'_>,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<(), ChainError> {
        let mut fitting = algorithms
            .iter()
            .filter(|algorithm| algorithm.signature_alg_id().as_ref() == self.signature_algorithm)
            .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == parent.key_algorithm)
            .peekable();
        if fitting.peek().is_none() {
            return Err(ChainError::UnsupportedSignature);
        }
        let message = self.certificate.tbs_certificate.as_ref();
        let signature = &self.certificate.signature_value.data;
        match fitting.any(|algorithm| {
            algorithm
                .verify_signature(parent.key, message, signature)
                .is_ok()
        }) {
            true => Ok(()),
            false => Err(ChainError::BadSignature),
        }
    }
}

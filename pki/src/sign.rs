//! What all certificates have in common: serial number, validity, usages and signature.

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};

use crate::error::IssueError;
use crate::inspect;
use crate::key::{KeyType, key_pem};
use crate::pem::unix_lines;
use crate::secret_text::SecretText;
use crate::validity::{begin, end, x509_time};

/// Maximum length of a common name in X.520, in characters (`ub-common-name`). OpenSSL refuses longer ones.
pub(crate) const MAX_COMMON_NAME: usize = 64;

/// A certificate and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedPair {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its private key, PEM (PKCS #8).
    pub key_pem: SecretText,
}

impl IssuedPair {
    pub(crate) fn new(certificate: &Certificate, key: &KeyPair) -> Self {
        Self {
            certificate_pem: unix_lines(certificate.pem()),
            key_pem: key_pem(key),
        }
    }
}

/// A serial number: 126 random bits, positive and always 16 bytes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial([u8; 16]);

impl Serial {
    /// Creates a serial number from these bytes. The two highest bits are set to 0 and 1, so that it is positive, as RFC 5280
    /// demands, and never zero.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let [first, rest @ ..] = bytes;
        let mut positive = [0; 16];
        for (to, from) in positive
            .iter_mut()
            .zip(std::iter::once((first & 0x7f) | 0x40).chain(rest))
        {
            *to = from;
        }
        Self(positive)
    }

    /// Generates a random serial number.
    pub fn random() -> Result<Self, IssueError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| IssueError::Random(error.to_string()))?;
        Ok(Self::from_bytes(bytes))
    }
}

/// The parameters of every CA certificate.
pub(crate) fn authority_params(
    common_name: &str,
    now: Timestamp,
    end: Timestamp,
    serial: Serial,
) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial.0));
    params.distinguished_name = only_common_name(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = x509_time(begin(now)?)?;
    params.not_after = x509_time(end)?;
    Ok(params)
}

/// Generates the key of a CA (ECDSA P-256) and its self-signed certificate.
pub(crate) fn self_signed(params: &CertificateParams) -> Result<IssuedPair, IssueError> {
    let key = KeyType::EcdsaP256.generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(IssuedPair::new(&certificate, &key))
}

/// The parameters of a leaf certificate.
pub(crate) struct Leaf {
    pub(crate) subject: DistinguishedName,
    pub(crate) names: Vec<SanType>,
    pub(crate) usage: ExtendedKeyUsagePurpose,
    /// The time from the issue to the expiry.
    pub(crate) duration: SignedDuration,
}

impl Leaf {
    /// Signs it for `key`. It never expires after its CA.
    pub(crate) fn sign(
        self,
        key: &KeyPair,
        authority_certificate_pem: &str,
        authority_key_pem: &SecretText,
        now: Timestamp,
        serial: Serial,
    ) -> Result<Certificate, IssueError> {
        let authority_end = inspect::inspect(authority_certificate_pem)
            .map_err(IssueError::Authority)?
            .not_after;
        if authority_end <= now {
            return Err(IssueError::AuthorityExpired(authority_end));
        }
        let issuer = issuer(authority_certificate_pem, authority_key_pem)?;

        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&serial.0));
        params.distinguished_name = self.subject;
        params.subject_alt_names = self.names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![self.usage];
        params.use_authority_key_identifier_extension = true;
        params.not_before = x509_time(begin(now)?)?;
        params.not_after = x509_time(end(now, self.duration)?.min(authority_end))?;
        Ok(params.signed_by(key, &issuer)?)
    }
}

/// Returns the CA as issuer, after checking that its key matches.
pub(crate) fn issuer(
    certificate_pem: &str,
    key_pem: &SecretText,
) -> Result<Issuer<'static, KeyPair>, IssueError> {
    inspect::check_key_matches(certificate_pem, key_pem).map_err(IssueError::Authority)?;
    let key = KeyPair::from_pem(key_pem.expose())?;
    Ok(Issuer::from_ca_cert_pem(certificate_pem, key)?)
}

/// Returns a subject with only a common name, truncated to [`MAX_COMMON_NAME`].
pub(crate) fn only_common_name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    let cut: String = common_name.chars().take(MAX_COMMON_NAME).collect();
    name.push(DnType::CommonName, cut);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_positive_and_not_zero() {
        assert_eq!(Serial::from_bytes([0; 16]).0[0], 0x40);
        assert_eq!(Serial::from_bytes([0xff; 16]).0, {
            let mut expected = [0xff; 16];
            expected[0] = 0x7f;
            expected
        });
    }
}

//! The few elements of certificates that signature algorithms want as they are encoded.

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// The content of a certificate's signature algorithm.
pub(crate) fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (content, _) = element(SEQUENCE, certificate)?;
    let (_, rest) = element(SEQUENCE, content)?;
    Some(element(SEQUENCE, rest)?.0)
}

/// The content of a public key's algorithm, and the key itself, out of a SubjectPublicKeyInfo.
pub(crate) fn public_key(info: &[u8]) -> Option<(&[u8], &[u8])> {
    let (content, _) = element(SEQUENCE, info)?;
    let (algorithm, rest) = element(SEQUENCE, content)?;
    let (bits, _) = element(BIT_STRING, rest)?;
    Some((algorithm, bits.strip_prefix(&[0])?))
}

/// The content of the first element, which has this tag, and what follows it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = der.strip_prefix(&[tag])?.split_first()?;
    if *length < 0x80 {
        return rest.split_at_checked(usize::from(*length));
    }
    let (length, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
    if length.len() > 4 {
        return None;
    }
    let length = length
        .iter()
        .fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    rest.split_at_checked(length)
}

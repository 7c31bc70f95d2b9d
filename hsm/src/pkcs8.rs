//! PKCS#8 private keys (RFC 5958) that the cryptographic library does not read by itself: RSA keys
//! that are restricted to PSS.

use crate::der;

/// Content of id-RSASSA-PSS, 1.2.840.113549.1.1.10 (RFC 4055 §3.1).
const RSASSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0a];

/// The content of `RSASSA-PSS-params` for SHA-256 and MGF1 with SHA-256, up to the salt's length
/// (RFC 4055 §3.1; §2.1 has the NULLs).
const SHA256_PARAMETERS: &[u8] = &[
    0xa0, 0x0f, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 0xa1, 0x1c, 0x30,
    0x1a, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1,
    0x65, 3, 4, 2, 1, 5, 0,
];

/// Length in bytes of the salt that is signed with here: that of SHA-256.
const SALT_LEN: u8 = 32;

/// The `RSAPrivateKey` (RFC 8017 appendix A.1.2) of a key that may only sign PSS, where its
/// restrictions allow SHA-256, MGF1 with SHA-256 and a salt of 32 bytes.
///
/// ```text
/// PrivateKeyInfo ::= SEQUENCE { version INTEGER, privateKeyAlgorithm AlgorithmIdentifier,
///                               privateKey OCTET STRING, attributes [0] OPTIONAL }
/// ```
pub(crate) fn rsa_pss_private_key(document: &[u8]) -> Option<&[u8]> {
    let (body, rest) = der::read(der::SEQUENCE, document)?;
    let (version, body) = der::read(der::INTEGER, body)?;
    let (algorithm, body) = der::read(der::SEQUENCE, body)?;
    let (key, _attributes) = der::read(der::OCTET_STRING, body)?;
    let (oid, parameters) = der::read(der::OBJECT_IDENTIFIER, algorithm)?;
    let usable = rest.is_empty() && version == [0] && oid == RSASSA_PSS && allow(parameters);
    usable.then_some(key)
}

/// Absent parameters restrict nothing (RFC 4055 §3.1). A salt's length in a key is the least that
/// it may sign with; without one it is 20.
fn allow(parameters: &[u8]) -> bool {
    if parameters.is_empty() {
        return true;
    }
    let Some((content, [])) = der::read(der::SEQUENCE, parameters) else {
        return false;
    };
    match content.strip_prefix(SHA256_PARAMETERS) {
        Some([]) => true,
        Some([0xa2, 3, der::INTEGER, 1, salt_len]) => *salt_len <= SALT_LEN,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restrictions_are_kept() {
        let parameters = |more: &[u8]| {
            let content = [SHA256_PARAMETERS, more].concat();
            [&[0x30, content.len() as u8], &content[..]].concat()
        };
        assert!(allow(&[]));
        assert!(allow(&parameters(&[])));
        assert!(allow(&parameters(&[0xa2, 3, 2, 1, 32])));
        // A longer salt, another trailer, and SHA-1 by default.
        assert!(!allow(&parameters(&[0xa2, 3, 2, 1, 33])));
        assert!(!allow(&parameters(&[0xa2, 4, 2, 2, 0, 200])));
        assert!(!allow(&parameters(&[0xa3, 3, 2, 1, 2])));
        assert!(!allow(&[0x30, 0]));
        assert!(!allow(&[5, 0]));
    }
}

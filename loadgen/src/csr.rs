//! PKCS #10 requests written from a template: one shape, many keys.
//!
//! ```text
//! CertificationRequest ::= SEQUENCE {
//!     certificationRequestInfo CertificationRequestInfo,
//!     signatureAlgorithm       AlgorithmIdentifier,
//!     signature                BIT STRING }
//! CertificationRequestInfo ::= SEQUENCE {
//!     version       INTEGER { v1(0) },
//!     subject       Name,
//!     subjectPKInfo SubjectPublicKeyInfo,
//!     attributes    [0] Attributes }            -- RFC 2986 §4
//! ```
//!
//! A general encoder would cost as much as the signature; a load generator has to make requests
//! much faster than they are used up. The tests read every shape back with other software.

use birthmark_hsm::MlDsaParameterSet;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const BIT_STRING: u8 = 0x03;
const OID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;

/// `version v1(0)`: INTEGER 0.
const VERSION_1: &[u8] = &[0x02, 0x01, 0x00];
/// `attributes [0]`, present and empty.
const NO_ATTRIBUTES: &[u8] = &[0xa0, 0x00];

/// id-at-commonName, id-at-organizationName, id-at-serialNumber (RFC 5280 appendix A.1).
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION_NAME: &[u8] = &[0x55, 0x04, 0x0a];
const SERIAL_NUMBER: &[u8] = &[0x55, 0x04, 0x05];

/// AlgorithmIdentifier ecdsa-with-SHA256, parameters absent (RFC 5758 §3.2).
pub(crate) const ECDSA_WITH_SHA256: &[u8] = &[
    0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
];
/// AlgorithmIdentifier ecdsa-with-SHA384, parameters absent (RFC 5758 §3.2).
pub(crate) const ECDSA_WITH_SHA384: &[u8] = &[
    0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03,
];
/// AlgorithmIdentifier ecdsa-with-SHA512, parameters absent (RFC 5758 §3.2).
pub(crate) const ECDSA_WITH_SHA512: &[u8] = &[
    0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04,
];
/// AlgorithmIdentifier id-Ed25519, parameters absent (RFC 8410 §3).
pub(crate) const ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
/// AlgorithmIdentifier sha256WithRSAEncryption, parameters NULL (RFC 4055 §5).
pub(crate) const SHA256_WITH_RSA: &[u8] = &[
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00,
];

/// AlgorithmIdentifier id-RSASSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of 32 octets
/// (RFC 4055 §3.1).
pub(crate) const RSASSA_PSS: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0,
    0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30,
    0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0xa2, 0x03,
    0x02, 0x01, 0x20,
];

/// SubjectPublicKeyInfo of P-256 up to the 65 octets of the point (RFC 5480 §2).
pub(crate) const P256_KEY_INFO: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// SubjectPublicKeyInfo of P-384 up to the 97 octets of the point (RFC 5480 §2).
pub(crate) const P384_KEY_INFO: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];
/// SubjectPublicKeyInfo of P-521 up to the 133 octets of the point (RFC 5480 §2).
pub(crate) const P521_KEY_INFO: &[u8] = &[
    0x30, 0x81, 0x9b, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05,
    0x2b, 0x81, 0x04, 0x00, 0x23, 0x03, 0x81, 0x86, 0x00,
];
/// SubjectPublicKeyInfo of Ed25519 up to the 32 octets of the key (RFC 8410 §4).
pub(crate) const ED25519_KEY_INFO: &[u8] = &[
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// AlgorithmIdentifier of ML-DSA, parameters absent (RFC 9881 §2).
pub(crate) fn ml_dsa(parameter_set: MlDsaParameterSet) -> [u8; 13] {
    let arc = match parameter_set {
        MlDsaParameterSet::MlDsa44 => 0x11,
        MlDsaParameterSet::MlDsa65 => 0x12,
        MlDsaParameterSet::MlDsa87 => 0x13,
    };
    [
        0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, arc,
    ]
}

/// SubjectPublicKeyInfo of an ML-DSA key (RFC 9881 §4).
pub(crate) fn ml_dsa_key_info(parameter_set: MlDsaParameterSet, key: &[u8]) -> Vec<u8> {
    let mut bits = Vec::with_capacity(key.len() + 8);
    element(&mut bits, BIT_STRING, &[&[0], key]);
    let mut info = Vec::with_capacity(bits.len() + 20);
    element(&mut info, SEQUENCE, &[&ml_dsa(parameter_set), &bits]);
    info
}

/// The CertificationRequestInfo of a device: `O=Acme, CN=…, serialNumber=…`, no attributes. The
/// common name is the serial number too, for profiles that know a device by its common name.
pub(crate) fn request_info(serial_number: &str, key_info: &[u8]) -> Vec<u8> {
    let mut names = Vec::with_capacity(112);
    attribute(&mut names, ORGANIZATION_NAME, UTF8_STRING, b"Acme");
    attribute(
        &mut names,
        COMMON_NAME,
        UTF8_STRING,
        serial_number.as_bytes(),
    );
    attribute(
        &mut names,
        SERIAL_NUMBER,
        PRINTABLE_STRING,
        serial_number.as_bytes(),
    );

    let mut body = Vec::with_capacity(names.len() + key_info.len() + 16);
    body.extend_from_slice(VERSION_1);
    element(&mut body, SEQUENCE, &[&names]);
    body.extend_from_slice(key_info);
    body.extend_from_slice(NO_ATTRIBUTES);

    let mut info = Vec::with_capacity(body.len() + 4);
    element(&mut info, SEQUENCE, &[&body]);
    info
}

/// The signed request: info, AlgorithmIdentifier, signature.
pub(crate) fn assemble(info: &[u8], algorithm: &[u8], signature: &[u8]) -> Vec<u8> {
    let mut bits = Vec::with_capacity(signature.len() + 8);
    element(&mut bits, BIT_STRING, &[&[0], signature]);
    let mut request = Vec::with_capacity(info.len() + algorithm.len() + bits.len() + 4);
    element(&mut request, SEQUENCE, &[info, algorithm, &bits]);
    request
}

/// RelativeDistinguishedName with one AttributeTypeAndValue (RFC 5280 §4.1.2.4).
fn attribute(out: &mut Vec<u8>, oid: &[u8], string: u8, value: &[u8]) {
    let mut pair = Vec::with_capacity(oid.len() + value.len() + 8);
    element(&mut pair, OID, &[oid]);
    element(&mut pair, string, &[value]);
    let mut sequence = Vec::with_capacity(pair.len() + 4);
    element(&mut sequence, SEQUENCE, &[&pair]);
    element(out, SET, &[&sequence]);
}

/// One DER element: tag, definite length in the fewest octets (X.690 §10.1), content.
fn element(out: &mut Vec<u8>, tag: u8, content: &[&[u8]]) {
    let length: usize = content.iter().map(|part| part.len()).sum();
    out.push(tag);
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let octets = length.to_be_bytes();
        let skip = octets.iter().take_while(|octet| **octet == 0).count();
        out.push(0x80 | (octets.len() - skip) as u8);
        out.extend_from_slice(&octets[skip..]);
    }
    for part in content {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_fewest_octets() {
        for (length, head) in [
            (0, vec![0x30, 0x00]),
            (127, vec![0x30, 0x7f]),
            (128, vec![0x30, 0x81, 0x80]),
            (255, vec![0x30, 0x81, 0xff]),
            (256, vec![0x30, 0x82, 0x01, 0x00]),
            (65_536, vec![0x30, 0x83, 0x01, 0x00, 0x00]),
        ] {
            let mut out = Vec::new();
            element(&mut out, SEQUENCE, &[&vec![0; length]]);
            assert_eq!(out[..head.len()], head, "length {length}");
            assert_eq!(out.len(), head.len() + length);
        }
    }
}

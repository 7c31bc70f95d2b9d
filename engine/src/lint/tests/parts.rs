//! Certificates of exchangeable parts, good as they come.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};

use super::super::der::single;
use super::super::key::Spki;
use crate::der::tag;
use crate::der::writer::length_octets;
use crate::oid;

/// The base point of P-256 (SEC 2 §2.4.2): the public key of the private key 1, with which the tests sign.
pub(super) const BASE_POINT: [u8; 65] = [
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40,
    0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2,
    0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e,
    0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51,
    0xf5,
];

/// The point of the private key 2, for devices.
pub(super) const DOUBLE_POINT: [u8; 65] = [
    0x04, 0x7c, 0xf2, 0x7b, 0x18, 0x8d, 0x03, 0x4f, 0x7e, 0x8a, 0x52, 0x38, 0x03, 0x04, 0xb5, 0x1a,
    0xc3, 0xc0, 0x89, 0x69, 0xe2, 0x77, 0xf2, 0x1b, 0x35, 0xa6, 0x0b, 0x48, 0xfc, 0x47, 0x66, 0x99,
    0x78, 0x07, 0x77, 0x55, 0x10, 0xdb, 0x8e, 0xd0, 0x40, 0x29, 0x3d, 0x9a, 0xc6, 0x9f, 0x74, 0x30,
    0xdb, 0xba, 0x7d, 0xad, 0xe6, 0x3c, 0xe9, 0x82, 0x29, 0x9e, 0x04, 0xb7, 0x9d, 0x22, 0x78, 0x73,
    0xd1,
];

pub(super) const CN: &[u8] = &[0x55, 0x04, 0x03];
pub(super) const C: &[u8] = &[0x55, 0x04, 0x06];
pub(super) const POLICIES: &[u8] = &[0x55, 0x1d, 0x20];
pub(super) const CRL_POINTS: &[u8] = &[0x55, 0x1d, 0x1f];
pub(super) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];
pub(super) const POLICY_MAPPINGS: &[u8] = &[0x55, 0x1d, 0x21];
pub(super) const POLICY_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x24];
pub(super) const INHIBIT_ANY_POLICY: &[u8] = &[0x55, 0x1d, 0x36];
pub(super) const AUTHORITY_INFO_ACCESS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 1];
pub(super) const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
/// 1.3.6.1.4.1.32473.1, of the documentation arc (RFC 5612).
pub(super) const PRIVATE: &[u8] = &[0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 1];

pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut value = vec![tag];
    value.extend(length_octets(content.len()));
    value.extend_from_slice(content);
    value
}

pub(super) fn seq(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(tag::SEQUENCE, &parts.concat())
}

pub(super) fn oid(content: &[u8]) -> Vec<u8> {
    tlv(tag::OID, content)
}

pub(super) fn attribute(oid: &[u8], tag: u8, text: &[u8]) -> Vec<u8> {
    seq(&[self::oid(oid), tlv(tag, text)])
}

/// A name of one RDN with these attributes.
pub(super) fn name(attributes: &[Vec<u8>]) -> Vec<u8> {
    seq(&[tlv(tag::SET, &attributes.concat())])
}

pub(super) fn common_name(text: &str) -> Vec<u8> {
    name(&[attribute(CN, tag::UTF8_STRING, text.as_bytes())])
}

pub(super) fn extension(oid: &[u8], critical: bool, value: Vec<u8>) -> Vec<u8> {
    let mut parts = vec![self::oid(oid)];
    if critical {
        parts.push(vec![tag::BOOLEAN, 1, 0xff]);
    }
    parts.push(tlv(tag::OCTET_STRING, &value));
    seq(&parts)
}

pub(super) fn key_usage(unused: u8, octets: &[u8]) -> Vec<u8> {
    tlv(tag::BIT_STRING, &[&[unused], octets].concat())
}

pub(super) fn alt_name(tag: u8, content: &[u8]) -> Vec<u8> {
    seq(&[tlv(tag, content)])
}

/// SubjectPublicKeyInfo with these parameters.
pub(super) fn spki(algorithm: &[u8], parameters: &[Vec<u8>], key: &[u8]) -> Vec<u8> {
    let identifier = [vec![oid(algorithm)], parameters.to_vec()].concat();
    seq(&[
        seq(&identifier),
        tlv(tag::BIT_STRING, &[&[0], key].concat()),
    ])
}

pub(super) fn ec_spki(point: &[u8]) -> Vec<u8> {
    spki(oid::EC_PUBLIC_KEY, &[oid(oid::SECP256R1)], point)
}

pub(super) fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let key = seq(&[tlv(tag::INTEGER, modulus), tlv(tag::INTEGER, exponent)]);
    spki(oid::RSA_ENCRYPTION, &[vec![tag::NULL, 0]], &key)
}

/// The fields of a certificate, each as it is encoded.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) version: Vec<u8>,
    pub(super) serial: Vec<u8>,
    pub(super) algorithm: Vec<u8>,
    /// Instead of the same again.
    pub(super) outer_algorithm: Option<Vec<u8>>,
    pub(super) issuer: Vec<u8>,
    pub(super) not_before: Vec<u8>,
    pub(super) not_after: Vec<u8>,
    pub(super) subject: Vec<u8>,
    pub(super) spki: Vec<u8>,
    pub(super) unique_ids: Vec<u8>,
    /// Identifier, criticality and value.
    pub(super) extensions: Vec<(&'static [u8], bool, Vec<u8>)>,
    /// Instead of those, whole.
    pub(super) extension_list: Option<Vec<u8>>,
    /// Instead of one that verifies.
    pub(super) signature: Option<Vec<u8>>,
    /// Behind the certificate.
    pub(super) trailing: Vec<u8>,
}

impl Parts {
    /// A device's certificate with about every extension that one can have.
    pub(super) fn end_entity() -> Self {
        let uri = |tag: u8| tlv(tag, b"http://pki.example.com/ca.crl");
        let point = seq(&[seq(&[tlv(0xa0, &tlv(0xa0, &uri(0x86)))])]);
        let ocsp = oid(&[0x2b, 6, 1, 5, 5, 7, 0x30, 1]);
        let hardware = seq(&[oid(PRIVATE), tlv(tag::OCTET_STRING, b"SN-1")]);
        let other_name = [oid(oid::HARDWARE_MODULE_NAME), tlv(0xa0, &hardware)].concat();
        let alt_names = [
            tlv(0xa0, &other_name),
            tlv(0x81, b"device@example.com"),
            tlv(0x82, b"device-1.example.com"),
            tlv(0xa4, &common_name("device")),
            tlv(0x86, b"urn:example:device:1"),
            tlv(0x87, &[192, 0, 2, 1]),
            tlv(0x88, PRIVATE),
        ];
        Self {
            subject: common_name("Device 1"),
            spki: ec_spki(&DOUBLE_POINT),
            extensions: vec![
                (
                    oid::AUTHORITY_KEY_IDENTIFIER,
                    false,
                    seq(&[tlv(0x80, &key_identifier(&BASE_POINT))]),
                ),
                (
                    oid::SUBJECT_KEY_IDENTIFIER,
                    false,
                    tlv(tag::OCTET_STRING, &key_identifier(&DOUBLE_POINT)),
                ),
                (oid::KEY_USAGE, true, key_usage(7, &[0x80])),
                (oid::EXT_KEY_USAGE, false, seq(&[oid(CLIENT_AUTH)])),
                (oid::BASIC_CONSTRAINTS, true, seq(&[])),
                (oid::SUBJECT_ALT_NAME, false, seq(&alt_names)),
                (POLICIES, false, seq(&[seq(&[oid(PRIVATE)])])),
                (CRL_POINTS, false, point),
                (
                    AUTHORITY_INFO_ACCESS,
                    false,
                    seq(&[seq(&[ocsp, tlv(0x86, b"http://ocsp.example.com")])]),
                ),
            ],
            ..Self::ca()
        }
    }

    /// An issuing CA's certificate, under a root of the same key pair.
    pub(super) fn ca() -> Self {
        let subtree = seq(&[tlv(0x82, b"example.com")]);
        let other = &[0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 2];
        Self {
            version: vec![tag::context_constructed(0), 3, tag::INTEGER, 1, 2],
            serial: tlv(tag::INTEGER, &[0x4a; 16]),
            algorithm: seq(&[oid(oid::ECDSA_SHA256)]),
            outer_algorithm: None,
            issuer: common_name("Example Root CA"),
            not_before: tlv(tag::UTC_TIME, b"260101000000Z"),
            not_after: tlv(tag::UTC_TIME, b"351231235959Z"),
            subject: common_name("Example Issuing CA"),
            spki: ec_spki(&BASE_POINT),
            unique_ids: Vec::new(),
            extensions: vec![
                (
                    oid::AUTHORITY_KEY_IDENTIFIER,
                    false,
                    seq(&[tlv(0x80, &key_identifier(&BASE_POINT))]),
                ),
                (
                    oid::SUBJECT_KEY_IDENTIFIER,
                    false,
                    tlv(tag::OCTET_STRING, &key_identifier(&BASE_POINT)),
                ),
                (oid::KEY_USAGE, true, key_usage(1, &[0x06])),
                (
                    oid::BASIC_CONSTRAINTS,
                    true,
                    seq(&[tlv(tag::BOOLEAN, &[0xff]), tlv(tag::INTEGER, &[0])]),
                ),
                (NAME_CONSTRAINTS, true, seq(&[tlv(0xa0, &subtree)])),
                (
                    POLICY_MAPPINGS,
                    true,
                    seq(&[seq(&[oid(PRIVATE), oid(other)])]),
                ),
                (POLICY_CONSTRAINTS, true, seq(&[tlv(0x80, &[0])])),
                (INHIBIT_ANY_POLICY, true, tlv(tag::INTEGER, &[0])),
            ],
            extension_list: None,
            signature: None,
            trailing: Vec::new(),
        }
    }

    /// Replaces the key, and the subject key identifier with it.
    pub(super) fn set_key(&mut self, spki: Vec<u8>) {
        let value = single(&spki, tag::SEQUENCE).unwrap();
        if let Some(read) = Spki::read(value) {
            let identifier = tlv(tag::OCTET_STRING, &key_identifier(read.key));
            self.set(oid::SUBJECT_KEY_IDENTIFIER, identifier);
        }
        self.spki = spki;
    }

    /// Replaces an extension's value.
    pub(super) fn set(&mut self, oid: &'static [u8], value: Vec<u8>) {
        let found = self.extensions.iter_mut().find(|(found, ..)| *found == oid);
        found.unwrap().2 = value;
    }

    pub(super) fn set_critical(&mut self, oid: &'static [u8], critical: bool) {
        let found = self.extensions.iter_mut().find(|(found, ..)| *found == oid);
        found.unwrap().1 = critical;
    }

    pub(super) fn add(&mut self, oid: &'static [u8], critical: bool, value: Vec<u8>) {
        self.extensions.push((oid, critical, value));
    }

    pub(super) fn remove(&mut self, oid: &'static [u8]) {
        self.extensions.retain(|(found, ..)| *found != oid);
    }

    pub(super) fn extension_values(&self) -> Vec<Vec<u8>> {
        let encode = |(oid, critical, value): &(&'static [u8], bool, Vec<u8>)| {
            extension(oid, *critical, value.clone())
        };
        self.extensions.iter().map(encode).collect()
    }

    pub(super) fn tbs(&self) -> Vec<u8> {
        let extensions = self
            .extension_list
            .clone()
            .unwrap_or_else(|| seq(&self.extension_values()));
        seq(&[
            self.version.clone(),
            self.serial.clone(),
            self.algorithm.clone(),
            self.issuer.clone(),
            seq(&[self.not_before.clone(), self.not_after.clone()]),
            self.subject.clone(),
            self.spki.clone(),
            self.unique_ids.clone(),
            tlv(tag::context_constructed(3), &extensions),
        ])
    }

    /// The certificate, signed with the private key 1.
    pub(super) fn der(&self) -> Vec<u8> {
        let tbs = self.tbs();
        let signature = self
            .signature
            .clone()
            .unwrap_or_else(|| tlv(tag::BIT_STRING, &[&[0], &sign(&tbs)[..]].concat()));
        let algorithm = self.outer_algorithm.as_ref().unwrap_or(&self.algorithm);
        let mut der = seq(&[tbs, algorithm.clone(), signature]);
        der.extend_from_slice(&self.trailing);
        der
    }
}

pub(super) fn key_identifier(point: &[u8]) -> Vec<u8> {
    digest(&SHA256, point).as_ref()[..20].to_vec()
}

pub(super) fn sign(tbs: &[u8]) -> Vec<u8> {
    let mut one = [0; 32];
    one[31] = 1;
    let pair = EcdsaKeyPair::from_private_key_and_public_key(
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        &one,
        &BASE_POINT,
    );
    let signature = pair.unwrap().sign(&SystemRandom::new(), tbs).unwrap();
    signature.as_ref().to_vec()
}

//! The rows: which rules break, and by which change of a good certificate. Those of end entities are below.

mod extensions;
mod fields;

use super::parts::*;
use crate::der::tag;
use crate::oid;

pub(super) use extensions::EXTENSIONS;
pub(super) use fields::FIELDS;

/// The identifiers of the rules, sorted, and the change that breaks exactly these.
pub(super) type Fault = (&'static str, fn(&mut Parts));

const BMP_STRING: u8 = 0x1e;
const TELETEX_STRING: u8 = 0x14;
const SHA256_WITH_RSA: &[u8] = oid::RSA_SHA256;
const SHA1_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5];
const X25519: &[u8] = &[0x2b, 0x65, 0x6e];
const CPS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 2, 1];
const USER_NOTICE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 2, 2];
const ANY_POLICY: &[u8] = &[0x55, 0x1d, 0x20, 0];
const MATTER_VID: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0xa2, 0x7c, 2, 1];

fn subject(oid: &[u8], tag: u8, text: &[u8]) -> Vec<u8> {
    name(&[attribute(oid, tag, text)])
}

fn private(parts: &mut Parts, value: Vec<u8>) {
    parts.add(PRIVATE, false, value);
}

fn san(parts: &mut Parts, tag: u8, content: &[u8]) {
    parts.set(oid::SUBJECT_ALT_NAME, alt_name(tag, content));
}

/// A value of the subject's, which no other rule looks into.
fn oddity(parts: &mut Parts, tag: u8, content: &[u8]) {
    parts.subject = subject(PRIVATE, tag, content);
}

/// 2^2048 - 29, which has no small factor.
fn sound_modulus() -> Vec<u8> {
    let mut modulus = vec![0xff; 257];
    modulus[0] = 0;
    modulus[255..].copy_from_slice(&[0xff, 0xe3]);
    modulus
}

fn rsa(change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>)) -> Vec<u8> {
    let (mut modulus, mut exponent) = (sound_modulus(), vec![1, 0, 1]);
    change(&mut modulus, &mut exponent);
    rsa_spki(&modulus, &exponent)
}

fn policies(parts: &mut Parts, qualifier: Vec<u8>) {
    let policy = seq(&[oid(PRIVATE), seq(&[qualifier])]);
    parts.set(POLICIES, seq(&[policy]));
}

pub(super) const CA: &[Fault] = &[
    ("subject-empty-ca", |p| p.subject = seq(&[])),
    ("ski-missing-ca", |p| p.remove(oid::SUBJECT_KEY_IDENTIFIER)),
    ("key-usage-missing-ca", |p| p.remove(oid::KEY_USAGE)),
    ("basic-constraints-path-length key-usage-ca", |p| {
        p.set(oid::KEY_USAGE, key_usage(1, &[0x02]));
    }),
    ("basic-constraints-path-negative", |p| {
        let ca = vec![tag::BOOLEAN, 1, 0xff];
        p.set(
            oid::BASIC_CONSTRAINTS,
            seq(&[ca, vec![tag::INTEGER, 1, 0xff]]),
        );
    }),
    ("critical-missing", |p| {
        p.set_critical(oid::BASIC_CONSTRAINTS, false)
    }),
    ("critical-missing", |p| {
        p.set_critical(NAME_CONSTRAINTS, false)
    }),
    ("name-constraints-empty", |p| {
        p.set(NAME_CONSTRAINTS, seq(&[]))
    }),
    ("name-constraints-base", |p| {
        let subtree = seq(&[tlv(0x82, b"example.com"), vec![0x80, 1, 0]]);
        p.set(NAME_CONSTRAINTS, seq(&[tlv(0xa0, &subtree)]));
    }),
    ("general-name-ip", |p| {
        let subtree = seq(&[tlv(0x87, &[10, 0, 0, 0])]);
        p.set(NAME_CONSTRAINTS, seq(&[tlv(0xa1, &subtree)]));
    }),
    ("policy-constraints-empty", |p| {
        p.set(POLICY_CONSTRAINTS, seq(&[]))
    }),
    ("policy-mapping-any", |p| {
        let mapping = seq(&[oid(PRIVATE), oid(ANY_POLICY)]);
        p.set(POLICY_MAPPINGS, seq(&[mapping]));
    }),
];

/// Against an issuer whose certificate is known.
pub(super) const ISSUED: &[Fault] = &[
    ("issuer-name", |p| {
        p.issuer = common_name("Example  Root CA")
    }),
    ("issuer-not-before", |p| {
        p.not_before = tlv(tag::UTC_TIME, b"251231235959Z")
    }),
    ("issuer-not-after", |p| {
        p.not_after = tlv(tag::UTC_TIME, b"360101000000Z")
    }),
    ("issuer-key-identifier", |p| {
        let identifier = tlv(0x80, &key_identifier(&DOUBLE_POINT));
        p.set(oid::AUTHORITY_KEY_IDENTIFIER, seq(&[identifier]));
    }),
    ("issuer-key-certified", |p| p.set_key(ec_spki(&BASE_POINT))),
    ("issuer-signature", |p| {
        let other = Parts::ca().der();
        let signature = super::super::der::single(&other, tag::SEQUENCE).unwrap();
        p.signature = signature
            .values()
            .nth(2)
            .map(|value| value.encoding.to_vec());
    }),
    ("issuer-algorithm", |p| {
        p.algorithm = seq(&[oid(SHA256_WITH_RSA), vec![5, 0]]);
    }),
    ("issuer-unverified", |p| {
        // ecdsa-with-SHA224.
        p.algorithm = seq(&[oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 1])]);
    }),
    ("algorithm-unknown issuer-unverified", |p| {
        p.algorithm = seq(&[oid(PRIVATE)]);
    }),
];

/// Rules with a test of their own.
pub(super) const OTHERS: &[&str] = &[
    "der-truncated",
    "der-length-indefinite",
    "extensions-empty",
    "issuer-ca",
    "limit-depth",
    "limit-size",
    "limit-values",
    "profile-basic-constraints",
    "profile-constant",
    "profile-critical",
    "profile-eku",
    "profile-extension",
    "profile-extension-missing",
    "profile-indefinite",
    "profile-key",
    "profile-key-usage",
    "profile-matter-ids",
    "profile-size",
    "profile-string-type",
    "profile-subject",
    "profile-subject-attributes",
    "purpose-ca",
    "purpose-end-entity",
    "request-key",
    "request-serial",
];

//! Faults of the subject's public key: RFC 5280 §4.1.2.7 and the algorithms' own RFCs.

use super::certificate::SPKI;
use super::{CertificateFault, Change, fault};
use crate::authority::Base::{Idevid, IdevidEd25519, IdevidMlDsa, TlsClientRsa};
use crate::der_tree::{Node, explicit_p256};

const EC: &str = "RFC 5480 §2.1.1";
const EC_POINT: &str = "RFC 5480 §2.2";
const RSA: &str = "RFC 8017 appendix A.1.1";

/// The BIT STRING of the key.
fn key(certificate: &mut Node) -> &mut Node {
    &mut certificate[0][SPKI][1]
}

/// The AlgorithmIdentifier of the key.
fn algorithm(certificate: &mut Node) -> &mut Node {
    &mut certificate[0][SPKI][0]
}

/// Changes an INTEGER of the RSAPublicKey: 0 is the modulus, 1 the exponent.
fn rsa_number(certificate: &mut Node, number: usize, change: impl FnOnce(&mut Vec<u8>)) {
    key(certificate).within(|rsa| change(rsa[number].bytes_mut()));
}

pub(super) const FAULTS: &[CertificateFault] = &[
    fault(
        "key-off-curve",
        Idevid,
        "RFC 5480 §2.2",
        &["key-ec-off-curve"],
        Change::Signed(|c| {
            *key(c).bytes_mut().last_mut().unwrap() ^= 1;
        }),
    ),
    fault(
        "key-at-infinity",
        Idevid,
        EC_POINT,
        &["key-ec-point"],
        Change::Signed(|c| {
            *key(c) = Node::bits(0, &[0]);
        }),
    ),
    fault(
        "key-of-zeros",
        Idevid,
        EC_POINT,
        &["key-ec-off-curve"],
        Change::Signed(|c| {
            key(c).bytes_mut()[2..].fill(0);
        }),
    ),
    fault(
        "key-coordinate-over-field",
        Idevid,
        EC_POINT,
        &["key-ec-off-curve"],
        Change::Signed(|c| {
            key(c).bytes_mut()[2..34].fill(0xff);
        }),
    ),
    fault(
        "key-point-one-octet-short",
        Idevid,
        EC_POINT,
        &["key-ec-point"],
        Change::Signed(|c| {
            key(c).bytes_mut().pop();
        }),
    ),
    fault(
        "key-point-one-octet-long",
        Idevid,
        EC_POINT,
        &["key-ec-point"],
        Change::Signed(|c| {
            key(c).bytes_mut().push(0);
        }),
    ),
    fault(
        "key-point-hybrid",
        Idevid,
        EC_POINT,
        &["key-ec-point"],
        Change::Signed(|c| {
            let parity = key(c).bytes().last().unwrap() & 1;
            key(c).bytes_mut()[1] = 6 | parity;
        }),
    ),
    fault(
        "key-point-of-unknown-form",
        Idevid,
        EC_POINT,
        &["key-ec-point"],
        Change::Signed(|c| {
            key(c).bytes_mut()[1] = 5;
        }),
    ),
    fault(
        "key-empty",
        Idevid,
        EC_POINT,
        &["key-ec-point"],
        Change::Signed(|c| {
            *key(c) = Node::bits(0, &[]);
        }),
    ),
    fault(
        "key-curve-absent",
        Idevid,
        EC,
        &["key-ec-named-curve"],
        Change::Signed(|c| {
            algorithm(c).nodes_mut().pop();
        }),
    ),
    fault(
        "key-curve-null",
        Idevid,
        EC,
        &["key-ec-named-curve"],
        Change::Signed(|c| {
            algorithm(c)[1] = Node::null();
        }),
    ),
    fault(
        "key-curve-explicit",
        Idevid,
        EC,
        &["key-ec-named-curve"],
        Change::Signed(|c| {
            algorithm(c)[1] = explicit_p256();
        }),
    ),
    fault(
        "key-curve-unknown",
        Idevid,
        EC,
        &["profile-key"],
        Change::Signed(|c| {
            algorithm(c)[1] = Node::oid("1.2.840.10045.3.1.99");
        }),
    ),
    fault(
        "key-curve-of-another-size",
        Idevid,
        EC_POINT,
        &["key-ec-point"],
        Change::Signed(|c| {
            algorithm(c)[1] = Node::oid("1.3.132.0.34");
        }),
    ),
    fault(
        "key-algorithm-with-value-after",
        Idevid,
        EC,
        &["key-ec-named-curve"],
        Change::Signed(|c| {
            algorithm(c).push(Node::null());
        }),
    ),
    fault(
        "key-algorithm-unknown",
        Idevid,
        "RFC 5280 §4.1.2.7",
        &["profile-key"],
        Change::Signed(|c| {
            algorithm(c)[0] = Node::oid("1.3.6.1.4.1.32473.8");
        }),
    ),
    fault(
        "key-with-value-after",
        Idevid,
        "RFC 5280 §4.1",
        &["key-structure"],
        Change::Signed(|c| {
            c[0][SPKI].push(Node::null());
        }),
    ),
    fault(
        "key-rsa-parameters-absent",
        TlsClientRsa,
        "RFC 3279 §2.3.1",
        &["key-rsa-null"],
        Change::Signed(|c| {
            algorithm(c).nodes_mut().pop();
        }),
    ),
    fault(
        "key-rsa-modulus-even",
        TlsClientRsa,
        RSA,
        &["key-rsa-even"],
        Change::Signed(|c| {
            rsa_number(c, 0, |modulus| *modulus.last_mut().unwrap() ^= 1);
        }),
    ),
    fault(
        "key-rsa-modulus-negative",
        TlsClientRsa,
        RSA,
        &["key-rsa-form"],
        Change::Signed(|c| {
            rsa_number(c, 0, |modulus| *modulus = modulus[1..].to_vec());
        }),
    ),
    fault(
        "key-rsa-modulus-padded",
        TlsClientRsa,
        "X.690 §8.3.2",
        &["der-integer"],
        Change::Signed(|c| {
            rsa_number(c, 0, |modulus| modulus.insert(0, 0));
        }),
    ),
    fault(
        "key-rsa-of-1024-bits",
        TlsClientRsa,
        "NIST SP 800-131A §5",
        &["key-rsa-bits"],
        Change::Signed(|c| {
            rsa_number(c, 0, |modulus| modulus.truncate(129));
            rsa_number(c, 0, |modulus| modulus[128] |= 1);
        }),
    ),
    fault(
        "key-rsa-exponent-1",
        TlsClientRsa,
        RSA,
        &["key-rsa-exponent"],
        Change::Signed(|c| {
            rsa_number(c, 1, |exponent| *exponent = vec![1]);
        }),
    ),
    fault(
        "key-rsa-exponent-even",
        TlsClientRsa,
        RSA,
        &["key-rsa-exponent"],
        Change::Signed(|c| {
            rsa_number(c, 1, |exponent| *exponent = vec![1, 0, 0]);
        }),
    ),
    fault(
        "key-rsa-exponent-3",
        TlsClientRsa,
        "NIST SP 800-56B §6.2",
        &["key-rsa-exponent-65537"],
        Change::Signed(|c| {
            rsa_number(c, 1, |exponent| *exponent = vec![3]);
        }),
    ),
    fault(
        "key-rsa-exponent-zero",
        TlsClientRsa,
        RSA,
        &["key-rsa-form"],
        Change::Signed(|c| {
            rsa_number(c, 1, |exponent| *exponent = vec![0]);
        }),
    ),
    fault(
        "key-rsa-with-third-number",
        TlsClientRsa,
        RSA,
        &["key-rsa-form"],
        Change::Signed(|c| {
            key(c).within(|rsa| rsa.push(Node::integer(&[7])));
        }),
    ),
    fault(
        "key-rsa-octet-after",
        TlsClientRsa,
        RSA,
        &["key-rsa-form"],
        Change::Signed(|c| {
            key(c).bytes_mut().push(0);
        }),
    ),
    fault(
        "key-ed25519-parameters-null",
        IdevidEd25519,
        "RFC 8410 §3",
        &["key-rfc8410-parameters"],
        Change::Signed(|c| {
            algorithm(c).push(Node::null());
        }),
    ),
    fault(
        "key-ed25519-of-31-octets",
        IdevidEd25519,
        "RFC 8410 §4",
        &["key-rfc8410-length"],
        Change::Signed(|c| {
            key(c).bytes_mut().pop();
        }),
    ),
    fault(
        "key-ed25519-inside-octet-string",
        IdevidEd25519,
        "RFC 8410 §4",
        &["key-rfc8410-length"],
        Change::Signed(|c| {
            let inside = Node::octets(&key(c).bytes()[1..]);
            *key(c) = Node::bits(0, &inside.encode());
        }),
    ),
    fault(
        "key-ml-dsa-parameters-null",
        IdevidMlDsa,
        "RFC 9881 §2",
        &["key-ml-dsa-parameters"],
        Change::Signed(|c| {
            algorithm(c).push(Node::null());
        }),
    ),
    fault(
        "key-ml-dsa-one-octet-short",
        IdevidMlDsa,
        "RFC 9881 §4",
        &["key-ml-dsa-length"],
        Change::Signed(|c| {
            key(c).bytes_mut().pop();
        }),
    ),
    fault(
        "key-ml-dsa-of-another-set",
        IdevidMlDsa,
        "RFC 9881 §4",
        &["key-ml-dsa-length"],
        Change::Signed(|c| {
            algorithm(c)[0] = Node::oid("2.16.840.1.101.3.4.3.18");
        }),
    ),
];

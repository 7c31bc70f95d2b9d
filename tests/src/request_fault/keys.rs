//! Faults of the device's key. The signature is the device's good key's: a request whose key is refused never
//! comes to it.

use birthmark_hsm::KeyAlgorithm::{EcP256, Ed25519, MlDsa44, Rsa2048};

use super::request::SPKI;
use super::{Change, RequestFault, refused};
use crate::der_tree::{Node, explicit_p256};

const EC: &str = "RFC 5480 §2.1.1";
const POINT: &str = "RFC 5480 §2.2";
const RSA: &str = "RFC 8017 appendix A.1.1";

fn key(request: &mut Node) -> &mut Node {
    &mut request[0][SPKI][1]
}

fn algorithm(request: &mut Node) -> &mut Node {
    &mut request[0][SPKI][0]
}

fn rsa_number(request: &mut Node, number: usize, change: impl FnOnce(&mut Vec<u8>)) {
    key(request).within(|rsa| change(rsa[number].bytes_mut()));
}

/// A key of an algorithm that is none of ours.
fn foreign(request: &mut Node, dotted: &str, octets: usize) {
    let algorithm = Node::sequence([Node::oid(dotted)]);
    request[0][SPKI] = Node::sequence([algorithm, Node::bits(0, &vec![9; octets])]);
}

pub(super) const FAULTS: &[RequestFault] = &[
    refused(
        "key-off-curve",
        EcP256,
        POINT,
        "ec-point",
        Change::Signed(|r| {
            *key(r).bytes_mut().last_mut().unwrap() ^= 1;
        }),
    ),
    refused(
        "key-of-zeros",
        EcP256,
        POINT,
        "ec-point",
        Change::Signed(|r| {
            key(r).bytes_mut()[2..].fill(0);
        }),
    ),
    refused(
        "key-coordinate-over-field",
        EcP256,
        POINT,
        "ec-point",
        Change::Signed(|r| {
            key(r).bytes_mut()[2..34].fill(0xff);
        }),
    ),
    refused(
        "key-at-infinity",
        EcP256,
        POINT,
        "ec-point",
        Change::Signed(|r| {
            *key(r) = Node::bits(0, &[0]);
        }),
    ),
    refused(
        "key-point-compressed",
        EcP256,
        POINT,
        "key-unsupported",
        Change::Signed(|r| {
            let parity = key(r).bytes().last().unwrap() & 1;
            key(r).bytes_mut().truncate(34);
            key(r).bytes_mut()[1] = 2 | parity;
        }),
    ),
    refused(
        "key-point-hybrid",
        EcP256,
        POINT,
        "key-unsupported",
        Change::Signed(|r| {
            let parity = key(r).bytes().last().unwrap() & 1;
            key(r).bytes_mut()[1] = 6 | parity;
        }),
    ),
    refused(
        "key-point-one-octet-short",
        EcP256,
        POINT,
        "key-unsupported",
        Change::Signed(|r| {
            key(r).bytes_mut().pop();
        }),
    ),
    refused(
        "key-point-one-octet-long",
        EcP256,
        POINT,
        "key-unsupported",
        Change::Signed(|r| {
            key(r).bytes_mut().push(0);
        }),
    ),
    refused(
        "key-empty",
        EcP256,
        POINT,
        "key-unsupported",
        Change::Signed(|r| {
            *key(r) = Node::bits(0, &[]);
        }),
    ),
    refused(
        "key-unused-bits",
        EcP256,
        "RFC 5280 §4.1",
        "malformed",
        Change::Signed(|r| {
            key(r).bytes_mut()[0] = 1;
            *key(r).bytes_mut().last_mut().unwrap() &= 0xfe;
        }),
    ),
    refused(
        "key-curve-absent",
        EcP256,
        EC,
        "key-unsupported",
        Change::Signed(|r| {
            algorithm(r).nodes_mut().pop();
        }),
    ),
    refused(
        "key-curve-null",
        EcP256,
        EC,
        "key-unsupported",
        Change::Signed(|r| {
            algorithm(r)[1] = Node::null();
        }),
    ),
    refused(
        "key-curve-explicit",
        EcP256,
        "CVE-2022-0778",
        "key-unsupported",
        Change::Signed(|r| {
            algorithm(r)[1] = explicit_p256();
        }),
    ),
    refused(
        "key-curve-secp256k1",
        EcP256,
        EC,
        "key-unsupported",
        Change::Signed(|r| {
            algorithm(r)[1] = Node::oid("1.3.132.0.10");
        }),
    ),
    refused(
        "key-curve-of-another-size",
        EcP256,
        POINT,
        "key-unsupported",
        Change::Signed(|r| {
            algorithm(r)[1] = Node::oid("1.3.132.0.34");
        }),
    ),
    refused(
        "key-algorithm-with-value-after",
        EcP256,
        EC,
        "malformed",
        Change::Signed(|r| {
            algorithm(r).push(Node::null());
        }),
    ),
    refused(
        "key-ec-dh-only",
        EcP256,
        "RFC 5480 §2.1.2",
        "key-unsupported",
        Change::Signed(|r| {
            algorithm(r)[0] = Node::oid("1.3.132.1.12");
        }),
    ),
    refused(
        "key-dsa",
        EcP256,
        "RFC 5280 §4.1.2.7",
        "key-unsupported",
        Change::Signed(|r| {
            foreign(r, "1.2.840.10040.4.1", 128);
        }),
    ),
    refused(
        "key-x25519",
        EcP256,
        "RFC 8410 §3",
        "key-unsupported",
        Change::Signed(|r| {
            foreign(r, "1.3.101.110", 32);
        }),
    ),
    refused(
        "key-ed448",
        EcP256,
        "RFC 8410 §3",
        "key-unsupported",
        Change::Signed(|r| {
            foreign(r, "1.3.101.113", 57);
        }),
    ),
    refused(
        "key-of-issuer",
        EcP256,
        "RFC 5280 §4.2.1.9",
        "issuer-key",
        Change::IssuersKey,
    ),
    refused(
        "key-rsa-parameters-absent",
        Rsa2048,
        "RFC 3279 §2.3.1",
        "malformed",
        Change::Signed(|r| {
            algorithm(r).nodes_mut().pop();
        }),
    ),
    refused(
        "key-rsa-modulus-even",
        Rsa2048,
        RSA,
        "rsa-policy",
        Change::Signed(|r| {
            rsa_number(r, 0, |modulus| *modulus.last_mut().unwrap() ^= 1);
        }),
    ),
    refused(
        "key-rsa-modulus-negative",
        Rsa2048,
        RSA,
        "malformed",
        Change::Signed(|r| {
            rsa_number(r, 0, |modulus| modulus.truncate(modulus.len() - 1));
            rsa_number(r, 0, |modulus| modulus[0] = 0x80);
        }),
    ),
    refused(
        "key-rsa-modulus-padded",
        Rsa2048,
        "X.690 §8.3.2",
        "malformed",
        Change::Signed(|r| {
            rsa_number(r, 0, |modulus| modulus.insert(0, 0));
        }),
    ),
    refused(
        "key-rsa-of-1024-bits",
        Rsa2048,
        "NIST SP 800-131A §5",
        "rsa-policy",
        Change::Signed(|r| {
            rsa_number(r, 0, |modulus| modulus.truncate(129));
            rsa_number(r, 0, |modulus| modulus[128] |= 1);
        }),
    ),
    refused(
        "key-rsa-of-2047-bits",
        Rsa2048,
        "NIST SP 800-131A §5",
        "rsa-policy",
        Change::Signed(|r| {
            rsa_number(r, 0, |modulus| *modulus = [&[0x7f], &modulus[2..]].concat());
        }),
    ),
    refused(
        "key-rsa-of-16384-bits",
        Rsa2048,
        "Birthmark size limit",
        "rsa-policy",
        Change::Signed(|r| {
            rsa_number(r, 0, |modulus| {
                *modulus = [&[0][..], &modulus[1..].repeat(8)].concat()
            });
        }),
    ),
    refused(
        "key-rsa-exponent-zero",
        Rsa2048,
        RSA,
        "rsa-policy",
        Change::Signed(|r| {
            rsa_number(r, 1, |exponent| *exponent = vec![0]);
        }),
    ),
    refused(
        "key-rsa-exponent-1",
        Rsa2048,
        RSA,
        "rsa-policy",
        Change::Signed(|r| {
            rsa_number(r, 1, |exponent| *exponent = vec![1]);
        }),
    ),
    refused(
        "key-rsa-exponent-3",
        Rsa2048,
        "NIST SP 800-56B §6.2",
        "rsa-policy",
        Change::Signed(|r| {
            rsa_number(r, 1, |exponent| *exponent = vec![3]);
        }),
    ),
    refused(
        "key-rsa-exponent-even",
        Rsa2048,
        RSA,
        "rsa-policy",
        Change::Signed(|r| {
            rsa_number(r, 1, |exponent| *exponent = vec![1, 0, 2]);
        }),
    ),
    refused(
        "key-rsa-exponent-over-256-bits",
        Rsa2048,
        "NIST SP 800-56B §6.2",
        "rsa-policy",
        Change::Signed(|r| {
            rsa_number(r, 1, |exponent| *exponent = vec![1; 33]);
        }),
    ),
    refused(
        "key-rsa-with-third-number",
        Rsa2048,
        RSA,
        "malformed",
        Change::Signed(|r| {
            key(r).within(|rsa| rsa.push(Node::integer(&[7])));
        }),
    ),
    refused(
        "key-rsa-octet-after",
        Rsa2048,
        RSA,
        "malformed",
        Change::Signed(|r| {
            key(r).bytes_mut().push(0);
        }),
    ),
    refused(
        "key-ed25519-parameters-null",
        Ed25519,
        "RFC 8410 §3",
        "malformed",
        Change::Signed(|r| {
            algorithm(r).push(Node::null());
        }),
    ),
    refused(
        "key-ed25519-of-31-octets",
        Ed25519,
        "RFC 8410 §4",
        "key-unsupported",
        Change::Signed(|r| {
            key(r).bytes_mut().pop();
        }),
    ),
    refused(
        "key-ed25519-of-small-order",
        Ed25519,
        "RFC 8032 §5.1.7",
        "key-unsupported",
        Change::Signed(|r| {
            // The neutral point, y = 1: anybody can sign for it.
            key(r).bytes_mut()[1..].fill(0);
            key(r).bytes_mut()[1] = 1;
        }),
    ),
    refused(
        "key-ed25519-off-curve",
        Ed25519,
        "RFC 8032 §5.1.3",
        "proof-of-possession",
        Change::Signed(|r| {
            key(r).bytes_mut()[1..].fill(0);
            key(r).bytes_mut()[1] = 2;
        }),
    ),
    refused(
        "key-ml-dsa-parameters-null",
        MlDsa44,
        "RFC 9881 §2",
        "malformed",
        Change::Signed(|r| {
            algorithm(r).push(Node::null());
        }),
    ),
    refused(
        "key-ml-dsa-one-octet-short",
        MlDsa44,
        "RFC 9881 §4",
        "key-unsupported",
        Change::Signed(|r| {
            key(r).bytes_mut().pop();
        }),
    ),
    refused(
        "key-ml-dsa-of-another-set",
        MlDsa44,
        "RFC 9881 §4",
        "key-unsupported",
        Change::Signed(|r| {
            algorithm(r)[0] = Node::oid("2.16.840.1.101.3.4.3.18");
        }),
    ),
];

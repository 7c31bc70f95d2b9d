//! Faults of the signature: proof of possession, RFC 2986 §4.2.

use birthmark_hsm::KeyAlgorithm::{EcP256, Ed25519, MlDsa44, Rsa2048};

use super::request::{SUBJECT, rdn, utf8};
use super::{Change, RequestFault, device, refused};
use crate::der_tree::Node;

const PROOF: &str = "RFC 2986 §4.2";
const ECDSA: &str = "RFC 5758 §3.2";
const PSS: &str = "RFC 4055 §3.1";
const WEAK_HASH: &str = "RFC 6194 §3, RFC 6151 §2";

/// RSASSA-PSS parameters: hash, MGF1's hash and the octets of salt.
fn pss(request: &mut Node, hash: &str, mask_hash: &str, salt: u8) {
    let algorithm = |dotted| Node::sequence([Node::oid(dotted), Node::null()]);
    let mask = Node::sequence([Node::oid("1.2.840.113549.1.1.8"), algorithm(mask_hash)]);
    let parameters = Node::sequence([
        Node::context_of(0, [algorithm(hash)]),
        Node::context_of(1, [mask]),
        Node::context_of(2, [Node::integer(&[salt])]),
    ]);
    request[1] = Node::sequence([Node::oid("1.2.840.113549.1.1.10"), parameters]);
}

const SHA1: &str = "1.3.14.3.2.26";
const SHA256: &str = "2.16.840.1.101.3.4.2.1";

pub(super) const FAULTS: &[RequestFault] = &[
    refused(
        "signature-bit-flipped",
        EcP256,
        PROOF,
        "proof-of-possession",
        Change::Unsigned(|r| {
            *r[2].bytes_mut().last_mut().unwrap() ^= 1;
        }),
    ),
    refused(
        "signature-of-another-key",
        EcP256,
        PROOF,
        "proof-of-possession",
        Change::Unsigned(|r| {
            let other = device(EcP256, 1 << 40);
            r[2] = Node::bits(0, &other.sign(&r[0].encode()).unwrap());
        }),
    ),
    refused(
        "key-of-another-device",
        EcP256,
        PROOF,
        "proof-of-possession",
        Change::Unsigned(|r| {
            let other = device(EcP256, (1 << 40) + 1).public_key_info().unwrap();
            r[0][2] = Node::parse(&other);
        }),
    ),
    refused(
        "content-changed",
        EcP256,
        PROOF,
        "proof-of-possession",
        Change::Unsigned(|r| {
            r[0][SUBJECT].push(rdn("2.5.4.11", utf8("Added later")));
        }),
    ),
    refused(
        "signature-empty",
        EcP256,
        PROOF,
        "proof-of-possession",
        Change::Unsigned(|r| {
            r[2] = Node::bits(0, &[]);
        }),
    ),
    refused(
        "signature-of-zeros",
        EcP256,
        "FIPS 186-5 §6.4.2",
        "proof-of-possession",
        Change::Unsigned(|r| {
            let zero = || Node::integer(&[0]);
            r[2] = Node::bits(0, &Node::sequence([zero(), zero()]).encode());
        }),
    ),
    refused(
        "signature-integer-padded",
        EcP256,
        "RFC 3279 §2.2.3",
        "proof-of-possession",
        Change::Unsigned(|r| {
            r[2].within(|pair| pair[0].bytes_mut().insert(0, 0));
        }),
    ),
    refused(
        "signature-with-octet-after",
        EcP256,
        "RFC 3279 §2.2.3",
        "proof-of-possession",
        Change::Unsigned(|r| {
            r[2].bytes_mut().push(0);
        }),
    ),
    refused(
        "signature-unused-bits",
        EcP256,
        PROOF,
        "malformed",
        Change::Unsigned(|r| {
            r[2].bytes_mut()[0] = 1;
            *r[2].bytes_mut().last_mut().unwrap() &= 0xfe;
        }),
    ),
    refused(
        "signature-in-octet-string",
        EcP256,
        PROOF,
        "malformed",
        Change::Unsigned(|r| {
            r[2].tag = 4;
        }),
    ),
    refused(
        "ecdsa-parameters-null",
        EcP256,
        ECDSA,
        "signature-algorithm",
        Change::Signed(|r| {
            r[1].push(Node::null());
        }),
    ),
    refused(
        "ecdsa-as-other-hash",
        EcP256,
        ECDSA,
        "proof-of-possession",
        Change::Signed(|r| {
            r[1][0] = Node::oid("1.2.840.10045.4.3.3");
        }),
    ),
    refused(
        "ecdsa-with-sha1",
        EcP256,
        WEAK_HASH,
        "signature-hash",
        Change::Signed(|r| {
            r[1][0] = Node::oid("1.2.840.10045.4.1");
        }),
    ),
    refused(
        "ecdsa-with-sha224",
        EcP256,
        ECDSA,
        "signature-algorithm",
        Change::Signed(|r| {
            r[1][0] = Node::oid("1.2.840.10045.4.3.1");
        }),
    ),
    refused(
        "rsa-algorithm-for-ec-key",
        EcP256,
        PROOF,
        "signature-algorithm",
        Change::Signed(|r| {
            r[1] = Node::sequence([Node::oid("1.2.840.113549.1.1.11"), Node::null()]);
        }),
    ),
    refused(
        "ed25519-algorithm-for-ec-key",
        EcP256,
        PROOF,
        "signature-algorithm",
        Change::Signed(|r| {
            r[1] = Node::sequence([Node::oid("1.3.101.112")]);
        }),
    ),
    refused(
        "algorithm-unknown",
        EcP256,
        PROOF,
        "signature-algorithm",
        Change::Signed(|r| {
            r[1][0] = Node::oid("1.3.6.1.4.1.32473.8");
        }),
    ),
    refused(
        "algorithm-absent",
        EcP256,
        PROOF,
        "malformed",
        Change::Unsigned(|r| {
            r.nodes_mut().remove(1);
        }),
    ),
    refused(
        "algorithm-empty",
        EcP256,
        PROOF,
        "malformed",
        Change::Unsigned(|r| {
            r[1].nodes_mut().clear();
        }),
    ),
    refused(
        "rsa-with-md5",
        Rsa2048,
        WEAK_HASH,
        "signature-hash",
        Change::Signed(|r| {
            r[1][0] = Node::oid("1.2.840.113549.1.1.4");
        }),
    ),
    refused(
        "rsa-with-md4",
        Rsa2048,
        WEAK_HASH,
        "signature-hash",
        Change::Signed(|r| {
            r[1][0] = Node::oid("1.2.840.113549.1.1.3");
        }),
    ),
    refused(
        "rsa-with-sha1",
        Rsa2048,
        WEAK_HASH,
        "signature-hash",
        Change::Signed(|r| {
            r[1][0] = Node::oid("1.2.840.113549.1.1.5");
        }),
    ),
    refused(
        "rsa-parameters-absent",
        Rsa2048,
        "RFC 4055 §5",
        "malformed",
        Change::Signed(|r| {
            r[1].nodes_mut().pop();
        }),
    ),
    refused(
        "rsa-one-octet-short",
        Rsa2048,
        "RFC 8017 §8.2.2",
        "proof-of-possession",
        Change::Unsigned(|r| {
            r[2].bytes_mut().pop();
        }),
    ),
    refused(
        "rsa-one-octet-long",
        Rsa2048,
        "RFC 8017 §8.2.2",
        "proof-of-possession",
        Change::Unsigned(|r| {
            r[2].bytes_mut().insert(1, 0);
        }),
    ),
    refused(
        "pss-parameters-absent",
        Rsa2048,
        PSS,
        "pss-parameters",
        Change::Signed(|r| {
            r[1] = Node::sequence([Node::oid("1.2.840.113549.1.1.10")]);
        }),
    ),
    refused(
        "pss-with-sha1",
        Rsa2048,
        PSS,
        "pss-parameters",
        Change::Signed(|r| pss(r, SHA1, SHA1, 20)),
    ),
    refused(
        "pss-with-other-mask-hash",
        Rsa2048,
        PSS,
        "pss-parameters",
        Change::Signed(|r| {
            pss(r, SHA256, SHA1, 32);
        }),
    ),
    refused(
        "pss-with-short-salt",
        Rsa2048,
        PSS,
        "pss-parameters",
        Change::Signed(|r| {
            pss(r, SHA256, SHA256, 24);
        }),
    ),
    refused(
        "pss-over-pkcs1-signature",
        Rsa2048,
        PROOF,
        "proof-of-possession",
        Change::Signed(|r| {
            pss(r, SHA256, SHA256, 32);
        }),
    ),
    refused(
        "ed25519-parameters-null",
        Ed25519,
        "RFC 8410 §3",
        "signature-algorithm",
        Change::Signed(|r| {
            r[1].push(Node::null());
        }),
    ),
    refused(
        "ed25519-scalar-over-order",
        Ed25519,
        "RFC 8032 §5.1.7",
        "proof-of-possession",
        Change::Unsigned(|r| {
            // S + L verifies in readers that do not look: the same signature in other bytes.
            let order: [u8; 32] = [
                0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
                0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
            ];
            let mut carry = 0;
            for (octet, add) in r[2].bytes_mut()[33..].iter_mut().zip(order) {
                let sum = u16::from(*octet) + u16::from(add) + carry;
                *octet = sum as u8;
                carry = sum >> 8;
            }
        }),
    ),
    refused(
        "ml-dsa-parameters-null",
        MlDsa44,
        "RFC 9881 §2",
        "signature-algorithm",
        Change::Signed(|r| {
            r[1].push(Node::null());
        }),
    ),
    refused(
        "ml-dsa-of-another-set",
        MlDsa44,
        PROOF,
        "signature-algorithm",
        Change::Signed(|r| {
            r[1][0] = Node::oid("2.16.840.1.101.3.4.3.18");
        }),
    ),
    refused(
        "ml-dsa-prehashed",
        MlDsa44,
        "RFC 9881 §2",
        "signature-algorithm",
        Change::Signed(|r| {
            r[1][0] = Node::oid("2.16.840.1.101.3.4.3.32");
        }),
    ),
    refused(
        "ml-dsa-one-octet-short",
        MlDsa44,
        "FIPS 204 §7.2",
        "proof-of-possession",
        Change::Unsigned(|r| {
            r[2].bytes_mut().pop();
        }),
    ),
];

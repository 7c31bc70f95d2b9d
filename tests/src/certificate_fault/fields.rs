//! Faults of version, serial number, signature, issuer and validity: RFC 5280 §4.1.1 and §4.1.2.

use super::certificate::{
    ALGORITHM, EXTENSIONS, ISSUER, SERIAL, VALIDITY, VERSION, printable, rdn,
};
use super::{CertificateFault, Change, fault};
use crate::authority::Base::{Idevid, TlsClient, TlsClientRsa};
use crate::der_tree::{Node, tag};

const ECDSA_WITH_SHA384: &str = "1.2.840.10045.4.3.3";
const SERIAL_RULE: &str = "RFC 5280 §4.1.2.2";
const TIME_RULE: &str = "RFC 5280 §4.1.2.5.1";
const GENERALIZED: &str = "RFC 5280 §4.1.2.5.2";
const ECDSA: &str = "RFC 5758 §3.2";

pub(super) const FAULTS: &[CertificateFault] = &[
    fault(
        "version-absent",
        Idevid,
        "RFC 5280 §4.1.2.1",
        &["version"],
        Change::Signed(|c| {
            c[0].nodes_mut().remove(VERSION);
        }),
    ),
    fault(
        "version-1-encoded",
        Idevid,
        "X.690 §11.5",
        &["version"],
        Change::Signed(|c| {
            c[0][VERSION][0] = Node::integer(&[0]);
            c[0].nodes_mut().truncate(EXTENSIONS);
        }),
    ),
    fault(
        "version-2-with-extensions",
        Idevid,
        "RFC 5280 §4.1.2.1",
        &["version"],
        Change::Signed(|c| {
            c[0][VERSION][0] = Node::integer(&[1]);
        }),
    ),
    fault(
        "version-4",
        Idevid,
        "RFC 5280 §4.1.2.1",
        &["version"],
        Change::Signed(|c| {
            c[0][VERSION][0] = Node::integer(&[3]);
        }),
    ),
    fault(
        "serial-zero",
        Idevid,
        SERIAL_RULE,
        &["serial-positive"],
        Change::Signed(|c| {
            c[0][SERIAL] = Node::integer(&[0]);
        }),
    ),
    fault(
        "serial-negative",
        Idevid,
        SERIAL_RULE,
        &["serial-positive"],
        Change::Signed(|c| {
            c[0][SERIAL].bytes_mut()[0] |= 0x80;
        }),
    ),
    fault(
        "serial-of-21-octets",
        Idevid,
        SERIAL_RULE,
        &["serial-length"],
        Change::Signed(|c| {
            c[0][SERIAL] = Node::integer(&[0x41; 21]);
        }),
    ),
    fault(
        "serial-of-20-octets-and-sign",
        Idevid,
        SERIAL_RULE,
        &["serial-length"],
        Change::Signed(|c| {
            let mut octets = [0x91; 21];
            octets[0] = 0;
            c[0][SERIAL] = Node::integer(&octets);
        }),
    ),
    fault(
        "algorithm-differs-outside",
        Idevid,
        "RFC 5280 §4.1.1.2",
        &["algorithm-equal"],
        Change::Unsigned(|c| {
            c[1][0] = Node::oid(ECDSA_WITH_SHA384);
        }),
    ),
    fault(
        "algorithm-differs-inside",
        Idevid,
        "RFC 5280 §4.1.2.3",
        &["algorithm-equal"],
        Change::Signed(|c| {
            c[0][ALGORITHM][0] = Node::oid(ECDSA_WITH_SHA384);
        }),
    ),
    fault(
        "algorithm-wrong-for-key",
        Idevid,
        "RFC 5280 §4.1.1.2",
        &["signature-length"],
        Change::Signed(|c| {
            let ed25519 = Node::sequence([Node::oid("1.3.101.112")]);
            c[0][ALGORITHM] = ed25519.clone();
            c[1] = ed25519;
        }),
    ),
    fault(
        "ecdsa-parameters-null",
        Idevid,
        ECDSA,
        &["algorithm-ecdsa-parameters"],
        Change::Signed(|c| {
            c[0][ALGORITHM].push(Node::null());
            c[1].push(Node::null());
        }),
    ),
    fault(
        "ecdsa-parameters-null-outside",
        Idevid,
        "RFC 5280 §4.1.1.2",
        &["algorithm-equal"],
        Change::Unsigned(|c| {
            c[1].push(Node::null());
        }),
    ),
    fault(
        "rsa-parameters-absent",
        TlsClientRsa,
        "RFC 4055 §5",
        &["algorithm-rsa-null"],
        Change::Signed(|c| {
            c[0][ALGORITHM].nodes_mut().truncate(1);
            c[1].nodes_mut().truncate(1);
        }),
    ),
    fault(
        "signature-bit-flipped",
        Idevid,
        "RFC 5280 §4.1.1.3",
        &["issuer-signature"],
        Change::Unsigned(|c| {
            *c[2].bytes_mut().last_mut().unwrap() ^= 1;
        }),
    ),
    fault(
        "signature-empty",
        Idevid,
        "RFC 5280 §4.1.1.3",
        &["signature-form"],
        Change::Unsigned(|c| {
            c[2] = Node::bits(0, &[]);
        }),
    ),
    fault(
        "signature-of-zeros",
        Idevid,
        "RFC 5280 §4.1.1.3",
        &["signature-ecdsa"],
        Change::Unsigned(|c| {
            c[2] = Node::bits(
                0,
                &Node::sequence([Node::integer(&[0]), Node::integer(&[0])]).encode(),
            );
        }),
    ),
    fault(
        "signature-integer-padded",
        Idevid,
        "RFC 3279 §2.2.3",
        &["signature-ecdsa"],
        Change::Unsigned(|c| {
            c[2].within(|pair| pair[0].bytes_mut().insert(0, 0));
        }),
    ),
    fault(
        "signature-with-octet-after",
        Idevid,
        "RFC 3279 §2.2.3",
        &["signature-ecdsa"],
        Change::Unsigned(|c| {
            c[2].bytes_mut().push(0);
        }),
    ),
    fault(
        "signature-rsa-one-octet-short",
        TlsClientRsa,
        "RFC 8017 §8.2.2",
        &["issuer-signature"],
        Change::Unsigned(|c| {
            c[2].bytes_mut().pop();
        }),
    ),
    fault(
        "signed-content-changed",
        Idevid,
        "RFC 5280 §4.1.1.3",
        &["issuer-signature"],
        Change::Unsigned(|c| {
            *c[0][SERIAL].bytes_mut().last_mut().unwrap() ^= 1;
        }),
    ),
    fault(
        "issuer-empty",
        Idevid,
        "RFC 5280 §4.1.2.4",
        &["issuer-empty"],
        Change::Signed(|c| {
            c[0][ISSUER].nodes_mut().clear();
        }),
    ),
    fault(
        "issuer-of-another-string-type",
        Idevid,
        "RFC 5280 §4.1.2.4",
        &["issuer-name"],
        Change::Signed(|c| {
            c[0][ISSUER][1][0][1].tag = tag::PRINTABLE_STRING;
        }),
    ),
    fault(
        "issuer-in-lower-case",
        Idevid,
        "RFC 5280 §4.1.2.4",
        &["issuer-name"],
        Change::Signed(|c| {
            c[0][ISSUER][1][0][1].bytes_mut().make_ascii_lowercase();
        }),
    ),
    fault(
        "issuer-shuffled",
        Idevid,
        "RFC 5280 §4.1.2.4",
        &["issuer-name"],
        Change::Signed(|c| {
            c[0][ISSUER].nodes_mut().swap(0, 1);
        }),
    ),
    fault(
        "issuer-is-another",
        Idevid,
        "RFC 5280 §4.1.2.4",
        &["issuer-name"],
        Change::Signed(|c| {
            c[0][ISSUER].push(rdn("2.5.4.3", printable("Another CA")));
        }),
    ),
    fault(
        "validity-generalized-before-2050",
        TlsClient,
        TIME_RULE,
        &["time-utc-until-2049"],
        Change::Signed(|c| {
            let utc = c[0][VALIDITY][0].bytes().to_vec();
            c[0][VALIDITY][0] = Node::primitive(tag::GENERALIZED_TIME, &[b"20", &utc[..]].concat());
        }),
    ),
    fault(
        "validity-without-seconds",
        TlsClient,
        TIME_RULE,
        &["time-form"],
        Change::Signed(|c| {
            c[0][VALIDITY][1] = Node::string(tag::UTC_TIME, "4801010000Z");
        }),
    ),
    fault(
        "validity-with-offset",
        TlsClient,
        TIME_RULE,
        &["time-form"],
        Change::Signed(|c| {
            c[0][VALIDITY][1] = Node::string(tag::UTC_TIME, "480101000000+0000");
        }),
    ),
    fault(
        "validity-in-lower-case",
        TlsClient,
        TIME_RULE,
        &["time-form"],
        Change::Signed(|c| {
            c[0][VALIDITY][1] = Node::string(tag::UTC_TIME, "480101000000z");
        }),
    ),
    fault(
        "validity-with-fraction",
        Idevid,
        GENERALIZED,
        &["time-form"],
        Change::Signed(|c| {
            c[0][VALIDITY][1] = Node::string(tag::GENERALIZED_TIME, "99991231235959.5Z");
        }),
    ),
    fault(
        "validity-in-local-time",
        Idevid,
        GENERALIZED,
        &["time-form"],
        Change::Signed(|c| {
            c[0][VALIDITY][1] = Node::string(tag::GENERALIZED_TIME, "99991231235959");
        }),
    ),
    fault(
        "validity-in-month-13",
        TlsClient,
        TIME_RULE,
        &["time-date"],
        Change::Signed(|c| {
            c[0][VALIDITY][1] = Node::string(tag::UTC_TIME, "481301000000Z");
        }),
    ),
    fault(
        "validity-on-30-february",
        TlsClient,
        TIME_RULE,
        &["time-date"],
        Change::Signed(|c| {
            c[0][VALIDITY][1] = Node::string(tag::UTC_TIME, "480230000000Z");
        }),
    ),
    fault(
        "validity-at-24-hours",
        TlsClient,
        TIME_RULE,
        &["time-date"],
        Change::Signed(|c| {
            c[0][VALIDITY][1] = Node::string(tag::UTC_TIME, "480101240000Z");
        }),
    ),
    fault(
        "validity-in-a-string",
        TlsClient,
        "RFC 5280 §4.1.2.5",
        &["time-form"],
        Change::Signed(|c| {
            c[0][VALIDITY][1] = Node::string(tag::PRINTABLE_STRING, "480101000000Z");
        }),
    ),
    fault(
        "validity-ends-before-it-begins",
        TlsClient,
        "RFC 5280 §4.1.2.5",
        &["validity-order"],
        Change::Signed(|c| {
            let begin = c[0][VALIDITY][0].clone();
            c[0][VALIDITY][0] = c[0][VALIDITY][1].clone();
            c[0][VALIDITY][1] = begin;
        }),
    ),
    fault(
        "validity-begins-before-the-issuer",
        TlsClient,
        "RFC 5280 §6.1.3",
        &["issuer-not-before"],
        Change::Signed(|c| {
            c[0][VALIDITY][0] = Node::string(tag::UTC_TIME, "000101000000Z");
        }),
    ),
    fault(
        "validity-ends-after-the-issuer",
        TlsClientRsa,
        "RFC 5280 §6.1.3",
        &["issuer-not-after"],
        Change::Signed(|c| {
            c[0][VALIDITY][1] = Node::string(tag::GENERALIZED_TIME, "20610101000000Z");
        }),
    ),
    fault(
        "issuer-unique-id",
        Idevid,
        "RFC 5280 §4.1.2.8",
        &["unique-ids"],
        Change::Signed(|c| {
            c[0].nodes_mut()
                .insert(EXTENSIONS, Node::context(1, &[0, 7]));
        }),
    ),
    fault(
        "subject-unique-id",
        Idevid,
        "RFC 5280 §4.1.2.8",
        &["unique-ids"],
        Change::Signed(|c| {
            c[0].nodes_mut()
                .insert(EXTENSIONS, Node::context(2, &[0, 7]));
        }),
    ),
];

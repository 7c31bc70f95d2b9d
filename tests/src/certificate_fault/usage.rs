//! Faults of what the key may be used for: key usage, extended key usage, basic constraints.

use super::certificate::{
    BASIC_CONSTRAINTS, EXT_KEY_USAGE, KEY_USAGE, add, extension, remove, set_critical, set_value,
    value,
};
use super::{CertificateFault, Change, fault};
use crate::authority::Base::{
    Idevid, IdevidEd25519, IdevidMlDsa, IssuingCa, TlsClient, TlsClientRsa,
};
use crate::der_tree::{Node, tag};

const USAGE: &str = "RFC 5280 §4.2.1.3";
const PURPOSE: &str = "RFC 5280 §4.2.1.12";
const CONSTRAINTS: &str = "RFC 5280 §4.2.1.9";
const NAMED_BITS: &str = "X.690 §11.2.2";

/// Sets the key usage: unused bits and octets.
fn set_usage(certificate: &mut Node, unused: u8, octets: &[u8]) {
    set_value(certificate, KEY_USAGE, &Node::bits(unused, octets));
}

fn ca_true() -> Node {
    Node::primitive(tag::BOOLEAN, &[0xff])
}

pub(super) const FAULTS: &[CertificateFault] = &[
    fault(
        "usage-not-critical",
        Idevid,
        USAGE,
        &["critical-advice"],
        Change::Signed(|c| {
            set_critical(c, KEY_USAGE, false);
        }),
    ),
    fault(
        "usage-missing",
        Idevid,
        "profile",
        &["profile-extension-missing"],
        Change::Signed(|c| remove(c, KEY_USAGE)),
    ),
    fault(
        "usage-twice",
        Idevid,
        "RFC 5280 §4.2",
        &["extension-twice"],
        Change::Signed(|c| {
            let again = extension(c, KEY_USAGE).clone();
            super::certificate::extensions(c).push(again);
        }),
    ),
    fault(
        "usage-empty",
        Idevid,
        USAGE,
        &["key-usage-empty"],
        Change::Signed(|c| set_usage(c, 0, &[])),
    ),
    fault(
        "usage-of-no-bits-set",
        Idevid,
        USAGE,
        &["key-usage-empty"],
        Change::Signed(|c| set_usage(c, 7, &[0])),
    ),
    fault(
        "usage-with-trailing-zeros",
        Idevid,
        NAMED_BITS,
        &["key-usage-trailing-zeros"],
        Change::Signed(|c| {
            set_usage(c, 0, &[0x80]);
        }),
    ),
    fault(
        "usage-with-trailing-octet",
        Idevid,
        NAMED_BITS,
        &["key-usage-trailing-zeros"],
        Change::Signed(|c| {
            set_usage(c, 7, &[0x80, 0]);
        }),
    ),
    fault(
        "usage-of-unknown-bit",
        Idevid,
        USAGE,
        &["key-usage-unknown"],
        Change::Signed(|c| {
            set_usage(c, 6, &[0x80, 0x40]);
        }),
    ),
    fault(
        "usage-as-octet-string",
        Idevid,
        USAGE,
        &["extension-malformed"],
        Change::Signed(|c| {
            value(c, KEY_USAGE, |bits| bits.tag = tag::OCTET_STRING);
        }),
    ),
    fault(
        "usage-cert-sign",
        Idevid,
        USAGE,
        &["key-usage-cert-sign"],
        Change::Signed(|c| set_usage(c, 2, &[0x84])),
    ),
    fault(
        "usage-crl-sign",
        Idevid,
        "profile",
        &["profile-key-usage"],
        Change::Signed(|c| set_usage(c, 1, &[0x82])),
    ),
    fault(
        "usage-ec-key-encipherment",
        Idevid,
        "RFC 8813 §3",
        &["key-usage-ec"],
        Change::Signed(|c| {
            set_usage(c, 5, &[0xa0]);
        }),
    ),
    fault(
        "usage-ec-data-encipherment",
        Idevid,
        "RFC 8813 §3",
        &["key-usage-ec"],
        Change::Signed(|c| {
            set_usage(c, 4, &[0x90]);
        }),
    ),
    fault(
        "usage-encipher-only-alone",
        Idevid,
        USAGE,
        &["key-usage-only"],
        Change::Signed(|c| {
            set_usage(c, 0, &[0x81]);
        }),
    ),
    fault(
        "usage-decipher-only-alone",
        Idevid,
        USAGE,
        &["key-usage-only"],
        Change::Signed(|c| {
            set_usage(c, 7, &[0x80, 0x80]);
        }),
    ),
    fault(
        "usage-rsa-key-agreement",
        TlsClientRsa,
        "RFC 4055 §1.2",
        &["key-usage-rsa"],
        Change::Signed(|c| {
            set_usage(c, 3, &[0x88]);
        }),
    ),
    fault(
        "usage-ed25519-key-agreement",
        IdevidEd25519,
        "RFC 8410 §5",
        &["key-usage-eddsa"],
        Change::Signed(|c| {
            set_usage(c, 3, &[0x88]);
        }),
    ),
    fault(
        "usage-ml-dsa-key-encipherment",
        IdevidMlDsa,
        "RFC 9881 §5",
        &["key-usage-ml-dsa"],
        Change::Signed(|c| {
            set_usage(c, 5, &[0xa0]);
        }),
    ),
    fault(
        "usage-ml-dsa-key-agreement",
        IdevidMlDsa,
        "RFC 9881 §5",
        &["key-usage-ml-dsa"],
        Change::Signed(|c| {
            set_usage(c, 3, &[0x88]);
        }),
    ),
    fault(
        "usage-other-than-the-profile",
        Idevid,
        "profile",
        &["profile-key-usage"],
        Change::Signed(|c| {
            set_usage(c, 6, &[0x40]);
        }),
    ),
    fault(
        "usage-of-ca-without-cert-sign",
        IssuingCa,
        CONSTRAINTS,
        &["key-usage-ca"],
        Change::Signed(|c| {
            set_usage(c, 1, &[0x82]);
        }),
    ),
    fault(
        "purposes-empty",
        TlsClient,
        PURPOSE,
        &["eku-empty"],
        Change::Signed(|c| {
            value(c, EXT_KEY_USAGE, |list| list.nodes_mut().clear());
        }),
    ),
    fault(
        "purposes-twice-the-same",
        TlsClient,
        PURPOSE,
        &["eku-twice"],
        Change::Signed(|c| {
            value(c, EXT_KEY_USAGE, |list| list.push(list[0].clone()));
        }),
    ),
    fault(
        "purposes-any-and-critical",
        TlsClient,
        PURPOSE,
        &["eku-any"],
        Change::Signed(|c| {
            value(c, EXT_KEY_USAGE, |list| list.push(Node::oid("2.5.29.37.0")));
            set_critical(c, EXT_KEY_USAGE, true);
        }),
    ),
    fault(
        "purposes-of-another-type",
        TlsClient,
        PURPOSE,
        &["extension-malformed"],
        Change::Signed(|c| {
            value(c, EXT_KEY_USAGE, |list| list.push(Node::null()));
        }),
    ),
    fault(
        "purposes-other-than-the-profile",
        TlsClient,
        "profile",
        &["profile-eku"],
        Change::Signed(|c| {
            value(c, EXT_KEY_USAGE, |list| {
                list[0] = Node::oid("1.3.6.1.5.5.7.3.1")
            });
        }),
    ),
    fault(
        "purposes-missing",
        TlsClient,
        "profile",
        &["profile-extension-missing"],
        Change::Signed(|c| {
            remove(c, EXT_KEY_USAGE);
        }),
    ),
    fault(
        "constraints-ca-on-device",
        Idevid,
        CONSTRAINTS,
        &["profile-extension"],
        Change::Signed(|c| {
            add(c, BASIC_CONSTRAINTS, true, &Node::sequence([ca_true()]));
        }),
    ),
    fault(
        "constraints-false-encoded",
        Idevid,
        "X.690 §11.5",
        &["der-default"],
        Change::Signed(|c| {
            let false_ = Node::primitive(tag::BOOLEAN, &[0]);
            add(c, BASIC_CONSTRAINTS, true, &Node::sequence([false_]));
        }),
    ),
    fault(
        "constraints-path-length-on-device",
        Idevid,
        CONSTRAINTS,
        &["basic-constraints-path-length"],
        Change::Signed(|c| {
            add(
                c,
                BASIC_CONSTRAINTS,
                true,
                &Node::sequence([Node::integer(&[0])]),
            );
        }),
    ),
    fault(
        "constraints-with-value-after",
        IssuingCa,
        CONSTRAINTS,
        &["extension-malformed"],
        Change::Signed(|c| {
            value(c, BASIC_CONSTRAINTS, |fields| fields.push(Node::null()));
        }),
    ),
    fault(
        "constraints-of-ca-not-critical",
        IssuingCa,
        CONSTRAINTS,
        &["critical-missing"],
        Change::Signed(|c| {
            set_critical(c, BASIC_CONSTRAINTS, false);
        }),
    ),
    fault(
        "constraints-of-ca-missing",
        IssuingCa,
        CONSTRAINTS,
        &["key-usage-cert-sign"],
        Change::Signed(|c| {
            remove(c, BASIC_CONSTRAINTS);
        }),
    ),
    fault(
        "constraints-of-ca-without-ca",
        IssuingCa,
        USAGE,
        &["key-usage-cert-sign"],
        Change::Signed(|c| {
            set_value(c, BASIC_CONSTRAINTS, &Node::sequence([]));
        }),
    ),
    fault(
        "constraints-path-length-negative",
        IssuingCa,
        CONSTRAINTS,
        &["basic-constraints-path-negative"],
        Change::Signed(|c| {
            let fields = Node::sequence([ca_true(), Node::integer(&[0xff])]);
            set_value(c, BASIC_CONSTRAINTS, &fields);
        }),
    ),
    fault(
        "constraints-path-length-padded",
        IssuingCa,
        "X.690 §8.3.2",
        &["der-integer"],
        Change::Signed(|c| {
            let fields = Node::sequence([ca_true(), Node::integer(&[0, 0])]);
            set_value(c, BASIC_CONSTRAINTS, &fields);
        }),
    ),
];

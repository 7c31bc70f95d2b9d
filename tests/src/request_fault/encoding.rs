//! Faults of size and encoding.

use birthmark_hsm::KeyAlgorithm::EcP256;

use super::request::{ATTRIBUTES, SPKI, SUBJECT, UNKNOWN, VERSION, add, attribute, printable};
use super::{Change, RequestFault, refused};
use crate::der_tree::{Length, Node, tag};

const LENGTH: &str = "X.690 §10.1";
const FORM: &str = "RFC 2986 §4";

/// An unknown attribute with this value: nothing but the encoding can be wrong with it.
fn unknown(request: &mut Node, value: Node) {
    add(request, attribute(UNKNOWN, [value]));
}

pub(super) const FAULTS: &[RequestFault] = &[
    refused("empty", EcP256, FORM, "empty", Change::Octets(Vec::clear)),
    refused(
        "over-64-kib",
        EcP256,
        "Birthmark size limit",
        "too-large",
        Change::Signed(|r| {
            unknown(r, Node::octets(&[0; 65_536]));
        }),
    ),
    refused(
        "length-indefinite-outside",
        EcP256,
        LENGTH,
        "malformed",
        Change::Unsigned(|r| {
            r.length = Length::Indefinite;
        }),
    ),
    refused(
        "length-indefinite-inside",
        EcP256,
        LENGTH,
        "malformed",
        Change::Signed(|r| {
            r[0].length = Length::Indefinite;
        }),
    ),
    refused(
        "length-long-outside",
        EcP256,
        LENGTH,
        "malformed",
        Change::Unsigned(|r| {
            r.length = Length::Long(3);
        }),
    ),
    refused(
        "length-long-inside",
        EcP256,
        LENGTH,
        "malformed",
        Change::Signed(|r| {
            r[0].length = Length::Long(3);
        }),
    ),
    refused(
        "length-long-of-subject",
        EcP256,
        LENGTH,
        "malformed",
        Change::Signed(|r| {
            r[0][SUBJECT].length = Length::Long(2);
        }),
    ),
    refused(
        "length-of-five-octets",
        EcP256,
        LENGTH,
        "malformed",
        Change::Signed(|r| {
            r[0][SUBJECT].length = Length::Long(5);
        }),
    ),
    refused(
        "length-past-end",
        EcP256,
        "X.690 §8.1.3",
        "malformed",
        Change::Signed(|r| {
            r[0][ATTRIBUTES].length = Length::Off(1);
        }),
    ),
    refused(
        "octet-after-request",
        EcP256,
        FORM,
        "malformed",
        Change::Octets(|octets| {
            octets.push(0);
        }),
    ),
    refused(
        "value-after-signature",
        EcP256,
        FORM,
        "malformed",
        Change::Unsigned(|r| {
            r.push(Node::null());
        }),
    ),
    refused(
        "value-after-attributes",
        EcP256,
        FORM,
        "malformed",
        Change::Signed(|r| {
            r[0].push(Node::null());
        }),
    ),
    refused(
        "value-after-key",
        EcP256,
        FORM,
        "malformed",
        Change::Signed(|r| {
            r[0][SPKI].push(Node::null());
        }),
    ),
    refused(
        "cut-short",
        EcP256,
        FORM,
        "malformed",
        Change::Octets(|octets| {
            octets.truncate(octets.len() - 1);
        }),
    ),
    refused(
        "not-der-at-all",
        EcP256,
        FORM,
        "malformed",
        Change::Octets(|octets| {
            *octets = b"-----BEGIN CERTIFICATE REQUEST-----".to_vec();
        }),
    ),
    refused(
        "outer-set",
        EcP256,
        FORM,
        "malformed",
        Change::Unsigned(|r| r.tag = tag::SET),
    ),
    refused(
        "version-2",
        EcP256,
        "RFC 2986 §4.1",
        "malformed",
        Change::Signed(|r| {
            r[0][VERSION] = Node::integer(&[1]);
        }),
    ),
    refused(
        "version-padded",
        EcP256,
        "X.690 §8.3.2",
        "malformed",
        Change::Signed(|r| {
            r[0][VERSION] = Node::integer(&[0, 0]);
        }),
    ),
    refused(
        "version-negative",
        EcP256,
        "RFC 2986 §4.1",
        "malformed",
        Change::Signed(|r| {
            r[0][VERSION] = Node::integer(&[0xff]);
        }),
    ),
    refused(
        "version-absent",
        EcP256,
        "RFC 2986 §4.1",
        "malformed",
        Change::Signed(|r| {
            r[0].nodes_mut().remove(VERSION);
        }),
    ),
    refused(
        "version-as-boolean",
        EcP256,
        "RFC 2986 §4.1",
        "malformed",
        Change::Signed(|r| {
            r[0][VERSION].tag = tag::BOOLEAN;
        }),
    ),
    refused(
        "attributes-absent",
        EcP256,
        "RFC 2986 §4.1",
        "malformed",
        Change::Signed(|r| {
            r[0].nodes_mut().pop();
        }),
    ),
    refused(
        "attributes-of-another-tag",
        EcP256,
        "RFC 2986 §4.1",
        "malformed",
        Change::Signed(|r| {
            r[0][ATTRIBUTES].tag = 0xa1;
        }),
    ),
    refused(
        "attributes-as-set",
        EcP256,
        "RFC 2986 §4.1",
        "malformed",
        Change::Signed(|r| {
            r[0][ATTRIBUTES].tag = tag::SET;
        }),
    ),
    refused(
        "attributes-primitive",
        EcP256,
        "X.690 §8.11.1",
        "malformed",
        Change::Signed(|r| {
            r[0][ATTRIBUTES] = Node::context(0, &[]);
        }),
    ),
    refused(
        "integer-padded",
        EcP256,
        "X.690 §8.3.2",
        "malformed",
        Change::Signed(|r| {
            unknown(r, Node::integer(&[0, 1]));
        }),
    ),
    refused(
        "integer-without-content",
        EcP256,
        "X.690 §8.3.1",
        "malformed",
        Change::Signed(|r| {
            unknown(r, Node::integer(&[]));
        }),
    ),
    refused(
        "boolean-01",
        EcP256,
        "X.690 §11.1",
        "malformed",
        Change::Signed(|r| {
            unknown(r, Node::primitive(tag::BOOLEAN, &[1]));
        }),
    ),
    refused(
        "null-with-content",
        EcP256,
        "X.690 §8.8.2",
        "malformed",
        Change::Signed(|r| {
            unknown(r, Node::primitive(tag::NULL, &[0]));
        }),
    ),
    refused(
        "bit-string-padding-set",
        EcP256,
        "X.690 §11.2.1",
        "malformed",
        Change::Signed(|r| {
            unknown(r, Node::bits(1, &[1]));
        }),
    ),
    refused(
        "bit-string-unused-8",
        EcP256,
        "X.690 §8.6.2.2",
        "malformed",
        Change::Signed(|r| {
            unknown(r, Node::bits(8, &[0]));
        }),
    ),
    refused(
        "oid-padded",
        EcP256,
        "X.690 §8.19.2",
        "malformed",
        Change::Signed(|r| {
            unknown(r, Node::primitive(tag::OID, &[0x2a, 0x80, 0x03]));
        }),
    ),
    refused(
        "oid-unfinished",
        EcP256,
        "X.690 §8.19.2",
        "malformed",
        Change::Signed(|r| {
            unknown(r, Node::primitive(tag::OID, &[0x2a, 0x83]));
        }),
    ),
    refused(
        "oid-of-many-octets",
        EcP256,
        "CVE-2023-2650",
        "malformed",
        Change::Signed(|r| {
            let mut octets = [0x81; 2_000];
            octets[1_999] = 1;
            unknown(r, Node::primitive(tag::OID, &octets));
        }),
    ),
    refused(
        "printable-string-with-at",
        EcP256,
        "X.680 §41.4",
        "malformed",
        Change::Signed(|r| {
            unknown(r, printable("a@b"));
        }),
    ),
    refused(
        "utf8-string-broken",
        EcP256,
        "X.690 §8.23.10",
        "malformed",
        Change::Signed(|r| {
            unknown(r, Node::primitive(tag::UTF8_STRING, &[0xc3]));
        }),
    ),
    refused(
        "utf8-string-surrogate",
        EcP256,
        "RFC 3629 §3",
        "malformed",
        Change::Signed(|r| {
            unknown(r, Node::primitive(tag::UTF8_STRING, &[0xed, 0xa0, 0x80]));
        }),
    ),
    refused(
        "ia5-string-with-umlaut",
        EcP256,
        "X.680 §41.1",
        "malformed",
        Change::Signed(|r| {
            unknown(r, Node::primitive(tag::IA5_STRING, &[0xe4]));
        }),
    ),
    refused(
        "string-constructed",
        EcP256,
        "X.690 §10.2",
        "malformed",
        Change::Signed(|r| {
            unknown(
                r,
                Node::constructed(tag::UTF8_STRING | tag::CONSTRUCTED, [printable("a")]),
            );
        }),
    ),
    refused(
        "tag-of-two-octets",
        EcP256,
        "X.690 §8.1.2.2",
        "malformed",
        Change::Signed(|r| {
            unknown(r, Node::bare(&[0x9f, 0x1e, 0]));
        }),
    ),
    refused(
        "end-of-contents",
        EcP256,
        "X.690 §8.1.5",
        "malformed",
        Change::Signed(|r| {
            unknown(r, Node::bare(&[0, 0]));
        }),
    ),
    refused(
        "nested-too-deep",
        EcP256,
        "CVE-2025-66031",
        "over-limit",
        Change::Signed(|r| {
            let deep = (0..200).fold(Node::null(), |inside, _| Node::sequence([inside]));
            unknown(r, deep);
        }),
    ),
    refused(
        "ten-thousand-values",
        EcP256,
        "Birthmark size limit",
        "over-limit",
        Change::Signed(|r| {
            unknown(r, Node::sequence(vec![Node::null(); 10_000]));
        }),
    ),
];

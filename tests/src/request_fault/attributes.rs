//! Faults of attributes, RFC 2985 §5.4 and RFC 2986 §4.1.

use birthmark_hsm::KeyAlgorithm::EcP256;

use super::request::{
    ATTRIBUTES, BASIC_CONSTRAINTS, CHALLENGE_PASSWORD, EXTENSION_REQUEST, KEY_USAGE, UNKNOWN,
    UNSTRUCTURED_NAME, add, attribute, extension, utf8, wish,
};
use super::{Change, MARKER, RequestFault, harmless, refused};
use crate::der_tree::{Node, tag};

const ATTRIBUTE: &str = "RFC 2986 §4.1";
const COUNT: &str = "RFC 2985 §5.4";
const EXTENSION: &str = "RFC 5280 §4.1";

/// An extension that nobody would mind.
fn usage() -> Node {
    extension(KEY_USAGE, true, &Node::bits(7, &[0x80]))
}

/// Changes the extension in a request for one.
fn odd_extension(request: &mut Node, change: impl FnOnce(&mut Node)) {
    let mut odd = usage();
    change(&mut odd);
    wish(request, [odd]);
}

pub(super) const FAULTS: &[RequestFault] = &[
    refused(
        "attributes-out-of-order",
        EcP256,
        "X.690 §11.6",
        "malformed",
        Change::Signed(|r| {
            add(r, attribute(UNKNOWN, [utf8("b")]));
            add(r, attribute("1.3.6.1.4.1.32473.8", [utf8("a")]));
        }),
    ),
    refused(
        "attribute-twice",
        EcP256,
        COUNT,
        "attribute-count",
        Change::Signed(|r| {
            add(r, attribute(CHALLENGE_PASSWORD, [utf8("one")]));
            add(r, attribute(CHALLENGE_PASSWORD, [utf8("two")]));
        }),
    ),
    refused(
        "attribute-unknown-twice",
        EcP256,
        COUNT,
        "attribute-count",
        Change::Signed(|r| {
            add(r, attribute(UNKNOWN, [utf8("a")]));
            add(r, attribute(UNKNOWN, [utf8("b")]));
        }),
    ),
    refused(
        "challenge-of-two-values",
        EcP256,
        COUNT,
        "attribute-count",
        Change::Signed(|r| {
            add(r, attribute(CHALLENGE_PASSWORD, [utf8("one"), utf8("two")]));
        }),
    ),
    refused(
        "challenge-without-value",
        EcP256,
        COUNT,
        "attribute-count",
        Change::Signed(|r| {
            add(r, attribute(CHALLENGE_PASSWORD, []));
        }),
    ),
    refused(
        "attribute-unknown-without-value",
        EcP256,
        ATTRIBUTE,
        "attribute-count",
        Change::Signed(|r| {
            add(r, attribute(UNKNOWN, []));
        }),
    ),
    refused(
        "extension-request-twice",
        EcP256,
        COUNT,
        "attribute-count",
        Change::Signed(|r| {
            wish(r, [usage()]);
            wish(r, [usage()]);
        }),
    ),
    refused(
        "extension-request-of-two-values",
        EcP256,
        COUNT,
        "attribute-count",
        Change::Signed(|r| {
            let list = Node::sequence([usage()]);
            add(r, attribute(EXTENSION_REQUEST, [list.clone(), list]));
        }),
    ),
    refused(
        "extension-request-without-value",
        EcP256,
        COUNT,
        "attribute-count",
        Change::Signed(|r| {
            add(r, attribute(EXTENSION_REQUEST, []));
        }),
    ),
    refused(
        "attribute-as-set",
        EcP256,
        ATTRIBUTE,
        "malformed",
        Change::Signed(|r| {
            let mut one = attribute(UNKNOWN, [utf8("a")]);
            one.tag = tag::SET;
            add(r, one);
        }),
    ),
    refused(
        "attribute-without-type",
        EcP256,
        ATTRIBUTE,
        "malformed",
        Change::Signed(|r| {
            add(r, Node::sequence([Node::set([utf8("a")])]));
        }),
    ),
    refused(
        "attribute-without-values",
        EcP256,
        ATTRIBUTE,
        "malformed",
        Change::Signed(|r| {
            add(r, Node::sequence([Node::oid(UNKNOWN)]));
        }),
    ),
    refused(
        "attribute-values-in-sequence",
        EcP256,
        ATTRIBUTE,
        "malformed",
        Change::Signed(|r| {
            add(
                r,
                Node::sequence([Node::oid(UNKNOWN), Node::sequence([utf8("a")])]),
            );
        }),
    ),
    refused(
        "attribute-of-three-values",
        EcP256,
        ATTRIBUTE,
        "malformed",
        Change::Signed(|r| {
            let mut one = attribute(UNKNOWN, [utf8("a")]);
            one.push(Node::null());
            add(r, one);
        }),
    ),
    refused(
        "attribute-values-out-of-order",
        EcP256,
        "X.690 §11.6",
        "malformed",
        Change::Signed(|r| {
            add(r, attribute(UNKNOWN, [utf8("b"), utf8("a")]));
        }),
    ),
    refused(
        "attributes-of-33",
        EcP256,
        "Birthmark limit",
        "over-limit",
        Change::Signed(|r| {
            for number in 0..33 {
                add(
                    r,
                    attribute(&format!("1.3.6.1.4.1.32473.9.{number}"), [utf8("a")]),
                );
            }
        }),
    ),
    refused(
        "extension-request-empty",
        EcP256,
        EXTENSION,
        "malformed",
        Change::Signed(|r| {
            wish(r, []);
        }),
    ),
    refused(
        "extension-request-as-set",
        EcP256,
        EXTENSION,
        "malformed",
        Change::Signed(|r| {
            add(r, attribute(EXTENSION_REQUEST, [Node::set([usage()])]));
        }),
    ),
    refused(
        "extension-request-in-octets",
        EcP256,
        EXTENSION,
        "malformed",
        Change::Signed(|r| {
            let list = Node::octets(&Node::sequence([usage()]).encode());
            add(r, attribute(EXTENSION_REQUEST, [list]));
        }),
    ),
    refused(
        "extension-twice",
        EcP256,
        "RFC 5280 §4.2",
        "malformed",
        Change::Signed(|r| {
            wish(r, [usage(), usage()]);
        }),
    ),
    refused(
        "extension-critical-false-encoded",
        EcP256,
        "X.690 §11.5",
        "malformed",
        Change::Signed(|r| {
            odd_extension(r, |one| one[1] = Node::primitive(tag::BOOLEAN, &[0]));
        }),
    ),
    refused(
        "extension-critical-01",
        EcP256,
        "X.690 §11.1",
        "malformed",
        Change::Signed(|r| {
            odd_extension(r, |one| one[1] = Node::primitive(tag::BOOLEAN, &[1]));
        }),
    ),
    refused(
        "extension-without-value",
        EcP256,
        EXTENSION,
        "malformed",
        Change::Signed(|r| {
            odd_extension(r, |one| drop(one.nodes_mut().pop()));
        }),
    ),
    refused(
        "extension-without-identifier",
        EcP256,
        EXTENSION,
        "malformed",
        Change::Signed(|r| {
            odd_extension(r, |one| drop(one.nodes_mut().remove(0)));
        }),
    ),
    refused(
        "extension-of-four-values",
        EcP256,
        EXTENSION,
        "malformed",
        Change::Signed(|r| {
            odd_extension(r, |one| one.push(Node::null()));
        }),
    ),
    refused(
        "extension-value-with-octet-after",
        EcP256,
        EXTENSION,
        "malformed",
        Change::Signed(|r| {
            odd_extension(r, |one| one[2].bytes_mut().push(0));
        }),
    ),
    refused(
        "extension-value-is-no-der",
        EcP256,
        EXTENSION,
        "malformed",
        Change::Signed(|r| {
            odd_extension(r, |one| one[2] = Node::octets(b"digitalSignature"));
        }),
    ),
    refused(
        "extension-value-as-text",
        EcP256,
        EXTENSION,
        "malformed",
        Change::Signed(|r| {
            odd_extension(r, |one| one[2].tag = tag::UTF8_STRING);
        }),
    ),
    refused(
        "extensions-of-33",
        EcP256,
        "Birthmark limit",
        "over-limit",
        Change::Signed(|r| {
            let many = (0..33).map(|number| {
                extension(
                    &format!("1.3.6.1.4.1.32473.9.{number}"),
                    false,
                    &Node::null(),
                )
            });
            wish(r, many);
        }),
    ),
    refused(
        "constraints-false-encoded",
        EcP256,
        "X.690 §11.5",
        "malformed",
        Change::Signed(|r| {
            let false_ = Node::sequence([Node::primitive(tag::BOOLEAN, &[0])]);
            wish(r, [extension(BASIC_CONSTRAINTS, true, &false_)]);
        }),
    ),
    refused(
        "constraints-path-length-negative",
        EcP256,
        "RFC 5280 §4.2.1.9",
        "malformed",
        Change::Signed(|r| {
            let fields = Node::sequence([Node::integer(&[0xff])]);
            wish(r, [extension(BASIC_CONSTRAINTS, true, &fields)]);
        }),
    ),
    harmless(
        "challenge-password",
        EcP256,
        "RFC 2985 §5.4.1",
        Change::Signed(|r| {
            add(r, attribute(CHALLENGE_PASSWORD, [utf8(MARKER)]));
        }),
    ),
    harmless(
        "unstructured-name",
        EcP256,
        "RFC 2985 §5.4.1",
        Change::Signed(|r| {
            add(r, attribute(UNSTRUCTURED_NAME, [utf8(MARKER)]));
        }),
    ),
    harmless(
        "attribute-unknown",
        EcP256,
        ATTRIBUTE,
        Change::Signed(|r| {
            add(
                r,
                attribute(UNKNOWN, [utf8(MARKER), utf8(&format!("{MARKER}2"))]),
            );
        }),
    ),
    harmless(
        "attributes-of-microsoft",
        EcP256,
        ATTRIBUTE,
        Change::Signed(|r| {
            // szOID_OS_VERSION and szOID_REQUEST_CLIENT_INFO, sorted as a SET has to be.
            let version = Node::string(tag::IA5_STRING, MARKER);
            add(r, attribute("1.3.6.1.4.1.311.13.2.3", [version]));
            let client = Node::sequence([Node::integer(&[9]), utf8(MARKER), utf8(MARKER)]);
            add(r, attribute("1.3.6.1.4.1.311.21.20", [client]));
            r[0][ATTRIBUTES].nodes_mut().sort_by_key(Node::encode);
        }),
    ),
];

//! Requested extensions: the profile decides, and nothing passes by copying.

use birthmark_hsm::KeyAlgorithm::EcP256;

use super::request::{
    BASIC_CONSTRAINTS, EXT_KEY_USAGE, KEY_USAGE, SUBJECT_ALT_NAME, add, attribute, extension, utf8,
    wish,
};
use super::{Change, MARKER, RequestFault, harmless, refused};
use crate::der_tree::{Node, tag};

const CA: &str = "RFC 5280 §4.2.1.9";
const WISH: &str = "RFC 2986 §3";

fn wants_ca() -> Node {
    let constraints = Node::sequence([Node::primitive(tag::BOOLEAN, &[0xff])]);
    extension(BASIC_CONSTRAINTS, true, &constraints)
}

/// Asks for one alternative name.
fn name(request: &mut Node, name: Node) {
    wish(
        request,
        [extension(SUBJECT_ALT_NAME, false, &Node::sequence([name]))],
    );
}

/// Asks for an extension that holds the marker.
fn marked(request: &mut Node, dotted: &str, critical: bool) {
    wish(request, [extension(dotted, critical, &utf8(MARKER))]);
}

pub(super) const FAULTS: &[RequestFault] = &[
    refused(
        "wish-to-be-a-ca",
        EcP256,
        CA,
        "requests-ca",
        Change::Signed(|r| wish(r, [wants_ca()])),
    ),
    refused(
        "wish-to-be-a-ca-in-microsofts-way",
        EcP256,
        CA,
        "requests-ca",
        Change::Signed(|r| {
            add(
                r,
                attribute("1.3.6.1.4.1.311.2.1.14", [Node::sequence([wants_ca()])]),
            );
        }),
    ),
    refused(
        "wish-to-sign-certificates",
        EcP256,
        "RFC 5280 §4.2.1.3",
        "requests-ca",
        Change::Signed(|r| {
            wish(r, [extension(KEY_USAGE, true, &Node::bits(2, &[0x84]))]);
        }),
    ),
    harmless(
        "wish-not-to-be-a-ca",
        EcP256,
        WISH,
        Change::Signed(|r| {
            wish(r, [extension(BASIC_CONSTRAINTS, true, &Node::sequence([]))]);
        }),
    ),
    harmless(
        "wish-for-path-length",
        EcP256,
        WISH,
        Change::Signed(|r| {
            let fields = Node::sequence([Node::integer(&[0])]);
            wish(r, [extension(BASIC_CONSTRAINTS, true, &fields)]);
        }),
    ),
    harmless(
        "wish-to-sign-crls",
        EcP256,
        WISH,
        Change::Signed(|r| {
            wish(r, [extension(KEY_USAGE, true, &Node::bits(1, &[0x82]))]);
        }),
    ),
    harmless(
        "wish-for-every-other-usage",
        EcP256,
        WISH,
        Change::Signed(|r| {
            wish(
                r,
                [extension(KEY_USAGE, true, &Node::bits(7, &[0xfb, 0x80]))],
            );
        }),
    ),
    harmless(
        "wish-for-server-authentication",
        EcP256,
        WISH,
        Change::Signed(|r| {
            let purposes = Node::sequence([Node::oid("1.3.6.1.5.5.7.3.1")]);
            wish(r, [extension(EXT_KEY_USAGE, false, &purposes)]);
        }),
    ),
    harmless(
        "wish-for-any-purpose",
        EcP256,
        WISH,
        Change::Signed(|r| {
            let purposes = Node::sequence([Node::oid("2.5.29.37.0")]);
            wish(r, [extension(EXT_KEY_USAGE, true, &purposes)]);
        }),
    ),
    harmless(
        "wish-for-code-signing",
        EcP256,
        WISH,
        Change::Signed(|r| {
            let purposes = Node::sequence([Node::oid("1.3.6.1.5.5.7.3.3")]);
            wish(r, [extension(EXT_KEY_USAGE, false, &purposes)]);
        }),
    ),
    harmless(
        "wish-for-dns-name",
        EcP256,
        WISH,
        Change::Signed(|r| {
            name(
                r,
                Node::context(2, format!("{MARKER}.acme.example").as_bytes()),
            );
        }),
    ),
    harmless(
        "wish-for-uri",
        EcP256,
        WISH,
        Change::Signed(|r| {
            name(r, Node::context(6, format!("urn:acme:{MARKER}").as_bytes()));
        }),
    ),
    harmless(
        "wish-for-e-mail-address",
        EcP256,
        WISH,
        Change::Signed(|r| {
            name(
                r,
                Node::context(1, format!("{MARKER}@acme.example").as_bytes()),
            );
        }),
    ),
    harmless(
        "wish-for-ip-address",
        EcP256,
        WISH,
        Change::Signed(|r| {
            name(r, Node::context(7, &[192, 0, 2, 77]));
        }),
    ),
    harmless(
        "wish-for-directory-name",
        EcP256,
        WISH,
        Change::Signed(|r| {
            let directory = Node::sequence([super::request::rdn("2.5.4.3", utf8(MARKER))]);
            name(r, Node::context_of(4, [directory]));
        }),
    ),
    harmless(
        "wish-for-other-hardware",
        EcP256,
        WISH,
        Change::Signed(|r| {
            let module = Node::sequence([
                Node::oid("1.3.6.1.4.1.32473.4"),
                Node::octets(MARKER.as_bytes()),
            ]);
            let other = [
                Node::oid("1.3.6.1.5.5.7.8.4"),
                Node::context_of(0, [module]),
            ];
            name(r, Node::context_of(0, other));
        }),
    ),
    harmless(
        "wish-for-policy",
        EcP256,
        WISH,
        Change::Signed(|r| {
            let policy = Node::sequence([Node::oid("1.3.6.1.4.1.32473.5")]);
            wish(
                r,
                [extension("2.5.29.32", false, &Node::sequence([policy]))],
            );
        }),
    ),
    harmless(
        "wish-for-name-constraints",
        EcP256,
        WISH,
        Change::Signed(|r| {
            let base = Node::sequence([Node::context(2, MARKER.as_bytes())]);
            let fields = Node::sequence([Node::context_of(0, [base])]);
            wish(r, [extension("2.5.29.30", true, &fields)]);
        }),
    ),
    harmless(
        "wish-for-subject-key-identifier",
        EcP256,
        WISH,
        Change::Signed(|r| {
            wish(
                r,
                [extension(
                    "2.5.29.14",
                    false,
                    &Node::octets(MARKER.as_bytes()),
                )],
            );
        }),
    ),
    harmless(
        "wish-for-authority-key-identifier",
        EcP256,
        WISH,
        Change::Signed(|r| {
            let fields = Node::sequence([Node::context(0, MARKER.as_bytes())]);
            wish(r, [extension("2.5.29.35", false, &fields)]);
        }),
    ),
    harmless(
        "wish-for-information-access",
        EcP256,
        WISH,
        Change::Signed(|r| {
            let location = Node::context(6, format!("http://{MARKER}.example").as_bytes());
            let ocsp = Node::sequence([Node::oid("1.3.6.1.5.5.7.48.1"), location]);
            wish(
                r,
                [extension(
                    "1.3.6.1.5.5.7.1.1",
                    false,
                    &Node::sequence([ocsp]),
                )],
            );
        }),
    ),
    harmless(
        "wish-for-masa-url",
        EcP256,
        "RFC 8995 §2.3",
        Change::Signed(|r| {
            let url = Node::string(tag::IA5_STRING, MARKER);
            wish(r, [extension("1.3.6.1.5.5.7.1.32", false, &url)]);
        }),
    ),
    harmless(
        "wish-for-netscape-comment",
        EcP256,
        WISH,
        Change::Signed(|r| {
            let comment = Node::string(tag::IA5_STRING, MARKER);
            wish(r, [extension("2.16.840.1.113730.1.13", false, &comment)]);
        }),
    ),
    harmless(
        "wish-for-unknown-extension",
        EcP256,
        WISH,
        Change::Signed(|r| {
            marked(r, "1.3.6.1.4.1.32473.7", false);
        }),
    ),
    harmless(
        "wish-for-unknown-critical-extension",
        EcP256,
        WISH,
        Change::Signed(|r| {
            marked(r, "1.3.6.1.4.1.32473.7", true);
        }),
    ),
    harmless(
        "wish-in-microsofts-way",
        EcP256,
        WISH,
        Change::Signed(|r| {
            let names = Node::sequence([Node::context(2, MARKER.as_bytes())]);
            let list = Node::sequence([extension(SUBJECT_ALT_NAME, false, &names)]);
            add(r, attribute("1.3.6.1.4.1.311.2.1.14", [list]));
        }),
    ),
];

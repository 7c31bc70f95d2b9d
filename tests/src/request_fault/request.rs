//! Where the parts of a request stand in its tree, RFC 2986 §4.

use crate::der_tree::{Node, tag};

/// Places in certificationRequestInfo.
pub(super) const VERSION: usize = 0;
pub(super) const SUBJECT: usize = 1;
pub(super) const SPKI: usize = 2;
pub(super) const ATTRIBUTES: usize = 3;

/// Places of the attributes in the subject of the load generator's requests.
pub(super) const COMMON_NAME_RDN: usize = 1;
pub(super) const SERIAL_NUMBER_RDN: usize = 2;

pub(super) const CHALLENGE_PASSWORD: &str = "1.2.840.113549.1.9.7";
pub(super) const EXTENSION_REQUEST: &str = "1.2.840.113549.1.9.14";
pub(super) const UNSTRUCTURED_NAME: &str = "1.2.840.113549.1.9.2";
/// An attribute that nobody knows.
pub(super) const UNKNOWN: &str = "1.3.6.1.4.1.32473.9";

pub(super) const KEY_USAGE: &str = "2.5.29.15";
pub(super) const SUBJECT_ALT_NAME: &str = "2.5.29.17";
pub(super) const BASIC_CONSTRAINTS: &str = "2.5.29.19";
pub(super) const EXT_KEY_USAGE: &str = "2.5.29.37";

/// The value of the attribute at this place of the subject.
pub(super) fn subject_value(request: &mut Node, rdn: usize) -> &mut Node {
    &mut request[0][SUBJECT][rdn][0][1]
}

pub(super) fn attribute(dotted: &str, values: impl IntoIterator<Item = Node>) -> Node {
    Node::sequence([Node::oid(dotted), Node::set(values)])
}

/// Adds an attribute. There is one at most in each request here but where the order matters.
pub(super) fn add(request: &mut Node, attribute: Node) {
    request[0][ATTRIBUTES].push(attribute);
}

/// Adds an extension request for these extensions.
pub(super) fn wish(request: &mut Node, extensions: impl IntoIterator<Item = Node>) {
    add(
        request,
        attribute(EXTENSION_REQUEST, [Node::sequence(extensions)]),
    );
}

/// An extension as it has to be.
pub(super) fn extension(dotted: &str, critical: bool, value: &Node) -> Node {
    let mut parts = vec![Node::oid(dotted)];
    if critical {
        parts.push(Node::primitive(tag::BOOLEAN, &[0xff]));
    }
    parts.push(Node::octets(&value.encode()));
    Node::sequence(parts)
}

pub(super) fn utf8(text: &str) -> Node {
    Node::string(tag::UTF8_STRING, text)
}

pub(super) fn printable(text: &str) -> Node {
    Node::string(tag::PRINTABLE_STRING, text)
}

pub(super) fn rdn(dotted: &str, value: Node) -> Node {
    Node::set([Node::sequence([Node::oid(dotted), value])])
}

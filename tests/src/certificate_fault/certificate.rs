//! Where the parts of a certificate stand in its tree, RFC 5280 §4.1.

use crate::der_tree::{Node, tag};

/// Places in tbsCertificate of a version 3 certificate.
pub(super) const VERSION: usize = 0;
pub(super) const SERIAL: usize = 1;
pub(super) const ALGORITHM: usize = 2;
pub(super) const ISSUER: usize = 3;
pub(super) const VALIDITY: usize = 4;
pub(super) const SUBJECT: usize = 5;
pub(super) const SPKI: usize = 6;
pub(super) const EXTENSIONS: usize = 7;

pub(super) const SUBJECT_KEY_IDENTIFIER: &str = "2.5.29.14";
pub(super) const KEY_USAGE: &str = "2.5.29.15";
pub(super) const SUBJECT_ALT_NAME: &str = "2.5.29.17";
pub(super) const ISSUER_ALT_NAME: &str = "2.5.29.18";
pub(super) const BASIC_CONSTRAINTS: &str = "2.5.29.19";
pub(super) const NAME_CONSTRAINTS: &str = "2.5.29.30";
pub(super) const CRL_DISTRIBUTION_POINTS: &str = "2.5.29.31";
pub(super) const CERTIFICATE_POLICIES: &str = "2.5.29.32";
pub(super) const POLICY_MAPPINGS: &str = "2.5.29.33";
pub(super) const AUTHORITY_KEY_IDENTIFIER: &str = "2.5.29.35";
pub(super) const POLICY_CONSTRAINTS: &str = "2.5.29.36";
pub(super) const EXT_KEY_USAGE: &str = "2.5.29.37";
pub(super) const INHIBIT_ANY_POLICY: &str = "2.5.29.54";
pub(super) const AUTHORITY_INFO_ACCESS: &str = "1.3.6.1.5.5.7.1.1";

/// Attribute types.
pub(super) const COMMON_NAME: &str = "2.5.4.3";
pub(super) const COUNTRY: &str = "2.5.4.6";
pub(super) const ORGANIZATION: &str = "2.5.4.10";
pub(super) const SERIAL_NUMBER: &str = "2.5.4.5";

/// The SEQUENCE of extensions.
pub(super) fn extensions(certificate: &mut Node) -> &mut Node {
    &mut certificate[0][EXTENSIONS][0]
}

/// The extension with this identifier.
pub(super) fn extension<'a>(certificate: &'a mut Node, dotted: &str) -> &'a mut Node {
    let id = Node::oid(dotted);
    let list = extensions(certificate).nodes_mut();
    list.iter_mut().find(|one| one[0] == id).unwrap()
}

/// Changes what is inside an extension's value.
pub(super) fn value(certificate: &mut Node, dotted: &str, change: impl FnOnce(&mut Node)) {
    octets(certificate, dotted).within(change);
}

/// The OCTET STRING of an extension's value.
pub(super) fn octets<'a>(certificate: &'a mut Node, dotted: &str) -> &'a mut Node {
    extension(certificate, dotted)
        .nodes_mut()
        .last_mut()
        .unwrap()
}

/// Puts another value into an extension.
pub(super) fn set_value(certificate: &mut Node, dotted: &str, new: &Node) {
    *octets(certificate, dotted) = Node::octets(&new.encode());
}

pub(super) fn remove(certificate: &mut Node, dotted: &str) {
    let id = Node::oid(dotted);
    extensions(certificate)
        .nodes_mut()
        .retain(|one| one[0] != id);
}

/// An extension as it has to be.
pub(super) fn make(dotted: &str, critical: bool, value: &Node) -> Node {
    let mut parts = vec![Node::oid(dotted)];
    if critical {
        parts.push(Node::primitive(tag::BOOLEAN, &[0xff]));
    }
    parts.push(Node::octets(&value.encode()));
    Node::sequence(parts)
}

pub(super) fn add(certificate: &mut Node, dotted: &str, critical: bool, value: &Node) {
    extensions(certificate).push(make(dotted, critical, value));
}

/// Marks an extension critical, or not, as DER writes it.
pub(super) fn set_critical(certificate: &mut Node, dotted: &str, critical: bool) {
    let parts = extension(certificate, dotted).nodes_mut();
    parts.retain(|part| part.tag != tag::BOOLEAN);
    if critical {
        parts.insert(1, Node::primitive(tag::BOOLEAN, &[0xff]));
    }
}

/// A RelativeDistinguishedName of one attribute.
pub(super) fn rdn(dotted: &str, string: Node) -> Node {
    Node::set([attribute(dotted, string)])
}

pub(super) fn attribute(dotted: &str, string: Node) -> Node {
    Node::sequence([Node::oid(dotted), string])
}

/// The value of the subject's first attribute.
pub(super) fn first_value(certificate: &mut Node) -> &mut Node {
    &mut certificate[0][SUBJECT][0][0][1]
}

pub(super) fn utf8(text: &str) -> Node {
    Node::string(tag::UTF8_STRING, text)
}

pub(super) fn printable(text: &str) -> Node {
    Node::string(tag::PRINTABLE_STRING, text)
}

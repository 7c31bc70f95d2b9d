//! Faults of the subject, RFC 5280 §4.1.2.6 and appendix A.1, and of the subject's alternative name, §4.2.1.6.

use super::certificate::{
    COMMON_NAME, COUNTRY, ORGANIZATION, SERIAL_NUMBER, SUBJECT, SUBJECT_ALT_NAME, add, attribute,
    first_value, printable, rdn, remove, set_critical, utf8, value,
};
use super::{CertificateFault, Change, fault};
use crate::authority::Base::{Idevid, TlsClient};
use crate::der_tree::{Node, tag};

const BOUNDS: &str = "RFC 5280 appendix A.1";
const ATTRIBUTES: &str = "RFC 5280 §4.1.2.4";
const ALT: &str = "RFC 5280 §4.2.1.6";

/// Puts a subject alternative name of one name into a TLS client's certificate.
fn alternative(certificate: &mut Node, name: Node) {
    add(
        certificate,
        SUBJECT_ALT_NAME,
        false,
        &Node::sequence([name]),
    );
}

fn dns(text: &str) -> Node {
    Node::context(2, text.as_bytes())
}

pub(super) const FAULTS: &[CertificateFault] = &[
    fault(
        "subject-empty-names-not-critical",
        Idevid,
        ALT,
        &["subject-empty-san"],
        Change::Signed(|c| {
            c[0][SUBJECT].nodes_mut().clear();
        }),
    ),
    fault(
        "subject-empty-without-names",
        TlsClient,
        "RFC 5280 §4.1.2.6",
        &["subject-empty-san"],
        Change::Signed(|c| {
            c[0][SUBJECT].nodes_mut().clear();
        }),
    ),
    fault(
        "subject-country-of-three-letters",
        TlsClient,
        BOUNDS,
        &["name-country"],
        Change::Signed(|c| {
            c[0][SUBJECT]
                .nodes_mut()
                .insert(0, rdn(COUNTRY, printable("DEU")));
        }),
    ),
    fault(
        "subject-country-of-one-letter",
        TlsClient,
        BOUNDS,
        &["name-country"],
        Change::Signed(|c| {
            c[0][SUBJECT]
                .nodes_mut()
                .insert(0, rdn(COUNTRY, printable("D")));
        }),
    ),
    fault(
        "subject-country-in-utf8",
        TlsClient,
        BOUNDS,
        &["name-string-type"],
        Change::Signed(|c| {
            c[0][SUBJECT]
                .nodes_mut()
                .insert(0, rdn(COUNTRY, utf8("DE")));
        }),
    ),
    fault(
        "subject-serial-number-in-utf8",
        Idevid,
        BOUNDS,
        &["name-string-type"],
        Change::Signed(|c| {
            first_value(c).tag = tag::UTF8_STRING;
        }),
    ),
    fault(
        "subject-serial-number-of-65-characters",
        Idevid,
        BOUNDS,
        &["name-value-long"],
        Change::Signed(|c| {
            *first_value(c) = printable(&"7".repeat(65));
        }),
    ),
    fault(
        "subject-serial-number-not-printable",
        Idevid,
        "X.680 §41.4",
        &["der-printable-string"],
        Change::Signed(|c| {
            first_value(c).bytes_mut()[0] = b'@';
        }),
    ),
    fault(
        "subject-serial-number-empty",
        Idevid,
        BOUNDS,
        &["name-value-empty"],
        Change::Signed(|c| {
            first_value(c).bytes_mut().clear();
        }),
    ),
    fault(
        "subject-common-name-of-65-characters",
        TlsClient,
        BOUNDS,
        &["name-value-long"],
        Change::Signed(|c| {
            *first_value(c) = utf8(&"n".repeat(65));
        }),
    ),
    fault(
        "subject-common-name-empty",
        TlsClient,
        BOUNDS,
        &["name-value-empty"],
        Change::Signed(|c| {
            *first_value(c) = utf8("");
        }),
    ),
    fault(
        "subject-organization-of-65-characters",
        TlsClient,
        BOUNDS,
        &["name-value-long"],
        Change::Signed(|c| {
            c[0][SUBJECT]
                .nodes_mut()
                .insert(0, rdn(ORGANIZATION, utf8(&"o".repeat(65))));
        }),
    ),
    fault(
        "subject-common-name-not-utf8",
        TlsClient,
        "X.690 §8.23.10",
        &["der-utf8-string"],
        Change::Signed(|c| {
            first_value(c).bytes_mut()[0] = 0xff;
        }),
    ),
    fault(
        "subject-common-name-with-nul",
        TlsClient,
        ATTRIBUTES,
        &["name-control"],
        Change::Signed(|c| {
            first_value(c).bytes_mut()[2] = 0;
        }),
    ),
    fault(
        "subject-common-name-with-line-feed",
        TlsClient,
        ATTRIBUTES,
        &["name-control"],
        Change::Signed(|c| {
            first_value(c).bytes_mut()[2] = b'\n';
        }),
    ),
    fault(
        "subject-common-name-in-teletex",
        TlsClient,
        ATTRIBUTES,
        &["name-string-old"],
        Change::Signed(|c| {
            first_value(c).tag = tag::TELETEX_STRING;
        }),
    ),
    fault(
        "subject-common-name-in-bmp",
        TlsClient,
        ATTRIBUTES,
        &["name-string-old"],
        Change::Signed(|c| {
            *first_value(c) = Node::primitive(tag::BMP_STRING, &[0, b'd', 0, b'7']);
        }),
    ),
    fault(
        "subject-common-name-in-bmp-of-odd-length",
        TlsClient,
        "X.690 §8.23.9",
        &["der-bmp-string"],
        Change::Signed(|c| {
            *first_value(c) = Node::primitive(tag::BMP_STRING, &[0, b'd', 0]);
        }),
    ),
    fault(
        "subject-common-name-in-universal",
        TlsClient,
        ATTRIBUTES,
        &["name-string-old"],
        Change::Signed(|c| {
            *first_value(c) = Node::primitive(tag::UNIVERSAL_STRING, &[0, 0, 0, b'd']);
        }),
    ),
    fault(
        "subject-common-name-in-ia5",
        TlsClient,
        BOUNDS,
        &["name-string-type"],
        Change::Signed(|c| {
            first_value(c).tag = tag::IA5_STRING;
        }),
    ),
    fault(
        "subject-common-name-in-octets",
        TlsClient,
        BOUNDS,
        &["name-string-type"],
        Change::Signed(|c| {
            first_value(c).tag = tag::OCTET_STRING;
        }),
    ),
    fault(
        "subject-rdn-empty",
        TlsClient,
        ATTRIBUTES,
        &["name-empty-rdn"],
        Change::Signed(|c| {
            c[0][SUBJECT].push(Node::set([]));
        }),
    ),
    fault(
        "subject-attribute-of-three-values",
        TlsClient,
        ATTRIBUTES,
        &["name-structure"],
        Change::Signed(|c| {
            c[0][SUBJECT][0][0].push(Node::null());
        }),
    ),
    fault(
        "subject-attribute-without-value",
        TlsClient,
        ATTRIBUTES,
        &["name-structure"],
        Change::Signed(|c| {
            c[0][SUBJECT][0][0].nodes_mut().truncate(1);
        }),
    ),
    fault(
        "subject-type-twice-in-rdn",
        TlsClient,
        "X.501 §9.3",
        &["name-rdn-type-twice"],
        Change::Signed(|c| {
            let again = attribute(COMMON_NAME, utf8(&"z".repeat(40)));
            c[0][SUBJECT][0].push(again);
        }),
    ),
    fault(
        "subject-rdn-as-sequence",
        TlsClient,
        ATTRIBUTES,
        &["name-structure"],
        Change::Signed(|c| {
            c[0][SUBJECT][0].tag = tag::SEQUENCE;
        }),
    ),
    fault(
        "names-empty",
        Idevid,
        ALT,
        &["san-empty"],
        Change::Signed(|c| {
            value(c, SUBJECT_ALT_NAME, |names| names.nodes_mut().clear());
        }),
    ),
    fault(
        "names-critical-beside-subject",
        Idevid,
        ALT,
        &["critical-advice"],
        Change::Signed(|c| {
            set_critical(c, SUBJECT_ALT_NAME, true);
        }),
    ),
    fault(
        "names-of-unknown-kind",
        Idevid,
        ALT,
        &["general-name-form"],
        Change::Signed(|c| {
            value(c, SUBJECT_ALT_NAME, |names| {
                names.push(Node::context(9, b"x"))
            });
        }),
    ),
    fault(
        "names-other-name-without-wrapper",
        Idevid,
        ALT,
        &["general-name-form"],
        Change::Signed(|c| {
            value(c, SUBJECT_ALT_NAME, |names| {
                names[0][1] = names[0][1][0].clone();
            });
        }),
    ),
    fault(
        "names-hardware-module-without-serial",
        Idevid,
        "RFC 4108 §5",
        &["general-name-hardware"],
        Change::Signed(|c| {
            value(c, SUBJECT_ALT_NAME, |names| {
                names[0][1][0].nodes_mut().pop();
            });
        }),
    ),
    fault(
        "names-hardware-module-serial-as-text",
        Idevid,
        "RFC 4108 §5",
        &["general-name-hardware"],
        Change::Signed(|c| {
            value(c, SUBJECT_ALT_NAME, |names| {
                names[0][1][0][1].tag = tag::UTF8_STRING
            });
        }),
    ),
    fault(
        "names-dns-empty",
        TlsClient,
        ALT,
        &["general-name-ia5"],
        Change::Signed(|c| alternative(c, dns(""))),
    ),
    fault(
        "names-dns-blank",
        TlsClient,
        ALT,
        &["general-name-dns"],
        Change::Signed(|c| alternative(c, dns(" "))),
    ),
    fault(
        "names-dns-with-space",
        TlsClient,
        "RFC 1034 §3.5",
        &["general-name-dns"],
        Change::Signed(|c| {
            alternative(c, dns("dev ice.example"));
        }),
    ),
    fault(
        "names-dns-with-nul",
        TlsClient,
        ALT,
        &["general-name-ia5"],
        Change::Signed(|c| {
            alternative(c, dns("device.example\0.other.example"));
        }),
    ),
    fault(
        "names-dns-not-ascii",
        TlsClient,
        ALT,
        &["general-name-ia5"],
        Change::Signed(|c| {
            alternative(c, dns("gerät.example"));
        }),
    ),
    fault(
        "names-dns-label-of-64",
        TlsClient,
        "RFC 1034 §3.1",
        &["general-name-dns"],
        Change::Signed(|c| {
            alternative(c, dns(&format!("{}.example", "l".repeat(64))));
        }),
    ),
    fault(
        "names-dns-of-254",
        TlsClient,
        "RFC 1034 §3.1",
        &["general-name-dns"],
        Change::Signed(|c| {
            let long = [&"l".repeat(62)[..]; 4].join(".");
            alternative(c, dns(&format!("{long}.de")));
        }),
    ),
    fault(
        "names-dns-label-empty",
        TlsClient,
        "RFC 1034 §3.5",
        &["general-name-dns"],
        Change::Signed(|c| {
            alternative(c, dns("device..example"));
        }),
    ),
    fault(
        "names-uri-relative",
        TlsClient,
        ALT,
        &["general-name-uri"],
        Change::Signed(|c| {
            alternative(c, Node::context(6, b"/devices/7"));
        }),
    ),
    fault(
        "names-uri-empty",
        TlsClient,
        ALT,
        &["general-name-ia5"],
        Change::Signed(|c| {
            alternative(c, Node::context(6, b""));
        }),
    ),
    fault(
        "names-ip-of-5-octets",
        TlsClient,
        ALT,
        &["general-name-ip"],
        Change::Signed(|c| {
            alternative(c, Node::context(7, &[192, 0, 2, 1, 0]));
        }),
    ),
    fault(
        "names-ip-as-text",
        TlsClient,
        ALT,
        &["general-name-ip"],
        Change::Signed(|c| {
            alternative(c, Node::context(7, b"192.0.2.1"));
        }),
    ),
    fault(
        "names-email-without-at",
        TlsClient,
        ALT,
        &["general-name-email"],
        Change::Signed(|c| {
            alternative(c, Node::context(1, b"device.example"));
        }),
    ),
    fault(
        "names-email-with-name",
        TlsClient,
        ALT,
        &["general-name-email"],
        Change::Signed(|c| {
            alternative(c, Node::context(1, b"Device <device@acme.example>"));
        }),
    ),
    fault(
        "names-registered-id-unfinished",
        TlsClient,
        ALT,
        &["general-name-form"],
        Change::Signed(|c| {
            alternative(c, Node::context(8, &[0x2a, 0x81]));
        }),
    ),
    fault(
        "names-directory-name-empty",
        TlsClient,
        ALT,
        &["general-name-directory"],
        Change::Signed(|c| {
            alternative(c, Node::context_of(4, [Node::sequence([])]));
        }),
    ),
    fault(
        "names-missing",
        Idevid,
        "profile",
        &["profile-extension-missing"],
        Change::Signed(|c| {
            remove(c, SUBJECT_ALT_NAME);
        }),
    ),
    fault(
        "subject-serial-number-missing",
        Idevid,
        "profile",
        &["profile-subject-attributes"],
        Change::Signed(|c| {
            c[0][SUBJECT][0] = rdn(COMMON_NAME, utf8("device"));
        }),
    ),
    fault(
        "subject-serial-number-twice",
        Idevid,
        "profile",
        &["profile-subject-attributes"],
        Change::Signed(|c| {
            c[0][SUBJECT].push(rdn(SERIAL_NUMBER, printable("another")));
        }),
    ),
];

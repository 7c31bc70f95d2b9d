//! Faults of the subject's alternative name, RFC 5280 §4.2.1.6.

use super::certificate::{
    COMMON_NAME, SERIAL_NUMBER, SUBJECT, SUBJECT_ALT_NAME, add, printable, rdn, remove,
    set_critical, utf8, value,
};
use super::{CertificateFault, Change, fault};
use crate::authority::Base::{Idevid, TlsClient};
use crate::der_tree::{Node, tag};

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

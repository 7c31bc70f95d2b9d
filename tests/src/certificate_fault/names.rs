//! Faults of the subject, RFC 5280 §4.1.2.6 and appendix A.1.

use super::certificate::{
    COMMON_NAME, COUNTRY, ORGANIZATION, SUBJECT, attribute, first_value, printable, rdn, utf8,
};
use super::{CertificateFault, Change, fault};
use crate::authority::Base::{Idevid, TlsClient};
use crate::der_tree::{Node, tag};

const BOUNDS: &str = "RFC 5280 appendix A.1";
const ATTRIBUTES: &str = "RFC 5280 §4.1.2.4";
const ALT: &str = "RFC 5280 §4.2.1.6";

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
];

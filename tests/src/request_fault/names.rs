//! Faults of the subject, RFC 5280 appendix A.1. The profile takes the serial number and nothing else.

use birthmark_hsm::KeyAlgorithm::EcP256;

use super::request::{
    COMMON_NAME_RDN, SERIAL_NUMBER_RDN, SUBJECT, printable, rdn, subject_value, utf8,
};
use super::{Change, MARKER, RequestFault, harmless, refused};
use crate::der_tree::{Node, tag};

const NAME: &str = "RFC 5280 §4.1.2.4";
const BOUNDS: &str = "RFC 5280 appendix A.1";

fn serial(request: &mut Node) -> &mut Node {
    subject_value(request, SERIAL_NUMBER_RDN)
}

fn common_name(request: &mut Node) -> &mut Node {
    subject_value(request, COMMON_NAME_RDN)
}

pub(super) const FAULTS: &[RequestFault] = &[
    refused(
        "subject-empty",
        EcP256,
        "profile",
        "field-count",
        Change::Signed(|r| {
            r[0][SUBJECT].nodes_mut().clear();
        }),
    ),
    refused(
        "subject-absent",
        EcP256,
        "RFC 2986 §4.1",
        "malformed",
        Change::Signed(|r| {
            r[0].nodes_mut().remove(SUBJECT);
        }),
    ),
    refused(
        "serial-number-missing",
        EcP256,
        "profile",
        "field-count",
        Change::Signed(|r| {
            r[0][SUBJECT].nodes_mut().pop();
        }),
    ),
    refused(
        "serial-number-twice",
        EcP256,
        "profile",
        "field-count",
        Change::Signed(|r| {
            r[0][SUBJECT].push(rdn("2.5.4.5", printable("another")));
        }),
    ),
    refused(
        "serial-number-twice-in-rdn",
        EcP256,
        "profile",
        "field-count",
        Change::Signed(|r| {
            let again = Node::sequence([Node::oid("2.5.4.5"), printable(&"Z".repeat(40))]);
            r[0][SUBJECT][SERIAL_NUMBER_RDN].push(again);
        }),
    ),
    refused(
        "serial-number-empty",
        EcP256,
        BOUNDS,
        "field-value",
        Change::Signed(|r| {
            *serial(r) = printable("");
        }),
    ),
    refused(
        "serial-number-of-65-characters",
        EcP256,
        BOUNDS,
        "field-value",
        Change::Signed(|r| {
            *serial(r) = printable(&"7".repeat(65));
        }),
    ),
    refused(
        "serial-number-not-printable",
        EcP256,
        "X.680 §41.4",
        "field-value",
        Change::Signed(|r| {
            *serial(r) = utf8("SN_7@line");
        }),
    ),
    refused(
        "serial-number-with-nul",
        EcP256,
        NAME,
        "field-value",
        Change::Signed(|r| {
            *serial(r) = utf8("SN7\0SN8");
        }),
    ),
    refused(
        "serial-number-with-line-feed",
        EcP256,
        NAME,
        "field-value",
        Change::Signed(|r| {
            *serial(r) = utf8("SN7\nSN8");
        }),
    ),
    refused(
        "serial-number-with-spaces-around",
        EcP256,
        "RFC 4518 §2.6.1",
        "field-value",
        Change::Signed(|r| {
            *serial(r) = printable(" SN7 ");
        }),
    ),
    refused(
        "serial-number-in-teletex",
        EcP256,
        NAME,
        "field-value",
        Change::Signed(|r| {
            serial(r).tag = tag::TELETEX_STRING;
        }),
    ),
    refused(
        "serial-number-in-bmp",
        EcP256,
        NAME,
        "field-value",
        Change::Signed(|r| {
            *serial(r) = Node::primitive(tag::BMP_STRING, &[0, b'S', 0, b'7']);
        }),
    ),
    refused(
        "serial-number-as-integer",
        EcP256,
        BOUNDS,
        "field-value",
        Change::Signed(|r| {
            *serial(r) = Node::integer(&[7]);
        }),
    ),
    refused(
        "serial-number-as-octets",
        EcP256,
        BOUNDS,
        "field-value",
        Change::Signed(|r| {
            serial(r).tag = tag::OCTET_STRING;
        }),
    ),
    refused(
        "rdn-empty",
        EcP256,
        NAME,
        "malformed",
        Change::Signed(|r| {
            r[0][SUBJECT].push(Node::set([]));
        }),
    ),
    refused(
        "rdn-as-sequence",
        EcP256,
        NAME,
        "malformed",
        Change::Signed(|r| {
            r[0][SUBJECT][0].tag = tag::SEQUENCE;
        }),
    ),
    refused(
        "rdn-out-of-order",
        EcP256,
        "X.690 §11.6",
        "malformed",
        Change::Signed(|r| {
            let first = Node::sequence([Node::oid("2.5.4.11"), utf8(&"u".repeat(60))]);
            r[0][SUBJECT][COMMON_NAME_RDN].nodes_mut().insert(0, first);
        }),
    ),
    refused(
        "attribute-without-value",
        EcP256,
        NAME,
        "malformed",
        Change::Signed(|r| {
            r[0][SUBJECT][COMMON_NAME_RDN][0].nodes_mut().pop();
        }),
    ),
    refused(
        "attribute-of-three",
        EcP256,
        NAME,
        "malformed",
        Change::Signed(|r| {
            r[0][SUBJECT][COMMON_NAME_RDN][0].push(Node::null());
        }),
    ),
    refused(
        "attribute-type-as-text",
        EcP256,
        NAME,
        "malformed",
        Change::Signed(|r| {
            r[0][SUBJECT][COMMON_NAME_RDN][0][0] = utf8("CN");
        }),
    ),
    refused(
        "names-of-300",
        EcP256,
        "Birthmark limit",
        "over-limit",
        Change::Signed(|r| {
            for _ in 0..300 {
                r[0][SUBJECT].push(rdn("2.5.4.11", utf8("unit")));
            }
        }),
    ),
    harmless(
        "common-name-of-65-characters",
        EcP256,
        BOUNDS,
        Change::Signed(|r| {
            *common_name(r) = utf8(&format!("{MARKER}{}", "n".repeat(56)));
        }),
    ),
    harmless(
        "common-name-with-nul",
        EcP256,
        NAME,
        Change::Signed(|r| {
            *common_name(r) = utf8(&format!("{MARKER}\0.other.example"));
        }),
    ),
    harmless(
        "common-name-empty",
        EcP256,
        BOUNDS,
        Change::Signed(|r| {
            *common_name(r) = utf8("");
        }),
    ),
    harmless(
        "common-name-as-octets",
        EcP256,
        BOUNDS,
        Change::Signed(|r| {
            *common_name(r) = Node::octets(MARKER.as_bytes());
        }),
    ),
    harmless(
        "common-name-in-teletex",
        EcP256,
        NAME,
        Change::Signed(|r| {
            *common_name(r) = Node::string(tag::TELETEX_STRING, MARKER);
        }),
    ),
    harmless(
        "country-of-three-letters",
        EcP256,
        BOUNDS,
        Change::Signed(|r| {
            r[0][SUBJECT].push(rdn("2.5.4.6", printable("DEU")));
        }),
    ),
    harmless(
        "unit-of-another",
        EcP256,
        "profile",
        Change::Signed(|r| {
            r[0][SUBJECT].push(rdn("2.5.4.11", utf8(MARKER)));
        }),
    ),
    harmless(
        "e-mail-address",
        EcP256,
        "profile",
        Change::Signed(|r| {
            let address = Node::string(tag::IA5_STRING, &format!("{MARKER}@acme.example"));
            r[0][SUBJECT].push(rdn("1.2.840.113549.1.9.1", address));
        }),
    ),
    harmless(
        "attribute-type-unknown",
        EcP256,
        "profile",
        Change::Signed(|r| {
            r[0][SUBJECT].push(rdn("1.3.6.1.4.1.32473.9", utf8(MARKER)));
        }),
    ),
    harmless(
        "serial-number-in-ia5",
        EcP256,
        BOUNDS,
        Change::Signed(|r| {
            // The text is taken, the string type is the profile's.
            serial(r).tag = tag::IA5_STRING;
        }),
    ),
];

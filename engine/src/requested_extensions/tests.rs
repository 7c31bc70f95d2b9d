//! Which extension requests are read, and what they tell.

use std::net::IpAddr;

use super::*;
use crate::der::writer::Writer;

/// A value, DER.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = Vec::new();
    Writer::new(&mut der).primitive(tag, content);
    der
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    der(tag::SEQUENCE, &parts.concat())
}

fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical {
        der(tag::BOOLEAN, &[0xff])
    } else {
        Vec::new()
    };
    let oid = der(tag::OID, oid);
    sequence(&[oid, critical, der(tag::OCTET_STRING, value)])
}

/// Reads one or two extension requests.
fn read_all(requests: &[Vec<u8>]) -> Result<RequestedExtensions<'_>, Rejection> {
    let mut extensions = RequestedExtensions::default();
    for request in requests {
        check_strict(request)?;
        let value = reader::single(request, tag::SEQUENCE, "no SEQUENCE")?;
        extensions.add(&value)?;
    }
    Ok(extensions)
}

#[track_caller]
fn refused(requests: &[Vec<u8>], fault: &'static str) {
    let error = read_all(requests).unwrap_err();
    let over = fault.starts_with("over ");
    let expected = if over {
        Rejection::OverLimit(fault)
    } else {
        Rejection::Malformed(fault)
    };
    assert_eq!(error, expected);
}

fn alternative_names(names: &[Vec<u8>]) -> Vec<u8> {
    sequence(&[extension(oid::SUBJECT_ALT_NAME, false, &sequence(names))])
}

const DNS: u8 = 0x82;
const DIGITAL_SIGNATURE: &[u8] = &[0x03, 0x02, 0x07, 0x80];
const KEY_AGREEMENT: &[u8] = &[0x03, 0x02, 0x03, 0x08];

#[test]
fn extensions_are_told_in_order_and_once() {
    let usage = extension(oid::KEY_USAGE, true, DIGITAL_SIGNATURE);
    let purpose = extension(oid::EXT_KEY_USAGE, false, &[0x30, 0x00]);
    let names = extension(
        oid::SUBJECT_ALT_NAME,
        false,
        &sequence(&[der(DNS, b"a.example")]),
    );
    let requests = [
        sequence(&[usage.clone(), purpose]),
        sequence(&[names, usage]),
    ];
    let extensions = read_all(&requests).unwrap();
    let told: Vec<_> = extensions.iter().map(|e| (e.oid, e.critical)).collect();
    assert_eq!(
        told,
        [
            (oid::KEY_USAGE, true),
            (oid::EXT_KEY_USAGE, false),
            (oid::SUBJECT_ALT_NAME, false)
        ]
    );
    let usage = extensions.get(oid::KEY_USAGE).unwrap();
    assert_eq!((usage.critical, usage.value), (true, DIGITAL_SIGNATURE));
    assert!(extensions.get(oid::BASIC_CONSTRAINTS).is_none());
    assert!(!extensions.ca);
    let names: Vec<_> = extensions.subject_alt_names().collect();
    assert!(matches!(names[..], [GeneralName::Dns("a.example")]));
}

#[test]
fn two_requests_may_not_differ() {
    let with = |value| sequence(&[extension(oid::KEY_USAGE, true, value)]);
    let differ = [with(DIGITAL_SIGNATURE), with(KEY_AGREEMENT)];
    refused(&differ, "an extension twice, with different content");
    let criticality = [
        with(DIGITAL_SIGNATURE),
        sequence(&[extension(oid::KEY_USAGE, false, DIGITAL_SIGNATURE)]),
    ];
    refused(&criticality, "an extension twice, with different content");
    let twice = extension(oid::KEY_USAGE, true, DIGITAL_SIGNATURE);
    refused(&[sequence(&[twice.clone(), twice])], "an extension twice");
}

#[test]
fn malformed_requests_are_refused() {
    let table: Vec<(Vec<u8>, &str)> = vec![
        (sequence(&[]), "an extension request without extensions"),
        (
            sequence(&[der(tag::NULL, &[])]),
            "an extension that is not a SEQUENCE",
        ),
        (
            sequence(&[sequence(&[der(tag::OCTET_STRING, &[])])]),
            "an extension without an identifier",
        ),
        (
            sequence(&[sequence(&[
                der(tag::OID, oid::KEY_USAGE),
                der(tag::BOOLEAN, &[0]),
                der(tag::OCTET_STRING, DIGITAL_SIGNATURE),
            ])]),
            "a default value that is encoded",
        ),
        (
            sequence(&[extension(&[0x55, 0x1d, 0x63], false, &[0x30, 0x80, 0, 0])]),
            "an indefinite length",
        ),
        (
            sequence(
                &(0..=REQUESTED_EXTENSIONS_MAX)
                    .map(|number| {
                        let last = u8::try_from(number).unwrap();
                        extension(&[0x55, 0x1e, last], false, &[0x05, 0x00])
                    })
                    .collect::<Vec<_>>(),
            ),
            "over 32 requested extensions",
        ),
    ];
    for (request, fault) in table {
        refused(&[request], fault);
    }
}

#[test]
fn every_kind_of_name_is_read() {
    let country = sequence(&[der(
        tag::SET,
        &sequence(&[
            der(tag::OID, &[0x55, 0x04, 0x06]),
            der(tag::PRINTABLE_STRING, b"DE"),
        ]),
    )]);
    let hardware = der(
        0xa0,
        &[
            der(tag::OID, oid::HARDWARE_MODULE_NAME),
            der(0xa0, &der(tag::UTF8_STRING, b"7")),
        ]
        .concat(),
    );
    let request = alternative_names(&[
        hardware,
        der(0x81, b"a@b.example"),
        der(DNS, b"b.example"),
        der(0xa3, &[]),
        der(0xa4, &country),
        der(0x86, b"urn:x:y"),
        der(0x87, &[192, 0, 2, 1]),
        der(0x87, &[0x20; 16]),
        der(0x88, &[0x2a, 0x03]),
    ]);
    let requests = [request];
    let extensions = read_all(&requests).unwrap();
    let names: Vec<_> = extensions.subject_alt_names().collect();
    let [
        GeneralName::OtherName { type_id, value },
        GeneralName::Email("a@b.example"),
        GeneralName::Dns("b.example"),
        GeneralName::Unread { tag: 0xa3 },
        GeneralName::DirectoryName(name),
        GeneralName::Uri("urn:x:y"),
        GeneralName::Ip(IpAddr::V4(four)),
        GeneralName::Ip(IpAddr::V6(_)),
        GeneralName::RegisteredId([0x2a, 0x03]),
    ] = names[..]
    else {
        panic!("{names:?}");
    };
    assert_eq!(type_id, oid::HARDWARE_MODULE_NAME);
    assert_eq!(value.content, b"7");
    assert_eq!(name.attributes().count(), 1);
    assert_eq!(four.octets(), [192, 0, 2, 1]);
}

#[test]
fn malformed_names_are_refused() {
    let many: Vec<_> = (0..33).map(|_| der(DNS, b"a.example")).collect();
    let other = |content: &[Vec<u8>]| vec![der(0xa0, &content.concat())];
    let visible = "a general name with other than visible ASCII characters";
    let table: Vec<(Vec<Vec<u8>>, &str)> = vec![
        (vec![], "a subject alternative name without names"),
        (many, "over 32 subject alternative names"),
        (vec![der(DNS, b"")], "an empty general name"),
        (vec![der(DNS, b"good.example\0.evil.example")], visible),
        (vec![der(DNS, b"a\nb")], visible),
        (vec![der(DNS, b"a\x7f")], visible),
        (vec![der(DNS, "\u{e9}".as_bytes())], visible),
        (
            vec![der(0x87, &[1, 2, 3])],
            "an IP address of neither 4 nor 16 octets",
        ),
        // A network, as name constraints have it.
        (
            vec![der(0x87, &[1; 8])],
            "an IP address of neither 4 nor 16 octets",
        ),
        (
            vec![der(0x88, &[0x80, 0x01])],
            "a registered identifier that is malformed",
        ),
        (
            vec![der(0x84, &[0x30, 0x00])],
            "a general name of an unknown kind",
        ),
        (vec![der(0xa4, &[])], "a directory name that is no Name"),
        (
            vec![der(tag::UTF8_STRING, b"a.example")],
            "a general name of an unknown kind",
        ),
        (other(&[]), "an otherName without a type"),
        (
            other(&[der(tag::OID, oid::HARDWARE_MODULE_NAME)]),
            "an otherName without a value",
        ),
        (
            other(&[
                der(tag::OID, oid::HARDWARE_MODULE_NAME),
                der(0xa0, &[5, 0, 5, 0]),
            ]),
            "octets after the end of a value",
        ),
    ];
    for (names, fault) in table {
        refused(&[alternative_names(&names)], fault);
    }
}

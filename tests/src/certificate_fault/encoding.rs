//! Faults of the encoding: BER where DER has to be (X.690 §10, §11), and broken structure.

use super::certificate::{
    AUTHORITY_KEY_IDENTIFIER, EXT_KEY_USAGE, EXTENSIONS, KEY_USAGE, SERIAL, SPKI, SUBJECT,
    VALIDITY, VERSION, attribute, extension, extensions, octets, utf8, value,
};
use super::{CertificateFault, Change, fault};
use crate::authority::Base::{Idevid, TlsClient, TlsClientRsa};
use crate::der_tree::{Length, Node, tag};

const LENGTH: &str = "X.690 §10.1";

pub(super) const FAULTS: &[CertificateFault] = &[
    fault(
        "length-indefinite-outside",
        Idevid,
        LENGTH,
        &["der-length-indefinite"],
        Change::Unsigned(|c| {
            c.length = Length::Indefinite;
        }),
    ),
    fault(
        "length-indefinite-in-tbs",
        Idevid,
        LENGTH,
        &["der-length-indefinite"],
        Change::Signed(|c| {
            c[0][VALIDITY].length = Length::Indefinite;
        }),
    ),
    fault(
        "length-long-outside",
        Idevid,
        LENGTH,
        &["der-length-minimal"],
        Change::Unsigned(|c| {
            c.length = Length::Long(3);
        }),
    ),
    fault(
        "length-long-of-tbs",
        Idevid,
        LENGTH,
        &["der-length-minimal"],
        Change::Signed(|c| {
            c[0].length = Length::Long(3);
        }),
    ),
    fault(
        "length-long-of-serial",
        Idevid,
        LENGTH,
        &["der-length-minimal"],
        Change::Signed(|c| {
            c[0][SERIAL].length = Length::Long(1);
        }),
    ),
    fault(
        "length-long-in-extension",
        Idevid,
        LENGTH,
        &["der-length-minimal"],
        Change::Signed(|c| {
            value(c, AUTHORITY_KEY_IDENTIFIER, |aki| {
                aki.length = Length::Long(1)
            });
        }),
    ),
    fault(
        "length-short-in-extension",
        Idevid,
        "X.690 §8.1.3",
        &["der-truncated"],
        Change::Signed(|c| {
            value(c, AUTHORITY_KEY_IDENTIFIER, |aki| {
                aki[0].length = Length::Off(-1)
            });
        }),
    ),
    fault(
        "length-past-end-in-extension",
        Idevid,
        "X.690 §8.1.3",
        &["der-truncated"],
        Change::Signed(|c| {
            value(c, AUTHORITY_KEY_IDENTIFIER, |aki| {
                aki[0].length = Length::Off(1)
            });
        }),
    ),
    fault(
        "octet-after-certificate",
        Idevid,
        "RFC 5280 §4.1",
        &["der-trailing"],
        Change::Octets(|octets| {
            octets.push(0);
        }),
    ),
    fault(
        "value-after-signature",
        Idevid,
        "RFC 5280 §4.1",
        &["structure"],
        Change::Unsigned(|c| {
            c.push(Node::null());
        }),
    ),
    fault(
        "value-after-extensions",
        Idevid,
        "RFC 5280 §4.1",
        &["structure"],
        Change::Signed(|c| {
            c[0].push(Node::null());
        }),
    ),
    fault(
        "value-after-validity",
        Idevid,
        "RFC 5280 §4.1.2.5",
        &["structure"],
        Change::Signed(|c| {
            c[0][VALIDITY].push(Node::null());
        }),
    ),
    fault(
        "octet-after-extension-value",
        Idevid,
        "RFC 5280 §4.1",
        &["extension-malformed"],
        Change::Signed(|c| {
            octets(c, KEY_USAGE).bytes_mut().push(0);
        }),
    ),
    fault(
        "cut-short",
        Idevid,
        "RFC 5280 §4.1",
        &["der-truncated"],
        Change::Octets(|octets| {
            octets.truncate(octets.len() - 1);
        }),
    ),
    fault(
        "boolean-01",
        Idevid,
        "X.690 §11.1",
        &["der-boolean"],
        Change::Signed(|c| {
            extension(c, KEY_USAGE)[1] = Node::primitive(tag::BOOLEAN, &[1]);
        }),
    ),
    fault(
        "boolean-of-two-octets",
        Idevid,
        "X.690 §8.2.1",
        &["der-boolean"],
        Change::Signed(|c| {
            extension(c, KEY_USAGE)[1] = Node::primitive(tag::BOOLEAN, &[0xff, 0xff]);
        }),
    ),
    fault(
        "default-false-critical-encoded",
        Idevid,
        "X.690 §11.5",
        &["der-default"],
        Change::Signed(|c| {
            let false_ = Node::primitive(tag::BOOLEAN, &[0]);
            extension(c, AUTHORITY_KEY_IDENTIFIER)
                .nodes_mut()
                .insert(1, false_);
        }),
    ),
    fault(
        "integer-version-padded",
        Idevid,
        "X.690 §8.3.2",
        &["der-integer"],
        Change::Signed(|c| {
            c[0][VERSION][0] = Node::integer(&[0, 2]);
        }),
    ),
    fault(
        "integer-serial-padded",
        Idevid,
        "X.690 §8.3.2",
        &["der-integer"],
        Change::Signed(|c| {
            c[0][SERIAL].bytes_mut().insert(0, 0);
        }),
    ),
    fault(
        "integer-serial-without-content",
        Idevid,
        "X.690 §8.3.1",
        &["der-integer"],
        Change::Signed(|c| {
            c[0][SERIAL] = Node::integer(&[]);
        }),
    ),
    fault(
        "oid-of-extension-padded",
        Idevid,
        "X.690 §8.19.2",
        &["der-oid"],
        Change::Signed(|c| {
            let list = extensions(c);
            let mut id = Node::oid("1.3.6.1.4.1.32473.7");
            let arc = id.bytes().len() - 1;
            id.bytes_mut().insert(arc, 0x80);
            list.push(Node::sequence([id, Node::octets(&Node::null().encode())]));
        }),
    ),
    fault(
        "oid-of-extension-unfinished",
        Idevid,
        "X.690 §8.19.2",
        &["der-oid"],
        Change::Signed(|c| {
            let mut id = Node::oid("1.3.6.1.4.1.32473.7");
            id.bytes_mut().push(0x81);
            extensions(c).push(Node::sequence([id, Node::octets(&Node::null().encode())]));
        }),
    ),
    fault(
        "oid-without-content",
        Idevid,
        "X.690 §8.19.2",
        &["der-oid"],
        Change::Signed(|c| {
            let id = Node::primitive(tag::OID, &[]);
            extensions(c).push(Node::sequence([id, Node::octets(&Node::null().encode())]));
        }),
    ),
    fault(
        "set-out-of-order",
        TlsClient,
        "X.690 §11.6",
        &["der-set-order"],
        Change::Signed(|c| {
            // Longer than the common name, so that it belongs behind.
            let before = attribute("2.5.4.10", utf8(&"o".repeat(60)));
            c[0][SUBJECT][0].nodes_mut().insert(0, before);
        }),
    ),
    fault(
        "octet-string-constructed",
        Idevid,
        "X.690 §10.2",
        &["der-constructed"],
        Change::Signed(|c| {
            let whole = octets(c, KEY_USAGE);
            let inside = whole.clone();
            *whole = Node::constructed(tag::OCTET_STRING | tag::CONSTRUCTED, [inside]);
        }),
    ),
    fault(
        "signature-constructed",
        Idevid,
        "X.690 §10.2",
        &["der-constructed"],
        Change::Unsigned(|c| {
            let whole = c[2].clone();
            c[2] = Node::constructed(tag::BIT_STRING | tag::CONSTRUCTED, [whole]);
        }),
    ),
    fault(
        "string-constructed",
        TlsClient,
        "X.690 §10.2",
        &["der-constructed"],
        Change::Signed(|c| {
            let whole = c[0][SUBJECT][0][0][1].clone();
            c[0][SUBJECT][0][0][1] =
                Node::constructed(tag::UTF8_STRING | tag::CONSTRUCTED, [whole]);
        }),
    ),
    fault(
        "sequence-primitive",
        Idevid,
        "X.690 §8.9.1",
        &["der-primitive"],
        Change::Signed(|c| {
            let inside: Vec<u8> = c[0][VALIDITY]
                .nodes()
                .iter()
                .flat_map(Node::encode)
                .collect();
            c[0][VALIDITY] = Node::primitive(tag::SEQUENCE & !tag::CONSTRUCTED, &inside);
        }),
    ),
    fault(
        "sequence-as-set",
        Idevid,
        "RFC 5280 §4.1",
        &["structure"],
        Change::Signed(|c| {
            c[0][VALIDITY].tag = tag::SET;
        }),
    ),
    fault(
        "tag-of-two-octets",
        Idevid,
        "X.690 §8.1.2.2",
        &["der-tag"],
        Change::Signed(|c| {
            value(c, AUTHORITY_KEY_IDENTIFIER, |aki| {
                let inside = aki[0].bytes().to_vec();
                let octets = u8::try_from(inside.len()).unwrap();
                aki[0] = Node::bare(&[&[0x9f, 0x00, octets], &inside[..]].concat());
            });
        }),
    ),
    fault(
        "bit-string-unused-bits-of-key",
        Idevid,
        "X.690 §11.2",
        &["der-unused-bits"],
        Change::Signed(|c| {
            c[0][SPKI][1].bytes_mut()[0] = 1;
            // The last bit is set for sure, so that it is no padding.
            *c[0][SPKI][1].bytes_mut().last_mut().unwrap() |= 1;
        }),
    ),
    fault(
        "bit-string-unused-bits-8",
        Idevid,
        "X.690 §8.6.2.2",
        &["der-bit-string"],
        Change::Signed(|c| {
            value(c, KEY_USAGE, |bits| *bits = Node::bits(8, &[0x80, 0]));
        }),
    ),
    fault(
        "bit-string-padding-set",
        Idevid,
        "X.690 §11.2.1",
        &["der-unused-bits"],
        Change::Signed(|c| {
            value(c, KEY_USAGE, |bits| *bits = Node::bits(7, &[0x81]));
        }),
    ),
    fault(
        "bit-string-without-content",
        Idevid,
        "X.690 §8.6.2",
        &["der-bit-string"],
        Change::Signed(|c| {
            value(c, KEY_USAGE, |bits| {
                *bits = Node::primitive(tag::BIT_STRING, &[])
            });
        }),
    ),
    fault(
        "signature-unused-bits",
        Idevid,
        "RFC 5280 §4.1.1.3",
        &["signature-form"],
        Change::Unsigned(|c| {
            let octets = c[2].bytes_mut();
            octets[0] = 1;
            octets.push(0);
        }),
    ),
    fault(
        "null-with-content",
        TlsClientRsa,
        "X.690 §8.8.2",
        &["der-null"],
        Change::Signed(|c| {
            c[0][SPKI][0][1] = Node::primitive(tag::NULL, &[0]);
        }),
    ),
    fault(
        "extensions-empty",
        Idevid,
        "RFC 5280 §4.1.2.9",
        &["extensions-empty"],
        Change::Signed(|c| {
            extensions(c).nodes_mut().clear();
        }),
    ),
    fault(
        "extensions-wrapper-empty",
        Idevid,
        "RFC 5280 §4.1",
        &["structure"],
        Change::Signed(|c| {
            c[0][EXTENSIONS].nodes_mut().clear();
        }),
    ),
    fault(
        "extension-without-value",
        TlsClient,
        "RFC 5280 §4.1",
        &["structure"],
        Change::Signed(|c| {
            extension(c, EXT_KEY_USAGE).nodes_mut().pop();
        }),
    ),
    fault(
        "extension-of-four-values",
        TlsClient,
        "RFC 5280 §4.1",
        &["structure"],
        Change::Signed(|c| {
            extension(c, EXT_KEY_USAGE).push(Node::null());
        }),
    ),
    fault(
        "extension-value-is-no-der",
        TlsClient,
        "RFC 5280 §4.2",
        &["extension-malformed"],
        Change::Signed(|c| {
            *octets(c, EXT_KEY_USAGE) = Node::octets(b"clientAuth");
        }),
    ),
    fault(
        "extension-value-empty",
        TlsClient,
        "RFC 5280 §4.2",
        &["extension-malformed"],
        Change::Signed(|c| {
            *octets(c, EXT_KEY_USAGE) = Node::octets(&[]);
        }),
    ),
];

//! Identifiers and values of a request in words, fit for a terminal.

use crate::der::reader::{Tlv, single};
use crate::der::tag;
use crate::general_name::{GeneralName, general_names};
use crate::hex;
use crate::name::{AttributeType, text};
use crate::oid;
use crate::requested_extensions::RequestedExtension;

/// Characters of one text. Names that profiles take are shorter.
const TEXT_CHARS_MAX: usize = 128;
/// Octets of a value that is shown in hexadecimal.
const HEX_BYTES_MAX: usize = 32;

/// PKCS #9 and Microsoft's attribute types, content octets of the identifiers. Types alone are ever shown.
const ATTRIBUTES: [(&[u8], &str); 6] = [
    (oid::EXTENSION_REQUEST, "extensionRequest"),
    (
        oid::MICROSOFT_EXTENSION_REQUEST,
        "extensionRequest (Microsoft)",
    ),
    (oid::CHALLENGE_PASSWORD, "challengePassword"),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x02],
        "unstructuredName",
    ),
    (
        &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x0d, 0x02, 0x03],
        "osVersion (Microsoft)",
    ),
    (
        &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x15, 0x14],
        "clientInfo (Microsoft)",
    ),
];

/// RFC 5280 §4.2.1.
const EXTENSIONS: [(&[u8], &str); 7] = [
    (oid::SUBJECT_KEY_IDENTIFIER, "subjectKeyIdentifier"),
    (oid::KEY_USAGE, "keyUsage"),
    (oid::SUBJECT_ALT_NAME, "subjectAltName"),
    (oid::BASIC_CONSTRAINTS, "basicConstraints"),
    (oid::AUTHORITY_KEY_IDENTIFIER, "authorityKeyIdentifier"),
    (oid::EXT_KEY_USAGE, "extKeyUsage"),
    (&[0x55, 0x1d, 0x20], "certificatePolicies"),
];

const SIGNATURES: [(&[u8], &str); 11] = [
    (oid::ECDSA_SHA256, "ecdsa-with-SHA256"),
    (oid::ECDSA_SHA384, "ecdsa-with-SHA384"),
    (oid::ECDSA_SHA512, "ecdsa-with-SHA512"),
    (oid::ED25519, "Ed25519"),
    (oid::RSA_SHA256, "sha256WithRSAEncryption"),
    (oid::RSA_SHA384, "sha384WithRSAEncryption"),
    (oid::RSA_SHA512, "sha512WithRSAEncryption"),
    (oid::RSA_PSS, "RSASSA-PSS"),
    (oid::ML_DSA_44, "ML-DSA-44"),
    (oid::ML_DSA_65, "ML-DSA-65"),
    (oid::ML_DSA_87, "ML-DSA-87"),
];

/// KeyUsage's bits from 0, RFC 5280 §4.2.1.3.
const KEY_USAGES: [&str; 9] = [
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
];

/// Key purposes below 1.3.6.1.5.5.7.3, RFC 5280 §4.2.1.12: the last arc.
const KEY_PURPOSES: [(u8, &str); 6] = [
    (1, "serverAuth"),
    (2, "clientAuth"),
    (3, "codeSigning"),
    (4, "emailProtection"),
    (8, "timeStamping"),
    (9, "OCSPSigning"),
];
const KEY_PURPOSE_ARC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03];

pub(super) fn attribute(oid: &[u8]) -> String {
    named(&ATTRIBUTES, oid)
}

pub(super) fn extension(oid: &[u8]) -> String {
    named(&EXTENSIONS, oid)
}

pub(super) fn signature_algorithm(oid: &[u8]) -> String {
    named(&SIGNATURES, oid)
}

pub(super) fn name_attribute(oid: &[u8]) -> String {
    AttributeType::by_oid(oid).map_or_else(|| dotted(oid), |known| known.name.to_owned())
}

fn named(table: &[(&[u8], &str)], oid: &[u8]) -> String {
    let known = table.iter().find(|(known, _)| *known == oid);
    known.map_or_else(|| dotted(oid), |(_, name)| (*name).to_owned())
}

/// An identifier's numbers; its octets where they are too many to be usual.
fn dotted(oid: &[u8]) -> String {
    x509_cert::spki::ObjectIdentifier::from_bytes(oid).map_or_else(
        |_| format!("identifier {}", shortened(oid)),
        |oid| oid.to_string(),
    )
}

pub(super) fn directory_string(value: &Tlv<'_>) -> String {
    match text(value) {
        Ok(text) => visible(text),
        Err(_) => format!("tag {:02x}, {}", value.tag, shortened(value.content)),
    }
}

/// Text without what moves a terminal's cursor or turns its direction.
fn visible(text: &str) -> String {
    let characters = text.chars().take(TEXT_CHARS_MAX);
    let mut visible = characters.fold(String::new(), |mut visible, character| {
        match character {
            // Plain characters here, which need no backslash.
            '"' | '\'' => visible.push(character),
            _ => visible.extend(character.escape_debug()),
        }
        visible
    });
    if text.chars().nth(TEXT_CHARS_MAX).is_some() {
        visible.push('…');
    }
    visible
}

fn shortened(octets: &[u8]) -> String {
    match octets.get(..HEX_BYTES_MAX) {
        Some(start) if octets.len() > HEX_BYTES_MAX => {
            format!("{}… ({} octets)", hex::encode(start), octets.len())
        }
        _ => hex::encode(octets),
    }
}

pub(super) fn extension_value(extension: &RequestedExtension<'_>) -> String {
    let value = extension.value;
    let words = match extension.oid {
        oid::KEY_USAGE => key_usage(value),
        oid::EXT_KEY_USAGE => key_purposes(value),
        oid::BASIC_CONSTRAINTS => Some(
            if extension.asks_for_ca() {
                "a CA"
            } else {
                "not a CA"
            }
            .to_owned(),
        ),
        oid::SUBJECT_ALT_NAME => Some(
            general_names(value)
                .map(general_name)
                .collect::<Vec<_>>()
                .join(", "),
        ),
        oid::SUBJECT_KEY_IDENTIFIER => single(value, tag::OCTET_STRING, "")
            .ok()
            .map(|identifier| shortened(identifier.content)),
        _ => None,
    };
    words.unwrap_or_else(|| shortened(value))
}

fn key_usage(value: &[u8]) -> Option<String> {
    let bits = single(value, tag::BIT_STRING, "").ok()?.content.get(1..)?;
    let set = |bit: usize| {
        bits.get(bit / 8)
            .is_some_and(|octet| octet << (bit % 8) & 0x80 != 0)
    };
    let names = KEY_USAGES.iter().enumerate().filter(|(bit, _)| set(*bit));
    Some(names.map(|(_, name)| *name).collect::<Vec<_>>().join(", "))
}

fn key_purposes(value: &[u8]) -> Option<String> {
    let mut reader = single(value, tag::SEQUENCE, "").ok()?.reader();
    let mut names = Vec::new();
    while !reader.is_empty() {
        let purpose = reader.expect(tag::OID, "").ok()?.content;
        let known = purpose.strip_prefix(KEY_PURPOSE_ARC).and_then(|last| {
            let known = KEY_PURPOSES.iter().find(|(arc, _)| *last == [*arc]);
            known.map(|(_, name)| (*name).to_owned())
        });
        names.push(known.unwrap_or_else(|| dotted(purpose)));
    }
    Some(names.join(", "))
}

fn general_name(name: GeneralName<'_>) -> String {
    match name {
        GeneralName::OtherName { type_id, value } => {
            format!(
                "otherName {} {}",
                dotted(type_id),
                shortened(value.encoding)
            )
        }
        GeneralName::Email(text) => format!("email {}", visible(text)),
        GeneralName::Dns(text) => format!("DNS {}", visible(text)),
        GeneralName::Uri(text) => format!("URI {}", visible(text)),
        GeneralName::Ip(address) => format!("IP {address}"),
        GeneralName::RegisteredId(oid) => format!("registered identifier {}", dotted(oid)),
        GeneralName::DirectoryName(name) => {
            let parts = name.attributes();
            let parts = parts.map(|(oid, value)| {
                format!("{}={}", name_attribute(oid), directory_string(&value))
            });
            format!("directory name {}", parts.collect::<Vec<_>>().join(","))
        }
        GeneralName::Unread { tag } => format!("a name with tag {tag:02x}"),
    }
}

//! A certificate as text for people.

use std::fmt::{self, Write as _};

use der::asn1::{ObjectIdentifier, OctetString, Utf8StringRef};
use der::oid::AssociatedOid;
use der::{Decode, Encode, Sequence};
use x509_cert::Certificate;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::{GeneralName, OtherName};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use crate::hex;

/// The lines that describe a certificate: subject, issuer, serial number, validity, key,
/// extensions, signature algorithm. Each line is indented by `indent`.
///
/// # Errors
///
/// The bytes are not a certificate.
pub fn describe(der: &[u8], indent: &str) -> Result<String, der::Error> {
    let certificate = Certificate::from_der(der)?;
    let tbs = certificate.tbs_certificate();
    let serial = hex::encode(significant(tbs.serial_number().as_bytes()));
    let key = tbs.subject_public_key_info();
    let signed = name_of(&certificate.signature_algorithm().oid);
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn fmt::Display| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{indent}{name:<12}{value}");
    };
    line("subject", &written_order(tbs.subject()));
    line("issuer", &written_order(tbs.issuer()));
    line("serial", &serial);
    line("not before", &tbs.validity().not_before);
    line("not after", &expiry(&tbs.validity().not_after));
    line("key", &key_kind(key));
    for extension in tbs.extensions().into_iter().flatten() {
        let critical = if extension.critical {
            " (critical)"
        } else {
            ""
        };
        let oid = name_of(&extension.extn_id);
        line(
            "extension",
            &format_args!("{oid}{critical}: {}", extension_value(extension)),
        );
    }
    line("signature", &signed);
    Ok(text)
}

/// ```text
/// HardwareModuleName ::= SEQUENCE {          -- RFC 4108 §5
///     hwType      OBJECT IDENTIFIER,
///     hwSerialNum OCTET STRING }
/// ```
#[derive(Sequence)]
struct HardwareModuleName {
    hw_type: ObjectIdentifier,
    hw_serial_num: OctetString,
}

const HARDWARE_MODULE_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.8.4");

/// x509-cert prints names as RFC 4514 wants them; this keeps the encoded order, as the
/// subject was written in the ceremony.
fn written_order(name: &x509_cert::name::Name) -> String {
    if name.is_empty() {
        return "(empty)".to_owned();
    }
    name.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

fn expiry(time: &x509_cert::time::Time) -> String {
    if *time == x509_cert::time::Time::INFINITY {
        return format!("{time} (no well-defined expiry, RFC 5280 §4.1.2.5)");
    }
    time.to_string()
}

fn key_kind(key: &SubjectPublicKeyInfoOwned) -> String {
    let oid = key.algorithm.oid;
    let curve = key
        .algorithm
        .parameters
        .as_ref()
        .and_then(|any| any.decode_as().ok());
    match curve {
        Some(curve) => name_of(&curve),
        // The parameter set says how long it is.
        None if name_of(&oid).starts_with("ML-DSA") => name_of(&oid),
        None => format!("{}, {} bits", name_of(&oid), key_bits(key)),
    }
}

fn key_bits(key: &SubjectPublicKeyInfoOwned) -> usize {
    /// RFC 8017 §A.1.1.
    #[derive(Sequence)]
    struct RsaPublicKey {
        modulus: der::asn1::Uint,
        public_exponent: der::asn1::Uint,
    }
    let raw = key.subject_public_key.raw_bytes();
    match RsaPublicKey::from_der(raw) {
        Ok(rsa) => rsa.modulus.as_bytes().len() * 8,
        Err(_) => raw.len() * 8,
    }
}

fn extension_value(extension: &Extension) -> String {
    let bytes = extension.extn_value.as_bytes();
    let oid = extension.extn_id;
    let known = if oid == KeyUsage::OID {
        KeyUsage::from_der(bytes)
            .ok()
            .map(|usage| key_usages(&usage))
    } else if oid == BasicConstraints::OID {
        BasicConstraints::from_der(bytes).ok().map(|constraints| {
            let kind = if constraints.ca { "CA" } else { "not a CA" };
            match constraints.path_len_constraint {
                Some(length) => format!("{kind}, path length {length}"),
                None => kind.to_owned(),
            }
        })
    } else if oid == SubjectKeyIdentifier::OID {
        SubjectKeyIdentifier::from_der(bytes)
            .ok()
            .map(|id| hex::encode(id.0.as_bytes()))
    } else if oid == AuthorityKeyIdentifier::OID {
        let id = AuthorityKeyIdentifier::from_der(bytes).ok();
        id.and_then(|id| id.key_identifier)
            .map(|id| hex::encode(id.as_bytes()))
    } else if oid == ExtendedKeyUsage::OID {
        let usage = ExtendedKeyUsage::from_der(bytes).ok();
        usage.map(|usage| usage.0.iter().map(name_of).collect::<Vec<_>>().join(", "))
    } else if oid == SubjectAltName::OID {
        let names = SubjectAltName::from_der(bytes).ok();
        names.map(|names| {
            names
                .0
                .iter()
                .map(general_name)
                .collect::<Vec<_>>()
                .join(", ")
        })
    } else {
        None
    };
    known.unwrap_or_else(|| hex::encode(bytes))
}

/// RFC 5280 §4.2.1.3.
fn key_usages(usage: &KeyUsage) -> String {
    let names = [
        (usage.digital_signature(), "digitalSignature"),
        (usage.non_repudiation(), "nonRepudiation"),
        (usage.key_encipherment(), "keyEncipherment"),
        (usage.data_encipherment(), "dataEncipherment"),
        (usage.key_agreement(), "keyAgreement"),
        (usage.key_cert_sign(), "keyCertSign"),
        (usage.crl_sign(), "cRLSign"),
        (usage.encipher_only(), "encipherOnly"),
        (usage.decipher_only(), "decipherOnly"),
    ];
    let set: Vec<_> = names
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, name)| *name)
        .collect();
    set.join(", ")
}

fn general_name(name: &GeneralName) -> String {
    match name {
        GeneralName::DnsName(dns) => format!("DNS:{}", dns.as_str()),
        GeneralName::Rfc822Name(mail) => format!("email:{}", mail.as_str()),
        GeneralName::UniformResourceIdentifier(uri) => format!("URI:{}", uri.as_str()),
        GeneralName::DirectoryName(name) => format!("directory:{}", written_order(name)),
        GeneralName::OtherName(other) => other_name(other),
        other => other
            .to_der()
            .map_or_else(|_| "?".to_owned(), |der| hex::encode(&der)),
    }
}

fn other_name(other: &OtherName) -> String {
    if other.type_id == HARDWARE_MODULE_NAME
        && let Ok(module) = other.value.decode_as::<HardwareModuleName>()
    {
        let serial = module.hw_serial_num.as_bytes();
        let shown = match std::str::from_utf8(serial) {
            Ok(text) if !text.is_empty() && !text.contains(char::is_control) => text.to_owned(),
            _ => hex::encode(serial),
        };
        return format!("hardwareModuleName type {} serial {shown}", module.hw_type);
    }
    match other.value.decode_as::<Utf8StringRef<'_>>() {
        Ok(text) => format!("{}:{}", other.type_id, text.as_str().escape_debug()),
        Err(_) => format!("{}:{}", other.type_id, hex::encode(other.value.value())),
    }
}

/// The names that occur here; others are shown as numbers.
fn name_of(oid: &ObjectIdentifier) -> String {
    let dotted = oid.to_string();
    let name = match dotted.as_str() {
        "2.5.29.14" => "subjectKeyIdentifier",
        "2.5.29.15" => "keyUsage",
        "2.5.29.17" => "subjectAltName",
        "2.5.29.19" => "basicConstraints",
        "2.5.29.35" => "authorityKeyIdentifier",
        "2.5.29.37" => "extKeyUsage",
        "1.3.6.1.5.5.7.1.32" => "masaUrl",
        "1.3.6.1.5.5.7.3.1" => "serverAuth",
        "1.3.6.1.5.5.7.3.2" => "clientAuth",
        "1.2.840.10045.3.1.7" => "P-256",
        "1.3.132.0.34" => "P-384",
        "1.3.132.0.35" => "P-521",
        "1.3.101.112" => "Ed25519",
        "2.16.840.1.101.3.4.3.17" => "ML-DSA-44",
        "2.16.840.1.101.3.4.3.18" => "ML-DSA-65",
        "2.16.840.1.101.3.4.3.19" => "ML-DSA-87",
        "1.2.840.113549.1.1.1" => "RSA",
        "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256",
        "1.2.840.10045.4.3.3" => "ecdsa-with-SHA384",
        "1.2.840.10045.4.3.4" => "ecdsa-with-SHA512",
        "1.2.840.113549.1.1.10" => "RSASSA-PSS",
        "1.2.840.113549.1.1.11" => "sha256WithRSAEncryption",
        _ => return dotted,
    };
    name.to_owned()
}

fn significant(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    &serial[zeros..]
}

//! Extensions: each one's own form and criticality, RFC 5280 §4.2, and what they say together.

use aws_lc_rs::digest;

use super::der::{Value, is_der, single, walk};
use super::general_name::{self, Form};
use super::key::{KeyKind, Spki};
use super::structure::{Certificate, Dotted, Extension};
use super::{CONTINUE, Demands, Flow, Purpose, Report, locations, policies, rules};
use crate::der::tag;

/// KeyUsage bits, RFC 5280 §4.2.1.3, bit 0 lowest.
pub(super) mod usage {
    pub(crate) const DIGITAL_SIGNATURE: u16 = 1;
    pub(crate) const NON_REPUDIATION: u16 = 1 << 1;
    pub(crate) const KEY_ENCIPHERMENT: u16 = 1 << 2;
    pub(crate) const DATA_ENCIPHERMENT: u16 = 1 << 3;
    pub(crate) const KEY_AGREEMENT: u16 = 1 << 4;
    pub(crate) const KEY_CERT_SIGN: u16 = 1 << 5;
    pub(crate) const CRL_SIGN: u16 = 1 << 6;
    pub(crate) const ENCIPHER_ONLY: u16 = 1 << 7;
    pub(crate) const DECIPHER_ONLY: u16 = 1 << 8;
    pub(crate) const SIGNING: u16 = DIGITAL_SIGNATURE | NON_REPUDIATION | KEY_CERT_SIGN | CRL_SIGN;
}

/// id-ce, RFC 5280 §4.2.1.
const ID_CE: &[u8] = &[0x55, 0x1d];
/// id-pe, RFC 5280 §4.2.2.
const ID_PE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01];
/// id-kp, RFC 5280 §4.2.1.12.
const ID_KP: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03];
/// anyExtendedKeyUsage, RFC 5280 §4.2.1.12.
const ANY_EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];
/// The poison of precertificates, RFC 6962 §3.1: critical by design.
const CT_POISON: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x03];
/// Names in front of one that it is compared with; a certificate with more has a bound on its cost.
const NAMES_COMPARED: usize = 64;

/// What the extensions say, for the rules that need more than one of them.
#[derive(Debug, Default)]
pub(super) struct Facts<'a> {
    pub(super) is_ca: bool,
    pub(super) path_length: Option<&'a [u8]>,
    pub(super) key_usage: Option<u16>,
    /// keyIdentifier of the authority key identifier.
    pub(super) authority_key_identifier: Option<&'a [u8]>,
    pub(super) subject_key_identifier: Option<&'a [u8]>,
    /// Whether the subject alternative name is critical, if there is one.
    pub(super) subject_alt_name: Option<bool>,
    has_authority_key_identifier: bool,
    /// The key purposes, if there are any.
    purposes: Option<Value<'a>>,
    /// An extension that only CAs have.
    ca_only: Option<&'static str>,
}

/// How RFC 5280 wants an extension marked.
#[derive(Clone, Copy)]
enum Criticality {
    Must,
    Should,
    Either,
    ShouldNot,
    MustNot,
}

/// Checks every extension by itself.
pub(super) fn check<'a, R: Report>(
    certificate: &Certificate<'a>,
    report: &mut R,
) -> Flow<Facts<'a>> {
    let mut facts = Facts::default();
    for extension in &certificate.extensions {
        check_one(extension, certificate, &mut facts, report)?;
    }
    Flow::Continue(facts)
}

fn check_one<'a, R: Report>(
    extension: &Extension<'a>,
    certificate: &Certificate<'a>,
    facts: &mut Facts<'a>,
    report: &mut R,
) -> Flow {
    use Criticality::{Either, Must, MustNot, Should, ShouldNot};
    let Some((name, criticality)) = known(extension.oid) else {
        return check_unknown(extension, report);
    };
    let marked_wrongly = match (criticality, extension.critical) {
        (Must, false) => Some(&rules::CRITICAL_MISSING),
        (MustNot, true) => Some(&rules::CRITICAL_WRONGLY),
        (Should, false) | (ShouldNot, true) => Some(&rules::CRITICAL_ADVICE),
        (Must | Should | Either | ShouldNot | MustNot, _) => None,
    };
    if let Some(rule) = marked_wrongly {
        report.report(rule, format_args!("{name}"))?;
    }
    walk(extension.value, certificate.der, report)?;
    let Some(value) = whole(extension.value) else {
        return malformed(name, report);
    };
    if let Some([arc]) = extension.oid.strip_prefix(ID_CE) {
        return match arc {
            14 => check_subject_key_identifier(value, facts, report),
            15 => check_key_usage(value, facts, report),
            17 => {
                facts.subject_alt_name = Some(extension.critical);
                let empty = certificate
                    .subject
                    .is_some_and(|subject| subject.content.is_empty());
                if extension.critical && !empty {
                    report.report(&rules::CRITICAL_ADVICE, format_args!("{name}"))?;
                }
                check_alt_names(value, name, report)
            }
            18 => check_alt_names(value, name, report),
            19 => check_basic_constraints(value, extension.critical, facts, report),
            31 | 46 => locations::check_points(value, name, report),
            32 => policies::check_policies(value, report),
            35 => check_authority_key_identifier(value, facts, report),
            37 => check_key_purposes(value, extension.critical, facts, report),
            30 | 33 | 36 | 54 => {
                facts.ca_only = Some(name);
                policies::check_ca_extension(*arc, value, name, report)
            }
            _ => CONTINUE,
        };
    }
    match extension.oid.strip_prefix(ID_PE) {
        Some([1 | 11]) => locations::check_access(value, name, report),
        _ => CONTINUE,
    }
}

/// The extensions that are known here, by the name that findings give them.
fn known(oid: &[u8]) -> Option<(&'static str, Criticality)> {
    use Criticality::{Either, Must, MustNot, Should, ShouldNot};
    if let Some([arc]) = oid.strip_prefix(ID_CE) {
        return Some(match arc {
            9 => ("subjectDirectoryAttributes", MustNot),
            14 => ("subjectKeyIdentifier", MustNot),
            15 => ("keyUsage", Should),
            // By the subject: see there.
            17 => ("subjectAltName", Either),
            18 => ("issuerAltName", ShouldNot),
            // On a CA: see there.
            19 => ("basicConstraints", Either),
            30 => ("nameConstraints", Must),
            31 => ("cRLDistributionPoints", ShouldNot),
            32 => ("certificatePolicies", Either),
            33 => ("policyMappings", Should),
            35 => ("authorityKeyIdentifier", MustNot),
            36 => ("policyConstraints", Must),
            37 => ("extKeyUsage", Either),
            46 => ("freshestCRL", MustNot),
            54 => ("inhibitAnyPolicy", Must),
            _ => return None,
        });
    }
    match oid.strip_prefix(ID_PE) {
        Some([1]) => Some(("authorityInfoAccess", MustNot)),
        Some([11]) => Some(("subjectInfoAccess", MustNot)),
        // TLS feature (RFC 7633) and masa-url (RFC 8995 §2.3.2).
        Some([24]) => Some(("tlsfeature", ShouldNot)),
        Some([32]) => Some(("masa-url", ShouldNot)),
        _ => (oid == CT_POISON).then_some(("precertificate poison", Must)),
    }
}

fn check_unknown<R: Report>(extension: &Extension<'_>, report: &mut R) -> Flow {
    let oid = Dotted(extension.oid);
    if extension.critical {
        report.report(&rules::EXTENSION_UNKNOWN_CRITICAL, format_args!("{oid}"))?;
    }
    if R::ALL && !is_der(extension.value) {
        report.report(&rules::EXTENSION_VALUE, format_args!("{oid}"))?;
    }
    CONTINUE
}

/// The one value that an extension holds.
fn whole(value: &[u8]) -> Option<Value<'_>> {
    single(value, *value.first()?)
}

#[cold]
pub(super) fn malformed<R: Report>(name: &str, report: &mut R) -> Flow {
    report.report(&rules::EXTENSION_MALFORMED, format_args!("{name}"))
}

/// `SubjectKeyIdentifier ::= OCTET STRING`, §4.2.1.2.
fn check_subject_key_identifier<'a, R: Report>(
    value: Value<'a>,
    facts: &mut Facts<'a>,
    report: &mut R,
) -> Flow {
    if value.tag != tag::OCTET_STRING {
        return malformed("subjectKeyIdentifier", report);
    }
    facts.subject_key_identifier = Some(value.content);
    report.ensure(!value.content.is_empty(), &rules::SKI_EMPTY)
}

/// `KeyUsage ::= BIT STRING` of named bits, §4.2.1.3.
fn check_key_usage<'a, R: Report>(value: Value<'a>, facts: &mut Facts<'a>, report: &mut R) -> Flow {
    let (tag::BIT_STRING, [unused, octets @ ..]) = (value.tag, value.content) else {
        return malformed("keyUsage", report);
    };
    let high = octets.first().map_or(0, |octet| octet.reverse_bits());
    let low = octets.get(1).map_or(0, |octet| octet.reverse_bits());
    let bits = u16::from_le_bytes([high, low]);
    facts.key_usage = Some(bits);
    report.ensure(
        octets.iter().any(|octet| *octet != 0),
        &rules::KEY_USAGE_EMPTY,
    )?;
    let trailing = octets.last().map_or(0, |last| last.trailing_zeros());
    let last_zero = octets.last() == Some(&0);
    let minimal = bits == 0 || (!last_zero && trailing == u32::from(*unused));
    report.ensure(minimal, &rules::KEY_USAGE_ZEROS)?;
    let beyond = bits > usage::DECIPHER_ONLY << 1
        || bits & 0xfe00 != 0
        || octets.iter().skip(2).any(|octet| *octet != 0);
    report.ensure(!beyond, &rules::KEY_USAGE_UNKNOWN)
}

/// `GeneralNames ::= SEQUENCE SIZE (1..MAX) OF GeneralName`, §4.2.1.6.
fn check_alt_names<R: Report>(value: Value<'_>, name: &str, report: &mut R) -> Flow {
    if value.tag != tag::SEQUENCE {
        return malformed(name, report);
    }
    if value.content.is_empty() {
        return report.report(&rules::SAN_EMPTY, format_args!("{name}"));
    }
    for (position, general_name) in value.values().enumerate() {
        general_name::check(general_name, Form::Name, name, report)?;
        let twice = R::ALL
            && value
                .values()
                .take(position.min(NAMES_COMPARED))
                .any(|earlier| earlier.encoding == general_name.encoding);
        if twice {
            report.report(&rules::SAN_TWICE, format_args!("{name}"))?;
        }
    }
    CONTINUE
}

/// `BasicConstraints ::= SEQUENCE { cA BOOLEAN DEFAULT FALSE, pathLenConstraint INTEGER (0..MAX) OPTIONAL }`,
/// §4.2.1.9.
fn check_basic_constraints<'a, R: Report>(
    value: Value<'a>,
    critical: bool,
    facts: &mut Facts<'a>,
    report: &mut R,
) -> Flow {
    let mut fields = value.values();
    let ca = fields.tagged(tag::BOOLEAN);
    let path_length = fields.tagged(tag::INTEGER);
    if value.tag != tag::SEQUENCE || !fields.is_empty() {
        malformed("basicConstraints", report)?;
    }
    if ca.is_some_and(|ca| ca.content == [0x00]) {
        report.report(&rules::DER_DEFAULT, format_args!("cA"))?;
    }
    facts.is_ca = ca.is_some_and(|ca| ca.content != [0x00]);
    facts.path_length = path_length.map(|number| number.content);
    let negative =
        path_length.is_some_and(|number| number.content.first().is_some_and(|b| b & 0x80 != 0));
    report.ensure(!negative, &rules::BASIC_PATH_NEGATIVE)?;
    if facts.is_ca && !critical {
        report.report(&rules::CRITICAL_MISSING, format_args!("basicConstraints"))?;
    }
    CONTINUE
}

/// `AuthorityKeyIdentifier ::= SEQUENCE { keyIdentifier [0], authorityCertIssuer [1] GeneralNames,
/// authorityCertSerialNumber [2] INTEGER }`, all optional, §4.2.1.1; the last two together.
fn check_authority_key_identifier<'a, R: Report>(
    value: Value<'a>,
    facts: &mut Facts<'a>,
    report: &mut R,
) -> Flow {
    let name = "authorityKeyIdentifier";
    facts.has_authority_key_identifier = true;
    let mut fields = value.values();
    let key_identifier = fields.tagged(tag::context_primitive(0));
    let issuer = fields.tagged(tag::context_constructed(1));
    let serial = fields.tagged(tag::context_primitive(2));
    if value.tag != tag::SEQUENCE || !fields.is_empty() {
        return malformed(name, report);
    }
    facts.authority_key_identifier = key_identifier.map(|identifier| identifier.content);
    let identified = key_identifier.is_some_and(|identifier| !identifier.content.is_empty());
    report.ensure(identified, &rules::AKI_KEY_IDENTIFIER)?;
    report.ensure(issuer.is_some() == serial.is_some(), &rules::AKI_PAIR)?;
    if let Some(issuer) = issuer {
        for general_name in issuer.values() {
            general_name::check(general_name, Form::Name, name, report)?;
        }
        if issuer.content.is_empty() {
            report.report(&rules::SAN_EMPTY, format_args!("{name}"))?;
        }
    }
    if serial.is_some_and(|serial| !super::der::is_minimal_integer(serial.content)) {
        report.report(&rules::DER_INTEGER, format_args!("{name}"))?;
    }
    CONTINUE
}

/// `ExtKeyUsageSyntax ::= SEQUENCE SIZE (1..MAX) OF KeyPurposeId`, §4.2.1.12.
fn check_key_purposes<'a, R: Report>(
    value: Value<'a>,
    critical: bool,
    facts: &mut Facts<'a>,
    report: &mut R,
) -> Flow {
    let identifiers = value.values().all(|purpose| purpose.tag == tag::OID);
    if value.tag != tag::SEQUENCE || !identifiers {
        return malformed("extKeyUsage", report);
    }
    facts.purposes = Some(value);
    report.ensure(!value.content.is_empty(), &rules::EKU_EMPTY)?;
    if !R::ALL {
        return CONTINUE;
    }
    let mut purposes = value.values();
    while let Some(purpose) = purposes.next() {
        let mut later = purposes.take(NAMES_COMPARED);
        if later.any(|other| other.content == purpose.content) {
            let oid = Dotted(purpose.content);
            report.report(&rules::EKU_TWICE, format_args!("{oid}"))?;
        }
    }
    let any = value
        .values()
        .any(|purpose| purpose.content == ANY_EXTENDED_KEY_USAGE);
    let alone = value.values().count() == 1;
    report.ensure(!any || (alone && !critical), &rules::EKU_ANY)
}

/// What the extensions must say together, and with the key.
pub(super) fn check_facts<R: Report>(
    certificate: &Certificate<'_>,
    facts: &Facts<'_>,
    demands: &Demands<'_>,
    key: KeyKind,
    report: &mut R,
) -> Flow {
    let self_issued = match (certificate.subject, certificate.issuer) {
        (Some(subject), Some(issuer)) => subject.encoding == issuer.encoding,
        _ => true,
    };
    // A self-signed certificate may leave it out.
    let identified = facts.has_authority_key_identifier || self_issued;
    report.ensure(identified, &rules::AKI_MISSING)?;
    let may_sign = facts
        .key_usage
        .is_none_or(|bits| bits & usage::KEY_CERT_SIGN != 0);
    report.ensure(
        facts.path_length.is_none() || (facts.is_ca && may_sign),
        &rules::BASIC_PATH_LENGTH,
    )?;
    if facts.is_ca {
        let identified = facts.subject_key_identifier.is_some();
        report.ensure(identified, &rules::SKI_MISSING_CA)?;
        report.ensure(facts.key_usage.is_some(), &rules::KEY_USAGE_MISSING_CA)?;
        report.ensure(may_sign, &rules::KEY_USAGE_CA)?;
    } else {
        report.ensure(facts.subject_key_identifier.is_some(), &rules::SKI_MISSING)?;
        report.ensure(
            facts.key_usage.is_none() || !may_sign,
            &rules::KEY_USAGE_CERT_SIGN,
        )?;
        if let Some(name) = facts.ca_only {
            report.report(&rules::CA_ONLY, format_args!("{name}"))?;
        }
    }
    match demands.purpose {
        Some(Purpose::Ca) => report.ensure(facts.is_ca, &rules::PURPOSE_CA)?,
        Some(Purpose::EndEntity) => report.ensure(!facts.is_ca, &rules::PURPOSE_END_ENTITY)?,
        None => {}
    }
    if let Some(bits) = facts.key_usage.filter(|bits| *bits != 0) {
        check_usage_of_key(bits, key, demands, report)?;
        check_usage_of_purposes(bits, facts, report)?;
    }
    if R::ALL && !is_derived(certificate, facts) {
        report.broken(&rules::SKI_DERIVED)?;
    }
    CONTINUE
}

/// Each algorithm's standard says what its keys can do.
fn check_usage_of_key<R: Report>(
    bits: u16,
    key: KeyKind,
    demands: &Demands<'_>,
    report: &mut R,
) -> Flow {
    let only_signs = bits & !usage::SIGNING == 0;
    let (sound, rule) = match key {
        KeyKind::P256 | KeyKind::P384 | KeyKind::P521 | KeyKind::OtherEc => {
            let encipher = usage::KEY_ENCIPHERMENT | usage::DATA_ENCIPHERMENT;
            (bits & encipher == 0, &rules::KEY_USAGE_EC)
        }
        KeyKind::Rsa => (bits & usage::KEY_AGREEMENT == 0, &rules::KEY_USAGE_RSA),
        KeyKind::RsaPss => (only_signs, &rules::KEY_USAGE_RSA_PSS),
        KeyKind::Ed25519 | KeyKind::Ed448 => (only_signs, &rules::KEY_USAGE_SIGNING),
        KeyKind::X25519 | KeyKind::X448 => {
            let agrees = usage::KEY_AGREEMENT | usage::ENCIPHER_ONLY | usage::DECIPHER_ONLY;
            let sound = bits & usage::KEY_AGREEMENT != 0 && bits & !agrees == 0;
            (sound, &rules::KEY_USAGE_AGREEMENT_KEY)
        }
        KeyKind::MlDsa44 | KeyKind::MlDsa65 | KeyKind::MlDsa87 => {
            (only_signs, &rules::KEY_USAGE_ML_DSA)
        }
        KeyKind::Unknown => (true, &rules::KEY_USAGE_EC),
    };
    // ISO 15118-2 annex F wants keyEncipherment on EC keys: a profile that demands these very bits prevails.
    let demanded = demands
        .rules
        .zip(key.device_algorithm())
        .is_some_and(|(rules, algorithm)| rules.key_usage.bits(algorithm) == bits);
    report.ensure(sound || demanded, rule)?;
    let only = bits & (usage::ENCIPHER_ONLY | usage::DECIPHER_ONLY);
    let sound = only == 0 || (bits & usage::KEY_AGREEMENT != 0 && only.count_ones() == 1);
    report.ensure(sound, &rules::KEY_USAGE_ONLY)
}

/// At least one purpose is consistent with the key usage, §4.2.1.12. The purposes of a CA are those of the
/// certificates below it.
fn check_usage_of_purposes<R: Report>(bits: u16, facts: &Facts<'_>, report: &mut R) -> Flow {
    use usage::{DIGITAL_SIGNATURE, KEY_AGREEMENT, KEY_ENCIPHERMENT, NON_REPUDIATION};
    let Some(purposes) = facts.purposes.filter(|_| !facts.is_ca) else {
        return CONTINUE;
    };
    let consistent = |purpose: Value<'_>| {
        let wanted = match purpose.content.strip_prefix(ID_KP) {
            Some([1]) => DIGITAL_SIGNATURE | KEY_ENCIPHERMENT | KEY_AGREEMENT,
            Some([2]) => DIGITAL_SIGNATURE | KEY_AGREEMENT,
            Some([3]) => DIGITAL_SIGNATURE,
            Some([4]) => DIGITAL_SIGNATURE | NON_REPUDIATION | KEY_ENCIPHERMENT | KEY_AGREEMENT,
            Some([8 | 9]) => DIGITAL_SIGNATURE | NON_REPUDIATION,
            _ => return true,
        };
        bits & wanted != 0
    };
    let mut all = purposes.values();
    report.ensure(all.is_empty() || all.any(consistent), &rules::EKU_KEY_USAGE)
}

/// Whether the subject key identifier is the key's by one of the methods of RFC 5280 §4.2.1.2 and RFC 7093 §2.
fn is_derived(certificate: &Certificate<'_>, facts: &Facts<'_>) -> bool {
    let (Some(identifier), Some(spki)) = (facts.subject_key_identifier, certificate.spki) else {
        return true;
    };
    let Some(key) = Spki::read(spki).map(|spki| spki.key) else {
        return true;
    };
    let sha1 = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, key);
    // RFC 5280's second method: 0100 and the last 60 bits of SHA-1.
    let mut short = [0; 8];
    short.copy_from_slice(&sha1.as_ref()[12..]);
    short[0] = short[0] & 0x0f | 0x40;
    let sha2 = [&digest::SHA256, &digest::SHA384, &digest::SHA512];
    identifier == sha1.as_ref()
        || identifier == short
        || sha2.into_iter().any(|algorithm| {
            let of_key = digest::digest(algorithm, key);
            let of_spki = digest::digest(algorithm, spki.encoding);
            [of_key.as_ref(), of_spki.as_ref()]
                .into_iter()
                .any(|digest| identifier == digest || identifier == &digest[..20])
        })
}

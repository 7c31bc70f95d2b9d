//! What a profile demands of its certificates, in the words of its rules.

use super::der::{Value, Values, single};
use super::extensions::Facts;
use super::key::KeyKind;
use super::structure::{Certificate, Dotted, Extension};
use super::{CONTINUE, Demands, Flow, Report, matter, rules};
use crate::der::tag;
use crate::name::AttributeType;
use crate::oid;
use crate::profile::{BasicConstraintsRule, CertificateRules, Presence};

pub(super) fn check<R: Report>(
    certificate: &Certificate<'_>,
    facts: &Facts<'_>,
    demands: &Demands<'_>,
    key: KeyKind,
    report: &mut R,
) -> Flow {
    let Some(rules) = demands.rules else {
        return CONTINUE;
    };
    let size = certificate.der.len();
    if rules.certificate_bytes_max.is_some_and(|max| size > max) {
        report.report(&rules::PROFILE_SIZE, format_args!("{size} octets"))?;
    }
    if let Some(subject) = certificate.subject {
        let as_demanded = subject.content.is_empty() == rules.empty_subject;
        report.ensure(as_demanded, &rules::PROFILE_SUBJECT)?;
        if as_demanded {
            check_attributes(subject, &rules.subject_types, report)?;
        }
        check_string_types(subject, report)?;
        matter::check_profile(certificate.issuer, subject, rules.matter_ids, report)?;
    }
    for extension in &certificate.extensions {
        if !is_expected(extension.oid, rules) {
            let oid = Dotted(extension.oid);
            report.report(&rules::PROFILE_EXTENSION, format_args!("{oid}"))?;
        }
    }
    let required = |oid, critical, report: &mut R| required(certificate, oid, critical, report);
    if rules.subject_key_identifier {
        required(oid::SUBJECT_KEY_IDENTIFIER, false, report)?;
    }
    required(oid::AUTHORITY_KEY_IDENTIFIER, false, report)?;
    required(oid::KEY_USAGE, true, report)?;
    let algorithm = match &demands.request {
        Some(request) => Some(request.key_algorithm),
        None => key.device_algorithm(),
    };
    if let (Some(bits), Some(algorithm)) = (facts.key_usage, algorithm) {
        let expected = rules.key_usage.bits(algorithm);
        report.ensure(bits == expected, &rules::PROFILE_KEY_USAGE)?;
    }
    check_key_purposes(certificate, &rules.extended_key_usage, report)?;
    check_basic_constraints(certificate, facts, rules.basic_constraints, report)?;
    match certificate.extension(oid::SUBJECT_ALT_NAME) {
        Some(names) => mark(names, rules.empty_subject, report)?,
        None if rules.subject_alt_name == Presence::Required => {
            absent(oid::SUBJECT_ALT_NAME, report)?;
        }
        None => {}
    }
    for constant in &rules.constant {
        let found = required(&constant.oid, constant.critical, report)?;
        if found.is_some_and(|found| found.value != constant.value) {
            let oid = Dotted(&constant.oid);
            report.report(&rules::PROFILE_CONSTANT, format_args!("{oid}"))?;
        }
    }
    CONTINUE
}

/// The attributes of the profile, in its order.
fn check_attributes<R: Report>(subject: Value<'_>, expected: &[Vec<u8>], report: &mut R) -> Flow {
    let found = subject.values().flat_map(|rdn| rdn.values()).map(|pair| {
        pair.values()
            .tagged(tag::OID)
            .map_or(&[][..], |oid| oid.content)
    });
    let as_demanded = found.eq(expected.iter().map(Vec::as_slice));
    report.ensure(as_demanded, &rules::PROFILE_ATTRIBUTES)
}

/// Profiles write PrintableString where RFC 5280 appendix A.1 demands it and UTF8String elsewhere.
fn check_string_types<R: Report>(subject: Value<'_>, report: &mut R) -> Flow {
    for pair in subject.values().flat_map(|rdn| rdn.values()) {
        let mut fields: Values<'_> = pair.values();
        let (Some(oid), Some(value)) = (fields.tagged(tag::OID), fields.next()) else {
            continue;
        };
        let Some(attribute) = AttributeType::by_oid(oid.content) else {
            continue;
        };
        if value.tag != attribute.string_tag() {
            let name = attribute.name;
            report.report(&rules::PROFILE_STRING_TYPE, format_args!("{name}"))?;
        }
    }
    CONTINUE
}

/// Whether the rules have an extension with this identifier.
fn is_expected(oid: &[u8], rules: &CertificateRules) -> bool {
    match oid {
        oid::AUTHORITY_KEY_IDENTIFIER | oid::KEY_USAGE => true,
        oid::SUBJECT_KEY_IDENTIFIER => rules.subject_key_identifier,
        oid::EXT_KEY_USAGE => !rules.extended_key_usage.is_empty(),
        oid::BASIC_CONSTRAINTS => rules.basic_constraints != BasicConstraintsRule::Absent,
        oid::SUBJECT_ALT_NAME => rules.subject_alt_name != Presence::Forbidden,
        other => rules.constant.iter().any(|constant| constant.oid == other),
    }
}

fn required<'c, 'a, R: Report>(
    certificate: &'c Certificate<'a>,
    oid: &[u8],
    critical: bool,
    report: &mut R,
) -> Flow<Option<&'c Extension<'a>>> {
    let found = certificate.extension(oid);
    match found {
        Some(extension) => mark(extension, critical, report)?,
        None => absent(oid, report)?,
    }
    Flow::Continue(found)
}

fn mark<R: Report>(extension: &Extension<'_>, critical: bool, report: &mut R) -> Flow {
    if extension.critical == critical {
        return CONTINUE;
    }
    let oid = Dotted(extension.oid);
    report.report(&rules::PROFILE_CRITICAL, format_args!("{oid}"))
}

#[cold]
fn absent<R: Report>(oid: &[u8], report: &mut R) -> Flow {
    let oid = Dotted(oid);
    report.report(&rules::PROFILE_EXTENSION_MISSING, format_args!("{oid}"))
}

fn check_basic_constraints<R: Report>(
    certificate: &Certificate<'_>,
    facts: &Facts<'_>,
    expected: BasicConstraintsRule,
    report: &mut R,
) -> Flow {
    let (critical, ca, path_length) = match expected {
        BasicConstraintsRule::Absent => return CONTINUE,
        BasicConstraintsRule::EndEntity { critical } => (critical, false, None),
        BasicConstraintsRule::Ca { path_length } => (true, true, path_length),
    };
    required(certificate, oid::BASIC_CONSTRAINTS, critical, report)?;
    // From 128 on an INTEGER has a zero octet in front.
    let found = facts.path_length.map(|content| match content {
        [0, rest @ ..] if !rest.is_empty() => rest,
        content => content,
    });
    let path_length = path_length.map(|length| [length]);
    let as_demanded = facts.is_ca == ca && found == path_length.as_ref().map(|p| &p[..]);
    report.ensure(as_demanded, &rules::PROFILE_BASIC)
}

/// The purposes in the profile's order.
fn check_key_purposes<R: Report>(
    certificate: &Certificate<'_>,
    expected: &[Vec<u8>],
    report: &mut R,
) -> Flow {
    let found = certificate.extension(oid::EXT_KEY_USAGE);
    if expected.is_empty() {
        // One that is there is an extension that the profile does not have.
        return CONTINUE;
    }
    let Some(extension) = found else {
        return absent(oid::EXT_KEY_USAGE, report);
    };
    let Some(list) = single(extension.value, tag::SEQUENCE) else {
        return CONTINUE;
    };
    let as_demanded = list
        .values()
        .map(|purpose| purpose.content)
        .eq(expected.iter().map(Vec::as_slice));
    report.ensure(as_demanded, &rules::PROFILE_EKU)
}

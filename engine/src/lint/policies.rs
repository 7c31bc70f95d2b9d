//! Certificate policies, and the extensions that only CAs have: RFC 5280 §4.2.1.4, .5, .10, .11 and .14.

use super::der::Value;
use super::extensions::malformed;
use super::general_name::{self, Form};
use super::structure::Dotted;
use super::{CONTINUE, Flow, Report, rules};
use crate::der::tag;

/// anyPolicy, RFC 5280 §4.2.1.4.
const ANY_POLICY: &[u8] = &[0x55, 0x1d, 0x20, 0x00];
/// id-qt-cps and id-qt-unotice, RFC 5280 §4.2.1.4.
const CPS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x02, 0x01];
const USER_NOTICE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x02, 0x02];
/// Policies in front of one that it is compared with.
const POLICIES_COMPARED: usize = 64;
/// Characters of explicitText, RFC 5280 §4.2.1.4.
const EXPLICIT_TEXT_CHARS_MAX: usize = 200;
const BMP_STRING: u8 = 0x1e;
const VISIBLE_STRING: u8 = 0x1a;

const POLICIES: &str = "certificatePolicies";

/// `certificatePolicies ::= SEQUENCE SIZE (1..MAX) OF PolicyInformation`, and
/// `PolicyInformation ::= SEQUENCE { policyIdentifier OBJECT IDENTIFIER, policyQualifiers SEQUENCE SIZE (1..MAX) OF
/// PolicyQualifierInfo OPTIONAL }`.
pub(super) fn check_policies<R: Report>(value: Value<'_>, report: &mut R) -> Flow {
    if value.tag != tag::SEQUENCE {
        return malformed(POLICIES, report);
    }
    report.ensure(!value.content.is_empty(), &rules::POLICY_EMPTY)?;
    for (position, information) in value.values().enumerate() {
        let Some(identifier) = identifier(information) else {
            malformed(POLICIES, report)?;
            continue;
        };
        let twice = value
            .values()
            .take(position.min(POLICIES_COMPARED))
            .any(|earlier| self::identifier(earlier) == Some(identifier));
        if twice {
            let oid = Dotted(identifier);
            report.report(&rules::POLICY_TWICE, format_args!("{oid}"))?;
        }
        let mut fields = information.values();
        fields.next();
        let qualifiers = fields.tagged(tag::SEQUENCE);
        if !fields.is_empty() {
            malformed(POLICIES, report)?;
        }
        if let Some(qualifiers) = qualifiers {
            report.ensure(!qualifiers.content.is_empty(), &rules::POLICY_EMPTY)?;
            for qualifier in qualifiers.values() {
                check_qualifier(qualifier, report)?;
            }
        }
    }
    CONTINUE
}

fn identifier(information: Value<'_>) -> Option<&[u8]> {
    let mut fields = information.of(tag::SEQUENCE)?.values();
    Some(fields.tagged(tag::OID)?.content)
}

/// `PolicyQualifierInfo ::= SEQUENCE { policyQualifierId OBJECT IDENTIFIER, qualifier ANY }`.
fn check_qualifier<R: Report>(info: Value<'_>, report: &mut R) -> Flow {
    let mut fields = info.values();
    let (identifier, qualifier) = (fields.tagged(tag::OID), fields.next());
    let (Some(identifier), Some(qualifier), true) = (identifier, qualifier, fields.is_empty())
    else {
        return malformed(POLICIES, report);
    };
    match identifier.content {
        CPS if qualifier.tag != tag::IA5_STRING => malformed(POLICIES, report),
        CPS => {
            let sound = general_name::is_uri(qualifier.content);
            report_uri(sound, POLICIES, report)
        }
        USER_NOTICE if qualifier.tag != tag::SEQUENCE => malformed(POLICIES, report),
        USER_NOTICE => {
            // `UserNotice ::= SEQUENCE { noticeRef SEQUENCE OPTIONAL, explicitText DisplayText OPTIONAL }`.
            let mut fields = qualifier.values();
            fields.tagged(tag::SEQUENCE);
            match fields.next() {
                Some(text) => report.ensure(is_explicit_text(text), &rules::POLICY_TEXT),
                None => CONTINUE,
            }
        }
        _ => report.broken(&rules::POLICY_QUALIFIER),
    }
}

pub(super) fn report_uri<R: Report>(sound: bool, name: &str, report: &mut R) -> Flow {
    if sound {
        CONTINUE
    } else {
        report.report(&rules::GENERAL_NAME_URI, format_args!("{name}"))
    }
}

/// RFC 6818 §3: UTF8String, or VisibleString or BMPString, of at most 200 characters.
fn is_explicit_text(text: Value<'_>) -> bool {
    let octets = text.content.len();
    let chars = match text.tag {
        tag::UTF8_STRING => text.content.iter().filter(|b| **b & 0xc0 != 0x80).count(),
        VISIBLE_STRING => octets,
        BMP_STRING => octets / 2,
        _ => return false,
    };
    (1..=EXPLICIT_TEXT_CHARS_MAX).contains(&chars)
}

/// nameConstraints (30), policyMappings (33), policyConstraints (36) and inhibitAnyPolicy (54), by the last arc of
/// their identifiers.
pub(super) fn check_ca_extension<R: Report>(
    arc: u8,
    value: Value<'_>,
    name: &str,
    report: &mut R,
) -> Flow {
    let expected = if arc == 54 {
        tag::INTEGER
    } else {
        tag::SEQUENCE
    };
    if value.tag != expected {
        return malformed(name, report);
    }
    match arc {
        30 => check_name_constraints(value, name, report),
        33 => check_policy_mappings(value, name, report),
        36 => check_policy_constraints(value, name, report),
        _ if value.content.first().is_some_and(|b| b & 0x80 != 0) => malformed(name, report),
        _ => CONTINUE,
    }
}

/// `NameConstraints ::= SEQUENCE { permittedSubtrees [0], excludedSubtrees [1] }`, both optional lists of
/// `GeneralSubtree ::= SEQUENCE { base GeneralName, minimum [0] DEFAULT 0, maximum [1] OPTIONAL }`, §4.2.1.10.
fn check_name_constraints<R: Report>(value: Value<'_>, name: &str, report: &mut R) -> Flow {
    let mut fields = value.values();
    let subtrees = [0, 1].map(|number| fields.tagged(tag::context_constructed(number)));
    if !fields.is_empty() {
        malformed(name, report)?;
    }
    let empty = subtrees.iter().flatten().next().is_none()
        || subtrees
            .iter()
            .flatten()
            .any(|list| list.content.is_empty());
    report.ensure(!empty, &rules::NAME_CONSTRAINTS_EMPTY)?;
    for subtree in subtrees.iter().flatten().flat_map(Value::values) {
        let mut fields = subtree.values();
        // A base in primitive form, as a dNSName is, looks like `minimum` would: the base comes first.
        let base = fields.next();
        report.ensure(
            subtree.tag == tag::SEQUENCE && base.is_some() && fields.is_empty(),
            &rules::NAME_CONSTRAINTS_BASE,
        )?;
        if let Some(base) = base {
            general_name::check(base, Form::Constraint, name, report)?;
        }
    }
    CONTINUE
}

/// `PolicyMappings ::= SEQUENCE SIZE (1..MAX) OF SEQUENCE { issuerDomainPolicy, subjectDomainPolicy }`, §4.2.1.5.
fn check_policy_mappings<R: Report>(value: Value<'_>, name: &str, report: &mut R) -> Flow {
    if value.content.is_empty() {
        malformed(name, report)?;
    }
    for mapping in value.values() {
        let mut fields = mapping.values();
        let policies = [fields.tagged(tag::OID), fields.tagged(tag::OID)];
        if policies.iter().any(Option::is_none) || !fields.is_empty() {
            malformed(name, report)?;
        }
        let any = |policy: &Value<'_>| policy.content == ANY_POLICY;
        report.ensure(
            !policies.iter().flatten().any(any),
            &rules::POLICY_MAPPING_ANY,
        )?;
    }
    CONTINUE
}

/// `PolicyConstraints ::= SEQUENCE { requireExplicitPolicy [0] INTEGER, inhibitPolicyMapping [1] INTEGER }`, both
/// optional, never both absent, §4.2.1.11.
fn check_policy_constraints<R: Report>(value: Value<'_>, name: &str, report: &mut R) -> Flow {
    report.ensure(!value.content.is_empty(), &rules::POLICY_CONSTRAINTS_EMPTY)?;
    let mut fields = value.values();
    for number in [0, 1] {
        let skip = fields.tagged(tag::context_primitive(number));
        let sound = skip.is_none_or(|skip| {
            super::der::is_minimal_integer(skip.content) && skip.content[0] & 0x80 == 0
        });
        if !sound {
            malformed(name, report)?;
        }
    }
    if fields.is_empty() {
        CONTINUE
    } else {
        malformed(name, report)
    }
}

//! Where to find revocation lists and authorities: RFC 5280 §4.2.1.13 and §4.2.2.

use super::der::Value;
use super::extensions::malformed;
use super::general_name::{self, Form};
use super::{CONTINUE, Flow, Report, rules};
use crate::der::tag;

/// `CRLDistributionPoints ::= SEQUENCE SIZE (1..MAX) OF SEQUENCE { distributionPoint [0] DistributionPointName,
/// reasons [1] ReasonFlags, cRLIssuer [2] GeneralNames }`, all optional, never reasons alone.
pub(super) fn check_points<R: Report>(value: Value<'_>, name: &str, report: &mut R) -> Flow {
    if value.tag != tag::SEQUENCE {
        return malformed(name, report);
    }
    report.ensure(!value.content.is_empty(), &rules::CRL_EMPTY)?;
    for point in value.values() {
        let mut fields = point.values();
        let place = fields.tagged(tag::context_constructed(0));
        fields.tagged(tag::context_primitive(1));
        let issuer = fields.tagged(tag::context_constructed(2));
        if point.tag != tag::SEQUENCE || !fields.is_empty() {
            malformed(name, report)?;
        }
        report.ensure(place.is_some() || issuer.is_some(), &rules::CRL_POINT)?;
        if let Some(place) = place {
            // `DistributionPointName ::= CHOICE { fullName [0] GeneralNames, nameRelativeToCRLIssuer [1] }`.
            let mut choice = place.values();
            let full_name = choice.tagged(tag::context_constructed(0));
            let relative = choice.tagged(tag::context_constructed(1));
            if full_name.is_some() == relative.is_some() || !choice.is_empty() {
                malformed(name, report)?;
            }
            check_names(full_name, name, report)?;
        }
        check_names(issuer, name, report)?;
    }
    CONTINUE
}

fn check_names<R: Report>(names: Option<Value<'_>>, name: &str, report: &mut R) -> Flow {
    let Some(names) = names else {
        return CONTINUE;
    };
    report.ensure(!names.content.is_empty(), &rules::CRL_POINT)?;
    for general_name in names.values() {
        general_name::check(general_name, Form::Name, name, report)?;
    }
    CONTINUE
}

/// `AuthorityInfoAccessSyntax ::= SEQUENCE SIZE (1..MAX) OF SEQUENCE { accessMethod OBJECT IDENTIFIER,
/// accessLocation GeneralName }`, §4.2.2.1 and §4.2.2.2.
pub(super) fn check_access<R: Report>(value: Value<'_>, name: &str, report: &mut R) -> Flow {
    if value.tag != tag::SEQUENCE {
        return malformed(name, report);
    }
    report.ensure(!value.content.is_empty(), &rules::ACCESS_EMPTY)?;
    for description in value.values() {
        let mut fields = description.values();
        let (method, location) = (fields.tagged(tag::OID), fields.next());
        let (Some(_), Some(location), true) = (method, location, fields.is_empty()) else {
            malformed(name, report)?;
            continue;
        };
        general_name::check(location, Form::Name, name, report)?;
    }
    CONTINUE
}

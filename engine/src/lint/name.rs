//! Distinguished names: attribute types, string types and bounds of RFC 5280 §4.1.2.4 and appendix A.1.

use super::der::{Value, Values};
use super::matter::MATTER_ID;
use super::structure::Dotted;
use super::{CONTINUE, Flow, Report, rules};
use crate::der::tag;

const TELETEX_STRING: u8 = 0x14;
const UNIVERSAL_STRING: u8 = 0x1c;
const BMP_STRING: u8 = 0x1e;

/// The string types that an attribute may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strings {
    /// DirectoryString: UTF8String and PrintableString, and the retired ones with a warning.
    Directory,
    Printable,
    Ia5,
    /// UTF8String of four capital hexadecimal digits, Matter §6.2.2.
    MatterId,
}

impl Strings {
    fn has(self, string_tag: u8) -> bool {
        match string_tag {
            tag::UTF8_STRING => matches!(self, Self::Directory | Self::MatterId),
            tag::PRINTABLE_STRING => matches!(self, Self::Directory | Self::Printable),
            tag::IA5_STRING => self == Self::Ia5,
            TELETEX_STRING | BMP_STRING | UNIVERSAL_STRING => self == Self::Directory,
            _ => false,
        }
    }
}

/// Attributes behind one in the same SET whose types are compared with it. More than two are unheard of.
const RDN_ATTRIBUTES_COMPARED: usize = 16;

/// The last arc of id-at (2.5.4), the string types and the upper bound in characters, RFC 5280 appendix A.1.
const ATTRIBUTES: &[(u8, Strings, usize)] = &[
    (3, Strings::Directory, 64),      // commonName
    (4, Strings::Directory, 32_768),  // surname
    (5, Strings::Printable, 64),      // serialNumber
    (6, Strings::Printable, 2),       // countryName
    (7, Strings::Directory, 128),     // localityName
    (8, Strings::Directory, 128),     // stateOrProvinceName
    (9, Strings::Directory, 128),     // streetAddress, X.520 annex C
    (10, Strings::Directory, 64),     // organizationName
    (11, Strings::Directory, 64),     // organizationalUnitName
    (12, Strings::Directory, 64),     // title
    (17, Strings::Directory, 40),     // postalCode, X.520 annex C
    (41, Strings::Directory, 32_768), // name
    (42, Strings::Directory, 32_768), // givenName
    (43, Strings::Directory, 32_768), // initials
    (44, Strings::Directory, 32_768), // generationQualifier
    (46, Strings::Printable, 64),     // dnQualifier: advice
    (65, Strings::Directory, 128),    // pseudonym
];
const ID_AT: &[u8] = &[0x55, 0x04];
const COUNTRY: &[u8] = &[0x55, 0x04, 0x06];
/// dnQualifier. RFC 5280 appendix A.1 gives it no bound, nor domainComponent: theirs here are advice.
const DN_QUALIFIER: &[u8] = &[0x55, 0x04, 0x2e];
/// domainComponent, RFC 4519 §2.4.
const DOMAIN_COMPONENT: &[u8] = &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19];
/// emailAddress, RFC 2985 §5.2.1.
const EMAIL: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01];

fn attribute(oid: &[u8]) -> Option<(Strings, usize)> {
    if let Some([arc]) = oid.strip_prefix(ID_AT) {
        let row = ATTRIBUTES.iter().find(|(found, ..)| found == arc);
        return row.map(|(_, strings, max)| (*strings, *max));
    }
    match oid {
        DOMAIN_COMPONENT => Some((Strings::Ia5, 63)),
        EMAIL => Some((Strings::Ia5, 255)),
        _ => match oid.strip_prefix(MATTER_ID) {
            Some([1 | 2]) => Some((Strings::MatterId, 4)),
            _ => None,
        },
    }
}

/// Characters that an attribute of this type may have at most, in strings with this tag, [`usize::MAX`] where the
/// type is not known here. `None` where it is known and has strings of another type.
pub(crate) fn chars_max(oid: &[u8], string_tag: u8) -> Option<usize> {
    match attribute(oid) {
        None => Some(usize::MAX),
        Some((strings, max)) => strings.has(string_tag).then_some(max),
    }
}

/// `Name ::= SEQUENCE OF SET OF SEQUENCE { type OBJECT IDENTIFIER, value ANY }`. The order of the SETs is the
/// walk's.
pub(super) fn check<R: Report>(name: Value<'_>, place: &str, report: &mut R) -> Flow {
    let mut rdns = name.values();
    for rdn in rdns.by_ref() {
        if rdn.tag != tag::SET {
            report.report(&rules::NAME_STRUCTURE, format_args!("{place}"))?;
            continue;
        }
        if rdn.content.is_empty() {
            report.report(&rules::NAME_EMPTY_RDN, format_args!("{place}"))?;
        }
        check_rdn(rdn.values(), place, report)?;
    }
    CONTINUE
}

fn check_rdn<R: Report>(mut rdn: Values<'_>, place: &str, report: &mut R) -> Flow {
    while let Some(pair) = rdn.next() {
        let Some((oid, value)) = type_and_value(pair) else {
            report.report(&rules::NAME_STRUCTURE, format_args!("{place}"))?;
            continue;
        };
        let twice = rdn
            .take(RDN_ATTRIBUTES_COMPARED)
            .filter_map(type_and_value)
            .any(|(other, _)| other == oid);
        if twice {
            let oid = Dotted(oid);
            report.report(&rules::NAME_RDN_TYPE_TWICE, format_args!("{place}, {oid}"))?;
        }
        check_attribute(oid, value, place, report)?;
    }
    CONTINUE
}

pub(super) fn type_and_value(pair: Value<'_>) -> Option<(&[u8], Value<'_>)> {
    let mut fields = pair.of(tag::SEQUENCE)?.values();
    let oid = fields.tagged(tag::OID)?;
    let value = fields.next()?;
    fields.is_empty().then_some((oid.content, value))
}

/// Whether a text holds a control character, C1's (U+0080 to U+009F) too.
fn holds_control(text: &[u8]) -> bool {
    let c1 = || {
        let text = std::str::from_utf8(text).unwrap_or_default();
        text.chars().any(char::is_control)
    };
    text.iter().any(u8::is_ascii_control) || (!text.is_ascii() && c1())
}

fn check_attribute<R: Report>(oid: &[u8], value: Value<'_>, place: &str, report: &mut R) -> Flow {
    let content = value.content;
    let known = attribute(oid);
    let dotted = Dotted(oid);
    let mut broken = |rule| report.report(rule, format_args!("{place}, {dotted}"));
    if content.is_empty() {
        return broken(&rules::NAME_VALUE_EMPTY);
    }
    if let Some((strings, _)) = known
        && !strings.has(value.tag)
    {
        broken(&rules::NAME_STRING_TYPE)?;
    }
    let octets_each = match value.tag {
        tag::UTF8_STRING | tag::PRINTABLE_STRING | tag::IA5_STRING => 1,
        TELETEX_STRING => 1,
        BMP_STRING => 2,
        UNIVERSAL_STRING => 4,
        _ => return CONTINUE,
    };
    if matches!(value.tag, TELETEX_STRING | BMP_STRING | UNIVERSAL_STRING) {
        broken(&rules::NAME_STRING_OLD)?;
    } else {
        if holds_control(content) {
            broken(&rules::NAME_CONTROL)?;
        }
        if matches!(content, [b' ', ..] | [.., b' ']) {
            broken(&rules::NAME_SPACE)?;
        }
    }
    let Some((strings, max)) = known else {
        return CONTINUE;
    };
    // Octets of UTF-8 that continue a character have the top bits 10.
    let chars = if content.len() <= max || value.tag != tag::UTF8_STRING {
        content.len() / octets_each
    } else {
        content
            .iter()
            .filter(|octet| **octet & 0xc0 != 0x80)
            .count()
    };
    if chars > max {
        let unbounded = matches!(oid, DN_QUALIFIER | DOMAIN_COMPONENT);
        broken(if unbounded {
            &rules::NAME_VALUE_UNUSUAL
        } else {
            &rules::NAME_VALUE_LONG
        })?;
    }
    if oid == COUNTRY && !matches!(content, [b'A'..=b'Z', b'A'..=b'Z']) {
        broken(&rules::NAME_COUNTRY)?;
    }
    let digits = |octet: &u8| matches!(octet, b'0'..=b'9' | b'A'..=b'F');
    if strings == Strings::MatterId && !(content.len() == 4 && content.iter().all(digits)) {
        broken(&rules::NAME_MATTER_ID)?;
    }
    CONTINUE
}

//! GeneralNames, RFC 5280 §4.2.1.6.

use super::der::{Value, oid_fault, single};
use super::{CONTINUE, Flow, Report, name, rules};
use crate::der::tag;
use crate::oid;

const OTHER_NAME: u8 = 0xa0;
const RFC822_NAME: u8 = 0x81;
const DNS_NAME: u8 = 0x82;
const X400_ADDRESS: u8 = 0xa3;
const DIRECTORY_NAME: u8 = 0xa4;
const EDI_PARTY_NAME: u8 = 0xa5;
const UNIFORM_RESOURCE_IDENTIFIER: u8 = 0x86;
const IP_ADDRESS: u8 = 0x87;
const REGISTERED_ID: u8 = 0x88;

/// Whether names are names, or the bases of name constraints (RFC 5280 §4.2.1.10), which may be parts of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Name,
    Constraint,
}

/// `GeneralName ::= CHOICE { otherName [0], rfc822Name [1], dNSName [2], x400Address [3], directoryName [4],
/// ediPartyName [5], uniformResourceIdentifier [6], iPAddress [7], registeredID [8] }`.
pub(super) fn check<R: Report>(
    general_name: Value<'_>,
    form: Form,
    place: &str,
    report: &mut R,
) -> Flow {
    let content = general_name.content;
    let constraint = form == Form::Constraint;
    let (sound, rule) = match general_name.tag {
        RFC822_NAME | DNS_NAME | UNIFORM_RESOURCE_IDENTIFIER => {
            let text = content.iter().all(|octet| matches!(octet, 0x20..=0x7e))
                && (constraint || !content.is_empty());
            if !text {
                return report.report(&rules::GENERAL_NAME_IA5, format_args!("{place}"));
            }
            match general_name.tag {
                RFC822_NAME if is_quoted_mailbox(content) => {
                    (constraint, &rules::GENERAL_NAME_EMAIL_QUOTED)
                }
                RFC822_NAME => (
                    constraint || is_mailbox(content),
                    &rules::GENERAL_NAME_EMAIL,
                ),
                DNS_NAME => (
                    content.is_empty() || is_dns_name(content, !constraint),
                    &rules::GENERAL_NAME_DNS,
                ),
                _ => (constraint || is_uri(content), &rules::GENERAL_NAME_URI),
            }
        }
        IP_ADDRESS => (
            match form {
                Form::Name => matches!(content.len(), 4 | 16),
                Form::Constraint => matches!(content.len(), 8 | 32),
            },
            &rules::GENERAL_NAME_IP,
        ),
        DIRECTORY_NAME => {
            let Some(directory) = single(content, tag::SEQUENCE) else {
                return report.report(&rules::GENERAL_NAME_FORM, format_args!("{place}"));
            };
            name::check(directory, place, report)?;
            (
                constraint || !directory.content.is_empty(),
                &rules::GENERAL_NAME_DIRECTORY,
            )
        }
        REGISTERED_ID => (oid_fault(content).is_none(), &rules::GENERAL_NAME_FORM),
        OTHER_NAME => return check_other_name(general_name, place, report),
        X400_ADDRESS | EDI_PARTY_NAME => return CONTINUE,
        _ => (false, &rules::GENERAL_NAME_FORM),
    };
    if sound {
        CONTINUE
    } else {
        report.report(rule, format_args!("{place}"))
    }
}

/// `OtherName ::= SEQUENCE { type-id OBJECT IDENTIFIER, value [0] EXPLICIT ANY }`, and in it
/// `HardwareModuleName ::= SEQUENCE { hwType OBJECT IDENTIFIER, hwSerialNum OCTET STRING }`, RFC 4108 §5.
fn check_other_name<R: Report>(other_name: Value<'_>, place: &str, report: &mut R) -> Flow {
    let mut fields = other_name.values();
    let (type_id, value) = (
        fields.tagged(tag::OID),
        fields.tagged(tag::context_constructed(0)),
    );
    let (Some(type_id), Some(value), true) = (type_id, value, fields.is_empty()) else {
        return report.report(&rules::GENERAL_NAME_FORM, format_args!("{place}"));
    };
    let mut inside = value.values();
    if inside.next().is_none() || !inside.is_empty() {
        return report.report(&rules::GENERAL_NAME_FORM, format_args!("{place}"));
    }
    if type_id.content == oid::HARDWARE_MODULE_NAME && !is_hardware_module_name(value.content) {
        return report.report(&rules::GENERAL_NAME_HARDWARE, format_args!("{place}"));
    }
    CONTINUE
}

fn is_hardware_module_name(value: &[u8]) -> bool {
    single(value, tag::SEQUENCE).is_some_and(|module| {
        let mut fields = module.values();
        fields.tagged(tag::OID).is_some()
            && fields
                .tagged(tag::OCTET_STRING)
                .is_some_and(|serial| !serial.content.is_empty())
            && fields.is_empty()
    })
}

/// The preferred name syntax of RFC 1034 §3.5 as RFC 1123 §2.1 changes it: labels of 1 to 63 letters, digits
/// and hyphens, 253 octets in all. A wildcard is a whole leftmost label (RFC 6125 §6.4.3); underscores, which
/// RFC 5280 lacks, are refused. A constraint may begin with a dot.
pub(super) fn is_dns_name(name: &[u8], wildcard: bool) -> bool {
    let name = if wildcard {
        name.strip_prefix(b"*.").unwrap_or(name)
    } else {
        name.strip_prefix(b".").unwrap_or(name)
    };
    name.len() <= 253
        && name.split(|octet| *octet == b'.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .iter()
                    .all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-')
                && !label.starts_with(b"-")
                && !label.ends_with(b"-")
        })
}

/// `Mailbox = Local-part "@" Domain`, RFC 5321 §4.1.2, without quoted strings and address literals.
pub(crate) fn is_mailbox(mailbox: &[u8]) -> bool {
    let Some(at) = mailbox.iter().rposition(|octet| *octet == b'@') else {
        return false;
    };
    let (local, domain) = (&mailbox[..at], &mailbox[at + 1..]);
    let atom = |atom: &[u8]| {
        !atom.is_empty()
            && atom.iter().all(|octet| {
                octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(octet)
            })
    };
    local.len() <= 64
        && local.split(|octet| *octet == b'.').all(atom)
        && is_dns_name(domain, false)
        && !domain.starts_with(b".")
}

/// `Local-part = Quoted-string`, RFC 5321 §4.1.2.
fn is_quoted_mailbox(mailbox: &[u8]) -> bool {
    let Some(at) = mailbox.iter().rposition(|octet| *octet == b'@') else {
        return false;
    };
    let [b'"', quoted @ .., b'"'] = &mailbox[..at] else {
        return false;
    };
    let mut octets = quoted.iter();
    let mut sound = true;
    while let Some(octet) = octets.next() {
        // A backslash goes with what follows it.
        sound &= match octet {
            b'"' => false,
            b'\\' => octets.next().is_some(),
            _ => true,
        };
    }
    let domain = &mailbox[at + 1..];
    sound && at <= 64 && is_dns_name(domain, false) && !domain.starts_with(b".")
}

/// Schemes whose host may be left out: the reader knows it (RFC 5280 §4.2.1.13, RFC 4516 §2).
const HOST_LEFT_OUT: [&[u8]; 2] = [b"ldap", b"ldaps"];

/// `URI = scheme ":" hier-part`, RFC 3986 §3, absolute and not the scheme alone. With an authority the host is
/// a name or an address (RFC 5280 §4.2.1.6).
pub(crate) fn is_uri(uri: &[u8]) -> bool {
    let Some(colon) = uri.iter().position(|octet| *octet == b':') else {
        return false;
    };
    let (scheme, rest) = (&uri[..colon], &uri[colon + 1..]);
    let scheme_sound = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme
            .iter()
            .all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(octet));
    let characters = uri
        .iter()
        .all(|octet| octet.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(octet));
    let escapes = rest
        .split(|octet| *octet == b'%')
        .skip(1)
        .all(|after| matches!(after, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()));
    let authority = rest.strip_prefix(b"//").is_none_or(|hierarchy| {
        let end = hierarchy
            .iter()
            .position(|octet| b"/?#".contains(octet))
            .unwrap_or(hierarchy.len());
        let authority = &hierarchy[..end];
        let user = authority.iter().rposition(|octet| *octet == b'@');
        let no_host = |known: &&[u8]| scheme.eq_ignore_ascii_case(known);
        is_host(&authority[user.map_or(0, |at| at + 1)..])
            || scheme == b"file"
            || authority.is_empty() && HOST_LEFT_OUT.iter().any(no_host)
    });
    scheme_sound && characters && escapes && authority && !rest.is_empty() && rest != b"//"
}

/// A host with an optional port: a name, an IPv4 address or an IPv6 address in brackets.
fn is_host(host: &[u8]) -> bool {
    if host.first() == Some(&b'[') {
        return host.contains(&b']');
    }
    let mut parts = host.split(|octet| *octet == b':');
    let name = parts.next().unwrap_or_default();
    let port_sound = parts
        .next()
        .is_none_or(|port| port.iter().all(u8::is_ascii_digit));
    port_sound && parts.next().is_none() && is_dns_name(name, false) && !name.starts_with(b".")
}

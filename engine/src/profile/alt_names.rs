//! General names: the forms of the subject alternative name that a profile can make, and what their values must
//! look like.

use std::net::IpAddr;

use super::names::NOT_THE_PATTERN;
use super::pattern::Pattern;
use crate::der::tag;
use crate::der::writer::Writer;
use crate::lint::general_name::{is_mailbox, is_uri};
use crate::name::holds_control;
use crate::oid;
use crate::template::Template;

/// Octets of hwSerialNum, as for the serialNumber attribute.
const HARDWARE_SERIAL_BYTES_MAX: usize = 64;
/// Octets of a permanent identifier: room for a SHA-512 in hexadecimal.
const PERMANENT_IDENTIFIER_BYTES_MAX: usize = 128;
/// Octets of a domain name in text, RFC 1035 §2.3.4.
const DNS_BYTES_MAX: usize = 253;
/// Octets of a URI. Certificates with longer ones break clients' buffers.
const URI_BYTES_MAX: usize = 2_048;
/// Octets of a mailbox, RFC 5321 §4.5.3.1.
const EMAIL_BYTES_MAX: usize = 254;

/// One general name and where its value comes from.
#[derive(Debug, Clone)]
pub(crate) struct AltName {
    pub(crate) form: AltNameForm,
    pub(crate) value: Template,
    pub(crate) pattern: Option<Pattern>,
    /// The name, DER, where the value is the same in all certificates.
    pub(crate) encoded: Option<Vec<u8>>,
}

/// The forms of GeneralName that a profile can make, RFC 5280 §4.2.1.6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AltNameForm {
    /// RFC 4108 §5; hwType's content octets.
    HardwareModuleName {
        hardware_type: Vec<u8>,
    },
    /// RFC 4043 §2; the assigner's content octets.
    PermanentIdentifier {
        assigner: Option<Vec<u8>>,
    },
    Uri,
    Dns,
    Ip,
    Email,
    RegisteredId,
}

impl AltName {
    /// Whether `value` may stand here.
    pub(crate) fn check(&self, value: &str) -> Result<(), &'static str> {
        self.form.check(value)?;
        match &self.pattern {
            Some(pattern) if !pattern.matches(value) => Err(NOT_THE_PATTERN),
            _ => Ok(()),
        }
    }
}

impl AltNameForm {
    /// As errors name it.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::HardwareModuleName { .. } => "hardware_module_name",
            Self::PermanentIdentifier { .. } => "permanent_identifier",
            Self::Uri => "uri",
            Self::Dns => "dns",
            Self::Ip => "ip",
            Self::Email => "email",
            Self::RegisteredId => "registered_id",
        }
    }

    pub(crate) fn check(&self, value: &str) -> Result<(), &'static str> {
        if value.is_empty() {
            return Err("the value is empty");
        }
        if holds_control(value) {
            return Err("the value holds a control character");
        }
        match self {
            Self::HardwareModuleName { .. } if value.len() > HARDWARE_SERIAL_BYTES_MAX => {
                Err("the value is too long")
            }
            Self::PermanentIdentifier { .. } if value.len() > PERMANENT_IDENTIFIER_BYTES_MAX => {
                Err("the value is too long")
            }
            Self::HardwareModuleName { .. } | Self::PermanentIdentifier { .. } => Ok(()),
            Self::Uri => check_uri(value),
            Self::Dns => check_dns(value),
            Self::Ip => match value.parse::<IpAddr>() {
                Ok(_) => Ok(()),
                Err(_) => Err("the value is not an IP address"),
            },
            Self::Email => check_email(value),
            Self::RegisteredId => registered_id(value).map(|_| ()),
        }
    }

    /// Writes a value that passed [`AltNameForm::check`].
    pub(crate) fn encode(&self, value: &str, names: &mut Writer<'_>) {
        let text = value.as_bytes();
        match self {
            Self::HardwareModuleName { hardware_type } => {
                other_name(names, oid::HARDWARE_MODULE_NAME, |module| {
                    module.primitive(tag::OID, hardware_type);
                    module.primitive(tag::OCTET_STRING, text);
                });
            }
            Self::PermanentIdentifier { assigner } => {
                other_name(names, oid::PERMANENT_IDENTIFIER, |identifier| {
                    identifier.primitive(tag::UTF8_STRING, text);
                    if let Some(assigner) = assigner {
                        identifier.primitive(tag::OID, assigner);
                    }
                });
            }
            Self::Uri => names.primitive(tag::context_primitive(6), text),
            Self::Dns => names.primitive(tag::context_primitive(2), text),
            Self::Email => names.primitive(tag::context_primitive(1), text),
            Self::Ip => match value.parse::<IpAddr>() {
                Ok(IpAddr::V4(ip)) => names.primitive(tag::context_primitive(7), &ip.octets()),
                Ok(IpAddr::V6(ip)) => names.primitive(tag::context_primitive(7), &ip.octets()),
                Err(_) => {}
            },
            Self::RegisteredId => {
                if let Ok(oid) = registered_id(value) {
                    names.primitive(tag::context_primitive(8), &oid);
                }
            }
        }
    }
}

/// `otherName [0] { type-id OID, value [0] EXPLICIT SEQUENCE }`, RFC 5280 §4.2.1.6.
fn other_name(names: &mut Writer<'_>, type_id: &[u8], value: impl FnOnce(&mut Writer<'_>)) {
    names.nested(tag::context_constructed(0), |other_name| {
        other_name.primitive(tag::OID, type_id);
        other_name.nested(tag::context_constructed(0), |explicit| {
            explicit.nested(tag::SEQUENCE, value);
        });
    });
}

/// RFC 5280 §4.2.1.6 dNSName: the preferred name syntax of RFC 1034 §3.5, as relaxed by RFC 1123 §2.1.
fn check_dns(name: &str) -> Result<(), &'static str> {
    let label = |label: &str| {
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
            && bytes[0] != b'-'
            && bytes[bytes.len() - 1] != b'-'
    };
    if name.len() <= DNS_BYTES_MAX && name.split('.').all(label) {
        Ok(())
    } else {
        Err("the value is not a host name (RFC 1034 §3.5)")
    }
}

/// RFC 5280 §4.2.1.6 uniformResourceIdentifier: absolute, and one that the check before release takes.
pub(super) fn check_uri(uri: &str) -> Result<(), &'static str> {
    if uri.len() <= URI_BYTES_MAX && is_uri(uri.as_bytes()) {
        Ok(())
    } else {
        Err("the value is not an absolute URI (RFC 3986 §3)")
    }
}

/// RFC 5280 §4.2.1.6 rfc822Name: `local-part@domain` of RFC 5321 §4.1.2, the local part without quotes.
fn check_email(mailbox: &str) -> Result<(), &'static str> {
    if mailbox.len() <= EMAIL_BYTES_MAX && is_mailbox(mailbox.as_bytes()) {
        Ok(())
    } else {
        Err("the value is not a mailbox (RFC 5321 §4.1.2)")
    }
}

/// An identifier in dotted form, as its content octets.
pub(super) fn registered_id(dotted: &str) -> Result<Vec<u8>, &'static str> {
    oid::from_dotted(dotted).ok_or("the value is not an object identifier in dotted form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn general_names_have_their_forms() {
        use AltNameForm::{Dns, Email, Ip, RegisteredId, Uri};
        let table: [(AltNameForm, &[&str], &[&str]); 5] = [
            (
                Dns,
                &["a", "a-1.example", "9.example"],
                &["", "a..b", "-a", "a-", "a_b", "*.a", "a.", "é", "a b"],
            ),
            (
                Uri,
                &["urn:acme:1", "https://h/p?q#f", "opc.tcp://h:4840"],
                &[
                    "",
                    "urn:",
                    ":x",
                    "1a:b",
                    "a b:c",
                    "urn:a b",
                    "noscheme",
                    "urn:é",
                    "a:<b>",
                    "urn:x:50%",
                    "https://my_host/",
                    "https://",
                    "https:///path",
                ],
            ),
            (
                Ip,
                &["192.0.2.1", "2001:db8::1"],
                &["192.0.2", "192.0.2.256", "::g", "fe80::1%1"],
            ),
            (
                Email,
                &["a.b+c@x.example"],
                &[
                    "a",
                    "@x",
                    "a@",
                    "a@b@c",
                    "a b@c",
                    "\"a\"@b",
                    "a..b@x",
                    ".a@x",
                    "a.@x",
                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@x",
                ],
            ),
            (RegisteredId, &["1.3.6.1"], &["1", "x", "1..3"]),
        ];
        for (form, good, bad) in table {
            for value in good {
                assert_eq!(form.check(value), Ok(()), "{form:?} {value:?}");
            }
            for value in bad {
                assert!(form.check(value).is_err(), "{form:?} {value:?}");
            }
        }
    }
}

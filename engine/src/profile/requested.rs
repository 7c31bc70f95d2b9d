//! What becomes of the extensions that a request asks for. They are wishes: without a word in the profile they
//! are ignored, and none is ever copied but names that match the profile's patterns.

use std::collections::BTreeMap;

use super::alt_names::AltNameForm;
use super::extensions::Extensions;
use super::locate::{Checked, fault};
use super::pattern::{Pattern, PatternTables};
use super::raw::{RawPolicy, RawRequested};
use crate::der::tag;
use crate::der::writer::Writer;
use crate::general_name::GeneralName;
use crate::key::{DeviceKeyAlgorithm, SubjectPublicKeyInfo};
use crate::oid;
use crate::rejection::Rejection;
use crate::requested_extensions::RequestedExtensions;

/// Patterns of one kind of name.
const PATTERNS_MAX: usize = 16;

/// Octets of all requested names that are held against patterns: twice the longest URI. Each of up to 16 patterns takes a step
/// for each octet. Devices ask for one to four names of under 100 octets.
const REQUESTED_NAMES_BYTES_MAX: usize = 4_096;

/// Extensions by the names that profiles give them.
const NAMES: [(&str, &[u8]); 9] = [
    ("key_usage", oid::KEY_USAGE),
    ("extended_key_usage", oid::EXT_KEY_USAGE),
    ("basic_constraints", oid::BASIC_CONSTRAINTS),
    ("subject_alt_name", oid::SUBJECT_ALT_NAME),
    ("subject_key_identifier", oid::SUBJECT_KEY_IDENTIFIER),
    ("certificate_policies", oid::CERTIFICATE_POLICIES),
    ("authority_info_access", oid::AUTHORITY_INFO_ACCESS),
    ("crl_distribution_points", oid::CRL_DISTRIBUTION_POINTS),
    ("masa_url", oid::MASA_URL),
];

/// A profile's `[requested_extensions]`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestedPolicy {
    required: Vec<Required>,
    names: Option<AllowedNames>,
}

/// An extension that requests must ask for, exactly as the profile gives it.
#[derive(Debug, Clone)]
struct Required {
    label: String,
    oid: Vec<u8>,
    value: RequiredValue,
}

#[derive(Debug, Clone)]
enum RequiredValue {
    /// The same for all keys, but RSA's may differ from the others'.
    ByKey { rsa: Vec<u8>, other: Vec<u8> },
    /// OCTET STRING of the key's identifier.
    KeyIdentifier,
    /// The names that the profile makes for the request.
    AltNames,
}

/// The names that a certificate takes over from its request: each matches a pattern of its kind.
#[derive(Debug, Clone)]
struct AllowedNames {
    dns: Vec<Pattern>,
    uri: Vec<Pattern>,
    ip: Vec<Pattern>,
    email: Vec<Pattern>,
}

impl RequestedPolicy {
    /// Names of the request may enter certificates.
    pub(crate) fn copies_names(&self) -> bool {
        self.names.is_some()
    }

    /// Requests must ask for this extension.
    pub(crate) fn requires(&self, oid: &[u8]) -> bool {
        self.required.iter().any(|required| required.oid == oid)
    }

    /// Writes the requested names that the profile lets in, after its own, which `names` holds as DER. Returns all
    /// that it lets in, each once, also those that stood there already: what is the same whenever a device asks.
    ///
    /// # Errors
    /// One name that does not match spoils the request: a device must not believe that it got what it did not.
    pub(crate) fn copy_names(
        &self,
        requested: &RequestedExtensions<'_>,
        names: &mut Vec<u8>,
    ) -> Result<Vec<u8>, Rejection> {
        let mut let_in = Vec::new();
        let Some(allowed) = &self.names else {
            return Ok(let_in);
        };
        let mut octets = 0;
        for name in requested.subject_alt_names() {
            octets += text_octets(&name);
            if octets > REQUESTED_NAMES_BYTES_MAX {
                return Err(Rejection::OverLimit("over 4096 octets of requested names"));
            }
            let Some(encoded) = allowed.encode(&name) else {
                return Err(Rejection::RequestedExtension {
                    extension: "subject_alt_name".to_owned(),
                    problem: "a name in it matches no pattern of the profile",
                });
            };
            for list in [&mut *names, &mut let_in] {
                if !holds(list, &encoded) {
                    list.extend_from_slice(&encoded);
                }
            }
        }
        Ok(let_in)
    }

    /// Holds what must be asked for against the request. `alt_names` is the subject alternative name's value.
    pub(crate) fn check_required(
        &self,
        requested: &RequestedExtensions<'_>,
        key: &SubjectPublicKeyInfo<'_>,
        alt_names: Option<&[u8]>,
    ) -> Result<(), Rejection> {
        for required in &self.required {
            let mut identifier = Vec::new();
            let expected = match &required.value {
                RequiredValue::ByKey { rsa, .. } if key.algorithm == DeviceKeyAlgorithm::Rsa => rsa,
                RequiredValue::ByKey { other, .. } => other,
                RequiredValue::KeyIdentifier => {
                    Writer::new(&mut identifier)
                        .primitive(tag::OCTET_STRING, &key.key_identifier());
                    &identifier
                }
                RequiredValue::AltNames => alt_names.unwrap_or_default(),
            };
            let problem = match requested.get(&required.oid) {
                Some(found) if found.value == expected => continue,
                Some(_) => "the request asks for another value than the profile gives",
                None => "the request must ask for it and does not",
            };
            return Err(Rejection::RequestedExtension {
                extension: required.label.clone(),
                problem,
            });
        }
        Ok(())
    }

    /// In words, one line for each rule.
    pub(super) fn describe(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .required
            .iter()
            .map(|required| {
                format!(
                    "{} must be asked for, exactly as given here",
                    required.label
                )
            })
            .collect();
        if let Some(names) = &self.names {
            for (kind, patterns) in names.kinds() {
                for pattern in patterns {
                    lines.push(format!(
                        "{kind} names that match {} are taken over",
                        pattern.text()
                    ));
                }
            }
        }
        lines
    }
}

impl AllowedNames {
    fn kinds(&self) -> [(&'static str, &[Pattern]); 4] {
        [
            ("dns", &self.dns),
            ("uri", &self.uri),
            ("ip", &self.ip),
            ("email", &self.email),
        ]
    }

    /// The name encoded anew, if it is one that may stand in a certificate and matches.
    fn encode(&self, name: &GeneralName<'_>) -> Option<Vec<u8>> {
        let (form, text, patterns) = match name {
            GeneralName::Dns(text) => (AltNameForm::Dns, (*text).to_owned(), &self.dns),
            GeneralName::Uri(text) => (AltNameForm::Uri, (*text).to_owned(), &self.uri),
            GeneralName::Email(text) => (AltNameForm::Email, (*text).to_owned(), &self.email),
            GeneralName::Ip(ip) => (AltNameForm::Ip, ip.to_string(), &self.ip),
            _ => return None,
        };
        // First the form, which bounds the length: patterns take time by it.
        let fits = form.check(&text).is_ok();
        if !fits || !patterns.iter().any(|pattern| pattern.matches(&text)) {
            return None;
        }
        let mut encoded = Vec::new();
        form.encode(&text, &mut Writer::new(&mut encoded));
        Some(encoded)
    }
}

/// Octets of a name's text. An address is not counted: it is short, and names are few.
fn text_octets(name: &GeneralName<'_>) -> usize {
    match name {
        GeneralName::Dns(text) | GeneralName::Uri(text) | GeneralName::Email(text) => text.len(),
        _ => 0,
    }
}

/// Whether one of the values in `names` is `encoded`.
fn holds(names: &[u8], encoded: &[u8]) -> bool {
    let mut reader = crate::der::reader::Reader::new(names);
    while let Ok(name) = reader.any() {
        if name.encoding == encoded {
            return true;
        }
    }
    false
}

pub(super) fn check_requested(
    raw: &BTreeMap<String, RawRequested>,
    extensions: &Extensions,
    has_alt_names: bool,
    tables: &mut PatternTables,
) -> Checked<RequestedPolicy> {
    let mut policy = RequestedPolicy::default();
    for (name, rule) in raw {
        let key = format!("requested_extensions.{name}");
        let known = NAMES.iter().find(|(known, _)| known == name);
        let oid = match known {
            Some((_, oid)) => Some(oid.to_vec()),
            // A key with dots stands in quotes.
            None => oid::from_dotted(name),
        };
        let Some(oid) = oid else {
            return fault(
                key,
                "is neither an extension's name nor a dotted identifier",
            );
        };
        let patterns = [&rule.dns, &rule.uri, &rule.ip, &rule.email];
        let any_pattern = patterns.iter().any(|list| !list.is_empty());
        if any_pattern && rule.policy != RawPolicy::Allow {
            return fault(key, "patterns go with policy = \"allow\"");
        }
        match rule.policy {
            RawPolicy::Ignore => {}
            RawPolicy::Require => policy.required.push(Required {
                label: name.clone(),
                value: required_value(&key, &oid, extensions, has_alt_names)?,
                oid,
            }),
            RawPolicy::Allow if oid == oid::SUBJECT_ALT_NAME && any_pattern => {
                policy.names = Some(AllowedNames {
                    dns: patterns_of(tables, &key, "dns", &rule.dns)?,
                    uri: patterns_of(tables, &key, "uri", &rule.uri)?,
                    ip: patterns_of(tables, &key, "ip", &rule.ip)?,
                    email: patterns_of(tables, &key, "email", &rule.email)?,
                });
            }
            RawPolicy::Allow if oid == oid::SUBJECT_ALT_NAME => {
                return fault(key, "needs patterns: dns, uri, ip or email");
            }
            RawPolicy::Allow => {
                return fault(
                    key,
                    "only names of subject_alt_name can be taken over from a request",
                );
            }
        }
    }
    Ok(policy)
}

fn patterns_of(
    tables: &mut PatternTables,
    key: &str,
    kind: &str,
    list: &[String],
) -> Checked<Vec<Pattern>> {
    if list.len() > PATTERNS_MAX {
        return fault(format!("{key}.{kind}"), "has more than 16 patterns");
    }
    let numbered = list.iter().enumerate();
    numbered
        .map(|(number, text)| tables.pattern(&format!("{key}.{kind}[{number}]"), text))
        .collect()
}

/// What the profile gives for an extension that requests must ask for.
fn required_value(
    key: &str,
    oid: &[u8],
    extensions: &Extensions,
    has_alt_names: bool,
) -> Checked<RequiredValue> {
    let constant = extensions
        .static_values()
        .into_iter()
        .find(|value| value.oid == oid);
    if let Some(value) = constant {
        return Ok(RequiredValue::ByKey {
            rsa: value.rsa,
            other: value.other,
        });
    }
    match oid {
        oid::SUBJECT_KEY_IDENTIFIER if extensions.subject_key_identifier => {
            Ok(RequiredValue::KeyIdentifier)
        }
        oid::SUBJECT_ALT_NAME if has_alt_names => Ok(RequiredValue::AltNames),
        _ => fault(
            key,
            "cannot be required: the profile gives no such extension",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der::reader::single;

    /// A request for these URIs, as the content of an extension request.
    fn asking_for(uris: &[&str]) -> Vec<u8> {
        let mut request = Vec::new();
        Writer::new(&mut request).nested(tag::SEQUENCE, |extensions| {
            extensions.nested(tag::SEQUENCE, |extension| {
                extension.primitive(tag::OID, oid::SUBJECT_ALT_NAME);
                extension.nested(tag::OCTET_STRING, |value| {
                    value.nested(tag::SEQUENCE, |names| {
                        for uri in uris {
                            names.primitive(tag::context_primitive(6), uri.as_bytes());
                        }
                    });
                });
            });
        });
        request
    }

    #[test]
    fn patterns_look_at_a_bounded_number_of_octets() {
        let policy = RequestedPolicy {
            required: Vec::new(),
            names: Some(AllowedNames {
                dns: Vec::new(),
                uri: vec![PatternTables::default().pattern("k", "urn:a:z+").unwrap()],
                ip: Vec::new(),
                email: Vec::new(),
            }),
        };
        let copied = |uris: &[&str]| {
            let request = asking_for(uris);
            let mut requested = RequestedExtensions::default();
            let value = single(&request, tag::SEQUENCE, "").unwrap();
            requested.add(&value).unwrap();
            policy.copy_names(&requested, &mut Vec::new())
        };
        let longest = format!("urn:a:{}", "z".repeat(2042));
        assert!(copied(&[&longest, &longest]).is_ok());
        // Names that are the same count each: each is looked at.
        let over = copied(&[&longest, &longest, "urn:a:z"]);
        assert!(matches!(over, Err(Rejection::OverLimit(_))), "{over:?}");
    }
}

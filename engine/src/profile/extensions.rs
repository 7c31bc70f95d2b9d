//! The extensions of a profile that do not differ from device to device, by name or as DER.

use super::alt_names::{check_uri, registered_id};
use super::base::Base;
use super::key_usage;
use super::locate::{Checked, fault};
use super::raw::{RawAccess, RawBasicConstraints, RawExtension, RawExtensions};
use super::rules::{BasicConstraintsRule, ConstantExtension, KeyUsageRule};
use crate::der::reader::check_strict;
use crate::der::tag;
use crate::der::writer::Writer;
use crate::oid;

/// Extensions given as DER in one profile.
const OTHER_MAX: usize = 16;
/// Octets of one extension given as DER. A certificate and its record stay under 65,536 octets.
const VALUE_BYTES_MAX: usize = 4_096;
/// Key purposes, policies or addresses in one extension.
const LIST_MAX: usize = 16;

/// Key purposes by name, RFC 5280 §4.2.1.12. Others stand as identifiers.
const PURPOSES: [(&str, &str); 6] = [
    ("serverAuth", "1.3.6.1.5.5.7.3.1"),
    ("clientAuth", "1.3.6.1.5.5.7.3.2"),
    ("codeSigning", "1.3.6.1.5.5.7.3.3"),
    ("emailProtection", "1.3.6.1.5.5.7.3.4"),
    ("timeStamping", "1.3.6.1.5.5.7.3.8"),
    ("OCSPSigning", "1.3.6.1.5.5.7.3.9"),
];
/// anyExtendedKeyUsage: a purpose that says nothing (RFC 5280 §4.2.1.12).
const ANY_PURPOSE: &str = "2.5.29.37.0";

/// Extensions that the engine makes, or that a key of their own names: never given as DER.
const MADE_BY_NAME: [(&[u8], &str); 10] = [
    (oid::AUTHORITY_KEY_IDENTIFIER, "the issuer decides it"),
    (
        oid::SUBJECT_KEY_IDENTIFIER,
        "use extensions.subject_key_identifier",
    ),
    (oid::KEY_USAGE, "use extensions.key_usage"),
    (oid::EXT_KEY_USAGE, "use extensions.extended_key_usage"),
    (oid::BASIC_CONSTRAINTS, "use extensions.basic_constraints"),
    (oid::SUBJECT_ALT_NAME, "use [[subject_alt_name]]"),
    (
        oid::CERTIFICATE_POLICIES,
        "use extensions.certificate_policies",
    ),
    (
        oid::AUTHORITY_INFO_ACCESS,
        "use extensions.authority_info_access",
    ),
    (
        oid::CRL_DISTRIBUTION_POINTS,
        "use extensions.crl_distribution_points",
    ),
    (oid::MASA_URL, "use extensions.masa_url"),
];

/// What came of a profile's `[extensions]` and its base.
#[derive(Debug)]
pub(super) struct Extensions {
    pub(super) key_usage: KeyUsageRule,
    /// The bits are those of the base's standard.
    pub(super) key_usage_fixed: bool,
    /// Key purposes, OID content octets.
    pub(super) extended_key_usage: Vec<Vec<u8>>,
    pub(super) basic_constraints: BasicConstraintsRule,
    pub(super) subject_key_identifier: bool,
    pub(super) constant: Vec<ConstantExtension>,
    /// authorityInfoAccess says where to ask for the status.
    pub(super) has_ocsp: bool,
    /// A policy in the arc with which TCG says that a TPM holds the key.
    pub(super) claims_residency: bool,
}

/// The value of an extension that differs by the kind of key at most.
#[derive(Debug, Clone)]
pub(crate) struct StaticValue {
    pub(crate) oid: Vec<u8>,
    pub(crate) critical: bool,
    pub(crate) rsa: Vec<u8>,
    pub(crate) other: Vec<u8>,
}

impl Extensions {
    /// All extensions that do not come from request or issuer, in the order in which certificates have them.
    pub(super) fn static_values(&self) -> Vec<StaticValue> {
        static_values(
            self.key_usage,
            &self.extended_key_usage,
            self.basic_constraints,
            &self.constant,
        )
    }
}

/// [`Extensions::static_values`] of a profile's rules.
pub(crate) fn static_values(
    key_usage: KeyUsageRule,
    purposes: &[Vec<u8>],
    constraints: BasicConstraintsRule,
    constant: &[ConstantExtension],
) -> Vec<StaticValue> {
    let mut values = vec![StaticValue {
        rsa: encoded(|value| value.named_bits(key_usage.rsa)),
        ..same(oid::KEY_USAGE, true, |value| {
            value.named_bits(key_usage.other);
        })
    }];
    if !purposes.is_empty() {
        values.push(same(oid::EXT_KEY_USAGE, false, |value| {
            value.nested(tag::SEQUENCE, |list| {
                for purpose in purposes {
                    list.primitive(tag::OID, purpose);
                }
            });
        }));
    }
    match constraints {
        BasicConstraintsRule::Absent => {}
        BasicConstraintsRule::EndEntity { critical } => {
            values.push(same(oid::BASIC_CONSTRAINTS, critical, |value| {
                value.nested(tag::SEQUENCE, |_| {});
            }));
        }
        BasicConstraintsRule::Ca { path_length } => {
            values.push(same(oid::BASIC_CONSTRAINTS, true, |value| {
                value.nested(tag::SEQUENCE, |constraints| {
                    constraints.primitive(tag::BOOLEAN, &[0xff]);
                    if let Some(length) = path_length {
                        constraints.unsigned(&[length]);
                    }
                });
            }));
        }
    }
    values.extend(constant.iter().map(|constant| StaticValue {
        oid: constant.oid.clone(),
        critical: constant.critical,
        rsa: constant.value.clone(),
        other: constant.value.clone(),
    }));
    values
}

/// A value that is the same for all kinds of keys.
fn same(oid: &[u8], critical: bool, write: impl FnOnce(&mut Writer<'_>)) -> StaticValue {
    let value = encoded(write);
    StaticValue {
        oid: oid.to_vec(),
        critical,
        rsa: value.clone(),
        other: value,
    }
}

fn encoded(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut value = Vec::new();
    write(&mut Writer::new(&mut value));
    value
}

pub(super) fn check_extensions(base: Base, raw: &RawExtensions) -> Checked<Extensions> {
    let rules = base.rules();
    let key_usage = check_key_usage(base, raw)?;
    let subject_key_identifier = raw
        .subject_key_identifier
        .unwrap_or(rules.subject_key_identifier);
    if subject_key_identifier != rules.subject_key_identifier && !rules.subject_key_identifier_free
    {
        return fault(
            "extensions.subject_key_identifier",
            format!("is not this base's to change ({})", rules.source),
        );
    }
    let access = raw.authority_info_access.as_ref();
    let policies = raw.certificate_policies.as_deref().unwrap_or_default();
    Ok(Extensions {
        key_usage,
        key_usage_fixed: base != Base::Custom && key_usage == rules.key_usage,
        extended_key_usage: check_purposes(base, raw)?,
        basic_constraints: check_basic_constraints(base, raw)?,
        subject_key_identifier,
        constant: check_constant(raw)?,
        has_ocsp: access.is_some_and(|access| !access.ocsp.is_empty()),
        claims_residency: policies
            .iter()
            .any(|policy| policy.starts_with("2.23.133.11.1.")),
    })
}

fn check_key_usage(base: Base, raw: &RawExtensions) -> Checked<KeyUsageRule> {
    let rules = base.rules();
    let (key, key_rsa) = ("extensions.key_usage", "extensions.key_usage_rsa");
    let other = raw.key_usage.as_deref();
    let other = other.map(|list| key_usage::bits(key, list)).transpose()?;
    let rsa = raw.key_usage_rsa.as_deref();
    let rsa = rsa.map(|list| key_usage::bits(key_rsa, list)).transpose()?;
    let wanted = KeyUsageRule {
        rsa: rsa.or(other).unwrap_or(rules.key_usage.rsa),
        other: other.unwrap_or(rules.key_usage.other),
    };
    let kinds = [
        (
            key,
            wanted.other,
            rules.key_usage.other,
            rules.key_usage_more.other,
        ),
        (
            key_rsa,
            wanted.rsa,
            rules.key_usage.rsa,
            rules.key_usage_more.rsa,
        ),
    ];
    for (key, wanted, needed, more) in kinds {
        // A kind of key that the base does not take has no bits.
        if needed | more == 0 {
            continue;
        }
        let (missing, foreign) = (needed & !wanted, wanted & !(needed | more));
        for (bits, what) in [(missing, "lacks"), (foreign, "must not have")] {
            if bits != 0 {
                let bits: Vec<&str> = key_usage::names(bits).collect();
                return fault(
                    key,
                    format!("{what} {} ({})", bits.join(", "), rules.source),
                );
            }
        }
    }
    Ok(wanted)
}

fn check_purposes(base: Base, raw: &RawExtensions) -> Checked<Vec<Vec<u8>>> {
    let key = "extensions.extended_key_usage";
    let rules = base.rules();
    let names: Vec<&str> = match &raw.extended_key_usage {
        Some(list) => list.iter().map(String::as_str).collect(),
        None => rules.extended_key_usage.to_vec(),
    };
    check_count(key, names.len(), 0)?;
    let mut purposes: Vec<Vec<u8>> = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let key = format!("{key}[{number}]");
        if *name == ANY_PURPOSE || *name == "anyExtendedKeyUsage" {
            return fault(
                key,
                "anyExtendedKeyUsage says nothing: leave the list empty (RFC 5280 §4.2.1.12)",
            );
        }
        let Some(purpose) = purpose(name) else {
            return fault(
                key,
                format!("{name:?} is neither a known key purpose nor a dotted identifier"),
            );
        };
        if purposes.contains(&purpose) {
            return fault(key, format!("{name} stands twice"));
        }
        purposes.push(purpose);
    }
    let needed = rules.purposes_needed;
    let found = |name: &&str| purpose(name).is_some_and(|oid| purposes.contains(&oid));
    if !needed.is_empty() && !needed.iter().any(found) {
        return fault(
            key,
            format!("needs {} ({})", needed.join(" or "), rules.source),
        );
    }
    Ok(purposes)
}

fn purpose(name: &str) -> Option<Vec<u8>> {
    let known = PURPOSES.iter().find(|(known, _)| *known == name);
    oid::from_dotted(known.map_or(name, |(_, dotted)| *dotted))
}

/// The name of a key purpose, or its dotted form.
pub(super) fn purpose_name(purpose: &[u8]) -> String {
    let dotted = oid::to_dotted(purpose);
    let known = PURPOSES.iter().find(|(_, known)| *known == dotted);
    known.map_or(dotted.clone(), |(name, _)| (*name).to_owned())
}

fn check_basic_constraints(base: Base, raw: &RawExtensions) -> Checked<BasicConstraintsRule> {
    let rules = base.rules();
    let wanted = match (raw.basic_constraints, raw.path_length) {
        (None, None) => rules.basic_constraints,
        (Some(RawBasicConstraints::Ca), path_length) => BasicConstraintsRule::Ca { path_length },
        (Some(_) | None, Some(_)) => {
            return fault(
                "extensions.path_length",
                "goes with basic_constraints = \"ca\" (RFC 5280 §4.2.1.9)",
            );
        }
        (Some(RawBasicConstraints::Absent), None) => BasicConstraintsRule::Absent,
        (Some(RawBasicConstraints::EndEntity), None) => {
            BasicConstraintsRule::EndEntity { critical: true }
        }
    };
    if base.basic_constraints_fit(wanted) {
        Ok(wanted)
    } else {
        fault(
            "extensions.basic_constraints",
            format!("is not this base's to change ({})", rules.source),
        )
    }
}

fn check_constant(raw: &RawExtensions) -> Checked<Vec<ConstantExtension>> {
    let mut constant = Vec::new();
    if let Some(policies) = &raw.certificate_policies {
        constant.push(certificate_policies(policies)?);
    }
    if let Some(access) = &raw.authority_info_access {
        constant.push(authority_info_access(access)?);
    }
    if let Some(points) = &raw.crl_distribution_points {
        constant.push(crl_distribution_points(points)?);
    }
    if let Some(url) = &raw.masa_url {
        constant.push(masa_url(url)?);
    }
    check_count("extensions.other", raw.other.len(), 0)?;
    for (number, entry) in raw.other.iter().enumerate().take(OTHER_MAX) {
        let extension = other(entry, number)?;
        if constant.iter().any(|known| known.oid == extension.oid) {
            return fault(
                format!("extensions.other[{number}].oid"),
                "stands twice (RFC 5280 §4.2)",
            );
        }
        constant.push(extension);
    }
    Ok(constant)
}

fn check_count(key: &str, count: usize, min: usize) -> Checked<()> {
    if (min..=LIST_MAX).contains(&count) {
        Ok(())
    } else {
        fault(key, format!("has {min} to {LIST_MAX} entries"))
    }
}

fn extension(oid: &[u8], write: impl FnOnce(&mut Writer<'_>)) -> ConstantExtension {
    ConstantExtension {
        oid: oid.to_vec(),
        critical: false,
        value: encoded(write),
    }
}

/// `CertificatePolicies ::= SEQUENCE OF PolicyInformation { policyIdentifier OID }`, RFC 5280 §4.2.1.4.
fn certificate_policies(list: &[String]) -> Checked<ConstantExtension> {
    let key = "extensions.certificate_policies";
    check_count(key, list.len(), 1)?;
    let mut policies: Vec<Vec<u8>> = Vec::new();
    for (number, dotted) in list.iter().enumerate() {
        let key = format!("{key}[{number}]");
        let policy = registered_id(dotted).map_err(|problem| super::locate::Fault {
            key: key.clone(),
            problem: problem.to_owned(),
        })?;
        if policies.contains(&policy) {
            return fault(key, "stands twice (RFC 5280 §4.2.1.4)");
        }
        policies.push(policy);
    }
    Ok(extension(oid::CERTIFICATE_POLICIES, |value| {
        value.nested(tag::SEQUENCE, |list| {
            for policy in &policies {
                list.nested(tag::SEQUENCE, |information| {
                    information.primitive(tag::OID, policy);
                });
            }
        });
    }))
}

/// `AuthorityInfoAccessSyntax ::= SEQUENCE OF AccessDescription { accessMethod OID, accessLocation GeneralName }`,
/// RFC 5280 §4.2.2.1.
fn authority_info_access(access: &RawAccess) -> Checked<ConstantExtension> {
    let key = "extensions.authority_info_access";
    check_count(key, access.ocsp.len() + access.ca_issuers.len(), 1)?;
    let methods = [
        ("ocsp", oid::ACCESS_OCSP, &access.ocsp),
        ("ca_issuers", oid::ACCESS_CA_ISSUERS, &access.ca_issuers),
    ];
    for (name, _, addresses) in methods {
        for (number, address) in addresses.iter().enumerate() {
            check_address(&format!("{key}.{name}[{number}]"), address)?;
        }
    }
    Ok(extension(oid::AUTHORITY_INFO_ACCESS, |value| {
        value.nested(tag::SEQUENCE, |list| {
            for (_, method, addresses) in methods {
                for address in addresses {
                    list.nested(tag::SEQUENCE, |description| {
                        description.primitive(tag::OID, method);
                        description.primitive(tag::context_primitive(6), address.as_bytes());
                    });
                }
            }
        });
    }))
}

/// `CRLDistributionPoints ::= SEQUENCE OF DistributionPoint { distributionPoint [0] { fullName [0] GeneralNames } }`,
/// RFC 5280 §4.2.1.13.
fn crl_distribution_points(addresses: &[String]) -> Checked<ConstantExtension> {
    let key = "extensions.crl_distribution_points";
    check_count(key, addresses.len(), 1)?;
    for (number, address) in addresses.iter().enumerate() {
        check_address(&format!("{key}[{number}]"), address)?;
    }
    Ok(extension(oid::CRL_DISTRIBUTION_POINTS, |value| {
        value.nested(tag::SEQUENCE, |points| {
            for address in addresses {
                points.nested(tag::SEQUENCE, |point| {
                    point.nested(tag::context_constructed(0), |name| {
                        name.nested(tag::context_constructed(0), |full| {
                            full.primitive(tag::context_primitive(6), address.as_bytes());
                        });
                    });
                });
            }
        });
    }))
}

/// `MASAURLSyntax ::= IA5String`, RFC 8995 §2.3.2: https, and the authority alone or with a path.
fn masa_url(url: &str) -> Checked<ConstantExtension> {
    let key = "extensions.masa_url";
    check_address(key, url)?;
    if !url.starts_with("https://") {
        return fault(key, "must begin with https:// (RFC 8995 §2.3.2)");
    }
    Ok(extension(oid::MASA_URL, |value| {
        value.primitive(tag::IA5_STRING, url.as_bytes());
    }))
}

fn check_address(key: &str, address: &str) -> Checked<()> {
    check_uri(address).or_else(|problem| fault(key, problem))?;
    let known = ["http://", "https://", "ldap://"];
    match known.iter().any(|scheme| address.starts_with(scheme)) {
        true => Ok(()),
        false => fault(key, "must begin with http://, https:// or ldap://"),
    }
}

fn other(raw: &RawExtension, number: usize) -> Checked<ConstantExtension> {
    let key = |name: &str| format!("extensions.other[{number}].{name}");
    let Some(oid) = oid::from_dotted(&raw.oid) else {
        return fault(key("oid"), "is not an object identifier in dotted form");
    };
    if let Some((_, instead)) = MADE_BY_NAME.iter().find(|(known, _)| *known == oid) {
        return fault(
            key("oid"),
            format!("this extension is not given as DER: {instead}"),
        );
    }
    let Some(value) = hex(&raw.der).filter(|value| value.len() <= VALUE_BYTES_MAX) else {
        return fault(
            key("der"),
            format!("is not DER in hexadecimal of at most {VALUE_BYTES_MAX} octets"),
        );
    };
    let mut reader = crate::der::reader::Reader::new(&value);
    let whole = reader.any().and_then(|_| reader.finish());
    if let Err(error) = whole.and_then(|()| check_strict(&value)) {
        return fault(key("der"), format!("is not DER: it has {error}"));
    }
    Ok(ConstantExtension {
        oid,
        critical: raw.critical,
        value,
    })
}

/// Pairs of hexadecimal digits of either case, with spaces between them if wanted.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|character| *character != ' ')
        .map(|character| {
            character
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks::<2>();
    (rest.is_empty() && !pairs.is_empty())
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

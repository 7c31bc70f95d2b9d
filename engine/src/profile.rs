//! Certificate profiles: what a certificate of one kind looks like, and whom it is for.
//!
//! A [`RawProfile`] is what a TOML file says; a [`Profile`] is one that was checked completely, so that a bad
//! profile never reaches a request.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::device_key::{GeneratedKeyRule, check_rule};
use crate::key::{DeviceKeyAlgorithm, sha256};
use crate::name::AttributeType;
use crate::oid;
use crate::record::{DATA_IDENTITY_DOMAIN, DATA_KEY_DOMAIN, KEY_DOMAIN_WHOLE_LOG};
use crate::reissue::Reissue;
use crate::template::{Fields, Template, TemplateError};

mod rules;

pub(crate) use rules::{BasicConstraintsRule, CertificateRules, KeyUsageRule, Presence};

/// The IDevID profile that `birthmark ca init` writes.
pub const IDEVID_TOML: &str = include_str!("profile/idevid.toml");
/// The TLS client profile that `birthmark ca init` writes.
pub const TLS_CLIENT_TOML: &str = include_str!("profile/tls-client.toml");

/// `notAfter` of a certificate without a well-defined expiration, RFC 5280 §4.1.2.5.
pub const INDEFINITE: &str = "99991231235959Z";

/// KeyUsage bits, RFC 5280 §4.2.1.3, bit 0 lowest.
pub(crate) const DIGITAL_SIGNATURE: u16 = 1;
/// id-kp-clientAuth, RFC 5280 §4.2.1.12.
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

const SECONDS_PER_DAY: u64 = 86_400;
/// Longest expiry that is counted in days: 200 years. Beyond it a profile should say `INDEFINITE`.
const DAYS_MAX: u64 = 73_000;
/// One day, in minutes: more than any device's clock should be behind.
const BACKDATE_MINUTES_MAX: u64 = 1_440;
/// Attributes in a subject. Device names have one to six.
const SUBJECT_ATTRIBUTES_MAX: usize = 16;
/// Characters in a profile's or domain's name.
const NAME_CHARS_MAX: usize = 64;

/// What a profile starts from: the parts that its standard fixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Base {
    /// IEEE 802.1AR-2018 §8.
    Idevid,
    /// RFC 5280 §4.2.1.12 clientAuth, and what device clouds ask for.
    TlsClient,
}

/// A profile file as it is written. Unknown keys are refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProfile {
    name: String,
    base: Base,
    identity: Option<String>,
    identity_domain: Option<String>,
    key_domain: Option<String>,
    reissue: Option<String>,
    #[serde(default)]
    subject: Vec<RawSubjectAttribute>,
    hardware_module_name: Option<RawHardwareModuleName>,
    validity: RawValidity,
    key: RawKey,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSubjectAttribute {
    r#type: String,
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHardwareModuleName {
    r#type: String,
    serial: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawValidity {
    not_after: Option<String>,
    days: Option<u64>,
    #[serde(default)]
    backdate_minutes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    algorithms: Vec<DeviceKeyAlgorithm>,
    generated: Option<String>,
}

impl RawProfile {
    /// The subject attribute that its base must have.
    fn required_attribute(&self) -> &'static str {
        match self.base {
            Base::Idevid => "serialNumber",
            Base::TlsClient => "CN",
        }
    }

    /// The value of the required attribute.
    fn named_value(&self) -> Option<&str> {
        let required = self.required_attribute();
        self.subject
            .iter()
            .find(|entry| entry.r#type == required)
            .map(|entry| entry.value.as_str())
    }
}

/// A profile that is fit for use.
#[derive(Debug, Clone)]
pub struct Profile {
    name: String,
    digest: [u8; 32],
    pub(crate) identity: Option<Template>,
    identity_domain: String,
    key_domain: String,
    reissue: Reissue,
    pub(crate) subject: Vec<SubjectAttribute>,
    pub(crate) hardware_module_name: Option<HardwareModuleName>,
    pub(crate) validity: Validity,
    key_algorithms: Vec<DeviceKeyAlgorithm>,
    generated_key: Option<GeneratedKeyRule>,
    /// The request's and caller's values that this profile takes, each once.
    pub(crate) fields: Fields,
    rules: CertificateRules,
    warnings: Vec<String>,
}

/// One subject attribute and where its value comes from.
#[derive(Debug, Clone)]
pub(crate) struct SubjectAttribute {
    pub(crate) attribute: &'static AttributeType,
    pub(crate) value: Template,
    /// Characters besides the attribute's own rule.
    pub(crate) registration_id: bool,
}

/// hardwareModuleName, RFC 4108 §5.
#[derive(Debug, Clone)]
pub(crate) struct HardwareModuleName {
    /// hwType's content octets.
    pub(crate) hardware_type: Vec<u8>,
    pub(crate) serial: Template,
}

/// From when until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) backdate_s: u64,
    pub(crate) not_after: NotAfter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAfter {
    Indefinite,
    Seconds(u64),
}

/// A profile that cannot be used: the file, the key and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The file cannot be read.
    #[error("profile {path}: cannot be read; check the path and its permissions", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, or not the keys of a profile.
    #[error("profile {path}: {problem}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line and key, in one line.
        problem: String,
    },
    /// One key's value does not do.
    #[error("profile {path}: {key}: {problem}", path = path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

impl Profile {
    /// Reads and checks a profile file.
    ///
    /// # Errors
    /// Names the file, the key and the fault.
    pub fn read(path: &Path) -> Result<Self, ProfileError> {
        let text = std::fs::read_to_string(path).map_err(|source| ProfileError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// Checks a profile's text. `path` names it in errors.
    ///
    /// # Errors
    /// Names the key and the fault.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ProfileError> {
        let raw: RawProfile = toml::from_str(text).map_err(|error| ProfileError::Syntax {
            path: path.to_owned(),
            problem: one_line(text, &error),
        })?;
        Self::check(raw, sha256(text.as_bytes())).map_err(|(key, problem)| ProfileError::Value {
            path: path.to_owned(),
            key,
            problem,
        })
    }

    /// The name that requests ask for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the file as it was read: what `sha256sum` prints for it. Stands in every record.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Identities are unique within this domain.
    #[must_use]
    pub fn identity_domain(&self) -> &str {
        &self.identity_domain
    }

    /// Keys are unique within this domain; the empty name is the one all profiles share.
    #[must_use]
    pub fn key_domain(&self) -> &str {
        &self.key_domain
    }

    /// When a device that has a certificate may get another.
    #[must_use]
    pub fn reissue(&self) -> Reissue {
        self.reissue
    }

    /// Writes the domains that are not the default into a record's data, so that the record says by itself
    /// what it claims.
    pub(crate) fn add_domains<'a>(&'a self, data: &mut BTreeMap<&'a str, &'a str>) {
        if self.key_domain != KEY_DOMAIN_WHOLE_LOG {
            data.insert(DATA_KEY_DOMAIN, &self.key_domain);
        }
        if self.identity_domain != self.name {
            data.insert(DATA_IDENTITY_DOMAIN, &self.identity_domain);
        }
    }

    /// What is allowed here but should not stay so.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What its certificates must hold.
    pub(crate) fn rules(&self) -> &CertificateRules {
        &self.rules
    }

    /// How the engine may make keys for it, if it may.
    pub(crate) fn generated_key(&self) -> Option<GeneratedKeyRule> {
        self.generated_key
    }

    pub(crate) fn accepts(&self, algorithm: DeviceKeyAlgorithm) -> bool {
        self.key_algorithms.contains(&algorithm)
    }

    fn check(raw: RawProfile, digest: [u8; 32]) -> Result<Self, (String, String)> {
        check_name("name", &raw.name)?;
        let identity_domain = raw
            .identity_domain
            .clone()
            .unwrap_or_else(|| raw.name.clone());
        check_name("identity_domain", &identity_domain)?;
        if let Some(domain) = &raw.key_domain {
            check_name("key_domain", domain)?;
        }
        let reissue = check_reissue(raw.reissue.as_deref())?;
        if raw.key.algorithms.is_empty() {
            return fault(
                "key.algorithms",
                "is empty; list the key types that devices may hold",
            );
        }
        let mut fields = Fields::default();
        let mut template = |key: &str, text: &str| {
            fields
                .template(text)
                .map_err(|error: TemplateError| (key.to_owned(), error.to_string()))
        };
        // Unless it says otherwise, a device is what its certificates call it.
        let identity = raw.identity.as_deref().or_else(|| raw.named_value());
        let identity = identity
            .map(|text| template("identity", text))
            .transpose()?;
        let subject = check_subject(&raw, &mut template)?;
        let mut warnings = Vec::new();
        let hardware_module_name = raw
            .hardware_module_name
            .map(|raw| check_hardware_module_name(&raw, &mut template, &mut warnings))
            .transpose()?;
        let validity = check_validity(raw.base, &raw.validity)?;
        let rules = certificate_rules(raw.base, validity, hardware_module_name.is_some());
        let generated_key = check_rule(
            raw.key.generated.as_deref(),
            &raw.key.algorithms,
            reissue,
            &fields,
            identity.is_some(),
        )?;
        Ok(Self {
            name: raw.name,
            digest,
            identity,
            identity_domain,
            key_domain: raw
                .key_domain
                .unwrap_or_else(|| KEY_DOMAIN_WHOLE_LOG.to_owned()),
            reissue,
            subject,
            hardware_module_name,
            validity,
            key_algorithms: raw.key.algorithms,
            generated_key,
            fields,
            rules,
            warnings,
        })
    }
}

fn fault<T>(key: &str, problem: &str) -> Result<T, (String, String)> {
    Err((key.to_owned(), problem.to_owned()))
}

fn check_name(key: &str, name: &str) -> Result<(), (String, String)> {
    let sound = (1..=NAME_CHARS_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if sound {
        Ok(())
    } else {
        fault(key, "use 1 to 64 letters, digits, '-', '_' and '.'")
    }
}

fn check_reissue(written: Option<&str>) -> Result<Reissue, (String, String)> {
    match written {
        None => Ok(Reissue::Never),
        Some(name) => Reissue::by_name(name).map_or_else(
            || fault("reissue", "use \"never\", \"same-key\" or \"permit\""),
            Ok,
        ),
    }
}

/// The parts that the base's standard fixes.
fn certificate_rules(base: Base, validity: Validity, alt_name: bool) -> CertificateRules {
    CertificateRules {
        indefinite: validity.not_after == NotAfter::Indefinite,
        empty_subject: false,
        key_usage: KeyUsageRule {
            rsa: DIGITAL_SIGNATURE,
            other: DIGITAL_SIGNATURE,
        },
        extended_key_usage: match base {
            Base::Idevid => Vec::new(),
            Base::TlsClient => vec![CLIENT_AUTH.to_vec()],
        },
        basic_constraints: BasicConstraintsRule::Absent,
        subject_alt_name: if alt_name {
            Presence::Required
        } else {
            Presence::Forbidden
        },
        // Not recommended in an IDevID, IEEE 802.1AR-2018 Table 8-2; RFC 5280 §4.2.1.2 elsewhere.
        subject_key_identifier: base != Base::Idevid,
        constant: Vec::new(),
        certificate_bytes_max: None,
    }
}

fn check_subject(
    raw: &RawProfile,
    template: &mut impl FnMut(&str, &str) -> Result<Template, (String, String)>,
) -> Result<Vec<SubjectAttribute>, (String, String)> {
    let mut subject: Vec<SubjectAttribute> = Vec::new();
    if raw.subject.len() > SUBJECT_ATTRIBUTES_MAX {
        return fault("subject", "has more than 16 attributes");
    }
    for entry in &raw.subject {
        let key = format!("subject.{}", entry.r#type);
        let Some(attribute) = AttributeType::by_name(&entry.r#type) else {
            return fault(
                &key,
                "is not a known attribute type; use CN, serialNumber, C, L, ST, O or OU",
            );
        };
        let value = template(&key, &entry.value)?;
        if let Some(constant) = value.constant() {
            attribute
                .check(constant)
                .map_err(|problem| (key.clone(), problem.to_owned()))?;
        }
        let registration_id = raw.base == Base::TlsClient && attribute.name == "CN";
        subject.push(SubjectAttribute {
            attribute,
            value,
            registration_id,
        });
    }
    let required = raw.required_attribute();
    if !subject.iter().any(|entry| entry.attribute.name == required) {
        return fault(
            "subject",
            &format!("this base needs a subject attribute of type {required}"),
        );
    }
    Ok(subject)
}

fn check_hardware_module_name(
    raw: &RawHardwareModuleName,
    template: &mut impl FnMut(&str, &str) -> Result<Template, (String, String)>,
    warnings: &mut Vec<String>,
) -> Result<HardwareModuleName, (String, String)> {
    let Some(hardware_type) = oid::from_dotted(&raw.r#type) else {
        return fault(
            "hardware_module_name.type",
            "is not an object identifier in dotted form",
        );
    };
    if raw.r#type.starts_with("1.3.6.1.4.1.32473.") {
        warnings.push(format!(
            "hardware_module_name.type {} is from the documentation arc (RFC 5612): set the maker's own",
            raw.r#type
        ));
    }
    Ok(HardwareModuleName {
        hardware_type,
        serial: template("hardware_module_name.serial", &raw.serial)?,
    })
}

fn check_validity(base: Base, raw: &RawValidity) -> Result<Validity, (String, String)> {
    if raw.backdate_minutes > BACKDATE_MINUTES_MAX {
        return fault("validity.backdate_minutes", "is over one day (1440)");
    }
    let not_after = match (raw.not_after.as_deref(), raw.days) {
        (Some(INDEFINITE), None) => NotAfter::Indefinite,
        (None, Some(days @ 1..=DAYS_MAX)) => NotAfter::Seconds(days * SECONDS_PER_DAY),
        (None, Some(_)) => return fault("validity.days", "must be 1 to 73000"),
        (Some(_), None) => {
            return fault(
                "validity.not_after",
                "must be 99991231235959Z; for an expiry use days",
            );
        }
        _ => return fault("validity", "needs not_after or days, and not both"),
    };
    match (base, not_after) {
        (Base::Idevid, NotAfter::Seconds(_)) => fault(
            "validity",
            "an IDevID does not expire: not_after = \"99991231235959Z\"",
        ),
        (Base::TlsClient, NotAfter::Indefinite) => fault(
            "validity",
            "a TLS client certificate needs an expiry: days = N",
        ),
        _ => Ok(Validity {
            backdate_s: raw.backdate_minutes * 60,
            not_after,
        }),
    }
}

/// The TOML error with its line number, in one line.
pub(crate) fn one_line(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(1, |span| {
        text.as_bytes()[..span.start.min(text.len())]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1
    });
    format!("line {line}: {}", error.message().replace('\n', " "))
}

#[cfg(test)]
mod tests;

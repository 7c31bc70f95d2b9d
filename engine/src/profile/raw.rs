//! A profile file as it is written. Unknown keys are refused: a misspelt one must not be passed over.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::base::Base;
use crate::key::DeviceKeyAlgorithm;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProfile {
    pub(super) name: String,
    pub(super) base: Base,
    pub(super) identity: Option<String>,
    pub(super) identity_domain: Option<String>,
    pub(super) key_domain: Option<String>,
    pub(super) reissue: Option<String>,
    pub(super) certificate_bytes_max: Option<usize>,
    #[serde(default)]
    pub(super) subject: Vec<RawSubjectAttribute>,
    pub(super) hardware_module_name: Option<RawHardwareModuleName>,
    #[serde(default)]
    pub(super) subject_alt_name: Vec<RawAltName>,
    pub(super) validity: RawValidity,
    pub(super) key: RawKey,
    #[serde(default)]
    pub(super) extensions: RawExtensions,
    #[serde(default)]
    pub(super) requested_extensions: BTreeMap<String, RawRequested>,
    pub(super) serial: Option<RawSerial>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSubjectAttribute {
    pub(super) r#type: Option<String>,
    pub(super) oid: Option<String>,
    pub(super) string: Option<String>,
    pub(super) value: String,
    pub(super) pattern: Option<String>,
}

/// The first form of a hardware module name, which is an entry of the subject alternative name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHardwareModuleName {
    pub(super) r#type: String,
    pub(super) serial: String,
    pub(super) pattern: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAltName {
    pub(super) r#type: AltNameType,
    pub(super) value: String,
    pub(super) hardware_type: Option<String>,
    pub(super) assigner: Option<String>,
    pub(super) pattern: Option<String>,
}

/// The forms of a general name that a profile can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AltNameType {
    HardwareModuleName,
    PermanentIdentifier,
    Uri,
    Dns,
    Ip,
    Email,
    RegisteredId,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawValidity {
    pub(super) not_before: Option<String>,
    pub(super) not_after: Option<String>,
    pub(super) days: Option<u64>,
    pub(super) hours: Option<u64>,
    #[serde(default)]
    pub(super) backdate_minutes: u64,
    pub(super) align: Option<RawAlign>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawAlign {
    Hour,
    Day,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKey {
    pub(super) algorithms: Vec<DeviceKeyAlgorithm>,
    pub(super) rsa_bits_min: Option<usize>,
    pub(super) rsa_bits_max: Option<usize>,
    pub(super) generated: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExtensions {
    pub(super) key_usage: Option<Vec<String>>,
    pub(super) key_usage_rsa: Option<Vec<String>>,
    pub(super) extended_key_usage: Option<Vec<String>>,
    pub(super) basic_constraints: Option<RawBasicConstraints>,
    pub(super) path_length: Option<u8>,
    pub(super) subject_key_identifier: Option<bool>,
    pub(super) certificate_policies: Option<Vec<String>>,
    pub(super) authority_info_access: Option<RawAccess>,
    pub(super) crl_distribution_points: Option<Vec<String>>,
    pub(super) masa_url: Option<String>,
    #[serde(default)]
    pub(super) other: Vec<RawExtension>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawBasicConstraints {
    Absent,
    EndEntity,
    Ca,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAccess {
    #[serde(default)]
    pub(super) ocsp: Vec<String>,
    #[serde(default)]
    pub(super) ca_issuers: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExtension {
    pub(super) oid: String,
    #[serde(default)]
    pub(super) critical: bool,
    pub(super) der: String,
}

/// Serial numbers of devices that are handed out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSerial {
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    /// A file, relative to the profile's own.
    pub(crate) list: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRequested {
    pub(super) policy: RawPolicy,
    #[serde(default)]
    pub(super) dns: Vec<String>,
    #[serde(default)]
    pub(super) uri: Vec<String>,
    #[serde(default)]
    pub(super) ip: Vec<String>,
    #[serde(default)]
    pub(super) email: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawPolicy {
    Ignore,
    Require,
    Allow,
}

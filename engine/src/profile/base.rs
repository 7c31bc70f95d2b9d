//! What a profile starts from: the parts that a standard fixes, and what it leaves to whoever writes the profile.

use serde::Deserialize;

use super::alt_names::{AltName, AltNameForm};
use super::extensions::Extensions;
use super::key_usage::{
    CRL_SIGN, DATA_ENCIPHERMENT, DIGITAL_SIGNATURE, KEY_AGREEMENT, KEY_CERT_SIGN, KEY_ENCIPHERMENT,
    NON_REPUDIATION,
};
use super::locate::{Checked, fault};
use super::names::SubjectAttribute;
use super::rules::{BasicConstraintsRule, KeyUsageRule};
use crate::key::DeviceKeyAlgorithm::{self, EcP256, EcP384, Rsa};
use crate::oid;

/// The bases by the names that profiles write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Base {
    Idevid,
    Ldevid,
    TcgIdevid,
    TcgIak,
    MatterDac,
    MatterPai,
    MatterPaa,
    OpcuaApplication,
    WiSunFan,
    #[serde(rename = "iso15118-secc")]
    Iso15118Secc,
    #[serde(rename = "iso15118-contract")]
    Iso15118Contract,
    TlsClient,
    TlsServer,
    /// RFC 5280 alone.
    Custom,
}

/// What one base fixes.
#[derive(Debug, Clone, Copy)]
pub(super) struct BaseRules {
    pub(super) source: &'static str,
    /// The subject attribute that names the device: `identity`, unless the profile says otherwise.
    pub(super) named: Option<&'static str>,
    /// Types of subject attributes that must be there.
    pub(super) subject: &'static [&'static str],
    pub(super) expiry: Expiry,
    /// Bits that must be set, and are unless the profile says otherwise.
    pub(super) key_usage: KeyUsageRule,
    /// Bits that a profile may add.
    pub(super) key_usage_more: KeyUsageRule,
    /// Key purposes unless the profile says otherwise.
    pub(super) extended_key_usage: &'static [&'static str],
    /// Of these purposes at least one must stay.
    pub(super) purposes_needed: &'static [&'static str],
    pub(super) basic_constraints: BasicConstraintsRule,
    pub(super) subject_key_identifier: bool,
    /// A profile may turn the subject key identifier around.
    pub(super) subject_key_identifier_free: bool,
    /// Kinds of keys that are allowed; empty for all.
    pub(super) algorithms: &'static [DeviceKeyAlgorithm],
    /// Octets of the whole certificate.
    pub(super) certificate_bytes_max: Option<usize>,
    /// Whether the key is known to be inside its TPM: what records say of it.
    pub(super) residency: Option<&'static str>,
}

/// What a base says about notAfter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// None: 99991231235959Z.
    Indefinite,
    /// A real one.
    Real,
    /// As the profile wants.
    Free,
}

const CLIENT_AUTH: &str = "clientAuth";
const SERVER_AUTH: &str = "serverAuth";
/// Wi-SUN FAN's key purpose, Wi-SUN FAN TPS.
const WI_SUN_FAN_PURPOSE: &str = "1.3.6.1.4.1.45605.1";
/// hwType of a TPM, TCG TPM 2.0 Keys for Device Identity.
const TPM_HARDWARE_TYPE: &str = "2.23.133.1.2";
/// Matter's limit of a certificate in DER, Matter 1.x §6.1.3.
const MATTER_BYTES_MAX: usize = 600;

const fn usage(rsa: u16, other: u16) -> KeyUsageRule {
    KeyUsageRule { rsa, other }
}

/// RFC 5280 with a signing key that does not expire: what the others are told apart from.
const PLAIN: BaseRules = BaseRules {
    source: "RFC 5280",
    named: None,
    subject: &[],
    expiry: Expiry::Free,
    key_usage: usage(DIGITAL_SIGNATURE, DIGITAL_SIGNATURE),
    key_usage_more: usage(0, 0),
    extended_key_usage: &[],
    purposes_needed: &[],
    basic_constraints: BasicConstraintsRule::Absent,
    subject_key_identifier: true,
    subject_key_identifier_free: false,
    algorithms: &[],
    certificate_bytes_max: None,
    residency: None,
};

const IDEVID: BaseRules = BaseRules {
    source: "IEEE 802.1AR-2018 §8",
    named: Some("serialNumber"),
    subject: &["serialNumber"],
    expiry: Expiry::Indefinite,
    // Table 8-2: keyEncipherment is allowed for RSA.
    key_usage_more: usage(KEY_ENCIPHERMENT, 0),
    // Not recommended, Table 8-2.
    subject_key_identifier: false,
    subject_key_identifier_free: true,
    ..PLAIN
};

const TCG: BaseRules = BaseRules {
    source: "TCG TPM 2.0 Keys for Device Identity and Attestation §8",
    key_usage_more: usage(0, 0),
    // Nothing asks the TPM yet.
    residency: Some("unproven"),
    ..IDEVID
};

const MATTER_DAC: BaseRules = BaseRules {
    source: "Matter 1.x §6.2.2.3",
    basic_constraints: BasicConstraintsRule::EndEntity { critical: true },
    algorithms: &[EcP256],
    certificate_bytes_max: Some(MATTER_BYTES_MAX),
    ..PLAIN
};

const MATTER_PAI: BaseRules = BaseRules {
    source: "Matter 1.x §6.2.2.4",
    key_usage: usage(KEY_CERT_SIGN | CRL_SIGN, KEY_CERT_SIGN | CRL_SIGN),
    key_usage_more: usage(DIGITAL_SIGNATURE, DIGITAL_SIGNATURE),
    basic_constraints: BasicConstraintsRule::Ca {
        path_length: Some(0),
    },
    ..MATTER_DAC
};

const ISO_15118: BaseRules = BaseRules {
    source: "ISO 15118-2 Annex F",
    named: Some("CN"),
    subject: &["CN", "DC"],
    expiry: Expiry::Real,
    key_usage: usage(0, DIGITAL_SIGNATURE | KEY_AGREEMENT),
    basic_constraints: BasicConstraintsRule::EndEntity { critical: true },
    algorithms: &[EcP256],
    ..PLAIN
};

impl Base {
    pub(super) fn is_matter(self) -> bool {
        matches!(self, Self::MatterDac | Self::MatterPai | Self::MatterPaa)
    }

    pub(super) fn rules(self) -> BaseRules {
        match self {
            Self::Idevid => IDEVID,
            Self::Ldevid => BaseRules {
                expiry: Expiry::Real,
                ..IDEVID
            },
            Self::TcgIdevid | Self::TcgIak => TCG,
            Self::MatterDac => MATTER_DAC,
            Self::MatterPai => MATTER_PAI,
            Self::MatterPaa => BaseRules {
                source: "Matter 1.x §6.2.2.5",
                basic_constraints: BasicConstraintsRule::Ca {
                    path_length: Some(1),
                },
                ..MATTER_PAI
            },
            Self::OpcuaApplication => OPCUA,
            Self::WiSunFan => WI_SUN_FAN,
            Self::Iso15118Secc => ISO_15118,
            Self::Iso15118Contract => BaseRules {
                key_usage: usage(
                    0,
                    DIGITAL_SIGNATURE | NON_REPUDIATION | KEY_ENCIPHERMENT | KEY_AGREEMENT,
                ),
                ..ISO_15118
            },
            Self::TlsClient => BaseRules {
                source: "RFC 5280 §4.2.1.12 clientAuth, AWS IoT and Azure DPS documentation",
                named: Some("CN"),
                subject: &["CN"],
                expiry: Expiry::Real,
                extended_key_usage: &[CLIENT_AUTH],
                purposes_needed: &[CLIENT_AUTH],
                ..PLAIN
            },
            Self::TlsServer => BaseRules {
                source: "RFC 5280 §4.2.1.12 serverAuth, RFC 9525 §6",
                expiry: Expiry::Real,
                key_usage_more: usage(KEY_ENCIPHERMENT, 0),
                extended_key_usage: &[SERVER_AUTH],
                purposes_needed: &[SERVER_AUTH],
                ..PLAIN
            },
            Self::Custom => BaseRules {
                key_usage: usage(0, 0),
                key_usage_more: usage(u16::MAX, u16::MAX),
                subject_key_identifier_free: true,
                ..PLAIN
            },
        }
    }

    /// A custom profile states these itself; the others only where their standard leaves a choice.
    pub(super) fn basic_constraints_fit(self, wanted: BasicConstraintsRule) -> bool {
        use BasicConstraintsRule::{Absent, Ca, EndEntity};
        match (self, wanted) {
            (Self::Custom, _)
            | (Self::TlsClient | Self::TlsServer, Absent | EndEntity { .. })
            // Absent or 1.
            | (Self::MatterPaa, Ca { path_length: None }) => true,
            (_, wanted) => wanted == self.rules().basic_constraints,
        }
    }

    /// Rules of the base that concern several keys.
    pub(super) fn check(
        self,
        subject: &[SubjectAttribute],
        alt_names: &[AltName],
        extensions: &Extensions,
    ) -> Checked<()> {
        let rules = self.rules();
        for required in rules.subject {
            if !has(subject, required) {
                return fault(
                    "subject",
                    format!("this base needs a subject attribute of type {required}"),
                );
            }
        }
        match self {
            Self::Idevid | Self::Ldevid => check_devid_names(alt_names, rules.source),
            Self::TcgIdevid | Self::TcgIak => check_tpm_names(alt_names, rules.source),
            Self::MatterDac => check_matter_names(subject, &["VID", "PID"], rules.source),
            Self::MatterPai => check_matter_names(subject, &["VID"], rules.source),
            Self::OpcuaApplication => check_opcua_names(alt_names, rules.source),
            Self::WiSunFan => check_wi_sun_names(subject, alt_names, rules.source),
            Self::Iso15118Secc => check_iso_15118(subject, "CPO", Some(extensions)),
            Self::Iso15118Contract => check_iso_15118(subject, "MO", None),
            Self::TlsServer => check_server_names(alt_names, rules.source),
            Self::MatterPaa | Self::TlsClient | Self::Custom => Ok(()),
        }
    }
}

const OPCUA: BaseRules = BaseRules {
    source: "OPC 10000-6 §6.2.2",
    named: Some("CN"),
    subject: &["CN", "O"],
    expiry: Expiry::Real,
    key_usage: usage(
        DIGITAL_SIGNATURE | NON_REPUDIATION | KEY_ENCIPHERMENT | DATA_ENCIPHERMENT,
        DIGITAL_SIGNATURE,
    ),
    extended_key_usage: &[SERVER_AUTH, CLIENT_AUTH],
    purposes_needed: &[SERVER_AUTH, CLIENT_AUTH],
    basic_constraints: BasicConstraintsRule::EndEntity { critical: true },
    algorithms: &[EcP256, EcP384, Rsa],
    ..PLAIN
};

const WI_SUN_FAN: BaseRules = BaseRules {
    source: "Wi-SUN FAN TPS, certificate profile",
    expiry: Expiry::Indefinite,
    key_usage: usage(0, DIGITAL_SIGNATURE | KEY_AGREEMENT),
    extended_key_usage: &[CLIENT_AUTH, WI_SUN_FAN_PURPOSE],
    purposes_needed: &[WI_SUN_FAN_PURPOSE],
    subject_key_identifier: false,
    algorithms: &[EcP256],
    ..PLAIN
};

fn has(subject: &[SubjectAttribute], name: &str) -> bool {
    subject.iter().any(|entry| entry.name() == name)
}

fn is_hardware_module_name(name: &AltName) -> bool {
    matches!(name.form, AltNameForm::HardwareModuleName { .. })
}

fn check_devid_names(alt_names: &[AltName], source: &str) -> Checked<()> {
    if alt_names.is_empty() || alt_names.iter().any(is_hardware_module_name) {
        return Ok(());
    }
    fault(
        "subject_alt_name",
        format!("has no hardware_module_name among its entries ({source})"),
    )
}

fn check_tpm_names(alt_names: &[AltName], source: &str) -> Checked<()> {
    let tpm = oid::from_dotted(TPM_HARDWARE_TYPE);
    let names_tpm = |name: &AltName| match &name.form {
        AltNameForm::HardwareModuleName { hardware_type } => tpm.as_ref() == Some(hardware_type),
        form => matches!(form, AltNameForm::PermanentIdentifier { .. }),
    };
    if alt_names.iter().any(names_tpm) {
        return Ok(());
    }
    fault(
        "subject_alt_name",
        format!(
            "needs a hardware_module_name of hardware_type {TPM_HARDWARE_TYPE} or a permanent_identifier ({source})"
        ),
    )
}

/// Vendor and product as attributes, or as `Mvid:XXXX Mpid:XXXX` inside the CN, Matter 1.x §6.2.2.2.
fn check_matter_names(subject: &[SubjectAttribute], needed: &[&str], source: &str) -> Checked<()> {
    let as_attributes = needed.iter().all(|name| has(subject, name));
    let in_common_name = || {
        let cn = subject.iter().find(|entry| entry.name() == "CN");
        cn.is_some_and(|cn| {
            needed.iter().all(|name| {
                let mark = if *name == "VID" { "Mvid:" } else { "Mpid:" };
                cn.value.constants().any(|text| text.contains(mark))
            })
        })
    };
    let mixed = ["VID", "PID"].iter().any(|name| has(subject, name));
    if as_attributes || !mixed && in_common_name() {
        return Ok(());
    }
    fault(
        "subject",
        format!(
            "needs {} as attributes, or \"Mvid:FFF1 Mpid:8000\" inside the CN ({source})",
            needed.join(" and ")
        ),
    )
}

fn check_opcua_names(alt_names: &[AltName], source: &str) -> Checked<()> {
    let host = |name: &AltName| matches!(name.form, AltNameForm::Dns | AltNameForm::Ip);
    match alt_names {
        [first, hosts @ ..] if first.form == AltNameForm::Uri && hosts.iter().any(host) => Ok(()),
        _ => fault(
            "subject_alt_name",
            format!("needs the ApplicationUri as uri first, then the host as dns or ip ({source})"),
        ),
    }
}

fn check_wi_sun_names(
    subject: &[SubjectAttribute],
    alt_names: &[AltName],
    source: &str,
) -> Checked<()> {
    if !subject.is_empty() {
        return fault("subject", format!("is empty in this base ({source})"));
    }
    match alt_names {
        [only] if is_hardware_module_name(only) => Ok(()),
        _ => fault(
            "subject_alt_name",
            format!("holds exactly one hardware_module_name ({source})"),
        ),
    }
}

fn check_server_names(alt_names: &[AltName], source: &str) -> Checked<()> {
    let host = |name: &AltName| matches!(name.form, AltNameForm::Dns | AltNameForm::Ip);
    if alt_names.iter().any(host) {
        return Ok(());
    }
    fault(
        "subject_alt_name",
        format!("needs the host as dns or ip ({source})"),
    )
}

/// The domain component that says what the certificate is for, and where its status is asked.
fn check_iso_15118(
    subject: &[SubjectAttribute],
    component: &str,
    with_status: Option<&Extensions>,
) -> Checked<()> {
    let source = ISO_15118.source;
    let found = subject
        .iter()
        .any(|entry| entry.name() == "DC" && entry.value.constant() == Some(component));
    if !found {
        return fault(
            "subject",
            format!("needs a DC with the value \"{component}\" ({source})"),
        );
    }
    if with_status.is_some_and(|extensions| !extensions.has_ocsp) {
        return fault(
            "extensions.authority_info_access",
            format!("needs the ocsp address ({source})"),
        );
    }
    Ok(())
}

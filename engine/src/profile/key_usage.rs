//! KeyUsage: its bits by name, and which go with which kind of key.

use super::locate::{Checked, fault};
use super::rules::{BasicConstraintsRule, KeyUsageRule};
use crate::key::DeviceKeyAlgorithm;

/// KeyUsage bits, RFC 5280 §4.2.1.3, bit 0 lowest.
pub(crate) const DIGITAL_SIGNATURE: u16 = 1;
pub(super) const NON_REPUDIATION: u16 = 1 << 1;
pub(super) const KEY_ENCIPHERMENT: u16 = 1 << 2;
pub(super) const DATA_ENCIPHERMENT: u16 = 1 << 3;
pub(super) const KEY_AGREEMENT: u16 = 1 << 4;
pub(super) const KEY_CERT_SIGN: u16 = 1 << 5;
pub(super) const CRL_SIGN: u16 = 1 << 6;
const ENCIPHER_ONLY: u16 = 1 << 7;
const DECIPHER_ONLY: u16 = 1 << 8;

const NAMES: [(&str, u16); 9] = [
    ("digitalSignature", DIGITAL_SIGNATURE),
    ("nonRepudiation", NON_REPUDIATION),
    ("keyEncipherment", KEY_ENCIPHERMENT),
    ("dataEncipherment", DATA_ENCIPHERMENT),
    ("keyAgreement", KEY_AGREEMENT),
    ("keyCertSign", KEY_CERT_SIGN),
    ("cRLSign", CRL_SIGN),
    ("encipherOnly", ENCIPHER_ONLY),
    ("decipherOnly", DECIPHER_ONLY),
];

/// The names of the bits that are set.
pub(super) fn names(bits: u16) -> impl Iterator<Item = &'static str> {
    NAMES
        .into_iter()
        .filter(move |(_, bit)| bits & bit != 0)
        .map(|(name, _)| name)
}

/// The bits of a list of names.
pub(super) fn bits(key: &str, list: &[String]) -> Checked<u16> {
    let mut bits = 0;
    for name in list {
        // X.509 renamed bit 1.
        let name = match name.as_str() {
            "contentCommitment" => "nonRepudiation",
            name => name,
        };
        let Some((_, bit)) = NAMES.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = NAMES.iter().map(|(known, _)| *known).collect();
            return fault(
                key,
                format!("{name:?} is no key usage; use {}", known.join(", ")),
            );
        };
        if bits & bit != 0 {
            return fault(key, format!("{name} stands twice"));
        }
        bits |= bit;
    }
    Ok(bits)
}

/// Whether the bits go with the kinds of keys that the profile takes, and with what it makes of them.
/// `fixed` says that the base's standard demands them as they are.
pub(super) fn check(
    usage: KeyUsageRule,
    algorithms: &[DeviceKeyAlgorithm],
    constraints: BasicConstraintsRule,
    fixed: bool,
) -> Checked<()> {
    use DeviceKeyAlgorithm::{EcP256, EcP384, EcP521, Rsa};
    let is_ca = matches!(constraints, BasicConstraintsRule::Ca { .. });
    for algorithm in algorithms {
        let bits = usage.bits(*algorithm);
        let key = match algorithm {
            Rsa => "extensions.key_usage_rsa",
            _ => "extensions.key_usage",
        };
        let name = algorithm.name();
        if bits == 0 {
            return fault(key, format!("is empty for {name} keys (RFC 5280 §4.2.1.3)"));
        }
        if is_ca != (bits & KEY_CERT_SIGN != 0) {
            return fault(
                key,
                "keyCertSign stands for a CA and for nobody else (RFC 5280 §4.2.1.9)",
            );
        }
        if bits & (ENCIPHER_ONLY | DECIPHER_ONLY) != 0 && bits & KEY_AGREEMENT == 0 {
            return fault(
                key,
                "encipherOnly and decipherOnly need keyAgreement (RFC 5280 §4.2.1.3)",
            );
        }
        let foreign = match algorithm {
            EcP256 | EcP384 | EcP521 if fixed => 0,
            EcP256 | EcP384 | EcP521 => KEY_ENCIPHERMENT | DATA_ENCIPHERMENT,
            Rsa => KEY_AGREEMENT,
            _ => KEY_ENCIPHERMENT | DATA_ENCIPHERMENT | KEY_AGREEMENT,
        };
        if bits & foreign != 0 {
            let found: Vec<&str> = names(bits & foreign).collect();
            return fault(
                key,
                format!(
                    "{} does not go with {name} keys (RFC 8813 §3, RFC 3279 §2.3.1, RFC 8410 §5, RFC 9881 §5)",
                    found.join(" and ")
                ),
            );
        }
    }
    Ok(())
}

//! What a profile demands of its certificates, in the words of RFC 5280. The encoder writes by them, and the
//! linter holds the finished bytes against them.

use crate::key::DeviceKeyAlgorithm;

/// The demands of one profile. Whatever is not listed here does not stand in its certificates.
#[derive(Debug, Clone)]
pub(crate) struct CertificateRules {
    /// notAfter is 99991231235959Z and may be after the issuer's (RFC 5280 §4.1.2.5).
    pub(crate) indefinite: bool,
    /// The subject is empty, and the subject alternative name therefore critical (§4.1.2.6).
    pub(crate) empty_subject: bool,
    /// Types of the subject's attributes in order, OID content octets.
    pub(crate) subject_types: Vec<Vec<u8>>,
    pub(crate) matter_ids: MatterIdsRule,
    pub(crate) key_usage: KeyUsageRule,
    /// Key purposes in order, OID content octets; empty for no extension.
    pub(crate) extended_key_usage: Vec<Vec<u8>>,
    pub(crate) basic_constraints: BasicConstraintsRule,
    pub(crate) subject_alt_name: Presence,
    pub(crate) subject_key_identifier: bool,
    /// Extensions whose value is the same in every certificate of the profile and its issuer.
    pub(crate) constant: Vec<ConstantExtension>,
    /// Octets of the whole certificate, at most (Matter: 600).
    pub(crate) certificate_bytes_max: Option<usize>,
}

/// KeyUsage bits, RFC 5280 §4.2.1.3, bit 0 lowest. Keys that can encipher may have more of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyUsageRule {
    pub(crate) rsa: u16,
    pub(crate) other: u16,
}

impl KeyUsageRule {
    pub(crate) fn bits(self, algorithm: DeviceKeyAlgorithm) -> u16 {
        if algorithm == DeviceKeyAlgorithm::Rsa {
            self.rsa
        } else {
            self.other
        }
    }
}

/// Matter's identifiers that the subject must have, Matter 1.x §6.2.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MatterIdsRule {
    NotAsked,
    /// A PAI's.
    Vendor,
    /// A DAC's.
    VendorAndProduct,
}

/// BasicConstraints, RFC 5280 §4.2.1.9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BasicConstraintsRule {
    Absent,
    /// An empty SEQUENCE: not a CA.
    EndEntity {
        critical: bool,
    },
    /// Critical, cA TRUE.
    Ca {
        path_length: Option<u8>,
    },
}

/// Whether an extension whose value differs from certificate to certificate stands in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Forbidden,
    /// May stand there.
    Optional,
    Required,
}

/// `Extension ::= SEQUENCE { extnID, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING }`, §4.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConstantExtension {
    /// Content octets of the identifier.
    pub(crate) oid: Vec<u8>,
    pub(crate) critical: bool,
    /// The DER inside extnValue.
    pub(crate) value: Vec<u8>,
}

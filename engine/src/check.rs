//! The linter: re-reads a finished certificate before it is released. It works on the bytes alone and
//! shares nothing with the code that encodes them.

use crate::certificate::{CertificateView, ExtensionView, unix_seconds};
use crate::der::reader::{DerError, Tlv, single, unsigned, whole_octets};
use crate::der::tag;
use crate::issuer::{Issuer, SignatureForm};
use crate::key::DeviceKeyAlgorithm;
use crate::name::{AttributeType, Name, text};
use crate::oid;
use crate::profile::{BasicConstraintsRule, CertificateRules, Presence};

/// Octets of a serial number as encoded, RFC 5280 §4.1.2.2.
pub(crate) const SERIAL_BYTES_MAX: usize = 20;

/// What the certificate must hold.
#[derive(Debug)]
pub(crate) struct Expectation<'a> {
    pub(crate) issuer: &'a Issuer,
    /// The request's SubjectPublicKeyInfo, whole.
    pub(crate) spki: &'a [u8],
    pub(crate) key_algorithm: DeviceKeyAlgorithm,
    pub(crate) rules: &'a CertificateRules,
}

/// What a finished certificate got wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{finding} ({rule})")]
pub(crate) struct Finding {
    pub(crate) finding: &'static str,
    pub(crate) rule: &'static str,
}

/// The one finding that is the signer's doing. It is looked for last, so that there is no other.
pub(crate) const WRONG_SIGNATURE: Finding = Finding {
    finding: "the signature does not verify with the issuer's key",
    rule: "RFC 5280 §4.1.1.3",
};

impl From<DerError> for Finding {
    fn from(DerError(finding): DerError) -> Self {
        Self {
            finding,
            rule: "X.690 §10",
        }
    }
}

pub(crate) fn ensure(
    holds: bool,
    finding: &'static str,
    rule: &'static str,
) -> Result<(), Finding> {
    if holds {
        Ok(())
    } else {
        Err(Finding { finding, rule })
    }
}

/// Checks encoding, content and signature of a certificate in DER. `serial` is the reserved number.
pub(crate) fn check_certificate(
    der: &[u8],
    serial: &[u8],
    expected: &Expectation<'_>,
) -> Result<(), Finding> {
    let view = CertificateView::parse(der)?;
    check_serial(&view, serial)?;
    check_validity(&view, expected)?;
    check_subject(&view.subject, expected.rules.empty_subject)?;
    ensure(
        view.spki.encoding == expected.spki,
        "the public key is not the request's",
        "RFC 5280 §4.1.2.7",
    )?;
    check_extensions(&view, expected)?;
    ensure(
        expected
            .rules
            .certificate_bytes_max
            .is_none_or(|max| der.len() <= max),
        "the certificate is longer than the profile allows",
        "profile",
    )?;
    check_issued_by(&view, expected.issuer, expected.issuer.form())
}

/// The certificate names this issuer and its algorithm, and is signed with its key in this form.
pub(crate) fn check_issued_by(
    view: &CertificateView<'_>,
    issuer: &Issuer,
    form: &SignatureForm,
) -> Result<(), Finding> {
    let algorithm = &form.algorithm[..];
    ensure(
        view.tbs_algorithm == algorithm && view.signature_algorithm == algorithm,
        "the signature algorithms are not the issuer's",
        "RFC 5280 §4.1.1.2",
    )?;
    ensure(
        view.issuer == issuer.subject(),
        "the issuer is not the issuer certificate's subject",
        "RFC 5280 §4.1.2.4",
    )?;
    let signature = whole_octets(&view.signature)?;
    ensure(
        signature.len() <= form.signature_bytes_max,
        "the signature is longer than the issuer's key makes them",
        "RFC 5280 §4.1.1.3",
    )?;
    form.key
        .verify_sig(view.tbs, signature)
        .map_err(|_| WRONG_SIGNATURE)
}

fn check_serial(view: &CertificateView<'_>, reserved: &[u8]) -> Result<(), Finding> {
    let rule = "RFC 5280 §4.1.2.2";
    let magnitude = unsigned(&view.serial)?;
    ensure(
        magnitude == reserved,
        "the serial number is not the reserved one",
        rule,
    )?;
    ensure(
        view.serial.content.len() <= SERIAL_BYTES_MAX && magnitude.iter().any(|byte| *byte != 0),
        "the serial number is zero or over 20 octets",
        rule,
    )
}

fn check_validity(view: &CertificateView<'_>, expected: &Expectation<'_>) -> Result<(), Finding> {
    let rule = "RFC 5280 §4.1.2.5";
    let (from, until) = (
        unix_seconds(&view.not_before)?,
        unix_seconds(&view.not_after)?,
    );
    let (issuer_from, issuer_until) = expected.issuer.validity_s();
    ensure(from <= until, "notBefore is after notAfter", rule)?;
    ensure(
        (issuer_from..=issuer_until).contains(&from),
        "notBefore is outside the issuer's validity",
        rule,
    )?;
    if expected.rules.indefinite {
        let indefinite = crate::profile::INDEFINITE.as_bytes();
        ensure(
            view.not_after.content == indefinite,
            "notAfter is not indefinite",
            rule,
        )
    } else {
        ensure(
            until <= issuer_until,
            "notAfter is after the issuer's",
            rule,
        )
    }
}

/// Attribute types, string types and bounds of RFC 5280 appendix A.1.
fn check_subject(subject: &Tlv<'_>, empty: bool) -> Result<(), Finding> {
    let rule = "RFC 5280 §4.1.2.6";
    let malformed = Finding {
        finding: "the subject is malformed",
        rule,
    };
    let name = Name::parse(subject).map_err(|_| malformed)?;
    ensure(
        subject.content.is_empty() == empty,
        "the subject is empty, or not empty against the profile",
        rule,
    )?;
    for (oid, value) in name.attributes() {
        let Some(attribute) = AttributeType::by_oid(oid) else {
            continue;
        };
        ensure(
            value.tag == attribute.string_tag(),
            "a name attribute has the wrong type",
            rule,
        )?;
        let text = text(&value).map_err(|_| malformed)?;
        ensure(
            attribute.check(text).is_ok(),
            "a name attribute is out of bounds",
            rule,
        )?;
    }
    Ok(())
}

/// Whether the rules have an extension with this identifier.
fn is_expected(oid: &[u8], rules: &CertificateRules) -> bool {
    match oid {
        oid::AUTHORITY_KEY_IDENTIFIER | oid::KEY_USAGE => true,
        oid::SUBJECT_KEY_IDENTIFIER => rules.subject_key_identifier,
        oid::EXT_KEY_USAGE => !rules.extended_key_usage.is_empty(),
        oid::BASIC_CONSTRAINTS => rules.basic_constraints != BasicConstraintsRule::Absent,
        oid::SUBJECT_ALT_NAME => rules.subject_alt_name != Presence::Forbidden,
        other => rules.constant.iter().any(|constant| constant.oid == other),
    }
}

fn check_extensions(view: &CertificateView<'_>, expected: &Expectation<'_>) -> Result<(), Finding> {
    let rules = expected.rules;
    ensure(
        view.extensions
            .iter()
            .all(|extension| is_expected(extension.oid, rules)),
        "an extension that the profile does not have",
        "profile",
    )?;
    if rules.subject_key_identifier {
        required(
            view,
            oid::SUBJECT_KEY_IDENTIFIER,
            false,
            "RFC 5280 §4.2.1.2",
        )?;
    }
    let aki = required(
        view,
        oid::AUTHORITY_KEY_IDENTIFIER,
        false,
        "RFC 5280 §4.2.1.1",
    )?;
    let mut fields = single(aki.value, tag::SEQUENCE, "malformed key identifier")?.reader();
    let key_identifier = fields
        .expect(tag::context_primitive(0), "no key identifier")?
        .content;
    fields.finish()?;
    ensure(
        key_identifier == expected.issuer.subject_key_identifier(),
        "the authority key identifier is not the issuer's",
        "RFC 5280 §4.2.1.1",
    )?;
    check_key_usage(view, rules.key_usage.bits(expected.key_algorithm))?;
    check_extended_key_usage(view, &rules.extended_key_usage)?;
    check_basic_constraints(view, rules.basic_constraints)?;
    check_subject_alt_name(view, rules)?;
    for constant in &rules.constant {
        let found = required(view, &constant.oid, constant.critical, "profile")?;
        ensure(
            found.value == constant.value,
            "an extension is not the profile's",
            "profile",
        )?;
    }
    Ok(())
}

fn check_basic_constraints(
    view: &CertificateView<'_>,
    expected: BasicConstraintsRule,
) -> Result<(), Finding> {
    let rule = "RFC 5280 §4.2.1.9";
    let critical = match expected {
        BasicConstraintsRule::Absent => return Ok(()),
        BasicConstraintsRule::EndEntity { critical } => critical,
        BasicConstraintsRule::Ca { .. } => true,
    };
    let constraints = required(view, oid::BASIC_CONSTRAINTS, critical, rule)?;
    let mut fields = single(
        constraints.value,
        tag::SEQUENCE,
        "malformed basic constraints",
    )?
    .reader();
    let ca = fields.optional(tag::BOOLEAN)?.is_some();
    let path_length = fields.optional(tag::INTEGER)?;
    fields.finish()?;
    let path_length = path_length
        .map(|number| unsigned(&number))
        .transpose()?
        .map(<[u8]>::to_vec);
    let (expected_ca, expected_path) = match expected {
        BasicConstraintsRule::Ca { path_length } => (true, path_length.map(|length| vec![length])),
        _ => (false, None),
    };
    ensure(
        ca == expected_ca && path_length == expected_path,
        "the basic constraints are not the profile's",
        rule,
    )
}

fn check_subject_alt_name(
    view: &CertificateView<'_>,
    rules: &CertificateRules,
) -> Result<(), Finding> {
    let rule = "RFC 5280 §4.2.1.6";
    let Some(names) = view.extension(oid::SUBJECT_ALT_NAME) else {
        return ensure(
            rules.subject_alt_name != Presence::Required,
            "no subject alternative name",
            "profile",
        );
    };
    let list = single(names.value, tag::SEQUENCE, "malformed alternative name")?;
    ensure(
        !list.content.is_empty() && names.critical == rules.empty_subject,
        "a subject alternative name that is empty or wrongly marked critical",
        rule,
    )
}

fn check_key_usage(view: &CertificateView<'_>, expected: u16) -> Result<(), Finding> {
    let rule = "RFC 5280 §4.2.1.3";
    let usage = required(view, oid::KEY_USAGE, true, rule)?;
    let bits = single(usage.value, tag::BIT_STRING, "malformed key usage")?.content;
    let [unused, octets @ ..] = bits else {
        return Err(Finding {
            finding: "the key usage is empty",
            rule,
        });
    };
    let trailing_zeros = octets.last().map_or(0, |last| last.trailing_zeros());
    ensure(
        (1..=2).contains(&octets.len()) && trailing_zeros == u32::from(*unused),
        "the key usage is empty or has trailing zero bits",
        "X.690 §11.2.2",
    )?;
    let high = octets.first().map_or(0, |octet| octet.reverse_bits());
    let low = octets.get(1).map_or(0, |octet| octet.reverse_bits());
    ensure(
        u16::from_le_bytes([high, low]) == expected,
        "the key usage is not the profile's",
        rule,
    )
}

fn check_extended_key_usage(
    view: &CertificateView<'_>,
    expected: &[Vec<u8>],
) -> Result<(), Finding> {
    let finding = Finding {
        finding: "the extended key usage is not the profile's",
        rule: "RFC 5280 §4.2.1.12",
    };
    let Some(extension) = view.extension(oid::EXT_KEY_USAGE) else {
        return if expected.is_empty() {
            Ok(())
        } else {
            Err(finding)
        };
    };
    let mut purposes = single(extension.value, tag::SEQUENCE, "malformed key purposes")?.reader();
    for purpose in expected {
        let found = purposes.expect(tag::OID, "too few key purposes")?;
        ensure(
            found.content == purpose.as_slice(),
            finding.finding,
            finding.rule,
        )?;
    }
    ensure(
        purposes.is_empty() && !expected.is_empty(),
        finding.finding,
        finding.rule,
    )
}

fn required<'a>(
    view: &CertificateView<'a>,
    oid: &[u8],
    critical: bool,
    rule: &'static str,
) -> Result<ExtensionView<'a>, Finding> {
    match view.extension(oid) {
        Some(extension) if extension.critical == critical => Ok(extension),
        _ => Err(Finding {
            finding: "an extension is missing or wrongly marked critical",
            rule,
        }),
    }
}

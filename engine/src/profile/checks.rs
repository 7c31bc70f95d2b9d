//! From a profile as it is written to one that is fit for use.

use std::path::Path;

use super::alt_names::AltName;
use super::base::Base;
use super::extensions::{Extensions, check_extensions};
use super::key_usage;
use super::locate::{Checked, Fault, fault};
use super::names::{NameReader, SubjectAttribute, ValueForm};
use super::pattern::PatternTables;
use super::raw::{RawKey, RawPolicy, RawProfile};
use super::requested::{RequestedPolicy, check_requested};
use super::rules::{CertificateRules, MatterIdsRule, Presence};
use super::serials::{Serials, check_names_of, check_serials};
use super::validity::{NotAfter, Validity, check_validity};
use super::{KeyPolicy, Profile};
use crate::device_key::{GeneratedKeyRule, check_rule};
use crate::key::{DeviceKeyAlgorithm, RSA_BITS_MAX, RSA_BITS_MIN};
use crate::record::KEY_DOMAIN_WHOLE_LOG;
use crate::reissue::Reissue;
use crate::template::{Fields, Template};

/// Characters in a profile's or domain's name.
const NAME_CHARS_MAX: usize = 64;
/// Least size limit of a certificate: below it nothing can be issued.
const CERTIFICATE_BYTES_LEAST: usize = 256;
/// Greatest: a record has at most 65,535 octets.
const CERTIFICATE_BYTES_MOST: usize = 65_000;

pub(super) fn check(raw: RawProfile, digest: [u8; 32], folder: &Path) -> Checked<Profile> {
    check_name("name", &raw.name)?;
    let identity_domain = raw.identity_domain.as_ref().unwrap_or(&raw.name).clone();
    check_name("identity_domain", &identity_domain)?;
    if let Some(domain) = &raw.key_domain {
        check_name("key_domain", domain)?;
    }
    let reissue = check_reissue(raw.reissue.as_deref())?;
    let key = check_key(raw.base, &raw.key)?;
    let (mut fields, mut warnings) = (Fields::default(), Vec::new());
    let mut patterns = PatternTables::default();
    let mut reader = NameReader {
        fields: &mut fields,
        warnings: &mut warnings,
        patterns: &mut patterns,
    };
    let identity_text = identity_text(&raw);
    let serials = serials_of(&raw, folder)?;
    let identity = check_identity(&raw, identity_text.as_deref(), &mut reader)?;
    let subject = reader.subject(&raw, |name| value_form(&raw, name))?;
    let alt_names = reader.alt_names(&raw)?;
    check_serial_use(serials.is_some(), identity_text.as_deref(), &fields)?;
    check_names_of(serials.as_ref(), &fields, &subject, &alt_names)?;
    let validity = check_validity(raw.base, &raw.validity)?;
    let extensions = check_extensions(raw.base, &raw.extensions)?;
    let (usage, constraints) = (extensions.key_usage, extensions.basic_constraints);
    key_usage::check(
        usage,
        &key.algorithms,
        constraints,
        extensions.key_usage_fixed,
    )?;
    raw.base.check(&subject, &alt_names, &extensions)?;
    if subject.is_empty() && alt_names.is_empty() {
        return fault(
            "subject",
            "is empty, and so is subject_alt_name: nothing would name the device (RFC 5280 §4.1.2.6)",
        );
    }
    let has_names = !alt_names.is_empty();
    let wishes = &raw.requested_extensions;
    let requested = check_requested(wishes, &extensions, has_names, &mut patterns)?;
    let residency = raw.base.rules().residency;
    let generated_key = check_generated_key(&raw, &key.algorithms, reissue, &fields)?;
    warnings.extend(unproven_residency(residency, &extensions));
    let rules = certificate_rules(&raw, validity, extensions, &subject, &alt_names, &requested)?;
    Ok(Profile {
        name: raw.name,
        digest,
        source: raw.base.rules().source,
        identity: Some(identity),
        identity_text,
        identity_domain,
        key_domain: raw
            .key_domain
            .unwrap_or_else(|| KEY_DOMAIN_WHOLE_LOG.to_owned()),
        reissue,
        subject,
        alt_names,
        requested,
        validity,
        key,
        generated_key,
        fields,
        rules,
        serials,
        residency,
        is_matter: raw.base.is_matter(),
        warnings,
    })
}

/// Whether the engine may make keys, and which.
fn check_generated_key(
    raw: &RawProfile,
    algorithms: &[DeviceKeyAlgorithm],
    reissue: Reissue,
    fields: &Fields,
) -> Checked<Option<GeneratedKeyRule>> {
    let written = raw.key.generated.as_deref();
    let rule = check_rule(written, algorithms, reissue, fields, true)
        .map_err(|(key, problem)| Fault { key, problem })?;
    let mut requested = raw.requested_extensions.iter();
    let required = requested.find(|(_, requested)| requested.policy == RawPolicy::Require);
    match (rule, required) {
        (Some(_), Some((name, _))) => fault(
            format!("requested_extensions.{name}.policy"),
            "is require, and a generated key comes without a request",
        ),
        _ => Ok(rule),
    }
}

fn unproven_residency(residency: Option<&str>, extensions: &Extensions) -> Option<String> {
    (residency.is_some() && extensions.claims_residency).then(|| {
        "extensions.certificate_policies say that a TPM holds the key (2.23.133.11.1.*), but nothing here asks the \
         TPM: the line must have verified it. Records say residency: unproven"
            .to_owned()
    })
}

fn check_name(key: &str, name: &str) -> Checked<()> {
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

fn check_reissue(written: Option<&str>) -> Checked<Reissue> {
    match written {
        None => Ok(Reissue::Never),
        Some(name) => Reissue::by_name(name).map_or_else(
            || fault("reissue", "use \"never\", \"same-key\" or \"permit\""),
            Ok,
        ),
    }
}

/// Unless the profile says otherwise, a device is what its certificates call it.
fn identity_text(raw: &RawProfile) -> Option<String> {
    let named = raw.base.rules().named;
    let subject = raw.subject.iter();
    let mut named = subject.filter(|entry| entry.r#type.as_deref() == named && named.is_some());
    raw.identity
        .clone()
        .or_else(|| named.next().map(|entry| entry.value.clone()))
}

fn check_identity(
    raw: &RawProfile,
    text: Option<&str>,
    reader: &mut NameReader<'_>,
) -> Checked<Template> {
    let Some(text) = text else {
        return match raw.base.rules().named {
            Some(named) => fault(
                "subject",
                format!("this base needs a subject attribute of type {named}"),
            ),
            None => fault(
                "identity",
                "is missing; say what makes two requests the same device, as in \"{csr.subject.CN}\"",
            ),
        };
    };
    let identity = reader.template("identity", text)?;
    if identity.constant().is_some() {
        return fault(
            "identity",
            "is the same for all devices: only one could get a certificate",
        );
    }
    Ok(identity)
}

/// What is handed out, in a domain that the profile names: whoever copies it for another product must think of it.
fn serials_of(raw: &RawProfile, folder: &Path) -> Checked<Option<Serials>> {
    match (&raw.serial, &raw.identity_domain) {
        (None, _) => Ok(None),
        (Some(serials), Some(_)) => check_serials(serials, folder).map(Some),
        (Some(_), None) => fault(
            "identity_domain",
            "is missing: a serial number is handed out once in one domain, whichever profiles hand it out",
        ),
    }
}

/// A serial number that is handed out is its device's identity: the log then knows which ones are used.
fn check_serial_use(handed_out: bool, identity: Option<&str>, fields: &Fields) -> Checked<()> {
    match (handed_out, fields.takes_serial()) {
        (false, true) => fault(
            "serial",
            "is missing: say from and to, or list, for {serial} to be taken from",
        ),
        (true, _) if identity != Some("{serial}") => fault(
            "identity",
            "must be \"{serial}\" where serial numbers are handed out",
        ),
        _ => Ok(()),
    }
}

/// What an attribute's value must look like by its base.
fn value_form(raw: &RawProfile, name: &str) -> ValueForm {
    let is = |entry: &&super::raw::RawSubjectAttribute, name: &str| {
        entry.r#type.as_deref() == Some(name)
    };
    let has_vendor = raw.subject.iter().any(|entry| is(&entry, "VID"));
    match (raw.base, name) {
        (Base::TlsClient, "CN") => ValueForm::RegistrationId,
        (Base::MatterDac, "CN") if !has_vendor => ValueForm::MatterIds { product: true },
        (Base::MatterPai, "CN") if !has_vendor => ValueForm::MatterIds { product: false },
        _ => ValueForm::Any,
    }
}

fn check_key(base: Base, raw: &RawKey) -> Checked<KeyPolicy> {
    if raw.algorithms.is_empty() {
        return fault(
            "key.algorithms",
            "is empty; list the key types that devices may hold",
        );
    }
    let rules = base.rules();
    for (number, algorithm) in raw.algorithms.iter().enumerate() {
        let key = format!("key.algorithms[{number}]");
        if raw.algorithms[..number].contains(algorithm) {
            return fault(key, "stands twice");
        }
        if !rules.algorithms.is_empty() && !rules.algorithms.contains(algorithm) {
            return fault(
                key,
                format!(
                    "{} is not of this base ({})",
                    algorithm.name(),
                    rules.source
                ),
            );
        }
    }
    let bits = |key: &str, given: Option<usize>, default: usize| match given {
        None => Ok(default),
        Some(bits @ RSA_BITS_MIN..=RSA_BITS_MAX) => Ok(bits),
        Some(_) => fault(
            format!("key.{key}"),
            format!("must be {RSA_BITS_MIN} to {RSA_BITS_MAX}"),
        ),
    };
    let min = bits("rsa_bits_min", raw.rsa_bits_min, RSA_BITS_MIN)?;
    let max = bits("rsa_bits_max", raw.rsa_bits_max, RSA_BITS_MAX)?;
    if min > max {
        return fault("key.rsa_bits_max", "is under rsa_bits_min");
    }
    let is_rsa = |algorithm: &DeviceKeyAlgorithm| {
        matches!(
            algorithm,
            DeviceKeyAlgorithm::Rsa | DeviceKeyAlgorithm::RsaPss
        )
    };
    if raw.rsa_bits_min.or(raw.rsa_bits_max).is_some() && !raw.algorithms.iter().any(is_rsa) {
        return fault("key", "rsa_bits_min and rsa_bits_max go with RSA keys");
    }
    Ok(KeyPolicy {
        algorithms: raw.algorithms.clone(),
        rsa_bits: (min, max),
    })
}

/// What the encoder writes and the check looks for.
fn certificate_rules(
    raw: &RawProfile,
    validity: Validity,
    extensions: Extensions,
    subject: &[SubjectAttribute],
    alt_names: &[AltName],
    requested: &RequestedPolicy,
) -> Checked<CertificateRules> {
    let base_max = raw.base.rules().certificate_bytes_max;
    let range = CERTIFICATE_BYTES_LEAST..=base_max.unwrap_or(CERTIFICATE_BYTES_MOST);
    if let Some(max) = raw.certificate_bytes_max
        && !range.contains(&max)
    {
        return Err(Fault {
            key: "certificate_bytes_max".to_owned(),
            problem: format!("must be {} to {}", range.start(), range.end()),
        });
    }
    Ok(CertificateRules {
        indefinite: validity.not_after == NotAfter::Indefinite,
        empty_subject: subject.is_empty(),
        subject_types: subject.iter().map(|one| one.oid().to_vec()).collect(),
        matter_ids: match raw.base {
            Base::MatterDac => MatterIdsRule::VendorAndProduct,
            Base::MatterPai => MatterIdsRule::Vendor,
            _ => MatterIdsRule::NotAsked,
        },
        key_usage: extensions.key_usage,
        extended_key_usage: extensions.extended_key_usage,
        basic_constraints: extensions.basic_constraints,
        subject_alt_name: match (alt_names.is_empty(), requested.copies_names()) {
            (false, _) => Presence::Required,
            (true, true) => Presence::Optional,
            (true, false) => Presence::Forbidden,
        },
        subject_key_identifier: extensions.subject_key_identifier,
        constant: extensions.constant,
        certificate_bytes_max: raw.certificate_bytes_max.or(base_max),
    })
}

//! Everything that is wrong with one request, and what it asks for, without issuing anything.

mod words;

use std::collections::BTreeMap;

use crate::csr::{
    CertificateSigningRequestDer, Parts, VerifiedRequest, attribute_types, check_signature,
    check_signature_hash, parse_attributes, signature_oid,
};
use crate::der::reader::{check_strict, whole_octets};
use crate::der::tag;
use crate::hex;
use crate::issuer::Issuer;
use crate::key::SubjectPublicKeyInfo;
use crate::name::Name;
use crate::oid;
use crate::profile::Profile;
use crate::rejection::Rejection;
use crate::requested_extensions::{RequestedExtension, RequestedExtensions};
use crate::template::{FieldValues, brings_serial};
use crate::validate::{check_data, check_issuer_key, check_no_ca, content};
use crate::weak_key::{KnownBadKeys, check_known};

/// What a request holds and what is wrong with it: [`CsrReport::examine`] makes one. Issuing stops at the first finding;
/// this goes on wherever the rest can still be judged.
///
/// Texts from the request are made fit for a terminal. A challenge password is never among them.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CsrReport {
    /// All that is wrong, in the order of the checks. Without any the request would be accepted, unless its key or
    /// identity is in the log already: nobody asked it.
    pub findings: Vec<Rejection>,
    /// The subject's attributes in order, `None` if it cannot be read.
    pub subject: Option<Vec<CsrAttribute>>,
    /// The key, `None` if it cannot be read.
    pub key: Option<CsrKey>,
    /// Name or dotted identifier.
    pub signature_algorithm: Option<String>,
    /// The types of the request's attributes.
    pub attributes: Vec<String>,
    /// What it asks for.
    pub extensions: Vec<CsrExtension>,
}

/// An attribute of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CsrAttribute {
    /// Short name or dotted identifier.
    pub name: String,
    /// The text, cut off after 128 characters, or what it is instead.
    pub value: String,
}

/// A request's key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CsrKey {
    /// For example `P-256`.
    pub algorithm: &'static str,
    /// Bits of an RSA modulus.
    pub bits: Option<usize>,
    /// As records and permits have it, in hexadecimal.
    pub fingerprint: String,
}

/// A requested extension.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CsrExtension {
    /// Name or dotted identifier.
    pub name: String,
    /// As the request has it.
    pub critical: bool,
    /// In words, or in hexadecimal.
    pub value: String,
    /// What becomes of it.
    pub fate: ExtensionFate,
}

/// What becomes of a requested extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExtensionFate {
    /// The certificate gets what its profile says, whatever was asked for.
    Ignored,
    /// It is why the request is refused.
    Refused,
    /// The certificate gets its names, each of which the profile has to let in.
    Taken,
    /// The profile wants it asked for, with the value that it gives.
    Required,
}

impl std::fmt::Display for ExtensionFate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ignored => "ignored",
            Self::Refused => "refused",
            Self::Taken => "taken",
            Self::Required => "required",
        })
    }
}

/// What a request is held against beyond its own form, signature and key.
#[derive(Debug, Clone, Copy)]
pub struct CsrPolicy<'a> {
    /// The profile that it would be issued under.
    pub profile: &'a Profile,
    /// The CA that would issue it.
    pub issuer: &'a Issuer,
    /// What the line would add.
    pub data: &'a BTreeMap<String, String>,
    /// The keys that no device may have.
    pub known_bad_keys: Option<&'a KnownBadKeys>,
}

impl CsrReport {
    /// Looks at a request, DER. Bounded as issuing is.
    #[must_use]
    pub fn examine(csr: &[u8], policy: Option<&CsrPolicy<'_>>) -> Self {
        let mut report = Self::default();
        if let Err(rejection) = CertificateSigningRequestDer::new(csr) {
            report.find::<()>(Err(rejection));
            return report;
        }
        report.find(check_strict(csr).map_err(Rejection::from));
        if let Some(parts) = report.find(Parts::read(csr)) {
            report.examine_parts(&parts, policy);
        }
        report
    }

    /// Keeps a finding, once, or hands the value on.
    fn find<T>(&mut self, result: Result<T, Rejection>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(finding) => {
                if !self.findings.contains(&finding) {
                    self.findings.push(finding);
                }
                None
            }
        }
    }

    fn examine_parts(&mut self, parts: &Parts<'_>, policy: Option<&CsrPolicy<'_>>) {
        self.find(parts.check_version());
        let subject = self.find(Name::parse(&parts.subject).map_err(Rejection::from));
        self.subject = subject.map(|subject| subject_attributes(&subject));
        let key = self.find(SubjectPublicKeyInfo::parse(&parts.key));
        self.attributes = attribute_types(&parts.attributes)
            .map(words::attribute)
            .collect();
        let extensions = self.find(parse_attributes(&parts.attributes));
        if let Some(extensions) = &extensions {
            let profile = policy.map(|policy| policy.profile);
            self.extensions = extensions
                .iter()
                .map(|extension| requested_extension(extension, profile))
                .collect();
        }
        self.examine_signature(parts, key.as_ref());
        if let Some(key) = &key {
            self.examine_key(key, policy);
        }
        if let (Some(policy), Some(subject), Some(key), Some(extensions)) =
            (policy, subject, key, extensions)
        {
            self.examine_content(policy, subject, key, extensions);
        }
    }

    fn examine_signature(&mut self, parts: &Parts<'_>, key: Option<&SubjectPublicKeyInfo<'_>>) {
        let named = parts
            .signature_algorithm
            .reader()
            .expect(tag::OID, "no signature algorithm");
        if let Some(named) = self.find(named.map_err(Rejection::from)) {
            self.signature_algorithm = Some(words::signature_algorithm(named.content));
            self.find(check_signature_hash(named.content));
        }
        let signature = self.find(whole_octets(&parts.signature).map_err(Rejection::from));
        let Some(key) = key else {
            return;
        };
        let algorithm = self.find(signature_oid(&parts.signature_algorithm, key));
        if let (Some(algorithm), Some(signature)) = (algorithm, signature) {
            self.find(check_signature(key, algorithm, parts.info, signature));
        }
    }

    fn examine_key(&mut self, key: &SubjectPublicKeyInfo<'_>, policy: Option<&CsrPolicy<'_>>) {
        self.key = Some(CsrKey {
            algorithm: key.algorithm.name(),
            bits: key.modulus_bits(),
            fingerprint: hex::encode(&key.fingerprint()),
        });
        self.find(key.check_point());
        for weakness in key.weaknesses() {
            self.find::<()>(Err(weakness));
        }
        let known = policy.and_then(|policy| policy.known_bad_keys);
        self.find(check_known(known, key));
    }

    /// What the profile says. The request counts as verified here, whatever was found of its signature.
    fn examine_content(
        &mut self,
        policy: &CsrPolicy<'_>,
        subject: Name<'_>,
        key: SubjectPublicKeyInfo<'_>,
        extensions: RequestedExtensions<'_>,
    ) {
        let request = VerifiedRequest {
            subject,
            key,
            extensions,
            generated: false,
        };
        let fingerprint = key.fingerprint();
        self.find(check_data(None, policy.data));
        self.find(policy.profile.check_key(&key));
        self.find(check_issuer_key(&fingerprint, policy.issuer));
        self.find(check_no_ca(&request, policy.profile));
        // Which number it would get shows when it is issued.
        let proposed = policy
            .profile
            .serials()
            .filter(|_| !brings_serial(&request));
        let serial = proposed.map(|serials| serials.text(0));
        let (profile, values) = (policy.profile, &mut FieldValues::new());
        let content = content(&request, profile, policy.data, serial.as_deref(), values);
        self.find(content.map(drop));
    }
}

fn subject_attributes(subject: &Name<'_>) -> Vec<CsrAttribute> {
    let attributes = subject.attributes();
    attributes
        .map(|(oid, value)| CsrAttribute {
            name: words::name_attribute(oid),
            value: words::directory_string(&value),
        })
        .collect()
}

fn requested_extension(
    extension: RequestedExtension<'_>,
    profile: Option<&Profile>,
) -> CsrExtension {
    CsrExtension {
        name: words::extension(extension.oid),
        critical: extension.critical,
        value: words::extension_value(&extension),
        fate: fate(&extension, profile),
    }
}

fn fate(extension: &RequestedExtension<'_>, profile: Option<&Profile>) -> ExtensionFate {
    if extension.asks_for_ca() && !profile.is_some_and(Profile::is_ca) {
        return ExtensionFate::Refused;
    }
    match profile.map(|profile| &profile.requested) {
        Some(policy) if policy.requires(extension.oid) => ExtensionFate::Required,
        Some(policy) if policy.copies_names() && extension.oid == oid::SUBJECT_ALT_NAME => {
            ExtensionFate::Taken
        }
        _ => ExtensionFate::Ignored,
    }
}

#[cfg(test)]
mod tests;

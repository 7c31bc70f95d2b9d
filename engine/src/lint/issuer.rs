//! The issuer, where its certificate is known: names, identifiers and the signature.

use std::cell::Cell;

use aws_lc_rs::signature::ParsedPublicKey;
use p256x8::{Digest, Signature};

use super::der::Value;
use super::extensions::{self, Facts, usage};
use super::key::{KeyKind, Spki};
use super::structure::Certificate;
use super::{CONTINUE, Flow, Report, Rule, rules, time};
use crate::issuer::{Issuer, SignatureForm};
use crate::key::sha256;

/// The certificate of an issuing CA, as far as certificates below it are held against it. Unlike
/// [`Issuer`] it need not be fit to issue: what is wrong with it is a finding.
#[derive(Debug, Clone)]
pub struct IssuerView {
    subject: Vec<u8>,
    spki: Vec<u8>,
    kind: KeyKind,
    key: Vec<u8>,
    key_identifier: Option<Vec<u8>>,
    not_before_s: Option<i64>,
    not_after_s: Option<i64>,
    may_issue: bool,
}

/// Bytes that cannot be an issuer's certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerViewError {
    /// A part of it cannot be found.
    #[error("not a certificate: it has no readable {part}")]
    Missing {
        /// The part.
        part: &'static str,
    },
}

/// Hears nothing: what is wrong with the issuer's certificate is another run's matter.
struct Nobody;

impl Report for Nobody {
    const ALL: bool = false;

    fn report(&mut self, _: &'static Rule, _: std::fmt::Arguments<'_>) -> Flow {
        CONTINUE
    }
}

impl IssuerView {
    /// Reads a certificate in DER as far as it can be read.
    ///
    /// # Errors
    /// [`IssuerViewError::Missing`] where subject or key cannot be found.
    pub fn from_der(der: &[u8]) -> Result<Self, IssuerViewError> {
        let missing = |part| IssuerViewError::Missing { part };
        let mut certificate = Certificate::default();
        if certificate.read(der, &mut Nobody).is_break() {
            return Err(missing("structure"));
        }
        let subject = certificate.subject.ok_or(missing("subject"))?;
        let spki = certificate.spki.ok_or(missing("public key"))?;
        let key = Spki::read(spki).ok_or(missing("public key"))?;
        let facts = match extensions::check(&certificate, &mut Nobody) {
            Flow::Continue(facts) => facts,
            Flow::Break(_) => return Err(missing("extensions")),
        };
        let seconds = |time: Option<Value<'_>>| {
            time.and_then(|time| time::unix_seconds(time.tag, time.content).ok())
        };
        Ok(Self {
            subject: subject.encoding.to_vec(),
            spki: spki.encoding.to_vec(),
            kind: key.kind,
            key: key.key.to_vec(),
            key_identifier: facts.subject_key_identifier.map(<[u8]>::to_vec),
            not_before_s: seconds(certificate.not_before),
            not_after_s: seconds(certificate.not_after),
            may_issue: facts.is_ca
                && facts
                    .key_usage
                    .is_none_or(|bits| bits & usage::KEY_CERT_SIGN != 0),
        })
    }

    pub(super) fn facts(&self) -> IssuerFacts<'_> {
        IssuerFacts {
            subject: &self.subject,
            spki: Some(&self.spki),
            key_identifier: self.key_identifier.as_deref(),
            not_before_s: self.not_before_s,
            not_after_s: self.not_after_s,
            may_issue: self.may_issue,
            verifier: Verifier::Key(self.kind, &self.key),
        }
    }
}

/// What a certificate is held against.
pub(super) struct IssuerFacts<'a> {
    /// The issuer certificate's subject, DER.
    pub(super) subject: &'a [u8],
    spki: Option<&'a [u8]>,
    key_identifier: Option<&'a [u8]>,
    pub(super) not_before_s: Option<i64>,
    pub(super) not_after_s: Option<i64>,
    may_issue: bool,
    verifier: Verifier<'a>,
}

/// How the issuer signs.
enum Verifier<'a> {
    /// As the engine's issuer does, in one form.
    Form(&'a SignatureForm),
    /// The same, with P-256 and SHA-256: the signature is laid aside, to be verified together with others.
    Deferred(&'a SignatureForm, &'a Cell<Option<(Digest, Signature)>>),
    /// The same, and the signature is not looked at.
    Unverified(&'a SignatureForm),
    /// With its key and whatever algorithm fits.
    Key(KeyKind, &'a [u8]),
}

impl<'a> IssuerFacts<'a> {
    /// Of the engine's own issuer, which was found fit to issue, and one of its forms.
    pub(super) fn new(issuer: &'a Issuer, form: &'a SignatureForm) -> Self {
        let (from, until) = issuer.validity_s();
        Self {
            subject: issuer.subject(),
            // A request for the issuer's own key was refused.
            spki: None,
            key_identifier: Some(issuer.subject_key_identifier()),
            not_before_s: i64::try_from(from).ok(),
            not_after_s: i64::try_from(until).ok(),
            may_issue: true,
            verifier: Verifier::Form(form),
        }
    }

    /// For certificates of another day: an issuer that is renewed with its key and name has another validity.
    pub(super) fn without_validity(issuer: &'a Issuer, form: &'a SignatureForm) -> Self {
        Self {
            not_before_s: None,
            not_after_s: None,
            ..Self::new(issuer, form)
        }
    }

    /// The signature goes into `deferred`, unless it is in no usual form and was verified at once. The issuer's key is on P-256.
    pub(super) fn deferring(
        issuer: &'a Issuer,
        form: &'a SignatureForm,
        deferred: &'a Cell<Option<(Digest, Signature)>>,
    ) -> Self {
        Self {
            verifier: Verifier::Deferred(form, deferred),
            ..Self::new(issuer, form)
        }
    }

    pub(super) fn without_signature(issuer: &'a Issuer, form: &'a SignatureForm) -> Self {
        Self {
            verifier: Verifier::Unverified(form),
            ..Self::new(issuer, form)
        }
    }
}

/// The signature comes last, so that a wrong one is the only finding.
pub(super) fn check<R: Report>(
    certificate: &Certificate<'_>,
    facts: &Facts<'_>,
    issuer: &IssuerFacts<'_>,
    report: &mut R,
) -> Flow {
    report.ensure(issuer.may_issue, &rules::ISSUER_CA)?;
    if let Some(name) = certificate.issuer {
        report.ensure(name.encoding == issuer.subject, &rules::ISSUER_NAME)?;
    }
    if let (Some(own), Some(issuers)) = (facts.authority_key_identifier, issuer.key_identifier) {
        report.ensure(own == issuers, &rules::ISSUER_AKI)?;
    }
    // A self-signed certificate is its own issuer.
    let self_issued = certificate
        .subject
        .is_some_and(|subject| subject.encoding == issuer.subject);
    if let (Some(own), Some(issuers), false) = (certificate.spki, issuer.spki, self_issued) {
        report.ensure(own.encoding != issuers, &rules::ISSUER_KEY)?;
    }
    let parts = (
        certificate.tbs,
        certificate.signature_algorithm,
        certificate.signature,
    );
    match parts {
        (Some(tbs), Some(algorithm), Some(signature)) => match signature.content {
            [0, octets @ ..] => check_signature(tbs, algorithm, octets, issuer, report),
            // Reported with the signature's form.
            _ => CONTINUE,
        },
        _ => CONTINUE,
    }
}

fn check_signature<R: Report>(
    tbs: Value<'_>,
    algorithm: Value<'_>,
    signature: &[u8],
    issuer: &IssuerFacts<'_>,
    report: &mut R,
) -> Flow {
    match issuer.verifier {
        Verifier::Form(form) | Verifier::Deferred(form, _) | Verifier::Unverified(form) => {
            // Equal inside and out, which was looked at before.
            let expected = algorithm.encoding == &form.algorithm[..];
            report.ensure(expected, &rules::ISSUER_ALGORITHM)?;
            let fits = signature.len() <= form.signature_bytes_max;
            report.ensure(fits, &rules::SIGNATURE_LENGTH)?;
            match issuer.verifier {
                Verifier::Unverified(_) => return CONTINUE,
                Verifier::Deferred(_, deferred) => {
                    if let Some(signature) = Signature::from_der(signature) {
                        deferred.set(Some((Digest(sha256(tbs.encoding)), signature)));
                        return CONTINUE;
                    }
                }
                _ => {}
            }
            let verified = form.key.verify_sig(tbs.encoding, signature).is_ok();
            report.ensure(verified, &rules::ISSUER_SIGNATURE)
        }
        Verifier::Key(kind, key) => {
            let verification = kind.verification(algorithm);
            let key = verification.and_then(|by| ParsedPublicKey::new(by, key).ok());
            match key {
                Some(key) => {
                    let verified = key.verify_sig(tbs.encoding, signature).is_ok();
                    report.ensure(verified, &rules::ISSUER_SIGNATURE)
                }
                None if kind.can_sign(algorithm) => report.broken(&rules::ISSUER_UNVERIFIED),
                None => report.broken(&rules::ISSUER_ALGORITHM),
            }
        }
    }
}

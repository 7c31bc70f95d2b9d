//! The check before release: the linter's rules, up to the first error.

use std::cell::Cell;
use std::fmt;
use std::ops::ControlFlow;

use p256x8::{Digest, Signature};

use super::issuer::IssuerFacts;
use super::{CONTINUE, Demands, Finding, FirstError, Flow, Report, RequestFacts, Rule, check};
use crate::issuer::{Issuer, SignatureForm};
use crate::key::DeviceKeyAlgorithm;
use crate::profile::CertificateRules;

/// What the certificate must hold.
#[derive(Debug)]
pub(crate) struct Expectation<'a> {
    pub(crate) issuer: &'a Issuer,
    /// The request's SubjectPublicKeyInfo, whole.
    pub(crate) spki: &'a [u8],
    pub(crate) key_algorithm: DeviceKeyAlgorithm,
    pub(crate) rules: &'a CertificateRules,
}

/// Checks encoding, content and signature of a certificate in DER. `serial` is the reserved number. Allocates
/// nothing unless there is a finding.
pub(crate) fn check_certificate(
    der: &[u8],
    serial: &[u8],
    expected: &Expectation<'_>,
) -> Result<(), Finding> {
    let issuer = IssuerFacts::new(expected.issuer, expected.issuer.form());
    first_error(der, &demands(serial, expected, issuer))
}

/// The same for an issuer with a P-256 key, but the signature is left to whoever calls, with the digest that it must verify for.
/// `None` where it was in no usual form, and verified here.
pub(crate) fn check_but_signature(
    der: &[u8],
    serial: &[u8],
    expected: &Expectation<'_>,
) -> Result<Option<(Digest, Signature)>, Finding> {
    let deferred = Cell::new(None);
    let issuer = IssuerFacts::deferring(expected.issuer, expected.issuer.form(), &deferred);
    first_error(der, &demands(serial, expected, issuer))?;
    Ok(deferred.get())
}

/// The same without the signature: what a bench counts.
pub(crate) fn reread(der: &[u8], serial: &[u8], expected: &Expectation<'_>) -> Result<(), Finding> {
    let issuer = IssuerFacts::without_signature(expected.issuer, expected.issuer.form());
    first_error(der, &demands(serial, expected, issuer))
}

fn demands<'a>(
    serial: &'a [u8],
    expected: &Expectation<'a>,
    issuer: IssuerFacts<'a>,
) -> Demands<'a> {
    Demands {
        issuer: Some(issuer),
        request: Some(RequestFacts {
            spki: expected.spki,
            key_algorithm: expected.key_algorithm,
            serial,
        }),
        rules: Some(expected.rules),
        profile: None,
        purpose: None,
    }
}

/// Checks a made-up certificate of a profile: what every one of its certificates would have, so that a finding is the
/// profile's fault. Neither its signature nor the values in its names are those of a request.
pub(crate) fn check_sample(
    der: &[u8],
    serial: &[u8],
    expected: &Expectation<'_>,
) -> Result<(), Finding> {
    let issuer = IssuerFacts::without_signature(expected.issuer, expected.issuer.form());
    let demands = demands(serial, expected, issuer);
    first(der, &demands, &mut FirstErrorOf(is_of_profile))
}

fn is_of_profile(rule: &Rule) -> bool {
    !rule.id.starts_with("signature-") && rule.id != "matter-issuer"
}

/// Checks a certificate that was issued earlier, by a request and a profile that are not known any more, and
/// signed in this form: its encoding, its serial number, its algorithms and what ties it to the issuer. What only
/// the profile can answer for is not asked, such as a key usage that its standard demands; nor is the issuer's
/// validity, which a renewal with the same key has moved since.
pub(crate) fn check_issued(
    der: &[u8],
    issuer: &Issuer,
    form: &SignatureForm,
) -> Result<(), Finding> {
    let demands = Demands {
        issuer: Some(IssuerFacts::without_validity(issuer, form)),
        request: None,
        rules: None,
        profile: None,
        purpose: None,
    };
    first(der, &demands, &mut FirstErrorOf(holds_whoever_asked))
}

/// How the identifiers begin of the rules that certificates keep whatever their profile says.
const WHOEVER_ASKED: [&str; 10] = [
    "der-",
    "limit-",
    "structure",
    "version",
    "serial-",
    "time-",
    "algorithm-",
    "signature-",
    "aki-",
    "issuer-",
];

fn holds_whoever_asked(rule: &Rule) -> bool {
    WHOEVER_ASKED
        .iter()
        .any(|beginning| rule.id.starts_with(beginning))
}

/// Stops at the first error of a rule that counts here.
struct FirstErrorOf(fn(&Rule) -> bool);

impl Report for FirstErrorOf {
    const ALL: bool = false;

    #[cold]
    fn report(&mut self, rule: &'static Rule, detail: fmt::Arguments<'_>) -> Flow {
        if (self.0)(rule) {
            FirstError.report(rule, detail)
        } else {
            CONTINUE
        }
    }
}

fn first_error(der: &[u8], demands: &Demands<'_>) -> Result<(), Finding> {
    first(der, demands, &mut FirstError)
}

fn first<R: Report>(der: &[u8], demands: &Demands<'_>, report: &mut R) -> Result<(), Finding> {
    match check(der, demands, report) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(finding) => Err(finding),
    }
}

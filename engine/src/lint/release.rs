//! The check before release: the linter's rules, up to the first error.

use std::ops::ControlFlow;

use super::issuer::IssuerFacts;
use super::{Demands, Finding, FirstError, RequestFacts, check};
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

/// Checks a certificate that was issued earlier, by a request and a profile that are not known any more, and
/// signed in this form.
pub(crate) fn check_issued(
    der: &[u8],
    issuer: &Issuer,
    form: &SignatureForm,
) -> Result<(), Finding> {
    first_error(
        der,
        &Demands {
            issuer: Some(IssuerFacts::new(issuer, form)),
            request: None,
            rules: None,
            profile: None,
            purpose: None,
        },
    )
}

fn first_error(der: &[u8], demands: &Demands<'_>) -> Result<(), Finding> {
    match check(der, demands, &mut FirstError) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(finding) => Err(finding),
    }
}

//! The linter: re-reads finished certificates and holds them against the rules of X.690, RFC 5280 and the
//! standards of their keys. It works on the bytes alone and shares nothing with the code that encodes them. Profiles ask
//! it what URIs, mailboxes and attributes may look like, so that nothing is signed that it would refuse.
//!
//! There is one implementation of each rule and there are two readers of what it reports: [`lint`] collects every finding of
//! anybody's certificate, and the check before release stops at the first error.
//!
//! ```
//! use birthmark_engine::lint::{Options, Severity, lint};
//!
//! // An indefinite length, which DER does not have.
//! let findings = lint(&[0x30, 0x80, 0x00, 0x00], &Options::default());
//! assert_eq!(findings[0].rule.id, "der-length-indefinite");
//! assert_eq!(findings[0].rule.severity, Severity::Error);
//! ```

mod algorithm;
mod der;
mod extensions;
pub(crate) mod general_name;
mod issuer;
mod key;
mod locations;
mod matter;
pub(crate) mod name;
mod policies;
mod profile;
mod release;
pub(crate) mod rules;
mod structure;
pub(crate) mod time;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::ops::ControlFlow;

use crate::der::reader::Tlv;
use crate::key::{DeviceKeyAlgorithm, SubjectPublicKeyInfo};
use crate::profile::{CertificateRules, Profile};
use extensions::Facts;
use issuer::IssuerFacts;
use structure::Certificate;

pub use issuer::{IssuerView, IssuerViewError};
pub(crate) use release::{
    Expectation, check_but_signature, check_certificate, check_issued, check_sample, reread,
};
pub use rules::RULES;

/// Octets of the longest certificate that is read. The longest in use, with ML-DSA-87 twice, have under 8,000.
pub const CERTIFICATE_BYTES_MAX: usize = 65_536;

/// Findings in one certificate, at most: enough to see what is wrong with it.
pub const FINDINGS_MAX: usize = 256;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing; the certificate is as its rules want it.
    Notice,
    /// Allowed, and advised against by the source.
    Warning,
    /// Against the source. Such a certificate is never released.
    Error,
}

impl Severity {
    /// `error`, `warning` or `notice`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One rule of the table [`RULES`].
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// Its name, which does not change: `serial-positive`.
    pub id: &'static str,
    /// How much it weighs where it is broken.
    pub severity: Severity,
    /// Who says so: standard and section.
    pub source: &'static str,
    /// What is wrong where it is broken.
    pub text: &'static str,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.source)
    }
}

/// One place where a certificate breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// Where, or which value, if the rule alone does not say so. Holds no control characters.
    pub detail: Option<Box<str>>,
}

impl Finding {
    /// A finding without a detail.
    pub(crate) fn new(rule: &'static Rule) -> Self {
        Self { rule, detail: None }
    }

    fn with_detail(rule: &'static Rule, detail: fmt::Arguments<'_>) -> Self {
        let detail = match detail.as_str() {
            Some("") => None,
            _ => Some(detail.to_string().into_boxed_str()),
        };
        Self { rule, detail }
    }

    /// Whether this is the one finding that is the signer's doing. It is looked for last, so that there is no
    /// other.
    pub(crate) fn is_wrong_signature(&self) -> bool {
        self.rule.id == rules::ISSUER_SIGNATURE.id
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rule.text)?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        write!(f, " ({})", self.rule.source)
    }
}

/// What a certificate is for, where whoever asks knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// It must not be a CA's.
    EndEntity,
    /// It must be a CA's.
    Ca,
}

/// What is known about a certificate besides its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// The certificate of the CA that issued it: names, identifiers, times and the signature are compared.
    pub issuer: Option<&'a IssuerView>,
    /// The profile that it was issued by.
    pub profile: Option<&'a Profile>,
    /// What it is for.
    pub purpose: Option<Purpose>,
}

/// Reads a certificate in DER and says everything that is wrong with it, in the order of reading, at most
/// [`FINDINGS_MAX`] findings. No input makes it panic, and its work grows with the input's length alone.
#[must_use]
pub fn lint(der: &[u8], options: &Options<'_>) -> Vec<Finding> {
    let mut all = All(Vec::new());
    let demands = Demands {
        issuer: options.issuer.map(IssuerView::facts),
        request: None,
        rules: options.profile.map(Profile::rules),
        profile: options.profile,
        purpose: options.purpose,
    };
    let _ = check(der, &demands, &mut all);
    all.0
}

/// What a finished certificate is held against.
pub(crate) struct Demands<'a> {
    issuer: Option<IssuerFacts<'a>>,
    request: Option<RequestFacts<'a>>,
    rules: Option<&'a CertificateRules>,
    /// For the keys that it takes. The engine has asked that of the request already.
    profile: Option<&'a Profile>,
    purpose: Option<Purpose>,
}

/// What the engine knows of the request that it answers.
struct RequestFacts<'a> {
    /// Its SubjectPublicKeyInfo, whole, which was validated.
    spki: &'a [u8],
    key_algorithm: DeviceKeyAlgorithm,
    /// The reserved serial number's magnitude.
    serial: &'a [u8],
}

/// Whether to go on, or the finding that ends the check.
type Flow<T = ()> = ControlFlow<Finding, T>;

const CONTINUE: Flow = ControlFlow::Continue(());

/// Who hears of findings.
trait Report {
    /// Whether all findings are wanted: without it, what can only give warnings and notices is not looked for.
    const ALL: bool;

    /// `rule` is broken. An empty `detail` is none.
    fn report(&mut self, rule: &'static Rule, detail: fmt::Arguments<'_>) -> Flow;

    /// `rule` is broken unless `holds`.
    #[inline]
    fn ensure(&mut self, holds: bool, rule: &'static Rule) -> Flow {
        if holds { CONTINUE } else { self.broken(rule) }
    }

    #[cold]
    fn broken(&mut self, rule: &'static Rule) -> Flow {
        self.report(rule, format_args!(""))
    }
}

/// Keeps all findings, each once.
struct All(Vec<Finding>);

impl Report for All {
    const ALL: bool = true;

    fn report(&mut self, rule: &'static Rule, detail: fmt::Arguments<'_>) -> Flow {
        let finding = Finding::with_detail(rule, detail);
        if self.0.len() >= FINDINGS_MAX {
            return ControlFlow::Break(finding);
        }
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
        CONTINUE
    }
}

/// Stops at the first error.
struct FirstError;

impl Report for FirstError {
    const ALL: bool = false;

    #[cold]
    fn report(&mut self, rule: &'static Rule, detail: fmt::Arguments<'_>) -> Flow {
        match rule.severity {
            Severity::Error => ControlFlow::Break(Finding::with_detail(rule, detail)),
            _ => CONTINUE,
        }
    }
}

/// All rules, in the order of the certificate; the signature is verified last.
fn check<R: Report>(der: &[u8], demands: &Demands<'_>, report: &mut R) -> Flow {
    let mut certificate = Certificate::default();
    certificate.read(der, report)?;
    if certificate.tbs.is_none() {
        // Reported. What is missing now is not the certificate's fault.
        return CONTINUE;
    }
    check_serial(&certificate, demands, report)?;
    algorithm::check(&certificate, report)?;
    let key = key::check(&certificate, demands, report)?;
    check_validity(&certificate, demands, report)?;
    let facts = extensions::check(&certificate, report)?;
    check_names(&certificate, demands, &facts, report)?;
    extensions::check_facts(&certificate, &facts, demands, key, report)?;
    profile::check(&certificate, &facts, demands, key, report)?;
    if let (Some(profile), Some(spki)) = (demands.profile, certificate.spki) {
        let read = SubjectPublicKeyInfo::parse(&Tlv {
            tag: spki.tag,
            content: spki.content,
            encoding: spki.encoding,
        });
        let taken = read.and_then(|spki| profile.check_key(&spki)).is_ok();
        report.ensure(taken, &rules::PROFILE_KEY)?;
    }
    match &demands.issuer {
        Some(issuer) => issuer::check(&certificate, &facts, issuer, report),
        None => CONTINUE,
    }
}

fn check_serial<R: Report>(
    certificate: &Certificate<'_>,
    demands: &Demands<'_>,
    report: &mut R,
) -> Flow {
    /// Octets of a serial number as encoded, RFC 5280 §4.1.2.2.
    const SERIAL_BYTES_MAX: usize = 20;
    /// Octets that 64 random bits take.
    const SERIAL_BYTES_RANDOM: usize = 8;

    let Some(serial) = certificate.serial else {
        return CONTINUE;
    };
    let content = serial.content;
    let positive =
        content.first().is_some_and(|first| first & 0x80 == 0) && content.iter().any(|b| *b != 0);
    report.ensure(positive, &rules::SERIAL_POSITIVE)?;
    report.ensure(content.len() <= SERIAL_BYTES_MAX, &rules::SERIAL_LENGTH)?;
    report.ensure(content.len() >= SERIAL_BYTES_RANDOM, &rules::SERIAL_SHORT)?;
    if let Some(request) = &demands.request {
        let magnitude = content.strip_prefix(&[0]).unwrap_or(content);
        report.ensure(magnitude == request.serial, &rules::REQUEST_SERIAL)?;
    }
    CONTINUE
}

fn check_validity<R: Report>(
    certificate: &Certificate<'_>,
    demands: &Demands<'_>,
    report: &mut R,
) -> Flow {
    let mut seconds = [None; 2];
    let times = [
        ("notBefore", certificate.not_before),
        ("notAfter", certificate.not_after),
    ];
    for (place, (field, time)) in seconds.iter_mut().zip(times) {
        let Some(time) = time else { continue };
        match time::unix_seconds(time.tag, time.content) {
            Ok(unix_s) => *place = Some(unix_s),
            Err(rule) => report.report(rule, format_args!("{field}"))?,
        }
    }
    let [from, until] = seconds;
    if let (Some(from), Some(until)) = (from, until) {
        report.ensure(from <= until, &rules::VALIDITY_ORDER)?;
    }
    let indefinite = certificate
        .not_after
        .is_some_and(|time| time.content == crate::profile::INDEFINITE.as_bytes());
    report.ensure(!indefinite, &rules::VALIDITY_INDEFINITE)?;
    if let Some(rules) = demands.rules {
        report.ensure(indefinite || !rules.indefinite, &rules::PROFILE_INDEFINITE)?;
    }
    let Some(issuer) = &demands.issuer else {
        return CONTINUE;
    };
    if let (Some(from), Some(starts), Some(ends)) = (from, issuer.not_before_s, issuer.not_after_s)
    {
        report.ensure((starts..=ends).contains(&from), &rules::ISSUER_NOT_BEFORE)?;
    }
    // Without a profile that says otherwise, what has no expiration may outlive its issuer, as an IDevID does
    // by design (IEEE 802.1AR-2018 §8.7).
    let may_outlive = indefinite && demands.rules.is_none_or(|rules| rules.indefinite);
    match (until, issuer.not_after_s) {
        (Some(until), Some(ends)) if !may_outlive => {
            report.ensure(until <= ends, &rules::ISSUER_NOT_AFTER)
        }
        _ => CONTINUE,
    }
}

fn check_names<R: Report>(
    certificate: &Certificate<'_>,
    demands: &Demands<'_>,
    facts: &Facts<'_>,
    report: &mut R,
) -> Flow {
    if let Some(issuer) = certificate.issuer {
        report.ensure(!issuer.content.is_empty(), &rules::ISSUER_EMPTY)?;
        // What is the issuer's own subject, byte for byte, was judged with the issuer's certificate.
        let known = demands
            .issuer
            .as_ref()
            .is_some_and(|known| known.subject == issuer.encoding);
        if R::ALL || !known {
            name::check(issuer, "issuer", report)?;
        }
    }
    let Some(subject) = certificate.subject else {
        return CONTINUE;
    };
    name::check(subject, "subject", report)?;
    if let Some(issuer) = certificate.issuer {
        matter::check(issuer, subject, report)?;
    }
    if !subject.content.is_empty() {
        return CONTINUE;
    }
    report.ensure(!facts.is_ca, &rules::SUBJECT_EMPTY_CA)?;
    report.ensure(
        facts.is_ca || facts.subject_alt_name == Some(true),
        &rules::SUBJECT_EMPTY_SAN,
    )
}

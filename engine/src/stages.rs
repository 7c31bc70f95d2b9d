//! Single steps of the cycle, for benches and fuzz targets. Not part of the API: it may change at any time.

use std::collections::BTreeMap;

use birthmark_hsm::{Signature, SigningPool};
use birthmark_log::ReservationId;
use p256x8::Verifier;

use crate::certificate::CertificateView;
use crate::csr::{
    CertificateSigningRequestDer, CertificationRequest, VerifiedRequest, check_signature,
    signature_oid, verify_batch,
};
use crate::csr_report::CsrReport;
use crate::der::reader::single;
use crate::der::tag;
use crate::issuer::Issuer;
use crate::key::{DeviceKeyAlgorithm, SubjectPublicKeyInfo};
use crate::lint::{Expectation, check_certificate, reread};
use crate::profile::Profile;
use crate::serial_offer::SerialOffer;
use crate::tbs::{HEADROOM, TbsTemplate, encode};
use crate::template::FieldValues;
use crate::validate::{REQUEST_ID_VERSION, ValidatedRequest, content, request_id, validate};
use crate::weak_key::{check_known, check_modulus};

/// Parses a request and says whether it is well formed.
#[must_use]
pub fn parse_csr(bytes: &[u8]) -> bool {
    CertificateSigningRequestDer::new(bytes)
        .and_then(CertificationRequest::parse)
        .is_ok()
}

/// Parses a request, verifies its proof of possession, and says whether both hold.
#[must_use]
pub fn verify_csr(bytes: &[u8]) -> bool {
    let parsed = CertificateSigningRequestDer::new(bytes).and_then(CertificationRequest::parse);
    verify_batch(&Verifier::scalar(), vec![parsed])
        .iter()
        .all(Result::is_ok)
}

/// Verifies a signature as a request's proof of possession is verified, with a SubjectPublicKeyInfo and an
/// AlgorithmIdentifier in DER, and says whether it holds.
#[must_use]
pub fn verify_signature(spki: &[u8], algorithm: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let verify = || {
        let whole = |der| single(der, tag::SEQUENCE, "no SEQUENCE");
        let key = SubjectPublicKeyInfo::parse(&whole(spki)?)?;
        let oid = signature_oid(&whole(algorithm)?, &key)?;
        check_signature(&key, oid, message, signature)
    };
    verify().is_ok()
}

/// Looks for every weakness of an RSA modulus, and says that it has none.
#[must_use]
pub fn rsa_modulus_is_sound(modulus: &[u8]) -> bool {
    check_modulus(modulus).is_ok()
}

/// Tells everything about a request, and says whether it has a finding.
#[must_use]
pub fn report_csr(bytes: &[u8]) -> bool {
    !CsrReport::examine(bytes, None).findings.is_empty()
}

/// Reads a certificate and says whether it is well formed.
#[must_use]
pub fn parse_certificate(bytes: &[u8]) -> bool {
    CertificateView::parse(bytes).is_ok()
}

/// One request on its way, and what it takes to go on.
pub struct Bench {
    issuer: Issuer,
    profile: Profile,
    template: TbsTemplate,
    pool: SigningPool,
    csr: Vec<u8>,
    data: BTreeMap<String, String>,
}

/// A request whose proof of possession was verified.
pub struct Verified<'a> {
    request: VerifiedRequest<'a>,
    /// What the profile takes from it.
    values: FieldValues<'a>,
}

/// A request that its profile accepts.
pub struct Validated<'a>(ValidatedRequest<'a>);

impl Validated<'_> {
    /// The request identity.
    #[must_use]
    pub fn request_id(&self) -> [u8; 32] {
        self.0.request_id
    }
}

/// A finished certificate and the serial number it was made with.
pub struct Finished {
    der: Vec<u8>,
    serial: Vec<u8>,
    spki: Vec<u8>,
    key_algorithm: DeviceKeyAlgorithm,
}

impl Finished {
    /// The certificate, DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

impl Bench {
    /// The steps for one request.
    #[must_use]
    pub fn new(issuer: Issuer, profile: Profile, pool: SigningPool, csr: Vec<u8>) -> Self {
        let template = TbsTemplate::new(&profile, &issuer);
        Self {
            issuer,
            profile,
            template,
            pool,
            csr,
            data: BTreeMap::new(),
        }
    }

    /// The request with its proof of possession verified: what is done next can be repeated.
    #[must_use]
    pub fn verified(&self) -> Option<Verified<'_>> {
        let parsed =
            CertificateSigningRequestDer::new(&self.csr).and_then(CertificationRequest::parse);
        let request = verify_batch(&Verifier::scalar(), vec![parsed])
            .pop()?
            .ok()?;
        let mut values = FieldValues::new();
        content(&request, &self.profile, &self.data, None, &mut values).ok()?;
        Some(Verified { request, values })
    }

    /// Takes another request as far as validation goes, and says whether it is refused.
    #[must_use]
    pub fn refuses(&self, csr: &[u8]) -> bool {
        let parsed = CertificateSigningRequestDer::new(csr).and_then(CertificationRequest::parse);
        let verified = verify_batch(&Verifier::scalar(), vec![parsed]).pop();
        let validated = verified.and_then(Result::ok).and_then(|request| {
            check_known(None, &request.key).ok()?;
            let serial = SerialOffer::None;
            validate(&request, &self.profile, &self.issuer, &self.data, serial).ok()
        });
        validated.is_none()
    }

    /// All of validation that follows the proof of possession, as the engine does it without a list of known
    /// bad keys and without serial numbers of its own: weak keys, profile, names, requested extensions, identity,
    /// fingerprint and request identity.
    #[must_use]
    pub fn validate<'a>(&'a self, verified: &Verified<'a>) -> Option<Validated<'a>> {
        let request = &verified.request;
        request.key.check_weakness().ok()?;
        check_known(None, &request.key).ok()?;
        let serial = SerialOffer::None;
        let validated = validate(request, &self.profile, &self.issuer, &self.data, serial);
        validated.ok().map(Validated)
    }

    /// The two SHA-256 digests of validation by themselves: the key's fingerprint, and the request identity,
    /// which it gives.
    #[must_use]
    pub fn digests(&self, verified: &Verified<'_>) -> [u8; 32] {
        let key = verified.request.key.fingerprint();
        let (issuer, profile) = (&self.issuer, &self.profile);
        let values = &verified.values;
        request_id(REQUEST_ID_VERSION, issuer, profile, &key, values, &[])
    }

    /// Encodes the TBS of a validated request, draws its serial number, and hashes it. Gives the TBS's octets; 0 if it cannot be made.
    #[must_use]
    pub fn encode(&self, validated: &Validated<'_>, now_s: u64) -> usize {
        let (profile, template) = (&self.profile, &self.template);
        let (issuer, pool) = (&self.issuer, &self.pool);
        let tbs = encode(&validated.0, profile, template, issuer, pool, now_s);
        tbs.map_or(0, |tbs| tbs.buffer.len() - HEADROOM)
    }

    /// Makes a certificate, signed by `sign` over what the pool would be given.
    pub fn finish(
        &self,
        now_s: u64,
        sign: impl FnOnce(&birthmark_hsm::SignInput) -> Option<Signature>,
    ) -> Option<Finished> {
        let verified = self.verified()?;
        let Validated(request) = self.validate(&verified)?;
        let (profile, template) = (&self.profile, &self.template);
        let (issuer, pool) = (&self.issuer, &self.pool);
        let tbs = encode(&request, profile, template, issuer, pool, now_s).ok()?;
        let serial = tbs.serial.to_vec();
        let spki = request.key.encoding.to_vec();
        let key_algorithm = request.key.algorithm;
        let reserved = tbs.reserved(ReservationId(0));
        let signature = sign(&reserved.sign_input())?;
        let checked = reserved
            .signed(&signature, &self.issuer)
            .check(&self.expectation(&spki, key_algorithm));
        let der = checked.ok()?.der().to_vec();
        Some(Finished {
            der,
            serial,
            spki,
            key_algorithm,
        })
    }

    /// Checks a finished certificate: encoding, content and signature.
    #[must_use]
    pub fn check(&self, finished: &Finished) -> bool {
        check_certificate(
            &finished.der,
            &finished.serial,
            &self.expectation(&finished.spki, finished.key_algorithm),
        )
        .is_ok()
    }

    /// Checks everything but the signature: what the linter itself costs.
    #[must_use]
    pub fn reread(&self, finished: &Finished) -> bool {
        reread(
            &finished.der,
            &finished.serial,
            &self.expectation(&finished.spki, finished.key_algorithm),
        )
        .is_ok()
    }

    fn expectation<'a>(
        &'a self,
        spki: &'a [u8],
        key_algorithm: DeviceKeyAlgorithm,
    ) -> Expectation<'a> {
        Expectation {
            issuer: &self.issuer,
            spki,
            key_algorithm,
            rules: self.profile.rules(),
        }
    }
}

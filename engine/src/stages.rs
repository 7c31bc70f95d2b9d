//! Single steps of the cycle, for benches and fuzz targets. Not part of the API: it may change at any time.

use std::collections::BTreeMap;

use birthmark_hsm::{Signature, SigningPool};
use birthmark_log::ReservationId;
use p256x8::Verifier;

use crate::certificate::CertificateView;
use crate::csr::{
    CertificateSigningRequestDer, CertificationRequest, check_signature, signature_oid,
    verify_batch,
};
use crate::csr_report::CsrReport;
use crate::der::reader::single;
use crate::der::tag;
use crate::issuer::Issuer;
use crate::key::{DeviceKeyAlgorithm, SubjectPublicKeyInfo};
use crate::lint::{Expectation, check_certificate, reread};
use crate::profile::Profile;
use crate::serial_offer::SerialOffer;
use crate::tbs::{TbsTemplate, encode};
use crate::validate::validate;
use crate::weak_key::check_modulus;

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

    /// Validates and prepares a request that was verified before, as often as `repeat` calls it. Each call
    /// gives the size of the TBS; 0 if the request does not do.
    pub fn validate_and_prepare(&self, now_s: u64, repeat: impl FnOnce(&dyn Fn() -> usize)) {
        let parsed =
            CertificateSigningRequestDer::new(&self.csr).and_then(CertificationRequest::parse);
        let Some(Ok(verified)) = verify_batch(&Verifier::scalar(), vec![parsed]).pop() else {
            return repeat(&|| 0);
        };
        repeat(&|| {
            let validated = validate(
                &verified,
                &self.profile,
                &self.issuer,
                &self.data,
                SerialOffer::None,
            )
            .ok();
            validated
                .and_then(|validated| {
                    encode(
                        &validated,
                        &self.profile,
                        &self.template,
                        &self.issuer,
                        &self.pool,
                        now_s,
                    )
                    .ok()
                })
                .map_or(0, |tbs| tbs.buffer.len())
        });
    }

    /// Makes a certificate, signed by `sign` over what the pool would be given.
    pub fn finish(
        &self,
        now_s: u64,
        sign: impl FnOnce(&birthmark_hsm::SignInput) -> Option<Signature>,
    ) -> Option<Finished> {
        let parsed =
            CertificateSigningRequestDer::new(&self.csr).and_then(CertificationRequest::parse);
        let verified = verify_batch(&Verifier::scalar(), vec![parsed])
            .pop()?
            .ok()?;
        let request = validate(
            &verified,
            &self.profile,
            &self.issuer,
            &self.data,
            SerialOffer::None,
        )
        .ok()?;
        let tbs = encode(
            &request,
            &self.profile,
            &self.template,
            &self.issuer,
            &self.pool,
            now_s,
        )
        .ok()?;
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

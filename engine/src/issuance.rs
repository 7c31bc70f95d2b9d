//! The second half of a certificate's way: reserved, signed, checked, logged. Each step consumes the one
//! before, so that releasing what is not logged, or signing what is not reserved, does not compile.

use birthmark_hsm::{SignInput, Signature};
use birthmark_log::ReservationId;
use p256x8::Digest;

use crate::der::tag;
use crate::der::writer::{Writer, length_octets};
use crate::issuer::Issuer;
use crate::lint::rules::ISSUER_SIGNATURE;
use crate::lint::{Expectation, Finding, check_but_signature, check_certificate};
use crate::tbs::{HEADROOM, TbsCertificate};
use crate::verification::SignatureVerifier;

/// A TBS whose serial number and digest are durable in the log.
#[derive(Debug)]
pub(crate) struct ReservedCertificate {
    tbs: TbsCertificate,
    reservation: ReservationId,
}

impl TbsCertificate {
    /// The log said that the reservation is durable.
    pub(crate) fn reserved(self, reservation: ReservationId) -> ReservedCertificate {
        ReservedCertificate {
            tbs: self,
            reservation,
        }
    }
}

impl ReservedCertificate {
    /// A small copy of what is to be signed. The TBS stays here.
    pub(crate) fn sign_input(&self) -> SignInput {
        self.tbs.sign_input.clone()
    }

    pub(crate) fn reservation(&self) -> ReservationId {
        self.reservation
    }

    pub(crate) fn tbs(&self) -> &TbsCertificate {
        &self.tbs
    }

    /// Completes the certificate in the TBS's own buffer.
    pub(crate) fn signed(mut self, signature: &Signature, issuer: &Issuer) -> SignedCertificate {
        let buffer = &mut self.tbs.buffer;
        let tbs_end = buffer.len();
        buffer.extend_from_slice(issuer.signature_algorithm());
        Writer::new(buffer).bit_string(signature.as_bytes());
        let length = length_octets(buffer.len() - HEADROOM);
        let start = HEADROOM.saturating_sub(1 + length.len());
        buffer[start] = tag::SEQUENCE;
        // A certificate of 65,536 octets and more has a length that the head-room cannot hold. It stays
        // malformed here and the check refuses it.
        if let Some(place) = buffer.get_mut(start + 1..HEADROOM)
            && place.len() == length.len()
        {
            place.copy_from_slice(&length);
        }
        SignedCertificate {
            reserved: self,
            start,
            tbs_end,
        }
    }
}

/// A certificate with a signature that nobody has checked yet.
#[derive(Debug)]
pub(crate) struct SignedCertificate {
    reserved: ReservedCertificate,
    start: usize,
    /// Where the TBS ends in the buffer.
    tbs_end: usize,
}

impl SignedCertificate {
    /// Re-reads the encoding. The signature is verified as well, unless the verifier takes it with others
    /// ([`SignatureVerifier::certificates`]). On failure the TBS comes back as it was reserved: it is signed again, or its
    /// reservation is closed as lost.
    pub(crate) fn reread(
        self,
        expected: &Expectation<'_>,
        verifier: &SignatureVerifier,
    ) -> Result<RereadCertificate, (Finding, ReservedCertificate)> {
        self.read(|der, serial| match verifier.has_issuer() {
            true => check_but_signature(der, serial, expected),
            false => check_certificate(der, serial, expected).map(|()| None),
        })
    }

    /// Re-reads the encoding and verifies the signature, of one certificate.
    pub(crate) fn check(
        self,
        expected: &Expectation<'_>,
    ) -> Result<CheckedCertificate, (Finding, ReservedCertificate)> {
        self.read(|der, serial| check_certificate(der, serial, expected).map(|()| None))?
            .verified(true)
    }

    fn read(
        self,
        check: impl FnOnce(&[u8], &[u8]) -> Result<Option<(Digest, p256x8::Signature)>, Finding>,
    ) -> Result<RereadCertificate, (Finding, ReservedCertificate)> {
        let der = &self.reserved.tbs.buffer[self.start..];
        match check(der, &self.reserved.tbs.serial) {
            Ok(deferred) => Ok(RereadCertificate {
                signed: self,
                deferred,
            }),
            Err(finding) => Err((finding, self.undone())),
        }
    }

    /// As it was reserved.
    fn undone(mut self) -> ReservedCertificate {
        self.reserved.tbs.buffer.truncate(self.tbs_end);
        self.reserved
    }
}

/// A certificate that is as its request, profile and issuer want it. Its signature may still have to be verified.
#[derive(Debug)]
pub(crate) struct RereadCertificate {
    signed: SignedCertificate,
    /// The signature, and the digest that it must verify for. `None` if it was verified.
    deferred: Option<(Digest, p256x8::Signature)>,
}

impl RereadCertificate {
    /// What is left to be verified with the issuer's key.
    pub(crate) fn deferred(&self) -> Option<(Digest, p256x8::Signature)> {
        self.deferred
    }

    /// Only what verified a signature may say that it `is_valid`.
    pub(crate) fn verified(
        self,
        is_valid: bool,
    ) -> Result<CheckedCertificate, (Finding, ReservedCertificate)> {
        let Self { signed, .. } = self;
        if is_valid {
            Ok(CheckedCertificate {
                start: signed.start,
                reserved: signed.reserved,
            })
        } else {
            Err((Finding::new(&ISSUER_SIGNATURE), signed.undone()))
        }
    }
}

/// A certificate that may be released once it is durable.
#[derive(Debug)]
pub(crate) struct CheckedCertificate {
    reserved: ReservedCertificate,
    start: usize,
}

impl CheckedCertificate {
    /// The certificate, for its record.
    pub(crate) fn der(&self) -> &[u8] {
        &self.reserved.tbs.buffer[self.start..]
    }

    pub(crate) fn reservation(&self) -> ReservationId {
        self.reserved.reservation
    }

    /// The log refused the record: what was reserved, to be closed as lost.
    pub(crate) fn refused(self) -> ReservedCertificate {
        self.reserved
    }

    /// The log said that the record is durable.
    pub(crate) fn logged(self, index: u64) -> LoggedCertificate {
        LoggedCertificate {
            serial: self.reserved.tbs.serial.to_vec(),
            buffer: self.reserved.tbs.buffer,
            start: self.start,
            index,
        }
    }
}

/// A certificate whose record is durable in the log: the only type that hands out certificate bytes.
#[derive(Debug, Clone)]
pub struct LoggedCertificate {
    buffer: Vec<u8>,
    start: usize,
    serial: Vec<u8>,
    index: u64,
}

impl PartialEq for LoggedCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.as_der() == other.as_der() && self.index == other.index
    }
}

impl Eq for LoggedCertificate {}

impl LoggedCertificate {
    /// From a record that was read back from the log.
    pub(crate) fn from_record(certificate: &[u8], index: u64) -> Option<Self> {
        let view = crate::certificate::CertificateView::parse(certificate).ok()?;
        let serial = crate::der::reader::unsigned(&view.serial).ok()?.to_vec();
        Some(Self {
            buffer: certificate.to_vec(),
            start: 0,
            serial,
            index,
        })
    }

    /// The certificate, DER.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// The certificate, DER, without a copy where there was no head-room before it.
    #[must_use]
    pub fn into_der(mut self) -> Vec<u8> {
        self.buffer.drain(..self.start);
        self.buffer
    }

    /// The certificate, PEM (RFC 7468 §5.1), with line feeds.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem_rfc7468::encode_string("CERTIFICATE", pem_rfc7468::LineEnding::LF, self.as_der())
            .unwrap_or_default()
    }

    /// The serial number's magnitude, big-endian.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The record's place in the log.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }
}

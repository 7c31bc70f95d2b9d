//! The cryptography of one certificate.

use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::signature::ParsedPublicKey;
use birthmark_hsm::{DigestAlgorithm, KeyAlgorithm, RawSigner, SignInput, Signature};

use super::LimitError;
use super::lanes::Lanes;
use super::sample::Sample;
use crate::verification;

/// Length of what is signed: a TBS certificate of an IDevID with a P-256 key.
const TBS_BYTES: usize = 440;

/// What one thread of the limit loop owns.
pub(super) struct Step {
    sample: Arc<Sample>,
    next: usize,
    signer: RawSigner,
    signature: Signature,
    issuer: ParsedPublicKey,
    message: [u8; TBS_BYTES],
    /// Counts into the message, so that no digest is signed twice.
    signed: u64,
    kind: Kind,
    /// What the faster loop has besides.
    pub(super) lanes: Option<Lanes>,
}

enum Kind {
    /// ECDSA and RSA sign a digest.
    Digest(DigestAlgorithm),
    /// EdDSA and ML-DSA sign the message. It takes as long for the same message again, so the loop need
    /// not build a new one.
    Message(SignInput),
}

impl Step {
    pub(super) fn new(
        sample: Arc<Sample>,
        thread: usize,
        first: usize,
        signer: RawSigner,
        issuer: ParsedPublicKey,
        algorithm: KeyAlgorithm,
        lanes: Option<Lanes>,
    ) -> Step {
        // No two threads sign the same messages.
        let mut message = [0x5a; TBS_BYTES];
        message[8..16].copy_from_slice(&(thread as u64).to_le_bytes());
        let kind = match algorithm.digest() {
            Some(digest) => Kind::Digest(digest),
            None => Kind::Message(SignInput::Message(Arc::from(message.as_slice()))),
        };
        let signature = Signature::empty();
        Step {
            sample,
            next: first,
            signer,
            signature,
            issuer,
            message,
            signed: 0,
            kind,
            lanes,
        }
    }

    /// Verify a request, sign, verify the signature, with aws-lc-rs.
    #[inline]
    pub(super) fn certificate(&mut self) -> Result<(), LimitError> {
        let request = self.next_request();
        self.sample.verify(request)?;
        let digest = self.sign()?;
        self.verify_signature(digest.as_ref())
    }

    /// The requests, for the number of one.
    pub(super) fn sample(&self) -> &Sample {
        &self.sample
    }

    pub(super) fn next_request(&mut self) -> usize {
        let request = self.next;
        self.next = (request + 1) % self.sample.len();
        request
    }

    /// Signs another message, or the same where it is no digest that is signed. Gives the digest.
    #[inline]
    pub(super) fn sign(&mut self) -> Result<Option<digest::Digest>, LimitError> {
        match &self.kind {
            Kind::Digest(algorithm) => {
                self.signed = self.signed.wrapping_add(1);
                self.message[..8].copy_from_slice(&self.signed.to_le_bytes());
                let digest = digest::digest(verification::digest(*algorithm), &self.message);
                let mut bytes = [0; 64];
                bytes[..digest.as_ref().len()].copy_from_slice(digest.as_ref());
                let len = digest.as_ref().len() as u8;
                let input = SignInput::Digest {
                    bytes,
                    len,
                    algorithm: *algorithm,
                };
                self.signer
                    .sign(&input, &mut self.signature)
                    .map_err(LimitError::Sign)?;
                Ok(Some(digest))
            }
            Kind::Message(input) => {
                self.signer
                    .sign(input, &mut self.signature)
                    .map_err(LimitError::Sign)?;
                Ok(None)
            }
        }
    }

    /// The signature that was made last.
    pub(super) fn signature(&self) -> &[u8] {
        self.signature.as_bytes()
    }

    /// Verifies the signature that was made last.
    #[inline]
    pub(super) fn verify_signature(
        &self,
        digest: Option<&digest::Digest>,
    ) -> Result<(), LimitError> {
        match digest {
            Some(digest) => self.issuer.verify_digest_sig(digest, self.signature()),
            None => self.issuer.verify_sig(&self.message, self.signature()),
        }
        .map_err(|_| LimitError::WrongSignature)
    }
}

//! The cryptography of one certificate.

use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::signature::ParsedPublicKey;
use birthmark_hsm::{DigestAlgorithm, KeyAlgorithm, RawSigner, SignInput, Signature};

use super::LimitError;
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
        }
    }

    /// Verify a request, sign, verify the signature.
    #[inline]
    pub(super) fn certificate(&mut self) -> Result<(), LimitError> {
        self.sample.verify(self.next)?;
        self.next = (self.next + 1) % self.sample.len();
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
                self.issuer
                    .verify_digest_sig(&digest, self.signature.as_bytes())
            }
            Kind::Message(input) => {
                self.signer
                    .sign(input, &mut self.signature)
                    .map_err(LimitError::Sign)?;
                self.issuer
                    .verify_sig(&self.message, self.signature.as_bytes())
            }
        }
        .map_err(|_| LimitError::WrongSignature)
    }
}

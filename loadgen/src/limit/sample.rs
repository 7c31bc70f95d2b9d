//! Requests taken from the corpus for the limit loop, cut into what a verifier needs.

use std::ops::Range;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{UnparsedPublicKey, VerificationAlgorithm};
use p256x8::{Digest, PublicKey, Signature};
use x509_cert::der::{Decode, Encode};
use x509_cert::request::CertReq;

use super::LimitError;
use crate::corpus::Corpus;
use crate::verification;

/// So many requests are used in turn: 256 × 400 bytes stay in a core's second-level cache, and
/// no key is seen again before thousands of other operations have run.
const REQUESTS_MAX: usize = 256;

/// How many requests are looked at to find those that verify.
const LOOKED_AT_MAX: usize = 4 * REQUESTS_MAX;

/// Requests that verify, back to back in one buffer.
pub(crate) struct Sample {
    bytes: Vec<u8>,
    requests: Vec<Parts>,
    algorithm: &'static dyn VerificationAlgorithm,
}

struct Parts {
    /// The DER of CertificationRequestInfo: what is signed.
    info: Range<usize>,
    /// The content of subjectPublicKey.
    key: Range<usize>,
    /// The content of signature.
    signature: Range<usize>,
}

impl Sample {
    pub(crate) fn take(corpus: &Corpus) -> Result<Sample, LimitError> {
        let algorithm = verification::algorithm(corpus.algorithm(), corpus.rsa_signature());
        let mut sample = Sample {
            bytes: Vec::new(),
            requests: Vec::new(),
            algorithm,
        };
        for request in corpus.iter().take(LOOKED_AT_MAX) {
            // A corpus may hold bad requests on purpose; they cost no full verification.
            if let Some(parts) = sample.store(request) {
                sample.requests.push(parts);
                if sample.verify(sample.requests.len() - 1).is_err() {
                    sample.requests.pop();
                }
            }
            if sample.requests.len() == REQUESTS_MAX {
                break;
            }
        }
        if sample.requests.is_empty() {
            return Err(LimitError::NoRequest(LOOKED_AT_MAX));
        }
        Ok(sample)
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Proof of possession of request `number`, the key parsed anew.
    #[inline]
    pub(crate) fn verify(&self, number: usize) -> Result<(), LimitError> {
        let parts = &self.requests[number];
        let bytes = |range: &Range<usize>| &self.bytes[range.clone()];
        UnparsedPublicKey::new(self.algorithm, bytes(&parts.key))
            .verify(bytes(&parts.info), bytes(&parts.signature))
            .map_err(|_| LimitError::WrongRequest)
    }

    /// Request `number` as lanes take it: its message hashed, its key and signature read anew. For P-256 alone.
    #[inline]
    pub(super) fn lane_item(
        &self,
        number: usize,
    ) -> Result<(PublicKey, Digest, Signature), LimitError> {
        let parts = &self.requests[number];
        let bytes = |range: &Range<usize>| &self.bytes[range.clone()];
        let digest = digest(&SHA256, bytes(&parts.info));
        let digest = digest.as_ref().try_into().ok().map(Digest);
        let key = PublicKey::from_sec1(bytes(&parts.key));
        let signature = Signature::from_der(bytes(&parts.signature));
        match (key, digest, signature) {
            (Some(key), Some(digest), Some(signature)) => Ok((key, digest, signature)),
            _ => Err(LimitError::WrongRequest),
        }
    }

    fn store(&mut self, request: &[u8]) -> Option<Parts> {
        let request = CertReq::from_der(request).ok()?;
        let info = request.info.to_der().ok()?;
        let key = request.info.public_key.subject_public_key.as_bytes()?;
        let signature = request.signature.as_bytes()?;
        let mut append = |part: &[u8]| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(part);
            start..self.bytes.len()
        };
        Some(Parts {
            info: append(&info),
            key: append(key),
            signature: append(signature),
        })
    }
}

//! What is signed, what comes out, and how the answer is delivered.

use std::sync::Arc;

use crate::algorithm::{DigestAlgorithm, KeyAlgorithm};
use crate::error::SignError;

/// Length of the longest P-384 signature in X.509 form: two INTEGERs of 2 + 1 + 48 bytes in a
/// SEQUENCE header of 2. A P-256 (72 bytes) and an Ed25519 signature (64 bytes) fit too. Longer
/// ones go to the heap: room for them here would be copied with every short one.
const INLINE_SIGNATURE_LEN: usize = 2 + 2 * (2 + 1 + 48);

/// A small copy of what is signed. It travels to the session; the original stays behind, so an
/// attempt that hangs or is repeated never holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignInput {
    /// A digest, for ECDSA and RSA.
    Digest {
        /// The digest in the first `len` bytes.
        bytes: [u8; 64],
        /// Length of the digest in bytes.
        len: u8,
        /// The digest's algorithm.
        algorithm: DigestAlgorithm,
    },
    /// The message itself, for Ed25519 and ML-DSA.
    Message(Arc<[u8]>),
}

impl SignInput {
    /// What a key of this kind signs for `message`: hashed on the host where the key signs a
    /// digest, copied where it signs the message.
    pub fn for_key(algorithm: KeyAlgorithm, message: &[u8]) -> SignInput {
        let Some(digest_algorithm) = algorithm.digest() else {
            return SignInput::Message(Arc::from(message));
        };
        let digest = aws_lc_rs::digest::digest(digest_algorithm.provider(), message);
        let digest = digest.as_ref();
        let mut bytes = [0; 64];
        bytes[..digest.len()].copy_from_slice(digest);
        SignInput::Digest {
            bytes,
            len: digest.len() as u8,
            algorithm: digest_algorithm,
        }
    }

    /// The digest's bytes if this is a digest that `key` signs.
    pub(crate) fn digest_for(&self, key: KeyAlgorithm) -> Option<(&[u8], DigestAlgorithm)> {
        match self {
            SignInput::Digest {
                bytes,
                len,
                algorithm,
            } if key.digest() == Some(*algorithm)
                && usize::from(*len) == algorithm.output_len() =>
            {
                Some((&bytes[..usize::from(*len)], *algorithm))
            }
            _ => None,
        }
    }
}

/// A signature in the form that X.509 carries it: ECDSA as the DER `Ecdsa-Sig-Value`
/// (RFC 3279 §2.2.3), RSA as the raw integer, Ed25519 as its 64 bytes (RFC 8410 §6), ML-DSA as its
/// 2420, 3309 or 4627 bytes (RFC 9881 §3).
///
/// Signatures of P-256, P-384 and Ed25519 are stored inline and cost no allocation. Two are equal
/// when their bytes are.
#[derive(Debug, Clone)]
pub struct Signature {
    storage: Storage,
    origin: Option<Origin>,
}

/// Which attempt of a pool made a signature, for when it does not verify.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    /// The token's place in the pool's list.
    pub(crate) place: usize,
    /// How often the token's breaker had opened.
    pub(crate) generation: u64,
    /// Attempts that the job has had, this one included.
    pub(crate) attempts: u32,
}

#[derive(Debug, Clone)]
enum Storage {
    Inline {
        bytes: [u8; INLINE_SIGNATURE_LEN],
        len: u8,
    },
    Heap(Vec<u8>),
}

impl Signature {
    /// An empty signature, to be filled by [`RawSigner::sign`](crate::RawSigner::sign).
    pub fn empty() -> Signature {
        Signature {
            storage: Storage::Inline {
                bytes: [0; INLINE_SIGNATURE_LEN],
                len: 0,
            },
            origin: None,
        }
    }

    /// Notes which attempt made it.
    pub(crate) fn comes_from(&mut self, origin: Origin) {
        self.origin = Some(origin);
    }

    /// Which attempt made it; `None` for a software key's and a bare signer's.
    pub(crate) fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// The signature in X.509 form.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.storage {
            Storage::Inline { bytes, len } => &bytes[..usize::from(*len)],
            Storage::Heap(bytes) => bytes,
        }
    }

    /// Replaces the content by `len` bytes on the heap, which the caller fills in.
    pub(crate) fn on_heap(&mut self, len: usize) -> &mut [u8] {
        if let Storage::Inline { .. } = self.storage {
            self.storage = Storage::Heap(Vec::new());
        }
        match &mut self.storage {
            Storage::Heap(bytes) => {
                bytes.clear();
                bytes.resize(len, 0);
                bytes
            }
            Storage::Inline { .. } => &mut [],
        }
    }

    /// Replaces the content. A buffer on the heap is used again.
    pub(crate) fn set(&mut self, signature: &[u8]) {
        match &mut self.storage {
            Storage::Heap(bytes) => {
                bytes.clear();
                bytes.extend_from_slice(signature);
            }
            Storage::Inline { bytes, len } => match bytes.get_mut(..signature.len()) {
                Some(place) => {
                    place.copy_from_slice(signature);
                    *len = signature.len() as u8;
                }
                None => self.storage = Storage::Heap(signature.to_vec()),
            },
        }
    }
}

impl PartialEq for Signature {
    fn eq(&self, other: &Signature) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Signature {}

impl AsRef<[u8]> for Signature {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// Receives the outcome of a [`SignJob`], exactly once per job.
pub trait SignCompletion: Send + Sync {
    /// Called with the job's ticket and its outcome, on one of the pool's threads or, for a
    /// software key, on the thread that submitted. It must not block: a session signs nothing
    /// meanwhile.
    fn signed(&self, ticket: u64, outcome: Result<Signature, SignError>);
}

/// One thing to sign.
#[derive(Clone)]
pub struct SignJob {
    /// The caller's own name for the job; handed back with the outcome, otherwise unused.
    pub ticket: u64,
    /// What is signed.
    pub input: SignInput,
    /// Who receives the outcome.
    pub completion: Arc<dyn SignCompletion>,
}

impl std::fmt::Debug for SignJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignJob")
            .field("ticket", &self.ticket)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_every_length_and_can_be_filled_again() {
        let mut signature = Signature::empty();
        assert!(signature.as_bytes().is_empty());
        for len in [64, INLINE_SIGNATURE_LEN, INLINE_SIGNATURE_LEN + 1, 512, 3] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            signature.set(&bytes);
            assert_eq!(signature.as_bytes(), bytes);
        }
    }

    #[test]
    fn each_key_gets_the_digest_it_signs() {
        for algorithm in KeyAlgorithm::ALL {
            let input = SignInput::for_key(algorithm, b"abc");
            match (&input, algorithm.digest()) {
                (SignInput::Message(message), None) => assert_eq!(&**message, b"abc"),
                (SignInput::Digest { .. }, Some(digest)) => {
                    let expected = aws_lc_rs::digest::digest(digest.provider(), b"abc");
                    let (bytes, _) = input.digest_for(algorithm).expect("the key's own digest");
                    assert_eq!(bytes, expected.as_ref());
                }
                other => panic!("{algorithm}: {other:?}"),
            }
        }
        let p256 = SignInput::for_key(KeyAlgorithm::EcP256, b"abc");
        assert!(p256.digest_for(KeyAlgorithm::EcP384).is_none());
        assert!(p256.digest_for(KeyAlgorithm::Ed25519).is_none());
    }
}

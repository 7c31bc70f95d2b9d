//! The same cryptography with eight P-256 verifications side by side.
//!
//! A thread takes 64 certificates through each step before the next: verify their requests, each key parsed and used once;
//! sign; verify the signatures with the issuer's key, which was prepared once. What lanes cannot verify goes to aws-lc-rs one by one, as
//! in the other loop. The buffers are made before the clock starts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use birthmark_hsm::{KeyAlgorithm, PublicKey as SignerKey, SigningPool};
use p256x8::{Digest, IssuerKey, Path, PublicKey, Signature, Verifier};

use super::LimitError;
use super::step::Step;

/// Certificates that go through a step together: what the verifier's inversions are shared by, at most.
const BATCH: usize = 64;

/// A batch that is still signing so long after it began is cut short at the end of a slice: 64 signatures of the
/// slowest hardware take a minute.
const SIGNING_MAX: Duration = Duration::from_secs(1);

/// What the threads share.
#[derive(Clone)]
pub(super) struct SharedLanes {
    verifier: Arc<Verifier>,
    /// Whether the requests are of the kind that lanes verify.
    requests: bool,
    /// The signer's key, if lanes verify with it.
    issuer: Option<Arc<IssuerKey>>,
}

impl SharedLanes {
    /// `None` where lanes have nothing to do: the processor or the configuration gives none, or the keys are of other kinds.
    pub(super) fn new(path: Path, pool: &SigningPool, requests: KeyAlgorithm) -> Option<Self> {
        if path == Path::Scalar {
            return None;
        }
        let verifier = Verifier::new();
        if verifier.path() == Path::Scalar {
            return None;
        }
        let issuer = match (pool.key_algorithm(), pool.public_key()) {
            (KeyAlgorithm::EcP256, SignerKey::Ec { point, .. }) => PublicKey::from_sec1(point),
            _ => None,
        };
        let issuer = issuer.and_then(|key| verifier.prepare(&key)).map(Arc::new);
        let requests = requests == KeyAlgorithm::EcP256;
        (requests || issuer.is_some()).then(|| Self {
            verifier: Arc::new(verifier),
            requests,
            issuer,
        })
    }
}

/// What one thread has for it.
pub(super) struct Lanes {
    shared: SharedLanes,
    requests: Vec<(PublicKey, Digest, Signature)>,
    signatures: Vec<(Digest, Signature)>,
    verdicts: [bool; BATCH],
}

impl Lanes {
    pub(super) fn new(shared: SharedLanes) -> Self {
        Self {
            shared,
            requests: Vec::with_capacity(BATCH),
            signatures: Vec::with_capacity(BATCH),
            verdicts: [false; BATCH],
        }
    }

    /// Verifies requests, signs as often, verifies the signatures. Gives the number of certificates.
    pub(super) fn certificates(
        &mut self,
        step: &mut Step,
        stop: &AtomicBool,
    ) -> Result<u64, LimitError> {
        self.verify_requests(step)?;
        let signing = Instant::now();
        self.signatures.clear();
        let mut count = 0;
        for _ in 0..BATCH {
            let digest = step.sign()?;
            match (&digest, &self.shared.issuer) {
                (Some(digest), Some(_)) => {
                    let digest = digest.as_ref().try_into();
                    let digest = digest.map_err(|_| LimitError::WrongSignature)?;
                    let signature = Signature::from_der(step.signature());
                    let signature = signature.ok_or(LimitError::WrongSignature)?;
                    self.signatures.push((Digest(digest), signature));
                }
                _ => step.verify_signature(digest.as_ref())?,
            }
            count += 1;
            if stop.load(Ordering::Relaxed) && signing.elapsed() > SIGNING_MAX {
                break;
            }
        }
        if let Some(issuer) = &self.shared.issuer {
            let verifier = &self.shared.verifier;
            verifier.verify_prepared_into(issuer, &self.signatures, &mut self.verdicts);
            if self.verdicts[..self.signatures.len()].contains(&false) {
                return Err(LimitError::WrongSignature);
            }
        }
        Ok(count)
    }

    fn verify_requests(&mut self, step: &mut Step) -> Result<(), LimitError> {
        self.requests.clear();
        for _ in 0..BATCH {
            let number = step.next_request();
            if self.shared.requests {
                self.requests.push(step.sample().lane_item(number)?);
            } else {
                step.sample().verify(number)?;
            }
        }
        if !self.requests.is_empty() {
            let verifier = &self.shared.verifier;
            verifier.verify_into(&self.requests, &mut self.verdicts);
            if self.verdicts[..self.requests.len()].contains(&false) {
                return Err(LimitError::WrongRequest);
            }
        }
        Ok(())
    }
}

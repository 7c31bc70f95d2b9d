//! Who verifies signatures. ECDSA on P-256 with SHA-256 goes in batches to [`p256x8`], eight signatures side by side where the
//! processor has the instructions for it; everything else goes to aws-lc-rs, one by one.
//!
//! Both come to the same verdicts: what the lanes do not find valid is verified again by aws-lc-rs, whose verdict counts.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrayvec::ArrayVec;
use p256x8::{Counts, Digest, IssuerKey, Path, PublicKey, Signature};

use crate::csr::{CertificationRequest, VerifiedRequest, verify_batch};
use crate::issuance::{CheckedCertificate, RereadCertificate, ReservedCertificate};
use crate::issuer::Issuer;
use crate::lint::Finding;
use crate::metrics::Metrics;
use crate::rejection::Rejection;

/// Signatures that are verified together at most. The lanes share two inversions among 64, and with them a chunk of
/// requests takes about 0.7 ms, no longer than 16 took one by one.
pub(crate) const BATCH_MAX: usize = 64;

/// Signatures that are verified together where they go one by one: about 0.7 ms of P-256, so that what waits behind them
/// waits no longer.
pub(crate) const BATCH_ONE_BY_ONE: usize = 16;

/// Signatures side by side: batches of whole groups leave no lane empty.
pub(crate) const LANES: usize = 8;

const _: () = assert!(BATCH_MAX.is_multiple_of(LANES) && BATCH_ONE_BY_ONE <= BATCH_MAX);

/// How signatures are verified (`engine.verification`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Verification {
    /// As fast as the processor can.
    #[default]
    Auto,
    /// One by one with aws-lc-rs.
    Scalar,
}

/// A word that is no [`Verification`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("use \"auto\" or \"scalar\"")]
pub struct UnknownVerification;

impl FromStr for Verification {
    type Err = UnknownVerification;

    fn from_str(text: &str) -> Result<Self, UnknownVerification> {
        match text {
            "auto" => Ok(Self::Auto),
            "scalar" => Ok(Self::Scalar),
            _ => Err(UnknownVerification),
        }
    }
}

impl Verification {
    /// A verifier that works so on this processor. It holds a table of 256 KiB: make one and share it.
    #[must_use]
    pub fn verifier(self) -> p256x8::Verifier {
        match self {
            Self::Auto => p256x8::Verifier::new(),
            Self::Scalar => p256x8::Verifier::scalar(),
        }
    }
}

/// Something that a person should know of and no request is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineEvent {
    /// aws-lc-rs found signatures valid that the lanes did not: a fault of this machine's processor, or of the program.
    /// The verdict of aws-lc-rs counted.
    Disagreement {
        /// How many since the engine was opened.
        count: u64,
    },
}

impl std::fmt::Display for EngineEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Disagreement { count } = self;
        write!(
            f,
            "{count} valid signatures were not found valid by the processor's vector unit and were verified again; set \
             verification = \"scalar\" under [engine], test this machine, and report it"
        )
    }
}

/// Hears of an engine's events.
pub trait EngineObserver: Send + Sync {
    /// Called on the engine's workers: it must not block.
    fn event(&self, event: &EngineEvent);
}

/// What verifies the signatures of one engine.
pub(crate) struct SignatureVerifier {
    verifier: p256x8::Verifier,
    /// The issuer's key with its table, where lanes can verify with it.
    issuer: Option<IssuerKey>,
    observer: Option<Arc<dyn EngineObserver>>,
    /// Whether the last requests were mostly of the kind that lanes take: a large batch of others would hold up what waits
    /// behind it.
    lanes_pay: AtomicBool,
    /// Disagreements that the observer has heard of.
    told: AtomicU64,
}

/// What a lane takes of a signature by a key that comes once.
pub(crate) type LaneItem = (PublicKey, Digest, Signature);

impl SignatureVerifier {
    pub(crate) fn new(
        verification: Verification,
        issuer: &Issuer,
        observer: Option<Arc<dyn EngineObserver>>,
    ) -> Self {
        let verifier = verification.verifier();
        let key = issuer.p256_key().filter(|_| has_lanes(&verifier));
        Self {
            issuer: key.and_then(|key| verifier.prepare(&key)),
            observer,
            lanes_pay: AtomicBool::new(has_lanes(&verifier)),
            verifier,
            told: AtomicU64::new(0),
        }
    }

    /// Requests that are verified together.
    pub(crate) fn request_batch(&self) -> usize {
        batch(self.lanes_pay.load(Ordering::Relaxed))
    }

    /// Certificates that are verified together.
    pub(crate) fn certificate_batch(&self) -> usize {
        batch(self.has_issuer())
    }

    /// Whether lanes verify this issuer's signatures.
    pub(crate) fn has_issuer(&self) -> bool {
        self.issuer.is_some()
    }

    /// Proofs of possession, in the requests' order.
    pub(crate) fn requests<'a>(
        &self,
        requests: Vec<Result<CertificationRequest<'a>, Rejection>>,
    ) -> Vec<Result<VerifiedRequest<'a>, Rejection>> {
        if has_lanes(&self.verifier) && !requests.is_empty() {
            let of_lanes = requests.iter().flatten();
            let of_lanes = of_lanes.filter(|it| it.is_p256_with_sha256()).count();
            self.lanes_pay
                .store(2 * of_lanes >= requests.len(), Ordering::Relaxed);
        }
        let verified = verify_batch(&self.verifier, requests);
        self.tell(self.verifier.counts().disagreements);
        verified
    }

    /// Signatures of certificates that are sound in everything else, in their order. Each keeps its companion.
    pub(crate) fn certificates<T>(
        &self,
        certificates: Vec<(RereadCertificate, T)>,
    ) -> impl Iterator<
        Item = (
            Result<CheckedCertificate, (Finding, ReservedCertificate)>,
            T,
        ),
    > + use<T> {
        let mut verdicts = Vec::with_capacity(certificates.len());
        for chunk in certificates.chunks(BATCH_MAX) {
            verdicts.extend(self.issued(chunk));
        }
        self.tell(self.verifier.counts().disagreements);
        certificates
            .into_iter()
            .zip(verdicts)
            .map(|((certificate, companion), verdict)| (certificate.verified(verdict), companion))
    }

    /// A verdict for each of up to [`BATCH_MAX`] certificates.
    fn issued<T>(&self, chunk: &[(RereadCertificate, T)]) -> ArrayVec<bool, BATCH_MAX> {
        let deferred = || chunk.iter().map(|(certificate, _)| certificate.deferred());
        let items: ArrayVec<(Digest, Signature), BATCH_MAX> = deferred().flatten().collect();
        let mut verdicts = [false; BATCH_MAX];
        if let Some(issuer) = &self.issuer
            && !items.is_empty()
        {
            self.verifier
                .verify_prepared_into(issuer, &items, &mut verdicts);
        }
        let mut verdicts = verdicts.into_iter();
        // What was not deferred was verified when it was read.
        deferred()
            .map(|deferred| deferred.is_none() || verdicts.next() == Some(true))
            .collect()
    }

    /// Tells the observer of disagreements, if there are more than it has heard of.
    fn tell(&self, count: u64) {
        if self.told.fetch_max(count, Ordering::Relaxed) < count
            && let Some(observer) = &self.observer
        {
            observer.event(&EngineEvent::Disagreement { count });
        }
    }

    /// How P-256 signatures are verified.
    pub(crate) fn path(&self) -> Path {
        self.verifier.path()
    }

    /// Adds the figures of the lanes.
    pub(crate) fn count_into(&self, metrics: &mut Metrics) {
        let Counts {
            lanes_filled,
            lanes_run,
            asked_again,
            disagreements,
            ..
        } = self.verifier.counts();
        metrics.lanes_filled = lanes_filled;
        metrics.lanes_run = lanes_run;
        metrics.lanes_asked_again = asked_again;
        metrics.lanes_disagreements = disagreements;
    }
}

pub(crate) fn has_lanes(verifier: &p256x8::Verifier) -> bool {
    verifier.path() != Path::Scalar
}

fn batch(lanes: bool) -> usize {
    if lanes { BATCH_MAX } else { BATCH_ONE_BY_ONE }
}

#[cfg(test)]
mod tests;

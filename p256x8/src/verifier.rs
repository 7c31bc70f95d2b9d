//! The verifier for use: lanes where the processor has them, aws-lc-rs elsewhere, and aws-lc-rs again for every "no".

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::vec;
use std::vec::Vec;

use aws_lc_rs::digest::{Digest as AwsDigest, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey, UnparsedPublicKey};

use crate::batch::Exceptional;
use crate::input::{Digest, PublicKey, Signature};
use crate::lane_verifier::{LaneVerifier, PreparedKey};
use crate::lanes::LANES;
#[cfg(target_arch = "x86_64")]
use crate::lanes::ifma::{Features, Ifma};

/// Fewer items than this, each with a key of its own, go to aws-lc-rs: eight lanes, however few are filled, cost about as
/// much as one and a half verifications there. With a prepared key the lanes pay from one on.
pub const LANES_PAY_FROM: usize = 2;

/// How signatures are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Eight at a time with AVX-512 IFMA.
    Ifma,
    /// One at a time with aws-lc-rs.
    Scalar,
}

impl Path {
    /// The name a person reads.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ifma => "8 lanes (AVX-512 IFMA)",
            Self::Scalar => "scalar (aws-lc-rs)",
        }
    }
}

/// Verifies signatures, many at once, on the fastest path that there is. Only "valid" is taken from the lanes: each
/// signature that is not is verified again by aws-lc-rs, whose verdict counts.
///
/// Share one: it holds a table of 256 KiB.
#[derive(Debug)]
pub struct Verifier {
    lanes: Option<LaneVerifier>,
    counters: Counters,
}

/// A key that verifies again and again, such as an issuer's, for the verifier that prepared it.
#[derive(Debug)]
pub struct IssuerKey {
    scalar: ParsedPublicKey,
    lanes: Option<PreparedKey>,
}

/// What a verifier did since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lanes that had a signature to verify.
    pub lanes_filled: u64,
    /// Lanes that ran, filled or not: eight for each group.
    pub lanes_run: u64,
    /// Signatures that went to aws-lc-rs at once.
    pub scalar: u64,
    /// Signatures that were not valid on the lanes, and were verified again.
    pub asked_again: u64,
    /// Of these, those that aws-lc-rs found valid and the lanes did not with all their formulas: a fault of the lanes, or of
    /// the processor.
    pub disagreements: u64,
}

impl Counts {
    /// The share of lanes that were filled, in [0, 1]; `None` if none ran.
    #[must_use]
    pub fn occupancy(&self) -> Option<f64> {
        (self.lanes_run > 0).then(|| self.lanes_filled as f64 / self.lanes_run as f64)
    }
}

#[derive(Debug, Default)]
struct Counters {
    lanes_filled: AtomicU64,
    lanes_run: AtomicU64,
    scalar: AtomicU64,
    asked_again: AtomicU64,
    disagreements: AtomicU64,
}

impl Default for Verifier {
    fn default() -> Self {
        Self::new()
    }
}

impl Verifier {
    /// On lanes, if the processor has AVX-512 IFMA.
    #[must_use]
    pub fn new() -> Self {
        #[cfg(target_arch = "x86_64")]
        let verifier = Self::among(Features::ALL);
        #[cfg(not(target_arch = "x86_64"))]
        let verifier = Self::scalar();
        verifier
    }

    /// As [`Self::new`] on a processor that shows these features and no others.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn among(shown: Features) -> Self {
        Self::with(Ifma::detect_among(shown).map(LaneVerifier::new))
    }

    /// With aws-lc-rs alone.
    #[must_use]
    pub fn scalar() -> Self {
        Self::with(None)
    }

    fn with(lanes: Option<LaneVerifier>) -> Self {
        Self {
            lanes,
            counters: Counters::default(),
        }
    }

    /// How this one verifies.
    #[must_use]
    pub fn path(&self) -> Path {
        if self.lanes.is_some() {
            Path::Ifma
        } else {
            Path::Scalar
        }
    }

    /// What it did so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            lanes_filled: load(&self.counters.lanes_filled),
            lanes_run: load(&self.counters.lanes_run),
            scalar: load(&self.counters.scalar),
            asked_again: load(&self.counters.asked_again),
            disagreements: load(&self.counters.disagreements),
        }
    }

    /// Verifies each item. What it allocates is the verdicts, one octet each; [`Self::verify_into`] allocates nothing.
    #[must_use]
    pub fn verify_batch(&self, items: &[(PublicKey, Digest, Signature)]) -> Verdicts {
        let mut verdicts = vec![false; items.len()];
        self.verify_into(items, &mut verdicts);
        Verdicts(verdicts)
    }

    /// Verifies each item and writes its verdict: true for a valid signature. What has no counterpart in the other slice is left
    /// alone. Nothing is allocated, but by aws-lc's C code for each signature that goes there.
    pub fn verify_into(&self, items: &[(PublicKey, Digest, Signature)], verdicts: &mut [bool]) {
        let count = items.len().min(verdicts.len());
        let (items, verdicts) = (&items[..count], &mut verdicts[..count]);
        let lanes = self
            .lanes
            .as_ref()
            .filter(|_| items.len() >= LANES_PAY_FROM);
        if let Some(lanes) = lanes {
            lanes.verify_own(items, verdicts, Exceptional::NotValid);
        }
        let ask = |i: usize| {
            let (key, digest, signature) = &items[i];
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.as_sec1());
            aws_digest(digest)
                .is_some_and(|digest| key.verify_digest(&digest, signature.as_fixed()).is_ok())
        };
        let Some(lanes) = lanes else {
            return self.ask_for_all(verdicts, ask);
        };
        self.settle(verdicts, ask, |i, verdict| {
            lanes.verify(&items[i..=i], verdict);
        });
    }

    /// Prepares a key: where there are lanes it keeps a table of 256 KiB. `None` for one that is not on the curve.
    #[must_use]
    pub fn prepare(&self, key: &PublicKey) -> Option<IssuerKey> {
        let scalar = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.as_sec1()).ok()?;
        let lanes = match &self.lanes {
            Some(lanes) => Some(lanes.prepare(key)?),
            None => None,
        };
        Some(IssuerKey { scalar, lanes })
    }

    /// As [`Self::verify_into`], for one prepared key.
    pub fn verify_prepared_into(
        &self,
        key: &IssuerKey,
        items: &[(Digest, Signature)],
        verdicts: &mut [bool],
    ) {
        let count = items.len().min(verdicts.len());
        let (items, verdicts) = (&items[..count], &mut verdicts[..count]);
        let lanes = self.lanes.as_ref().zip(key.lanes.as_ref());
        if let Some((lanes, prepared)) = lanes {
            lanes.verify_with(prepared, items, verdicts, Exceptional::NotValid);
        }
        let ask = |i: usize| {
            let (digest, signature) = &items[i];
            aws_digest(digest).is_some_and(|digest| {
                key.scalar
                    .verify_digest_sig(&digest, signature.as_fixed())
                    .is_ok()
            })
        };
        let Some((lanes, prepared)) = lanes else {
            return self.ask_for_all(verdicts, ask);
        };
        self.settle(verdicts, ask, |i, verdict| {
            lanes.verify_prepared(prepared, &items[i..=i], verdict);
        });
    }

    /// Asks aws-lc-rs for every verdict.
    fn ask_for_all(&self, verdicts: &mut [bool], ask: impl Fn(usize) -> bool) {
        add(&self.counters.scalar, verdicts.len());
        for (i, verdict) in verdicts.iter_mut().enumerate() {
            *verdict = ask(i);
        }
    }

    /// Asks aws-lc-rs for the verdicts that the lanes did not find valid, and counts. `exact` has the lanes verify one
    /// item with all their formulas.
    fn settle(
        &self,
        verdicts: &mut [bool],
        ask: impl Fn(usize) -> bool,
        exact: impl Fn(usize, &mut [bool]),
    ) {
        add(&self.counters.lanes_filled, verdicts.len());
        let lanes_run = verdicts.len().next_multiple_of(LANES);
        add(&self.counters.lanes_run, lanes_run);
        for (i, verdict) in verdicts.iter_mut().enumerate() {
            if *verdict {
                continue;
            }
            *verdict = ask(i);
            add(&self.counters.asked_again, 1);
            if *verdict {
                // An exceptional case is no disagreement: the lanes had not said their last word.
                let mut again = [false];
                exact(i, &mut again);
                add(&self.counters.disagreements, usize::from(!again[0]));
            }
        }
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

fn aws_digest(digest: &Digest) -> Option<AwsDigest> {
    AwsDigest::import_less_safe(&digest.0, &SHA256).ok()
}

/// A verdict for each item of a batch, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdicts(Vec<bool>);

impl Verdicts {
    /// Whether the signature of item `index` is valid; false beyond the batch.
    #[must_use]
    pub fn is_valid(&self, index: usize) -> bool {
        self.0.get(index).copied().unwrap_or(false)
    }

    /// Whether every signature is valid; true for an empty batch.
    #[must_use]
    pub fn all_valid(&self) -> bool {
        self.0.iter().all(|&valid| valid)
    }

    /// True for each valid signature, in the batch's order.
    #[must_use]
    pub fn as_slice(&self) -> &[bool] {
        &self.0
    }
}

/// Verifies each item on a verifier that the whole process shares.
///
/// ```
/// use p256x8::{Digest, PublicKey, Signature, verify_batch};
///
/// let items: &[(PublicKey, Digest, Signature)] = &[];
/// assert!(verify_batch(items).all_valid());
/// ```
#[must_use]
pub fn verify_batch(items: &[(PublicKey, Digest, Signature)]) -> Verdicts {
    static SHARED: OnceLock<Verifier> = OnceLock::new();
    SHARED.get_or_init(Verifier::new).verify_batch(items)
}

//! What is taken from the heap: nothing for a signature, wherever it is verified. Counted is what Rust allocates; aws-lc's C
//! code has an allocator of its own.

#![forbid(unsafe_code)]
// All of this is test code; the exemption in clippy.toml sees only what is marked `#[test]`.
#![allow(clippy::unwrap_used)]

use allocation_counter::{AllocationInfo, measure};
use p256x8::{Digest, LaneVerifier, PublicKey, Signature, Verifier};

#[allow(dead_code, reason = "the tests of whole verifications use all of it")]
#[path = "verify/oracle.rs"]
mod oracle;
#[allow(dead_code, reason = "the tests of whole verifications use all of it")]
#[path = "verify/random.rs"]
mod random;
#[allow(dead_code, reason = "the tests of whole verifications use all of it")]
#[path = "verify/sample.rs"]
mod sample;

use random::Random;
use sample::{Key, Nonce, Sample};

/// Three chunks, the last one not full.
const SIGNATURES: usize = 150;

/// Signatures of one key. The last quarter is invalid.
struct Batch {
    own: Vec<(PublicKey, Digest, Signature)>,
    signed: Vec<(Digest, Signature)>,
    expected: Vec<bool>,
}

impl Batch {
    fn new() -> Self {
        let mut random = Random::new(11);
        let (key, nonce) = (Key::random(&mut random), Nonce::random(&mut random));
        let expected: Vec<bool> = (0..SIGNATURES).map(|i| i < SIGNATURES * 3 / 4).collect();
        let samples = expected.iter().map(|&valid| {
            let mut sample = key.sign(random.octets(), &nonce);
            sample.digest[0] ^= u8::from(!valid);
            sample
        });
        let samples: Vec<Sample> = samples.collect();
        Self {
            own: samples.iter().filter_map(Sample::item).collect(),
            signed: samples.iter().map(Sample::signed).collect(),
            expected,
        }
    }

    /// What verification into a slice takes from the heap. Its verdicts have to be right.
    fn measure(&self, verify: impl FnOnce(&mut [bool])) -> AllocationInfo {
        let mut verdicts = vec![false; SIGNATURES];
        let taken = measure(|| verify(&mut verdicts));
        assert_eq!(verdicts, self.expected);
        taken
    }
}

#[test]
fn a_verifier_allocates_nothing_for_a_signature() {
    let batch = Batch::new();
    for verifier in [Verifier::new(), Verifier::scalar()] {
        let key = verifier.prepare(&batch.own[0].0).unwrap();
        // The first use of aws-lc-rs sets it up.
        drop(verifier.verify_batch(&batch.own));
        let own = batch.measure(|verdicts| verifier.verify_into(&batch.own, verdicts));
        assert_eq!(own.count_total, 0, "{verifier:?}: {own:?}");
        let prepared =
            batch.measure(|verdicts| verifier.verify_prepared_into(&key, &batch.signed, verdicts));
        assert_eq!(prepared.count_total, 0, "{verifier:?}: {prepared:?}");
    }
}

/// Without a warm-up: there is nothing to set up.
#[test]
fn lanes_allocate_nothing_for_a_signature() {
    let batch = Batch::new();
    #[cfg(target_arch = "x86_64")]
    let ifma = p256x8::Ifma::detect().map(LaneVerifier::new);
    #[cfg(not(target_arch = "x86_64"))]
    let ifma = None;
    for lanes in ifma.into_iter().chain([LaneVerifier::portable()]) {
        let own = batch.measure(|verdicts| lanes.verify(&batch.own, verdicts));
        assert_eq!(own.count_total, 0, "{lanes:?}: {own:?}");
        let key = lanes.prepare(&batch.own[0].0).unwrap();
        let prepared =
            batch.measure(|verdicts| lanes.verify_prepared(&key, &batch.signed, verdicts));
        assert_eq!(prepared.count_total, 0, "{lanes:?}: {prepared:?}");
    }
}

/// One octet for each item, in one piece: that the counter counts is shown by this too.
#[test]
fn a_batch_allocates_its_verdicts() {
    let batch = Batch::new();
    let verifier = Verifier::new();
    drop(verifier.verify_batch(&batch.own));
    let taken = measure(|| drop(verifier.verify_batch(&batch.own)));
    assert_eq!(
        (taken.count_total, taken.bytes_total),
        (1, SIGNATURES as u64)
    );
    let none = measure(|| drop(verifier.verify_batch(&[])));
    assert_eq!(none.count_total, 0);
}

/// A key keeps its table and nothing else; what its making takes besides is given back.
#[test]
fn a_key_keeps_its_table() {
    const TABLE: i64 = 256 * 1024;
    let batch = Batch::new();
    let lanes = LaneVerifier::portable();
    let mut key = None;
    let taken = measure(|| key = lanes.prepare(&batch.own[0].0));
    assert!(key.is_some());
    assert_eq!((taken.count_current, taken.bytes_current), (1, TABLE));
}

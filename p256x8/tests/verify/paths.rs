//! Every way to verify, side by side.

use std::sync::LazyLock;

use p256x8::{Ifma, LaneVerifier, PublicKey, Verifier};

use super::sample::Sample;

/// Built once: each has a table.
pub(crate) struct Paths {
    /// `None` where the processor lacks the instructions.
    pub(crate) ifma: Option<LaneVerifier>,
    pub(crate) portable: LaneVerifier,
    pub(crate) verifier: Verifier,
    pub(crate) scalar: Verifier,
}

pub(crate) static PATHS: LazyLock<Paths> = LazyLock::new(|| Paths {
    ifma: Ifma::detect().map(LaneVerifier::new),
    portable: LaneVerifier::portable(),
    verifier: Verifier::new(),
    scalar: Verifier::scalar(),
});

impl Paths {
    /// The verdicts on samples in one batch, which all paths and aws-lc-rs agree on.
    pub(crate) fn verdicts(&self, samples: &[Sample]) -> Vec<bool> {
        let right: Vec<_> = samples.iter().map(Sample::aws).collect();
        // A key that is not taken is not verified.
        let items: Vec<_> = samples.iter().filter_map(Sample::item).collect();
        let spread = |verdicts: &[bool]| -> Vec<bool> {
            let mut verdicts = verdicts.iter();
            let verdict =
                |sample: &Sample| sample.item().is_some() && verdicts.next() == Some(&true);
            samples.iter().map(verdict).collect()
        };
        let mut verdicts = vec![false; items.len()];
        for lanes in self.lanes() {
            verdicts.fill(false);
            lanes.verify(&items, &mut verdicts);
            agree(&spread(&verdicts), &right, samples, lanes);
        }
        for verifier in [&self.verifier, &self.scalar] {
            let verdicts = verifier.verify_batch(&items);
            agree(&spread(verdicts.as_slice()), &right, samples, verifier);
        }
        assert_eq!(self.verifier.counts().disagreements, 0);
        right
    }

    /// The same, of samples with one key, through that key's table.
    pub(crate) fn prepared_verdicts(&self, samples: &[Sample]) -> Vec<bool> {
        let right: Vec<_> = samples.iter().map(Sample::aws).collect();
        let key = samples[0].key;
        assert!(samples.iter().all(|sample| sample.key == key));
        let key = PublicKey::from_sec1(&key).unwrap();
        let signed: Vec<_> = samples.iter().map(Sample::signed).collect();
        let mut verdicts = vec![false; samples.len()];
        for lanes in self.lanes() {
            let prepared = lanes.prepare(&key).unwrap();
            verdicts.fill(false);
            lanes.verify_prepared(&prepared, &signed, &mut verdicts);
            agree(&verdicts, &right, samples, lanes);
        }
        for verifier in [&self.verifier, &self.scalar] {
            let prepared = verifier.prepare(&key).unwrap();
            verdicts.fill(false);
            verifier.verify_prepared_into(&prepared, &signed, &mut verdicts);
            agree(&verdicts, &right, samples, verifier);
        }
        right
    }

    pub(crate) fn lanes(&self) -> impl Iterator<Item = &LaneVerifier> {
        self.ifma.iter().chain([&self.portable])
    }
}

fn agree(found: &[bool], right: &[bool], samples: &[Sample], path: &dyn std::fmt::Debug) {
    for ((found, right), sample) in found.iter().zip(right).zip(samples) {
        assert_eq!(found, right, "{path:?}: {sample:02x?}");
    }
}

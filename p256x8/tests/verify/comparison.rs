//! The lanes against aws-lc-rs, on valid and on mutated signatures, in batches of any size.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use p256x8::{LaneVerifier, PreparedKey};

use super::mutation::Mutation;
use super::random::Random;
use super::sample::{Key, Nonce, Sample};

/// Keys that have a table.
const PREPARED: usize = 8;
const KEYS: usize = 1024;
const NONCES: usize = 1024;
/// After so many samples there are new keys and nonces.
const RENEW_AFTER: u64 = 100_000;
/// Samples in a batch, at most.
const BATCH_MAX: usize = 200;

/// How many samples there were of a mutation, and how many of them were valid.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) samples: u64,
    pub(crate) valid: u64,
}

/// Makes batches and compares the verdicts.
pub(crate) struct Comparison<'a> {
    lanes: &'a LaneVerifier,
    random: Random,
    keys: Vec<Key>,
    prepared: Vec<(ParsedPublicKey, PreparedKey)>,
    nonces: Vec<Nonce>,
    renewed_at: u64,
    pub(crate) samples: u64,
    /// Samples whose key was prepared.
    pub(crate) with_prepared: u64,
    pub(crate) tallies: BTreeMap<usize, Tally>,
}

impl<'a> Comparison<'a> {
    pub(crate) fn new(lanes: &'a LaneVerifier, seed: u64) -> Self {
        let mut comparison = Self {
            lanes,
            random: Random::new(seed),
            keys: Vec::new(),
            prepared: Vec::new(),
            nonces: Vec::new(),
            renewed_at: 0,
            samples: 0,
            with_prepared: 0,
            tallies: BTreeMap::new(),
        };
        comparison.renew();
        comparison
    }

    fn renew(&mut self) {
        let random = &mut self.random;
        self.keys = (0..KEYS).map(|_| Key::random(random)).collect();
        self.nonces = (0..NONCES).map(|_| Nonce::random(random)).collect();
        let prepare = |key: &Key| {
            let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public);
            let public = p256x8::PublicKey::from_sec1(&key.public).expect("a key");
            let prepared = self.lanes.prepare(&public).expect("a key on the curve");
            (parsed.expect("a key"), prepared)
        };
        self.prepared = self.keys[..PREPARED].iter().map(prepare).collect();
        self.renewed_at = self.samples;
    }

    /// Compares one batch of random size; one in four is of a prepared key. The error is the first disagreement.
    pub(crate) fn batch(&mut self) -> Result<(), String> {
        if self.samples - self.renewed_at >= RENEW_AFTER {
            self.renew();
        }
        let count = 1 + self.random.below(BATCH_MAX);
        let prepared = (self.random.below(4) == 0).then(|| self.random.below(PREPARED));
        let made: Vec<_> = (0..count).map(|_| self.sample(prepared)).collect();
        // A key that the crate does not take has no place in a batch.
        let taken: Vec<_> = made.iter().filter_map(|(_, s, _)| s.item()).collect();
        let mut verdicts = vec![false; taken.len()];
        if let Some(key) = prepared {
            let signed: Vec<_> = taken.iter().map(|item| (item.1, item.2)).collect();
            self.lanes
                .verify_prepared(&self.prepared[key].1, &signed, &mut verdicts);
            self.with_prepared += count as u64;
        } else {
            self.lanes.verify(&taken, &mut verdicts);
        }
        let mut verdicts = verdicts.into_iter();
        for (mutation, sample, harmless) in made {
            let found = sample.item().is_some() && verdicts.next() == Some(true);
            let right = match prepared {
                Some(key) => sample.aws_parsed(&self.prepared[key].0),
                None => sample.aws(),
            };
            if found != right || (harmless && !right) {
                return Err(format!(
                    "{mutation:?}, prepared {prepared:?}: lanes {found}, aws-lc-rs {right}, {sample:02x?}"
                ));
            }
            let tally = self.tallies.entry(mutation as usize).or_default();
            tally.samples += 1;
            tally.valid += u64::from(found);
        }
        self.samples += count as u64;
        Ok(())
    }

    /// A sample with its mutation, and whether that is harmless. One in four is not touched.
    fn sample(&mut self, prepared: Option<usize>) -> (Mutation, Sample, bool) {
        let key = prepared.unwrap_or_else(|| self.random.below(KEYS));
        let nonce = self.random.below(NONCES);
        let sample = self.keys[key].sign(self.random.octets(), &self.nonces[nonce]);
        let mut mutation = Mutation::ALL[self.random.below(Mutation::ALL.len())];
        if self.random.below(4) == 0 || (prepared.is_some() && mutation.changes_key()) {
            mutation = Mutation::Untouched;
        }
        let other = self.random.below(KEYS);
        let harmless = mutation.harmless(&sample);
        let mutated = mutation.apply(sample, &self.keys[other], &mut self.random);
        (mutation, mutated, harmless)
    }
}

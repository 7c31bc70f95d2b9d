//! Random signatures, valid and mutated, against aws-lc-rs. `examples/compare.rs` does the same for as many as one likes.

use super::comparison::Comparison;
use super::mutation::Mutation;
use super::paths::PATHS;

/// Makes and compares this many samples; every mutation came, and both verdicts.
fn compare(lanes: &p256x8::LaneVerifier, seed: u64, count: u64) {
    let mut comparison = Comparison::new(lanes, seed);
    while comparison.samples < count {
        comparison.batch().unwrap();
    }
    assert!(comparison.with_prepared > count / 8);
    assert_eq!(comparison.tallies.len(), Mutation::ALL.len());
    let valid: u64 = comparison.tallies.values().map(|tally| tally.valid).sum();
    assert!(valid > comparison.samples / 5 && valid < comparison.samples / 2);
    let untouched = comparison.tallies[&(Mutation::Untouched as usize)];
    assert_eq!(untouched.valid, untouched.samples);
}

#[test]
fn ifma_lanes() {
    let Some(lanes) = &PATHS.ifma else { return };
    compare(lanes, 1, 100_000);
}

#[test]
fn portable_lanes() {
    compare(&PATHS.portable, 2, 4_000);
}

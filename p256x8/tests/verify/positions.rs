//! Lanes do not mix: a verdict is the same wherever in a batch its item is, and whatever is beside it.

use super::oracle::CURVE;
use super::paths::PATHS;
use super::random::Random;
use super::sample::{Key, Nonce, Sample};

fn valid(random: &mut Random) -> Sample {
    let (key, nonce) = (Key::random(random), Nonce::random(random));
    key.sign(random.octets(), &nonce)
}

/// Invalid in each of the ways that a lane can find out, and in the ways that none is asked about.
fn invalid(random: &mut Random) -> Vec<Sample> {
    let good = valid(random);
    let mut samples = vec![good; 5];
    samples[0].digest[0] ^= 1;
    // Off the curve.
    samples[1].key[64] ^= 1;
    // Out of range.
    samples[2].set_r(&CURVE.n);
    samples[3].signature = [0; 64];
    samples[4].key[1..].fill(0);
    samples
}

fn check(lanes: &p256x8::LaneVerifier, samples: &[Sample], expected: &[bool]) {
    let items: Vec<_> = samples.iter().filter_map(Sample::item).collect();
    let mut verdicts = vec![false; items.len()];
    lanes.verify(&items, &mut verdicts);
    assert_eq!(verdicts, expected);
}

#[test]
fn each_place_has_its_own_verdict() {
    let Some(lanes) = &PATHS.ifma else { return };
    let mut random = Random::new(4);
    let good: Vec<_> = (0..72).map(|_| valid(&mut random)).collect();
    for bad in invalid(&mut random) {
        for place in 0..72 {
            let mut samples = good.clone();
            samples[place] = bad;
            let expected: Vec<_> = (0..72).map(|i| i != place).collect();
            check(lanes, &samples, &expected);
            let mut samples = vec![bad; 72];
            samples[place] = good[place];
            let expected: Vec<_> = (0..72).map(|i| i == place).collect();
            check(lanes, &samples, &expected);
        }
    }
}

#[test]
fn each_lane_of_the_portable_ones_has_its_own_verdict() {
    let mut random = Random::new(5);
    let good = valid(&mut random);
    for bad in invalid(&mut random) {
        let samples: Vec<_> = (0..64)
            .map(|i| if i % 9 == 0 { good } else { bad })
            .collect();
        let expected: Vec<_> = (0..64).map(|i| i % 9 == 0).collect();
        check(&PATHS.portable, &samples, &expected);
    }
}

#[test]
fn batches_of_every_length_up_to_three_chunks() {
    let Some(lanes) = &PATHS.ifma else { return };
    let mut random = Random::new(6);
    let samples: Vec<_> = (0..192)
        .map(|i| {
            let mut sample = valid(&mut random);
            sample.signature[40] ^= u8::from(i % 5 == 2);
            sample
        })
        .collect();
    let expected: Vec<_> = (0..192).map(|i| i % 5 != 2).collect();
    for length in 0..=192 {
        check(lanes, &samples[..length], &expected[..length]);
    }
}

/// The same key, point and numbers in every lane, and the same key with unlike signatures.
#[test]
fn the_same_item_in_all_lanes() {
    let mut random = Random::new(7);
    let (key, nonce) = (Key::random(&mut random), Nonce::random(&mut random));
    let sample = key.sign(random.octets(), &nonce);
    for length in [8, 64, 65] {
        assert_eq!(PATHS.verdicts(&vec![sample; length]), vec![true; length]);
        assert_eq!(
            PATHS.prepared_verdicts(&vec![sample; length]),
            vec![true; length]
        );
    }
    let unlike: Vec<_> = (0..64).map(|_| key.sign(random.octets(), &nonce)).collect();
    assert_eq!(PATHS.verdicts(&unlike), [true; 64]);
    assert_eq!(PATHS.prepared_verdicts(&unlike), [true; 64]);
}

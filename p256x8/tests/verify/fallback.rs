//! What the verifier does without lanes, with few items, and with slices of unlike lengths.

use p256x8::{LANES_PAY_FROM, Path, Signature, Verifier, verify_batch};

use super::paths::PATHS;
use super::random::Random;
use super::sample::{Key, Nonce, Sample};

/// Valid signatures of one key, every third with a bit turned.
fn some(count: usize) -> (Vec<Sample>, Vec<bool>) {
    let mut random = Random::new(3);
    let (key, nonce) = (Key::random(&mut random), Nonce::random(&mut random));
    (0..count)
        .map(|i| {
            let mut sample = key.sign(random.octets(), &nonce);
            sample.signature[63] ^= u8::from(i % 3 == 1);
            (sample, i % 3 != 1)
        })
        .unzip()
}

/// [`Verifier::scalar`] is what [`Verifier::new`] makes where detection finds no IFMA: the same value, without lanes.
#[test]
fn without_lanes_the_verdicts_are_the_same() {
    let verifier = Verifier::scalar();
    assert_eq!(verifier.path(), Path::Scalar);
    let (samples, expected) = some(100);
    let items: Vec<_> = samples.iter().filter_map(Sample::item).collect();
    assert_eq!(verifier.verify_batch(&items).as_slice(), expected);
    let key = verifier.prepare(&items[0].0).unwrap();
    let signed: Vec<_> = samples.iter().map(Sample::signed).collect();
    let mut verdicts = vec![false; 100];
    verifier.verify_prepared_into(&key, &signed, &mut verdicts);
    assert_eq!(verdicts, expected);
    let counts = verifier.counts();
    assert_eq!((counts.scalar, counts.lanes_run), (200, 0));
    assert_eq!(counts.occupancy(), None);
}

/// A key without a table, prepared by a verifier without lanes, works on one that has them.
#[test]
fn a_key_of_a_verifier_without_lanes_works_on_one_with_lanes() {
    let (samples, expected) = some(20);
    let key = Verifier::scalar().prepare(&samples[0].item().unwrap().0);
    let signed: Vec<_> = samples.iter().map(Sample::signed).collect();
    let mut verdicts = vec![false; 20];
    let verifier = Verifier::new();
    verifier.verify_prepared_into(&key.unwrap(), &signed, &mut verdicts);
    assert_eq!(verdicts, expected);
    assert_eq!(verifier.counts().scalar, 20);
}

#[test]
fn counts_tell_where_each_signature_went() {
    let verifier = Verifier::new();
    let (samples, expected) = some(20);
    let items: Vec<_> = samples.iter().filter_map(Sample::item).collect();
    let few = LANES_PAY_FROM - 1;
    assert_eq!(
        verifier.verify_batch(&items[..few]).as_slice(),
        &expected[..few]
    );
    assert_eq!(verifier.counts().scalar, few as u64);
    assert_eq!(verifier.verify_batch(&items).as_slice(), expected);
    let counts = verifier.counts();
    if verifier.path() == Path::Scalar {
        assert_eq!(counts.scalar, 20 + few as u64);
        return;
    }
    assert_eq!((counts.lanes_filled, counts.lanes_run), (20, 24));
    assert_eq!(counts.occupancy(), Some(20.0 / 24.0));
    let invalid = expected.iter().filter(|valid| !**valid).count() as u64;
    assert_eq!((counts.asked_again, counts.disagreements), (invalid, 0));
}

#[test]
fn the_shared_verifier_verifies() {
    let (samples, expected) = some(20);
    let items: Vec<_> = samples.iter().filter_map(Sample::item).collect();
    let verdicts = verify_batch(&items);
    assert_eq!(verdicts.as_slice(), expected);
    assert!(!verdicts.all_valid() && verdicts.is_valid(0) && !verdicts.is_valid(20));
    assert!(verify_batch(&items[2..4]).all_valid());
}

#[test]
fn verdicts_beyond_the_shorter_slice_are_left_alone() {
    let (samples, _) = some(70);
    let items: Vec<_> = samples.iter().filter_map(Sample::item).step_by(3).collect();
    for verifier in [&PATHS.verifier, &PATHS.scalar] {
        let mut short = [false; 5];
        verifier.verify_into(&items, &mut short);
        assert_eq!(short, [true; 5]);
        let mut long = [false; 30];
        verifier.verify_into(&items, &mut long);
        assert_eq!(long[..24], [true; 24]);
        assert_eq!(long[24..], [false; 6]);
        verifier.verify_into(&[], &mut []);
    }
    for lanes in PATHS.lanes() {
        let mut short = [false; 5];
        lanes.verify(&items, &mut short);
        assert_eq!(short, [true; 5]);
    }
}

#[test]
fn a_key_off_the_curve_is_not_prepared() {
    let (samples, _) = some(1);
    let mut key = samples[0].key;
    key[64] ^= 1;
    let key = p256x8::PublicKey::from_sec1(&key).unwrap();
    assert!(PATHS.lanes().all(|lanes| lanes.prepare(&key).is_none()));
    assert!(Verifier::new().prepare(&key).is_none());
    assert!(Verifier::scalar().prepare(&key).is_none());
    let signature = Signature::from_fixed(samples[0].signature);
    let item = (key, p256x8::Digest(samples[0].digest), signature);
    assert!(verify_batch(&[item; 9]).as_slice() == [false; 9]);
}

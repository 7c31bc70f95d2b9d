//! A processor without the instructions, for real: the program runs under valgrind, which tells it of no AVX-512.

use std::path::Path as FilePath;
use std::process::Command;

use p256x8::{Ifma, Path, Verifier};

use super::random::Random;
use super::sample::{Key, Nonce, Sample};

/// Few signatures: valgrind runs a processor's instructions some fifty times slower than the processor does.
const SIGNATURES: usize = 16;

/// What runs under valgrind below. Where the processor has the instructions it fails by itself.
#[test]
#[ignore = "runs under valgrind, by the test below"]
fn inside() {
    assert!(Ifma::detect().is_none());
    let verifier = Verifier::new();
    assert_eq!(verifier.path(), Path::Scalar);
    let mut random = Random::new(5);
    let (key, nonce) = (Key::random(&mut random), Nonce::random(&mut random));
    let mut samples: Vec<_> = (0..SIGNATURES)
        .map(|_| key.sign(random.octets(), &nonce))
        .collect();
    for sample in samples.iter_mut().step_by(3) {
        sample.signature[63] ^= 1;
    }
    let expected: Vec<bool> = (0..SIGNATURES).map(|i| i % 3 != 0).collect();
    let items: Vec<_> = samples.iter().filter_map(Sample::item).collect();
    assert_eq!(verifier.verify_batch(&items).as_slice(), expected);
    let prepared = verifier.prepare(&items[0].0).unwrap();
    let signed: Vec<_> = samples.iter().map(Sample::signed).collect();
    let mut verdicts = vec![false; SIGNATURES];
    verifier.verify_prepared_into(&prepared, &signed, &mut verdicts);
    assert_eq!(verdicts, expected);
    let counts = verifier.counts();
    assert_eq!(counts.scalar, 2 * SIGNATURES as u64);
    assert_eq!((counts.lanes_run, counts.asked_again), (0, 0));
}

#[test]
fn a_processor_that_hides_the_instructions_verifies_with_aws_lc_rs() {
    let output = Command::new(valgrind())
        .args(["--tool=none"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "masked::inside"])
        .output()
        .unwrap();
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("1 passed"), "{told}");
}

/// The program, brought where it is not installed.
fn valgrind() -> String {
    let script = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tool.sh");
    let output = Command::new(script).arg("valgrind").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "there is no valgrind: {told}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

//! What the independent verifiers say of our logs, whole and damaged.

use std::fs;

use birthmark_log::tlog::{Receipt, VerifierKey};

use crate::sample::{Sample, record};
use crate::verifiers::{TOOLS, accepts, judge, receipt};

/// One record, full tiles without a partial one, every kind of tile, three levels.
const SIZES: [u64; 4] = [1, 512, 600, 65_537];

#[test]
fn independent_verifiers_accept_the_log() {
    // A log without records has a checkpoint and no tiles.
    for size in [0].into_iter().chain(SIZES) {
        let sample = Sample::new(size);
        accepts(
            sample.dir.path(),
            &sample.log,
            std::slice::from_ref(&sample.witness),
        );
    }
}

#[test]
fn tlog_scales_makes_the_same_receipts() {
    for size in SIZES {
        let sample = Sample::new(size);
        for index in [0, 255, 256, 511, 512, size / 2, size - 1] {
            if index >= size {
                continue;
            }
            let ours = sample.receipt(index);
            let theirs = receipt(sample.dir.path(), index);
            assert_eq!(ours.encode(), theirs, "record {index} of {size}");
            let parsed = Receipt::parse(theirs.as_bytes()).unwrap();
            assert_eq!(parsed, ours);
            let checkpoint = parsed.verify(&record(index), &sample.log).unwrap();
            assert_eq!(checkpoint.size, size);
            assert!(parsed.verify(&record(index + 1), &sample.log).is_err());
        }
    }
}

#[test]
fn a_flipped_bit_in_any_file_is_rejected() {
    let sample = Sample::new(600);
    let dir = sample.dir.path();
    accepts(dir, &sample.log, &[]);
    // A file, a byte and a bit. The byte 1 of a bundle is part of a length; in the checkpoint
    // origin, size, root and signature are hit.
    let checkpoint = fs::read_to_string(dir.join("checkpoint")).unwrap();
    let within = |text: &str| checkpoint.find(text).unwrap();
    let size = within("\n600\n") + 1;
    for (file, byte, bit) in [
        ("tile/0/000", 0, 0),
        ("tile/0/000", 8_191, 7),
        ("tile/0/001", 4_000, 3),
        ("tile/0/002.p/88", 2_815, 0),
        ("tile/1/000.p/2", 40, 5),
        ("tile/entries/000", 1, 0),
        ("tile/entries/000", 30_000, 4),
        ("tile/entries/001", 20_000, 1),
        ("tile/entries/002.p/88", 700, 0),
        ("checkpoint", within("factory"), 0),
        ("checkpoint", size, 0),
        ("checkpoint", size + 10, 1),
        ("checkpoint", within("line-7 ") + 20, 1),
    ] {
        let whole = fs::read(dir.join(file)).unwrap();
        let mut flipped = whole.clone();
        flipped[byte] ^= 1 << bit;
        fs::write(dir.join(file), &flipped).unwrap();
        for tool in TOOLS {
            let verdict = judge(tool, dir, &sample.log, &[]);
            println!("{file} byte {byte} bit {bit}: {tool}: {verdict:?}");
            assert!(
                verdict.is_err(),
                "{tool} overlooked {file}, byte {byte}, bit {bit}"
            );
        }
        fs::write(dir.join(file), &whole).unwrap();
    }
    accepts(dir, &sample.log, &[]);
}

#[test]
fn another_key_is_rejected() {
    let sample = Sample::new(3);
    let stranger = VerifierKey::ed25519(sample.log.name(), *sample.witness.public_key()).unwrap();
    let other_witness = VerifierKey::cosigner("witness.example/w1", *sample.log.public_key());
    for tool in TOOLS {
        let verdict = judge(tool, sample.dir.path(), &stranger, &[]);
        assert!(verdict.is_err(), "{tool}: {verdict:?}");
        let witnesses = [other_witness.clone().unwrap()];
        let verdict = judge(tool, sample.dir.path(), &sample.log, &witnesses);
        assert!(verdict.is_err(), "{tool}: {verdict:?}");
    }
}

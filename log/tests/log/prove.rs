//! Proofs that a log makes of itself, for states with and without a checkpoint of their own.

use std::sync::Mutex;

use birthmark_log::tlog::{
    CheckpointSigner, ProveError, TreeBuilder, leaf_hash, verify_consistency, verify_inclusion,
};
use birthmark_log::{LogProofError, LogReader, RecordIndex, VerifyError};

use crate::rig::{issue_all, open_dir, options, signer};

/// Two full tiles and a partial one.
const RECORDS: u64 = 600;

fn log(records: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    birthmark_log::Log::create(dir.path()).unwrap();
    let storage = std::sync::Arc::new(birthmark_log::DiskStorage);
    let (log, answers) = open_dir(dir.path(), options(storage)).unwrap();
    issue_all(&log, &answers, 0..records, 100);
    log.close().unwrap();
    dir
}

#[test]
fn every_state_is_proven() {
    let dir = log(RECORDS);
    let reader = LogReader::open(dir.path()).unwrap();
    assert_eq!(reader.published(), RECORDS);
    assert_eq!(
        reader.vkey().unwrap().as_ref(),
        Some(signer().verifier_key())
    );
    let leaves: Vec<_> = reader
        .iter()
        .map(|entry| leaf_hash(&entry.unwrap().1))
        .collect();
    // Roots from the records alone, one for each size.
    let mut tree = TreeBuilder::new();
    let mut roots = vec![tree.root()];
    for leaf in &leaves {
        tree.append(*leaf, &mut |_, _| {});
        roots.push(tree.root());
    }
    for size in (0..=RECORDS)
        .step_by(7)
        .chain([1, 255, 256, 257, 511, 512, 513])
    {
        let root = roots[size as usize];
        assert_eq!(reader.root(size).unwrap(), root, "size {size}");
        for index in [0, 1, 254, 255, 256, 300, 511, 512, size.saturating_sub(1)] {
            let proof = reader.inclusion_proof(RecordIndex(index), size);
            if index >= size {
                let error = proof.unwrap_err();
                assert!(matches!(
                    error,
                    LogProofError::Prove(ProveError::Index { .. })
                ));
                continue;
            }
            verify_inclusion(leaves[index as usize], index, size, &proof.unwrap(), root).unwrap();
        }
        for old in (0..=size).step_by(41) {
            let proof = reader.consistency_proof(old, size).unwrap();
            verify_consistency(old, roots[old as usize], size, root, &proof).unwrap();
        }
    }
}

#[test]
fn what_is_not_published_is_not_proven() {
    let dir = log(10);
    let reader = LogReader::open(dir.path()).unwrap();
    for error in [
        reader.root(11).unwrap_err(),
        reader.inclusion_proof(RecordIndex(10), 11).unwrap_err(),
        reader.consistency_proof(3, u64::MAX).unwrap_err(),
    ] {
        let published = matches!(error, LogProofError::NotPublished { published: 10, .. });
        assert!(published, "{error}");
    }
    let error = reader.consistency_proof(5, 4).unwrap_err();
    assert!(matches!(
        error,
        LogProofError::Prove(ProveError::Sizes { .. })
    ));

    std::fs::remove_file(dir.path().join("public/tile/0/000.p/10")).unwrap();
    let error = reader.root(10).unwrap_err();
    let LogProofError::Prove(ProveError::Read { source, .. }) = &error else {
        panic!("{error}")
    };
    assert!(matches!(source, VerifyError::Corrupt(_)), "{error}");
}

#[test]
fn a_reader_proves_what_was_published_after_it_opened() {
    let dir = log(10);
    let reader = LogReader::open(dir.path()).unwrap();
    let storage = std::sync::Arc::new(birthmark_log::DiskStorage);
    let (log, answers) = open_dir(dir.path(), options(storage)).unwrap();
    issue_all(&log, &answers, 10..300, 100);
    log.close().unwrap();
    let proof = reader.inclusion_proof(RecordIndex(3), 300).unwrap();
    let leaf = leaf_hash(&reader.read(RecordIndex(3)).unwrap());
    verify_inclusion(leaf, 3, 300, &proof, reader.root(300).unwrap()).unwrap();
    assert_eq!(reader.published(), 300);
}

#[test]
fn a_scan_shows_every_record_once_or_names_the_damage() {
    let dir = log(RECORDS);
    let reader = LogReader::open(dir.path()).unwrap();
    let expected: Vec<_> = reader.iter().map(Result::unwrap).collect();
    for threads in [Some(1), Some(3), None] {
        let shown = Mutex::new(Vec::new());
        let show = |index: RecordIndex, record: &[u8]| {
            shown.lock().unwrap().push((index, record.to_vec()));
        };
        reader.scan(threads, &show).unwrap();
        let mut shown = shown.into_inner().unwrap();
        shown.sort_unstable();
        assert!(shown == expected);
    }
    for first in [0, 1, 255, 256, 599, 600, 700] {
        let rest: Vec<_> = reader
            .iter_from(RecordIndex(first))
            .map(Result::unwrap)
            .collect();
        assert!(rest == expected[expected.len().min(first as usize)..]);
    }
    let bundle = dir.path().join("public/tile/entries/001");
    let mut bytes = std::fs::read(&bundle).unwrap();
    bytes[5_000] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let error = reader.scan(Some(2), &|_, _| {}).unwrap_err();
    assert!(error.to_string().contains("entries/001"), "{error}");
}

/// A writer that publishes all the time and gives up a segment every few records; beside it the log is
/// verified and read through again and again, and is intact each time.
#[test]
fn verification_and_reading_beside_a_writer() {
    let dir = tempfile::tempdir().unwrap();
    birthmark_log::Log::create(dir.path()).unwrap();
    let storage = std::sync::Arc::new(birthmark_log::DiskStorage);
    let (log, answers) = open_dir(dir.path(), options(storage)).unwrap();
    issue_all(&log, &answers, 0..10, 3000);
    log.publish().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        let beside = scope.spawn(|| {
            let mut rounds = 0;
            while rounds < 3 || !done.load(std::sync::atomic::Ordering::SeqCst) {
                let signer = signer();
                let verification = birthmark_log::Verification {
                    keys: Some(&crate::rig::keys),
                    vkey: Some(signer.verifier_key()),
                    ..birthmark_log::Verification::default()
                };
                let report = birthmark_log::verify(dir.path(), &verification).unwrap();
                assert_eq!(report.archived_unseen, 0);
                let reader = LogReader::open(dir.path()).unwrap();
                for (expected, item) in (0..).zip(&reader) {
                    let (index, record) = item.unwrap();
                    assert_eq!(index, RecordIndex(expected));
                    assert_eq!(crate::rig::seen(&record).ticket, expected);
                }
                let last = RecordIndex(reader.len() - 1);
                let record = reader.read(last).unwrap();
                assert_eq!(crate::rig::seen(&record).ticket, last.0);
                rounds += 1;
            }
            rounds
        });
        issue_all(&log, &answers, 10..1200, 3000);
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        beside.join().unwrap()
    });
    assert!(log.metrics().segments_begun > 20, "{:?}", log.metrics());
    crate::rig::report(format_args!("{rounds} verifications beside a writer"));
    log.close().unwrap();
}

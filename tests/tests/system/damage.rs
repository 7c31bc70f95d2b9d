//! A finished log that is damaged afterwards: each damage is found and named. And one whose last
//! moments are missing: it is recovered.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use birthmark_engine::{
    CloseError, Engine, IssueStatus, OpenError, RecordKeyExtractor, Request, Station,
};
use birthmark_log::{Verification, VerifyError, VerifyReport};

use crate::binary::{assert_code, birthmark, error_line};
use crate::faulty_storage::FaultyStorage;
use crate::requests::device;
use crate::station::{Entry, Factory, Random, Signer};

const SEED: u64 = 0x00f1_19ed;
const CERTIFICATES: u64 = 300;
const SEGMENT_BYTES: u64 = 128 << 10;
/// What one block of the log has; damage is looked for in blocks that are in use.
const BLOCK_BYTES: u64 = 512;

/// A finished log of several segments.
struct FinishedLog {
    factory: Factory,
    entries: Vec<Entry>,
    /// Segment files in use, with the number of bytes in use.
    segments: Vec<(PathBuf, u64)>,
}

impl FinishedLog {
    fn new() -> FinishedLog {
        let factory = Factory::new(Signer::P256);
        // Nothing can be published, so the segments keep everything.
        let (storage, faults) = FaultyStorage::new();
        faults.public_full.store(true, Ordering::SeqCst);
        let engine = issue(&factory, |station| station.log_options.storage = storage);
        let closed = engine.close();
        assert!(
            matches!(
                closed,
                Err(CloseError::Log(
                    birthmark_log::CloseError::NotPublished { .. }
                ))
            ),
            "{closed:?}"
        );
        let entries = factory.assert_sound();
        let mut segments: Vec<_> = fs::read_dir(factory.log().join("segments"))
            .unwrap()
            .map(|file| file.unwrap().path())
            .map(|path| (path.clone(), used_bytes(&path)))
            .filter(|(_, used)| *used > 0)
            .collect();
        segments.sort();
        assert!(segments.len() >= 3, "{segments:?}");
        FinishedLog {
            factory,
            entries,
            segments,
        }
    }

    fn verify(&self) -> Result<VerifyReport, VerifyError> {
        verify(&self.factory.log())
    }

    fn file(&self, segment: usize) -> File {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.segments[segment].0)
            .unwrap()
    }

    /// The closed mark is the last block in use.
    fn is_closed_mark(&self, segment: usize, offset: u64) -> bool {
        segment + 1 == self.segments.len() && offset >= self.segments[segment].1 - BLOCK_BYTES
    }

    /// A copy of the log in a directory of its own.
    fn copy(&self, name: &str) -> PathBuf {
        let copy = self.factory.path(name);
        fs::create_dir_all(copy.join("segments")).unwrap();
        for file in fs::read_dir(self.factory.log().join("segments")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), copy.join("segments").join(file.file_name())).unwrap();
        }
        copy
    }

    fn open_copy(&self, copy: &Path) -> Result<Engine, OpenError> {
        let mut station = self.factory.station();
        station.log_directory = copy.to_owned();
        Engine::open(station)
    }
}

/// Issues all certificates.
fn issue(factory: &Factory, change: impl FnOnce(&mut Station)) -> Engine {
    let engine = factory.open_with(|station| {
        station.log_options.segment_bytes = SEGMENT_BYTES;
        change(station);
    });
    let requests = (0..CERTIFICATES)
        .map(|n| Request::new(device(n), "idevid"))
        .collect();
    assert!(engine.issue_batch(requests).iter().all(Result::is_ok));
    engine
}

fn used_bytes(segment: &Path) -> u64 {
    let bytes = fs::read(segment).unwrap();
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last as u64 + 1);
    used.next_multiple_of(BLOCK_BYTES)
}

/// As `birthmark log verify` does it: every record can be read, too.
fn verify(log: &Path) -> Result<VerifyReport, VerifyError> {
    let verification = Verification {
        keys: Some(&RecordKeyExtractor),
        ..Verification::default()
    };
    birthmark_log::verify(log, &verification)
}

#[test]
fn every_flipped_bit_is_found_and_named() {
    let log = FinishedLog::new();
    let mut random = Random::new(SEED);
    let mut in_closed_mark = 0;
    for round in 0..400 {
        let segment = random.below(log.segments.len() as u64) as usize;
        // Every fourth one where it is most likely to be missed: in the segment's first and last
        // blocks in use.
        let used = log.segments[segment].1;
        let offset = match round % 8 {
            0 => random.below(BLOCK_BYTES),
            1 => used - 1 - random.below(2 * BLOCK_BYTES),
            _ => random.below(used),
        };
        let bit = 1 << random.below(8);
        let context = format!("seed {SEED:#x}: bit {bit:#x} of byte {offset} of segment {segment}");
        let file = log.file(segment);
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ bit], offset).unwrap();
        match log.verify() {
            Err(VerifyError::Corrupt(corruption)) => {
                assert_eq!(corruption.file, log.segments[segment].0, "{context}");
                assert!(corruption.offset <= offset, "{context}: {corruption}");
            }
            // A damaged closed mark is what a crash while closing leaves: no record is touched,
            // and the log does not pass for a closed one.
            Ok(report) if log.is_closed_mark(segment, offset) => {
                in_closed_mark += 1;
                assert!(
                    !report.clean && report.torn_tail.is_some(),
                    "{context}: {report:?}"
                );
                assert_eq!(report.records, CERTIFICATES, "{context}");
            }
            other => panic!("{context}: {other:?}"),
        }
        file.write_all_at(&byte, offset).unwrap();
    }
    assert!(in_closed_mark < 100, "most flips hit records");
    assert!(log.verify().unwrap().clean, "the damage is undone");
}

/// All files below a directory.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn every_flipped_bit_in_a_published_log_is_found_and_named() {
    let factory = Factory::new(Signer::P256);
    issue(&factory, |_| {}).close().unwrap();
    let report = factory.verify();
    assert_eq!(report.checkpoint.unwrap().size, CERTIFICATES);
    let log = factory.log();
    let mut random = Random::new(SEED);
    let mut flips = 0;
    for path in files_below(&log) {
        let name = path.file_name().unwrap().to_str().unwrap();
        // Nobody believes the offsets, and nobody reads the lock. Segments have their own test.
        if ["LOCK", "offsets"].contains(&name) || name.ends_with(".seg") {
            continue;
        }
        for _ in 0..40 {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)
                .unwrap();
            let offset = random.below(file.metadata().unwrap().len());
            let bit = 1 << random.below(8);
            let context = format!("seed {SEED:#x}: bit {bit:#x} of byte {offset} of {path:?}");
            let mut byte = [0];
            file.read_exact_at(&mut byte, offset).unwrap();
            file.write_all_at(&[byte[0] ^ bit], offset).unwrap();
            match verify(&log) {
                Err(VerifyError::Corrupt(corruption)) => {
                    let beside = path == log.join("vkey");
                    assert!(corruption.file == path || beside, "{context}: {corruption}");
                }
                other => panic!("{context}: {other:?}"),
            }
            file.write_all_at(&byte, offset).unwrap();
            flips += 1;
        }
        let content = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let missing = verify(&log);
        let optional = name == "vkey";
        assert!(
            missing.is_err() || optional,
            "without {path:?}: {missing:?}"
        );
        fs::write(&path, content).unwrap();
    }
    crate::report(format_args!("{flips} flipped bits in published files"));
    assert!(flips >= 6 * 40, "{flips} flips");
    assert!(verify(&log).unwrap().clean, "the damage is undone");
}

#[test]
fn the_binary_names_the_damaged_file_and_the_engine_does_not_start() {
    let log = FinishedLog::new();
    let mut random = Random::new(SEED);
    for round in 0..12 {
        let segment = random.below(log.segments.len() as u64) as usize;
        // All but the closed mark.
        let offset = random.below(log.segments[segment].1 - BLOCK_BYTES);
        let context = format!("seed {SEED:#x}: byte {offset} of segment {segment}");
        let copy = log.copy(&format!("damaged-{round}"));
        let name = log.segments[segment].0.file_name().unwrap();
        let path = copy.join("segments").join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();

        let output = birthmark(&["log", "verify", copy.to_str().unwrap()], b"");
        assert_code(&output, 3);
        let line = error_line(&output);
        assert!(line.contains(path.to_str().unwrap()), "{context}: {line}");
        assert!(line.contains("damaged"), "{context}: {line}");
        match log.open_copy(&copy) {
            Err(OpenError::Log(birthmark_log::OpenError::Corrupt(corruption))) => {
                assert_eq!(corruption.file, path, "{context}");
            }
            other => panic!("{context}: {other:?}"),
        }
    }
}

#[test]
fn cut_swapped_and_missing_segments_are_found() {
    let log = FinishedLog::new();
    let last = log.segments.len() - 1;
    let segments = |copy: &Path| -> Vec<PathBuf> {
        let name = |(path, _): &(PathBuf, u64)| path.file_name().unwrap().to_owned();
        log.segments
            .iter()
            .map(|segment| copy.join("segments").join(name(segment)))
            .collect()
    };
    let mut random = Random::new(SEED);
    for segment in 0..=last {
        for _ in 0..6 {
            let length = random.below(log.segments[segment].1);
            let copy = log.copy("cut");
            let cut = OpenOptions::new()
                .write(true)
                .open(&segments(&copy)[segment])
                .unwrap();
            cut.set_len(length).unwrap();
            let context = format!("seed {SEED:#x}: segment {segment} cut to {length}");
            match verify(&copy) {
                Err(VerifyError::Corrupt(corruption)) => {
                    assert!(corruption.offset <= length, "{context}: {corruption}");
                }
                // At the very end a cut looks like a crash, and says so.
                Ok(report) => assert!(segment == last && !report.clean, "{context}: {report:?}"),
                Err(other) => panic!("{context}: {other}"),
            }
            fs::remove_dir_all(copy).unwrap();
        }
        if segment < last {
            let copy = log.copy("missing");
            fs::remove_file(&segments(&copy)[segment]).unwrap();
            assert!(verify(&copy).is_err(), "segment {segment} is missing");
            fs::remove_dir_all(copy).unwrap();

            let copy = log.copy("zeros");
            let file = &segments(&copy)[segment];
            fs::write(file, vec![0; fs::metadata(file).unwrap().len() as usize]).unwrap();
            assert!(verify(&copy).is_err(), "segment {segment} is all zeros");
            fs::remove_dir_all(copy).unwrap();
        }
    }
    let copy = log.copy("swapped");
    let files = segments(&copy);
    fs::rename(&files[1], copy.join("aside")).unwrap();
    fs::rename(&files[2], &files[1]).unwrap();
    fs::rename(copy.join("aside"), &files[2]).unwrap();
    assert!(verify(&copy).is_err(), "two segments have changed places");
}

/// The tail of the last segment never reached the disk, from any byte on.
#[test]
fn a_torn_tail_is_recovered() {
    let log = FinishedLog::new();
    let last = log.segments.len() - 1;
    let (path, used) = &log.segments[last];
    let mut random = Random::new(SEED);
    for round in 0..10 {
        // Not the padding of the closed mark, which is zeros already.
        let from = BLOCK_BYTES + random.below(used - 2 * BLOCK_BYTES);
        let context = format!("seed {SEED:#x}: torn from byte {from}");
        let copy = log.copy(&format!("torn-{round}"));
        let torn = copy.join("segments").join(path.file_name().unwrap());
        let file = OpenOptions::new().write(true).open(&torn).unwrap();
        file.write_all_at(&vec![0; (used - from) as usize], from)
            .unwrap();
        let before = match verify(&copy) {
            Ok(report) => report,
            Err(error) => panic!("{context}: {error}"),
        };
        assert!(!before.clean, "{context}");

        let engine = log.open_copy(&copy).unwrap();
        let recovery = engine.log().recovery().clone();
        assert_eq!(recovery.lost_written, before.reservations_open, "{context}");
        assert_eq!(
            recovery.records,
            before.records + recovery.lost_written,
            "{context}"
        );
        // What is there is answered as before, the rest is issued anew.
        let requests = (0..CERTIFICATES)
            .map(|n| Request::new(device(n), "idevid"))
            .collect();
        for result in engine.issue_batch(requests) {
            let issued = result.unwrap();
            let index = issued.certificate.index();
            if index < before.records {
                assert_eq!(issued.status, IssueStatus::Existing, "{context}");
                let entry = &log.entries[index as usize];
                assert_eq!(
                    entry.certificate(),
                    Some(issued.certificate.as_der()),
                    "{context}"
                );
            } else {
                assert_eq!(issued.status, IssueStatus::Issued, "{context}");
            }
        }
        engine.close().unwrap();
        let after = verify(&copy).unwrap();
        assert!(
            after.clean && after.reservations_open == 0,
            "{context}: {after:?}"
        );
        assert_eq!(
            after.records,
            CERTIFICATES + recovery.lost_written,
            "{context}"
        );
    }
}

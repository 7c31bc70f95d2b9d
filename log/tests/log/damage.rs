//! Damage: flipped bits, cut, lost and exchanged files. Each is found and named.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use birthmark_log::{
    CloseError, Corruption, LogReader, OpenError, RecordIndex, VerifyError, VerifyReport,
};

use crate::rig::{
    DIR, SMALL_SEGMENT, all_records, issue_all, new_sim, open_quiet, open_sim, open_unpublished,
    open_with, seen, sim_options, verify_sim,
};
use crate::sim::Sim;

const RECORDS: u64 = 60;
const RECORD_BYTES: usize = 7000;

fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(format!("segments/{number:012}.seg"))
}

/// A log over several segments, cleanly closed, and how many bytes of each segment are in use.
fn closed_log() -> (Sim, Vec<usize>) {
    let sim = new_sim();
    let (log, answers) = open_unpublished(&sim);
    issue_all(&log, &answers, 0..RECORDS, RECORD_BYTES);
    assert!(matches!(log.close(), Err(CloseError::NotPublished { .. })));
    let report = verify(&sim).unwrap();
    assert!(report.clean && report.segments >= 4, "{report:?}");
    let used = (0..report.segments).map(|number| {
        let content = sim.content(&segment(number));
        content.iter().rposition(|&byte| byte != 0).unwrap() / 512 * 512 + 512
    });
    let used = used.collect();
    (sim, used)
}

fn verify(sim: &Sim) -> Result<VerifyReport, VerifyError> {
    verify_sim(sim)
}

fn corruption(sim: &Sim) -> Corruption {
    let Err(VerifyError::Corrupt(found)) = verify(sim) else {
        panic!("verify saw nothing")
    };
    let opened = open_with(sim_options(sim));
    let Err(OpenError::Corrupt(at_open)) = opened else {
        panic!("open saw nothing")
    };
    assert_eq!(found, at_open, "verify and open agree");
    found
}

#[test]
fn every_flipped_byte_is_found_and_named() {
    let (sim, used) = closed_log();
    let last = used.len() - 1;
    let mut flips = 0;
    for (number, &used) in used.iter().enumerate() {
        let path = segment(number as u64);
        // Every byte of a header, and enough of the rest to meet each field of many batches.
        for at in (0..used).filter(|&at| at < 600 || at % 512 < 70 && at % 3 == 0 || at % 97 == 0) {
            let mask = 1 << (at % 8);
            sim.flip(&path, at, mask);
            let closed_mark = number == last && at >= used - 512;
            if closed_mark {
                // All records are safe; the log only looks as if it had not been closed.
                let report = verify(&sim).unwrap();
                assert!(!report.clean, "byte {at} of the closed mark");
                assert_eq!(report.records, RECORDS);
            } else {
                let Err(VerifyError::Corrupt(found)) = verify(&sim) else {
                    panic!("byte {at} of segment {number}: not found");
                };
                assert_eq!(found.file, path, "byte {at}: {found}");
                let distance = at as i64 - found.offset as i64;
                let batch = RECORD_BYTES as i64 + 1024;
                assert!((0..batch).contains(&distance), "byte {at}: {found}");
            }
            sim.flip(&path, at, mask);
            flips += 1;
        }
    }
    crate::rig::report(format_args!("{flips} flipped bytes in segments"));
    assert!(flips > 5000, "{flips} flips");
    assert!(verify(&sim).unwrap().clean, "all flips were taken back");
}

#[test]
fn open_refuses_what_verify_refuses() {
    let (sim, used) = closed_log();
    for (number, &used) in used.iter().enumerate().skip(1) {
        for at in [20, 600, used / 2, used - 600] {
            sim.flip(&segment(number as u64), at, 0x40);
            let found = corruption(&sim);
            assert_eq!(found.file, segment(number as u64));
            assert!(found.record.0 <= RECORDS);
            sim.flip(&segment(number as u64), at, 0x40);
        }
    }
    open_sim(&sim).0.close().unwrap();
}

#[test]
fn a_flip_in_an_unclean_log_is_damage_unless_it_is_in_the_last_batch() {
    let sim = new_sim();
    let (log, answers) = open_quiet(&sim);
    issue_all(&log, &answers, 0..5, 600);
    // A copy without the closed mark, as after a power cut.
    let unclean = sim.copy();
    log.close().unwrap();
    let content = unclean.content(&segment(1));
    let used = content.iter().rposition(|&byte| byte != 0).unwrap() / 512 * 512 + 512;
    unclean.flip(&segment(1), used - 1600, 1);
    let found = corruption(&unclean);
    assert_eq!(found.file, segment(1));
    unclean.flip(&segment(1), used - 1600, 1);
    unclean.flip(&segment(1), used - 600, 1);
    let report = verify(&unclean).unwrap();
    assert_eq!((report.records, report.reservations_open), (4, 1));
    let torn = report.torn_tail.expect("a torn tail");
    assert_eq!((torn.file, torn.offset), (segment(1), used as u64 - 1024));
    let (log, _) = open_sim(&unclean);
    assert_eq!(log.recovery().torn_bytes_dropped, 1024);
    assert_eq!((log.len(), log.recovery().lost_written), (5, 1));
}

/// Where the last two batches of a log begin that ends as a power cut leaves it: one record each.
fn unclean_log() -> (Sim, usize) {
    let sim = new_sim();
    let (log, answers) = open_unpublished(&sim);
    issue_all(&log, &answers, 0..5, 600);
    let unclean = sim.copy();
    drop(log);
    let content = unclean.content(&segment(1));
    let used = content.iter().rposition(|&byte| byte != 0).unwrap() / 512 * 512 + 512;
    (unclean, used)
}

#[test]
fn a_damaged_batch_before_a_torn_one_is_damage() {
    let (sim, used) = unclean_log();
    let content = sim.content(&segment(1));
    let starts: Vec<usize> = (0..used)
        .step_by(512)
        .filter(|&at| content[at..].starts_with(b"BMB2"))
        .collect();
    let [.., before, last] = starts[..] else {
        panic!("{starts:?}");
    };
    // The last batch: its payload never reached the disk. It was begun when the one before was durable.
    sim.flip(&segment(1), used - 100, 1);
    assert!(verify(&sim).is_ok());
    for at in [before, before + 100] {
        sim.flip(&segment(1), at, 1);
        let found = corruption(&sim);
        assert_eq!((found.file, found.offset), (segment(1), before as u64));
        sim.flip(&segment(1), at, 1);
    }
    sim.flip(&segment(1), last, 1);
    assert!(verify(&sim).is_ok());
}

#[test]
fn what_requesters_put_into_a_file_used_before_is_no_batch() {
    let (sim, used) = closed_log();
    let last = used.len() as u64 - 1;
    let prepared = segment(last + 1);
    let mut content = sim.content(&segment(1));
    // As in a record: the header of a batch far ahead, with its checksum, before one empty frame.
    let mut batch = vec![0; 512];
    batch[..4].copy_from_slice(b"BMB2");
    batch[4] = 17;
    batch[8..16].fill(0x7F);
    batch[32] = 1;
    batch[56] = 3;
    let sum = crc32c(&crc32c(&[], &batch[48..65]), &batch[..44]);
    batch[44..48].copy_from_slice(&sum);
    for at in (1024..used[1]).step_by(512) {
        content[at..at + 512].copy_from_slice(&batch);
    }
    if !sim.files().contains(&prepared) {
        birthmark_log::Storage::create(&sim, &prepared).unwrap();
    }
    sim.set_content(&prepared, content.clone());
    assert_eq!(verify(&sim).unwrap().records, RECORDS);
    // Where the first batch stands, or in a file that was never used, it can be nobody else's.
    content[512..1024].copy_from_slice(&batch);
    sim.set_content(&prepared, content.clone());
    assert_eq!(corruption(&sim).file, prepared);
    content[..1024].fill(0);
    sim.set_content(&prepared, content);
    assert_eq!(corruption(&sim).file, prepared);
}

/// CRC-32C of `bytes` after what has the checksum `before`, little-endian, bit by bit (RFC 3720 appendix B.4).
fn crc32c(before: &[u8], bytes: &[u8]) -> [u8; 4] {
    let before = before.try_into().map_or(0, u32::from_le_bytes);
    let sum = bytes.iter().fold(!before, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ if sum & 1 == 1 { 0x82F6_3B78 } else { 0 }
        })
    });
    (!sum).to_le_bytes()
}

#[test]
fn cut_lost_and_exchanged_files_are_found() {
    let (sim, used) = closed_log();
    let last = used.len() as u64 - 1;
    for number in 0..=last {
        let path = segment(number);
        for keep in [0, 100, 512, used[number as usize] - 512] {
            let cut = sim.copy();
            let mut content = cut.content(&path);
            content.truncate(keep);
            cut.set_content(&path, content);
            assert_eq!(
                corruption(&cut).file,
                path,
                "segment {number} cut to {keep}"
            );
        }
        let blank = sim.copy();
        let mut content = blank.content(&path);
        content[..512].fill(0);
        blank.set_content(&path, content);
        assert_eq!(
            corruption(&blank).file,
            path,
            "segment {number} without header"
        );
    }
    for number in 0..last {
        let removed = sim.copy();
        birthmark_log::Storage::remove(&removed, &segment(number)).unwrap();
        assert_eq!(
            corruption(&removed).file,
            segment(number),
            "segment {number} lost"
        );
    }
    let exchanged = sim.copy();
    let (one, two) = (sim.content(&segment(1)), sim.content(&segment(2)));
    exchanged.set_content(&segment(1), two);
    exchanged.set_content(&segment(2), one);
    corruption(&exchanged);
}

#[test]
fn stale_frames_of_a_file_used_before_never_pass() {
    let (sim, used) = closed_log();
    let last = used.len() as u64 - 1;
    // The prepared segment gets the content of an older one, header and all.
    for old in 1..=last {
        let recycled = sim.copy();
        let prepared = segment(last + 1);
        if !recycled.files().contains(&prepared) {
            // The log was closed before it was ready.
            birthmark_log::Storage::create(&recycled, &prepared).unwrap();
        }
        let content = recycled.content(&segment(old));
        assert_eq!(content.len() as u64, SMALL_SEGMENT);
        recycled.set_content(&prepared, content);
        let (log, answers) = open_sim(&recycled);
        assert_eq!(log.len(), RECORDS);
        // Into the recycled file and beyond, with a power cut after each record.
        for ticket in 0..30 {
            issue_all(&log, &answers, 100 + ticket..101 + ticket, RECORD_BYTES);
            let cut = recycled.copy();
            verify(&cut).unwrap();
            let (log, _) = open_sim(&cut);
            assert_eq!(log.len(), RECORDS + 1 + ticket, "old segment {old}");
        }
        assert!(
            log.metrics().segments_begun >= 2,
            "the recycled file was not used up"
        );
        all_records(&log);
        log.close().unwrap();
        verify(&recycled).unwrap();
    }
}

#[test]
fn the_reader_reads_and_names_damage() {
    let (sim, used) = closed_log();
    let reader = LogReader::open_on(Arc::new(sim.clone()), Path::new(DIR)).unwrap();
    assert_eq!(reader.len(), RECORDS);
    for (expected, item) in (0..).zip(&reader) {
        let (index, record) = item.unwrap();
        assert_eq!(
            (index, seen(&record).ticket),
            (RecordIndex(expected), expected)
        );
        assert_eq!(reader.read(index).unwrap(), record);
    }
    assert_eq!(reader.iter().count() as u64, RECORDS);
    let beyond = reader.read(RecordIndex(RECORDS));
    assert!(matches!(
        beyond,
        Err(VerifyError::OutOfRange { len: RECORDS, .. })
    ));

    sim.flip(&segment(2), used[2] / 2, 1);
    let results: Vec<_> = reader.iter().collect();
    let Some(Err(VerifyError::Corrupt(found))) = results.last() else {
        panic!("no damage seen")
    };
    assert_eq!(found.file, segment(2));
    assert!(
        results[..results.len() - 1].iter().all(Result::is_ok),
        "it ends at the damage"
    );
    assert!((results.len() as u64) < RECORDS);
}

#[test]
fn a_damaged_record_is_an_error_to_read_and_to_find() {
    let sim = new_sim();
    let (log, answers) = open_sim(&sim);
    issue_all(&log, &answers, 0..3, 600);
    let content = sim.content(&segment(1));
    let used = content.iter().rposition(|&byte| byte != 0).unwrap() / 512 * 512 + 512;
    sim.flip(&segment(1), used - 600, 1);
    assert!(matches!(
        log.read(RecordIndex(2)),
        Err(birthmark_log::ReadError::Corrupt(Corruption {
            record: RecordIndex(2),
            ..
        }))
    ));
    assert!(log.find(0, &crate::rig::key(0, 2)).is_err());
    assert!(log.read(RecordIndex(1)).is_ok());
}

#[test]
fn a_checkpoint_is_signed_over_what_was_committed_or_not_at_all() {
    const BYTES: usize = 600;
    let bundle = Path::new(DIR).join("public/tile/entries/000.p/3");
    let publish = |flip: Option<usize>| {
        let sim = new_sim();
        let (log, answers) = open_quiet(&sim);
        issue_all(&log, &answers, 0..3, BYTES);
        let used = sim.content(&segment(1));
        let used = used.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        if let Some(at) = flip {
            sim.flip(&segment(1), at, 1);
        }
        let published = log.publish();
        assert_eq!(published.is_ok(), log.checkpoint().is_some());
        published.map(|size| (size, sim.try_content(&bundle), used))
    };
    let (size, committed, used) = publish(None).unwrap();
    assert_eq!((size, committed.is_some()), (3, true));
    let first_batch = 512;
    let mut refused = 0;
    for at in (first_batch..used).step_by(13) {
        match publish(Some(at)) {
            Ok((_, bundle, _)) => assert_eq!(bundle, committed, "byte {at}"),
            Err(error) => {
                assert!(error.to_string().contains("damaged"), "byte {at}: {error}");
                refused += 1;
            }
        }
    }
    // What stands in a reservation is not published.
    assert!(refused * 13 >= 3 * BYTES, "{refused}");
}

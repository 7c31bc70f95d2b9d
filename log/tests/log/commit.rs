//! Group commit, refusals, lookups, threads; on simulated storage and on a real disk.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use birthmark_log::tlog::CheckpointSigner;
use birthmark_log::{
    AppendError, CloseError, Committed, CreateError, DiskStorage, Log, OpenError, Options,
    RecordIndex, Reservation, ReservationId, Verification, verify,
};

use crate::rig::{
    DIR, all_records, append, check, issue_all, issued, key, keys, lost, new_sim, open_dir,
    open_sim, open_unpublished, open_with, options, reservation, signer, sim_options,
};

/// So long that a test which relies on it never ends.
const NEVER: Duration = Duration::from_secs(3600);

/// Time for the log thread to do something wrong. A slow machine only makes the test kinder.
const A_WHILE: Duration = Duration::from_millis(50);

#[test]
fn an_idle_log_syncs_a_single_item_at_once() {
    let sim = new_sim();
    let (log, answers) = open_with(Options {
        sync_wait_max: NEVER,
        ..sim_options(&sim)
    })
    .unwrap();
    log.in_flight().add(1);
    issue_all(&log, &answers, 0..3, 500);
    assert_eq!(log.metrics().syncs, 6);
    log.in_flight().sub(1);
    thread::sleep(A_WHILE);
    // One for each of the six submissions, one or two for prepared segments.
    let wakeups = log.metrics().wakeups;
    assert!(wakeups < 20, "{wakeups} wake-ups: an idle log sleeps");
}

#[test]
fn one_that_leaves_lets_the_others_go() {
    let sim = new_sim();
    let (log, answers) = open_with(Options {
        sync_wait_max: NEVER,
        ..sim_options(&sim)
    })
    .unwrap();
    log.in_flight().add(2);
    log.reserve(vec![reservation(1, 100)]);
    thread::sleep(A_WHILE);
    assert_eq!(answers.count(), 0, "the other one may still come");
    log.in_flight().sub(1);
    answers.reserved(1);
    log.in_flight().sub(1);
}

#[test]
fn a_full_pipeline_waits_for_a_quarter_of_it() {
    let sim = new_sim();
    let (log, answers) = open_with(Options {
        sync_records_max: 16,
        sync_wait_max: NEVER,
        ..sim_options(&sim)
    })
    .unwrap();
    log.in_flight().add(200);
    log.reserve((0..49).map(|ticket| reservation(ticket, 100)).collect());
    thread::sleep(A_WHILE);
    assert_eq!((log.metrics().syncs, answers.count()), (0, 0), "49 wait");
    log.reserve(vec![reservation(49, 100)]);
    let reserved: Vec<_> = (0..50).map(|ticket| answers.reserved(ticket)).collect();
    assert!(reserved.is_sorted());
    assert_eq!(log.metrics().syncs, 1);
}

#[test]
fn waits_for_a_full_batch_and_wakes_once() {
    let sim = new_sim();
    let (log, answers) = open_with(Options {
        sync_wait_max: NEVER,
        ..sim_options(&sim)
    })
    .unwrap();
    log.in_flight().add(500);
    for ticket in 0..127 {
        log.reserve(vec![reservation(ticket, 100)]);
    }
    thread::sleep(A_WHILE);
    assert_eq!((log.metrics().syncs, answers.count()), (0, 0), "127 wait");
    let wakeups = log.metrics().wakeups;
    assert!(wakeups <= 3, "{wakeups} wake-ups for 127 chunks");
    log.reserve(vec![reservation(127, 100)]);
    let reserved: Vec<_> = (0..128).map(|ticket| answers.reserved(ticket)).collect();
    assert!(reserved.is_sorted());
    let metrics = log.metrics();
    assert_eq!(
        (
            metrics.syncs,
            metrics.frames_per_sync_max,
            metrics.reservations
        ),
        (1, 128, 128)
    );

    // Reservations and records share a batch; everything in flight waits: no need for 128.
    log.in_flight().sub(500 - 30);
    let ids: Vec<_> = (0..20).map(|ticket| answers.reserved(ticket)).collect();
    log.append(
        (0..20)
            .map(|ticket| append(ticket, ids[ticket as usize], 90))
            .collect(),
    );
    thread::sleep(A_WHILE);
    assert_eq!(log.metrics().syncs, 1, "20 of 30 wait");
    log.reserve((200..210).map(|ticket| reservation(ticket, 100)).collect());
    answers.appended(19);
    answers.reserved(209);
    assert_eq!(log.metrics().syncs, 2);
    assert_eq!(log.metrics().records, 20);
}

#[test]
fn the_oldest_item_never_waits_longer_than_the_limit() {
    let sim = new_sim();
    let wait = Duration::from_millis(2);
    let (log, answers) = open_with(Options {
        sync_wait_max: wait,
        ..sim_options(&sim)
    })
    .unwrap();
    log.in_flight().add(1_000_000);
    issue_all(&log, &answers, 0..5, 500);
    assert_eq!(log.metrics().syncs, 10);
}

#[test]
fn rolls_over_many_segments_and_back_in_after_a_restart() {
    let sim = new_sim();
    let (log, answers) = open_unpublished(&sim);
    for chunk in 0..40u64 {
        let tickets = chunk * 20..chunk * 20 + 20;
        log.reserve(
            tickets
                .clone()
                .map(|ticket| reservation(ticket, 5000))
                .collect(),
        );
        let appends = tickets
            .clone()
            .map(|t| append(t, answers.reserved(t), 200 + (t as usize * 37) % 4800));
        log.append(appends.collect());
        assert!(tickets.map(|ticket| answers.appended(ticket)).is_sorted());
    }
    let segments = log.metrics().segments_begun;
    assert!(segments > 15, "{segments} segments");
    let order: Vec<u64> = all_records(&log)
        .iter()
        .map(|record| record.ticket)
        .collect();
    assert_eq!(order, (0..800).collect::<Vec<_>>());
    let acknowledged = answers.acknowledged();
    assert!(matches!(log.close(), Err(CloseError::NotPublished { .. })));
    let (log, answers) = open_sim(&sim);
    assert!(log.recovery().clean);
    assert_eq!(
        (log.recovery().records, log.recovery().segments),
        (800, segments + 1)
    );
    check(&log, &acknowledged, "after a restart");
    // Now it is published, and only what is written to is kept.
    assert_eq!(log.publish().unwrap(), 800);
    check(&log, &acknowledged, "published");
    issue_all(&log, &answers, 1000..1010, 5000);
    let acknowledged = answers.acknowledged();
    log.close().unwrap();
    let (log, _) = open_sim(&sim);
    assert_eq!(log.recovery().records, 810);
    assert!(log.recovery().segments <= 2, "{:?}", log.recovery());
    check(&log, &acknowledged, "after another restart");
}

#[test]
fn bad_reservations_spoil_only_themselves() {
    let sim = new_sim();
    let (log, answers) = open_sim(&sim);
    let reserve = |ticket, lost_record, record_bytes_max| Reservation {
        ticket,
        lost_record,
        record_bytes_max,
    };
    log.reserve(vec![
        reservation(1, 100),
        reserve(2, lost(2), 65_536),
        reserve(3, lost(3), 59),
        reserve(4, vec![0; 60], 100),
        reserve(5, Vec::new(), 100),
        reservation(6, 100),
        reservation(7, 65_535),
    ]);
    assert!(matches!(
        answers.wait(2, 0),
        Err(AppendError::TooLarge { bytes: 65_536, .. })
    ));
    assert!(matches!(
        answers.wait(3, 0),
        Err(AppendError::TooLarge {
            bytes: 60,
            limit: 59
        })
    ));
    assert!(matches!(answers.wait(4, 0), Err(AppendError::Malformed)));
    assert!(matches!(answers.wait(5, 0), Err(AppendError::Malformed)));
    for ticket in [1, 6, 7] {
        answers.reserved(ticket);
    }
    assert_eq!(log.metrics().refused, 4);
}

#[test]
fn bad_records_spoil_only_themselves() {
    let sim = new_sim();
    let (log, answers) = open_sim(&sim);
    log.reserve(vec![
        reservation(1, 100),
        reservation(6, 100),
        reservation(7, 65_535),
    ]);
    let (one, six, seven) = (
        answers.reserved(1),
        answers.reserved(6),
        answers.reserved(7),
    );

    let mut unknown_kind = append(6, six, 50);
    unknown_kind.record[1] = 9;
    let mut malformed = append(6, six, 50);
    malformed.record[3] = 0;
    log.append(vec![
        append(1, one, 101),
        malformed,
        unknown_kind,
        append(6, six, 100),
        append(6, six, 100),
        append(8, ReservationId(99), 50),
        append(9, ReservationId(0), 50),
        append(7, seven, 65_535),
        append(1, one, 100),
    ]);
    assert!(matches!(
        answers.wait(1, 1),
        Err(AppendError::TooLarge {
            bytes: 101,
            limit: 100
        })
    ));
    assert!(matches!(answers.wait(6, 1), Err(AppendError::Malformed)));
    assert!(matches!(answers.wait(6, 2), Err(AppendError::Extract(_))));
    let twice = [answers.wait(6, 3), answers.wait(6, 4)];
    assert_eq!(twice.iter().filter(|answer| answer.is_ok()).count(), 1);
    for (ticket, id) in [(8, 99), (9, 0)] {
        let answer = answers.wait(ticket, 0);
        let Err(AppendError::UnknownReservation { reservation }) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(reservation, ReservationId(id));
    }
    assert_eq!(answers.appended(7), RecordIndex(1));
    assert!(matches!(
        answers.wait(1, 2),
        Ok(Committed::Appended(RecordIndex(2)))
    ));
    assert_eq!(log.len(), 3);
    assert_eq!(log.metrics().refused, 6);
    log.reserve(Vec::new());
    log.append(Vec::new());
    log.close().unwrap();
}

#[test]
fn the_newest_record_with_a_key_is_found() {
    // The extractor sees one key for all: each record replaces the one before.
    let sim = new_sim();
    let answers = Arc::new(crate::rig::Answers::default());
    let one_key = |record: &[u8]| Ok([keys(record)?[0].map(|_| key(0, 77)), None, None, None]);
    let open = || {
        Log::open(
            Path::new(DIR),
            sim_options(&sim),
            Arc::new(one_key),
            signer(),
            answers.clone(),
        )
        .unwrap()
    };
    let log = open();
    for ticket in 0..50 {
        issue_all(&log, &answers, ticket..ticket + 1, 300);
        assert_eq!(log.find(0, &key(0, 77)).unwrap(), Some(RecordIndex(ticket)));
    }
    assert_eq!(log.find(1, &key(0, 77)).unwrap(), None);
    assert_eq!(log.find(2, &key(0, 77)).unwrap(), None);
    assert!(log.find(3, &key(0, 77)).is_err());
    drop(log);
    assert_eq!(open().find(0, &key(0, 77)).unwrap(), Some(RecordIndex(49)));
}

#[test]
fn a_second_opener_is_told_where() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("station 7");
    let disk = || options(Arc::new(DiskStorage));
    assert!(matches!(
        open_dir(&path, disk()),
        Err(OpenError::Missing { .. })
    ));
    assert!(!path.exists(), "a failed open leaves nothing behind");
    Log::create(&path).unwrap();
    assert!(matches!(
        Log::create(&path),
        Err(CreateError::Exists { .. })
    ));
    let (log, answers) = open_dir(&path, disk()).unwrap();
    let second = open_dir(&path, disk()).unwrap_err();
    assert!(matches!(second, OpenError::Locked { .. }), "{second}");
    assert!(second.to_string().contains("station 7"), "{second}");
    assert!(matches!(
        Log::create(&path),
        Err(CreateError::Exists { .. })
    ));
    issue_all(&log, &answers, 0..3, 500);
    log.close().unwrap();
    let (log, _) = open_dir(&path, disk()).unwrap();
    assert_eq!((log.len(), log.recovery().clean), (3, true));
}

#[test]
fn a_drop_closes_and_an_open_reservation_becomes_lost() {
    let sim = new_sim();
    let (log, answers) = open_sim(&sim);
    log.reserve(vec![reservation(1, 100), reservation(2, 100)]);
    log.append(vec![append(1, answers.reserved(1), 100)]);
    // Nobody waits for the append: closing finishes it.
    drop(log);
    answers.appended(1);
    let (log, _) = open_sim(&sim);
    assert!(log.recovery().clean);
    assert_eq!(log.recovery().lost_written, 1);
    check(&log, &answers.acknowledged(), "after a drop");
}

#[test]
fn many_threads_append_and_find_at_once() {
    const THREADS: u64 = 4;
    const EACH: u64 = 150;
    let dir = tempfile::tempdir().unwrap();
    Log::create(dir.path()).unwrap();
    let (log, answers) = open_dir(dir.path(), options(Arc::new(DiskStorage))).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let issuers: Vec<_> = (0..THREADS)
            .map(|number| {
                let (log, answers) = (&log, &answers);
                scope.spawn(move || {
                    log.in_flight().add(1);
                    for ticket in (0..EACH).map(|n| n * THREADS + number) {
                        assert_eq!(log.find(0, &key(0, ticket)).unwrap(), None);
                        issue_all(log, answers, ticket..ticket + 1, 900);
                        let found = log.find(1, &key(1, ticket)).unwrap();
                        assert_eq!(found, Some(answers.appended(ticket)), "before its answer");
                    }
                    log.in_flight().sub(1);
                })
            })
            .collect();
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for index in 0..log.len() {
                    let record = log.read(RecordIndex(index)).unwrap();
                    let ticket = crate::rig::seen(&record).ticket;
                    assert_eq!(
                        log.find(0, &key(0, ticket)).unwrap(),
                        Some(RecordIndex(index))
                    );
                }
            }
        });
        let results: Vec<_> = issuers.into_iter().map(|issuer| issuer.join()).collect();
        stop.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
    let tickets: HashSet<u64> = all_records(&log)
        .iter()
        .map(|record| record.ticket)
        .collect();
    assert_eq!(tickets.len() as u64, THREADS * EACH);
    log.close().unwrap();
    check_progress(dir.path(), THREADS * EACH);
}

/// Verifies a closed log with so many records, and what it says of its progress.
fn check_progress(dir: &Path, records: u64) {
    let steps = Mutex::new(Vec::new());
    let progress = |step| steps.lock().unwrap().push(step);
    let verification = Verification {
        keys: Some(&keys),
        progress: Some(&progress),
        threads: Some(1),
        ..Verification::default()
    };
    let report = verify(dir, &verification).unwrap();
    let checkpoint = report.checkpoint.unwrap();
    assert_eq!(checkpoint.size, records, "closing publishes everything");
    assert_eq!(report.vkey, Some(signer().verifier_key().to_string()));
    assert_eq!((report.records, report.reservations), (records, records));
    assert!(report.clean);
    let steps = steps.into_inner().unwrap();
    assert!(
        steps.is_sorted_by_key(|step| step.records),
        "progress goes forward"
    );
    let last = steps.last().unwrap();
    assert_eq!((last.records, last.records_total), (records, records));
}

#[test]
fn the_caller_keeps_nothing_of_the_stamp() {
    // The stamp is the log's: whatever the caller put there does not matter.
    let sim = new_sim();
    let (log, answers) = open_sim(&sim);
    log.reserve(vec![reservation(1, 100)]);
    let mut item = append(1, answers.reserved(1), 100);
    item.record[4..12].fill(0xFF);
    log.append(vec![item]);
    let index = answers.appended(1);
    let mut expected = issued(1, 100);
    expected[4..12].copy_from_slice(&crate::rig::NOON_MS.to_be_bytes());
    assert_eq!(log.read(index).unwrap(), expected);
}

#[test]
fn a_panic_of_the_sink_ends_the_log_with_an_error() {
    struct Panics;
    impl birthmark_log::CommitSink for Panics {
        fn committed(&self, _commits: &mut Vec<birthmark_log::Commit>) {
            panic!("a sink that breaks its promise; this text in the test's output is fine");
        }
    }
    let sim = new_sim();
    let sink = Arc::new(Panics);
    let log = Log::open(
        Path::new(DIR),
        sim_options(&sim),
        Arc::new(keys),
        signer(),
        sink,
    )
    .unwrap();
    log.reserve(vec![reservation(1, 100)]);
    for _ in 0..120_000 {
        if log.status().is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert!(matches!(log.status(), Err(AppendError::Poisoned { .. })));
    assert!(log.close().is_err());
    assert_eq!(open_sim(&sim).0.recovery().lost_written, 1);
}

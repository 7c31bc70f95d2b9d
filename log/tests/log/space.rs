//! A full disk: refused before anything is begun, finished what was, and on again by itself.

use std::thread;
use std::time::Instant;

use birthmark_log::{AppendError, Log, OpenError, RecordIndex};

use crate::rig::{
    Answers, PATIENCE, Random, SMALL_SEGMENT, append, check, issue_all, new_sim, open_sim,
    open_with, opening, reservation, sim_options, wait_prepared,
};
use crate::sim::Sim;

/// Reserves room for `bytes` each until it is refused. Gives the tickets that were not.
fn reserve_until_full(log: &Log, answers: &Answers, from: u64, bytes: u32) -> Vec<u64> {
    let mut reserved = Vec::new();
    for ticket in from.. {
        log.reserve(vec![reservation(ticket, bytes)]);
        match answers.wait(ticket, 0) {
            Ok(_) => reserved.push(ticket),
            Err(AppendError::NoSpace { reason, .. }) => {
                assert!(
                    reason.contains("/log/segments"),
                    "the reason names the place: {reason}"
                );
                break;
            }
            Err(other) => panic!("ticket {ticket}: {other}"),
        }
        assert!(reserved.len() < 10_000, "a full disk never refuses");
    }
    reserved
}

/// Finishes reservations with records of the largest size that was asked for.
fn finish(log: &Log, answers: &Answers, tickets: &[u64], bytes: usize) {
    for &ticket in tickets {
        log.append(vec![append(ticket, answers.reserved(ticket), bytes)]);
        answers.appended(ticket);
    }
}

/// Issues `count` records, however often there is no space for one.
fn issue_when_there_is_space(log: &Log, answers: &Answers, from: u64, count: u64, bytes: usize) {
    let deadline = Instant::now() + PATIENCE;
    let mut issued = 0;
    for ticket in from.. {
        log.reserve(vec![reservation(ticket, bytes as u32)]);
        match answers.wait(ticket, 0) {
            Ok(_) => finish(log, answers, &[ticket], bytes),
            Err(AppendError::NoSpace { .. }) => {
                assert!(Instant::now() < deadline, "{issued} issued, no space again");
                thread::yield_now();
                continue;
            }
            Err(other) => panic!("ticket {ticket}: {other}"),
        }
        issued += 1;
        if issued == count {
            break;
        }
    }
}

#[test]
fn what_was_reserved_can_be_finished_on_a_full_disk() {
    for bytes in [60, 450, 3000, 40_000, 65_535] {
        let sim = new_sim();
        let (log, answers) = open_sim(&sim);
        issue_all(&log, &answers, 0..30, 3000);
        wait_prepared(&sim);
        sim.set_space(Some(0));
        let reserved = reserve_until_full(&log, &answers, 100, bytes);
        let (first, second) = reserved.split_at(reserved.len() / 2);
        finish(&log, &answers, second, bytes as usize);
        let more = reserve_until_full(&log, &answers, 20_000, bytes);
        finish(&log, &answers, first, bytes as usize);
        finish(&log, &answers, &more, bytes as usize);
        assert!(log.status().is_ok(), "a full disk is no poison");
        let acknowledged = answers.acknowledged();
        assert!(
            bytes > 3000 || acknowledged.appended.len() > 60,
            "{bytes}: hardly any room"
        );
        drop(log);
        let (log, _) = open_sim(&sim);
        check(&log, &acknowledged, &format!("{bytes} bytes"));
    }
}

#[test]
fn issuing_goes_on_by_itself_when_there_is_space_again() {
    let sim = new_sim();
    let (log, answers) = open_sim(&sim);
    issue_all(&log, &answers, 0..3, 3000);
    wait_prepared(&sim);
    sim.set_space(Some(0));
    let reserved = reserve_until_full(&log, &answers, 100, 9000);
    finish(&log, &answers, &reserved, 9000);
    sim.set_space(Some(100 * SMALL_SEGMENT));
    // The preparer tries again every so often. More than the room that was left:
    issue_when_there_is_space(&log, &answers, 1_000_000, 50, 9000);
    log.close().unwrap();
}

#[test]
fn more_reservations_than_a_segment_holds_wait_for_room_instead_of_failing() {
    // All at once, and none is finished before all are answered: 20 segments have to be prepared.
    let sim = new_sim();
    let (log, answers) = open_sim(&sim);
    let tickets: Vec<u64> = (0..40).collect();
    log.reserve(
        tickets
            .iter()
            .map(|&ticket| reservation(ticket, 60_000))
            .collect(),
    );
    finish(&log, &answers, &tickets, 60_000);
    log.close().unwrap();
}

#[test]
fn appends_pass_reservations_that_wait_for_room() {
    let sim = new_sim();
    let (log, answers) = open_sim(&sim);
    issue_all(&log, &answers, 0..2, 100);
    wait_prepared(&sim);
    sim.set_space(Some(0));
    let reserved = reserve_until_full(&log, &answers, 10, 20_000);
    log.in_flight().add(1000);
    log.reserve(
        (5000..5300)
            .map(|ticket| reservation(ticket, 20_000))
            .collect(),
    );
    finish(&log, &answers, &reserved, 20_000);
    for ticket in 5000..5300 {
        // Answered one way or the other: room came back while they waited.
        let _ = answers.wait(ticket, 0);
    }
    log.in_flight().sub(1000);
    assert!(log.status().is_ok());
}

#[test]
fn recovery_works_on_a_full_disk() {
    let sim = new_sim();
    let (log, answers) = open_sim(&sim);
    issue_all(&log, &answers, 0..30, 3000);
    wait_prepared(&sim);
    sim.set_space(Some(0));
    let reserved = reserve_until_full(&log, &answers, 100, 3000);
    assert!(reserved.len() > 10);
    let acknowledged = answers.acknowledged();
    let mut freed = Vec::new();
    for seed in 0..20 {
        let crashed = sim.crash(&mut Random(seed));
        crashed.set_space(Some(0));
        // The copy goes into the prepared segment; the blocks of the old tail come back.
        let (log, answers) = open_sim(&crashed);
        check(&log, &acknowledged, &format!("seed {seed}"));
        issue_all(&log, &answers, 5000..5003, 3000);
        freed.push(crashed.files().len());
    }
    assert!(freed.iter().all(|&files| files >= 3), "{freed:?}");
}

#[test]
fn a_new_log_on_a_full_disk_opens_and_waits() {
    let sim = new_sim();
    sim.set_space(Some(0));
    let (log, answers) = open_sim(&sim);
    log.reserve(vec![reservation(1, 100)]);
    assert!(matches!(
        answers.wait(1, 0),
        Err(AppendError::NoSpace { .. })
    ));
    assert!(log.close().is_ok());
}

#[test]
fn a_start_on_a_full_disk_is_recorded_once_there_is_space() {
    let sim = new_sim();
    sim.set_space(Some(0));
    let mut options = sim_options(&sim);
    options.opening_record = Some(opening(7));
    let (log, answers) = open_with(options).unwrap();
    assert!(log.is_empty());
    log.reserve(vec![reservation(1, 100)]);
    assert!(matches!(
        answers.wait(1, 0),
        Err(AppendError::NoSpace { .. })
    ));
    sim.set_space(Some(100 * SMALL_SEGMENT));
    wait_prepared(&sim);
    issue_all(&log, &answers, 10..30, 3000);
    assert_eq!(
        log.read(RecordIndex(0)).unwrap()[12..],
        opening(7)[12..],
        "before everything else"
    );
    assert_eq!(log.len(), 21);
    log.close().unwrap();
}

#[test]
fn a_start_on_a_full_disk_leaves_recovery_its_segment() {
    for opening_bytes in (60..9000).step_by(300) {
        let sim = new_sim();
        let (log, answers) = open_sim(&sim);
        issue_all(&log, &answers, 0..3, 3000);
        wait_prepared(&sim);
        sim.set_space(Some(0));
        // What is finished gives room back: the current segment is used to the end, and one more is prepared.
        for from in (100..).step_by(20_000) {
            let reserved = reserve_until_full(&log, &answers, from, 60);
            finish(&log, &answers, &reserved, 60);
            if reserved.is_empty() {
                break;
            }
        }
        let acknowledged = answers.acknowledged();
        // Nothing can be published, and what is open stays so.
        let _ = log.close();
        let mut options = sim_options(&sim);
        let mut record = opening(7);
        record.resize(opening_bytes, 0);
        options.opening_record = Some(record);
        let (log, answers) = open_with(options).unwrap();
        log.reserve(vec![reservation(1, 60)]);
        let _ = answers.wait(1, 0);
        drop(log);
        for seed in 0..3 {
            let crashed = sim.crash(&mut Random(seed));
            crashed.set_space(Some(0));
            let (log, _) = open_sim(&crashed);
            assert!(
                log.len() >= acknowledged.appended.len() as u64,
                "{opening_bytes} bytes"
            );
        }
    }
}

#[test]
fn leftovers_and_segments_of_another_size_are_cleared_away() {
    let sim = new_sim();
    let (log, answers) = open_sim(&sim);
    issue_all(&log, &answers, 0..3, 3000);
    log.close().unwrap();
    let leftover = std::path::Path::new("/log/segments/000000000009.seg.new");
    birthmark_log::Storage::create(&sim, leftover).unwrap();
    let mut options = sim_options(&sim);
    options.segment_bytes = 2 * SMALL_SEGMENT;
    let (log, answers) = open_with(options).unwrap();
    assert!(!sim.files().contains(&leftover.to_owned()));
    issue_all(&log, &answers, 10..80, 9000);
    drop(log);
    check(
        &open_sim(&sim).0,
        &answers.acknowledged(),
        "the size changed twice",
    );
}

#[test]
fn options_out_of_range_are_refused() {
    for bytes in [0, SMALL_SEGMENT - 4096, SMALL_SEGMENT + 1, 4 << 30] {
        let sim = Sim::default();
        let mut options = sim_options(&sim);
        options.segment_bytes = bytes;
        let error = open_with(options).unwrap_err();
        assert!(
            matches!(
                error,
                OpenError::Option {
                    option: "segment_bytes",
                    ..
                }
            ),
            "{error}"
        );
    }
}

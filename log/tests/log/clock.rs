//! The clock rule, seen from outside.

use std::sync::Arc;

use birthmark_log::{AppendError, ClockError, OpenError, Options, RecordIndex};

use crate::rig::{
    Hands, NOON_MS, all_records, append, issue_all, issued, new_sim, open_with, opening,
    reservation, seen, sim_options,
};
use crate::sim::Sim;

const DAY_MS: u64 = 86_400_000;

fn options(sim: &Sim, hands: &Arc<Hands>) -> Options {
    Options {
        clock: Arc::clone(hands) as Arc<_>,
        ..sim_options(sim)
    }
}

#[test]
fn a_step_back_stops_reservations_and_finishes_what_was_begun() {
    let (sim, hands) = (new_sim(), Hands::at(NOON_MS));
    let (log, answers) = open_with(options(&sim, &hands)).unwrap();
    issue_all(&log, &answers, 0..1, 100);
    log.reserve(vec![reservation(1, 100)]);
    let id = answers.reserved(1);

    hands.set(NOON_MS - 60_000);
    assert_eq!(
        log.now_ms(),
        Ok(NOON_MS),
        "at the limit: the last time goes on"
    );
    hands.set(NOON_MS - 60_001);
    let backward = ClockError::Backward {
        now_ms: NOON_MS - 60_001,
        last_ms: NOON_MS,
    };
    assert_eq!(log.now_ms(), Err(backward.clone()));
    log.reserve(vec![reservation(2, 100)]);
    match answers.wait(2, 0) {
        Err(AppendError::Clock(error)) => assert_eq!(error, backward),
        other => panic!("{other:?}"),
    }
    let text = backward.to_string();
    assert!(
        text.contains("2026-03-21 11:58:59") && text.contains("12:00:00"),
        "{text}"
    );
    log.append(vec![append(1, id, 100)]);
    let index = answers.appended(1);
    assert_eq!(seen(&log.read(index).unwrap()).time_ms, NOON_MS);

    hands.set(NOON_MS + 5);
    issue_all(&log, &answers, 3..4, 100);
    let times: Vec<u64> = all_records(&log)
        .iter()
        .map(|record| record.time_ms)
        .collect();
    assert_eq!(times, [NOON_MS, NOON_MS, NOON_MS + 5]);
}

#[test]
fn a_jump_ahead_stops_reservations_until_it_is_taken_back() {
    let (sim, hands) = (new_sim(), Hands::at(NOON_MS));
    let (log, answers) = open_with(options(&sim, &hands)).unwrap();
    issue_all(&log, &answers, 0..1, 100);
    log.reserve(vec![reservation(1, 100)]);
    let id = answers.reserved(1);
    hands.set(NOON_MS + DAY_MS);
    log.reserve(vec![reservation(2, 100)]);
    let forward = ClockError::Forward {
        now_ms: NOON_MS + DAY_MS,
        expected_ms: NOON_MS,
    };
    match answers.wait(2, 0) {
        Err(AppendError::Clock(error)) => assert_eq!(error, forward),
        other => panic!("{other:?}"),
    }
    log.append(vec![append(1, id, 100)]);
    let index = answers.appended(1);
    let time_ms = seen(&log.read(index).unwrap()).time_ms;
    assert_eq!(time_ms, NOON_MS, "the bad reading is in no record");
    hands.set(NOON_MS + 100);
    issue_all(&log, &answers, 3..4, 100);
}

#[test]
fn a_start_far_ahead_needs_an_officer_and_leaves_a_record() {
    let (sim, hands) = (new_sim(), Hands::at(NOON_MS));
    let (log, answers) = open_with(options(&sim, &hands)).unwrap();
    issue_all(&log, &answers, 0..2, 100);
    log.close().unwrap();

    let later = NOON_MS + 400 * DAY_MS + 1;
    hands.set(later);
    let operations = sim.operations();
    let refused = open_with(options(&sim, &hands)).unwrap_err();
    assert!(matches!(refused, OpenError::ClockForward(_)), "{refused}");
    assert_eq!(
        sim.operations(),
        operations,
        "a refused start changes nothing"
    );

    let accepting = Options {
        accept_clock: true,
        ..options(&sim, &hands)
    };
    let (log, answers) = open_with(accepting.clone()).unwrap();
    let mut act = vec![0x85, 3, 1, 0x1B];
    act.extend_from_slice(&later.to_be_bytes());
    act.extend_from_slice(b"\x6Eclock-accepted\x1B");
    act.extend_from_slice(&NOON_MS.to_be_bytes());
    assert_eq!(log.read(RecordIndex(2)).unwrap(), act);
    assert_eq!(log.recovery().last_time_ms, later);
    issue_all(&log, &answers, 3..4, 100);
    log.close().unwrap();

    let (log, _) = open_with(options(&sim, &hands)).unwrap();
    assert_eq!(log.len(), 4, "it opens without the officer from now on");
    drop(log);
    let (log, _) = open_with(accepting).unwrap();
    assert_eq!(log.len(), 4, "nothing to accept, no record");
}

#[test]
fn an_old_clock_at_start_heals_when_it_is_set() {
    let (sim, hands) = (new_sim(), Hands::at(NOON_MS));
    let (log, answers) = open_with(options(&sim, &hands)).unwrap();
    issue_all(&log, &answers, 0..1, 100);
    log.reserve(vec![reservation(1, 100)]);
    answers.reserved(1);
    drop(log);
    // The battery of the clock was dead: it starts in 2010.
    hands.set(1_262_304_000_000);
    let (log, answers) = open_with(options(&sim, &hands)).unwrap();
    assert_eq!(
        log.recovery().lost_written,
        1,
        "lost records are written all the same"
    );
    log.reserve(vec![reservation(2, 100)]);
    assert!(matches!(
        answers.wait(2, 0),
        Err(AppendError::Clock(ClockError::Backward { .. }))
    ));
    hands.set(NOON_MS + DAY_MS);
    issue_all(&log, &answers, 3..4, 100);
}

#[test]
fn a_clock_that_was_never_set_is_refused() {
    let (sim, hands) = (new_sim(), Hands::at((1 << 32) - 1));
    let (log, answers) = open_with(options(&sim, &hands)).unwrap();
    log.reserve(vec![reservation(1, 100)]);
    assert!(matches!(
        answers.wait(1, 0),
        Err(AppendError::Clock(ClockError::Unset { .. }))
    ));
    hands.set(1 << 32);
    issue_all(&log, &answers, 2..3, 100);
}

#[test]
fn a_start_is_recorded_before_anything_new_however_late_the_clock_is_right() {
    let (sim, hands) = (new_sim(), Hands::at(NOON_MS));
    let start = |name: u64| Options {
        opening_record: Some(opening(name)),
        ..options(&sim, &hands)
    };
    let recorded = |log: &birthmark_log::Log, index: u64, name: u64, time_ms: u64| {
        let bytes = log.read(RecordIndex(index)).unwrap();
        assert_eq!(bytes[12..], opening(name)[12..]);
        assert_eq!(bytes[4..12], time_ms.to_be_bytes());
    };
    let (log, answers) = open_with(start(1)).unwrap();
    assert_eq!(log.len(), 1, "at once");
    recorded(&log, 0, 1, NOON_MS);
    issue_all(&log, &answers, 0..1, 100);
    log.reserve(vec![reservation(1, 100)]);
    let _ = answers.reserved(1);
    drop(log);

    hands.set(NOON_MS - DAY_MS);
    let (log, answers) = open_with(start(2)).unwrap();
    assert_eq!(log.len(), 3, "the lost record, and no start");
    log.reserve(vec![reservation(2, 100)]);
    assert!(matches!(answers.wait(2, 0), Err(AppendError::Clock(_))));
    hands.set(NOON_MS + 5);
    issue_all(&log, &answers, 3..5, 100);
    assert_eq!(log.len(), 6, "once");
    recorded(&log, 3, 2, NOON_MS + 5);
    log.close().unwrap();
}

#[test]
fn what_is_no_record_opens_no_log() {
    let (sim, hands) = (new_sim(), Hands::at(NOON_MS));
    let with_keys = issued(1, 100);
    for wrong in [
        vec![],
        vec![0x80],
        vec![0xFF; 100],
        vec![0; 70_000],
        with_keys,
    ] {
        let options = Options {
            opening_record: Some(wrong),
            ..options(&sim, &hands)
        };
        let refused = open_with(options).unwrap_err();
        assert!(matches!(refused, OpenError::Recovery(_)), "{refused}");
    }
    assert!(open_with(options(&sim, &hands)).unwrap().0.is_empty());
}

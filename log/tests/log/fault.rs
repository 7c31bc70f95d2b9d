//! Faults: every changing operation fails in turn, as "failed" and as "failed but done".

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use birthmark_log::{AppendError, CloseError, Committed, Log, OpenError};

use crate::rig::{
    Acknowledged, DIR, Random, append, check, issue_all, new_sim, open_quiet, open_sim, open_with,
    report, reservation, sim_options, wait_prepared,
};
use crate::sim::{FaultKind, Sim};

const FAULTS: [FaultKind; 4] = [
    FaultKind::Failed(ErrorKind::Other),
    FaultKind::FailedButDone(ErrorKind::Other),
    FaultKind::Failed(ErrorKind::StorageFull),
    FaultKind::FailedButDone(ErrorKind::StorageFull),
];

/// Opens, issues across several segments with reservations left open, closes. Gives what was
/// acknowledged; whatever fails on the way, everything is answered.
fn life(sim: &Sim) -> Acknowledged {
    let Ok((log, answers)) = open_with(sim_options(sim)) else {
        return Acknowledged::default();
    };
    let mut submitted = 0;
    for round in 0..8u64 {
        let tickets: Vec<u64> = (round * 5..round * 5 + 5).collect();
        log.reserve(
            tickets
                .iter()
                .map(|&ticket| reservation(ticket, 9000))
                .collect(),
        );
        submitted += tickets.len();
        let mut appends = Vec::new();
        for &ticket in &tickets {
            if let Ok(Committed::Reserved(id)) = answers.wait(ticket, 0)
                && ticket % 5 != 4
            {
                appends.push(append(ticket, id, 9000));
            }
        }
        submitted += appends.len();
        let appended: Vec<u64> = appends.iter().map(|append| append.ticket).collect();
        log.append(appends);
        for ticket in appended {
            // The outcome is judged by `check`, from what was acknowledged.
            let _ = answers.wait(ticket, 1);
        }
    }
    let _ = log.close();
    assert_eq!(answers.count(), submitted, "one answer to each item");
    answers.acknowledged()
}

#[test]
fn any_single_fault_loses_nothing() {
    let healthy = new_sim();
    assert_eq!(life(&healthy).appended.len(), 32);
    let operations = healthy.operations();
    assert!(
        operations > 50,
        "{operations} operations: the life is too short"
    );
    report(format_args!(
        "{} faults in the life of a log",
        FAULTS.len() as u64 * operations
    ));
    for fault in FAULTS {
        for operation in 0..operations {
            let sim = new_sim();
            sim.fail_at(operation, fault);
            let acknowledged = life(&sim);
            // Two threads share the operations: now and then there are fewer than before.
            sim.heal();
            let context = format!("{fault:?} at operation {operation}");
            // The process restarts; or the machine does.
            let crashed = sim.crash(&mut Random(operation));
            for (sim, what) in [(sim, "restart"), (crashed, "power cut")] {
                let context = format!("{context}, {what}");
                let opened = open_with(sim_options(&sim));
                let (log, answers) = opened.unwrap_or_else(|e| panic!("{context}: {e:?}"));
                check(&log, &acknowledged, &context);
                // On, over the end of the segment; and then the power fails.
                issue_all(&log, &answers, 900..930, 9000);
                let mut all = answers.acknowledged();
                all.reserved.extend(&acknowledged.reserved);
                all.appended.extend(&acknowledged.appended);
                let (after, _) = open_sim(&sim.crash(&mut Random(operation)));
                check(&after, &all, &format!("{context}, another power cut"));
                log.close().unwrap();
                sim.assert_no_violations();
            }
        }
    }
}

#[test]
fn any_single_fault_during_recovery_loses_nothing() {
    let sim = new_sim();
    let (log, answers) = open_sim(&sim);
    issue_all(&log, &answers, 0..20, 9000);
    log.reserve((20..30).map(|ticket| reservation(ticket, 9000)).collect());
    let ids: Vec<_> = (20..30).map(|ticket| answers.reserved(ticket)).collect();
    assert_eq!(ids.len(), 10);
    let acknowledged = answers.acknowledged();
    let crashed = sim.crash(&mut Random(3));

    let healthy = crashed.copy();
    drop(open_sim(&healthy));
    for fault in FAULTS {
        for operation in 0..healthy.operations() {
            let sim = crashed.copy();
            sim.fail_at(operation, fault);
            let context = format!("{fault:?} at operation {operation}");
            if let Ok((log, _)) = open_with(sim_options(&sim)) {
                check(&log, &acknowledged, &context);
            }
            sim.heal();
            let (log, answers) = open_sim(&sim);
            check(&log, &acknowledged, &context);
            issue_all(&log, &answers, 900..903, 9000);
            let mut all = answers.acknowledged();
            all.reserved.extend(&acknowledged.reserved);
            all.appended.extend(&acknowledged.appended);
            let (log, _) = open_sim(&sim.crash(&mut Random(operation)));
            check(&log, &all, &context);
            sim.assert_no_violations();
        }
    }
}

#[test]
fn a_failed_write_or_sync_poisons_the_log() {
    // Operations of a group commit: the write, then the sync.
    let operations = BTreeMap::from([(0, "write"), (1, "sync")]);
    for (operation, name) in operations {
        let sim = new_sim();
        let (log, answers) = open_quiet(&sim);
        issue_all(&log, &answers, 0..5, 100);
        log.reserve(vec![reservation(5, 100)]);
        let id = answers.reserved(5);
        // The other threads have nothing to do: the next operation is the log's.
        wait_prepared(&sim);
        sim.fail_at(operation, FaultKind::Failed(ErrorKind::Other));
        log.append(vec![append(5, id, 100)]);
        let Err(error) = answers.wait(5, 1) else {
            panic!("acknowledged after a failed {name}")
        };
        assert!(
            matches!(error, AppendError::Poisoned { .. }),
            "{name}: {error}"
        );

        // Later items get the same cause; nothing more is written; reads go on.
        let syncs = sim.operations();
        log.reserve(vec![reservation(6, 100)]);
        log.append(vec![append(5, id, 100)]);
        for (ticket, nth) in [(6, 0), (5, 2)] {
            let Err(later) = answers.wait(ticket, nth) else {
                panic!("acknowledged after poison")
            };
            assert_eq!(later.to_string(), error.to_string());
        }
        assert_eq!(sim.operations(), syncs);
        assert_eq!(log.status().unwrap_err().to_string(), error.to_string());
        assert_eq!(log.len(), 5);
        assert!(log.read(birthmark_log::RecordIndex(4)).is_ok());
        let closed = log.close();
        assert!(matches!(
            closed,
            Err(CloseError::Stopped(AppendError::Poisoned { .. }))
        ));
    }
}

#[test]
fn creating_fails_whole() {
    let healthy = new_sim();
    for fault in FAULTS {
        for operation in 0..healthy.operations() {
            let sim = Sim::default();
            sim.fail_at(operation, fault);
            let dir = Path::new(DIR);
            assert!(
                Log::create_on(&sim, dir).is_err(),
                "{fault:?} at operation {operation}"
            );
            match open_with(sim_options(&sim)) {
                Ok((log, _)) => assert!(log.is_empty()),
                Err(OpenError::Missing { .. }) => Log::create_on(&sim, dir).unwrap(),
                Err(other) => panic!("{fault:?} at operation {operation}: {other}"),
            }
        }
    }
}

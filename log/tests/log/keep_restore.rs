//! Restore: a new log from an old one's backup, whole or not at all, never under the old name.

use std::path::Path;
use std::sync::Arc;

use birthmark_log::keep::{RestoreError, RestorePlan, RestoreReport, restore};
use birthmark_log::tlog::{Checkpoint, CheckpointSigner};
use birthmark_log::{
    CommitSink, DiskStorage, ExtractError, IndexKey, Log, OpenError, RecordIndex, Storage,
    Verification, verify_on,
};

use crate::keep_backup::{back_up, backed_up_once};
use crate::rig::{
    Acknowledged, Answers, Hands, NOON_MS, Random, Signer, issue_all, key, keys, new_sim, open_dir,
    open_sim, open_with, options, reservation, seen, signer, signer_named, sim_options,
};
use crate::sim::{FaultKind, Sim};

const BACKUP: &str = "/backup";
const NEW: &str = "/restored";

fn new_signer() -> Arc<Signer> {
    signer_named("log.example/line-1b", 2)
}

fn restore_with(sim: &Sim, new: Arc<Signer>) -> Result<RestoreReport, RestoreError> {
    let old = signer();
    let mut options = sim_options(sim);
    options.clock = Hands::at(NOON_MS + 60_000);
    let plan = RestorePlan {
        old_key: old.verifier_key(),
        signer: new,
        keys: Arc::new(keys),
        record: None,
        options,
        progress: None,
    };
    restore(Path::new(BACKUP), Path::new(NEW), &plan)
}

fn open_new(sim: &Sim, signer: Arc<Signer>) -> Result<(Log, Arc<Answers>), OpenError> {
    let answers = Arc::new(Answers::default());
    let sink = Arc::clone(&answers) as Arc<dyn CommitSink>;
    let mut options = sim_options(sim);
    options.clock = Hands::at(NOON_MS + 120_000);
    let log = Log::open(Path::new(NEW), options, Arc::new(keys), signer, sink)?;
    Ok((log, answers))
}

/// The restored log knows every record of the backup in its place, by its keys, and says where it comes
/// from; and it goes on.
fn check_restored(sim: &Sim, report: &RestoreReport, wanted: &Acknowledged, context: &str) {
    let (log, answers) = match open_new(sim, new_signer()) {
        Ok(opened) => opened,
        Err(error) => panic!("{context}: {error}"),
    };
    for (ticket, index) in &wanted.appended {
        assert_eq!(
            seen(&log.read(*index).unwrap()).ticket,
            *ticket,
            "{context}"
        );
        for space in 0..2 {
            let found = log.find(space, &key(space, *ticket)).unwrap();
            assert_eq!(found, Some(*index), "{context}: ticket {ticket}");
        }
    }
    let act = log.read(report.act).unwrap();
    assert_eq!(
        (act[1], &act[12..21]),
        (3, &b"\x68restored"[..]),
        "{context}"
    );
    let origin = b"log.example/line-1";
    assert!(
        act.windows(origin.len()).any(|part| part == origin),
        "{context}"
    );
    let records = log.len();
    issue_all(&log, &answers, 7_000_000..7_000_003, 300);
    log.close().unwrap();
    let signer = new_signer();
    let verification = Verification {
        vkey: Some(signer.verifier_key()),
        threads: Some(2),
        ..Verification::default()
    };
    let storage: Arc<dyn Storage> = Arc::new(sim.clone());
    let verified = verify_on(&storage, Path::new(NEW), &verification);
    let verified = verified.unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(verified.records, records + 3, "{context}");
    let checkpoint = verified.checkpoint.unwrap();
    assert_eq!(checkpoint.origin, "log.example/line-1b", "{context}");
    sim.assert_no_violations();
}

#[test]
fn a_restored_log_knows_the_past_under_a_new_name() {
    let sim = new_sim();
    let (log, answers) = open_sim(&sim);
    issue_all(&log, &answers, 0..300, 700);
    log.publish().unwrap();
    issue_all(&log, &answers, 300..303, 700);
    log.reserve(vec![reservation(888, 500), reservation(889, 500)]);
    answers.reserved(889);
    let wanted = answers.acknowledged();
    let backed_up = back_up(&sim).unwrap();
    assert_eq!(backed_up.reservations_open, 2);
    drop(log);

    let report = restore_with(&sim, new_signer()).unwrap();
    assert_eq!((report.records, report.act), (303, RecordIndex(303)));
    assert_eq!(report.lost_written, 2);
    assert_eq!(report.known_until_ms, NOON_MS);
    let old = backed_up.checkpoint.unwrap();
    assert_eq!(report.old, old);
    check_restored(&sim, &report, &wanted, "restored");

    // The old key does not open it, and the new one does not open the old log.
    let refused = open_new(&sim, signer());
    assert!(
        matches!(refused, Err(OpenError::OtherKey { .. })),
        "{:?}",
        refused.err()
    );
    let (old_log, _) = open_with(sim_options(&sim)).unwrap();
    assert_eq!(old_log.find(0, &IndexKey([9; 32])).unwrap(), None);
    // The first tree is the same, signed anew.
    let text = sim.content(Path::new("/backup/public/checkpoint"));
    let kept = Checkpoint::from_note(&text, signer().verifier_key()).unwrap();
    assert_eq!(kept.root, old.root);
}

#[test]
fn what_would_be_a_second_history_is_refused() {
    let sim = new_sim();
    backed_up_once(&sim);
    let before = sim.files();
    let same_key = restore_with(&sim, signer_named("log.example/other", 1));
    assert!(
        matches!(same_key, Err(RestoreError::SameLog { .. })),
        "{same_key:?}"
    );
    for name in ["log.example/line-1", "LOG.example/Line-1"] {
        let same_name = restore_with(&sim, signer_named(name, 2));
        assert!(
            matches!(same_name, Err(RestoreError::SameLog { .. })),
            "{same_name:?}"
        );
    }
    assert_eq!(sim.files(), before);

    restore_with(&sim, new_signer()).unwrap();
    let over = restore_with(&sim, signer_named("log.example/line-1c", 3));
    assert!(matches!(over, Err(RestoreError::Exists { .. })), "{over:?}");
}

#[test]
fn a_damaged_or_foreign_backup_is_not_restored() {
    let sim = new_sim();
    backed_up_once(&sim);
    for (file, at) in [
        ("/backup/public/tile/entries/000", 9_000),
        ("/backup/public/tile/0/000", 64),
        ("/backup/public/checkpoint", 25),
    ] {
        let image = sim.copy();
        image.flip(Path::new(file), at, 1);
        let refused = restore_with(&image, new_signer());
        assert!(
            matches!(refused, Err(RestoreError::Backup(_))),
            "{file}: {refused:?}"
        );
        assert!(!image.files().iter().any(|path| path.starts_with(NEW)));
    }
    let old = signer_named("log.example/line-9", 9);
    let plan = RestorePlan {
        old_key: old.verifier_key(),
        signer: new_signer(),
        keys: Arc::new(keys),
        record: None,
        options: sim_options(&sim),
        progress: None,
    };
    let foreign = restore(Path::new(BACKUP), Path::new(NEW), &plan);
    assert!(
        matches!(foreign, Err(RestoreError::Backup(_))),
        "{foreign:?}"
    );
    let missing = restore(Path::new("/nowhere"), Path::new(NEW), &plan);
    assert!(
        matches!(missing, Err(RestoreError::Backup(_))),
        "{missing:?}"
    );
    // A log in use is no backup.
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("log");
    Log::create(&dir).unwrap();
    let disk = options(Arc::new(DiskStorage));
    let (log, _) = open_dir(&dir, disk.clone()).unwrap();
    let plan = RestorePlan {
        options: disk,
        ..plan
    };
    let used = restore(&dir, &outer.path().join("new"), &plan);
    assert!(matches!(used, Err(RestoreError::Locked { .. })), "{used:?}");
    drop(log);
}

#[test]
fn a_name_of_long_ago_is_refused() {
    let sim = new_sim();
    backed_up_once(&sim);
    restore_with(&sim, new_signer()).unwrap();
    let (log, answers) = open_new(&sim, new_signer()).unwrap();
    issue_all(&log, &answers, 8_000_000..8_000_300, 300);
    log.publish().unwrap();
    log.close().unwrap();
    let again = |origin: &str| {
        let old = new_signer();
        let mut options = sim_options(&sim);
        options.clock = Hands::at(NOON_MS + 180_000);
        let plan = RestorePlan {
            old_key: old.verifier_key(),
            signer: signer_named(origin, 3),
            keys: Arc::new(keys),
            record: None,
            options,
            progress: None,
        };
        restore(Path::new(NEW), Path::new("/third"), &plan)
    };
    let grandfather = again("Log.example/line-1");
    assert!(
        matches!(&grandfather, Err(RestoreError::SameLog { origin, .. }) if origin == "log.example/line-1"),
        "{grandfather:?}"
    );
    assert!(!sim.files().iter().any(|path| path.starts_with("/third")));
    again("log.example/line-1c").unwrap();
}

#[test]
fn records_without_a_signature_are_not_taken_for_the_old_logs() {
    let sim = new_sim();
    let (first, _) = backed_up_once(&sim);
    // Each record after the checkpoint is looked at, and no other.
    let looked = std::sync::Mutex::new(Vec::new());
    let old = signer();
    let restore_checked = |image: &Sim, bad: u64| {
        looked.lock().unwrap().clear();
        let look = |index: RecordIndex, _: &[u8]| {
            looked.lock().unwrap().push(index.0);
            if index.0 == bad {
                return Err(ExtractError::new("not signed by the issuer"));
            }
            Ok(())
        };
        let mut options = sim_options(image);
        options.clock = Hands::at(NOON_MS + 60_000);
        let plan = RestorePlan {
            old_key: old.verifier_key(),
            signer: new_signer(),
            keys: Arc::new(keys),
            record: Some(&look),
            options,
            progress: None,
        };
        restore(Path::new(BACKUP), Path::new(NEW), &plan)
    };
    let size = {
        let text = sim.content(Path::new("/backup/public/checkpoint"));
        let held = Checkpoint::from_note(&text, signer().verifier_key());
        held.unwrap().size
    };
    let records = first.appended.len() as u64;
    assert!(size < records);
    let bad = restore_checked(&sim, records - 1);
    assert!(
        matches!(&bad, Err(RestoreError::Unsound { record, .. }) if record.0 == records - 1),
        "{bad:?}"
    );
    assert!(!sim.files().iter().any(|path| path.starts_with(NEW)));
    let good = restore_checked(&sim, u64::MAX).unwrap();
    assert_eq!(good.unsigned, records - size);
    assert_eq!(*looked.lock().unwrap(), (size..records).collect::<Vec<_>>());

    // Without checkpoint and key, nothing shows who wrote the segments: also those of a log that had
    // published nothing.
    let sim = new_sim();
    let (log, answers) = crate::rig::open_unpublished(&sim);
    issue_all(&log, &answers, 0..40, 700);
    back_up(&sim).unwrap();
    drop(log);
    let refused = restore_checked(&sim, u64::MAX);
    assert!(
        matches!(
            refused,
            Err(RestoreError::Unsigned { records: 40 }) | Err(RestoreError::Backup(_))
        ),
        "{refused:?}"
    );
    assert!(!sim.files().iter().any(|path| path.starts_with(NEW)));
    // An empty backup has nothing that could be forged.
    let sim = new_sim();
    back_up(&sim).unwrap();
    assert_eq!(restore_checked(&sim, u64::MAX).unwrap().records, 0);
}

#[test]
fn a_restored_log_is_there_whole_or_not_at_all() {
    let sim = new_sim();
    let (first, _) = backed_up_once(&sim);
    let mut random = Random(11);
    let (mut faults, mut complete) = (0, 0);
    for operation in 0.. {
        let image = sim.copy();
        image.fail_at(
            operation,
            FaultKind::FailedButDone(std::io::ErrorKind::Other),
        );
        let before = image.operations();
        let done = restore_with(&image, new_signer());
        let context = format!("operation {operation}");
        let reached = image.operations() > before + operation;
        image.heal();
        // The machine stops, too.
        let image = image.crash(&mut random);
        let there = image.files().iter().any(|path| path.starts_with(NEW));
        if there {
            let report = done.as_ref().ok();
            let act = report.map_or(RecordIndex(305), |report| report.act);
            let report = RestoreReport::clone(
                report.unwrap_or(&restore_with(&sim.copy(), new_signer()).unwrap()),
            );
            assert_eq!(act, report.act);
            check_restored(&image, &report, &first, &context);
            complete += 1;
        } else {
            let report = restore_with(&image, new_signer());
            let report = report.unwrap_or_else(|error| panic!("{context}: {error}"));
            check_restored(&image, &report, &first, &context);
        }
        if !reached {
            done.unwrap();
            break;
        }
        faults += 1;
    }
    crate::rig::report(format_args!(
        "{faults} faults and crashes injected into a restore, {complete} after it was there"
    ));
    assert!(faults > 50 && complete >= 1, "{faults} {complete}");
}

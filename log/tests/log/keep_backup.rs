//! Backup: of a log that grows, again and again, interrupted anywhere, onto wrong places.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use birthmark_log::keep::{BackupError, BackupOptions, BackupReport, backup, backup_on};
use birthmark_log::tlog::CheckpointSigner;
use birthmark_log::{Log, LogReader, RecordIndex, Storage, Verification, tlog, verify, verify_on};

use crate::rig::{
    Acknowledged, DIR, Random, issue_all, keys, new_sim, open_dir, open_quiet, open_sim,
    open_unpublished, open_with, options, reservation, seen, signer, sim_options,
};
use crate::sim::{FaultKind, Sim};

const DEST: &str = "/backup";

pub(crate) fn back_up(sim: &Sim) -> Result<BackupReport, BackupError> {
    let storage: Arc<dyn Storage> = Arc::new(sim.clone());
    let options = BackupOptions::default();
    backup_on(&storage, Path::new(DIR), Path::new(DEST), &options)
}

/// Verifies a backup on its own, and that it has what was acknowledged, each in its place.
fn check_copy(storage: &Arc<dyn Storage>, dest: &Path, wanted: &Acknowledged, context: &str) {
    let signer = signer();
    // Before the first checkpoint the key would vouch for nothing, and that is an error.
    let published = storage.open(&dest.join("public/checkpoint"), false).is_ok();
    let verification = Verification {
        keys: Some(&keys),
        vkey: published.then(|| signer.verifier_key()),
        threads: Some(2),
        ..Verification::default()
    };
    let report = verify_on(storage, dest, &verification);
    let report = report.unwrap_or_else(|error| panic!("{context}: {error}"));
    let reader = LogReader::open_on(Arc::clone(storage), dest).unwrap();
    assert_eq!(reader.len(), report.records, "{context}");
    for (ticket, index) in &wanted.appended {
        let record = reader.read(*index);
        let record = record.unwrap_or_else(|error| panic!("{context}: record {index}: {error}"));
        assert_eq!(seen(&record).ticket, *ticket, "{context}: record {index}");
    }
}

#[test]
fn backups_of_a_growing_log_hold_what_was_acknowledged() {
    let outer = tempfile::tempdir().unwrap();
    let (dir, dest) = (outer.path().join("log"), outer.path().join("backup"));
    Log::create(&dir).unwrap();
    let disk: Arc<dyn Storage> = Arc::new(birthmark_log::DiskStorage);
    let (log, answers) = open_dir(&dir, options(Arc::clone(&disk))).unwrap();
    issue_all(&log, &answers, 0..20, 3_000);
    let stop = AtomicBool::new(false);
    let mut reports: Vec<BackupReport> = Vec::new();
    thread::scope(|scope| {
        // Also when a check fails: the scope waits for the writer.
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| {
            let mut next = 20;
            while !stop.load(Ordering::Relaxed) {
                issue_all(&log, &answers, next..next + 10, 2_500);
                next += 10;
            }
        });
        for round in 0..12 {
            let before = answers.acknowledged();
            let report = backup(&dir, &dest, &BackupOptions::default());
            let report = report.unwrap_or_else(|error| panic!("round {round}: {error}"));
            check_copy(&disk, &dest, &before, &format!("round {round}"));
            reports.push(report);
            let records = answers.acknowledged().appended.len();
            while answers.acknowledged().appended.len() < records + 30 {
                thread::yield_now();
            }
        }
    });
    assert!(reports.is_sorted_by_key(|report| report.records));
    let last = reports.last().unwrap();
    assert!(last.records >= 350, "{last:?}");
    // Rolled segments were given up meanwhile, or this shows less than it says.
    log.publish().unwrap();
    let there = std::fs::read_dir(dir.join("segments")).unwrap().count() as u64;
    let begun = log.metrics().segments_begun;
    assert!(there < begun, "{there} of {begun} segments");

    // Closed, all of it verified, and nothing left to copy the second time.
    log.reserve(vec![reservation(9_999_999, 500)]);
    answers.reserved(9_999_999);
    let before = answers.acknowledged();
    log.close().unwrap();
    let whole = BackupOptions::default().verify_all(true);
    let report = backup(&dir, &dest, &whole).unwrap();
    check_copy(&disk, &dest, &before, "closed");
    assert_eq!(report.reservations_open, 1);
    let again = backup(&dir, &dest, &whole).unwrap();
    assert_eq!((again.bundles_copied, again.records), (0, report.records));
    // The same bytes as the log's own, and the files of this checkpoint alone.
    let size = report.checkpoint.unwrap().size;
    let paths = tlog::tiles(size).map(|id| id.path());
    let bundles = tlog::bundles(size).map(|id| id.path());
    let mut paths: Vec<String> = paths.chain(bundles).collect();
    paths.push("checkpoint".to_owned());
    paths.sort();
    assert!(paths == files(&dest.join("public")), "{paths:?}");
    for path in &paths {
        let [ours, copy] = [&dir, &dest].map(|dir| std::fs::read(dir.join("public").join(path)));
        assert!(ours.unwrap() == copy.unwrap(), "{path}");
    }
    assert!(!dest.join("next").exists() && !dest.join("ready").exists());

    // It opens as the log would after a crash: the open reservation is lost by then.
    let (copy, _) = open_dir(&dest, options(disk)).unwrap();
    assert_eq!(copy.len(), report.records + 1);
    copy.close().unwrap();
    verify(&dest, &Verification::default()).unwrap();
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Relative paths, sorted.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let path = path.strip_prefix(dir).unwrap();
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// A log of some hundred records, backed up once, and grown since. Gives what each of the two states
/// has.
pub(crate) fn backed_up_once(sim: &Sim) -> (Acknowledged, Acknowledged) {
    backed_up_and_grown(sim, 600)
}

fn backed_up_and_grown(sim: &Sim, records: u64) -> (Acknowledged, Acknowledged) {
    let (log, answers) = open_quiet(sim);
    issue_all(&log, &answers, 0..300, 700);
    log.publish().unwrap();
    issue_all(&log, &answers, 300..305, 700);
    let first = answers.acknowledged();
    back_up(sim).unwrap();
    issue_all(&log, &answers, 305..records, 700);
    log.publish().unwrap();
    issue_all(&log, &answers, records..records + 3, 700);
    let second = answers.acknowledged();
    log.close().unwrap();
    (first, second)
}

#[test]
fn a_crash_at_any_moment_leaves_the_old_backup_or_the_new_one() {
    // Over the end of a tile, and within one: then the tiles above stay as they are.
    for records in [600, 400] {
        let (checked, finished) = crash_while_backing_up(records);
        crate::rig::report(format_args!(
            "{checked} crash images of a backup, {finished} of them being put in place"
        ));
    }
}

fn crash_while_backing_up(records: u64) -> (u64, u64) {
    let sim = new_sim();
    let (first, second) = backed_up_and_grown(&sim, records);
    let images = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&images);
    let mut random = Random(7);
    sim.set_hook(Box::new(move |world, operation| {
        taken
            .lock()
            .unwrap()
            .push((operation, world.crash(&mut random)));
    }));
    back_up(&sim).unwrap();
    sim.clear_hook();
    let (mut finished, mut checked) = (0, 0);
    for (operation, image) in images.lock().unwrap().iter() {
        let context = format!("operation {operation}");
        let storage: Arc<dyn Storage> = Arc::new(image.clone());
        // As it is: the old state or the new one, or about to be put in place.
        let ready = image
            .files()
            .iter()
            .any(|path| path.starts_with("/backup/ready"));
        if !ready {
            check_copy(&storage, Path::new(DEST), &first, &context);
        }
        finished += u64::from(ready);
        // Gone on with.
        back_up(image).unwrap_or_else(|error| panic!("{context}: {error}"));
        check_copy(&storage, Path::new(DEST), &second, &context);
        image.assert_no_violations();
        checked += 1;
    }
    assert!(checked > 30 && finished > 3, "{checked} {finished}");
    (checked, finished)
}

#[test]
fn a_fault_at_any_operation_is_reported_and_leaves_a_backup() {
    let sim = new_sim();
    let (first, second) = backed_up_once(&sim);
    let mut faults = 0;
    for kind in [
        FaultKind::Failed(std::io::ErrorKind::StorageFull),
        FaultKind::FailedButDone(std::io::ErrorKind::Other),
    ] {
        for operation in 0.. {
            let image = sim.copy();
            image.fail_at(operation, kind);
            let context = format!("{kind:?} at operation {operation}");
            let before = image.operations();
            let done = back_up(&image);
            let reached = image.operations() > before + operation;
            image.heal();
            let storage: Arc<dyn Storage> = Arc::new(image.clone());
            if !reached {
                done.unwrap();
                break;
            }
            faults += 1;
            if done.is_ok() {
                // Only what is of no consequence may fail in silence.
                check_copy(&storage, Path::new(DEST), &second, &context);
            }
            back_up(&image).unwrap_or_else(|error| panic!("{context}: {error}"));
            check_copy(&storage, Path::new(DEST), &second, &context);
        }
    }
    crate::rig::report(format_args!("{faults} faults injected into a backup"));
    assert!(faults > 60, "{faults}");
    let storage: Arc<dyn Storage> = Arc::new(sim.clone());
    check_copy(&storage, Path::new(DEST), &first, "the old one");
}

#[test]
fn damage_in_the_log_does_not_get_into_the_backup() {
    let sim = new_sim();
    let (first, _) = backed_up_once(&sim);
    for (file, at) in [
        ("/log/public/tile/entries/001", 5_000),
        ("/log/public/tile/0/001", 700),
        ("/log/public/tile/entries/002.p/91", 100),
        ("/log/public/tile/0/002.p/91", 70),
        ("/log/public/tile/1/000.p/2", 40),
        ("/log/public/checkpoint", 30),
    ] {
        let image = sim.copy();
        image.flip(Path::new(file), at, 4);
        let done = back_up(&image);
        let storage: Arc<dyn Storage> = Arc::new(image.clone());
        match done {
            // A tile above is made anew from the records.
            Ok(_) if file.contains("tile/1/") => {}
            Ok(_) => panic!("{file} was copied as it is"),
            Err(_) => check_copy(&storage, Path::new(DEST), &first, file),
        }
    }
}

#[test]
fn a_hole_in_the_segments_is_damage_and_not_the_end() {
    let sim = new_sim();
    let (log, answers) = open_unpublished(&sim);
    issue_all(&log, &answers, 0..5, 600);
    // Beside a writer: its last batch may be unfinished, but not one before.
    let segment = Path::new("/log/segments/000000000001.seg");
    let content = sim.content(segment);
    let used = content.iter().rposition(|&byte| byte != 0).unwrap();
    sim.flip(segment, used - 1600, 1);
    let refused = back_up(&sim).unwrap_err();
    let told = format!("{refused:?}");
    assert!(
        told.contains("000000000001.seg") && told.contains("a later one was begun"),
        "{told}"
    );
    sim.flip(segment, used - 1600, 1);
    back_up(&sim).unwrap();
    drop(log);
}

#[test]
fn wrong_places_are_refused() {
    let outer = tempfile::tempdir().unwrap();
    let (dir, dest) = (outer.path().join("log"), outer.path().join("backup"));
    Log::create(&dir).unwrap();
    let disk: Arc<dyn Storage> = Arc::new(birthmark_log::DiskStorage);
    let (log, answers) = open_dir(&dir, options(Arc::clone(&disk))).unwrap();
    issue_all(&log, &answers, 0..300, 100);
    let plain = BackupOptions::default();
    for nested in [dir.clone(), dir.join("public"), dir.join("../log/x/y")] {
        let refused = backup(&dir, &nested, &plain);
        assert!(
            matches!(refused, Err(BackupError::Inside { .. })),
            "{refused:?}"
        );
    }
    let above = backup(&dir, outer.path(), &plain);
    assert!(
        matches!(above, Err(BackupError::Inside { .. })),
        "{above:?}"
    );

    let other = outer.path().join("other");
    Log::create(&other).unwrap();
    let live = backup(&dir, &other, &plain);
    assert!(
        matches!(live, Err(BackupError::NotABackup { .. })),
        "{live:?}"
    );
    std::fs::create_dir(outer.path().join("photos")).unwrap();
    std::fs::write(outer.path().join("photos/cat"), b"cat").unwrap();
    let photos = backup(&dir, &outer.path().join("photos"), &plain);
    assert!(
        matches!(photos, Err(BackupError::NotABackup { .. })),
        "{photos:?}"
    );
    let nothing = backup(outer.path().join("nothing").as_path(), &dest, &plain);
    assert!(matches!(nothing, Err(BackupError::Log(_))), "{nothing:?}");
    assert!(!dest.exists());

    // Somebody issues from the backup: the lock tells.
    backup(&dir, &dest, &plain).unwrap();
    let (copy, copy_answers) = open_dir(&dest, options(Arc::clone(&disk))).unwrap();
    let used = backup(&dir, &dest, &plain);
    assert!(matches!(used, Err(BackupError::Locked { .. })), "{used:?}");
    // And afterwards the two have parted.
    issue_all(&copy, &copy_answers, 5_000..5_300, 100);
    copy.close().unwrap();
    log.close().unwrap();
    let behind = backup(&dir, &dest, &plain);
    assert!(
        matches!(behind, Err(BackupError::RolledBack { .. })),
        "{behind:?}"
    );
    let (log, answers) = open_dir(&dir, options(disk)).unwrap();
    issue_all(&log, &answers, 300..900, 100);
    log.close().unwrap();
    let forked = backup(&dir, &dest, &plain);
    assert!(
        forked
            .as_ref()
            .is_err_and(|error| error.to_string().contains("forked")),
        "{forked:?}"
    );
}

#[test]
fn an_empty_log_and_an_unpublished_one_are_backed_up() {
    let sim = new_sim();
    back_up(&sim).unwrap();
    let (log, answers) = open_unpublished(&sim);
    issue_all(&log, &answers, 0..40, 5_000);
    let report = back_up(&sim).unwrap();
    assert_eq!((report.records, report.checkpoint), (40, None));
    let storage: Arc<dyn Storage> = Arc::new(sim.clone());
    check_copy(
        &storage,
        Path::new(DEST),
        &answers.acknowledged(),
        "unpublished",
    );
    drop(log);
    // Published for the first time, over the same backup.
    let (log, _) = open_with(sim_options(&sim)).unwrap();
    log.publish().unwrap();
    let report = back_up(&sim).unwrap();
    assert_eq!(
        report.checkpoint.map(|checkpoint| checkpoint.size),
        Some(40)
    );
    check_copy(
        &storage,
        Path::new(DEST),
        &answers.acknowledged(),
        "published",
    );
    let reader = LogReader::open_on(storage, Path::new(DEST)).unwrap();
    assert!(reader.read(RecordIndex(40)).is_err());
}

/// Everything below the backup but its lock, byte for byte.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let names = files(dir).into_iter();
    names
        .map(|name| {
            let bytes = std::fs::read(dir.join(&name)).unwrap();
            (name, bytes)
        })
        .collect()
}

#[test]
fn a_log_that_published_nothing_replaces_no_backup() {
    let outer = tempfile::tempdir().unwrap();
    let (dir, dest) = (outer.path().join("log"), outer.path().join("backup"));
    let disk: Arc<dyn Storage> = Arc::new(birthmark_log::DiskStorage);
    let plain = BackupOptions::default();
    Log::create(&dir).unwrap();
    let (log, answers) = open_dir(&dir, options(Arc::clone(&disk))).unwrap();
    issue_all(&log, &answers, 0..300, 100);
    log.close().unwrap();
    backup(&dir, &dest, &plain).unwrap();
    let held = contents(&dest);

    // A new CA at the same path: never opened, and opened with the same key but not published.
    let old = outer.path().join("old");
    std::fs::rename(&dir, &old).unwrap();
    Log::create(&dir).unwrap();
    let refused = backup(&dir, &dest, &plain);
    assert!(
        matches!(refused, Err(BackupError::RolledBack { log: 0, .. })),
        "{refused:?}"
    );
    assert!(contents(&dest) == held);
    std::fs::copy(old.join("vkey"), dir.join("vkey")).unwrap();
    let refused = backup(&dir, &dest, &plain);
    assert!(
        matches!(refused, Err(BackupError::RolledBack { log: 0, .. })),
        "{refused:?}"
    );
    assert!(contents(&dest) == held);
    // Without the key beside it the backup is still not overwritten.
    std::fs::remove_file(dest.join("vkey")).unwrap();
    std::fs::remove_file(dir.join("vkey")).unwrap();
    assert!(backup(&dir, &dest, &plain).is_err());
    std::fs::copy(old.join("vkey"), dest.join("vkey")).unwrap();
    assert!(contents(&dest) == held);
    // The right log is still welcome.
    backup(&old, &dest, &plain).unwrap();
}

#[test]
fn unpublished_logs_are_told_apart() {
    let sim = new_sim();
    let (log, answers) = open_unpublished(&sim);
    issue_all(&log, &answers, 0..40, 5_000);
    let younger = sim.copy();
    issue_all(&log, &answers, 40..60, 5_000);
    back_up(&sim).unwrap();
    drop(log);
    let disk = |image: &Sim| -> Arc<dyn Storage> { Arc::new(image.clone()) };
    // The same log, but rolled back.
    let back = sim.copy();
    replace_log(&back, Some(&younger));
    let refused = back_up(&back);
    assert!(
        matches!(refused, Err(BackupError::RolledBack { held: 60, log: 40 })),
        "{refused:?}"
    );
    check_copy(
        &disk(&back),
        Path::new(DEST),
        &answers.acknowledged(),
        "rolled back",
    );
    // Made anew at the same path, not published, and published with other records.
    let other = sim.copy();
    replace_log(&other, None);
    let refused = back_up(&other);
    assert!(
        matches!(refused, Err(BackupError::RolledBack { held: 60, log: 0 })),
        "{refused:?}"
    );
    let (log, others) = open_sim(&other);
    issue_all(&log, &others, 500..700, 300);
    log.publish().unwrap();
    let refused = back_up(&other);
    assert!(
        matches!(refused, Err(BackupError::OtherLog { .. })),
        "{refused:?}"
    );
    log.close().unwrap();
    check_copy(
        &disk(&other),
        Path::new(DEST),
        &answers.acknowledged(),
        "held",
    );
}

/// Another log where the old one was: a new one, or that of `from`.
fn replace_log(sim: &Sim, from: Option<&Sim>) {
    let storage: Arc<dyn Storage> = Arc::new(sim.clone());
    for path in sim.files() {
        let path = Path::new(&path);
        if path.starts_with(DIR) {
            storage.remove(path).unwrap();
        }
    }
    let Some(from) = from else {
        drop(storage.remove_dir(Path::new("/log/segments")));
        Log::create_on(&*storage, Path::new(DIR)).unwrap();
        return;
    };
    for path in from.files() {
        if path.starts_with(DIR) {
            let file = storage.create(&path).unwrap();
            file.write_all_at(&from.content(&path), 0).unwrap();
        }
    }
}

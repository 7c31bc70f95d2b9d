//! Archiving: interrupted anywhere no record is lost, and a log whose archive is away says so.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use birthmark_log::keep::{
    ArchiveError, ArchiveLimit, ArchiveOptions, ArchiveReport, BackupOptions, DirectorySource,
    archive, archive_on, backup, mirror,
};
use birthmark_log::tlog::{CheckpointSigner, leaf_hash};
use birthmark_log::{
    CommitSink, DiskStorage, ExtractError, KeyExtractor, Log, LogReader, OpenError, ReadError,
    RecordIndex, RecordKeys, Storage, Verification, VerifyError, VerifyReport, reindex, verify,
    verify_on,
};

use crate::rig::{
    Acknowledged, Answers, DIR, Hands, NOON_MS, Random, append, issue_all, key, keys, new_sim,
    open_dir, open_sim, options, reservation, seen, signer, sim_options,
};
use crate::sim::{FaultKind, Sim};

const DEST: &str = "/archive";

fn all_but(keep: u64) -> ArchiveOptions<'static> {
    // These logs are too small to have an index on the disk.
    ArchiveOptions::new(ArchiveLimit::Keep(keep), 0).beyond_index(true)
}

fn archive_sim(sim: &Sim, keep: u64) -> Result<ArchiveReport, ArchiveError> {
    let storage: Arc<dyn Storage> = Arc::new(sim.clone());
    archive_on(&storage, Path::new(DIR), Path::new(DEST), &all_but(keep))
}

/// A closed log with records in six bundles.
fn grown(sim: &Sim) -> Acknowledged {
    let (log, answers) = open_sim(sim);
    issue_all(&log, &answers, 0..1_300, 300);
    log.publish().unwrap();
    log.close().unwrap();
    answers.acknowledged()
}

/// Every record is there and right, wherever it lies.
fn check_whole(storage: &Arc<dyn Storage>, dir: &Path, wanted: &Acknowledged, context: &str) {
    let report = verified(storage, dir).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(report.archived_unseen, 0, "{context}");
    let reader = LogReader::open_on(Arc::clone(storage), dir).unwrap();
    for (ticket, index) in &wanted.appended {
        let record = reader.read(*index);
        let record = record.unwrap_or_else(|error| panic!("{context}: record {index}: {error}"));
        assert_eq!(seen(&record).ticket, *ticket, "{context}: record {index}");
    }
}

fn check_sim(sim: &Sim, wanted: &Acknowledged, context: &str) {
    let storage: Arc<dyn Storage> = Arc::new(sim.clone());
    check_whole(&storage, Path::new(DIR), wanted, context);
}

fn verified(storage: &Arc<dyn Storage>, dir: &Path) -> Result<VerifyReport, VerifyError> {
    let signer = signer();
    let verification = Verification {
        keys: Some(&keys),
        vkey: Some(signer.verifier_key()),
        threads: Some(2),
        ..Verification::default()
    };
    verify_on(storage, dir, &verification)
}

/// Full bundles in the log's own directory.
fn bundles(sim: &Sim, dir: &str) -> Vec<PathBuf> {
    let mut files = sim.files();
    files.retain(|path| path.starts_with(dir) && path.parent().unwrap().ends_with("tile/entries"));
    files
}

#[test]
fn a_crash_at_any_moment_loses_no_record() {
    let sim = new_sim();
    let wanted = grown(&sim);
    let images = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&images);
    let mut random = Random(11);
    sim.set_hook(Box::new(move |world, operation| {
        for _ in 0..4 {
            taken
                .lock()
                .unwrap()
                .push((operation, world.crash(&mut random)));
        }
    }));
    // Twice: the second run goes on from the first.
    let first = archive_sim(&sim, 800).unwrap();
    let second = archive_sim(&sim, 100).unwrap();
    sim.clear_hook();
    assert_eq!((first.bundles, first.archived, first.kept), (1, 256, 1_044));
    assert_eq!((second.bundles, second.archived), (3, 1_024));
    let (mut checked, mut moved) = (0, 0);
    for (operation, image) in images.lock().unwrap().iter() {
        let context = format!("operation {operation}");
        check_sim(image, &wanted, &context);
        moved += u64::from(bundles(image, "/log").len() < 5);
        let again = archive_sim(image, 100);
        again.unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(bundles(image, "/log").len(), 1, "{context}");
        assert_eq!(bundles(image, DEST).len(), 4, "{context}");
        check_sim(image, &wanted, &context);
        check_sim(&image.crash(&mut Random(operation + 1)), &wanted, &context);
        let (log, _) = open_sim(image);
        log.close().unwrap();
        image.assert_no_violations();
        checked += 1;
    }
    println!("{checked} crash images of an archiving, {moved} of them with bundles gone");
    assert!(checked > 100 && moved > 20, "{checked} {moved}");
}

#[test]
fn a_fault_at_any_operation_loses_no_record() {
    let sim = new_sim();
    let wanted = grown(&sim);
    let (mut faults, mut random) = (0, Random(12));
    for kind in [
        FaultKind::Failed(ErrorKind::StorageFull),
        FaultKind::Failed(ErrorKind::Other),
        FaultKind::FailedButDone(ErrorKind::Other),
    ] {
        for operation in 0.. {
            let image = sim.copy();
            image.fail_at(operation, kind);
            let context = format!("{kind:?} at operation {operation}");
            let before = image.operations();
            let done = archive_sim(&image, 300);
            let reached = image.operations() > before + operation;
            image.heal();
            if !reached {
                done.unwrap();
                break;
            }
            faults += 1;
            assert!(done.is_err(), "{context} went unnoticed");
            check_sim(&image, &wanted, &context);
            for _ in 0..3 {
                check_sim(&image.crash(&mut random), &wanted, &context);
            }
            archive_sim(&image, 300).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(bundles(&image, "/log").len(), 2, "{context}");
            check_sim(&image, &wanted, &context);
            for _ in 0..3 {
                check_sim(&image.crash(&mut random), &wanted, &context);
            }
        }
    }
    println!("{faults} faults injected into an archiving");
    assert!(faults > 60, "{faults}");
}

#[test]
fn the_limits_are_kept() {
    let sim = new_sim();
    let storage: Arc<dyn Storage> = Arc::new(sim.clone());
    let clock = Hands::at(NOON_MS);
    let mut options = sim_options(&sim);
    options.clock = Arc::clone(&clock) as _;
    let (log, answers) = open_dir(Path::new(DIR), options).unwrap();
    // Record 512 is the first of the second minute, record 700 of the third.
    issue_all(&log, &answers, 0..512, 300);
    clock.set(NOON_MS + 60_000);
    clock.monotonic_ms.store(60_000, Ordering::SeqCst);
    issue_all(&log, &answers, 512..700, 300);
    clock.set(NOON_MS + 120_000);
    clock.monotonic_ms.store(120_000, Ordering::SeqCst);
    issue_all(&log, &answers, 700..1_300, 300);
    log.publish().unwrap();
    let plan = |limit| {
        let options = ArchiveOptions::new(limit, 0)
            .beyond_index(true)
            .dry_run(true);
        let report = archive_on(&storage, Path::new(DIR), Path::new(DEST), &options);
        report.unwrap().archived
    };
    // Segments come and go meanwhile: the log prepares the next ones.
    let files = || -> Vec<PathBuf> {
        let mut files = sim.files();
        files.retain(|path| !path.starts_with("/log/segments"));
        files
    };
    let before = files();
    for (limit, archived) in [
        (ArchiveLimit::Keep(0), 1_280),
        (ArchiveLimit::Keep(20), 1_280),
        (ArchiveLimit::Keep(21), 1_024),
        (ArchiveLimit::Keep(1_300), 0),
        (ArchiveLimit::Keep(u64::MAX), 0),
        (ArchiveLimit::Before(0), 0),
        (ArchiveLimit::Before(NOON_MS), 0),
        (ArchiveLimit::Before(NOON_MS + 1), 512),
        (ArchiveLimit::Before(NOON_MS + 60_001), 512),
        (ArchiveLimit::Before(NOON_MS + 120_000), 512),
        (ArchiveLimit::Before(u64::MAX), 1_280),
    ] {
        assert_eq!(plan(limit), archived, "{limit:?}");
    }
    assert_eq!(files(), before, "a dry run changed something");

    // The index on the disk does not cover them: a start would read them.
    let careful = ArchiveOptions::new(ArchiveLimit::Keep(0), 0);
    let report = archive_on(&storage, Path::new(DIR), Path::new(DEST), &careful).unwrap();
    assert_eq!((report.bundles, report.held_back), (0, 1_280));
    assert_eq!(archive_sim(&sim, 21).unwrap().bundles, 4);
    let again = archive_sim(&sim, 21).unwrap();
    assert_eq!(
        (again.bundles, again.archived, again.kept),
        (0, 1_024, 276),
        "{again:?}"
    );
    // More is kept than is left: nothing comes back, nothing goes.
    assert_eq!(archive_sim(&sim, 1_000).unwrap().archived, 1_024);
    check_sim(&sim, &answers.acknowledged(), "open");
    log.close().unwrap();
}

#[test]
fn what_is_damaged_is_not_moved_and_not_believed() {
    let sim = new_sim();
    let wanted = grown(&sim);
    for file in ["/log/public/tile/entries/001", "/log/public/tile/0/001"] {
        let image = sim.copy();
        image.flip(Path::new(file), 77, 4);
        let error = archive_sim(&image, 0).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
        assert_eq!(bundles(&image, "/log").len(), 5, "{file}");
    }
    archive_sim(&sim, 300).unwrap();
    let read = |image: &Sim, index| {
        let reader = LogReader::open_on(Arc::new(image.clone()), Path::new(DIR)).unwrap();
        reader.read(RecordIndex(index))
    };
    // A changed record, a lost file in an archive that is there, a changed pointer: damage, each named.
    let image = sim.copy();
    image.flip(Path::new("/archive/tile/entries/001"), 77, 4);
    let error = read(&image, 256).unwrap_err().to_string();
    assert!(error.contains("/archive/tile/entries/001"), "{error}");
    let storage: Arc<dyn Storage> = Arc::new(image);
    assert!(matches!(
        verified(&storage, Path::new(DIR)),
        Err(VerifyError::Corrupt(_))
    ));
    let image = sim.copy();
    image
        .remove(Path::new("/archive/tile/entries/001"))
        .unwrap();
    let error = read(&image, 300).unwrap_err().to_string();
    assert!(error.contains("/archive/tile/entries/001"), "{error}");
    let image = sim.copy();
    image.flip(Path::new("/log/archive"), 25, 1);
    let error = read(&image, 300).unwrap_err();
    assert!(matches!(error, VerifyError::Corrupt(_)), "{error}");
    assert!(archive_sim(&image, 0).is_err());
    // An archive that lost a file: what the log still has of it stays.
    let image = sim.copy();
    let back = image.content(Path::new("/archive/tile/entries/001"));
    image
        .create(Path::new("/log/public/tile/entries/001"))
        .unwrap();
    let mut wrong = back.clone();
    wrong[77] ^= 4;
    image.set_content(Path::new("/log/public/tile/entries/001"), back);
    image.set_content(Path::new("/archive/tile/entries/001"), wrong);
    let error = archive_sim(&image, 0).unwrap_err();
    assert!(matches!(error, ArchiveError::Differs { .. }), "{error}");
    check_sim(&image, &wanted, "the log's own");
}

#[test]
fn wrong_places_are_refused() {
    let outer = tempfile::tempdir().unwrap();
    let at = |name: &str| outer.path().join(name);
    let disk: Arc<dyn Storage> = Arc::new(DiskStorage);
    Log::create(&at("log")).unwrap();
    let (log, answers) = open_dir(&at("log"), options(Arc::clone(&disk))).unwrap();
    issue_all(&log, &answers, 0..700, 100);
    log.publish().unwrap();
    let refused = |dest: PathBuf| archive(&at("log"), &dest, &all_but(0)).unwrap_err();
    let nested = refused(at("log/public/old"));
    assert!(matches!(nested, ArchiveError::Inside { .. }), "{nested}");
    std::fs::create_dir(at("photos")).unwrap();
    std::fs::write(at("photos/cat"), b"cat").unwrap();
    let photos = refused(at("photos"));
    assert!(matches!(photos, ArchiveError::NotAnArchive { .. }));
    let line = refused(at("two\nlines"));
    assert!(matches!(line, ArchiveError::Path { .. }), "{line}");
    std::fs::create_dir(at("other")).unwrap();
    std::fs::write(at("other/ARCHIVE"), b"of another log").unwrap();
    let other = refused(at("other"));
    assert!(matches!(other, ArchiveError::OtherLog { .. }), "{other}");
    let guard = disk.lock(&at("log/archive.lock")).unwrap();
    let locked = refused(at("old"));
    assert!(matches!(locked, ArchiveError::Locked { .. }), "{locked}");
    drop(guard);
    let no_log = archive(&at("photos"), &at("old"), &all_but(0));
    assert!(matches!(
        no_log,
        Err(ArchiveError::Log(VerifyError::Missing { .. }))
    ));
    assert!(!at("old").exists());
    log.close().unwrap();
}

#[test]
fn beside_a_writer_every_record_can_be_read_all_the_time() {
    let outer = tempfile::tempdir().unwrap();
    let (dir, dest) = (outer.path().join("log"), outer.path().join("old"));
    Log::create(&dir).unwrap();
    let disk: Arc<dyn Storage> = Arc::new(DiskStorage);
    let (log, answers) = open_dir(&dir, options(Arc::clone(&disk))).unwrap();
    issue_all(&log, &answers, 0..600, 500);
    let stop = AtomicBool::new(false);
    let mut archived = 0;
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| {
            let mut next = 600;
            while !stop.load(Ordering::Relaxed) {
                issue_all(&log, &answers, next..next + 50, 500);
                next += 50;
            }
        });
        scope.spawn(|| {
            let mut random = Random(13);
            while !stop.load(Ordering::Relaxed) {
                let index = RecordIndex(random.below(log.len()));
                let ticket = seen(&log.read(index).unwrap()).ticket;
                assert_eq!(log.find(0, &key(0, ticket)).unwrap(), Some(index));
            }
        });
        for round in 1..=8 {
            while log.metrics().published < 600 + round * 300 {
                thread::yield_now();
            }
            archived = archive(&dir, &dest, &all_but(100)).unwrap().archived;
            let reader = LogReader::open(&dir).unwrap();
            let look = |_, record: &[u8]| assert!(!seen(record).lost);
            reader.scan(Some(2), &look).unwrap();
        }
    });
    assert!(archived >= 2_000, "{archived}");
    log.close().unwrap();
    let (log, _) = open_dir(&dir, options(Arc::clone(&disk))).unwrap();
    log.close().unwrap();
    check_whole(&disk, &dir, &answers.acknowledged(), "in the end");
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// More records than stay in memory alone when a log is closed.
const INDEXED: u64 = 70_000;

/// Many at once.
pub(crate) fn issue_many(log: &Log, answers: &Answers, tickets: std::ops::Range<u64>) {
    for first in tickets.clone().step_by(500) {
        let chunk = first..tickets.end.min(first + 500);
        log.reserve(chunk.clone().map(|t| reservation(t, 60)).collect());
        let reserved = |t| append(t, answers.reserved(t), 60);
        log.append(chunk.clone().map(reserved).collect());
        chunk.for_each(|t| {
            answers.appended(t);
        });
    }
}

#[test]
fn a_log_works_on_while_its_archive_is_away() {
    let outer = tempfile::tempdir().unwrap();
    let at = |name: &str| outer.path().join(name);
    let dir = at("log");
    let disk: Arc<dyn Storage> = Arc::new(DiskStorage);
    let mut wide = options(Arc::clone(&disk));
    wide.publish_interval = std::time::Duration::from_millis(50);
    wide.segment_bytes = 8 << 20;
    Log::create(&dir).unwrap();
    let (log, answers) = open_dir(&dir, wide.clone()).unwrap();
    issue_many(&log, &answers, 0..INDEXED);
    log.close().unwrap();
    // Without this, opening would read them all.
    assert!(dir.join("index/MANIFEST").exists());

    let two = |name: &str, keep| {
        let options = ArchiveOptions::new(ArchiveLimit::Keep(keep), 0);
        archive(&dir, &at(name), &options).unwrap()
    };
    assert_eq!(two("old-1", 30_000).archived, 39_936);
    let report = two("old-2", 1_000);
    assert_eq!((report.archived, report.held_back), (68_864, 0));
    let whole = verified(&disk, &dir).unwrap();
    assert_eq!((whole.archived_unseen, whole.indexed), (0, INDEXED));
    check_whole(&disk, &dir, &answers.acknowledged(), "both there");

    std::fs::rename(at("old-1"), at("away")).unwrap();
    let seen_less = verified(&disk, &dir).unwrap();
    assert_eq!((seen_less.archived_unseen, seen_less.indexed), (39_936, 0));
    assert_eq!(seen_less.checkpoint, whole.checkpoint);
    away(&dir, &disk, &at, &wide, &answers);

    // There again: the same bytes, everything verified, and a whole backup.
    std::fs::rename(at("away"), at("old-1")).unwrap();
    let (log, _) = open_dir(&dir, wide).unwrap();
    assert_eq!(log.find(0, &key(0, 77)).unwrap(), Some(RecordIndex(77)));
    assert_eq!(seen(&log.read(RecordIndex(77)).unwrap()).ticket, 77);
    log.close().unwrap();
    check_whole(&disk, &dir, &answers.acknowledged(), "there again");
    backup(&dir, &at("backup"), &BackupOptions::default()).unwrap();
    let key = signer().verifier_key().clone();
    mirror(&DirectorySource::new(&dir), &at("copy"), &key, &|_| {}).unwrap();
    std::fs::remove_dir_all(at("old-1")).unwrap();
    check_whole(&disk, &at("backup"), &answers.acknowledged(), "the backup");
    check_whole(&disk, &at("copy"), &Acknowledged::default(), "the copy");
    // A backup that has the old records needs no archive to go on.
    backup(&dir, &at("backup"), &BackupOptions::default()).unwrap();
    verify(&dir, &Verification::default()).unwrap();
    let nothing = reindex(&dir, Arc::new(keys), &mut |_| {}).unwrap_err();
    assert!(matches!(nothing, OpenError::Archived { .. }), "{nothing}");
}

/// Finds the same keys and says that they are others.
struct LaterKeys;

impl KeyExtractor for LaterKeys {
    fn keys(&self, record: &[u8]) -> Result<RecordKeys, ExtractError> {
        keys(record)
    }

    fn version(&self) -> u32 {
        1
    }
}

/// One that has other keys leaves the index as it is: without the archive it could not make its own.
fn a_later_release(dir: &Path, options: &birthmark_log::Options) {
    let sink: Arc<dyn CommitSink> = Arc::new(Answers::default());
    let opened = Log::open(dir, options.clone(), Arc::new(LaterKeys), signer(), sink);
    let refused = opened.unwrap_err();
    assert!(matches!(refused, OpenError::Archived { .. }), "{refused}");
    let verification = Verification {
        keys: Some(&LaterKeys),
        ..Verification::default()
    };
    let report = verify(dir, &verification).unwrap();
    assert!(report.index_of_other_keys && report.indexed == 0);
    let options = ArchiveOptions::new(ArchiveLimit::Keep(0), LaterKeys.version()).dry_run(true);
    let moved = archive(dir, &dir.with_file_name("nowhere"), &options).unwrap();
    assert!(moved.bundles == 0 && moved.held_back > 0, "{moved:?}");
}

/// What goes on without the first archive, and what says that it is away.
fn away(
    dir: &Path,
    disk: &Arc<dyn Storage>,
    at: &dyn Fn(&str) -> PathBuf,
    options: &birthmark_log::Options,
    answers: &Answers,
) {
    let old = RecordIndex(77);
    let (log, more) = open_dir(dir, options.clone()).unwrap();
    issue_many(&log, &more, INDEXED..INDEXED + 700);
    assert_eq!(log.find(0, &key(0, 1 << 40)).unwrap(), None);
    for read in [
        log.find(0, &key(0, 77)).map(|_| ()),
        log.read(old).map(|_| ()),
    ] {
        let error = read.unwrap_err();
        assert!(
            matches!(&error, ReadError::Archived { path, record } if *path == at("old-1") && *record == old),
            "{error}"
        );
        assert!(error.to_string().contains("mount the archive, then retry"));
    }
    let in_the_other = RecordIndex(50_000);
    assert_eq!(seen(&log.read(in_the_other).unwrap()).ticket, 50_000);
    log.close().unwrap();

    let reader = LogReader::open_on(Arc::clone(disk), dir).unwrap();
    let error = reader.read(old).unwrap_err();
    assert!(matches!(error, VerifyError::Archived { .. }), "{error}");
    let mut record = crate::rig::issued(77, 60);
    record[4..12].copy_from_slice(&NOON_MS.to_be_bytes());
    assert_eq!(reader.leaf_hash(old).unwrap(), leaf_hash(&record));
    let damaged = reindex(dir, Arc::new(keys), &mut |_| {}).unwrap_err();
    assert!(matches!(damaged, OpenError::Archived { .. }), "{damaged}");
    assert!(dir.join("index/MANIFEST").exists(), "the index is gone");
    a_later_release(dir, options);
    let no_backup = backup(dir, &at("backup"), &BackupOptions::default());
    let no_backup = chain(&no_backup.unwrap_err());
    assert!(no_backup.contains("mount the archive"), "{no_backup}");
    let key = signer().verifier_key().clone();
    let no_copy = mirror(&DirectorySource::new(dir), &at("copy"), &key, &|_| {});
    let no_copy = chain(&no_copy.unwrap_err());
    assert!(no_copy.contains("mount the archive"), "{no_copy}");
    // Nothing is written below where the archive's disk is mounted at other times.
    let options = ArchiveOptions::new(ArchiveLimit::Keep(0), 0).beyond_index(true);
    let refused = archive(dir, &at("old-1"), &options).unwrap_err();
    assert!(refused.to_string().contains("mount the archive") && !at("old-1").exists());
    assert!(answers.count() > 0);
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

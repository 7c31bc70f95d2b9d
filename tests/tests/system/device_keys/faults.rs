//! The spool fails, the disk is full, the log fails between key and record, the power goes at any moment: one
//! certificate for each device, and its key with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use birthmark_engine::device_key::{
    DeviceKeysOpenError, KeyDelivery, KeySpool, SpoolOpenError, SpoolOptions,
};
use birthmark_engine::record::Record;
use birthmark_engine::{
    Action, Engine, IssueError, IssueResult, IssueStatus, Issued, OpenError, Request, Station,
};
use birthmark_log::{Log, RecordIndex};

use super::line::{Line, Receiver};
use super::{assert_key_of, delivered, request};
use crate::clock::HandClock;
use crate::faulty_storage::{CommitFault, FaultyStorage};
use crate::requests::Key;
use crate::sim::Sim;
use crate::station::{Factory, Random, Signer, fault};

const SEED: u64 = 0x5b00_1ed5;

/// Small files, so that a test goes through many.
const FILE_BYTES: u64 = 128 << 10;

fn small_files(station: &mut Station) {
    station.device_keys.as_mut().unwrap().spool.file_bytes = FILE_BYTES;
}

/// Asks again after a restart: one certificate, whose key comes with it.
fn assert_one_each(factory: &Factory, line: &Line, serials: &[&str], known: &[Issued]) {
    let engine = factory.open_with(small_files);
    let again: Vec<Issued> = serials
        .iter()
        .map(|serial| engine.issue(request(serial)).unwrap())
        .collect();
    for (before, after) in known.iter().zip(&again) {
        assert_eq!(after.status, IssueStatus::Existing);
        assert_eq!(
            (&after.certificate, &after.key),
            (&before.certificate, &before.key)
        );
    }
    for issued in &again {
        let (_, blob) = delivered(issued);
        assert_key_of(line, &issued.certificate.to_pem(), &blob, factory);
    }
    assert_eq!(engine.keys_waiting(), serials.len(), "nothing else is kept");
    engine.close().unwrap();
    let entries = factory.assert_sound();
    let issued = entries.iter().filter(|entry| entry.certificate().is_some());
    assert_eq!(
        issued.count(),
        serials.len() + 1,
        "and the one with its own key"
    );
}

#[test]
fn a_failed_spool_makes_no_more_keys_and_loses_none() {
    for commit_fault in CommitFault::ALL {
        let factory = Factory::new(Signer::P256);
        let line = Line::new(&factory, Receiver::Ec, "p256");
        let (storage, faults) = FaultyStorage::new();
        let engine = factory.open_with(|station| {
            small_files(station);
            station.device_keys.as_mut().unwrap().spool.storage = storage;
        });
        let first = engine.issue(request("SN-1")).unwrap();
        faults.fail_commit(commit_fault, 1);
        for serial in ["SN-2", "SN-3"] {
            let failed = fault(engine.issue(request(serial)));
            assert_eq!((failed.number(), failed.reason()), (911, "key-spool"));
        }
        let failed = engine.acknowledge(&[first.certificate.serial()]);
        assert!(failed.is_err(), "{commit_fault:?}: {failed:?}");
        // Devices with keys of their own go on, and what was delivered is delivered again.
        let own = Request::new(Key::generate().request("SN-9"), "idevid");
        engine.issue(own).unwrap();
        assert_eq!(engine.issue(request("SN-1")).unwrap().key, first.key);
        engine.close().unwrap();
        assert_one_each(&factory, &line, &["SN-1", "SN-2"], &[first]);
    }
}

#[test]
fn a_file_whose_name_may_not_be_durable_is_not_made_again() {
    let factory = Factory::new(Signer::P256);
    let line = Line::new(&factory, Receiver::Ec, "p256");
    let (storage, faults) = FaultyStorage::new();
    let engine = factory.open_with(|station| {
        small_files(station);
        station.device_keys.as_mut().unwrap().spool.storage = storage;
    });
    let order = std::sync::atomic::Ordering::SeqCst;
    faults.spool_sync_fails.store(true, order);
    for _ in 0..2 {
        let failed = fault(engine.issue(request("SN-1")));
        assert_eq!((failed.number(), failed.reason()), (911, "key-spool"));
    }
    let own = Request::new(Key::generate().request("SN-9"), "idevid");
    engine.issue(own).unwrap();
    engine.close().unwrap();
    assert_one_each(&factory, &line, &["SN-1"], &[]);
}

#[test]
fn a_panic_on_the_spools_thread_holds_up_nobody() {
    let factory = Factory::new(Signer::P256);
    let line = Line::new(&factory, Receiver::Ec, "p256");
    let (storage, faults) = FaultyStorage::new();
    let engine = factory.open_with(|station| {
        small_files(station);
        station.device_keys.as_mut().unwrap().spool.storage = storage;
    });
    let first = engine.issue(request("SN-1")).unwrap();
    let order = std::sync::atomic::Ordering::SeqCst;
    faults.spool_panics.store(true, order);
    let serials = (2..60).map(|number| request(&format!("SN-{number}")));
    for result in engine.issue_batch(serials.collect()) {
        let failed = fault(result);
        assert_eq!((failed.number(), failed.reason()), (911, "key-spool"));
    }
    let failed = engine.acknowledge(&[first.certificate.serial()]);
    assert!(failed.unwrap_err().to_string().contains("panic"));
    let own = Request::new(Key::generate().request("SN-9"), "idevid");
    engine.issue(own).unwrap();
    assert_eq!(engine.issue(request("SN-1")).unwrap().key, first.key);
    engine.close().unwrap();
    assert_one_each(&factory, &line, &["SN-1", "SN-2"], &[first]);
}

#[test]
fn a_panic_in_an_acknowledgement_answers_it() {
    let factory = Factory::new(Signer::P256);
    let _line = Line::new(&factory, Receiver::Ec, "p256");
    let (storage, faults) = FaultyStorage::new();
    let engine = factory.open_with(|station| {
        station.device_keys.as_mut().unwrap().spool.storage = storage;
    });
    let first = engine.issue(request("SN-1")).unwrap();
    let order = std::sync::atomic::Ordering::SeqCst;
    faults.spool_panics.store(true, order);
    let failed = engine.acknowledge(&[first.certificate.serial()]);
    assert!(failed.unwrap_err().to_string().contains("panic"));
    assert_eq!(fault(engine.issue(request("SN-2"))).number(), 911);
    engine.close().unwrap();
}

#[test]
fn all_new_directories_of_a_spool_are_durable() {
    let factory = Factory::new(Signer::P256);
    let _line = Line::new(&factory, Receiver::Ec, "p256");
    let (storage, faults) = FaultyStorage::new();
    let engine = factory.open_with(|station| {
        let spool = &mut station.device_keys.as_mut().unwrap().spool;
        spool.storage = storage;
        spool.directory = factory.path("ca/keys/line-7/spool");
    });
    engine.close().unwrap();
    let synced = faults.synced_directories.lock().unwrap().clone();
    for name in ["ca/keys/line-7/spool", "ca/keys/line-7", "ca/keys", "ca"] {
        assert!(synced.contains(&factory.path(name)), "{name}: {synced:?}");
    }
    assert!(!synced.contains(&factory.path(".")), "{synced:?}");
}

#[test]
fn no_key_is_made_for_a_recipient_that_has_expired() {
    let factory = Factory::new(Signer::P256);
    let _line = Line::new(&factory, Receiver::Ec, "p256");
    let clock = HandClock::new();
    let engine = factory.open_with(|station| station.log_options.clock = clock.clone());
    let first = engine.issue(request("SN-1")).unwrap();
    // The line's certificate is for 30 days.
    clock.pass(31 * 86_400_000);
    let expired = fault(engine.issue(request("SN-2")));
    let told = (expired.number(), expired.reason(), expired.action());
    assert_eq!(told, (912, "recipient", Action::CallOfficer), "{expired}");
    assert!(expired.to_string().contains("expired"), "{expired}");
    // What waits is delivered, and devices with keys of their own go on.
    assert_eq!(engine.issue(request("SN-1")).unwrap().key, first.key);
    let own = Request::new(Key::generate().request("SN-9"), "idevid");
    engine.issue(own).unwrap();
    assert_eq!(engine.keys_waiting(), 1);
    engine.close().unwrap();
}

#[test]
fn a_full_disk_stops_new_keys_until_there_is_room() {
    let factory = Factory::new(Signer::P256);
    let line = Line::new(&factory, Receiver::Ec, "p256");
    let (storage, faults) = FaultyStorage::new();
    let disk_full = |full| {
        let order = std::sync::atomic::Ordering::SeqCst;
        faults.disk_full.store(full, order);
    };
    let engine = factory.open_with(|station| {
        small_files(station);
        station.device_keys.as_mut().unwrap().spool.storage = storage;
    });
    disk_full(true);
    let full = fault(engine.issue(request("SN-1")));
    assert_eq!((full.number(), full.reason()), (910, "key-spool-full"));
    let own = Request::new(Key::generate().request("SN-9"), "idevid");
    engine.issue(own).unwrap();
    disk_full(false);
    let first = engine.issue(request("SN-1")).unwrap();
    assert_eq!(first.status, IssueStatus::Issued);
    // What has its file needs no more room, nor does letting it go.
    disk_full(true);
    let second = engine.issue(request("SN-2")).unwrap();
    let third = engine.issue(request("SN-3")).unwrap();
    engine.acknowledge(&[third.certificate.serial()]).unwrap();
    let gone = engine.issue(request("SN-3")).unwrap().key;
    assert_eq!(gone, Some(KeyDelivery::Acknowledged));
    engine.close().unwrap();
    let engine = factory.open_with(small_files);
    assert_eq!(engine.issue(request("SN-3")).unwrap().key, gone);
    for (serial, before) in [("SN-1", &first), ("SN-2", &second)] {
        let again = engine.issue(request(serial)).unwrap();
        assert_eq!(again.key, before.key);
        let (_, blob) = delivered(&again);
        assert_key_of(&line, &again.certificate.to_pem(), &blob, &factory);
    }
    engine.close().unwrap();
}

#[test]
fn a_log_that_fails_between_key_and_record_leaves_one_certificate() {
    for commit_fault in CommitFault::ALL {
        // The second device's reservation, and its record.
        for commit in [1, 2] {
            let factory = Factory::new(Signer::P256);
            let line = Line::new(&factory, Receiver::Ec, "p256");
            let (storage, faults) = FaultyStorage::new();
            let engine = factory.open_with(|station| {
                small_files(station);
                station.log_options.storage = storage;
            });
            let own = Request::new(Key::generate().request("SN-9"), "idevid");
            engine.issue(own).unwrap();
            let first = engine.issue(request("SN-1")).unwrap();
            faults.fail_commit(commit_fault, commit);
            let failed = fault(engine.issue(request("SN-2")));
            assert_eq!(failed.number(), 902, "{commit_fault:?} {commit}");
            drop(engine);
            assert_one_each(&factory, &line, &["SN-1", "SN-2"], &[first]);
        }
    }
}

#[test]
fn a_damaged_spool_stops_the_start_and_is_named() {
    let factory = Factory::new(Signer::P256);
    let _line = Line::new(&factory, Receiver::Ec, "p256");
    let engine = factory.open_with(small_files);
    let requests = (0..400).map(|number| request(&format!("SN-{number}")));
    let results = engine.issue_batch(requests.collect());
    assert!(results.iter().all(Result::is_ok));
    let options = SpoolOptions::new(factory.path("ca/spool"));
    let locked = KeySpool::open(options.clone());
    assert!(
        matches!(locked, Err(SpoolOpenError::Locked { .. })),
        "{locked:?}"
    );
    engine.close().unwrap();
    assert_eq!(KeySpool::open(options).unwrap().waiting(), 400);

    let path = factory.path("ca/spool/000000000000.keys");
    let sound = std::fs::read(&path).unwrap();
    // A mark; a key in the first batch; and the end of an older file's last batch, which is no torn tail.
    let last = sound.iter().rposition(|byte| *byte != 0).unwrap();
    for at in [512, 3_000, last] {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x40;
        std::fs::write(&path, damaged).unwrap();
        match Engine::open(factory.station()) {
            Err(OpenError::DeviceKeys(DeviceKeysOpenError::Spool(
                error @ SpoolOpenError::Damaged { .. },
            ))) => assert!(error.to_string().contains("000000000000.keys"), "{error}"),
            other => panic!("byte {at}: {other:?}"),
        }
    }
    std::fs::write(&path, sound).unwrap();
    factory.open_with(small_files).close().unwrap();
}

/// What the callers knew when the power went.
#[derive(Clone, Default)]
pub(super) struct Known {
    answered: BTreeMap<String, Issued>,
    /// Acknowledgements that were begun, and that were answered.
    begun: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
}

/// Devices of one run: enough for several files.
const DEVICES: usize = 600;
const THREADS: usize = 8;
const RUNS: u64 = 24;

#[test]
fn a_crash_at_any_moment_leaves_one_certificate_with_its_key() {
    let factory = Factory::new(Signer::P256);
    let line = Line::new(&factory, Receiver::Ec, "p256");
    let mut operations = {
        let (sim, known) = (new_world(&factory), Arc::default());
        let before = sim.operations();
        let engine = open(&factory, &sim);
        work(&engine, &known);
        engine.close().unwrap();
        sim.operations() - before
    };
    let mut random = Random::new(SEED);
    let mut opened = 0;
    for run in 0..RUNS {
        let (sim, known) = (new_world(&factory), Arc::<Mutex<Known>>::default());
        let before = sim.operations();
        let engine = open(&factory, &sim);
        let image = crash_at(&sim, random.below(operations), &known, random.next());
        work(&engine, &known);
        sim.clear_hook();
        engine.close().unwrap();
        sim.assert_no_violations();
        // How many operations a run takes depends on what is synced together: a run may have fewer than another.
        let Some((crashed, known)) = image.lock().unwrap().take() else {
            operations = operations.min(sim.operations() - before);
            continue;
        };
        opened += 1;
        assert_recovers(&factory, &line, &crashed, &known, run);
    }
    assert!(opened > RUNS / 2, "{opened}");
}

pub(super) fn new_world(factory: &Factory) -> Sim {
    let sim = Sim::default();
    Log::create_on(&sim, &factory.path("sim/log")).unwrap();
    sim
}

fn open(factory: &Factory, sim: &Sim) -> Engine {
    Engine::open(sim_station(factory, sim)).unwrap()
}

/// The station with log and spool in the simulated file system, and with small files.
pub(super) fn sim_station(factory: &Factory, sim: &Sim) -> Station {
    let mut station = factory.station();
    small_files(&mut station);
    let storage = Arc::new(sim.clone());
    station.log_directory = factory.path("sim/log");
    station.log_options.storage = storage.clone();
    let spool = &mut station.device_keys.as_mut().unwrap().spool;
    spool.directory = factory.path("sim/spool");
    spool.storage = storage;
    station
}

pub(super) type Image = Arc<Mutex<Option<(Sim, Known)>>>;

/// Takes what a crash before the operation with this number could leave, and what was known then.
pub(super) fn crash_at(sim: &Sim, operation: u64, known: &Arc<Mutex<Known>>, seed: u64) -> Image {
    let image = Image::default();
    let (taken, known) = (image.clone(), known.clone());
    let at = sim.operations() + operation;
    let mut random = Random::new(seed);
    sim.set_hook(Box::new(move |world, now| {
        if now == at {
            // First what is known: what is answered while the image is made may not be in it.
            let known = known.lock().unwrap().clone();
            *taken.lock().unwrap() = Some((world.crash(&mut random), known));
        }
    }));
    image
}

/// Of the first devices nearly all acknowledge, so that their file is emptied; of the others every third one.
fn acknowledges(device: usize) -> bool {
    match device < 300 {
        true => device % 25 != 1,
        false => device.is_multiple_of(3),
    }
}

/// Every device asks, and many acknowledge their keys.
fn work(engine: &Engine, known: &Arc<Mutex<Known>>) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let devices = (0..DEVICES).filter(|device| device % THREADS == thread);
                for device in devices {
                    let serial = format!("SN-{device}");
                    let issued = engine.issue(request(&serial)).unwrap();
                    let id = issued.certificate.serial().to_vec();
                    let mut now = known.lock().unwrap();
                    now.answered.insert(serial.clone(), issued);
                    if acknowledges(device) {
                        now.begun.insert(serial.clone());
                        drop(now);
                        engine.acknowledge(&[id]).unwrap();
                        known.lock().unwrap().acknowledged.insert(serial);
                    }
                }
            });
        }
    });
}

fn assert_recovers(factory: &Factory, line: &Line, crashed: &Sim, known: &Known, run: u64) {
    let engine = open(factory, crashed);
    let asked = |device: usize| -> IssueResult { engine.issue(request(&format!("SN-{device}"))) };
    let mut waiting = 0;
    for device in 0..DEVICES {
        let serial = format!("SN-{device}");
        let about = format!("run {run}, seed {SEED:#x}: {serial}");
        let issued = match asked(device) {
            Ok(issued) => issued,
            Err(IssueError::Fault(fault)) => panic!("{about}: {fault}"),
            Err(error) => panic!("{about}: {error}"),
        };
        let gone = issued.key == Some(KeyDelivery::Acknowledged);
        assert!(!gone || known.begun.contains(&serial), "{about}: lost");
        if let Some(before) = known.answered.get(&serial) {
            assert_eq!(issued.status, IssueStatus::Existing, "{about}");
            assert_eq!(issued.certificate, before.certificate, "{about}");
            assert!(gone || issued.key == before.key, "{about}");
            assert!(!gone || known.begun.contains(&serial), "{about}: lost");
            assert!(
                gone || !known.acknowledged.contains(&serial),
                "{about}: came back"
            );
        }
        waiting += usize::from(!gone);
        if !gone && device % 100 == 1 {
            let (_, blob) = delivered(&issued);
            assert_key_of(line, &issued.certificate.to_pem(), &blob, factory);
        }
    }
    assert_eq!(engine.keys_waiting(), waiting, "run {run}, seed {SEED:#x}");
    let mut identities = BTreeSet::new();
    let mut index = 0;
    while let Ok(record) = engine.log().read(RecordIndex(index)) {
        if let Ok(Record::Issued(issued)) = Record::decode(&record) {
            let identity = issued.identity.unwrap().to_owned();
            assert!(identities.insert(identity), "run {run}: two certificates");
        }
        index += 1;
    }
    assert_eq!(identities.len(), DEVICES, "run {run}, seed {SEED:#x}");
    engine.close().unwrap();
}

//! Keys that nobody acknowledges do not keep the files of all others; and no crash on the way loses or brings back
//! one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use birthmark_engine::device_key::{KeyDelivery, KeySpool};
use birthmark_engine::{Engine, IssueStatus, Issued, Request};

use super::faults::{crash_at, new_world, sim_station};
use super::line::{Line, Receiver};
use super::lost_ends::options;
use super::request;
use crate::load::WATCHDOG;
use crate::sim::Sim;
use crate::station::{Factory, Random, Signer};

const SEED: u64 = 0xc0_4a_c7;

/// Devices, some 250 in a file.
const DEVICES: usize = 900;

fn requests() -> Vec<Request> {
    let serials = (0..DEVICES).map(|device| format!("SN-{device}"));
    serials.map(|serial| request(&serial)).collect()
}

/// Every file has some of these.
fn is_straggler(device: usize) -> bool {
    device.is_multiple_of(90)
}

fn key_files(sim: &Sim) -> Vec<PathBuf> {
    let files = sim.files().into_iter();
    files
        .filter(|path| path.extension().is_some_and(|is| is == "keys"))
        .collect()
}

/// A spool of which all but a few keys were acknowledged while no engine ran.
fn world_of_stragglers(factory: &Factory) -> (Sim, Vec<Issued>) {
    let sim = new_world(factory);
    let engine = Engine::open(sim_station(factory, &sim)).unwrap();
    let issued = engine.issue_batch(requests()).into_iter();
    let issued: Vec<Issued> = issued.map(Result::unwrap).collect();
    engine.close().unwrap();
    let spool = KeySpool::open(options(factory, &sim)).unwrap();
    let done = (0..DEVICES).filter(|device| !is_straggler(*device));
    let done: Vec<_> = done
        .map(|device| issued[device].certificate.serial())
        .collect();
    spool.acknowledge(&done).unwrap();
    drop(spool);
    assert!(key_files(&sim).len() >= 4, "{:?}", key_files(&sim));
    (sim, issued)
}

/// Waits until the engine's spool has emptied what it empties.
fn wait_until_compact(sim: &Sim) {
    let started = Instant::now();
    while key_files(sim).len() > 2 {
        assert!(started.elapsed() < WATCHDOG, "{:?}", key_files(sim));
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[track_caller]
fn assert_answers(engine: &Engine, issued: &[Issued], about: &str) {
    for (device, (before, after)) in issued
        .iter()
        .zip(engine.issue_batch(requests()))
        .enumerate()
    {
        let after = after.unwrap();
        assert_eq!(after.status, IssueStatus::Existing, "{about}");
        assert_eq!(after.certificate, before.certificate, "{about}");
        let key = match is_straggler(device) {
            true => before.key.clone(),
            false => Some(KeyDelivery::Acknowledged),
        };
        assert!(
            after.key == key,
            "{about}: device {device}: {:?}",
            after.key
        );
    }
    let stragglers = (0..DEVICES).filter(|device| is_straggler(*device));
    assert_eq!(engine.keys_waiting(), stragglers.count(), "{about}");
    assert_eq!(engine.keys_dropped(), 0, "{about}");
}

#[test]
fn files_with_few_keys_are_emptied() {
    let factory = Factory::new(Signer::P256);
    let _line = Line::new(&factory, Receiver::Ec, "p256");
    let (sim, issued) = world_of_stragglers(&factory);
    let listed = || {
        let spool = KeySpool::open(options(&factory, &sim)).unwrap();
        let keys = spool.keys().into_iter();
        keys.map(|key| key.serial).collect::<Vec<_>>()
    };
    // Requests that come together are written in no promised order.
    let before = listed();
    assert_eq!(before.len(), DEVICES / 90);
    for start in 0..3 {
        let engine = Engine::open(sim_station(&factory, &sim)).unwrap();
        wait_until_compact(&sim);
        assert_answers(&engine, &issued, &format!("start {start}"));
        engine.close().unwrap();
    }
    assert_eq!(listed(), before, "in their order");
    let spool = KeySpool::open(options(&factory, &sim)).unwrap();
    spool.acknowledge(&before).unwrap();
    drop(spool);
    let engine = Engine::open(sim_station(&factory, &sim)).unwrap();
    assert_eq!(engine.keys_waiting(), 0);
    engine.close().unwrap();
    assert_eq!(key_files(&sim).len(), 1);
    sim.assert_no_violations();
}

/// One undelivered key in each file must not fill the spool.
#[test]
fn a_spool_full_of_stragglers_takes_new_keys() {
    let factory = Factory::new(Signer::P256);
    let _line = Line::new(&factory, Receiver::Ec, "p256");
    let sim = new_world(&factory);
    let mut station = sim_station(&factory, &sim);
    let spool = &mut station.device_keys.as_mut().unwrap().spool;
    spool.bytes_max = 4 * spool.file_bytes;
    let engine = Engine::open(station).unwrap();
    let mut kept = 0;
    for round in 0..12 {
        let serials = (0..200).map(|device| format!("SN-{round}-{device}"));
        let requests = serials.map(|serial| request(&serial)).collect();
        let issued = engine.issue_batch(requests).into_iter();
        let issued: Vec<Issued> = issued.map(Result::unwrap).collect();
        let done = issued.iter().skip(1);
        let done: Vec<_> = done.map(|issued| issued.certificate.serial()).collect();
        engine.acknowledge(&done).unwrap();
        kept += 1;
        assert_eq!(engine.keys_waiting(), kept);
    }
    assert!(key_files(&sim).len() <= 4, "{:?}", key_files(&sim));
    engine.close().unwrap();
    let engine = Engine::open(sim_station(&factory, &sim)).unwrap();
    for round in 0..12 {
        let again = engine.issue(request(&format!("SN-{round}-0"))).unwrap();
        assert!(matches!(again.key, Some(KeyDelivery::Encrypted(_))));
    }
    engine.close().unwrap();
}

#[test]
fn a_crash_at_any_step_of_emptying_a_file_keeps_every_key_once() {
    let factory = Factory::new(Signer::P256);
    let _line = Line::new(&factory, Receiver::Ec, "p256");
    let (prepared, issued) = world_of_stragglers(&factory);
    let operations = {
        let sim = prepared.copy();
        let engine = Engine::open(sim_station(&factory, &sim)).unwrap();
        wait_until_compact(&sim);
        engine.close().unwrap();
        sim.operations()
    };
    let mut random = Random::new(SEED);
    let mut crashes = 0;
    for operation in 0..operations {
        let sim = prepared.copy();
        let image = crash_at(&sim, operation, &Default::default(), random.next());
        let engine = Engine::open(sim_station(&factory, &sim)).unwrap();
        wait_until_compact(&sim);
        sim.clear_hook();
        engine.close().unwrap();
        let Some((crashed, _)) = image.lock().unwrap().take() else {
            continue;
        };
        crashes += 1;
        let about = format!("operation {operation}, seed {SEED:#x}");
        for start in 0..2 {
            let about = format!("{about}, start {start}");
            let engine = Engine::open(sim_station(&factory, &crashed)).unwrap();
            wait_until_compact(&crashed);
            assert_answers(&engine, &issued, &about);
            engine.close().unwrap();
        }
        let spool = KeySpool::open(options(&factory, &crashed)).unwrap();
        assert_eq!(spool.waiting(), DEVICES / 90, "{about}");
    }
    // Two writes, two syncs, a note and the removal of a file, for each of three files.
    assert!(crashes >= 18, "{crashes}");
}

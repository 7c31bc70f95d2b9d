//! Keys that were durable and are not there any more: the start is refused, and nothing is written over.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use birthmark_engine::device_key::{
    DeviceKeysOpenError, KeyDelivery, KeySpool, SpoolOpenError, SpoolOptions,
};
use birthmark_engine::{Engine, Issued, OpenError};
use birthmark_log::Storage;

use super::faults::{new_world, sim_station};
use super::line::{Line, Receiver};
use super::request;
use crate::sim::Sim;
use crate::station::{Factory, Signer};

const SECTOR_BYTES: usize = 512;

/// Where the last batch of the newest file begins: keys here are one a batch, of two sectors.
fn last_batch(content: &[u8]) -> usize {
    let mut sectors = content.chunks(SECTOR_BYTES).enumerate();
    let last = sectors.rfind(|(_, sector)| sector.starts_with(b"KEYS"));
    last.expect("there is a batch").0 * SECTOR_BYTES
}

fn newest_file(sim: &Sim) -> PathBuf {
    let files = sim.files().into_iter();
    let keys = files.filter(|path| path.extension().is_some_and(|is| is == "keys"));
    keys.max().expect("there is a file")
}

#[track_caller]
fn refusal(factory: &Factory, sim: &Sim, about: &str) -> SpoolOpenError {
    match Engine::open(sim_station(factory, sim)) {
        Err(OpenError::DeviceKeys(DeviceKeysOpenError::Spool(error))) => error,
        other => panic!("{about}: {other:?}"),
    }
}

pub(super) fn options(factory: &Factory, sim: &Sim) -> SpoolOptions {
    let mut options = SpoolOptions::new(factory.path("sim/spool"));
    options.file_bytes = 128 << 10;
    options.storage = Arc::new(sim.clone());
    options
}

/// What the spool's directory holds.
fn spool_files(factory: &Factory, sim: &Sim) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = factory.path("sim/spool");
    let files = sim.files().into_iter();
    let files = files.filter(|path| path.starts_with(&directory) && !path.ends_with("LOCK"));
    files
        .map(|path| (path.clone(), sim.content(&path)))
        .collect()
}

/// Three keys, each in a batch of its own; what a killed process and a closed one leave.
fn worlds(factory: &Factory) -> (Vec<Issued>, [(&'static str, Sim); 2]) {
    let sim = new_world(factory);
    let engine = Engine::open(sim_station(factory, &sim)).unwrap();
    let serials = ["SN-1", "SN-2", "SN-3"];
    let issued = serials.map(|serial| engine.issue(request(serial)).unwrap());
    let killed = sim.copy();
    engine.close().unwrap();
    (issued.into(), [("killed", killed), ("closed", sim.copy())])
}

#[test]
fn a_durable_batch_that_cannot_be_read_is_no_torn_tail() {
    let factory = Factory::new(Signer::P256);
    // For such a recipient a key takes two sectors.
    let _line = Line::new(&factory, Receiver::Rsa(2048), "p256");
    let (issued, worlds) = worlds(&factory);
    for (left_by, sim) in &worlds {
        let path = newest_file(sim);
        let sound = sim.content(&path);
        let start = last_batch(&sound);
        let flipped = |at: usize| {
            let mut damaged = sound.clone();
            damaged[start + at] ^= 4;
            damaged
        };
        let mut zeroed = sound.clone();
        zeroed[start..].fill(0);
        for (what, damaged) in [
            ("header", flipped(9)),
            ("key", flipped(100)),
            ("second sector", flipped(SECTOR_BYTES + 20)),
            ("all of it", zeroed),
        ] {
            let sim = sim.copy();
            sim.set_content(&path, damaged);
            let before = spool_files(&factory, &sim);
            let about = format!("{left_by}, {what}");
            let error = refusal(&factory, &sim, &about);
            let about = format!("{about}: {error}");
            assert!(matches!(error, SpoolOpenError::Damaged { .. }), "{about}");
            assert!(about.contains("key init"), "{about}");
            assert_eq!(spool_files(&factory, &sim), before, "{about}");
            // Looking writes nothing either.
            drop(KeySpool::open(options(&factory, &sim)));
            assert_eq!(spool_files(&factory, &sim), before, "{about}");
            assert_still_refused_and_mended(&factory, &sim, &path, &sound, &issued);
        }
    }
}

/// The same refusal again; and the file put back is all that is needed.
fn assert_still_refused_and_mended(
    factory: &Factory,
    sim: &Sim,
    path: &Path,
    sound: &[u8],
    issued: &[Issued],
) {
    refusal(factory, sim, "again");
    sim.set_content(path, sound.to_vec());
    let engine = Engine::open(sim_station(factory, sim)).unwrap();
    for (number, before) in (1..).zip(issued) {
        let again = engine.issue(request(&format!("SN-{number}"))).unwrap();
        assert_eq!(again.key, before.key);
    }
    engine.close().unwrap();
}

#[test]
fn a_torn_tail_is_taken_away_by_the_engine_alone() {
    let factory = Factory::new(Signer::P256);
    // For such a recipient a key takes two sectors.
    let _line = Line::new(&factory, Receiver::Rsa(2048), "p256");
    let (issued, worlds) = worlds(&factory);
    for (left_by, sim) in &worlds {
        let path = newest_file(sim);
        let sound = sim.content(&path);
        let start = last_batch(&sound);
        let mut torn = sound.clone();
        // The last batch again, but for its header, where the next one would be.
        let batch = sound[start..start + 2 * SECTOR_BYTES].to_vec();
        torn[start + 2 * SECTOR_BYTES..start + 4 * SECTOR_BYTES].copy_from_slice(&batch);
        torn[start + 2 * SECTOR_BYTES] = 0;
        sim.set_content(&path, torn.clone());
        let spool = KeySpool::open(options(&factory, sim)).unwrap();
        assert_eq!(spool.waiting(), 3, "{left_by}");
        spool
            .acknowledge(&[issued[1].certificate.serial()])
            .unwrap();
        drop(spool);
        let tail = start + 2 * SECTOR_BYTES..;
        assert_eq!(sim.content(&path)[tail.clone()], torn[tail.clone()]);
        let engine = Engine::open(sim_station(&factory, sim)).unwrap();
        assert_eq!((engine.keys_waiting(), engine.keys_dropped()), (2, 0));
        assert_eq!(engine.issue(request("SN-3")).unwrap().key, issued[2].key);
        engine.close().unwrap();
        assert!(sim.content(&path)[tail].iter().all(|octet| *octet == 0));
    }
}

#[test]
fn a_file_that_was_taken_away_stops_the_start_until_somebody_says_so() {
    let factory = Factory::new(Signer::P256);
    let _line = Line::new(&factory, Receiver::Ec, "p256");
    let sim = new_world(&factory);
    let engine = Engine::open(sim_station(&factory, &sim)).unwrap();
    let requests = (0..700).map(|number| request(&format!("SN-{number}")));
    let results = engine.issue_batch(requests.collect());
    assert!(results.iter().all(Result::is_ok));
    let killed = sim.copy();
    engine.close().unwrap();
    for (left_by, world) in [("killed", killed), ("closed", sim)] {
        for number in 0..3 {
            let sim = world.copy();
            let path = factory.path(&format!("sim/spool/{number:012}.keys"));
            sim.remove(&path).unwrap();
            let about = format!("{left_by}, file {number}");
            let error = refusal(&factory, &sim, &about).to_string();
            let about = format!("{about}: {error}");
            assert!(about.contains("key init"), "{about}");
            // The newest one is told by the log or by the end of what is left.
            assert!(
                number == 2 || error.contains(path.to_str().unwrap()),
                "{about}"
            );
            let waiting = KeySpool::init(options(&factory, &sim)).unwrap().waiting();
            assert!((100..700).contains(&waiting), "{about}");
            let engine = Engine::open(sim_station(&factory, &sim)).unwrap();
            let again = (0..700).map(|number| request(&format!("SN-{number}")));
            let mut kept = 0;
            for (before, after) in results.iter().zip(engine.issue_batch(again.collect())) {
                match after.unwrap().key {
                    Some(KeyDelivery::NotKept) => {}
                    key => {
                        assert_eq!(key, before.as_ref().unwrap().key, "{about}");
                        kept += 1;
                    }
                }
            }
            assert_eq!((kept, engine.keys_waiting()), (waiting, waiting), "{about}");
            engine.close().unwrap();
        }
    }
}

//! The large index by itself: exact under collisions, crashes, faults, a full disk and damage.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use birthmark_log::bench_access::{IndexAccess, Limits, Source, sums, verify};
use birthmark_log::{IndexKey, KEY_SPACES, ReadError, RecordIndex, RecordKeys, VerifyError};

use crate::rig::Random;
use crate::sim::{FaultKind, Sim};

const DIR: &str = "/log/index";

/// A failing test ends, however slow the machine: no healthy wait comes near this.
const PATIENCE: Duration = Duration::from_secs(120);

/// Tables, parts and hashes so small that everything happens all the time.
fn tiny(random: &mut Random) -> Limits {
    Limits {
        memtable_entries: 8 + random.below(40) as usize,
        waiting_max: 4,
        fan_in: 2 + random.below(3) as usize,
        part_entries: 4 + random.below(60) as u32,
        sync_bytes: 4096 << random.below(4),
        tail_at_close: random.below(60) as usize,
        retry: Duration::from_millis(1),
        rests: false,
        // All bits, the top 5, or the lowest 5: then nearly all parts are empty.
        hash_mask: [u64::MAX, 0x1F << 59, 0x1F][random.below(3) as usize],
    }
}

/// The records that exist, in the place of a log. Clones share them.
#[derive(Clone, Default)]
struct World {
    records: Arc<Mutex<Vec<RecordKeys>>>,
    /// Records that cannot be read.
    unreadable: Arc<Mutex<Vec<u64>>>,
    /// Another log with the same keys has other leaf hashes.
    salt: u8,
}

impl World {
    fn records(&self) -> Vec<RecordKeys> {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn len(&self) -> u64 {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len() as u64
    }

    /// The first records of this world.
    fn up_to(&self, len: u64) -> World {
        let mut records = self.records();
        records.truncate(len as usize);
        World {
            records: Arc::new(Mutex::new(records)),
            ..World::default()
        }
    }

    /// Some more records. About every second key has been there before.
    fn grow(&self, count: u64, random: &mut Random) -> Vec<(RecordIndex, RecordKeys)> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Vec::new();
        for _ in 0..count {
            let keys = std::array::from_fn(|space| {
                let number = random.below(2 * records.len() as u64 + 1);
                (random.below(8) > 0).then(|| key(space, number))
            });
            batch.push((RecordIndex(records.len() as u64), keys));
            records.push(keys);
        }
        batch
    }

    fn from(&self, first: u64) -> Vec<(RecordIndex, RecordKeys)> {
        let records = self.records();
        let numbered = (0..).map(RecordIndex).zip(records);
        numbered.skip(first as usize).collect()
    }

    fn open(&self, sim: &Sim, limits: &Limits) -> (IndexAccess, u64, Option<String>) {
        let (storage, source) = (Arc::new(sim.clone()), Arc::new(self.clone()));
        IndexAccess::open(storage, Path::new(DIR), self.len(), source, limits.clone()).unwrap()
    }

    /// Opens and brings up to date.
    fn rebuilt(&self, sim: &Sim, limits: &Limits) -> IndexAccess {
        let (index, watermark, _) = self.open(sim, limits);
        assert!(watermark <= self.len());
        for batch in self.from(watermark).chunks(7) {
            index.insert(batch);
        }
        index
    }

    /// The newest record of each key.
    fn newest(&self) -> [HashMap<IndexKey, RecordIndex>; KEY_SPACES] {
        let mut newest: [HashMap<_, _>; KEY_SPACES] = Default::default();
        for (record, keys) in self.from(0) {
            for (newest, key) in newest.iter_mut().zip(keys) {
                newest.extend(key.map(|key| (key, record)));
            }
        }
        newest
    }

    /// Every key is found, and as many others are not. Gives the number of errors; a wrong answer
    /// fails.
    fn check(&self, index: &IndexAccess, about: &str) -> usize {
        let mut errors = 0;
        for (space, newest) in self.newest().iter().enumerate() {
            let known = newest.keys().copied();
            let others = (0..newest.len() as u64).map(|number| key(space, 1 << 40 | number));
            let keys: Vec<IndexKey> = known.chain(others).collect();
            for (found, key) in index.find_batch(space, &keys).into_iter().zip(&keys) {
                match found {
                    Ok(found) => assert_eq!(found, newest.get(key).copied(), "{about}"),
                    Err(_) => errors += 1,
                }
            }
        }
        errors
    }

    /// What the files say is what they should say.
    fn check_files(&self, sim: &Sim, limits: &Limits) {
        let verified = verify(sim, Path::new(DIR)).unwrap();
        let (watermark, found) = verified.unwrap_or((0, [(0, 0); KEY_SPACES]));
        assert_eq!(
            found,
            sums(&self.from(0)[..watermark as usize], limits.hash_mask)
        );
    }
}

impl Source for World {
    fn has_key(&self, space: usize, key: &IndexKey, at: RecordIndex) -> Result<bool, ReadError> {
        let unreadable = self
            .unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        match records.get(at.0 as usize) {
            Some(keys) if !unreadable.contains(&at.0) => Ok(keys[space] == Some(*key)),
            _ => Err(out_of_range(at, records.len())),
        }
    }

    fn digest(&self, at: RecordIndex) -> Result<[u8; 32], ReadError> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if at.0 >= records.len() as u64 {
            return Err(out_of_range(at, records.len()));
        }
        let mut digest = [self.salt; 32];
        digest[..8].copy_from_slice(&at.0.to_le_bytes());
        Ok(digest)
    }
}

fn out_of_range(record: RecordIndex, len: usize) -> ReadError {
    let len = len as u64;
    ReadError::OutOfRange { record, len }
}

fn key(space: usize, number: u64) -> IndexKey {
    let mut key = [space as u8; 32];
    key[..8].copy_from_slice(&Random(number).next().to_le_bytes());
    key[8..16].copy_from_slice(&number.to_le_bytes());
    IndexKey(key)
}

/// Waits for something that the index does by itself.
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn settle(index: &IndexAccess) {
    wait_for("an end of writing", || {
        index.metrics().waiting == 0 && index.health().is_ok()
    });
}

#[test]
fn answers_are_exact_whatever_is_in_memory_and_on_the_disk() {
    let mut merges = 0;
    for seed in 0..60 {
        let random = &mut Random(seed);
        let (sim, world, limits) = (Sim::default(), World::default(), tiny(random));
        let mut index = world.open(&sim, &limits).0;
        for _ in 0..40 {
            let count = 1 + random.below(30);
            index.insert(&world.grow(count, random));
            if random.below(4) == 0 {
                assert_eq!(world.check(&index, &format!("seed {seed}, {limits:?}")), 0);
            }
            if random.below(10) == 0 {
                merges += index.metrics().merges;
                index.close().unwrap();
                world.check_files(&sim, &limits);
                drop(index);
                index = world.rebuilt(&sim, &limits);
            }
        }
        settle(&index);
        assert_eq!(world.check(&index, &format!("seed {seed}, {limits:?}")), 0);
        merges += index.metrics().merges;
        index.close().unwrap();
        world.check_files(&sim, &limits);
        sim.assert_no_violations();
    }
    assert!(merges > 100, "only {merges} merges");
}

#[test]
fn every_crash_leaves_an_index_that_can_be_brought_up_to_date() {
    let (mut images, mut rebuilt_from_zero) = (0, 0);
    for seed in 0..25 {
        let random = &mut Random(1000 + seed);
        let (sim, world, limits) = (Sim::default(), World::default(), tiny(random));
        let crashed: Arc<Mutex<Vec<(Sim, u64)>>> = Arc::default();
        let index = world.open(&sim, &limits).0;
        let (inside, of) = (Arc::clone(&crashed), world.clone());
        let mut dice = Random(2000 + seed);
        sim.set_hook(Box::new(move |sim, _| {
            if dice.below(6) == 0 {
                let image = (sim.crash(&mut dice), of.len());
                inside.lock().unwrap().push(image);
            }
        }));
        for _ in 0..30 {
            let count = 1 + random.below(30);
            index.insert(&world.grow(count, random));
            index.wait_for_room();
        }
        index.close().unwrap();
        sim.clear_hook();
        for (image, len) in crashed.lock().unwrap().drain(..) {
            let about = format!("seed {seed}, {len} records, {limits:?}");
            let world = world.up_to(len);
            let (index, watermark, discarded) = world.open(&image, &limits);
            assert_eq!(discarded, None, "{about}");
            drop(index);
            rebuilt_from_zero += u64::from(watermark == 0);
            let index = world.rebuilt(&image, &limits);
            assert_eq!(world.check(&index, &about), 0);
            index.close().unwrap();
            world.check_files(&image, &limits);
            images += 1;
        }
    }
    println!("{images} crash images, {rebuilt_from_zero} of them without an index yet");
    assert!(images > 200 && rebuilt_from_zero * 2 < images);
}

#[test]
fn every_fault_is_outlived() {
    let mut faults = 0;
    for (seed, error) in [(1, io::ErrorKind::Other), (2, io::ErrorKind::StorageFull)] {
        for done in [false, true] {
            for operation in 0..120 {
                let random = &mut Random(seed);
                let (sim, world, limits) = (Sim::default(), World::default(), tiny(random));
                let index = world.open(&sim, &limits).0;
                let kind = match done {
                    false => FaultKind::Failed(error),
                    true => FaultKind::FailedButDone(error),
                };
                sim.fail_at(operation, kind);
                let about = format!("{kind:?} at operation {operation}");
                for _ in 0..20 {
                    let count = 1 + random.below(30);
                    index.insert(&world.grow(count, random));
                }
                assert_eq!(world.check(&index, &about), 0);
                settle(&index);
                let operations = sim.operations();
                assert_eq!(world.check(&index, &about), 0);
                let image = sim.crash(random);
                // It fails once more when the fault comes only now.
                let _ = index.close();
                sim.heal();
                drop(index);
                sim.assert_no_violations();
                for sim in [image, sim] {
                    let index = world.rebuilt(&sim, &limits);
                    assert_eq!(world.check(&index, &about), 0);
                    index.close().unwrap();
                    world.check_files(&sim, &limits);
                }
                faults += u64::from(operation < operations);
            }
        }
    }
    println!("{faults} faults");
    assert!(faults > 300, "{faults}");
}

#[test]
fn a_full_disk_is_reported_and_outlived() {
    let random = &mut Random(3);
    let (sim, world) = (Sim::default(), World::default());
    let limits = Limits {
        memtable_entries: 50,
        ..tiny(random)
    };
    let index = world.open(&sim, &limits).0;
    sim.set_space(Some(60_000));
    for _ in 0..40 {
        index.insert(&world.grow(20, random));
    }
    let mut complaint = String::new();
    wait_for("a complaint", || {
        complaint = index.health().err().unwrap_or_default();
        complaint.ends_with("check the disk and its free space")
    });
    assert!(
        complaint.starts_with("the index cannot be written: /log/index/"),
        "{complaint}"
    );
    assert_eq!(world.check(&index, "on a full disk"), 0);
    // A rebuild that waits for room does not wait for ever.
    index.wait_for_room();
    sim.set_space(None);
    settle(&index);
    assert_eq!(world.check(&index, "with space again"), 0);
    index.close().unwrap();
    world.check_files(&sim, &limits);
}

#[test]
fn a_flipped_bit_gives_an_error_or_the_right_answer() {
    let random = &mut Random(4);
    let (sim, world) = (Sim::default(), World::default());
    let limits = Limits {
        memtable_entries: 700,
        fan_in: 100,
        tail_at_close: 0,
        part_entries: 500,
        hash_mask: u64::MAX,
        ..tiny(random)
    };
    let index = world.open(&sim, &limits).0;
    index.insert(&world.grow(1500, random));
    index.close().unwrap();
    drop(index);
    let (mut discarded, mut failed, mut harmless) = (0, 0, 0);
    for path in sim.files() {
        let length = sim.content(&path).len();
        for at in (0..length).step_by(13) {
            let sim = sim.copy();
            sim.flip(&path, at, 1 << (at % 8));
            let about = format!("{} byte {at}", path.display());
            match verify(&sim, Path::new(DIR)) {
                Err(VerifyError::Index(damage)) => assert_eq!(damage.file, path, "{about}"),
                other => panic!("{about}: {other:?}"),
            }
            let (index, watermark, reason) = world.open(&sim, &limits);
            discarded += u64::from(reason.is_some());
            if let Some(reason) = reason {
                assert!(reason.contains(path.to_str().unwrap()) || reason.contains("manifest"));
            }
            for batch in world.from(watermark).chunks(500) {
                index.insert(batch);
            }
            match world.check(&index, &about) {
                0 => harmless += 1,
                _ => failed += 1,
            }
        }
    }
    println!(
        "{discarded} of the flips discarded at open, {failed} failed lookups, {harmless} left none wrong"
    );
    assert!(discarded > 100 && failed > 100);
}

#[test]
fn every_truncation_is_noticed_at_open() {
    let random = &mut Random(5);
    let (sim, world) = (Sim::default(), World::default());
    let limits = Limits {
        memtable_entries: 300,
        fan_in: 100,
        tail_at_close: 0,
        ..tiny(random)
    };
    let index = world.open(&sim, &limits).0;
    index.insert(&world.grow(600, random));
    index.close().unwrap();
    drop(index);
    let files: Vec<PathBuf> = sim.files();
    assert!(files.len() >= 3);
    for path in files {
        let content = sim.content(&path);
        for length in (0..content.len()).step_by(97).chain([content.len() - 1]) {
            let sim = sim.copy();
            sim.set_content(&path, content[..length].to_vec());
            let (_, watermark, discarded) = world.open(&sim, &limits);
            assert!(
                discarded.is_some() && watermark < 600,
                "{} {length}",
                path.display()
            );
            drop(world.rebuilt(&sim, &limits));
        }
    }
}

#[test]
fn a_damaged_run_costs_only_what_is_behind_it() {
    let random = &mut Random(6);
    let (sim, world) = (Sim::default(), World::default());
    let limits = Limits {
        memtable_entries: 100,
        fan_in: 100,
        tail_at_close: 0,
        ..tiny(random)
    };
    let index = world.open(&sim, &limits).0;
    for _ in 0..3 {
        index.insert(&world.grow(100, random));
    }
    index.close().unwrap();
    drop(index);
    let runs: Vec<PathBuf> = sim
        .files()
        .into_iter()
        .filter(|path| !path.ends_with("MANIFEST"))
        .collect();
    assert_eq!(runs.len(), 3);
    sim.flip(&runs[1], 20, 1);
    let (index, watermark, discarded) = world.open(&sim, &limits);
    assert_eq!(watermark, 100);
    assert!(discarded.unwrap().contains(runs[1].to_str().unwrap()));
    index.insert(&world.from(watermark));
    assert_eq!(world.check(&index, "one of three runs damaged"), 0);
    index.close().unwrap();
    world.check_files(&sim, &limits);
}

#[test]
fn damage_found_by_a_merge_stops_merging_and_is_reported() {
    let random = &mut Random(7);
    let (sim, world) = (Sim::default(), World::default());
    let limits = Limits {
        memtable_entries: 100,
        fan_in: 4,
        tail_at_close: 0,
        hash_mask: u64::MAX,
        ..tiny(random)
    };
    let index = world.open(&sim, &limits).0;
    index.insert(&world.grow(100, random));
    index.close().unwrap();
    drop(index);
    let run = sim
        .files()
        .into_iter()
        .find(|path| !path.ends_with("MANIFEST"))
        .unwrap();
    sim.flip(&run, 4096 + 9, 1);
    let (index, _, discarded) = world.open(&sim, &limits);
    assert_eq!(discarded, None);
    for _ in 0..5 {
        index.insert(&world.grow(100, random));
    }
    wait_for("a complaint", || index.health().is_err());
    let complaint = index.health().unwrap_err();
    assert!(
        complaint.contains("byte 4096") && complaint.contains("reindex"),
        "{complaint}"
    );
    assert!(world.check(&index, "a damaged block") > 0);
}

#[test]
fn an_index_of_another_log_is_thrown_away() {
    let random = &mut Random(8);
    let (sim, world) = (Sim::default(), World::default());
    let limits = Limits {
        tail_at_close: 0,
        ..tiny(random)
    };
    let index = world.open(&sim, &limits).0;
    index.insert(&world.grow(200, random));
    index.close().unwrap();
    drop(index);

    let shorter = world.up_to(199);
    let other = World {
        salt: 1,
        ..world.clone()
    };
    let unreadable = world.up_to(200);
    unreadable.unreadable.lock().unwrap().push(199);
    for (world, says) in [(shorter, "the log has 199"), (other, "another record 199")] {
        let sim = sim.copy();
        let (index, watermark, discarded) = world.open(&sim, &limits);
        assert_eq!(watermark, 0);
        assert!(discarded.unwrap().contains(says));
        assert_eq!(sim.files(), Vec::<PathBuf>::new());
        drop(index);
        assert_eq!(world.check(&world.rebuilt(&sim, &limits), says), 0);
    }
    let (_, watermark, discarded) = world.open(&sim, &limits);
    assert_eq!((watermark, discarded), (200, None));
}

#[test]
fn a_record_that_cannot_be_read_is_an_error_and_not_an_absence() {
    let random = &mut Random(9);
    let (sim, world) = (Sim::default(), World::default());
    let limits = Limits {
        memtable_entries: 100,
        ..tiny(random)
    };
    let index = world.open(&sim, &limits).0;
    // One in memory and one on the disk.
    let batch: Vec<_> = (0..150)
        .map(|record| {
            (
                RecordIndex(record),
                [Some(key(0, record)), None, Some(key(2, record))],
            )
        })
        .collect();
    *world.records.lock().unwrap() = batch.iter().map(|(_, keys)| *keys).collect();
    for batch in batch.chunks(50) {
        index.insert(batch);
    }
    settle(&index);
    for record in [10, 140] {
        assert_eq!(
            index.find(0, &key(0, record)).unwrap(),
            Some(RecordIndex(record))
        );
        world.unreadable.lock().unwrap().push(record);
        for space in [0, 2] {
            assert!(index.find(space, &key(space, record)).is_err());
            let both = index.find_batch(space, &[key(space, record), key(space, 50)]);
            assert!(both[0].is_err());
            assert_eq!(*both[1].as_ref().unwrap(), Some(RecordIndex(50)));
        }
    }
    assert!(matches!(
        index.find(3, &key(0, 1)),
        Err(ReadError::NoSuchSpace { space: 3 })
    ));
    assert!(index.find_batch(3, &[key(0, 1)])[0].is_err());
}

#[test]
fn one_key_in_thousands_of_records_is_found_in_the_newest() {
    let (sim, world) = (Sim::default(), World::default());
    let limits = Limits {
        memtable_entries: 1000,
        fan_in: 3,
        ..tiny(&mut Random(10))
    };
    let index = world.open(&sim, &limits).0;
    let (same, rare) = (
        [Some(key(0, 1)), Some(key(1, 1)), Some(key(2, 1))],
        [Some(key(0, 2)), None, None],
    );
    for record in 0..5000 {
        let keys = if record == 777 { rare } else { same };
        world.records.lock().unwrap().push(keys);
        index.insert(&[(RecordIndex(record), keys)]);
        if record % 499 == 0 {
            for space in 0..KEY_SPACES {
                assert_eq!(
                    index.find(space, &key(space, 1)).unwrap(),
                    Some(RecordIndex(record))
                );
            }
        }
    }
    settle(&index);
    assert_eq!(index.find(0, &key(0, 2)).unwrap(), Some(RecordIndex(777)));
    assert_eq!(world.check(&index, "one key"), 0);
}

#[test]
fn new_keys_hardly_ever_reach_the_disk_and_known_ones_always() {
    let (sim, world) = (Sim::default(), World::default());
    let limits = Limits {
        memtable_entries: 20_000,
        tail_at_close: 0,
        ..Limits::default()
    };
    let (index, ..) = world.open(&sim, &limits);
    let batch: Vec<_> = (0..20_000)
        .map(|record| {
            (
                RecordIndex(record),
                [Some(key(0, record)), Some(key(1, record)), None],
            )
        })
        .collect();
    *world.records.lock().unwrap() = batch.iter().map(|(_, keys)| *keys).collect();
    index.insert(&batch);
    index.close().unwrap();
    for number in 0..20_000 {
        assert!(index.find(0, &key(0, number)).unwrap().is_some());
        assert!(index.find(1, &key(1, 1 << 30 | number)).unwrap().is_none());
    }
    let metrics = index.metrics();
    assert_eq!((metrics.runs, metrics.entries), (1, 40_000));
    assert!(
        (20_000..20_100).contains(&metrics.disk_probes_known),
        "{metrics:?}"
    );
    // Expected 78, standard deviation 9.
    assert!((30..130).contains(&metrics.disk_probes_new), "{metrics:?}");
}

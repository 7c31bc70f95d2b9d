//! The index by itself: exact under collisions, crashes, faults and on a full disk.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use birthmark_log::bench_access::{IndexAccess, Limits, Source, sums, verify};
use birthmark_log::{IndexKey, KEY_SPACES, ReadError, RecordIndex, RecordKeys, slot_space};

use crate::rig::{Random, new_sim};
use crate::sim::{FaultKind, Sim};

pub(crate) const DIR: &str = "/log/index";

/// A failing test ends, however slow the machine: no healthy wait comes near this.
const PATIENCE: Duration = Duration::from_secs(120);

/// Tables, parts and hashes so small that everything happens all the time.
pub(crate) fn tiny(random: &mut Random) -> Limits {
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
pub(crate) struct World {
    pub(crate) records: Arc<Mutex<Vec<RecordKeys>>>,
    /// Records that cannot be read.
    pub(crate) unreadable: Arc<Mutex<Vec<u64>>>,
    /// Another log with the same keys has other leaf hashes.
    pub(crate) salt: u8,
    pub(crate) keys_version: u32,
}

impl World {
    pub(crate) fn records(&self) -> Vec<RecordKeys> {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn len(&self) -> u64 {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len() as u64
    }

    /// The first records of this world.
    pub(crate) fn up_to(&self, len: u64) -> World {
        let mut records = self.records();
        records.truncate(len as usize);
        World {
            records: Arc::new(Mutex::new(records)),
            ..World::default()
        }
    }

    /// Some more records. About every second key has been there before.
    pub(crate) fn grow(&self, count: u64, random: &mut Random) -> Vec<(RecordIndex, RecordKeys)> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Vec::new();
        for _ in 0..count {
            let keys = std::array::from_fn(|slot| {
                let number = random.below(2 * records.len() as u64 + 1);
                // The two keys that share a space are never the same.
                let number = 2 * number + u64::from(slot != slot_space(slot));
                (random.below(8) > 0).then(|| key(slot_space(slot), number))
            });
            batch.push((RecordIndex(records.len() as u64), keys));
            records.push(keys);
        }
        batch
    }

    pub(crate) fn from(&self, first: u64) -> Vec<(RecordIndex, RecordKeys)> {
        let records = self.records();
        let numbered = (0..).map(RecordIndex).zip(records);
        numbered.skip(first as usize).collect()
    }

    pub(crate) fn open(&self, sim: &Sim, limits: &Limits) -> (IndexAccess, u64, Option<String>) {
        let (storage, source) = (Arc::new(sim.clone()), Arc::new(self.clone()));
        IndexAccess::open(storage, Path::new(DIR), self.len(), source, limits.clone()).unwrap()
    }

    /// Opens and brings up to date.
    pub(crate) fn rebuilt(&self, sim: &Sim, limits: &Limits) -> IndexAccess {
        let (index, watermark, _) = self.open(sim, limits);
        assert!(watermark <= self.len());
        for batch in self.from(watermark).chunks(7) {
            index.insert(batch);
        }
        index
    }

    /// The newest record of each key.
    pub(crate) fn newest(&self) -> [HashMap<IndexKey, RecordIndex>; KEY_SPACES] {
        let mut newest: [HashMap<_, _>; KEY_SPACES] = Default::default();
        for (record, keys) in self.from(0) {
            for (slot, key) in keys.into_iter().enumerate() {
                newest[slot_space(slot)].extend(key.map(|key| (key, record)));
            }
        }
        newest
    }

    /// Every key is found, and as many others are not. Gives the number of errors; a wrong answer
    /// fails.
    pub(crate) fn check(&self, index: &IndexAccess, about: &str) -> usize {
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
    pub(crate) fn check_files(&self, sim: &Sim, limits: &Limits) {
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
            Some(keys) if !unreadable.contains(&at.0) => Ok((0..)
                .zip(keys)
                .any(|(slot, own)| slot_space(slot) == space && *own == Some(*key))),
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

    fn keys_version(&self) -> u32 {
        self.keys_version
    }
}

fn out_of_range(record: RecordIndex, len: usize) -> ReadError {
    let len = len as u64;
    ReadError::OutOfRange { record, len }
}

pub(crate) fn key(space: usize, number: u64) -> IndexKey {
    let mut key = [space as u8; 32];
    key[..8].copy_from_slice(&Random(number).next().to_le_bytes());
    key[8..16].copy_from_slice(&number.to_le_bytes());
    IndexKey(key)
}

/// Waits for something that the index does by itself.
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn settle(index: &IndexAccess) {
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
        let (sim, world, limits) = (new_sim(), World::default(), tiny(random));
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
    crate::rig::report(format_args!(
        "{images} crash images, {rebuilt_from_zero} of them without an index yet"
    ));
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
    crate::rig::report(format_args!("{faults} faults"));
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
fn one_key_in_thousands_of_records_is_found_in_the_newest() {
    let (sim, world) = (Sim::default(), World::default());
    let limits = Limits {
        memtable_entries: 1000,
        fan_in: 3,
        ..tiny(&mut Random(10))
    };
    let index = world.open(&sim, &limits).0;
    let (same, rare) = (
        [
            Some(key(0, 1)),
            Some(key(1, 1)),
            Some(key(2, 1)),
            Some(key(1, 3)),
        ],
        [Some(key(0, 2)), None, None, None],
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
        // The first table takes an eighth.
        memtable_entries: 8 * 20_000,
        tail_at_close: 0,
        ..Limits::default()
    };
    let (index, ..) = world.open(&sim, &limits);
    let batch: Vec<_> = (0..20_000)
        .map(|record| {
            (
                RecordIndex(record),
                [Some(key(0, record)), Some(key(1, record)), None, None],
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

#[test]
fn records_far_apart_are_told_apart() {
    let (sim, limits) = (Sim::default(), tiny(&mut Random(11)));
    let far = [0, 1 << 31, (1 << 32) + 5, (1 << 35) + 1, (1 << 39) + 7];
    let storage = Arc::new(sim.clone());
    let source = Arc::new(AnyRecord);
    let open = |len| {
        let opened = IndexAccess::open(
            storage.clone(),
            Path::new(DIR),
            len,
            source.clone(),
            limits.clone(),
        );
        opened.unwrap()
    };
    let (index, ..) = open(0);
    let record = |&at| {
        (
            RecordIndex(at),
            [Some(key(0, at)), None, Some(key(2, at)), None],
        )
    };
    index.insert(&far.iter().map(record).collect::<Vec<_>>());
    let check = |index: &IndexAccess| {
        for at in far {
            for space in [0, 2] {
                assert_eq!(
                    index.find(space, &key(space, at)).unwrap(),
                    Some(RecordIndex(at))
                );
            }
        }
    };
    check(&index);
    index.close().unwrap();
    check(&index);
}

/// A log in which each record has the keys of its number.
struct AnyRecord;

impl Source for AnyRecord {
    fn has_key(&self, space: usize, asked: &IndexKey, at: RecordIndex) -> Result<bool, ReadError> {
        Ok(*asked == key(space, at.0))
    }

    fn digest(&self, _: RecordIndex) -> Result<[u8; 32], ReadError> {
        Ok([0; 32])
    }
}

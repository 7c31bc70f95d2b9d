//! The index by itself: damaged files, files of another log, records that cannot be read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use birthmark_log::bench_access::{Limits, verify as verify_index};
use birthmark_log::{
    DiskStorage, ExtractError, KeyExtractor, Log, Options, ReadError, RecordIndex, RecordKeys,
    Storage, Verification, VerifyError, reindex, verify,
};

use crate::index::{DIR, World, key, settle, tiny, wait_for};
use crate::keep_archive::issue_many;
use crate::rig::{Random, keys, open_dir, options, signer};
use crate::sim::Sim;

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
            match verify_index(&sim, Path::new(DIR)) {
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
    crate::rig::report(format_args!(
        "{discarded} of the flips discarded at open, {failed} failed lookups, {harmless} left none wrong"
    ));
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
                [Some(key(0, record)), None, Some(key(2, record)), None],
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
fn an_index_of_other_keys_is_made_anew() {
    let random = &mut Random(11);
    let limits = Limits {
        memtable_entries: 100,
        tail_at_close: 0,
        ..tiny(random)
    };
    let (sim, mut world) = (Sim::default(), World::default());
    let index = world.open(&sim, &limits).0;
    index.insert(&world.grow(300, random));
    index.close().unwrap();
    drop(index);
    for version in [1, 2, 1] {
        world.keys_version = version;
        let (index, watermark, discarded) = world.open(&sim, &limits);
        let reason = discarded.unwrap();
        assert!(
            reason.contains(&format!("looks for those of version {version}")),
            "{reason}"
        );
        assert_eq!(watermark, 0);
        index.insert(&world.from(0));
        index.close().unwrap();
        drop(index);
        let (index, watermark, discarded) = world.open(&sim, &limits);
        assert_eq!((watermark, discarded), (300, None));
        assert_eq!(world.check(&index, "made anew"), 0);
        index.close().unwrap();
    }
}

/// A release that finds the second key of a record, or the one before it, which does not.
struct Release(u32);

impl KeyExtractor for Release {
    fn keys(&self, record: &[u8]) -> Result<RecordKeys, ExtractError> {
        let mut keys = keys(record)?;
        if self.0 == 0 {
            keys[1] = None;
        }
        Ok(keys)
    }

    fn version(&self) -> u32 {
        self.0
    }
}

#[test]
fn a_later_release_finds_its_keys_in_old_records() {
    // So many that an index is written to the disk.
    const RECORDS: u64 = 70_000;
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("log");
    let disk: Arc<dyn Storage> = Arc::new(DiskStorage);
    let options = Options {
        segment_bytes: 8 << 20,
        ..options(Arc::clone(&disk))
    };
    Log::create(&dir).unwrap();
    let (log, answers) = open_dir(&dir, options.clone()).unwrap();
    issue_many(&log, &answers, 0..RECORDS);
    log.close().unwrap();
    reindex(&dir, Arc::new(Release(0)), &mut |_| {}).unwrap();
    let indexed = |release| {
        let verification = Verification {
            keys: Some(&Release(release)),
            ..Verification::default()
        };
        verify(&dir, &verification).unwrap().indexed
    };
    // The later release does not take the older one's index for a damaged one.
    assert_eq!((indexed(0), indexed(1)), (RECORDS, 0));
    let log = Log::open(&dir, options, Arc::new(Release(1)), signer(), answers).unwrap();
    for ticket in (0..RECORDS).step_by(997) {
        let found = log.find(1, &crate::rig::key(1, ticket)).unwrap();
        assert!(found.is_some(), "the second key of {ticket}");
    }
    let reason = log.recovery().index_discarded.clone().unwrap();
    assert!(reason.contains("the keys of version 0"), "{reason}");
}

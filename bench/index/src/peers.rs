//! The three, each as its documentation recommends for this work.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use birthmark_log::bench_access::{IndexAccess, Limits, Source};
use birthmark_log::{DiskStorage, IndexKey, ReadError, RecordIndex};
use fjall::{Database as Fjall, Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{Database as Redb, Durability, ReadableDatabase, TableDefinition};

use crate::{Entry, Peer, SPACES, cpu_seconds, key};

/// Bytes of a key that the databases keep: enough to be exact.
const KEY_BYTES: usize = 16;

/// Memory that the databases may use as a cache: what the runs have in filters at 25 million.
const CACHE_BYTES: u64 = 64 << 20;

/// Opens one by its name.
pub fn open(peer: &str, dir: &Path) -> Box<dyn Peer> {
    match peer {
        "runs" => Box::new(Runs::open(dir)),
        "fjall" => Box::new(FjallPeer::open(dir)),
        "redb" => Box::new(RedbPeer::open(dir)),
        _ => panic!("{peer} is not runs, fjall or redb"),
    }
}

/// Waits until the process does nothing any more.
fn wait_until_idle() {
    let mut before = -1.0;
    while cpu_seconds() - before > 0.03 {
        before = cpu_seconds();
        std::thread::sleep(Duration::from_secs(2));
    }
}

struct Runs(IndexAccess);

struct Imagined;

impl Source for Imagined {
    fn has_key(&self, space: usize, asked: &IndexKey, at: RecordIndex) -> Result<bool, ReadError> {
        Ok(asked.0 == key(space, at.0))
    }

    fn digest(&self, record: RecordIndex) -> Result<[u8; 32], ReadError> {
        Ok(key(0, record.0))
    }
}

impl Runs {
    fn open(dir: &Path) -> Runs {
        let (storage, source) = (Arc::new(DiskStorage), Arc::new(Imagined));
        Runs(IndexAccess::open(storage, dir, 0, source, Limits::default()).unwrap().0)
    }
}

impl Peer for Runs {
    fn find(&self, space: usize, keys: &[[u8; 32]]) -> Vec<Option<u64>> {
        let keys: Vec<IndexKey> = keys.iter().map(|key| IndexKey(*key)).collect();
        let found = self.0.find_batch(space, &keys).into_iter();
        found.map(|found| found.unwrap().map(|record| record.0)).collect()
    }

    fn insert(&mut self, chunk: &[Entry]) {
        let entry = |(record, [a, b]): &Entry| {
            (RecordIndex(*record), [Some(IndexKey(*a)), Some(IndexKey(*b)), None, None])
        };
        self.0.insert(&chunk.iter().map(entry).collect::<Vec<_>>());
    }

    fn wait(&self) {
        self.0.wait_for_room();
    }

    fn settle(&mut self) {
        wait_until_idle();
        self.0.close().unwrap();
    }
}

struct FjallPeer {
    database: Fjall,
    keyspaces: [Keyspace; SPACES],
}

impl FjallPeer {
    fn open(dir: &Path) -> FjallPeer {
        let database = Fjall::builder(dir).cache_size(CACHE_BYTES).open().unwrap();
        let keyspace = |space: usize| {
            database.keyspace(&format!("space{space}"), KeyspaceCreateOptions::default).unwrap()
        };
        let keyspaces = std::array::from_fn(keyspace);
        FjallPeer { database, keyspaces }
    }
}

impl Peer for FjallPeer {
    fn find(&self, space: usize, keys: &[[u8; 32]]) -> Vec<Option<u64>> {
        let find = |key: &[u8; 32]| {
            let found = self.keyspaces[space].get(&key[..KEY_BYTES]).unwrap()?;
            Some(u64::from_le_bytes((*found).try_into().unwrap()))
        };
        keys.iter().map(find).collect()
    }

    fn insert(&mut self, chunk: &[Entry]) {
        let mut batch = self.database.batch();
        for (record, keys) in chunk {
            for (keyspace, key) in self.keyspaces.iter().zip(keys) {
                batch.insert(keyspace, &key[..KEY_BYTES], record.to_le_bytes());
            }
        }
        batch.commit().unwrap();
    }

    fn settle(&mut self) {
        self.database.persist(PersistMode::SyncAll).unwrap();
        wait_until_idle();
    }
}

struct RedbPeer {
    database: Redb,
    chunks: u64,
}

const TABLES: [TableDefinition<'_, [u8; KEY_BYTES], u64>; SPACES] =
    [TableDefinition::new("space0"), TableDefinition::new("space1")];

/// Every so many chunks redb syncs: it cannot reuse pages in between.
const SYNC_CHUNKS: u64 = 1024;

impl RedbPeer {
    fn open(dir: &Path) -> RedbPeer {
        std::fs::create_dir(dir).unwrap();
        let mut builder = Redb::builder();
        builder.set_cache_size(CACHE_BYTES as usize);
        let peer = RedbPeer {
            database: builder.create(dir.join("redb")).unwrap(),
            chunks: 0,
        };
        let transaction = peer.database.begin_write().unwrap();
        for table in TABLES {
            transaction.open_table(table).unwrap();
        }
        transaction.commit().unwrap();
        peer
    }
}

fn short(key: &[u8; 32]) -> [u8; KEY_BYTES] {
    let mut short = [0; KEY_BYTES];
    short.copy_from_slice(&key[..KEY_BYTES]);
    short
}

impl Peer for RedbPeer {
    fn find(&self, space: usize, keys: &[[u8; 32]]) -> Vec<Option<u64>> {
        let transaction = self.database.begin_read().unwrap();
        let table = transaction.open_table(TABLES[space]).unwrap();
        let find = |key: &[u8; 32]| table.get(short(key)).unwrap().map(|found| found.value());
        keys.iter().map(find).collect()
    }

    fn insert(&mut self, chunk: &[Entry]) {
        self.chunks += 1;
        let mut transaction = self.database.begin_write().unwrap();
        let sync = self.chunks.is_multiple_of(SYNC_CHUNKS);
        let durability = if sync { Durability::Immediate } else { Durability::None };
        transaction.set_durability(durability).unwrap();
        for (space, definition) in TABLES.into_iter().enumerate() {
            let mut table = transaction.open_table(definition).unwrap();
            for (record, keys) in chunk {
                table.insert(short(&keys[space]), *record).unwrap();
            }
        }
        transaction.commit().unwrap();
    }

    fn settle(&mut self) {
        let transaction = self.database.begin_write().unwrap();
        transaction.commit().unwrap();
        wait_until_idle();
    }
}

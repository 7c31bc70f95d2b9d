//! The index of the log beside fjall and redb, on the same work.
//!
//! `cargo run --release -- DIR PEER RECORDS_IN_MILLIONS`, where PEER is `runs`, `fjall` or `redb`.
//!
//! Each record has two random keys. In chunks of 128, both keys of each record are looked up, none
//! of them known but one in 1,000, then the records are inserted. Nobody has to make an insert
//! durable at once, because the log is durable already: the databases may take their time, and
//! are asked to sync at the end.

use std::path::Path;
use std::time::{Duration, Instant};

mod peers;

const CHUNK: u64 = 128;
const KNOWN_EVERY: u64 = 1000;

/// Key spaces.
pub const SPACES: usize = 2;

/// A key and the record that has it, by key space.
pub type Entry = (u64, [[u8; 32]; SPACES]);

/// What is compared.
pub trait Peer {
    /// The record of each key.
    fn find(&self, space: usize, keys: &[[u8; 32]]) -> Vec<Option<u64>>;
    /// Enters a chunk.
    fn insert(&mut self, chunk: &[Entry]);
    /// Waits for room, where the peer does not do it by itself.
    fn wait(&self) {}
    /// Makes everything durable and waits for the work in the background.
    fn settle(&mut self);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, peer, millions] = arguments.as_slice() else {
        panic!("usage: DIR runs|fjall|redb MILLIONS");
    };
    let dir = Path::new(dir);
    assert!(!dir.exists(), "{} exists", dir.display());
    let records = millions.parse::<u64>().unwrap() * 1_000_000;
    let mut opened = peers::open(peer, dir);
    let (begin, cpu) = (Instant::now(), cpu_seconds());
    let mut times = Vec::new();
    for first in (0..records).step_by(CHUNK as usize) {
        times.push(chunk(&mut *opened, first));
        opened.wait();
    }
    opened.settle();
    let (wall, cpu) = (begin.elapsed(), cpu_seconds() - cpu);
    times.sort_unstable();
    let n = records as f64;
    println!(
        "{peer:>6} {millions:>4} M: {:.2} µs CPU/record, {:.2} µs wall, {:.0} MB memory, {:.0} MB on disk, \
         slowest chunk {:.1} ms, 99.9 % {:.2} ms",
        cpu * 1e6 / n,
        wall.as_secs_f64() * 1e6 / n,
        rss_anon_mb(),
        disk_mb(dir),
        times[times.len() - 1].as_secs_f64() * 1e3,
        times[times.len() * 999 / 1000].as_secs_f64() * 1e3,
    );
}

fn chunk(peer: &mut dyn Peer, first: u64) -> Duration {
    let entries = |record| (record, std::array::from_fn(|space| key(space, record)));
    let chunk: Vec<Entry> = (first..first + CHUNK).map(entries).collect();
    let known = |record: u64| {
        let known = first > 0 && record % KNOWN_EVERY == KNOWN_EVERY / 2;
        known.then(|| mix(record) % first)
    };
    let asked = |space| {
        let asked = |(record, keys): &Entry| known(*record).map_or(keys[space], |at| key(space, at));
        chunk.iter().map(asked).collect()
    };
    let lookups: [Vec<[u8; 32]>; SPACES] = std::array::from_fn(asked);
    let begin = Instant::now();
    for (space, keys) in lookups.iter().enumerate() {
        let found = peer.find(space, keys);
        for ((record, _), found) in chunk.iter().zip(found) {
            assert_eq!(found, known(*record), "record {record}");
        }
    }
    peer.insert(&chunk);
    begin.elapsed()
}

/// The key of an imagined record.
pub fn key(space: usize, record: u64) -> [u8; 32] {
    let mut key = [space as u8; 32];
    key[..8].copy_from_slice(&mix(record * SPACES as u64 + space as u64 + 1).to_le_bytes());
    key[8..16].copy_from_slice(&record.to_le_bytes());
    key
}

/// SplitMix64's step.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// User and system time of this process, all threads.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn rss_anon_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1000.0
}

fn disk_mb(path: &Path) -> f64 {
    let metadata = std::fs::metadata(path).unwrap();
    if metadata.is_file() {
        return metadata.len() as f64 / 1e6;
    }
    std::fs::read_dir(path).unwrap().map(|entry| disk_mb(&entry.unwrap().path())).sum()
}

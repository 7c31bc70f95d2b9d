//! What the index alone costs per record: CPU time of the whole process, memory, stalls, probes.
//!
//! `cargo run --release -p birthmark-log --example index_cost -- DIR [--release-path] [RECORDS_IN_MILLIONS ...]`
//!
//! Each record has three random keys; with `--release-path` only the two of the release path and no serial number. In chunks of 128, both release-path keys of each record are
//! looked up, none of them known, then the records are inserted. One lookup in 1,000 is of a known
//! key instead. At each mark the index settles and is closed and opened again. DIR must not exist.

// A measurement fails by panicking.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use birthmark_log::bench_access::{IndexAccess, Limits, Source};
use birthmark_log::{
    DiskStorage, IndexKey, KEY_SPACES, RELEASE_SPACES, ReadError, RecordIndex, RecordKeys,
};

/// The allocator of the command line.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CHUNK: u64 = 128;
const KNOWN_EVERY: u64 = 1000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments
        .next()
        .expect("the first argument is a directory that does not exist");
    let dir = Path::new(&dir);
    assert!(!dir.exists(), "{} exists", dir.display());
    let mut arguments = arguments.peekable();
    let release_path = arguments.next_if(|word| word == "--release-path").is_some();
    let spaces = if release_path {
        RELEASE_SPACES
    } else {
        KEY_SPACES
    };
    let marks: Vec<u64> = arguments
        .map(|mark| mark.parse().expect("millions"))
        .collect();
    let marks = if marks.is_empty() { vec![1, 10] } else { marks };

    println!(
        "making the keys: {:.3} µs per record, included below",
        key_cost_us()
    );
    println!(
        "{:>8} {:>9} {:>9} {:>8} {:>8} {:>9} {:>9} {:>5} {:>7} {:>8} {:>8} {:>8} {:>9}",
        "records",
        "CPU µs/r",
        "wall µs/r",
        "anon MB",
        "B/rec",
        "stall ms",
        "99.9% µs",
        "runs",
        "merges",
        "probes‰",
        "disk MB",
        "written",
        "reopen ms"
    );
    let mut run = Run::start(dir, spaces);
    for mark in marks {
        run.until(mark * 1_000_000);
    }
}

struct Run<'a> {
    dir: &'a Path,
    index: IndexAccess,
    records: u64,
    cpu_begin: f64,
    wall: Duration,
    /// Key spaces in use.
    spaces: usize,
    chunk_times: ChunkTimes,
    probes_new: u64,
    written: u64,
    merges: u64,
}

impl Run<'_> {
    fn start(dir: &Path, spaces: usize) -> Run<'_> {
        Run {
            index: open(dir, 0, spaces),
            spaces,
            dir,
            records: 0,
            cpu_begin: cpu_seconds(),
            wall: Duration::ZERO,
            chunk_times: ChunkTimes::new(),
            probes_new: 0,
            written: 0,
            merges: 0,
        }
    }

    fn until(&mut self, records: u64) {
        let begin = Instant::now();
        self.chunk_times = ChunkTimes::new();
        while self.records < records {
            self.chunk();
            self.index.wait_for_room();
        }
        self.settle();
        self.wall += begin.elapsed();
        let (cpu, anon) = (cpu_seconds() - self.cpu_begin, rss_anon_mb());

        let metrics = self.index.metrics();
        self.probes_new += metrics.disk_probes_new;
        self.written += metrics.bytes_written;
        self.merges += metrics.merges;
        self.index.close().unwrap();
        let reopen = Instant::now();
        self.index = open(self.dir, self.records, self.spaces);
        let reopen = reopen.elapsed();

        let records = self.records as f64;
        println!(
            "{:>8} {:>9.3} {:>9.3} {:>8.0} {:>8.2} {:>9.1} {:>9.0} {:>5} {:>7} {:>8.2} {:>8.0} {:>8.0} {:>9.1}",
            format!("{} M", self.records / 1_000_000),
            cpu * 1e6 / records,
            self.wall.as_secs_f64() * 1e6 / records,
            anon,
            anon * 1e6 / records,
            self.chunk_times.longest.as_secs_f64() * 1e3,
            self.chunk_times.us_at(0.999),
            metrics.runs,
            self.merges,
            self.probes_new as f64 * 1000.0 / (records * RELEASE_SPACES as f64),
            disk_mb(self.dir),
            self.written as f64 / 1e6,
            reopen.as_secs_f64() * 1e3,
        );
    }

    /// One chunk as the release path does it, timed.
    fn chunk(&mut self) {
        let batch: Vec<(RecordIndex, RecordKeys)> = (self.records..self.records + CHUNK)
            .map(|record| (RecordIndex(record), keys(self.spaces, record)))
            .collect();
        let mut lookups: [Vec<IndexKey>; RELEASE_SPACES] = Default::default();
        let mut expected = Vec::new();
        for (record, keys) in &batch {
            let known = record.0 % KNOWN_EVERY == KNOWN_EVERY / 2;
            let other = (known && self.records > 0).then(|| mix(record.0) % self.records);
            expected.push(other.map(RecordIndex));
            for (space, lookups) in lookups.iter_mut().enumerate() {
                lookups.push(other.map_or_else(|| keys[space].unwrap(), |at| key(space, at)));
            }
        }
        let begin = Instant::now();
        for (space, lookups) in lookups.iter().enumerate() {
            let found = self.index.find_batch(space, lookups);
            for (found, expected) in found.into_iter().zip(&expected) {
                assert_eq!(found.unwrap(), *expected);
            }
        }
        self.index.insert(&batch);
        self.chunk_times.add(begin.elapsed());
        self.records += CHUNK;
    }

    /// Waits until nothing is written and merged any more.
    fn settle(&self) {
        let mut before = None;
        loop {
            let metrics = self.index.metrics();
            let now = (
                metrics.waiting,
                metrics.bytes_written,
                (cpu_seconds() * 20.0) as u64,
            );
            if before == Some(now) && metrics.waiting == 0 {
                break;
            }
            before = Some(now);
            std::thread::sleep(Duration::from_millis(1500));
        }
        self.index.health().unwrap();
    }
}

/// How often a chunk took how long. Of a fixed size: memory is measured too.
struct ChunkTimes {
    /// For each microsecond; the last for everything from there on.
    by_us: Vec<u32>,
    longest: Duration,
}

impl ChunkTimes {
    fn new() -> ChunkTimes {
        ChunkTimes {
            by_us: vec![0; 50_000],
            longest: Duration::ZERO,
        }
    }

    fn add(&mut self, time: Duration) {
        let us = (time.as_micros() as usize).min(self.by_us.len() - 1);
        self.by_us[us] += 1;
        self.longest = self.longest.max(time);
    }

    /// The time in microseconds that this share of the chunks took at most.
    fn us_at(&self, share: f64) -> f64 {
        let all: u64 = self.by_us.iter().map(|&count| u64::from(count)).sum();
        let mut left = (all as f64 * share) as u64;
        let over = |&count: &u32| {
            let over = u64::from(count) > left;
            left = left.saturating_sub(u64::from(count));
            over
        };
        self.by_us.iter().position(over).unwrap_or(0) as f64
    }
}

fn open(dir: &Path, len: u64, spaces: usize) -> IndexAccess {
    let mut limits = Limits::default();
    let from = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<usize>().ok())
    };
    limits.fan_in = from("FAN_IN").unwrap_or(limits.fan_in);
    limits.memtable_entries = from("MEMTABLE").unwrap_or(limits.memtable_entries);
    limits.part_entries = from("PART").map_or(limits.part_entries, |part| part as u32);
    let opened = IndexAccess::open(Arc::new(DiskStorage), dir, len, Arc::new(Synthetic), limits);
    let (index, watermark, discarded) = opened.unwrap();
    assert_eq!(discarded, None);
    for first in (watermark..len).step_by(CHUNK as usize) {
        let record = |at| (RecordIndex(at), keys(spaces, at));
        let batch: Vec<_> = (first..(first + CHUNK).min(len)).map(record).collect();
        index.insert(&batch);
    }
    index
}

/// Records that exist in the imagination only: their keys follow from their position.
struct Synthetic;

impl Source for Synthetic {
    fn has_key(&self, space: usize, asked: &IndexKey, at: RecordIndex) -> Result<bool, ReadError> {
        Ok(*asked == key(space, at.0))
    }

    fn digest(&self, record: RecordIndex) -> Result<[u8; 32], ReadError> {
        Ok(key(0, record.0).0)
    }
}

fn keys(spaces: usize, record: u64) -> RecordKeys {
    std::array::from_fn(|space| (space < spaces).then(|| key(space, record)))
}

fn key(space: usize, record: u64) -> IndexKey {
    let mut key = [space as u8; 32];
    key[..8].copy_from_slice(&mix(record * KEY_SPACES as u64 + space as u64 + 1).to_le_bytes());
    key[8..16].copy_from_slice(&record.to_le_bytes());
    IndexKey(key)
}

/// SplitMix64's step.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn key_cost_us() -> f64 {
    let begin = Instant::now();
    for record in 0..1_000_000 {
        for space in 0..KEY_SPACES {
            std::hint::black_box(key(space, record));
        }
    }
    begin.elapsed().as_secs_f64()
}

/// User and system time of this process, all threads.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

fn rss_anon_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<f64>()
        .unwrap()
        / 1000.0
}

fn disk_mb(dir: &Path) -> f64 {
    let bytes: u64 = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    bytes as f64 / 1e6
}

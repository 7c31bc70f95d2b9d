//! Fills the new log of a CA with records of 64 bytes that mean nothing, to see what a large log costs at
//! start.
//!
//! `cargo run --release -p birthmark-bench --example large_log -- CA_DIR MILLIONS`
//!
//! CA_DIR was made by `birthmark ca init`; it is of no use for anything else afterwards. Each record has two
//! random keys in the index. 100 million records take some 25 GB of disk and ten minutes.

// A measurement fails by panicking.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use birthmark_engine::LogKey;
use birthmark_log::{
    Append, AppendError, Commit, CommitSink, Committed, ExtractError, IndexKey, Log, Options,
    RecordKeys, Reservation,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const IN_FLIGHT: u64 = 4096;
const CHUNK: u64 = 256;
const RECORD_BYTES: usize = 64;

/// An officer's act: the engine finds no keys in such a record.
const KIND: u8 = 3;

/// How long to wait while the log takes nothing new, because the index is behind.
const PAUSE: Duration = Duration::from_millis(100);

/// Longest wait for an answer: the log thread has ended if none comes.
const ANSWER_MAX: Duration = Duration::from_secs(60);

struct Answers(Sender<Vec<Commit>>);

impl CommitSink for Answers {
    fn committed(&self, commits: &mut Vec<Commit>) {
        self.0.send(std::mem::take(commits)).unwrap();
    }
}

/// `[3, 1, time, bytes]` (RFC 8949) with two random keys of 24 bytes.
fn record(ticket: u64) -> Vec<u8> {
    let mut record = vec![0x84, KIND, 1, 0x1B, 0, 0, 0, 0, 0, 0, 0, 0, 0x58, 50];
    for half in 0..2 {
        let key = (2 * ticket + half)
            .wrapping_add(1)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        record.extend_from_slice(&key.to_le_bytes());
        record.extend_from_slice(&[half as u8; 16]);
    }
    record.resize(RECORD_BYTES, 0);
    record
}

fn keys(record: &[u8]) -> Result<RecordKeys, ExtractError> {
    let key = |at: usize| {
        let mut key = [0; 32];
        key[..24].copy_from_slice(&record[at..at + 24]);
        Some(IndexKey(key))
    };
    Ok(match record[1] {
        KIND if record.len() == RECORD_BYTES => [key(14), key(38), None, None],
        _ => RecordKeys::default(),
    })
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().expect("the CA's directory");
    let millions: u64 = arguments.next().expect("millions").parse().unwrap();
    let dir = Path::new(&dir);
    let configuration = std::fs::read_to_string(dir.join("birthmark.toml")).unwrap();
    let origin = configuration
        .lines()
        .find_map(|line| line.strip_prefix("origin = \""))
        .and_then(|rest| rest.strip_suffix('"'))
        .expect("an origin in birthmark.toml");
    let key = Arc::new(LogKey::read(&dir.join("log.key"), origin).unwrap());
    let (sender, answers) = channel();
    let log = Log::open(
        &dir.join("log"),
        Options::default(),
        Arc::new(keys),
        key,
        Arc::new(Answers(sender)),
    )
    .unwrap();
    fill(&log, &answers, millions * 1_000_000);
    let begin = Instant::now();
    log.publish().unwrap();
    log.close().unwrap();
    println!("closed in {:.1} s", begin.elapsed().as_secs_f64());
}

fn fill(log: &Log, answers: &Receiver<Vec<Commit>>, records: u64) {
    let begin = Instant::now();
    let (mut begun, mut done) = (0, 0);
    let mut refused = Vec::new();
    let reserve = |tickets: Vec<u64>| {
        let reservation = |ticket| Reservation {
            ticket,
            lost_record: record(ticket)[..14].to_vec(),
            record_bytes_max: RECORD_BYTES as u32,
        };
        log.reserve(tickets.into_iter().map(reservation).collect());
    };
    while done < records {
        while begun < records && begun - done < IN_FLIGHT {
            let end = (begun + CHUNK).min(records);
            log.in_flight().add((end - begun) as usize);
            reserve((begun..end).collect());
            begun = end;
        }
        let mut appends = Vec::new();
        for commit in answers.recv_timeout(ANSWER_MAX).expect("an answer") {
            match commit.outcome {
                Ok(Committed::Reserved(reservation)) => appends.push(Append {
                    ticket: commit.ticket,
                    reservation,
                    record: record(commit.ticket),
                }),
                Ok(Committed::Appended(_)) => {
                    done += 1;
                    log.in_flight().sub(1);
                    if done % 10_000_000 == 0 {
                        let seconds = begin.elapsed().as_secs_f64();
                        println!("{done} records in {seconds:.0} s");
                    }
                }
                Err(AppendError::NoSpace { .. }) => refused.push(commit.ticket),
                Err(error) => panic!("{error}"),
            }
        }
        log.append(appends);
        if !refused.is_empty() {
            std::thread::sleep(PAUSE);
            reserve(std::mem::take(&mut refused));
        }
    }
}

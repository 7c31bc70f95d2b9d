//! Measures what the log and its index cost per certificate: one reservation of about 90 bytes and
//! one record of about 850. With 192 certificates in flight (the default) a batch has about 128 items.
//!
//! `cargo run --release -p birthmark-log --example append_cost -- [CERTIFICATES [IN_FLIGHT [DIRECTORY]]]`
//!
//! The log stays in DIRECTORY. Removing thousands of files makes new ones dearer on ext4 for some minutes,
//! so measure in a directory far from any that was just removed: best one directly below the root.

// A measurement prints what it measured.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use birthmark_log::tlog::{CheckpointSigner, SignError, VerifierKey};
use birthmark_log::{
    Append, Commit, CommitSink, Committed, ExtractError, IndexKey, Log, Options, RecordKeys,
    Reservation,
};

/// The allocator of the command line.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CHUNK: usize = 64;

const RECORD_BYTES: usize = 850;
const LOST_BYTES: usize = 86;

struct Answers(Mutex<Sender<Vec<Commit>>>);

impl CommitSink for Answers {
    fn committed(&self, commits: &mut Vec<Commit>) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // It fails only when the measurement is over.
        let _ = sender.send(std::mem::take(commits));
    }
}

/// Two keys of 32 bytes behind the prefix, as cheap as an extractor can be.
fn keys(record: &[u8]) -> Result<RecordKeys, ExtractError> {
    if record[1] != 1 {
        return Ok(RecordKeys::default());
    }
    let key = |at: usize| {
        let mut key = [0; 32];
        key.copy_from_slice(&record[at..at + 32]);
        Some(IndexKey(key))
    };
    Ok([key(12), key(44), None, None])
}

fn record(kind: u8, ticket: u64, bytes: usize) -> Vec<u8> {
    let mut record = vec![0x5A; bytes];
    record[..12].copy_from_slice(&[0x84, kind, 1, 0x1B, 0, 0, 0, 0, 0, 0, 0, 0]);
    put_keys(&mut record, ticket);
    record
}

fn put_keys(record: &mut [u8], ticket: u64) {
    for (n, at) in [12, 44].into_iter().enumerate() {
        // Digests in practice: spread the ticket over the key.
        let key = (ticket * 2 + n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        record[at..at + 8].copy_from_slice(&key.to_le_bytes());
    }
}

/// User and system time of the threads of this process, by thread name, in seconds.
fn cpu_seconds(thread: Option<&str>) -> Result<f64, Box<dyn Error>> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let mut ticks = 0.0;
    for task in fs::read_dir("/proc/self/task")? {
        let stat = fs::read_to_string(task?.path().join("stat"))?;
        let (head, tail) = stat.rsplit_once(')').ok_or("no name in stat")?;
        let name = head.split_once('(').ok_or("no name in stat")?.1;
        if thread.is_none_or(|thread| thread == name) {
            let fields: Vec<&str> = tail.split_whitespace().collect();
            ticks += fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        }
    }
    Ok(ticks / TICKS_PER_SECOND)
}

fn resident_bytes() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon"))
        .ok_or("no RssAnon")?;
    Ok(line
        .split_whitespace()
        .nth(1)
        .ok_or("no number")?
        .parse::<u64>()?
        * 1024)
}

/// Drives `certificates` through the log: closed loop, in chunks.
fn drive(
    log: &Log,
    answers: &Receiver<Vec<Commit>>,
    certificates: u64,
    in_flight: u64,
) -> Result<(), Box<dyn Error>> {
    let (mut begun, mut done) = (0, 0);
    let reserve = |begun: &mut u64| {
        let end = (*begun + CHUNK as u64).min(certificates);
        let chunk: Vec<Reservation> = (*begun..end)
            .map(|ticket| Reservation {
                ticket,
                lost_record: record(2, ticket, LOST_BYTES),
                record_bytes_max: 1024,
            })
            .collect();
        *begun = end;
        log.in_flight().add(chunk.len());
        log.reserve(chunk);
    };
    while begun < certificates.min(in_flight) {
        reserve(&mut begun);
    }
    while done < certificates {
        let mut appends = Vec::with_capacity(CHUNK);
        for commit in answers.recv()? {
            match commit.outcome? {
                Committed::Reserved(reservation) => appends.push(Append {
                    ticket: commit.ticket,
                    reservation,
                    record: record(1, commit.ticket, RECORD_BYTES),
                }),
                Committed::Appended(_) => {
                    done += 1;
                    log.in_flight().sub(1);
                }
            }
        }
        while !appends.is_empty() {
            let rest = appends.split_off(appends.len().min(CHUNK));
            log.append(std::mem::replace(&mut appends, rest));
        }
        while begun < certificates && begun - done + CHUNK as u64 <= in_flight {
            reserve(&mut begun);
        }
    }
    Ok(())
}

/// A new key each time.
struct Signer {
    key: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl Signer {
    fn new() -> Result<Signer, Box<dyn Error>> {
        let key = Ed25519KeyPair::generate()?;
        let public = key.public_key().as_ref().try_into()?;
        let verifier = VerifierKey::ed25519("example.com/append-cost", public)?;
        Ok(Signer { key, verifier })
    }
}

impl CheckpointSigner for Signer {
    fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    fn sign(&self, text: &[u8]) -> Result<[u8; 64], SignError> {
        let signature = self.key.sign(text);
        signature.as_ref().try_into().map_err(SignError::failed)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (certificates, in_flight) = (number(1_000_000)?, number(192)?);
    let temporary = tempfile::tempdir()?;
    let parent = arguments
        .next()
        .map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let dir = parent.join("append-cost-log");
    Log::create(&dir)?;
    let (sender, answers) = channel();
    let sink = Arc::new(Answers(Mutex::new(sender)));
    let signer = Arc::new(Signer::new()?);
    let log = Log::open(
        &dir,
        Options::default(),
        Arc::new(keys),
        signer.clone(),
        sink.clone(),
    )?;
    drive(&log, &answers, 1000.min(certificates), in_flight)?;

    let (resident, metrics) = (resident_bytes()?, log.metrics());
    let threads = ["log", "log-prepare", "log-publish", "log-index"];
    let before = threads.map(|thread| cpu_seconds(Some(thread)));
    let start = Instant::now();
    drive(&log, &answers, certificates, in_flight)?;
    let seconds = start.elapsed().as_secs_f64();
    let each = |cpu: f64| cpu * 1e6 / certificates as f64;
    let after = log.metrics();
    let syncs = after.syncs - metrics.syncs;
    println!("certificates            {certificates}");
    println!(
        "certificates/s          {:.0}",
        certificates as f64 / seconds
    );
    log.publish()?;
    for (thread, before) in threads.into_iter().zip(before) {
        let cpu = each(cpu_seconds(Some(thread))? - before?);
        println!("{thread:<23} {cpu:.2} µs CPU per certificate");
    }
    println!("syncs/s                 {:.0}", syncs as f64 / seconds);
    println!(
        "items per sync          {:.0}",
        2.0 * certificates as f64 / syncs as f64
    );
    println!(
        "log thread wake-ups     {}",
        after.wakeups - metrics.wakeups
    );
    let grown = resident_bytes()?.saturating_sub(resident);
    println!(
        "memory                  {:.1} bytes per record",
        grown as f64 / certificates as f64
    );

    look_up_new_keys(&log, certificates)?;
    log.close()?;
    let start = Instant::now();
    let log = Log::open(&dir, Options::default(), Arc::new(keys), signer, sink)?;
    println!(
        "open again              {:.2} s",
        start.elapsed().as_secs_f64()
    );
    drop(log);
    Ok(())
}

/// Times two lookups of keys that are in no record.
fn look_up_new_keys(log: &Log, certificates: u64) -> Result<(), Box<dyn Error>> {
    let mut unknown = record(1, 0, RECORD_BYTES);
    let start = Instant::now();
    let mut found = 0;
    for ticket in certificates..2 * certificates {
        put_keys(&mut unknown, ticket);
        for (space, key) in keys(&unknown)?.iter().enumerate() {
            if let Some(key) = key {
                found += u64::from(log.find(space, key)?.is_some());
            }
        }
    }
    let micros = start.elapsed().as_secs_f64() * 1e6 / certificates as f64;
    println!("two lookups of new keys {micros:.2} µs ({found} found)");
    Ok(())
}

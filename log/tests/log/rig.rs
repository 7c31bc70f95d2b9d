//! What the tests share: records that can be told apart, a sink that remembers, a clock with hands.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use birthmark_log::tlog::{CheckpointSigner, SignError, VerifierKey};
use birthmark_log::{
    Append, AppendError, Clock, Commit, CommitSink, Committed, ExtractError, IndexKey, Log,
    OpenError, Options, RecordIndex, RecordKeys, Reservation, ReservationId, Storage, Verification,
    VerifyError, VerifyReport, verify_on,
};

use crate::sim::Sim;

pub(crate) const DIR: &str = "/log";

/// 2026-03-21 12:00:00 UTC.
pub(crate) const NOON_MS: u64 = 1_774_094_400_000;

/// The smallest segments: rolling happens all the time.
pub(crate) const SMALL_SEGMENT: u64 = 128 << 10;

/// A failing test ends, however slow the machine: no healthy wait comes near this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

const ISSUED: u8 = 1;
const LOST: u8 = 2;
const OFFICER: u8 = 3;
const TICKET_AT: usize = 12;

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

fn record(kind: u8, ticket: u64, bytes: usize) -> Vec<u8> {
    let mut record = vec![0x84, kind, 1, 0x1B, 0, 0, 0, 0, 0, 0, 0, 0];
    record.extend_from_slice(&ticket.to_le_bytes());
    let mut random = Random(ticket);
    while record.len() < bytes {
        record.extend_from_slice(&random.next().to_le_bytes());
    }
    record.truncate(bytes.max(TICKET_AT + 8));
    record
}

/// The record that ticket `ticket` ends as.
pub(crate) fn issued(ticket: u64, bytes: usize) -> Vec<u8> {
    record(ISSUED, ticket, bytes)
}

/// The record that it ends as after a crash.
pub(crate) fn lost(ticket: u64) -> Vec<u8> {
    record(LOST, ticket, 60)
}

/// The record of a start.
pub(crate) fn opening(name: u64) -> Vec<u8> {
    record(OFFICER, name, 60)
}

pub(crate) fn reservation(ticket: u64, record_bytes_max: u32) -> Reservation {
    Reservation {
        ticket,
        lost_record: lost(ticket),
        record_bytes_max,
    }
}

pub(crate) fn append(ticket: u64, reservation: ReservationId, bytes: usize) -> Append {
    Append {
        ticket,
        reservation,
        record: issued(ticket, bytes),
    }
}

/// What a record in the log says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) ticket: u64,
    pub(crate) lost: bool,
    pub(crate) time_ms: u64,
}

/// Reads a record back; panics when a single byte differs from what was submitted.
pub(crate) fn seen(bytes: &[u8]) -> Seen {
    let ticket = u64::from_le_bytes(bytes[TICKET_AT..TICKET_AT + 8].try_into().unwrap());
    let time_ms = u64::from_be_bytes(bytes[4..12].try_into().unwrap());
    let mut expected = record(bytes[1], ticket, bytes.len());
    expected[4..12].copy_from_slice(&bytes[4..12]);
    assert!(
        bytes == expected,
        "the record of ticket {ticket} is not what was submitted"
    );
    Seen {
        ticket,
        lost: bytes[1] == LOST,
        time_ms,
    }
}

pub(crate) fn key(space: usize, ticket: u64) -> IndexKey {
    let mut key = [space as u8 + 1; 32];
    key[..8].copy_from_slice(&ticket.to_le_bytes());
    IndexKey(key)
}

/// Issued records have both keys, lost ones none.
pub(crate) fn keys(record: &[u8]) -> Result<RecordKeys, ExtractError> {
    match record.get(1) {
        Some(&ISSUED) => {
            let ticket = u64::from_le_bytes(record[TICKET_AT..TICKET_AT + 8].try_into().unwrap());
            Ok([Some(key(0, ticket)), Some(key(1, ticket)), None, None])
        }
        Some(&LOST | &OFFICER) => Ok(RecordKeys::default()),
        _ => Err(ExtractError::new("unknown kind")),
    }
}

/// Remembers all answers.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    by_ticket: Mutex<HashMap<u64, Vec<Result<Committed, AppendError>>>>,
    changed: Condvar,
}

impl CommitSink for Answers {
    fn committed(&self, commits: &mut Vec<Commit>) {
        let mut by_ticket = self
            .by_ticket
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for commit in commits.drain(..) {
            by_ticket
                .entry(commit.ticket)
                .or_default()
                .push(commit.outcome);
        }
        self.changed.notify_all();
    }
}

impl Answers {
    /// Waits for the `nth` answer (from 0) to a ticket.
    pub(crate) fn wait(&self, ticket: u64, nth: usize) -> Result<Committed, AppendError> {
        let deadline = Instant::now() + PATIENCE;
        let mut by_ticket = self
            .by_ticket
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(answer) = by_ticket.get(&ticket).and_then(|all| all.get(nth)) {
                return answer.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no answer {nth} to ticket {ticket}");
            by_ticket = self.changed.wait_timeout(by_ticket, left).unwrap().0;
        }
    }

    pub(crate) fn reserved(&self, ticket: u64) -> ReservationId {
        match self.wait(ticket, 0) {
            Ok(Committed::Reserved(id)) => id,
            other => panic!("ticket {ticket}: {other:?}"),
        }
    }

    pub(crate) fn appended(&self, ticket: u64) -> RecordIndex {
        match self.wait(ticket, 1) {
            Ok(Committed::Appended(index)) => index,
            other => panic!("ticket {ticket}: {other:?}"),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.by_ticket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .map(Vec::len)
            .sum()
    }

    /// What was acknowledged so far.
    pub(crate) fn acknowledged(&self) -> Acknowledged {
        let by_ticket = self
            .by_ticket
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut acknowledged = Acknowledged::default();
        for (&ticket, answers) in by_ticket.iter() {
            for answer in answers.iter().flatten() {
                match answer {
                    Committed::Reserved(_) => acknowledged.reserved.push(ticket),
                    Committed::Appended(index) => acknowledged.appended.push((ticket, *index)),
                }
            }
        }
        acknowledged
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Acknowledged {
    pub(crate) reserved: Vec<u64>,
    pub(crate) appended: Vec<(u64, RecordIndex)>,
}

/// Signs the checkpoints of all these logs.
pub(crate) struct Signer {
    key: Ed25519KeyPair,
    verifier: VerifierKey,
}

/// The same key every time.
pub(crate) fn signer() -> Arc<Signer> {
    signer_named("log.example/line-1", 1)
}

pub(crate) fn signer_named(origin: &str, seed: u8) -> Arc<Signer> {
    let key = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let public = key.public_key().as_ref().try_into().unwrap();
    let verifier = VerifierKey::ed25519(origin, public).unwrap();
    Arc::new(Signer { key, verifier })
}

impl CheckpointSigner for Signer {
    fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    fn sign(&self, text: &[u8]) -> Result<[u8; 64], SignError> {
        Ok(self.key.sign(text).as_ref().try_into().unwrap())
    }
}

/// Refuses to sign: nothing is published, and the segments keep everything.
pub(crate) struct Mute(Arc<Signer>);

impl CheckpointSigner for Mute {
    fn verifier_key(&self) -> &VerifierKey {
        self.0.verifier_key()
    }

    fn sign(&self, _text: &[u8]) -> Result<[u8; 64], SignError> {
        Err(SignError::failed("the key is locked away"))
    }
}

/// Opens the log so that nothing is published.
pub(crate) fn open_unpublished(sim: &Sim) -> (Log, Arc<Answers>) {
    let answers = Arc::new(Answers::default());
    let sink = Arc::clone(&answers) as Arc<dyn CommitSink>;
    let mute = Arc::new(Mute(signer()));
    let log = Log::open(Path::new(DIR), sim_options(sim), Arc::new(keys), mute, sink).unwrap();
    (log, answers)
}

/// Opens the log so that it publishes when it is asked to and when it is closed, and otherwise not:
/// nothing goes on beside the test.
pub(crate) fn open_quiet(sim: &Sim) -> (Log, Arc<Answers>) {
    let options = Options {
        publish_interval: Duration::from_secs(3600),
        ..sim_options(sim)
    };
    open_with(options).unwrap()
}

/// A clock that stands where it is put.
#[derive(Default)]
pub(crate) struct Hands {
    pub(crate) wall_ms: AtomicU64,
    pub(crate) monotonic_ms: AtomicU64,
}

impl Hands {
    pub(crate) fn at(wall_ms: u64) -> Arc<Hands> {
        let hands = Arc::new(Hands::default());
        hands.set(wall_ms);
        hands
    }

    pub(crate) fn set(&self, wall_ms: u64) {
        self.wall_ms.store(wall_ms, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn unix_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_ms.load(Ordering::SeqCst))
    }
}

pub(crate) fn options(storage: Arc<dyn Storage>) -> Options {
    Options {
        segment_bytes: SMALL_SEGMENT,
        clock: Hands::at(NOON_MS),
        space_retry: Duration::from_millis(1),
        // Publication goes on all the time, between all other operations.
        publish_interval: Duration::ZERO,
        storage,
        ..Options::default()
    }
}

pub(crate) fn sim_options(sim: &Sim) -> Options {
    options(Arc::new(sim.clone()))
}

pub(crate) fn open_with(options: Options) -> Result<(Log, Arc<Answers>), OpenError> {
    open_dir(Path::new(DIR), options)
}

pub(crate) fn open_dir(dir: &Path, options: Options) -> Result<(Log, Arc<Answers>), OpenError> {
    let answers = Arc::new(Answers::default());
    let log = Log::open(
        dir,
        options,
        Arc::new(keys),
        signer(),
        Arc::clone(&answers) as Arc<dyn CommitSink>,
    )?;
    Ok((log, answers))
}

/// A new log on a new simulated storage.
pub(crate) fn new_sim() -> Sim {
    let sim = Sim::default();
    Log::create_on(&sim, Path::new(DIR)).unwrap();
    sim
}

pub(crate) fn open_sim(sim: &Sim) -> (Log, Arc<Answers>) {
    open_with(sim_options(sim)).unwrap()
}

/// Waits until the two segments after the current one are ready for use.
pub(crate) fn wait_prepared(sim: &Sim) {
    let deadline = Instant::now() + PATIENCE;
    // Blank, or of an earlier use under another number.
    let unused = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let number = name.strip_suffix(".seg").and_then(|name| name.parse().ok());
        number.is_some_and(|number: u64| {
            sim.try_content(path)
                .is_some_and(|content| content[16..24] != number.to_le_bytes())
        })
    };
    while sim.files().iter().filter(|path| unused(path)).count() < 2 {
        assert!(Instant::now() < deadline, "no segment was prepared");
        std::thread::yield_now();
    }
}

/// Issues tickets one after the other, each with a record of `bytes`.
pub(crate) fn issue_all(log: &Log, answers: &Answers, tickets: std::ops::Range<u64>, bytes: usize) {
    for ticket in tickets {
        log.reserve(vec![reservation(ticket, bytes as u32)]);
        let id = answers.reserved(ticket);
        log.append(vec![append(ticket, id, bytes)]);
        answers.appended(ticket);
    }
}

/// All records of a log, each checked byte for byte.
pub(crate) fn all_records(log: &Log) -> Vec<Seen> {
    let read = |index| match log.read(RecordIndex(index)) {
        Ok(bytes) => seen(&bytes),
        Err(error) => panic!("record {index}: {error}"),
    };
    (0..log.len()).map(read).collect()
}

/// Checks a recovered log against what was acknowledged before: every acknowledged record once and
/// in its place, every acknowledged reservation issued or lost, nothing twice, nothing half.
pub(crate) fn check(log: &Log, before: &Acknowledged, context: &str) {
    let records = all_records(log);
    let mut by_ticket = HashMap::new();
    for (index, record) in records.iter().enumerate() {
        let twice = by_ticket.insert(record.ticket, (index as u64, record.lost));
        assert_eq!(twice, None, "{context}: ticket {} twice", record.ticket);
    }
    for (ticket, index) in &before.appended {
        let found = by_ticket.get(ticket);
        assert_eq!(
            found,
            Some(&(index.0, false)),
            "{context}: acknowledged ticket {ticket}"
        );
    }
    for ticket in &before.reserved {
        assert!(
            by_ticket.contains_key(ticket),
            "{context}: reserved ticket {ticket} left no trace"
        );
    }
    assert!(
        records.is_sorted_by_key(|record| record.time_ms),
        "{context}: times go back"
    );
    for (ticket, (index, lost)) in by_ticket {
        let expected = (!lost).then_some(RecordIndex(index));
        for space in 0..2 {
            let found = log.find(space, &key(space, ticket)).unwrap();
            assert_eq!(
                found, expected,
                "{context}: ticket {ticket} in space {space}"
            );
        }
    }
    assert_eq!(
        log.metrics().reservations_open,
        0,
        "{context}: open reservations"
    );
}

/// Tells how much was tried, also when the test passes: to standard error as it is, which the test
/// harness does not hold back.
pub(crate) fn report(what: std::fmt::Arguments<'_>) {
    use std::io::Write;
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "tried: {what}");
}

/// Verifies a whole log, with the key that signs all of them.
pub(crate) fn verify_sim(sim: &Sim) -> Result<VerifyReport, VerifyError> {
    let storage: Arc<dyn Storage> = Arc::new(sim.clone());
    let signer = signer();
    // Before the first checkpoint the key would vouch for nothing, and that is an error.
    let published = sim.try_content(&Path::new(DIR).join("public/checkpoint"));
    let verification = Verification {
        keys: Some(&keys),
        vkey: published.map(|_| signer.verifier_key()),
        threads: Some(2),
        ..Verification::default()
    };
    verify_on(&storage, Path::new(DIR), &verification)
}

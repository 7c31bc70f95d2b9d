//! Steps of the clock, while the engine runs and before it starts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use birthmark_engine::{Engine, Fault, IssueStatus, OpenError, Rejection, Request, Station};
use birthmark_log::Clock;

use crate::requests::{Key, device};
use crate::station::{Entry, Factory, Signer, fault, rejection};

on_every_signer!(
    a_small_step_back_is_bridged,
    a_large_step_back_stops_issuance_until_it_is_corrected,
    a_jump_ahead_stops_issuance_until_it_is_corrected,
    a_far_jump_before_the_start_needs_an_officer,
);

const DAY_MS: u64 = 86_400_000;

/// A clock that a test sets by hand.
pub(crate) struct HandClock {
    unix_ms: AtomicU64,
    monotonic_ms: AtomicU64,
}

impl HandClock {
    /// Shows the real time, which the CA's certificates begin before, and then stands still.
    pub(crate) fn new() -> Arc<HandClock> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis() as u64;
        Arc::new(HandClock {
            unix_ms: now.into(),
            monotonic_ms: 0.into(),
        })
    }

    pub(crate) fn now(&self) -> u64 {
        self.unix_ms.load(Ordering::SeqCst)
    }

    pub(crate) fn set(&self, unix_ms: u64) {
        self.unix_ms.store(unix_ms, Ordering::SeqCst);
    }

    /// Time goes by.
    pub(crate) fn pass(&self, ms: u64) {
        self.unix_ms.fetch_add(ms, Ordering::SeqCst);
        self.monotonic_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn unix_ms(&self) -> u64 {
        self.now()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_ms.load(Ordering::SeqCst))
    }
}

fn open(factory: &Factory, clock: &Arc<HandClock>) -> Engine {
    factory.open_with(|station| station.log_options.clock = clock.clone())
}

fn issue(
    engine: &Engine,
    number: u64,
) -> Result<birthmark_engine::Issued, birthmark_engine::IssueError> {
    engine.issue(Request::new(device(number), "idevid"))
}

fn issue_new(engine: &Engine, number: u64) {
    assert_eq!(issue(engine, number).unwrap().status, IssueStatus::Issued);
}

/// The request is refused for the clock, and nothing happens.
#[track_caller]
fn assert_stopped(engine: &Engine, number: u64) {
    let (signed, records) = (
        engine.signing_pool().metrics().signatures,
        engine.log().len(),
    );
    let stopped = fault(issue(engine, number));
    assert!(matches!(stopped, Fault::Clock(_)), "{stopped}");
    assert_eq!(stopped.number(), 904);
    assert_eq!(engine.signing_pool().metrics().signatures, signed);
    assert_eq!(engine.log().len(), records);
}

/// Time stamps of the records, which never go back.
fn times(factory: &Factory) -> Vec<u64> {
    let times: Vec<_> = factory
        .assert_sound()
        .iter()
        .filter_map(|entry| match entry {
            Entry::Issued { time_ms, .. } | Entry::Lost { time_ms, .. } => Some(*time_ms),
            Entry::Activated { .. } | Entry::Other { .. } => None,
        })
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    times
}

fn a_small_step_back_is_bridged(signer: Signer) {
    let factory = Factory::new(signer);
    let clock = HandClock::new();
    let begin = clock.now();
    let engine = open(&factory, &clock);
    issue_new(&engine, 0);
    clock.set(begin - 60_000);
    issue_new(&engine, 1);
    clock.pass(61_000);
    issue_new(&engine, 2);
    engine.close().unwrap();
    assert_eq!(times(&factory), [begin, begin, begin + 1_000]);
}

fn a_large_step_back_stops_issuance_until_it_is_corrected(signer: Signer) {
    let factory = Factory::new(signer);
    let clock = HandClock::new();
    let begin = clock.now();
    let engine = open(&factory, &clock);
    issue_new(&engine, 0);
    clock.set(begin - 60_001);
    assert_stopped(&engine, 1);
    clock.set(begin - 1);
    issue_new(&engine, 1);
    engine.close().unwrap();

    // The same across a restart: it starts, so that it can be looked at, and does not issue.
    clock.set(begin - 3_600_000);
    let engine = open(&factory, &clock);
    assert_stopped(&engine, 2);
    clock.set(begin + 5);
    issue_new(&engine, 2);
    engine.close().unwrap();
    assert_eq!(times(&factory), [begin, begin, begin + 5]);
}

fn a_jump_ahead_stops_issuance_until_it_is_corrected(signer: Signer) {
    let factory = Factory::new(signer);
    let clock = HandClock::new();
    let begin = clock.now();
    let engine = open(&factory, &clock);
    issue_new(&engine, 0);
    clock.set(begin + 60_001);
    assert_stopped(&engine, 1);
    clock.set(begin + 30 * DAY_MS);
    assert_stopped(&engine, 1);
    // One bad reading does not brick the station.
    clock.set(begin);
    issue_new(&engine, 1);
    // Time that really goes by is no jump.
    clock.pass(90 * 60_000);
    issue_new(&engine, 2);
    engine.close().unwrap();
    assert_eq!(times(&factory), [begin, begin, begin + 90 * 60_000]);
}

/// A clock that cannot be right stops new certificates, not answers of long ago. No signer takes
/// part in these.
#[test]
fn a_refused_clock_does_not_stop_retries() {
    let factory = Factory::new(Signer::P256);
    let clock = HandClock::new();
    let begin = clock.now();
    let mut engine = open(&factory, &clock);
    let first = issue(&engine, 0).unwrap();
    let key = Key::generate();
    engine
        .issue(Request::new(key.request("SN-1"), "idevid"))
        .unwrap();
    for wrong in [begin + 60_001, begin + 30 * DAY_MS, begin - 60_001] {
        clock.set(wrong);
        assert_stopped(&engine, 1);
        let again = issue(&engine, 0).unwrap();
        assert_eq!(again.status, IssueStatus::Existing);
        assert_eq!(again.certificate, first.certificate);
        // Conflicts are told as they are, too.
        let conflict = engine.issue(Request::new(key.request("SN-2"), "idevid"));
        assert_eq!(rejection(conflict), Rejection::KeyInUse { index: 1 });
    }
    engine.close().unwrap();

    // The same across a restart with the clock behind.
    engine = open(&factory, &clock);
    assert_stopped(&engine, 1);
    let again = issue(&engine, 0).unwrap();
    assert_eq!(again.status, IssueStatus::Existing);
    assert_eq!(again.certificate, first.certificate);
    engine.close().unwrap();
    assert_eq!(times(&factory), [begin, begin]);
}

fn a_far_jump_before_the_start_needs_an_officer(signer: Signer) {
    let factory = Factory::new(signer);
    let clock = HandClock::new();
    let begin = clock.now();
    let engine = open(&factory, &clock);
    issue_new(&engine, 0);
    engine.close().unwrap();

    clock.set(begin + 400 * DAY_MS + 1);
    let station = |accept: bool| -> Station {
        let mut station = factory.station();
        station.log_options.clock = clock.clone();
        station.log_options.accept_clock = accept;
        station
    };
    match Engine::open(station(false)) {
        Err(OpenError::Log(birthmark_log::OpenError::ClockForward(_))) => {}
        other => panic!("this should not start: {other:?}"),
    }
    let engine = Engine::open(station(true)).unwrap();
    issue_new(&engine, 1);
    engine.close().unwrap();
    // From here on the new time is the log's time.
    clock.pass(400 * DAY_MS);
    let engine = Engine::open(station(false)).unwrap();
    issue_new(&engine, 2);
    engine.close().unwrap();

    let entries = factory.assert_sound();
    assert_eq!(entries.len(), 4);
    let Entry::Other { kind: 3, bytes } = &entries[1] else {
        panic!("{:?}", entries[1])
    };
    // [3, 1, time_ms, "clock-accepted", previous_ms]
    let mut expected = vec![0x85, 3, 1, 0x1b];
    expected.extend((begin + 400 * DAY_MS + 1).to_be_bytes());
    expected.push(0x6e);
    expected.extend(b"clock-accepted");
    expected.push(0x1b);
    expected.extend(begin.to_be_bytes());
    assert_eq!(bytes, &expected);
    assert_eq!(
        times(&factory),
        [begin, begin + 400 * DAY_MS + 1, begin + 800 * DAY_MS + 1,]
    );
}

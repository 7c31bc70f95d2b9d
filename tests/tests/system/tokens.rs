//! An issuing key on two tokens, and what requests notice when one of them fails.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use birthmark_engine::{Engine, IssueError, IssueStatus, Request, Verification};
use birthmark_hsm::{Pkcs11Uri, TokenState};
use birthmark_test_token::TestHsm;
use p256x8::Path;

use crate::load::WATCHDOG;
use crate::requests::device;
use crate::station::{Entry, Factory};

/// A CA with its key on two test HSMs.
struct World {
    hsms: [TestHsm; 2],
    factory: Factory,
    _directory: tempfile::TempDir,
}

impl World {
    fn new(limits: &str) -> World {
        let directory = tempfile::tempdir().unwrap();
        // The ceremony makes the key on the first; the second finds it in the file.
        let settings = "mode = 'software'\nkey_file = 'shared'\nmake_key = false";
        let hsms =
            ["a", "b"].map(|name| TestHsm::create(directory.path(), name, settings).unwrap());
        let uris: [Pkcs11Uri; 2] = [0, 1].map(|hsm: usize| hsms[hsm].uri().parse().unwrap());
        World {
            factory: Factory::on_tokens(&uris, limits),
            hsms,
            _directory: directory,
        }
    }

    fn command(&self, hsm: usize, line: &str) {
        self.hsms[hsm].command(line).unwrap();
    }
}

fn requests(numbers: std::ops::Range<u64>) -> Vec<Request> {
    numbers
        .map(|number| Request::new(device(number), "idevid"))
        .collect()
}

fn wait_for_state(engine: &Engine, token: usize, state: TokenState) {
    let started = Instant::now();
    while engine.signing_pool().tokens()[token].state != state {
        let tokens = engine.signing_pool().tokens();
        assert!(started.elapsed() < WATCHDOG, "{state}: {tokens:#?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// No request fails, none takes a second serial number, and the log has no lost signature.
#[test]
fn a_token_that_is_killed_costs_no_request_and_no_serial_number() {
    let world = World::new("probe_interval_max_s = 1");
    let engine = world.factory.open();
    let results = thread::scope(|scope| {
        let issuing = scope.spawn(|| engine.issue_batch(requests(0..3000)));
        let started = Instant::now();
        while engine.metrics().issued < 300 {
            assert!(started.elapsed() < WATCHDOG);
        }
        world.command(0, "remove");
        issuing.join().unwrap()
    });
    for result in results {
        assert_eq!(result.unwrap().status, IssueStatus::Issued);
    }
    wait_for_state(&engine, 0, TokenState::Down);
    world.command(0, "return");
    wait_for_state(&engine, 0, TokenState::Up);
    let before = engine.signing_pool().tokens()[0].signatures;
    let mut issued = 3000;
    while engine.signing_pool().tokens()[0].signatures == before {
        for result in engine.issue_batch(requests(issued..issued + 500)) {
            assert_eq!(result.unwrap().status, IssueStatus::Issued);
        }
        issued += 500;
        assert!(issued < 100_000, "it signs again");
    }
    let tokens = engine.signing_pool().tokens();
    let made: u64 = tokens.iter().map(|token| token.signatures).sum();
    assert_eq!(made, issued);
    engine.close().unwrap();
    let entries = world.factory.assert_sound();
    assert_eq!(entries.len() as u64, issued);
    let lost = |entry: &&Entry| matches!(entry, Entry::Lost { .. });
    assert_eq!(entries.iter().filter(lost).count(), 0);
    let serials: BTreeSet<_> = entries.iter().filter_map(Entry::serial).collect();
    assert_eq!(serials.len() as u64, issued);
}

/// A signature that is none is found before release, whatever the token says of itself. The same
/// certificate is signed elsewhere, and the token goes out until its signatures verify.
#[test]
fn wrong_signatures_cost_a_token_and_no_request() {
    for verification in [Verification::Auto, Verification::Scalar] {
        wrong_signatures_cost_a_token(verification);
    }
}

fn wrong_signatures_cost_a_token(verification: Verification) {
    let world = World::new("probe_interval_max_s = 1");
    let engine = world
        .factory
        .open_with(|station| station.verification = verification);
    world.command(
        0,
        "fault = { function = 'C_Sign', every = 1, signature = 'wrong' }",
    );
    let mut next = 0;
    let mut issue = || {
        for result in engine.issue_batch(requests(next..next + 100)) {
            assert_eq!(result.unwrap().status, IssueStatus::Issued);
        }
        next += 100;
    };
    let told = || engine.signing_pool().tokens().swap_remove(0);
    let started = Instant::now();
    while told().state != TokenState::WrongSignatures {
        assert!(started.elapsed() < WATCHDOG, "{:#?}", told());
        issue();
    }
    let out = told();
    assert_eq!(out.signatures, 0, "{out:#?}");
    assert!(out.wrong_signatures >= 3, "{out:#?}");
    issue();
    assert_eq!(told().attempts, out.attempts, "it is asked no more");
    world.command(0, "clear-faults");
    wait_for_state(&engine, 0, TokenState::Up);
    while told().signatures == 0 {
        assert!(started.elapsed() < WATCHDOG, "{:#?}", told());
        issue();
    }
    let metrics = engine.metrics();
    assert_eq!((metrics.issued, metrics.lost), (next, 0));
    // What was asked of the tokens is issued, or counted as a retry.
    let tokens = engine.signing_pool().tokens();
    let asked: u64 = tokens.iter().map(|token| token.attempts).sum();
    let retries: u64 = tokens.iter().map(|token| token.retries).sum();
    assert_eq!(asked, next + retries);
    engine.close().unwrap();
    let entries = world.factory.assert_sound();
    assert_eq!(entries.len() as u64, next, "no serial number is lost");
}

/// With no other token to sign, requests fail at once and are not released.
#[test]
fn wrong_signatures_everywhere_are_told_to_the_line() {
    for verification in [Verification::Auto, Verification::Scalar] {
        wrong_signatures_are_told(verification);
    }
}

fn wrong_signatures_are_told(verification: Verification) {
    let world = World::new("probe_interval_max_s = 1");
    let engine = world
        .factory
        .open_with(|station| station.verification = verification);
    for hsm in 0..2 {
        let wrong = "fault = { function = 'C_Sign', every = 1, signature = 'wrong' }";
        world.command(hsm, wrong);
    }
    for result in engine.issue_batch(requests(0..50)) {
        let Err(IssueError::Fault(fault)) = result else {
            panic!("{result:?}")
        };
        assert_eq!(fault.reason(), "signer-stopped", "{fault}");
        assert!(fault.to_string().contains("do not verify"), "{fault}");
    }
    let metrics = engine.metrics();
    assert_eq!(metrics.lost, 50);
    // Each wrong signature was held against aws-lc-rs too, which found none of them valid.
    assert_eq!(
        metrics.lanes_asked_again > 0,
        engine.verification() == Path::Ifma
    );
    assert_eq!(metrics.lanes_disagreements, 0);
    engine.close().unwrap();
    assert_eq!(world.factory.assert_sound().len(), 50);
}

/// With every token down requests wait, then hear what to do; the engine goes on afterwards.
#[test]
fn requests_wait_for_tokens_and_then_say_what_to_do() {
    let world = World::new("wait_limit_s = 1\nprobe_interval_max_s = 1");
    let engine = world.factory.open();
    for hsm in 0..2 {
        world.command(hsm, "remove");
    }
    let started = Instant::now();
    for result in engine.issue_batch(requests(0..20)) {
        let Err(IssueError::Fault(fault)) = result else {
            panic!("{result:?}")
        };
        assert_eq!(fault.reason(), "signer");
        assert_eq!(fault.action().to_string(), "RETRY");
        assert!(fault.to_string().contains("check the HSMs"), "{fault}");
    }
    assert!(started.elapsed() >= Duration::from_secs(1));
    for hsm in 0..2 {
        world.command(hsm, "return");
        wait_for_state(&engine, hsm, TokenState::Up);
    }
    // The same devices ask again, and get their certificates.
    for result in engine.issue_batch(requests(0..20)) {
        assert_eq!(result.unwrap().status, IssueStatus::Issued);
    }
    engine.close().unwrap();
    assert_eq!(world.factory.assert_sound().len(), 40);
}

/// What does not mend itself is not to be tried again at the line.
#[test]
fn a_refused_pin_and_a_used_up_key_call_the_officer() {
    for fault in [
        "fault = { function = 'C_SignInit', every = 1, code = 'CKR_PIN_LOCKED' }",
        "fault = { function = 'C_SignInit', every = 1, code = 'CKR_KEY_NOT_ACTIVE' }",
        "fault = { function = 'C_SignInit', every = 1, code = 'CKR_MECHANISM_INVALID' }",
    ] {
        let world = World::new("");
        let engine = world.factory.open();
        for hsm in 0..2 {
            world.command(hsm, fault);
        }
        for result in engine.issue_batch(requests(0..20)) {
            let Err(IssueError::Fault(told)) = result else {
                panic!("{fault}: {result:?}")
            };
            let (number, reason) = (told.number(), told.reason());
            assert_eq!((number, reason), (909, "signer-stopped"), "{fault}: {told}");
            assert_eq!(told.action().to_string(), "CALL-OFFICER");
        }
        engine.close().unwrap();
    }
}

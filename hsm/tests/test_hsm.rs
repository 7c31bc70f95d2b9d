//! The pool in front of the test HSM: each of its modes, and the faults that play out over time.

#![allow(
    clippy::unwrap_used,
    reason = "a failure of the set-up is the test's failure"
)]

use std::collections::HashSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use birthmark_hsm::{
    ErrorClass, KeyAlgorithm, OpenError, PinError, Pkcs11Options, Pkcs11Uri, PoolOptions,
    SignError, Signature, SigningPool, TokenState, generate_key_pair,
};
use birthmark_test_token::{Report, TestHsm};

mod test_token;
use test_token::{TestToken, messages, sign_all, verifies};

/// A test that waits this long has failed; nothing is measured by it.
const WATCHDOG: Duration = Duration::from_secs(60);

fn options(sessions: usize) -> Pkcs11Options {
    Pkcs11Options {
        sessions: Some(sessions),
        key_copy: false,
        ..Pkcs11Options::default()
    }
}

/// An HSM in a directory of its own.
struct Hsm {
    hsm: TestHsm,
    _directory: tempfile::TempDir,
}

impl Hsm {
    fn create(settings: &str) -> Hsm {
        let directory = tempfile::tempdir().unwrap();
        Hsm {
            hsm: TestHsm::create(directory.path(), "hsm", settings).unwrap(),
            _directory: directory,
        }
    }

    fn software(more: &str) -> Hsm {
        Hsm::create(&format!("mode = 'software'\n{more}"))
    }

    fn uri(&self) -> Pkcs11Uri {
        self.hsm.uri().parse().unwrap()
    }

    fn open(&self, sessions: usize) -> SigningPool {
        SigningPool::pkcs11(&self.uri(), options(sessions)).unwrap()
    }

    /// A pool that probes without delay and lets no job wait for a token that is down.
    fn open_brief(&self, sessions: usize) -> SigningPool {
        brief(&self.uri(), sessions)
    }

    fn command(&self, line: &str) {
        self.hsm.command(line).unwrap();
    }

    fn report(&self) -> Report {
        self.hsm.report().unwrap()
    }
}

fn brief(uri: &Pkcs11Uri, sessions: usize) -> SigningPool {
    let options = PoolOptions {
        tokens: options(sessions),
        probe_interval_max: Duration::from_millis(10),
        wait_limit: Duration::ZERO,
        ..PoolOptions::default()
    };
    SigningPool::pkcs11_tokens(std::slice::from_ref(uri), options).unwrap()
}

fn wait_until_up(pool: &SigningPool) {
    let started = Instant::now();
    while pool.tokens()[0].state != TokenState::Up {
        assert!(started.elapsed() < WATCHDOG, "{:?}", pool.tokens());
        thread::sleep(Duration::from_millis(1));
    }
}

fn classes(pool: &SigningPool, count: usize) -> Vec<ErrorClass> {
    sign_all(pool, &messages(count))
        .into_iter()
        .filter_map(|outcome| outcome.err().map(|error| error.class()))
        .collect()
}

#[test]
fn a_software_key_signs_and_is_the_same_after_a_restart() {
    let hsm = Hsm::software("key_file = 'key'");
    let mut keys = Vec::new();
    for _ in 0..2 {
        let pool = hsm.open(3);
        assert_eq!(pool.key_algorithm(), KeyAlgorithm::EcP256);
        let messages = messages(200);
        for (message, outcome) in messages.iter().zip(sign_all(&pool, &messages)) {
            assert!(verifies(pool.public_key(), message, &outcome.unwrap()));
        }
        keys.push(pool.public_key().clone());
        pool.close().unwrap();
    }
    assert_eq!(keys[0], keys[1]);
    let report = hsm.report();
    assert_eq!((report.signatures, report.calls("C_Sign")), (400, 400));
    assert_eq!((report.logins, report.logins_refused), (2, 0));
    assert_eq!((report.sessions_open, report.sessions_most), (0, 4));
    assert!(!report.initialized && report.present, "{report:?}");
    assert_eq!(report.error, None);
}

#[test]
fn premade_signatures_have_the_form_and_another_content() {
    let hsm = Hsm::create("mode = 'premade'");
    let pool = hsm.open(2);
    let messages = messages(300);
    let mut different = HashSet::new();
    for (message, outcome) in messages.iter().zip(sign_all(&pool, &messages)) {
        let signature = outcome.unwrap();
        assert!(!verifies(pool.public_key(), message, &signature));
        different.insert(signature.as_bytes().to_vec());
    }
    assert_eq!(different.len(), 1);
    let report = hsm.report();
    assert_eq!(report.signatures, 300);
    assert_eq!(
        (report.calls("C_SignInit"), report.calls("C_Sign")),
        (300, 300)
    );
}

#[test]
fn a_real_module_signs_behind_it() {
    let token = TestToken::create();
    let settings = format!(
        "mode = 'forward'\nmodule = '{}'\npin = '{}'",
        token.module.display(),
        token.pin
    );
    let hsm = TestHsm::create(token.directory.path(), "front", &settings).unwrap();
    for algorithm in [
        KeyAlgorithm::EcP256,
        KeyAlgorithm::Ed25519,
        KeyAlgorithm::Rsa2048,
    ] {
        let uri: Pkcs11Uri = hsm.uri_of(&token.label, algorithm.name()).parse().unwrap();
        let key = generate_key_pair(&uri, algorithm).unwrap();
        let pool = SigningPool::pkcs11(&uri, options(2)).unwrap();
        let messages = messages(50);
        for (message, outcome) in messages.iter().zip(sign_all(&pool, &messages)) {
            assert!(verifies(&key, message, &outcome.unwrap()), "{algorithm}");
        }
        // It fails on demand, and its sessions can be lost.
        hsm.command(
            "fault = { function = 'C_Sign', at = [2], code = 'CKR_GENERAL_ERROR', after = true }",
        )
        .unwrap();
        hsm.command("fault = { function = 'C_SignInit', at = [7], sessions = 'lose' }")
            .unwrap();
        assert_eq!(classes(&pool, 50), []);
        assert_eq!(pool.metrics().sessions_reopened, 1);
        hsm.command("clear-faults").unwrap();
        pool.close().unwrap();
    }
    let report = hsm.report().unwrap();
    assert_eq!((report.sessions_open, report.sessions_most), (0, 3));
    assert_eq!(report.calls("C_GenerateKeyPair"), 3);
    assert_eq!(
        report.signatures,
        300 + 3,
        "one more each is made and not handed on"
    );
}

#[test]
fn a_key_is_made_on_the_token_and_found_after_a_restart() {
    let hsm = Hsm::software("make_key = false\nkey_file = 'key'");
    let error = SigningPool::pkcs11(&hsm.uri(), options(1)).unwrap_err();
    assert!(matches!(error, OpenError::Key(_)), "{error}");
    let key = generate_key_pair(&hsm.uri(), KeyAlgorithm::EcP256).unwrap();
    let pool = hsm.open(1);
    assert_eq!(*pool.public_key(), key);
    assert!(generate_key_pair(&hsm.uri(), KeyAlgorithm::EcP256).is_err());
}

#[test]
fn two_copies_with_one_key_are_two_hsms() {
    let directory = tempfile::tempdir().unwrap();
    let settings = "mode = 'software'\nkey_file = 'shared'";
    let [first, second] =
        ["a", "b"].map(|name| TestHsm::create(directory.path(), name, settings).unwrap());
    let [left, right] = [&first, &second].map(|hsm| brief(&hsm.uri().parse().unwrap(), 2));
    assert_eq!(left.public_key(), right.public_key());
    first.command("remove").unwrap();
    assert_eq!(classes(&left, 10), [ErrorClass::Device; 10]);
    let messages = messages(10);
    for (message, outcome) in messages.iter().zip(sign_all(&right, &messages)) {
        assert!(verifies(left.public_key(), message, &outcome.unwrap()));
    }
    let [one, other] = [&first, &second].map(|hsm| hsm.report().unwrap());
    assert_eq!((one.label.as_str(), other.label.as_str()), ("a", "b"));
    assert_eq!((one.present, other.present), (false, true));
    assert_eq!((one.signatures, other.signatures), (0, 10));
    left.close().unwrap();
    assert_eq!(classes(&right, 10), [], "closing one leaves the other");
    right.close().unwrap();
}

#[test]
fn a_token_goes_and_returns_without_sessions_and_login() {
    let hsm = Hsm::software("");
    let pool = hsm.open_brief(2);
    assert_eq!(classes(&pool, 10), []);
    hsm.command("remove");
    for outcome in sign_all(&pool, &messages(10)) {
        let error = outcome.unwrap_err();
        assert!(matches!(error, SignError::TokensDown { .. }), "{error}");
    }
    assert_eq!(hsm.report().sessions_open, 0);
    hsm.command("return");
    wait_until_up(&pool);
    assert_eq!(classes(&pool, 20), [], "sessions and login are had again");
    // A login, a renewed one, no other.
    assert_eq!(hsm.report().logins, 2);
    pool.close().unwrap();

    hsm.command("remove");
    let error = SigningPool::pkcs11(&hsm.uri(), options(1)).unwrap_err();
    assert!(matches!(error, OpenError::Token(_)), "{error}");
}

#[test]
fn a_removal_by_the_clock_comes_at_its_time() {
    let hsm = Hsm::software("removals = [{ from_s = 0.3 }]");
    let started = Instant::now();
    let brief = PoolOptions {
        tokens: options(1),
        wait_limit: Duration::ZERO,
        ..PoolOptions::default()
    };
    match SigningPool::pkcs11_tokens(&[hsm.uri()], brief) {
        Ok(pool) => {
            while classes(&pool, 1).is_empty() {
                assert!(started.elapsed() < WATCHDOG);
            }
            assert_eq!(classes(&pool, 3), [ErrorClass::Device; 3]);
            assert!(!hsm.report().present);
        }
        // A machine so slow that the token went before the pool was open.
        Err(error) => assert!(matches!(error, OpenError::Token(_)), "{error}"),
    }
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_fault_takes_the_token_away_at_a_call() {
    let hsm = Hsm::software("faults = [{ function = 'C_Sign', at = [5], token = 'remove' }]");
    let pool = hsm.open_brief(1);
    assert_eq!(classes(&pool, 10), [ErrorClass::Device; 6]);
    assert_eq!(hsm.report().faults("removal"), 1);
    hsm.command("return");
    wait_until_up(&pool);
    assert_eq!(classes(&pool, 10), []);
}

#[test]
fn hung_calls_hold_nothing_up_and_go_on_when_released() {
    let hsm = Hsm::software("faults = [{ function = 'C_Sign', at = [1, 2], hang = true }]");
    let pool = hsm.open(3);
    thread::scope(|scope| {
        let signing = scope.spawn(|| sign_all(&pool, &messages(20)));
        // The third session signs everything else meanwhile.
        let started = Instant::now();
        while hsm.report().signatures < 18 {
            assert!(started.elapsed() < WATCHDOG, "{:?}", hsm.report());
            thread::sleep(Duration::from_millis(1));
        }
        let report = hsm.report();
        assert_eq!((report.hung, report.signatures), (2, 18));
        hsm.command("release-hangs");
        assert!(signing.join().unwrap().iter().all(Result::is_ok));
    });
    let report = hsm.report();
    assert_eq!((report.hung, report.hangs, report.signatures), (0, 2, 20));
    assert_eq!(report.faults("hang"), 2);
    pool.close().unwrap();
}

#[test]
fn a_hang_may_end_by_itself_and_with_a_code() {
    let hsm = Hsm::software(
        "faults = [{ function = 'C_Sign', at = [2], hang_s = 0.05, code = 'CKR_DEVICE_ERROR', after = true }]",
    );
    let pool = hsm.open(1);
    let started = Instant::now();
    assert_eq!(classes(&pool, 3), []);
    assert_eq!(pool.tokens()[0].errors(ErrorClass::Device), 1);
    assert!(started.elapsed() >= Duration::from_millis(50));
}

#[test]
fn latency_and_rate_are_kept_and_told() {
    let hsm = Hsm::software("latency = { mean_us = 2000, jitter_us = 500 }");
    let pool = hsm.open(1);
    let started = Instant::now();
    assert_eq!(classes(&pool, 20), []);
    assert!(started.elapsed() >= Duration::from_millis(20 * 3 / 2));
    let pace = hsm.report().pace;
    assert_eq!(pace.calls, 20);
    assert!(pace.latency_mean_us >= 1500.0, "{pace:?}");
    pool.close().unwrap();

    let hsm = Hsm::software("rate_cap = 200");
    let pool = hsm.open(4);
    let started = Instant::now();
    assert_eq!(classes(&pool, 41), []);
    // 40 intervals of 5 ms, whatever the number of sessions.
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert!(hsm.report().pace.rate_wait_mean_us > 0.0);
    hsm.command("rate_cap = 0");
    hsm.command("latency = { mean_us = 100 }");
    assert_eq!(classes(&pool, 10), []);
    assert!(hsm.report().pace.latency_mean_us >= 10.0 * 100.0 / 51.0);
}

#[test]
fn a_pin_locks_for_every_process_until_the_officer_unlocks_it() {
    let directory = tempfile::tempdir().unwrap();
    let settings = "mode = 'software'\npin = 'right'\npin_lock_after = 2\nstate_file = 'state'";
    let [first, second] =
        ["a", "b"].map(|name| TestHsm::create(directory.path(), name, settings).unwrap());
    let open = |hsm: &TestHsm, pin: &str| {
        let file = directory.path().join("pin");
        fs::write(&file, pin).unwrap();
        let uri = Pkcs11Uri::new(hsm.module(), hsm.label(), "k", Some(&file));
        let marks = tempfile::tempdir().unwrap();
        // The marks go at once, as if a person had looked each time.
        let uri = uri.with_state_directory(marks.path());
        SigningPool::pkcs11(&uri, options(1)).map(drop)
    };
    let refused = |outcome: Result<(), OpenError>| match outcome {
        Err(OpenError::Pin(PinError::Refused { code, .. })) => code.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(open(&first, "wrong")), "CKR_PIN_INCORRECT");
    open(&second, "right").unwrap();
    assert_eq!(refused(open(&first, "wrong")), "CKR_PIN_INCORRECT");
    assert_eq!(refused(open(&second, "wrong")), "CKR_PIN_INCORRECT");
    for hsm in [&first, &second] {
        assert_eq!(refused(open(hsm, "right")), "CKR_PIN_LOCKED");
    }
    let memory = first.report().unwrap().memory;
    assert_eq!((memory.wrong_pins, memory.wrong_pins_in_a_row), (5, 2));
    let report = second.report().unwrap();
    assert_eq!((report.logins, report.logins_refused), (3, 2));
    first.command("unlock-pin").unwrap();
    open(&second, "right").unwrap();
}

#[test]
fn another_key_under_the_label_does_not_sign_once_it_is_looked_up() {
    let hsm = Hsm::software("key_file = 'key'");
    let pool = hsm.open_brief(1);
    hsm.command("key = 'wrong'");
    // The handle still leads to a key: only who checks the signature finds out.
    let messages = messages(5);
    for (message, outcome) in messages.iter().zip(sign_all(&pool, &messages)) {
        assert!(!verifies(pool.public_key(), message, &outcome.unwrap()));
    }
    hsm.command("lose-handles");
    assert_eq!(classes(&pool, 5), [ErrorClass::Handle; 5]);
    assert_eq!(pool.tokens()[0].state, TokenState::WrongKey);
    hsm.command("key = 'right'");
    wait_until_up(&pool);
    assert_eq!(classes(&pool, 5), []);

    hsm.command("key = 'wrong'");
    let other = hsm.open(1);
    assert_ne!(pool.public_key(), other.public_key());
}

#[test]
fn a_counted_key_signs_so_often_and_not_again() {
    let hsm = Hsm::software("sign_limit = 25\nstate_file = 'state'\nkey_file = 'key'");
    for signed in [25, 0] {
        let pool = hsm.open(4);
        let outcomes = sign_all(&pool, &messages(40));
        assert_eq!(
            outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
            signed
        );
        for error in outcomes.into_iter().filter_map(Result::err) {
            assert_eq!(error.class(), ErrorClass::UsedUp, "{error}");
        }
        pool.close().unwrap();
    }
    let report = hsm.report();
    assert_eq!((report.signatures, report.memory.signatures), (25, 25));
}

#[test]
fn no_more_sessions_open_than_there_are() {
    let hsm = Hsm::software("session_max = 4");
    // One is the anchor's.
    let pool = hsm.open(4);
    assert_eq!(pool.metrics().sessions, 3);
    assert_eq!(classes(&pool, 10), []);
    let report = hsm.report();
    assert_eq!((report.sessions_most, report.faults.len()), (4, 0));
}

#[test]
fn wrong_signatures_come_out_as_asked() {
    let hsm = Hsm::software("");
    let pool = hsm.open(1);
    for (at, how) in [(2, "wrong"), (3, "short"), (4, "long")] {
        hsm.command(&format!(
            "fault = {{ function = 'C_Sign', at = [{at}], signature = '{how}' }}"
        ));
    }
    // Without the pool's second attempts.
    let mut signer = pool.raw_signers(1).unwrap().remove(0);
    let messages = messages(5);
    let mut sign = |message: &Vec<u8>| {
        let mut signature = Signature::empty();
        let outcome = signer.sign(&pool.input_for(message), &mut signature);
        outcome.map(|()| signature)
    };
    let outcomes: Vec<_> = messages.iter().map(&mut sign).collect();
    let found = |place: usize| match &outcomes[place] {
        Err(SignError::MalformedSignature { found, .. }) => *found,
        other => panic!("{other:?}"),
    };
    assert_eq!((found(2), found(3)), (63, 65));
    for (place, right) in [(0, true), (1, false), (4, true)] {
        let signature = outcomes[place].as_ref().unwrap();
        assert_eq!(
            verifies(pool.public_key(), &messages[place], signature),
            right
        );
    }
}

#[test]
fn what_is_lost_at_a_call_is_mended() {
    let hsm = Hsm::software("");
    let pool = hsm.open(1);
    for lost in [
        "sessions = 'lose'",
        "sessions = 'lose-all'",
        "login = 'lose'",
        "handles = 'lose'",
    ] {
        hsm.command("clear-faults");
        hsm.command(&format!(
            "fault = {{ function = 'C_SignInit', at = [3], {lost} }}"
        ));
        assert_eq!(classes(&pool, 6), [], "{lost}");
    }
    for lost in ["lose-sessions", "lose-login", "lose-handles"] {
        hsm.command(lost);
        assert_eq!(classes(&pool, 6), [], "{lost}");
    }
    let report = hsm.report();
    assert_eq!(
        (report.faults("sessions-lost"), report.faults("login-lost")),
        (2, 1)
    );
    let metrics = pool.metrics();
    assert_eq!(
        (metrics.sessions_reopened, metrics.keys_found_again),
        (3, 2)
    );
    // With the sessions the login goes, with one of them it stays.
    assert_eq!((metrics.logins_renewed, report.logins), (4, 5));
}

#[test]
fn counts_add_up() {
    let hsm = Hsm::software(
        "seed = 11\nfaults = [\
           { function = 'C_Sign', probability = 0.1, code = 'CKR_DEVICE_ERROR', after = true },\
           { function = 'C_SignInit', every = 13, code = 'CKR_HOST_MEMORY' }]",
    );
    let mut options = PoolOptions::from(options(3));
    options.probe_interval_max = Duration::from_millis(10);
    let pool = SigningPool::pkcs11_tokens(&[hsm.uri()], options).unwrap();
    let failed = classes(&pool, 500).len() as u64;
    let report = hsm.report();
    let (at_sign, at_init) = (
        report.faults("CKR_DEVICE_ERROR"),
        report.faults("CKR_HOST_MEMORY"),
    );
    assert!(at_sign > 0 && at_init > 0, "{report:?}");
    let told = &pool.tokens()[0];
    assert_eq!(told.signatures + failed, 500);
    assert_eq!(told.attempts, report.calls("C_SignInit"));
    assert_eq!(
        told.attempts,
        told.signatures + told.retries + told.failed,
        "{told:?}"
    );
    assert_eq!(told.retries + told.failed, at_sign + at_init);
    assert_eq!(report.calls("C_Sign"), told.attempts - at_init);
    assert_eq!(report.signatures, told.signatures + at_sign);
}

#[test]
fn commands_come_by_file_and_the_report_goes_to_one() {
    let hsm = Hsm::software("control_file = 'control'\nreport_file = 'report-{pid}'");
    let directory = hsm.hsm.module().parent().unwrap().to_owned();
    let pool = hsm.open_brief(1);
    assert_eq!(classes(&pool, 3), []);
    fs::write(directory.join("control"), "remove\n").unwrap();
    let started = Instant::now();
    while classes(&pool, 1).is_empty() {
        assert!(started.elapsed() < WATCHDOG);
    }
    assert!(!hsm.report().present);
    pool.close().unwrap();
    let file = directory.join(format!("report-{}", std::process::id()));
    let written: Report = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert_eq!(written, hsm.report());
    assert!(written.signatures >= 3);
}

//! An hour's faults in one minute: three tokens with one key, the whole engine with its log on top under
//! full load, and a script that provokes every row of the error table on each token, in random order.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use birthmark_engine::Engine;
use birthmark_hsm::{Pkcs11Options, Pkcs11Uri, PoolOptions, SigningPool, TokenState};
use birthmark_test_token::TestHsm;

use crate::load::{Load, WATCHDOG, wait_for, wait_for_state};
use crate::station::{Factory, Random};

/// The script's, unless the environment names another one: see [`seed`].
const SEED: u64 = 0x5709;

/// Another seed, decimal, for a run by hand.
const SEED_VARIABLE: &str = "BIRTHMARK_STORM_SEED";

/// How often each token meets each row.
const ROUNDS: usize = 2;

/// Longest time that a call may last in the storm, where calls hang.
const CALL_LIMIT: Duration = Duration::from_millis(150);

/// The same where none does, so that a busy machine's call is not taken for one.
const CALL_LIMIT_CALM: Duration = Duration::from_secs(30);

/// Sessions of each token.
const SESSIONS: usize = 3;

/// How long a fault stays at most, once it was met.
const PAUSE_MAX_MS: u64 = 150;

/// One row of the error table.
struct Row {
    name: &'static str,
    /// Given first.
    command: Option<&'static str>,
    /// What happens to which call.
    fault: &'static str,
    /// What the token's report counts then.
    counted: &'static str,
    /// Given at the end.
    heal: Option<&'static str>,
}

const fn row(name: &'static str, fault: &'static str, counted: &'static str) -> Row {
    Row {
        name,
        command: None,
        fault,
        counted,
        heal: None,
    }
}

impl Row {
    const fn after(mut self, command: &'static str) -> Row {
        self.command = Some(command);
        self
    }

    const fn healed_by(mut self, command: &'static str) -> Row {
        self.heal = Some(command);
        self
    }
}

/// Every row from which a token comes back by itself.
#[rustfmt::skip]
const ROWS: [Row; 31] = [
    row("device error", "function = 'C_Sign', times = 1, code = 'CKR_DEVICE_ERROR'", "CKR_DEVICE_ERROR"),
    row("device error, signature made", "function = 'C_Sign', times = 1, after = true, code = 'CKR_DEVICE_ERROR'", "CKR_DEVICE_ERROR"),
    row("device memory", "function = 'C_SignInit', times = 1, code = 'CKR_DEVICE_MEMORY'", "CKR_DEVICE_MEMORY"),
    row("host memory", "function = 'C_Sign', times = 1, code = 'CKR_HOST_MEMORY'", "CKR_HOST_MEMORY"),
    row("token not present", "function = 'C_SignInit', times = 1, code = 'CKR_TOKEN_NOT_PRESENT'", "CKR_TOKEN_NOT_PRESENT"),
    row("removed and returned", "function = 'C_Sign', times = 1, token = 'remove'", "removal").healed_by("return"),
    row("general error", "function = 'C_Sign', times = 1, code = 'CKR_GENERAL_ERROR'", "CKR_GENERAL_ERROR"),
    row("general errors in a row", "function = 'C_Sign', code = 'CKR_GENERAL_ERROR'", "CKR_GENERAL_ERROR"),
    row("session lost", "function = 'C_SignInit', times = 3, sessions = 'lose'", "sessions-lost"),
    row("all sessions lost", "function = 'C_Sign', times = 1, sessions = 'lose-all'", "sessions-lost"),
    row("session closed", "function = 'C_SignInit', times = 2, code = 'CKR_SESSION_CLOSED'", "CKR_SESSION_CLOSED"),
    row("session handle invalid", "function = 'C_Sign', times = 2, code = 'CKR_SESSION_HANDLE_INVALID'", "CKR_SESSION_HANDLE_INVALID"),
    row("operation active", "function = 'C_SignInit', times = 2, code = 'CKR_OPERATION_ACTIVE'", "CKR_OPERATION_ACTIVE"),
    row("handles lost", "function = 'C_SignInit', times = 2, handles = 'lose'", "handles-lost"),
    row("key handle invalid", "function = 'C_SignInit', times = 2, code = 'CKR_KEY_HANDLE_INVALID'", "CKR_KEY_HANDLE_INVALID"),
    row("object handle invalid", "function = 'C_SignInit', times = 2, code = 'CKR_OBJECT_HANDLE_INVALID'", "CKR_OBJECT_HANDLE_INVALID"),
    row("login lost", "function = 'C_SignInit', times = 2, login = 'lose'", "login-lost"),
    row("not logged in", "function = 'C_Sign', times = 2, code = 'CKR_USER_NOT_LOGGED_IN'", "CKR_USER_NOT_LOGGED_IN"),
    row("busy", "function = 'C_Sign', times = 4, code = 'CKR_FUNCTION_FAILED'", "CKR_FUNCTION_FAILED"),
    row("too many sessions", "function = 'C_OpenSession', times = 3, code = 'CKR_SESSION_COUNT'", "CKR_SESSION_COUNT").after("lose-sessions"),
    row("too many sessions to sign", "function = 'C_SignInit', times = 2, code = 'CKR_SESSION_COUNT'", "CKR_SESSION_COUNT"),
    row("a call hangs", "function = 'C_Sign', times = 1, hang_s = 0.4", "hang"),
    row("every session hangs", "function = 'C_SignInit', times = 3, hang = true", "hang").healed_by("release-hangs"),
    row("hangs while a session opens", "function = 'C_OpenSession', times = 2, hang_s = 0.4", "hang").after("lose-sessions"),
    row("hangs in a login", "function = 'C_Login', times = 1, hang_s = 0.4", "hang").after("lose-login"),
    row("wrong signatures", "function = 'C_Sign', times = 5, signature = 'wrong'", "signature-wrong"),
    row("short signatures", "function = 'C_Sign', times = 3, signature = 'short'", "signature-short"),
    row("long signatures", "function = 'C_Sign', times = 3, signature = 'long'", "signature-long"),
    row("module not initialized", "function = 'C_SignInit', times = 1, code = 'CKR_CRYPTOKI_NOT_INITIALIZED'", "CKR_CRYPTOKI_NOT_INITIALIZED"),
    row("mechanism refused", "function = 'C_SignInit', times = 2, code = 'CKR_MECHANISM_INVALID'", "CKR_MECHANISM_INVALID"),
    // After a login with such an answer no PIN is sent until a person looked (hsm/tests/tokens/pins.rs).
    row("any call fails", "function = '*', except = 'C_Login', probability = 0.1, code = 'CKR_DEVICE_ERROR'", "CKR_DEVICE_ERROR"),
];

/// A CA with its key on three test HSMs.
struct World {
    hsms: Vec<TestHsm>,
    factory: Factory,
    _directory: tempfile::TempDir,
}

impl World {
    fn new(count: usize) -> World {
        let directory = tempfile::tempdir().unwrap();
        // The ceremony makes the key on the first; the others find it in the file.
        let settings = "mode = 'software'\nkey_file = 'shared'\nmake_key = false\n\
            latency = { mean_us = 1000, jitter_us = 200 }";
        let hsms: Vec<_> = ["a", "b", "c"][..count]
            .iter()
            .map(|name| TestHsm::create(directory.path(), name, settings).unwrap())
            .collect();
        World {
            factory: Factory::on_tokens(&uris(&hsms), ""),
            hsms,
            _directory: directory,
        }
    }

    /// The engine, with limits shorter than a configuration's.
    fn open(&self, call_limit: Duration) -> Engine {
        let options = PoolOptions {
            tokens: Pkcs11Options {
                sessions: Some(SESSIONS),
                ..Pkcs11Options::default()
            },
            call_limit,
            wait_limit: Duration::from_secs(3),
            probe_interval_max: Duration::from_secs(1),
            state_directory: Some(self.factory.path("ca")),
            ..PoolOptions::default()
        };
        self.factory.open_with(|station| {
            station.signer = SigningPool::pkcs11_tokens(&uris(&self.hsms), options).unwrap();
        })
    }

    fn command(&self, hsm: usize, line: &str) {
        self.hsms[hsm].command(line).unwrap();
    }

    fn faults(&self, hsm: usize, counted: &str) -> u64 {
        self.hsms[hsm].report().unwrap().faults(counted)
    }

    /// Calls of C_SignInit and signatures made, as the tokens count them.
    fn asked_and_signed(&self) -> (u64, u64) {
        let reports = self.hsms.iter().map(|hsm| hsm.report().unwrap());
        reports.fold((0, 0), |(asked, signed), report| {
            let calls = report.calls("C_SignInit");
            (asked + calls, signed + report.signatures)
        })
    }

    /// Provokes every row on one token. Returns how many.
    fn storm_over(&self, hsm: usize, pool: &SigningPool, seed: u64) -> usize {
        let mut random = Random::new(seed.wrapping_add(hsm as u64));
        // The row after the last one is the wrong key.
        let all = 0..=ROWS.len();
        let mut order: Vec<usize> = (0..ROUNDS).flat_map(|_| all.clone()).collect();
        for end in (1..order.len()).rev() {
            order.swap(end, random.below(end as u64 + 1) as usize);
        }
        for index in &order {
            match ROWS.get(*index) {
                Some(row) => self.provoke(hsm, pool, row, &mut random),
                None => self.change_key(hsm, pool, &mut random),
            }
            // Some faults meet a token that is down or just coming back, others one that signs.
            if random.below(2) == 0 {
                wait_for_state(pool, hsm, TokenState::Up);
            }
        }
        order.len()
    }

    fn provoke(&self, hsm: usize, pool: &SigningPool, row: &Row, random: &mut Random) {
        let before = self.faults(hsm, row.counted);
        self.command(hsm, &format!("fault = {{ {} }}", row.fault));
        let started = Instant::now();
        let mut again = started;
        if let Some(command) = row.command {
            self.command(hsm, command);
        }
        while self.faults(hsm, row.counted) == before {
            assert!(
                started.elapsed() < WATCHDOG,
                "{} on token {hsm}: {:#?}",
                row.name,
                pool.tokens()
            );
            // What it took may have been gone already: a session of a token that was down.
            if let Some(command) = row.command
                && again.elapsed() > Duration::from_millis(500)
            {
                again = Instant::now();
                self.command(hsm, command);
            }
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(random.below(PAUSE_MAX_MS)));
        if row.heal == Some("release-hangs") {
            thread::sleep(CALL_LIMIT * 2);
        }
        self.command(hsm, "clear-faults");
        if let Some(command) = row.heal {
            self.command(hsm, command);
        }
    }

    /// The token comes back with another key under the same name, and later with the right one.
    fn change_key(&self, hsm: usize, pool: &SigningPool, random: &mut Random) {
        self.command(hsm, "remove");
        self.command(hsm, "key = 'wrong'");
        thread::sleep(Duration::from_millis(random.below(PAUSE_MAX_MS)));
        self.command(hsm, "return");
        wait_for_state(pool, hsm, TokenState::WrongKey);
        self.command(hsm, "key = 'right'");
    }

    /// Nothing is wrong with the tokens any more.
    fn calm(&self) {
        for hsm in 0..self.hsms.len() {
            for command in ["clear-faults", "release-hangs", "return", "key = 'right'"] {
                self.command(hsm, command);
            }
        }
    }
}

fn seed() -> u64 {
    std::env::var(SEED_VARIABLE).map_or(SEED, |seed| seed.parse().unwrap())
}

fn uris(hsms: &[TestHsm]) -> Vec<Pkcs11Uri> {
    hsms.iter().map(|hsm| hsm.uri().parse().unwrap()).collect()
}

/// Waits until every token signs.
fn wait_until_all_sign(pool: &SigningPool) {
    let before: Vec<u64> = pool.tokens().iter().map(|token| token.signatures).collect();
    wait_for(pool, "every token signs", || {
        let tokens = pool.tokens();
        tokens.iter().zip(&before).all(|(token, before)| {
            token.state == TokenState::Up
                && token.sessions == SESSIONS
                && token.signatures > *before
        })
    });
}

/// What one run of an engine did, added up.
#[derive(Debug, Default)]
struct Sum {
    attempts: u64,
    signatures: u64,
    retries: u64,
    failed: u64,
    abandoned: u64,
    tests: u64,
    wrong: u64,
    issued: u64,
    lost: u64,
}

impl Sum {
    /// Nothing is in flight: requests, jobs and attempts agree with each other.
    fn of(engine: &Engine) -> Sum {
        let pool = engine.signing_pool();
        wait_for(pool, "no call hangs", || {
            pool.tokens().iter().all(|token| token.inside == 0)
        });
        let mut sum = Sum::default();
        for token in pool.tokens() {
            sum.attempts += token.attempts;
            sum.signatures += token.signatures;
            sum.retries += token.retries;
            sum.failed += token.failed;
            sum.abandoned += token.abandoned;
            sum.tests += token.tests;
            sum.wrong += token.wrong_signatures;
            assert_eq!(token.in_flight, 0);
        }
        let (engine, pool) = (engine.metrics(), pool.metrics());
        (sum.issued, sum.lost) = (engine.issued, engine.lost);
        assert_eq!(
            sum.attempts,
            sum.signatures + sum.retries + sum.failed + sum.abandoned,
            "{sum:?}"
        );
        // Wrong ones were handed on too, and are counted as retries since.
        let right = pool.signatures - pool.wrong_signatures;
        assert_eq!(sum.signatures, right, "{sum:?}");
        let jobs = right + pool.errors_total();
        assert_eq!(sum.issued + sum.lost, jobs, "each job is one of them");
        assert_eq!(engine.faults, engine.lost, "an error for each lost one");
        assert_eq!((engine.existing, engine.rejected), (0, 0));
        assert_eq!(pool.completions_panicked, 0);
        sum
    }

    fn add(&mut self, other: &Sum) {
        self.attempts += other.attempts;
        self.signatures += other.signatures;
        self.retries += other.retries;
        self.failed += other.failed;
        self.abandoned += other.abandoned;
        self.tests += other.tests;
        self.wrong += other.wrong;
        self.issued += other.issued;
        self.lost += other.lost;
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sum {
            signatures,
            retries,
            failed,
            abandoned,
            tests,
            wrong,
            issued,
            lost,
            ..
        } = self;
        write!(
            f,
            "{issued} certificates, {lost} lost; {signatures} signatures taken, {retries} attempts retried ({wrong} \
             were wrong), {failed} failed, {abandoned} given up, {tests} tests"
        )
    }
}

#[test]
fn a_storm_of_faults_loses_doubles_and_spoils_nothing() {
    let world = World::new(3);
    let load = Load::default();
    let seed = seed();
    crate::report(format_args!("a storm of faults, seed {seed}"));
    let engine = world.open(CALL_LIMIT);
    let pool = engine.signing_pool();
    load.during(&engine, || {
        wait_until_all_sign(pool);
        let before = load.rate_over(pool, 3000);
        let started = Instant::now();
        let rows: usize = thread::scope(|scope| {
            let storms: Vec<_> = (0..world.hsms.len())
                .map(|hsm| scope.spawn({ let world = &world; move || world.storm_over(hsm, pool, seed) }))
                .collect();
            storms.into_iter().map(|storm| storm.join().unwrap()).sum()
        });
        let storm = started.elapsed().as_secs_f64();
        for hsm in 0..world.hsms.len() {
            wait_for_state(pool, hsm, TokenState::Up);
            world.command(hsm, "remove");
            wait_for_state(pool, hsm, TokenState::Down);
        }
        world.calm();
        let calm = Instant::now();
        wait_until_all_sign(pool);
        let back = calm.elapsed();
        let after = load.rate_over(pool, 3000);
        crate::report(format_args!(
            "{rows} faults on 3 tokens in {storm:.1} s; all removed, all sign {:.2} s after their return; {before:.0} \
             certificates/s before, {after:.0} after",
            back.as_secs_f64(),
        ));
    });
    let signer = {
        let account = load.account();
        let checked = account.errors_of("check");
        assert_eq!(checked, 0, "wrong signatures were made again elsewhere");
        account.errors.len()
    };
    assert_eq!(load.ask_again(&engine), signer);
    let mut sum = Sum::of(&engine);
    assert!(sum.wrong > 0, "wrong signatures were made, and found");
    engine.close().unwrap();

    sum.add(&persons_are_needed(&world, &load));
    let (asked, made) = world.asked_and_signed();
    let ours = sum.attempts + sum.tests;
    assert_eq!(asked, ours, "asked of the tokens: {sum:?}");
    // Signatures that nobody took: of calls given up, wrong ones, or told with a wrong length or an error.
    assert!(
        (sum.signatures..=ours).contains(&made),
        "{made} signatures were made: {sum:?}"
    );
    let entries = world.factory.assert_sound();
    load.account().assert_logged(load.asked(), &entries);
    let lost = entries.iter().filter(|entry| entry.is_lost()).count() as u64;
    assert_eq!(lost, sum.lost);
    let requests = load.asked();
    crate::report(format_args!(
        "{requests} requests, {signer} of them asked twice: {sum}; {asked} signatures asked"
    ));
    for hsm in &world.hsms {
        assert_eq!(hsm.report().unwrap().sessions_open, 0);
    }
}

/// Rows that wait for a person: a key that is used up, and a PIN that is locked. The third token
/// goes on alone; with the causes mended, a restart has all three.
fn persons_are_needed(world: &World, load: &Load) -> Sum {
    let engine = world.open(CALL_LIMIT_CALM);
    let pool = engine.signing_pool();
    load.during(&engine, || {
        wait_until_all_sign(pool);
        world.command(
            0,
            "fault = { function = 'C_SignInit', code = 'CKR_KEY_NOT_ACTIVE' }",
        );
        wait_for_state(pool, 0, TokenState::KeyStopped);
        world.command(
            1,
            "fault = { function = 'C_Login', code = 'CKR_PIN_LOCKED' }",
        );
        world.command(1, "lose-login");
        wait_for_state(pool, 1, TokenState::PinRefused);
        load.rate_over(pool, 1000);
        assert_eq!(pool.tokens()[2].state, TokenState::Up);
    });
    assert!(load.account().errors.is_empty(), "the third took them all");
    assert_eq!(
        world.faults(1, "CKR_PIN_LOCKED"),
        1,
        "the PIN was sent once"
    );
    let mut sum = Sum::of(&engine);
    engine.close().unwrap();

    world.calm();
    let mark = world.factory.path("ca/pin-refused.b.0001");
    std::fs::remove_file(&mark).unwrap();
    let engine = world.open(CALL_LIMIT_CALM);
    load.during(&engine, || wait_until_all_sign(engine.signing_pool()));
    assert!(load.account().errors.is_empty());
    sum.add(&Sum::of(&engine));
    engine.close().unwrap();
    sum
}

/// One token of two is killed under load: no request fails, and only its share of the rate goes.
#[test]
fn a_token_killed_under_load_takes_only_its_share() {
    let world = World::new(2);
    let load = Load::default();
    let engine = world.open(CALL_LIMIT_CALM);
    let pool = engine.signing_pool();
    load.during(&engine, || {
        wait_until_all_sign(pool);
        let both = load.rate_over(pool, 4000);
        let before = pool.tokens()[1].signatures;
        world.command(0, "remove");
        wait_for_state(pool, 0, TokenState::Down);
        let stopped = world.hsms[0].report().unwrap().signatures;
        let one = load.rate_over(pool, 4000);
        let other = pool.tokens()[1].signatures - before;
        // What was on its way may have been signed by the first before it went: requests in flight, and
        // signatures that wait for their certificate's turn in the log.
        assert!(other >= 2000, "{other} by the other token");
        assert_eq!(world.hsms[0].report().unwrap().signatures, stopped);
        world.command(0, "return");
        wait_until_all_sign(pool);
        let again = load.rate_over(pool, 4000);
        crate::report(format_args!(
            "a token of two killed under load: {both:.0} certificates/s with both, {one:.0} with one, {again:.0} \
             with both again"
        ));
    });
    assert!(load.account().errors.is_empty(), "no request fails");
    let sum = Sum::of(&engine);
    engine.close().unwrap();
    assert_eq!(sum.lost, 0);
    assert_eq!(world.asked_and_signed().0, sum.attempts + sum.tests);
    let entries = world.factory.assert_sound();
    load.account().assert_logged(load.asked(), &entries);
}

//! What comes and goes leaves nothing behind. Apart from the other tests: it counts the threads and
//! open files of its process.

#![allow(
    clippy::unwrap_used,
    reason = "a failure of the set-up is the test's failure"
)]

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use birthmark_hsm::SigningPool;

mod test_token;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "tokens/world.rs"]
mod world;
use world::{World, sign_ok, wait_for};

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sessions that are lost and opened anew leave nothing behind, on the token or here.
#[test]
fn a_hundred_thousand_sessions_leak_nothing() {
    const SESSIONS: u64 = 100_000;
    /// Leaking 47 bytes a session would come to as much.
    const GROWTH_MAX: u64 = 4 << 20;
    let _alone = alone();
    let world = World::new([("a", "")]);
    // One session, so that the calls of a job follow each other.
    let mut options = world.options();
    options.tokens.sessions = Some(1);
    let pool = world.try_open(options).unwrap();
    sign_ok(&pool, 100);
    let before = settled_resources(&pool);
    // Every second C_SignInit finds its session stuck; the remedy closes it and opens another.
    world.fail(0, "C_SignInit", "every = 2", "CKR_OPERATION_ACTIVE");
    // The first ones fill what stays: the allocator's pools, the histograms.
    while pool.metrics().sessions_reopened < SESSIONS / 10 {
        sign_ok(&pool, 500);
    }
    let resident = resident();
    while pool.metrics().sessions_reopened < SESSIONS {
        sign_ok(&pool, 500);
    }
    let growth = self::resident().saturating_sub(resident);
    assert!(growth < GROWTH_MAX, "{growth} bytes more");
    let report = world.report(0);
    assert_eq!(report.sessions_open, 2, "a session and the anchor");
    let opened = report.calls("C_OpenSession");
    assert!(opened > SESSIONS);
    assert_eq!(report.calls("C_CloseSession"), opened - 2);
    wait_for(&pool, "as many threads and open files", || {
        resources() == before
    });
    pool.close().unwrap();
    assert_eq!(world.report(0).sessions_open, 0);
    // Past the harness, which holds back what a test that passes prints.
    let line =
        format!("tried: {opened} sessions opened and closed, {growth} bytes more in memory\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// The same for a token that goes away and comes back.
#[test]
fn a_token_that_comes_and_goes_leaks_nothing() {
    let _alone = alone();
    let world = World::new([("a", "")]);
    let mut options = world.options();
    options.probe_interval_max = Duration::from_millis(10);
    let pool = world.try_open(options).unwrap();
    sign_ok(&pool, 100);
    let before = settled_resources(&pool);
    for round in 1..=100 {
        world.fail(0, "C_Sign", "at = [3]", "CKR_DEVICE_ERROR");
        wait_for(&pool, "it went", || {
            sign_ok(&pool, 5);
            world.report(0).faults("CKR_DEVICE_ERROR") == round
        });
        world.command(0, "clear-faults");
    }
    sign_ok(&pool, 20);
    assert_eq!(world.report(0).sessions_open, 3);
    wait_for(&pool, "as many threads and open files", || {
        resources() == before
    });
    let told = &pool.tokens()[0];
    assert_eq!(told.history.len(), 32, "no more is kept");
    // It had signed in between: the wait between probes does not grow.
    assert_eq!(told.errors_total(), 100);
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib << 10
}

/// [`resources`] once every thread has its name, which it takes when it first runs.
fn settled_resources(pool: &SigningPool) -> (usize, usize) {
    // The keeper, the watch, and one for each session.
    let threads = 2 + pool.tokens()[0].sessions;
    wait_for(pool, "the pool's threads", || resources().0 == threads);
    resources()
}

/// Threads of this process that are the pool's, and its open files.
fn resources() -> (usize, usize) {
    let own = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter(|task| {
            let name = task.as_ref().unwrap().path().join("comm");
            std::fs::read_to_string(name).is_ok_and(|name| name.starts_with("pkcs11-"))
        });
    let own = own.count();
    let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
    (own, files)
}

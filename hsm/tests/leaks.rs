//! What comes and goes leaves nothing behind. Apart from the other tests: it counts the threads and
//! open files of its process.

#![allow(
    clippy::unwrap_used,
    reason = "a failure of the set-up is the test's failure"
)]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
fn ten_thousand_sessions_leak_nothing() {
    const SESSIONS: u64 = 10_000;
    let _alone = alone();
    let world = World::new([("a", "")]);
    // One session, so that the calls of a job follow each other.
    let mut options = world.options();
    options.tokens.sessions = Some(1);
    let pool = world.try_open(options).unwrap();
    sign_ok(&pool, 100);
    let before = resources();
    // Every second C_SignInit loses its session; the remedy opens another.
    world.fail(0, "C_SignInit", "every = 2", "CKR_SESSION_HANDLE_INVALID");
    while pool.metrics().sessions_reopened < SESSIONS {
        sign_ok(&pool, 500);
    }
    let report = world.report(0);
    assert_eq!(report.sessions_open, 2, "a session and the anchor");
    let opened = report.calls("C_OpenSession");
    assert!(opened > SESSIONS);
    assert_eq!(report.calls("C_CloseSession"), opened - 2);
    assert_eq!(resources(), before, "threads and open files");
    pool.close().unwrap();
    assert_eq!(world.report(0).sessions_open, 0);
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
    let before = resources();
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
    assert_eq!(resources(), before, "threads and open files");
    let told = &pool.tokens()[0];
    assert_eq!(told.history.len(), 32, "no more is kept");
    // It had signed in between: the wait between probes does not grow.
    assert_eq!(told.errors_total(), 100);
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

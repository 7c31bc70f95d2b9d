//! What becomes of a token when the system gives its sessions no threads.

#![cfg(target_os = "linux")]

use std::ffi::OsString;
use std::fs;
use std::process::Command;
use std::sync::Arc;

use birthmark_hsm::{SigningPool, TokenState};

use crate::own_process;
use crate::world::{Load, WATCHDOG, World, assert_adds_up, states, wait_for, wait_for_state};

/// Address space of a thread's stack: far more than anything else here asks for at a time.
const STACK_BYTES: u64 = 256 << 20;

/// A process in which no further thread fits once [`forbid_threads`] was called.
fn enter(test: &str) -> bool {
    let environment = || -> Vec<(&'static str, OsString)> {
        vec![
            ("RUST_MIN_STACK", STACK_BYTES.to_string().into()),
            // The stacks of threads that ended are not used again.
            (
                "GLIBC_TUNABLES",
                "glibc.pthread.stack_cache_size=0".to_owned().into(),
            ),
        ]
    };
    own_process::enter(test, |_| environment()).is_some()
}

fn forbid_threads() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let size = size.unwrap().trim().trim_end_matches(" kB");
    let now = size.parse::<u64>().unwrap() * 1024;
    limit_address_space(&(now + STACK_BYTES / 2).to_string());
}

fn limit_address_space(limit: &str) {
    let process = std::process::id().to_string();
    let limited = Command::new("prlimit")
        .args(["--pid", &process, &format!("--as={limit}:")])
        .status();
    assert!(limited.unwrap().success());
}

/// A session is lost and gets no other from its own thread, which ends. The keeper opens one, and finds no thread
/// for it.
fn lose_a_session(world: &World, pool: &SigningPool) {
    world.command(
        0,
        "fault = { function = 'C_OpenSession', at = [2], hang = true }",
    );
    world.fail(0, "C_OpenSession", "at = [1]", "CKR_SESSION_COUNT");
    world.command(
        0,
        "fault = { function = 'C_SignInit', at = [1], sessions = 'lose' }",
    );
    // By then the thread has ended, and given its stack back.
    wait_for(pool, "the keeper opens another", || {
        world.report(0).hung == 1
    });
    forbid_threads();
    world.command(0, "release-hangs");
}

fn open(world: &World, sessions: usize) -> Arc<SigningPool> {
    let mut options = world.options();
    options.tokens.sessions = Some(sessions);
    options.call_limit = WATCHDOG;
    Arc::new(world.try_open(options).unwrap())
}

#[test]
fn a_token_whose_last_session_gets_no_thread_goes_down_until_there_are_threads() {
    if !enter(
        "threads::a_token_whose_last_session_gets_no_thread_goes_down_until_there_are_threads",
    ) {
        return;
    }
    let world = World::new([("a", "")]);
    let pool = open(&world, 1);
    let load = Load::start(&pool, 4);
    load.go_on(&pool, 20);
    lose_a_session(&world, &pool);
    wait_for_state(&pool, 0, TokenState::Down);
    let told = &pool.tokens()[0];
    assert!(
        told.why.contains("no thread for a signing session"),
        "{told:#?}"
    );
    assert_eq!(told.sessions, 0);
    let opened = world.report(0).logins;
    wait_for(&pool, "it is probed", || {
        world.report(0).logins > opened + 2
    });
    assert_eq!(pool.tokens()[0].state, TokenState::Down);
    limit_address_space("unlimited");
    wait_for_state(&pool, 0, TokenState::Up);
    load.go_on(&pool, 20);
    load.stop();
    let (up, down) = (TokenState::Up, TokenState::Down);
    assert_eq!(states(&pool.tokens()[0]), [up, down, up]);
    assert_adds_up(&pool.tokens());
    Arc::into_inner(pool).unwrap().close().unwrap();
}

#[test]
fn a_session_that_gets_no_thread_is_told() {
    if !enter("threads::a_session_that_gets_no_thread_is_told") {
        return;
    }
    let world = World::new([("a", "")]);
    let pool = open(&world, 2);
    let load = Load::start(&pool, 4);
    load.go_on(&pool, 20);
    lose_a_session(&world, &pool);
    wait_for(&pool, "it is told", || {
        let lines = world.events.lines();
        let told = |line: &String| {
            line.contains("1 sessions where 2 were asked for: no thread for a signing session")
        };
        lines.iter().any(told)
    });
    load.go_on(&pool, 50);
    limit_address_space("unlimited");
    load.stop();
    assert_eq!(states(&pool.tokens()[0]), [TokenState::Up]);
    assert_adds_up(&pool.tokens());
    Arc::into_inner(pool).unwrap().close().unwrap();
}

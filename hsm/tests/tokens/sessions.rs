//! How many sessions there are, and what becomes of them.

use std::sync::Arc;
use std::time::Duration;

use birthmark_hsm::{OpenError, TokenState};

use crate::world::{Load, WATCHDOG, World, sign_ok, states, wait_for, wait_within};

#[test]
fn a_token_with_fewer_sessions_than_asked_for_signs_with_those() {
    let world = World::new([("a", "session_max = 4"), ("b", "")]);
    let mut options = world.options();
    options.tokens.sessions = Some(10);
    let pool = world.try_open(options).unwrap();
    let tokens = pool.tokens();
    assert_eq!((tokens[0].sessions, tokens[1].sessions), (3, 10));
    sign_ok(&pool, 100);
    let lines = world.events.lines();
    let told = |line: &String| line.contains("3 sessions where 10 were asked for");
    assert!(lines.iter().any(told), "{lines:#?}");
    assert_eq!(states(&pool.tokens()[0]), [TokenState::Up]);
}

/// Twenty milliseconds a signature: more sessions sign more, up to what the token opens.
#[test]
fn adaptive_sessions_grow_while_the_rate_does() {
    let world = World::new([(
        "a",
        "session_max = 12\nlatency = { mean_us = 20000, jitter_us = 0 }",
    )]);
    let mut options = world.options();
    options.adaptive = true;
    options.tokens.sessions = Some(2);
    let pool = Arc::new(world.try_open(options).unwrap());
    let load = Load::start(&pool, 64);
    // On a busy machine a step may seem to bring nothing; it is tried again after a minute.
    wait_within(WATCHDOG * 5, &pool, "all that the token opens", || {
        pool.tokens()[0].sessions == 11
    });
    load.go_on(&pool, 100);
    load.stop();
    assert_eq!(world.report(0).sessions_most, 12);
    assert_eq!(states(&pool.tokens()[0]), [TokenState::Up], "no fault");
}

#[test]
fn adaptive_sessions_are_fewer_after_a_want_of_memory() {
    let world = World::new([("a", "")]);
    for (adaptive, left) in [(true, 4), (false, 6)] {
        let mut options = world.options();
        options.adaptive = adaptive;
        options.tokens.sessions = Some(6);
        let pool = world.try_open(options).unwrap();
        world.command(0, "clear-faults");
        world.fail(0, "C_Sign", "at = [1]", "CKR_HOST_MEMORY");
        sign_ok(&pool, 20);
        let (up, down) = (TokenState::Up, TokenState::Down);
        assert_eq!(states(&pool.tokens()[0]), [up, down, up]);
        assert_eq!(pool.tokens()[0].sessions, left);
    }
}

/// A session that is not to be had because the token fails is wanted again when it is back.
#[test]
fn adaptive_sessions_are_as_many_after_an_outage() {
    let world = World::new([("a", "")]);
    let mut options = world.options();
    options.adaptive = true;
    options.tokens.sessions = Some(4);
    let pool = world.try_open(options).unwrap();
    world.fail(0, "C_OpenSession", "at = [1]", "CKR_SESSION_COUNT");
    world.fail(0, "C_OpenSession", "at = [2]", "CKR_DEVICE_ERROR");
    world.command(
        0,
        "fault = { function = 'C_SignInit', at = [1], sessions = 'lose' }",
    );
    // The session gets no other, and neither does the keeper in its place.
    sign_ok(&pool, 20);
    wait_for(&pool, "the keeper was refused", || {
        world.report(0).faults("CKR_DEVICE_ERROR") == 1
    });
    assert_eq!(pool.tokens()[0].sessions, 3);
    world.command(0, "clear-faults");
    world.fail(0, "C_Sign", "at = [1]", "CKR_DEVICE_ERROR");
    sign_ok(&pool, 20);
    let (up, down) = (TokenState::Up, TokenState::Down);
    assert_eq!(states(&pool.tokens()[0]), [up, down, up]);
    assert_eq!(pool.tokens()[0].sessions, 4);
}

#[test]
fn an_idle_session_is_kept_alive_and_a_busy_one_left_alone() {
    let world = World::new([("a", "")]);
    let mut options = world.options();
    options.keep_alive = Duration::from_millis(50);
    let pool = world.try_open(options).unwrap();
    let pings = || world.report(0).calls("C_GetSessionInfo");
    let before = pings();
    wait_for(&pool, "pings", || pings() >= before + 9);
    pool.close().unwrap();

    let pool = world.open();
    let before = pings();
    sign_ok(&pool, 2000);
    assert_eq!(pings(), before, "20 s are not over");
}

/// A token that drops idle sessions: the ping finds out, before a job does.
#[test]
fn a_session_that_was_dropped_while_idle_is_replaced_before_the_next_job() {
    let world = World::new([("a", "")]);
    let mut options = world.options();
    options.keep_alive = Duration::from_millis(50);
    let pool = world.try_open(options).unwrap();
    sign_ok(&pool, 20);
    world.command(0, "lose-sessions");
    wait_for(&pool, "both are replaced", || {
        pool.metrics().sessions_reopened >= 2
    });
    let before = pool.tokens()[0].retries;
    sign_ok(&pool, 100);
    assert_eq!(pool.tokens()[0].retries, before);
    assert_eq!(pool.tokens()[0].errors_total(), 0);
}

/// HSMs give the number of a lost session to the next one: closing the lost one would close that.
#[test]
fn a_lost_session_is_not_closed() {
    let world = World::new([("a", "reuse_handles = true")]);
    let mut options = world.options();
    options.tokens.sessions = Some(1);
    let pool = world.try_open(options).unwrap();
    for lost in [
        "sessions = 'lose'",
        "sessions = 'lose', code = 'CKR_SESSION_CLOSED'",
    ] {
        let fault = format!("fault = {{ function = 'C_SignInit', at = [3, 9], {lost} }}");
        world.command(0, &fault);
        sign_ok(&pool, 40);
    }
    let report = world.report(0);
    assert_eq!(report.calls("C_CloseSession"), 0);
    assert_eq!(report.calls("C_OpenSession"), 2 + 4);
    assert_eq!(pool.metrics().sessions_reopened, 4);
    let told = &pool.tokens()[0];
    assert_eq!((told.retries, states(told)), (4, vec![TokenState::Up]));
}

/// And one that is stuck makes room for the next: the token has no more of them.
#[test]
fn a_stuck_session_is_closed_before_another_is_opened() {
    let world = World::new([("a", "session_max = 2")]);
    let mut options = world.options();
    options.tokens.sessions = Some(1);
    let pool = world.try_open(options).unwrap();
    world.fail(0, "C_SignInit", "at = [3]", "CKR_OPERATION_ACTIVE");
    sign_ok(&pool, 40);
    let report = world.report(0);
    assert_eq!(report.calls("C_CloseSession"), 1);
    assert_eq!(report.calls("C_OpenSession"), 2 + 1);
    assert_eq!(report.faults("CKR_SESSION_COUNT"), 0);
    let told = &pool.tokens()[0];
    assert_eq!((told.retries, states(told)), (1, vec![TokenState::Up]));
}

#[test]
fn limits_out_of_range_are_refused() {
    let world = World::new([("a", "")]);
    let mut wrong = Vec::new();
    for place in 0..5 {
        let mut options = world.options();
        match place {
            0 => options.call_limit = Duration::ZERO,
            1 => options.probe_interval_max = Duration::ZERO,
            2 => options.keep_alive = Duration::from_secs(86_401),
            3 => options.wait_limit = Duration::MAX,
            _ => options.abandoned_max = Some(0),
        }
        match world.try_open(options) {
            Err(OpenError::Limit { name, .. }) => wrong.push(name),
            other => panic!("{other:?}"),
        }
    }
    let names = [
        "call_limit",
        "probe_interval_max",
        "keep_alive",
        "wait_limit",
        "abandoned_max",
    ];
    assert_eq!(wrong, names);
}

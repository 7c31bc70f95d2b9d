//! Tokens that go away and come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use birthmark_hsm::{OpenError, SignError, TokenState};

use crate::world::{
    Load, WATCHDOG, World, assert_adds_up, errors, sign_ok, states, wait_for, wait_for_state,
};

const UP: TokenState = TokenState::Up;
const DOWN: TokenState = TokenState::Down;

/// The point of it all: one of two tokens is killed under load, and nobody notices.
#[test]
fn no_request_fails_when_one_of_two_tokens_is_killed() {
    let world = World::two();
    let pool = Arc::new(world.open());
    let load = Load::start(&pool, 64);
    for _ in 0..3 {
        load.go_on(&pool, 200);
        world.command(0, "remove");
        wait_for_state(&pool, 0, DOWN);
        load.go_on(&pool, 200);
        // A session still on its way into the module would log in once more.
        wait_for(&pool, "no session is left", || {
            pool.tokens()[0].sessions == 0
        });
        world.command(0, "return");
        wait_for_state(&pool, 0, UP);
        let before = pool.tokens()[0].signatures;
        wait_for(&pool, "it signs again", || {
            pool.tokens()[0].signatures > before
        });
    }
    let jobs = load.stop();
    let tokens = pool.tokens();
    assert_eq!(states(&tokens[0]), [UP, DOWN, UP, DOWN, UP, DOWN, UP]);
    assert_eq!(states(&tokens[1]), [UP]);
    assert_adds_up(&tokens);
    let signed: u64 = tokens.iter().map(|token| token.signatures).sum();
    assert_eq!(signed, jobs as u64);
    // Once at the start, and once each time it came back; the probes between sent no PIN.
    let report = world.report(0);
    assert_eq!((report.logins, report.logins_refused), (4, 0));
    assert_eq!(world.report(1).logins, 1);
    assert_eq!(pool.metrics().errors_total(), 0);
}

#[test]
fn jobs_wait_while_all_tokens_are_down() {
    let world = World::two();
    let pool = Arc::new(world.open());
    let load = Load::start(&pool, 32);
    load.go_on(&pool, 100);
    for token in 0..2 {
        world.command(token, "remove");
    }
    for token in 0..2 {
        wait_for_state(&pool, token, DOWN);
    }
    assert_eq!(pool.metrics().tokens_up, 0);
    wait_for(&pool, "all jobs wait", || pool.queue_len() == 32);
    world.command(1, "return");
    load.go_on(&pool, 100);
    world.command(0, "return");
    wait_for_state(&pool, 0, UP);
    load.stop();
    assert_adds_up(&pool.tokens());
    assert_eq!(pool.metrics().waited_out, 0);
}

#[test]
fn jobs_that_waited_too_long_are_told_why() {
    let world = World::two();
    let mut options = world.options();
    options.wait_limit = Duration::from_millis(300);
    let pool = world.try_open(options).unwrap();
    for token in 0..2 {
        world.command(token, "remove");
    }
    let started = Instant::now();
    let errors = errors(&pool, 10);
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(errors.len(), 10);
    for error in errors {
        let SignError::TokensDown { waited, .. } = &error else {
            panic!("{error}")
        };
        assert!(*waited >= Duration::from_millis(300), "{error}");
        let told = error.to_string();
        for part in ["check the HSMs", "'a' is down", "'b' is down", "token="] {
            let part = part.replace("token=", "no token fits");
            assert!(told.contains(&part) || told.contains("REMOVED"), "{told}");
        }
    }
    assert_eq!(pool.metrics().waited_out, 10);
    assert_adds_up(&pool.tokens());
    for token in 0..2 {
        world.command(token, "return");
        wait_for_state(&pool, token, UP);
    }
    sign_ok(&pool, 50);
}

#[test]
fn a_token_that_is_down_at_the_start_comes_in_later() {
    let world = World::two();
    world.command(0, "remove");
    let pool = world.open();
    assert_eq!(pool.tokens()[0].state, DOWN);
    sign_ok(&pool, 50);
    assert_eq!(pool.tokens()[1].signatures, 50);
    world.command(0, "return");
    wait_for_state(&pool, 0, UP);
    sign_ok(&pool, 50);
    assert_eq!(world.report(0).logins, 1);
    assert_eq!(pool.metrics().sessions, 4);
}

#[test]
fn a_start_without_any_token_is_an_error() {
    let world = World::two();
    for token in 0..2 {
        world.command(token, "remove");
    }
    let error = world.try_open(world.options()).unwrap_err();
    assert!(matches!(error, OpenError::Token(_)), "{error}");
    assert!(error.to_string().contains("'a'"), "{error}");
}

/// What is wrong with the configuration is not taken for a token that is down.
#[test]
fn a_wrong_configuration_stops_the_start() {
    let world = World::two();
    let open = |wrong: &str| {
        let uris = [world.uris()[0].clone(), wrong.parse().unwrap()];
        birthmark_hsm::SigningPool::pkcs11_tokens(&uris, world.options()).unwrap_err()
    };
    let written = world.uris()[1].as_written().to_owned();
    let error = open(&written.replace("b.so", "nothing.so"));
    assert!(matches!(error, OpenError::Module(_)), "{error}");
    let error = open(&written.replace("b.pin", "nothing.pin"));
    assert!(matches!(error, OpenError::Pin(_)), "{error}");
    let error = open(&written.replace("object=k", "object=other"));
    assert!(matches!(error, OpenError::Key(_)), "{error}");
    let error = open(world.uris()[0].as_written());
    assert!(matches!(error, OpenError::SameToken { .. }), "{error}");
    let none = birthmark_hsm::SigningPool::pkcs11_tokens(&[], world.options()).unwrap_err();
    assert!(matches!(none, OpenError::Tokens { asked: 0, .. }), "{none}");
}

#[test]
fn a_slow_token_takes_less_work() {
    let world = World::new([
        ("a", "latency = { mean_us = 200000, jitter_us = 0 }"),
        ("b", "latency = { mean_us = 500, jitter_us = 0 }"),
    ]);
    let pool = world.open();
    sign_ok(&pool, 400);
    let [slow, fast] = &pool.tokens()[..] else {
        panic!()
    };
    assert!(slow.signatures >= 2, "{slow:#?}");
    assert!(fast.signatures > slow.signatures * 2, "{slow:#?} {fast:#?}");
    assert!(slow.latency.quantile_us(0.5) >= 190_000, "{slow:#?}");
    assert!(slow.latency.mean_us() > fast.latency.mean_us());
}

/// Some modules connect to their HSM only in C_Initialize: the module is started anew after some
/// probes, where nobody else uses it.
#[test]
fn a_module_is_initialized_anew_when_probes_go_on_failing() {
    let world = World::two();
    let pool = world.open();
    sign_ok(&pool, 10);
    let before = world.report(0).calls("C_Initialize");
    world.command(0, "remove");
    let started = Instant::now();
    while world.report(0).calls("C_Initialize") == before {
        assert!(started.elapsed() < WATCHDOG, "{:#?}", pool.tokens());
        sign_ok(&pool, 2);
    }
    world.command(0, "return");
    wait_for_state(&pool, 0, UP);
    sign_ok(&pool, 10);
    assert_eq!(world.report(1).calls("C_Initialize"), 1);
}

#[test]
fn the_observer_hears_of_every_change_in_one_line() {
    let world = World::two();
    let pool = world.open();
    world.command(1, "remove");
    sign_ok(&pool, 100);
    wait_for_state(&pool, 1, DOWN);
    world.command(1, "return");
    wait_for_state(&pool, 1, UP);
    pool.close().unwrap();
    let lines = world.events.lines();
    assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:#?}");
    let of_b: Vec<&String> = lines
        .iter()
        .filter(|line| line.starts_with("token 'b': "))
        .collect();
    assert_eq!(of_b.len(), 3, "{lines:#?}");
    assert!(of_b[0].contains("up (was opening)"), "{lines:#?}");
    assert!(of_b[1].contains("down (was up)"), "{lines:#?}");
    assert!(of_b[1].contains("CKR_DEVICE_REMOVED"), "{lines:#?}");
    assert!(of_b[2].contains("up (was down)"), "{lines:#?}");
}

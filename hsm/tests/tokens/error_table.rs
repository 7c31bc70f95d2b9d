//! Each row of the error table, on one of two tokens.

use birthmark_hsm::{ErrorClass, SigningPool, TokenMetrics, TokenState};

use crate::world::{World, assert_adds_up, errors, sign_ok, states, wait_for, wait_for_state};

const UP: TokenState = TokenState::Up;
const DOWN: TokenState = TokenState::Down;

/// As [`provoke_with`], with two sessions a token.
fn provoke(function: &str, when: &str, code: &str) -> (World, SigningPool, TokenMetrics) {
    provoke_with(2, function, when, code)
}

/// Two tokens with so many sessions each; from now on calls of the first fail as told. Signs until they did.
fn provoke_with(
    sessions: usize,
    function: &str,
    when: &str,
    code: &str,
) -> (World, SigningPool, TokenMetrics) {
    let world = World::two();
    let pool = open_with(&world, sessions);
    world.fail(0, function, when, code);
    wait_for(&pool, code, || {
        sign_ok(&pool, 20);
        world.report(0).faults(code) > 0
    });
    wait_for(&pool, "nothing is in flight", || {
        pool.tokens().iter().all(|token| token.in_flight == 0)
    });
    let tokens = pool.tokens();
    assert_adds_up(&tokens);
    assert_eq!(states(&tokens[1]), [UP], "{code}");
    assert_eq!(pool.metrics().errors_total(), 0, "{code}");
    (world, pool, tokens[0].clone())
}

fn open_with(world: &World, sessions: usize) -> SigningPool {
    let mut options = world.options();
    options.tokens.sessions = Some(sessions);
    world.try_open(options).unwrap()
}

#[test]
fn session_handle_and_login_are_mended_in_place() {
    let once = "at = [3]";
    for (code, class) in [
        ("CKR_SESSION_HANDLE_INVALID", ErrorClass::Session),
        ("CKR_SESSION_CLOSED", ErrorClass::Session),
        ("CKR_OPERATION_ACTIVE", ErrorClass::Session),
        ("CKR_KEY_HANDLE_INVALID", ErrorClass::Handle),
        ("CKR_OBJECT_HANDLE_INVALID", ErrorClass::Handle),
        ("CKR_USER_NOT_LOGGED_IN", ErrorClass::Login),
    ] {
        let (_world, pool, token) = provoke("C_SignInit", once, code);
        assert_eq!(states(&token), [UP], "{code}");
        assert_eq!((token.retries, token.errors(class)), (1, 1), "{code}");
        let metrics = pool.metrics();
        let remedies = [
            metrics.sessions_reopened,
            metrics.keys_found_again,
            metrics.logins_renewed,
        ];
        let expected = [ErrorClass::Session, ErrorClass::Handle, ErrorClass::Login]
            .map(|one| u64::from(one == class));
        assert_eq!(remedies, expected, "{code}");
    }
}

#[test]
fn device_errors_open_the_breaker_and_the_token_returns() {
    for (function, code) in [
        ("C_SignInit", "CKR_DEVICE_ERROR"),
        ("C_Sign", "CKR_DEVICE_ERROR"),
        ("C_Sign", "CKR_DEVICE_MEMORY"),
        ("C_Sign", "CKR_DEVICE_REMOVED"),
        ("C_SignInit", "CKR_TOKEN_NOT_PRESENT"),
        ("C_Sign", "CKR_HOST_MEMORY"),
    ] {
        let (world, pool, token) = provoke(function, "at = [3]", code);
        assert_eq!(token.errors(ErrorClass::Device), 1, "{code}");
        wait_for_state(&pool, 0, UP);
        let token = &pool.tokens()[0];
        assert_eq!(states(token), [UP, DOWN, UP], "{code}");
        assert!(token.history[1].why.contains(code), "{token:#?}");
        // The login was still there: no PIN was sent in vain.
        assert!(world.report(0).logins_refused == 0);
        sign_ok(&pool, 20);
    }
}

#[test]
fn general_error_opens_the_breaker_only_when_it_is_repeated() {
    for code in ["CKR_GENERAL_ERROR", "CKR_FUNCTION_FAILED"] {
        let (_world, _pool, token) = provoke("C_SignInit", "at = [3]", code);
        assert_eq!((states(&token), token.retries), (vec![UP], 1), "{code}");

        // With more than one session, a signature of one may come between the failures of another.
        let (_world, pool, token) = provoke_with(1, "C_SignInit", "every = 1, times = 3", code);
        assert!(token.retries >= 1, "{token:#?}");
        wait_for(&pool, "three in a row", || {
            sign_ok(&pool, 20);
            states(&pool.tokens()[0]) == [UP, DOWN, UP]
        });
        let token = &pool.tokens()[0];
        assert_eq!(token.retries, 3, "{token:#?}");
    }
}

/// A proxy restart: one DEVICE_ERROR, and every session from before is gone for good.
#[test]
fn sessions_from_before_a_restart_are_not_used_again() {
    let world = World::two();
    // With more than one, another session may be on its way into the module at that moment.
    let pool = open_with(&world, 1);
    world.command(
        0,
        "fault = { function = 'C_Sign', at = [2], code = 'CKR_DEVICE_ERROR', sessions = 'lose-all' }",
    );
    wait_for(&pool, "it fails and comes back", || {
        sign_ok(&pool, 20);
        states(&pool.tokens()[0]) == [UP, DOWN, UP]
    });
    assert_eq!(pool.tokens()[0].errors(ErrorClass::Session), 0);
}

#[test]
fn a_used_up_key_is_stopped_on_its_token_only() {
    for code in ["CKR_KEY_FUNCTION_NOT_PERMITTED", "CKR_KEY_NOT_ACTIVE"] {
        let (world, pool, token) = provoke("C_SignInit", "every = 1", code);
        assert_eq!(states(&token), [UP, TokenState::KeyStopped], "{code}");
        assert!(token.why.contains("call the officer"), "{token:#?}");
        // Not even when it could sign again: a person decides.
        world.command(0, "clear-faults");
        sign_ok(&pool, 50);
        assert_eq!(pool.tokens()[0].attempts, token.attempts, "{code}");
    }
}

#[test]
fn used_up_keys_everywhere_fail_jobs_at_once() {
    let world = World::new([("a", "sign_limit = 5"), ("b", "sign_limit = 7")]);
    let pool = world.open();
    let errors = errors(&pool, 30);
    assert_eq!(errors.len(), 30 - 12);
    for error in errors {
        let told = error.to_string();
        assert!(told.contains("'a' is key stopped"), "{told}");
        assert!(told.contains("'b' is key stopped"), "{told}");
    }
    assert_adds_up(&pool.tokens());
}

#[test]
fn a_refused_request_is_not_tried_elsewhere() {
    for code in [
        "CKR_MECHANISM_INVALID",
        "CKR_DATA_LEN_RANGE",
        "CKR_KEY_TYPE_INCONSISTENT",
    ] {
        let world = World::two();
        let pool = world.open();
        for token in 0..2 {
            world.fail(token, "C_SignInit", "at = [3]", code);
        }
        let errors = errors(&pool, 40);
        // Each token that came to its third call refused one.
        let tokens = pool.tokens();
        let failed: u64 = tokens.iter().map(|token| token.failed).sum();
        assert_eq!(errors.len() as u64, failed);
        assert!((1..=2).contains(&failed), "{code}: {tokens:#?}");
        for error in &errors {
            assert_eq!(error.class(), ErrorClass::Request);
            assert_eq!(error.code().unwrap().to_string(), code);
        }
        for token in &tokens {
            assert_eq!((states(token), token.retries), (vec![UP], 0), "{code}");
        }
        assert_adds_up(&tokens);
    }
}

/// One odd request is its own; a token that refuses every one is at fault, if others sign.
#[test]
fn a_token_that_refuses_every_request_goes_down_while_another_signs() {
    let code = "CKR_MECHANISM_INVALID";
    let world = World::two();
    let pool = world.open();
    world.fail(0, "C_SignInit", "every = 1", code);
    let mut refused = Vec::new();
    wait_for(&pool, "sixteen in a row", || {
        refused.extend(errors(&pool, 20));
        states(&pool.tokens()[0]).contains(&DOWN)
    });
    // The sixteenth is signed elsewhere, and so is each that it refuses when it is back.
    assert_eq!(refused.len(), 15);
    for error in &refused {
        assert_eq!(error.code().unwrap().to_string(), code);
    }
    wait_for(&pool, "it comes back, and goes at once", || {
        sign_ok(&pool, 20);
        states(&pool.tokens()[0]).len() >= 6
    });
    let told = &pool.tokens()[0];
    assert_eq!((told.failed, told.signatures), (15, 0), "{told:#?}");
    world.command(0, "clear-faults");
    wait_for(&pool, "it signs", || {
        sign_ok(&pool, 20);
        pool.tokens()[0].signatures > 0
    });
    assert_eq!(states(&pool.tokens()[1]), [UP]);
    assert_adds_up(&pool.tokens());
}

#[test]
fn a_token_that_refuses_every_request_alone_goes_on_saying_so() {
    let world = World::new([("a", "")]);
    let pool = world.open();
    world.fail(0, "C_SignInit", "every = 1", "CKR_DATA_LEN_RANGE");
    let errors = errors(&pool, 50);
    assert_eq!(errors.len(), 50);
    for error in errors {
        assert_eq!(error.class(), ErrorClass::Request, "{error}");
    }
    world.command(0, "clear-faults");
    sign_ok(&pool, 20);
    assert_eq!(states(&pool.tokens()[0]), [UP]);
}

#[test]
fn a_module_that_lost_its_state_is_initialized_anew_once_nobody_is_inside() {
    let code = "CKR_CRYPTOKI_NOT_INITIALIZED";
    let (world, pool, token) = provoke("C_SignInit", "at = [3]", code);
    assert_eq!(token.errors(ErrorClass::Module), 1);
    wait_for_state(&pool, 0, UP);
    assert_eq!(states(&pool.tokens()[0]), [UP, DOWN, UP]);
    assert_eq!(world.report(0).calls("C_Initialize"), 2);
    assert_eq!(world.report(0).calls("C_Finalize"), 1);

    // Somebody else of this process uses it: it must not be initialized beside them.
    let signers = pool.raw_signers(2).unwrap();
    world.fail(0, "C_SignInit", "at = [3]", code);
    wait_for(&pool, "restart needed", || {
        sign_ok(&pool, 20);
        pool.tokens()[0].state == TokenState::RestartNeeded
    });
    assert!(pool.tokens()[0].why.contains("restart this process"));
    assert_eq!(world.report(0).calls("C_Initialize"), 2);
    sign_ok(&pool, 20);
    drop(signers);
    wait_for_state(&pool, 0, UP);
    assert_eq!(world.report(0).calls("C_Initialize"), 3);
    sign_ok(&pool, 20);
}

/// A token that fails every attempt and every remedy: its jobs are signed by the other.
#[test]
fn a_token_that_only_fails_costs_no_job() {
    for code in [
        "CKR_SESSION_HANDLE_INVALID",
        "CKR_KEY_HANDLE_INVALID",
        "CKR_USER_NOT_LOGGED_IN",
        "CKR_GENERAL_ERROR",
        "CKR_FUNCTION_FAILED",
        "CKR_SESSION_COUNT",
        "CKR_DEVICE_ERROR",
    ] {
        let (world, pool, _) = provoke("C_SignInit", "every = 1", code);
        wait_for(&pool, "its breaker opens", || {
            sign_ok(&pool, 20);
            states(&pool.tokens()[0]).contains(&DOWN)
        });
        world.command(0, "clear-faults");
        wait_for_state(&pool, 0, UP);
        sign_ok(&pool, 20);
    }
}

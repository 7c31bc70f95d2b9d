//! Calls that do not return.

use std::sync::Arc;
use std::time::{Duration, Instant};

use birthmark_hsm::{CloseError, SignError, SigningPool, TokenState};

use crate::own_process;
use crate::test_token::{messages, sign_all};
use crate::world::{Load, WATCHDOG, World, assert_adds_up, sign_ok, wait_for, wait_for_state};

/// On a machine that is busy enough, other calls pass it too: the tests bear that.
const LIMIT: Duration = Duration::from_millis(500);

fn open(world: &World) -> SigningPool {
    let mut options = world.options();
    options.call_limit = LIMIT;
    world.try_open(options).unwrap()
}

fn hang(world: &World, token: usize, function: &str, when: &str) {
    let fault = format!("fault = {{ function = '{function}', {when}, hang = true }}");
    world.command(token, &fault);
}

/// The job is signed elsewhere, the session replaced, and the late answer dropped.
#[test]
fn a_call_that_hangs_is_given_up_and_its_job_signed_elsewhere() {
    let world = World::two();
    let pool = Arc::new(open(&world));
    hang(&world, 0, "C_Sign", "at = [5]");
    let load = Load::start(&pool, 16);
    wait_for(&pool, "a call is given up", || {
        pool.tokens()[0].abandoned >= 1
    });
    load.go_on(&pool, 100);
    wait_for(&pool, "the session is replaced", || {
        pool.tokens()[0].sessions == 2
    });
    // On a busy machine another call may have been given up before.
    wait_for(&pool, "the call that hangs", || {
        world.report(0).hung == 1 && pool.tokens()[0].inside >= 1
    });
    let signed = world.report(0).signatures;
    world.command(0, "release-hangs");
    wait_for(&pool, "the call returns", || pool.tokens()[0].late >= 1);
    load.go_on(&pool, 100);
    let jobs = load.stop() as u64;
    wait_for(&pool, "nothing is inside", || {
        pool.tokens().iter().all(|token| token.inside == 0)
    });
    let tokens = pool.tokens();
    assert_adds_up(&tokens);
    assert_eq!(tokens[0].signatures + tokens[1].signatures, jobs);
    // It did make the late signature, which nobody got: the tokens' own count has one more.
    assert!(world.report(0).signatures > signed);
    let made = world.report(0).signatures + world.report(1).signatures;
    assert_eq!(made, jobs + tokens[0].abandoned + tokens[1].abandoned);
    let lines = world.events.lines();
    for part in ["was given up, its job is signed elsewhere", "returned"] {
        assert!(lines.iter().any(|line| line.contains(part)), "{lines:#?}");
    }
    Arc::into_inner(pool).unwrap().close().unwrap();
}

/// As many calls as the token has sessions: no more are risked until one is back.
#[test]
fn a_token_where_everything_hangs_goes_down_and_returns() {
    let world = World::two();
    let pool = Arc::new(open(&world));
    hang(&world, 0, "C_Sign", "every = 1");
    let load = Load::start(&pool, 16);
    wait_for_state(&pool, 0, TokenState::Down);
    load.go_on(&pool, 200);
    // The watch may give up one call before the other: then a session in its place hangs too.
    wait_for(&pool, "no session is left", || {
        pool.tokens()[0].sessions == 0
    });
    let told = &pool.tokens()[0];
    assert!(told.inside >= 2, "{told:#?}");
    assert!(told.why.contains("2 calls did not return"), "{told:#?}");
    assert!((1..=3).contains(&world.report(0).hung));
    world.command(0, "clear-faults");
    world.command(0, "release-hangs");
    wait_for_state(&pool, 0, TokenState::Up);
    load.go_on(&pool, 100);
    load.stop();
    let tokens = pool.tokens();
    assert!(tokens[0].late >= 2, "{tokens:#?}");
    assert_adds_up(&tokens);
}

#[test]
fn a_hang_on_the_only_token_is_told_when_nothing_is_left_to_try() {
    let world = World::new([("a", "")]);
    let mut options = world.options();
    (options.call_limit, options.wait_limit) = (LIMIT, Duration::ZERO);
    options.tokens.sessions = Some(1);
    options.abandoned_max = Some(1);
    let pool = world.try_open(options).unwrap();
    hang(&world, 0, "C_Sign", "every = 1");
    let errors = crate::world::errors(&pool, 3);
    assert_eq!(errors.len(), 3);
    for error in &errors {
        assert!(matches!(error, SignError::TokensDown { .. }), "{error}");
        assert!(error.to_string().contains("did not return"), "{error}");
    }
    assert_eq!(pool.tokens()[0].abandoned, 1);
    let started = Instant::now();
    let error = pool.close().unwrap_err();
    assert!(matches!(error, CloseError::Inside { .. }), "{error}");
    assert!(started.elapsed() < WATCHDOG);
    assert_eq!(world.report(0).calls("C_Finalize"), 0, "a thread is inside");
    world.command(0, "release-hangs");
}

/// Every call may hang, not only those that sign.
#[test]
fn hangs_in_other_calls_are_given_up_too() {
    for function in ["C_OpenSession", "C_FindObjectsInit", "C_GetSessionInfo"] {
        let world = World::two();
        let pool = Arc::new(open(&world));
        let load = Load::start(&pool, 16);
        // A session is lost; the remedy hangs, and so does what is tried after it.
        hang(&world, 0, function, "every = 1");
        world.command(
            0,
            "fault = { function = 'C_SignInit', every = 1, code = 'CKR_SESSION_HANDLE_INVALID' }",
        );
        wait_for(&pool, function, || pool.tokens()[0].inside >= 1);
        load.go_on(&pool, 100);
        world.command(0, "clear-faults");
        // What had been on its way into the module may have hung after that.
        wait_for(&pool, "everything returns", || {
            world.command(0, "release-hangs");
            let told = &pool.tokens()[0];
            (told.inside, told.state) == (0, TokenState::Up)
        });
        load.stop();
        assert_adds_up(&pool.tokens());
        Arc::into_inner(pool).unwrap().close().unwrap();
    }
}

#[test]
fn a_start_goes_on_without_a_token_that_hangs() {
    let world = World::new([
        (
            "a",
            "faults = [{ function = 'C_Login', at = [1], hang = true }]",
        ),
        ("b", ""),
    ]);
    let pool = open(&world);
    assert_eq!(pool.tokens()[0].state, TokenState::Opening);
    sign_ok(&pool, 50);
    world.command(0, "release-hangs");
    wait_for_state(&pool, 0, TokenState::Up);
    sign_ok(&pool, 50);
    assert_eq!(world.report(0).logins, 1);
    pool.close().unwrap();
}

/// A module whose HSM is away may hang in C_Initialize: the others are initialized nonetheless. In a process of its
/// own: the modules of a process take turns there, and the tests beside this one would wait.
#[test]
fn a_module_that_hangs_in_initialize_does_not_keep_the_others_out() {
    let test = "hangs::a_module_that_hangs_in_initialize_does_not_keep_the_others_out";
    if own_process::enter(test, |_| Vec::new()).is_none() {
        return;
    }
    let world = World::new([
        (
            "a",
            "faults = [{ function = 'C_Initialize', at = [1], hang = true }]",
        ),
        ("b", ""),
    ]);
    let pool = open(&world);
    assert_eq!(world.report(0).hung, 1);
    assert_eq!(pool.tokens()[0].state, TokenState::Opening);
    sign_ok(&pool, 50);
    world.command(0, "release-hangs");
    wait_for_state(&pool, 0, TokenState::Up);
    sign_ok(&pool, 50);
    pool.close().unwrap();
}

/// Sessions that are given back because the key is another one are closed under the watch's eyes too.
#[test]
fn a_hang_while_spare_sessions_are_closed_is_given_up() {
    let world = World::two();
    let pool = open(&world);
    sign_ok(&pool, 20);
    hang(&world, 0, "C_CloseSession", "every = 1");
    world.fail(0, "C_OpenSession", "at = [1]", "CKR_SESSION_COUNT");
    world.command(0, "key = 'wrong'");
    world.command(
        0,
        "fault = { function = 'C_SignInit', at = [1], sessions = 'lose' }",
    );
    // One session is lost and gets no other; the keeper opens one, and finds the other key.
    wait_for(&pool, "the close is given up", || {
        sign_all(&pool, &messages(10));
        pool.tokens()[0].inside == 1
    });
    world.command(0, "clear-faults");
    world.command(0, "release-hangs");
    wait_for_state(&pool, 0, TokenState::WrongKey);
    world.command(0, "key = 'right'");
    wait_for_state(&pool, 0, TokenState::Up);
    sign_ok(&pool, 20);
    wait_for(&pool, "nothing is inside", || pool.tokens()[0].inside == 0);
    assert_adds_up(&pool.tokens());
}

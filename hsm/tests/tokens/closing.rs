//! Closing, with everything that can be in its way.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use birthmark_hsm::{
    CloseError, SignCompletion, SignError, SignJob, Signature, SigningPool, TokenState,
};

use crate::world::{WATCHDOG, World, sign_ok, wait_for, wait_for_state};

/// Keeps the pool, and gives it up on one of its own threads with the last job.
struct LastOwner {
    pool: std::sync::Mutex<Option<SigningPool>>,
    done: mpsc::SyncSender<bool>,
}

impl SignCompletion for LastOwner {
    fn signed(&self, _ticket: u64, outcome: Result<Signature, SignError>) {
        drop(self.pool.lock().unwrap().take());
        self.done.send(outcome.is_ok()).unwrap();
    }
}

#[test]
fn a_completion_may_be_the_pools_last_owner() {
    let world = World::two();
    let pool = world.open();
    let input = pool.input_for(b"m");
    let (done, answers) = mpsc::sync_channel(100);
    let owner = Arc::new(LastOwner {
        pool: std::sync::Mutex::new(None),
        done,
    });
    let mut slot = owner.pool.lock().unwrap();
    for ticket in 0..50 {
        pool.submit(SignJob {
            ticket,
            input: input.clone(),
            completion: Arc::clone(&owner) as _,
        });
    }
    *slot = Some(pool);
    drop(slot);
    for _ in 0..50 {
        assert!(answers.recv_timeout(WATCHDOG).unwrap());
    }
    let started = Instant::now();
    while (0..2).any(|token| world.report(token).initialized) {
        assert!(started.elapsed() < WATCHDOG);
    }
}

/// Jobs that wait for a token do not hold the end up, and are answered.
#[test]
fn closing_while_every_token_is_down_does_not_wait_for_them() {
    let world = World::two();
    let mut options = world.options();
    options.wait_limit = Duration::from_secs(3600);
    let pool = world.try_open(options).unwrap();
    for token in 0..2 {
        world.command(token, "remove");
    }
    let (done, answers) = mpsc::sync_channel(100);
    let owner = Arc::new(LastOwner {
        pool: std::sync::Mutex::new(None),
        done,
    });
    for ticket in 0..20 {
        pool.submit(SignJob {
            ticket,
            input: pool.input_for(b"m"),
            completion: Arc::clone(&owner) as _,
        });
    }
    for token in 0..2 {
        wait_for_state(&pool, token, TokenState::Down);
    }
    pool.close().unwrap();
    for _ in 0..20 {
        assert!(!answers.try_recv().unwrap(), "nothing signed it");
    }
    assert!((0..2).all(|token| !world.report(token).initialized));
}

#[test]
fn closing_gives_a_call_up_that_hangs_and_leaves_its_module_alone() {
    let world = World::two();
    let mut options = world.options();
    options.call_limit = Duration::from_millis(500);
    let pool = world.try_open(options).unwrap();
    world.command(0, "fault = { function = 'C_Sign', at = [1], hang = true }");
    // Jobs until one of them hangs; the other token signs it, once it is given up.
    wait_for(&pool, "a call hangs", || {
        sign_ok(&pool, 8);
        world.report(0).hung == 1
    });
    let error = pool.close().unwrap_err();
    assert!(matches!(error, CloseError::Inside { .. }), "{error}");
    assert!(error.to_string().contains("end this process"), "{error}");
    assert_eq!(world.report(0).calls("C_Finalize"), 0);
    assert_eq!(world.report(1).calls("C_Finalize"), 1);
    // Whoever comes back late touches nothing any more.
    let closed = world.report(0).calls("C_CloseSession");
    world.command(0, "release-hangs");
    let started = Instant::now();
    while world.report(0).hung > 0 {
        assert!(started.elapsed() < WATCHDOG);
    }
    assert_eq!(world.report(0).calls("C_CloseSession"), closed);
}

#[test]
fn a_module_that_was_closed_can_be_opened_again() {
    let world = World::two();
    for round in 1..=20 {
        let pool = world.open();
        sign_ok(&pool, 20);
        pool.close().unwrap();
        for token in 0..2 {
            let report = world.report(token);
            assert_eq!(report.calls("C_Initialize"), round);
            assert_eq!(report.calls("C_Finalize"), round);
            assert_eq!(report.sessions_open, 0);
        }
    }
}

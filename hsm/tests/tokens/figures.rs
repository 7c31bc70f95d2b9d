//! What the figures say: they add up, whatever failed.

use std::sync::Arc;
use std::time::Duration;

use birthmark_hsm::TokenState;

use crate::world::{Load, World, assert_adds_up, wait_for};

/// Faults of all kinds at random, on three tokens. No job fails, no attempt is lost.
#[test]
fn attempts_add_up_whatever_fails() {
    for seed in [1, 2, 3] {
        let faults = format!(
            "seed = {seed}\nfaults = [\
               {{ function = 'C_Sign', probability = 0.02, code = 'CKR_GENERAL_ERROR' }},\
               {{ function = 'C_SignInit', probability = 0.02, code = 'CKR_SESSION_CLOSED', sessions = 'lose' }},\
               {{ function = 'C_SignInit', probability = 0.01, login = 'lose' }},\
               {{ function = 'C_SignInit', probability = 0.01, handles = 'lose' }},\
               {{ function = 'C_Sign', probability = 0.01, signature = 'short' }},\
               {{ function = 'C_Sign', probability = 0.01, code = 'CKR_FUNCTION_FAILED' }},\
               {{ function = 'C_Sign', probability = 0.005, code = 'CKR_DEVICE_ERROR', sessions = 'lose-all' }},\
               {{ function = 'C_Sign', probability = 0.005, hang_s = 0.3 }}]"
        );
        let world = World::new([("a", &faults), ("b", &faults), ("c", &faults)]);
        let mut options = world.options();
        options.call_limit = Duration::from_millis(100);
        let pool = Arc::new(world.try_open(options).unwrap());
        let load = Load::start(&pool, 64);
        load.go_on(&pool, 1500);
        let jobs = load.stop() as u64;
        wait_for(&pool, "calls return", || {
            pool.tokens().iter().all(|token| token.inside == 0)
        });
        let tokens = pool.tokens();
        assert_adds_up(&tokens);
        let sum = |of: fn(&birthmark_hsm::TokenMetrics) -> u64| tokens.iter().map(of).sum::<u64>();
        assert_eq!(sum(|token| token.signatures), jobs, "seed {seed}");
        assert_eq!(sum(|token| token.failed), 0, "seed {seed}: {tokens:#?}");
        // Calls other than attempts are given up too, where they wait behind one that hangs.
        assert!(sum(|token| token.late) >= sum(|token| token.abandoned));
        assert!(sum(|token| token.retries) > 0, "seed {seed}");
        // And as the tokens counted: an attempt is a C_SignInit.
        for (number, token) in tokens.iter().enumerate() {
            let calls = world.report(number).calls("C_SignInit");
            assert_eq!(calls, token.attempts, "seed {seed}: {token:#?}");
        }
        assert_eq!(pool.metrics().signatures, jobs);
    }
}

#[test]
fn a_fresh_pool_says_so() {
    let world = World::two();
    let pool = world.open();
    for (token, name) in pool.tokens().iter().zip(["a", "b"]) {
        assert_eq!((&*token.label, token.state), (name, TokenState::Up));
        assert_eq!((token.sessions, token.attempts, token.inside), (2, 0, 0));
        assert_eq!(token.latency.quantile_us(0.99), 0);
        assert_eq!(token.history.len(), 1);
    }
    assert_eq!(
        pool.describe(),
        "PKCS#11 tokens 'a' P-256, 2 sessions; 'b' P-256, 2 sessions"
    );
    assert_eq!(pool.raw_signers(3).unwrap().len(), 3);
}

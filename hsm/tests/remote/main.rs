//! A network HSM: SoftHSM behind p11-kit's server, a socket that delays and breaks, p11-kit's client.
//!
//! A second implementation of what the test HSM plays: the client gives each caller an instance of its own and
//! connects only when it is initialized.

#![allow(
    clippy::unwrap_used,
    reason = "a failure of the set-up is the test's failure"
)]

mod key;
#[path = "../own_process/mod.rs"]
mod own_process;
mod proxy;
mod scene;
#[path = "../test_token/mod.rs"]
mod test_token;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "../tokens/world.rs"]
mod world;

use std::time::Duration;

use birthmark_hsm::{
    ErrorClass, KeyAlgorithm, Pkcs11Options, PoolOptions, RsaSignature, SigningPool, TokenState,
    generate_key_pair,
};

use scene::{LOCAL, REMOTE, Scene};
use test_token::{messages, sign_all, verifies_as};
use world::{Load, assert_adds_up, states, wait_for, wait_for_state};

const UP: TokenState = TokenState::Up;
const DOWN: TokenState = TokenState::Down;

/// Jobs in flight under load: more than there are sessions.
const IN_FLIGHT: usize = 16;

/// The remote token signs, now and not before.
fn wait_until_remote_signs(pool: &SigningPool) {
    let before = pool.tokens()[REMOTE].signatures;
    wait_for(pool, "the remote token signs", || {
        pool.tokens()[REMOTE].signatures > before
    });
}

#[test]
fn no_request_fails_when_the_server_is_killed() {
    const KILLS: usize = 3;
    let Some(mut scene) = Scene::enter("no_request_fails_when_the_server_is_killed") else {
        return;
    };
    scene.proxy.delay(Duration::from_millis(1));
    let pool = scene.open(scene.options());
    let load = Load::start(&pool, IN_FLIGHT);
    for _ in 0..KILLS {
        wait_until_remote_signs(&pool);
        scene.kill_server();
        wait_for_state(&pool, REMOTE, DOWN);
        load.go_on(&pool, 200);
        scene.start_server();
        // The client connects when it is initialized anew, which the pool does after some probes.
        wait_for_state(&pool, REMOTE, UP);
        wait_until_remote_signs(&pool);
    }
    let jobs = load.stop();
    let tokens = pool.tokens();
    assert_eq!(states(&tokens[LOCAL]), [UP]);
    assert_eq!(
        states(&tokens[REMOTE]),
        [&[UP][..], &[DOWN, UP].repeat(KILLS)].concat()
    );
    assert_adds_up(&tokens);
    let signed: u64 = tokens.iter().map(|token| token.signatures).sum();
    assert_eq!(signed, jobs as u64);
    let device = tokens[REMOTE].errors(ErrorClass::Device);
    assert!(device >= KILLS as u64, "{:#?}", tokens[REMOTE]);
    assert_eq!(pool.metrics().errors_total(), 0);
    let lines = scene.events.lines();
    let down = lines.iter().filter(|line| line.contains("down (was up)"));
    assert_eq!(down.count(), KILLS, "{lines:#?}");
}

/// The HSM lives and the network breaks: the same for the pool.
#[test]
fn no_request_fails_when_the_connection_is_cut() {
    let Some(scene) = Scene::enter("no_request_fails_when_the_connection_is_cut") else {
        return;
    };
    let pool = scene.open(scene.options());
    let load = Load::start(&pool, IN_FLIGHT);
    for cut in 1..=5 {
        wait_until_remote_signs(&pool);
        scene.proxy.cut();
        wait_for(&pool, "down and up again", || {
            states(&pool.tokens()[REMOTE]).len() == 1 + 2 * cut
        });
    }
    load.stop();
    let tokens = pool.tokens();
    assert_eq!(tokens[REMOTE].state, UP);
    assert_adds_up(&tokens);
    assert_eq!(pool.metrics().errors_total(), 0);
}

/// Nothing comes back any more, and no error either: the calls are given up.
#[test]
fn no_request_fails_when_the_network_stalls() {
    let Some(scene) = Scene::enter("no_request_fails_when_the_network_stalls") else {
        return;
    };
    let pool = scene.open(PoolOptions {
        // Much longer than a signature takes, and shorter than a stall.
        call_limit: Duration::from_millis(500),
        ..scene.options()
    });
    let load = Load::start(&pool, IN_FLIGHT);
    wait_until_remote_signs(&pool);
    scene.proxy.stall(true);
    wait_for(&pool, "it is down, with a call inside", || {
        let remote = &pool.tokens()[REMOTE];
        remote.state == DOWN && remote.inside > 0
    });
    load.go_on(&pool, 200);
    // What hangs returns with an error, late.
    scene.proxy.cut();
    scene.proxy.stall(false);
    wait_for_state(&pool, REMOTE, UP);
    wait_until_remote_signs(&pool);
    load.stop();
    let tokens = pool.tokens();
    assert_adds_up(&tokens);
    assert!(tokens[REMOTE].abandoned > 0, "{:#?}", tokens[REMOTE]);
    assert_eq!(pool.metrics().errors_total(), 0);
}

#[test]
fn the_latency_of_the_network_shows() {
    const DELAY: Duration = Duration::from_millis(5);
    let Some(scene) = Scene::enter("the_latency_of_the_network_shows") else {
        return;
    };
    let pool = scene.open(scene.options());
    scene.proxy.delay(DELAY);
    let load = Load::start(&pool, IN_FLIGHT);
    wait_for(&pool, "the remote token signs", || {
        pool.tokens()[REMOTE].signatures >= 20
    });
    load.stop();
    let remote = &pool.tokens()[REMOTE];
    // Three round trips: the wrapper asks for the signature's length too.
    let least = 3 * DELAY.as_micros() as u64;
    // Latencies are known to 1 %.
    let fastest = remote.latency.quantile_us(0.0);
    assert!(fastest >= least - least / 100, "{remote:#?}");
}

/// p11-kit 0.24 passes on the mechanisms that it knows: no `CKM_EDDSA`, no `CKM_ML_DSA`.
#[test]
fn keys_are_made_and_sign_over_the_network() {
    let Some(scene) = Scene::enter("keys_are_made_and_sign_over_the_network") else {
        return;
    };
    let cases = [
        (KeyAlgorithm::EcP256, RsaSignature::Pkcs1v15),
        (KeyAlgorithm::EcP384, RsaSignature::Pkcs1v15),
        (KeyAlgorithm::EcP521, RsaSignature::Pkcs1v15),
        (KeyAlgorithm::Rsa2048, RsaSignature::Pkcs1v15),
        (KeyAlgorithm::Rsa3072, RsaSignature::Pss),
    ];
    for (algorithm, rsa_signature) in cases {
        let uri = scene.uri(REMOTE, algorithm.name());
        let key = generate_key_pair(&uri, algorithm).unwrap();
        let options = Pkcs11Options {
            sessions: Some(3),
            rsa_signature,
            ..Pkcs11Options::default()
        };
        let pool = SigningPool::pkcs11(&uri, options).unwrap();
        let messages = messages(20);
        for (message, outcome) in messages.iter().zip(sign_all(&pool, &messages)) {
            let signature = outcome.unwrap();
            let verified = verifies_as(rsa_signature, &key, message, signature.as_bytes());
            assert!(verified, "{algorithm} {rsa_signature}");
        }
        pool.close().unwrap();
    }
    let uri = scene.uri(REMOTE, "ed25519");
    let error = generate_key_pair(&uri, KeyAlgorithm::Ed25519).unwrap_err();
    assert!(
        error.to_string().contains("CKR_MECHANISM_INVALID"),
        "{error}"
    );
}

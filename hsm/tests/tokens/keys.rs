//! Tokens that hold another key under the same name.

use std::sync::Arc;

use birthmark_hsm::{OpenError, TokenState};

use crate::world::{Load, World, sign_ok, states, wait_for, wait_for_state};

#[test]
fn different_keys_at_the_start_are_an_error_that_names_both_tokens() {
    let world = World::new([("a", ""), ("b", "key = 'wrong'"), ("c", "")]);
    let error = world.try_open(world.options()).unwrap_err();
    assert!(matches!(&error, OpenError::KeysDiffer { .. }), "{error}");
    let told = error.to_string();
    assert!(told.contains("'a' and 'b'"), "{told}");
    for token in 0..3 {
        assert!(!world.report(token).initialized, "it is closed again");
    }
}

/// A token that comes back with another key must not sign, and the others go on.
#[test]
fn a_token_that_returns_with_another_key_stays_out() {
    let world = World::two();
    let pool = Arc::new(world.open());
    let load = Load::start(&pool, 32);
    load.go_on(&pool, 100);
    world.command(0, "remove");
    wait_for_state(&pool, 0, TokenState::Down);
    world.command(0, "key = 'wrong'");
    world.command(0, "return");
    wait_for_state(&pool, 0, TokenState::WrongKey);
    let signed = world.report(0).signatures;
    load.go_on(&pool, 200);
    assert_eq!(world.report(0).signatures, signed, "it signed nothing");
    let told = &pool.tokens()[0];
    assert!(told.why.contains("'a'"), "{told:#?}");
    // Once the right key is there again, so is the token.
    world.command(0, "key = 'right'");
    wait_for_state(&pool, 0, TokenState::Up);
    load.go_on(&pool, 100);
    // The load verifies every signature.
    load.stop();
}

/// The sessions are lost and the key is another one when they are had again, with the same handle:
/// only the comparison finds that out.
#[test]
fn a_session_that_is_reopened_looks_at_the_key_before_it_signs() {
    let world = World::two();
    let pool = world.open();
    sign_ok(&pool, 20);
    world.command(0, "lose-sessions");
    world.command(0, "key = 'wrong'");
    wait_for(&pool, "it is found out", || {
        sign_ok(&pool, 20);
        pool.tokens()[0].state == TokenState::WrongKey
    });
    let (up, wrong) = (TokenState::Up, TokenState::WrongKey);
    assert_eq!(states(&pool.tokens()[0]), [up, wrong]);
}

#[test]
fn a_token_that_was_away_at_the_start_is_compared_when_it_comes() {
    let world = World::new([("a", "key = 'wrong'"), ("b", "")]);
    world.command(0, "remove");
    let pool = world.open();
    sign_ok(&pool, 20);
    world.command(0, "return");
    wait_for_state(&pool, 0, TokenState::WrongKey);
    sign_ok(&pool, 20);
    assert_eq!(world.report(0).signatures, 0);
}

/// A look-up that fails in a fresh session leaves it unproved: it does not sign with what it had.
#[test]
fn a_session_that_could_not_look_at_the_key_does_not_sign() {
    let world = World::two();
    let pool = world.open();
    sign_ok(&pool, 20);
    let fails = "at = [1, 2, 3]";
    world.fail(0, "C_FindObjectsInit", fails, "CKR_GENERAL_ERROR");
    world.command(0, "lose-sessions");
    world.command(0, "key = 'wrong'");
    wait_for(&pool, "it is found out", || {
        sign_ok(&pool, 20);
        pool.tokens()[0].state == TokenState::WrongKey
    });
}

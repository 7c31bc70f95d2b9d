//! What an error does to the token it came from, besides what it does to the job.

use super::key::TokenKey;
use super::member::{Member, Trip};
use super::shared::Shared;
use crate::error::SignError;
use crate::event::TokenState;

/// The token takes no more work. A session of an older `generation` changes nothing.
pub(super) fn stop_token(
    shared: &Shared,
    member: &Member,
    generation: u64,
    to: TokenState,
    error: &SignError,
) {
    let (why, fault) = (error.to_string(), error.clone());
    member.trip(shared, generation, Trip { to, why, fault });
}

/// The module lost its state: every token of the pool behind it goes down, so that it can be
/// initialized with no thread inside.
pub(super) fn stop_module(shared: &Shared, member: &Member, key: &TokenKey, error: &SignError) {
    let module = key.token().module();
    // Whoever says so holds the key and with it the module: it cannot be initialized anew between
    // the error and this mark.
    module.mark_lost();
    for other in &shared.members {
        let same = |key: &TokenKey| std::ptr::eq(key.token().module(), module);
        if other.place == member.place || other.with_key(same) == Some(true) {
            let trip = Trip {
                to: TokenState::Down,
                why: error.to_string(),
                fault: error.clone(),
            };
            other.trip(shared, other.generation(), trip);
        }
    }
}

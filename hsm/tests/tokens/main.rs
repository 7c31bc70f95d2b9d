//! One pool over several tokens: what happens when one of them fails, and what jobs notice of it.
//!
//! The tokens are test HSMs with one key. Waits end when the thing waited for has happened; the
//! watchdog only ends a test that has failed.

#![allow(
    clippy::unwrap_used,
    reason = "a failure of the set-up is the test's failure"
)]

mod closing;
mod down;
mod error_table;
mod figures;
mod hangs;
mod keys;
mod logins;
#[path = "../own_process/mod.rs"]
mod own_process;
mod pins;
mod sessions;
mod siblings;
#[path = "../test_token/mod.rs"]
mod test_token;
mod threads;
mod world;
mod wrong_signatures;

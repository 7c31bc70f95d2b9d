//! Whole-system tests: engine, signers, log and the real binary together.
//!
//! | module | what it shows |
//! | --- | --- |
//! | `cycle` | one request, batches with bad items, submission, awaiting, closing |
//! | `retries` | the same request again and conflicting ones, in turn, at once, across restarts |
//! | `reissue` | same-key and permit reissues, at once, across restarts and faults of the storage |
//! | `crash` | SIGKILL under load: nothing acknowledged is lost, nothing is there twice |
//! | `device_keys` | keys made for devices: openssl opens them, retries, acknowledgements, faults and crashes of the spool |
//! | `damage` | flipped bits, cut and missing segments of a finished log |
//! | `storage_faults` | full disk, failed writes, failed syncs |
//! | `clock` | steps of the clock, running and at start |
//! | `algorithms` | every kind of issuing key certifies every kind of device key |
//! | `algorithm_refusals` | keys, signatures and parameters that are not as their algorithm wants them |
//! | `certificates` | openssl and x509-cert read what was issued |
//! | `profiles` | every ready-made profile, as openssl reads what it issues; requested names and values that do not fit |
//! | `serials` | serial numbers that are handed out: in order, under load, over starts, to the last one |
//! | `lots` | exactly as many certificates as an order says: at once, over starts and failures |
//! | `hostile_requests` | mutated requests, any subject text |
//! | `uniqueness` | domains that outlive profiles, ways to write an identity, rearranged profiles |
//! | `refusals` | keys anybody can sign for, hidden CA requests, reserved data keys |
//! | `foreign_records` | records of later versions stop the start |
//! | `system_calls` | system calls of the real binary fail, by `strace` |
//! | `tokens` | a token of several fails, returns, signs wrongly: what requests notice of it |
//! | `storm` | every row of the error table at once, under full load on three tokens; a token killed under load |
//! | `pin_kill` | SIGKILL in a login: the PIN is not sent again before a person saw to it |
//! | `command_line` | every error of the binary: exit code, one line, no secret |
//!
//! Every test of the engine whose matter can depend on the signer runs on every signer. PKCS#11
//! tests need SoftHSM and fail without it: run `make test`, or
//! `softhsm/with-softhsm.sh cargo test -p birthmark-tests`.

#![forbid(unsafe_code)]
// All of this crate is test code; the exemption in clippy.toml sees only what is marked `#[test]`.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod station;

mod activation;
mod algorithm_refusals;
mod algorithms;
mod binary;
mod certificates;
mod clock;
mod command_line;
mod crash;
mod cycle;
mod damage;
mod device_keys;
mod faulty_storage;
mod foreign_records;
mod hostile_requests;
mod load;
mod lots;
mod officer;
mod pin_kill;
mod profiles;
mod refusals;
mod reissue;
mod requests;
mod retries;
/// What [`sim`] needs of the log's tests, where it belongs.
mod rig {
    pub(crate) use crate::station::Random;
}
mod serials;
/// The simulated file system of the log's tests.
#[path = "../../../log/tests/log/sim.rs"]
#[expect(dead_code, reason = "the log's tests use more of it")]
mod sim;
mod storage_faults;
mod storm;
mod system_calls;
mod tokens;
mod uniqueness;

/// Tells how much was tried, also when the test passes: to standard error as it is, which the test
/// harness does not hold back.
pub(crate) fn report(what: std::fmt::Arguments<'_>) {
    use std::io::Write;
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "tried: {what}");
}

//! Verification as a whole, every path against others' verdicts.
//!
//! | module | what it shows |
//! | --- | --- |
//! | `wycheproof` | Project Wycheproof's verdicts |
//! | `random_samples` | aws-lc-rs's verdicts on random signatures, valid and mutated |
//! | `edges` | aws-lc-rs's and a plain oracle's verdicts on signatures made to meet every exceptional case |
//! | `positions` | a verdict is its own in every lane, at every place in a batch of any length |
//! | `fallback` | what [`p256x8::Verifier`] does where there are no lanes, or few items |
//! | `masked` | the same on a processor that hides its instructions, which is valgrind's |
//!
//! `constructed`, `mutation`, `sample` and `random` make the signatures; `oracle` is ECDSA in big integers.

#![forbid(unsafe_code)]
// All of this is test code; the exemption in clippy.toml sees only what is marked `#[test]`.
#![allow(clippy::unwrap_used)]

mod comparison;
mod constructed;
mod edges;
mod fallback;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod masked;
mod mutation;
mod oracle;
mod paths;
mod positions;
mod random;
mod random_samples;
mod sample;
mod wycheproof;

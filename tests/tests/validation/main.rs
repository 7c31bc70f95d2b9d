//! What is refused, what is issued and what the linter finds, held against single faults, against inputs that
//! others wrote and against other people's checkers.
//!
//! | module | what it shows |
//! | --- | --- |
//! | `certificates` | each single fault of a certificate is caught by its rule |
//! | `oracles` | what the engine issues passes pkilint, pyca, zlint, OpenSSL and GnuTLS |
//! | `requests` | each single fault of a request: refused for the right reason, or harmless |

#![forbid(unsafe_code)]
// All of this crate is test code; the exemption in clippy.toml sees only what is marked `#[test]`.
#![allow(clippy::unwrap_used)]

mod certificates;
mod oracles;
mod requests;

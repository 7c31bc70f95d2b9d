//! What the tests of validation share: DER as trees, certificates and requests with a single fault, and
//! other people's checkers.
//!
//! | module | holds |
//! | --- | --- |
//! | `der_tree` | DER that can be encoded wrongly on purpose |
//! | `authority` | throw-away CAs, and good certificates that the engine issued |
//! | `certificate_fault` | single faults of certificates |
//! | `request_fault` | single faults of certification requests |
//! | `oracle` | pkilint, pyca, zlint, OpenSSL, GnuTLS and matter.js |

#![forbid(unsafe_code)]
// All of this crate is test code; the exemption in clippy.toml sees only what is marked `#[test]`.
#![allow(clippy::unwrap_used)]

pub mod authority;
pub mod certificate_fault;
pub mod der_tree;
pub mod oracle;
pub mod request_fault;

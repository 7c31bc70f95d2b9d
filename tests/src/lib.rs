//! What the tests of validation share: DER as trees, certificates and requests with a single fault, and
//! other people's checkers.
//!
//! | module | holds |
//! | --- | --- |
//! | `der_tree` | DER that can be encoded wrongly on purpose |
//! | `authority` | throw-away CAs, and good certificates that the engine issued |
//! | `certificate_fault` | single faults of certificates |
//! | `fault_table` | which checker catches which fault |
//! | `request_fault` | single faults of certification requests |
//! | `sample` | a certificate of every ready-made profile |
//! | `oracle` | pkilint, pyca, zlint, OpenSSL, GnuTLS and matter.js |

#![forbid(unsafe_code)]
// All of this crate is test code; the exemption in clippy.toml sees only what is marked `#[test]`.
#![allow(clippy::unwrap_used)]

pub mod authority;
pub mod certificate_fault;
pub mod der_tree;
pub mod fault_table;
pub mod oracle;
pub mod request_fault;
pub mod sample;

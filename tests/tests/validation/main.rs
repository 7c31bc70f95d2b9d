//! What is refused, what is issued and what the linter finds, held against single faults, against inputs that
//! others wrote and against other people's checkers.
//!
//! | module | what it shows |
//! | --- | --- |
//! | `cavp` | NIST's verdicts about P-256 signatures are the lanes' |
//! | `certificates` | each single fault of a certificate is caught by its rule |
//! | `ml_dsa` | certificates and requests of ML-DSA that pyca makes, as RFC 9881 has them |
//! | `oracles` | what the engine issues passes pkilint, pyca, zlint, OpenSSL and GnuTLS |
//! | `pkcs12` | what OpenSSL, GnuTLS and pyca read of the PKCS #12 files that generated keys are delivered in |
//! | `requests` | each single fault of a request: refused for the right reason, or harmless |
//! | `vectors` | requests and certificates that others made, PKITS among them |
//! | `wycheproof` | Project Wycheproof's signatures, verified as a request's is |

#![forbid(unsafe_code)]
// All of this crate is test code; the exemption in clippy.toml sees only what is marked `#[test]`.
#![allow(clippy::unwrap_used)]

mod cavp;
mod certificates;
mod ml_dsa;
mod oracles;
mod pkcs12;
mod requests;
mod vectors;
mod wycheproof;

/// Tells how much was tried, also when the test passes: to standard error as it is, which the test harness does
/// not hold back.
pub(crate) fn report(what: std::fmt::Arguments<'_>) {
    use std::io::Write;
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "tried: {what}");
}

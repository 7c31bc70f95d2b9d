//! ECDSA P-256 signature verification, eight at once, for public data only: it takes variable time, so no secret may ever go through it.
//!
//! A batch of signatures, each with its own key, costs about a fifth of what a good scalar library takes for them, and a key that
//! verifies again and again ([`PreparedKey`]) about a twenty-fifth. That takes a processor with AVX-512 IFMA;
//! elsewhere, and for a single signature, aws-lc-rs verifies.
//!
#![cfg_attr(
    feature = "std",
    doc = r#"
```
use p256x8::{Digest, PublicKey, Signature, Verifier};

fn check(batch: &[(PublicKey, Digest, Signature)]) -> bool {
    let verifier = Verifier::new(); // once for the program
    verifier.verify_batch(batch).all_valid()
}
# assert!(check(&[]));
```
"#
)]
//!
//! What is checked is all of FIPS 186-5 §6.4.2 and SEC 1 §4.1.4: r and s in [1, n − 1], the key's coordinates under p, the
//! key on the curve and not infinity, the sum not infinity, and its x coordinate modulo n, also where x ≥ n.
//!
//! # How
//!
//! Each of the eight 64-bit lanes of a vector holds one verification; all run the same steps. Numbers have five limbs
//! of 52 bits, which VPMADD52 multiplies (`limbs`, `field`, `scalar`). u2·Q takes 52 windows of five bits with
//! digits that are never zero (`window`), u1·G a table without doublings (`table`). The addition formulas (`point`) are
//! the fast ones, whose exceptional cases leave a mark; a lane with the mark is computed again by complete formulas
//! (`exact`), or goes to aws-lc-rs with the rest that is not valid. The inversions modulo n and p are shared by up to 64 verifications (`batch`).
//!
//! # Features
//!
//! `std` (default): detection of the processor, `Verifier` and `verify_batch` with aws-lc-rs. Without it the crate is `no_std`
//! with `alloc` and has no dependencies: [`LaneVerifier`] with `Ifma::assume`. A chunk of 64 verifications
//! and the making of a table take about 300 KiB of stack.
#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod batch;
mod exact;
mod field;
mod input;
mod lane_verifier;
mod lanes;
mod limbs;
mod point;
mod scalar;
mod table;
#[cfg(all(test, feature = "std"))]
mod tests;
#[cfg(feature = "std")]
mod verifier;
mod window;

pub use input::{Digest, PublicKey, Signature};
pub use lane_verifier::{LaneVerifier, PreparedKey};
#[cfg(target_arch = "x86_64")]
pub use lanes::ifma::Ifma;
#[cfg(feature = "std")]
pub use verifier::{Counts, IssuerKey, LANES_PAY_FROM, Path, Verdicts, Verifier, verify_batch};

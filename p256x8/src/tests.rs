//! The parts against big integers, and against each other.
//!
//! | module | what it shows |
//! | --- | --- |
//! | `arithmetic` | field and scalars are right, and the vector code is the portable code limb by limb |
//! | `bounds` | no number leaves the bounds that the documentation claims, by intervals |
//! | `detection` | a processor that lacks any one feature gets no lanes, and the same verdicts |
//! | `counts` | what a verification costs, and that the exact formulas run where they have to |
//! | `points` | formulas, tables and windows are right |

// All of this is test code; the exemption in clippy.toml sees only what is marked `#[test]`.
#![allow(clippy::unwrap_used)]

#[path = "../tests/verify/oracle.rs"]
#[allow(dead_code, reason = "the tests of whole verifications use all of it")]
mod oracle;
#[path = "../tests/verify/random.rs"]
#[allow(dead_code, reason = "the tests of whole verifications use all of it")]
mod random;

mod arithmetic;
mod bounds;
mod counts;
#[cfg(target_arch = "x86_64")]
mod detection;
mod points;

use num_bigint::BigUint;
use std::vec::Vec;

use crate::Ifma;
use crate::lanes::portable::Portable;
use crate::lanes::{LANES, Lanes, Task};
use crate::limbs::{LIMB_BITS, Limbs, Vectors};

/// Runs a task on the portable lanes, and on the vector ones if there are any: both give the same.
fn on_both<T: Task + Clone>(task: T) -> T::Output
where
    T::Output: PartialEq + std::fmt::Debug,
{
    let portable = task.clone().run(Portable::ZERO);
    if let Some(ifma) = Ifma::detect() {
        assert_eq!(ifma.run(task), portable);
    }
    portable
}

/// The number of limbs of any size.
fn number(limbs: &Limbs) -> BigUint {
    limbs
        .iter()
        .rev()
        .fold(BigUint::ZERO, |sum, limb| (sum << LIMB_BITS) + limb)
}

fn to_limbs(number: &BigUint) -> Limbs {
    let low = BigUint::from((1_u64 << LIMB_BITS) - 1);
    std::array::from_fn(|i| {
        let limb = (number >> (i as u32 * LIMB_BITS)) & &low;
        limb.iter_u64_digits().next().unwrap_or(0)
    })
}

fn with<V: Lanes>(zero: V, numbers: &[Limbs; LANES]) -> Vectors<V> {
    std::array::from_fn(|limb| zero.with(numbers.map(|number| number[limb])))
}

fn limbs_of<V: Lanes>(vectors: Vectors<V>) -> [Limbs; LANES] {
    let arrays = vectors.map(Lanes::to_array);
    std::array::from_fn(|lane| arrays.map(|array| array[lane]))
}

fn numbers<V: Lanes>(vectors: Vectors<V>) -> Vec<BigUint> {
    limbs_of(vectors).iter().map(number).collect()
}

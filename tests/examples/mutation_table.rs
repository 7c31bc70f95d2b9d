//! Writes `docs/MUTATIONS.md`: which checker catches which single fault of a certificate.
//!
//! ```text
//! cargo run --package birthmark-tests --example mutation_table > docs/MUTATIONS.md
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)]

use birthmark_tests::authority::World;
use birthmark_tests::fault_table;
use birthmark_tests::oracle::Oracles;

fn main() {
    let rows = fault_table::rows(&World::new(), Some(Oracles::get()));
    print!("{}", fault_table::page(&rows));
}

//! Compares the lanes with aws-lc-rs on as many random samples as you like, valid and mutated, with own and prepared keys:
//!
//! ```text
//! cargo run --release --package p256x8 --example compare -- COUNT [SEED]
//! ```
//!
//! One thread for each processor, each with a seed of its own. It stops with status 1 at the first disagreement.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use p256x8::{Ifma, LaneVerifier};

#[path = "../tests/verify/comparison.rs"]
mod comparison;
#[path = "../tests/verify/mutation.rs"]
mod mutation;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/verify/oracle.rs"]
mod oracle;
#[path = "../tests/verify/random.rs"]
mod random;
#[path = "../tests/verify/sample.rs"]
mod sample;

use comparison::{Comparison, Tally};
use mutation::Mutation;

const PROGRESS_EVERY: u64 = 500_000;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse::<u64>());
    let (Some(Ok(count)), seed) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: compare COUNT [SEED]");
        return ExitCode::from(2);
    };
    let Some(ifma) = Ifma::detect() else {
        eprintln!("this processor has no AVX-512 IFMA: there is nothing to compare");
        return ExitCode::from(2);
    };
    let seed = seed.and_then(Result::ok).unwrap_or(1);
    let lanes = LaneVerifier::new(ifma);
    let done = AtomicU64::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let results: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let (lanes, done) = (&lanes, &done);
                scope.spawn(move || run(Comparison::new(lanes, seed << 16 | worker), done, count))
            })
            .collect();
        workers.into_iter().map(|worker| worker.join()).collect()
    });
    report(results.into_iter().flatten().collect())
}

/// Works until all threads together have done the count.
fn run<'a>(
    mut comparison: Comparison<'a>,
    done: &AtomicU64,
    count: u64,
) -> Result<Comparison<'a>, String> {
    while done.load(Ordering::Relaxed) < count {
        let before = comparison.samples;
        if let Err(disagreement) = comparison.batch() {
            // The other threads have nothing more to do.
            done.store(count, Ordering::Relaxed);
            return Err(disagreement);
        }
        let batch = comparison.samples - before;
        let total = done.fetch_add(batch, Ordering::Relaxed) + batch;
        if total / PROGRESS_EVERY != (total - batch) / PROGRESS_EVERY {
            eprintln!("{total} of {count}");
        }
    }
    Ok(comparison)
}

fn report(results: Vec<Result<Comparison<'_>, String>>) -> ExitCode {
    let (mut samples, mut prepared, mut agree) = (0, 0, true);
    let mut sums = vec![Tally::default(); Mutation::ALL.len()];
    for result in results {
        match result {
            Ok(comparison) => {
                samples += comparison.samples;
                prepared += comparison.with_prepared;
                for (mutation, tally) in comparison.tallies {
                    sums[mutation].samples += tally.samples;
                    sums[mutation].valid += tally.valid;
                }
            }
            Err(disagreement) => {
                eprintln!("{disagreement}");
                agree = false;
            }
        }
    }
    for (mutation, tally) in Mutation::ALL.iter().zip(&sums) {
        let name = format!("{mutation:?}");
        println!("{name:<16} {:>10} {:>10} valid", tally.samples, tally.valid);
    }
    println!("{samples} samples, {prepared} of them with a prepared key");
    if agree {
        println!("the lanes and aws-lc-rs agree on all of them");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

//! The instructions of each step that is neither a signature nor the log's, counted by callgrind: they hardly depend on the machine's
//! load. `cargo bench --package birthmark-bench --bench instructions` runs it; an argument names the steps.
//!
//! Each step is counted in two runs that take it more and less often. The difference is the step's alone: what
//! comes before it is the same in both. Callgrind's processor has no SHA extensions, so that SHA-256 takes more
//! instructions in it than on one that has them: the step `validate/digests` says how many.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot run has to stop, and its result is for the console"
)]

use std::env;
use std::process::Command;

use birthmark_bench::{Ca, Step, Steps};

/// The allocator of the shipped binaries, so that figures agree with theirs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often a step is taken in each of the two runs.
const FEW: u64 = 1_000;
const MANY: u64 = 5_000;

/// Says that a run is the one inside callgrind, and stands before the step's number and how often it is taken.
const COUNTED: &str = "--counted";

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [COUNTED, step, times] = *arguments.iter().map(String::as_str).collect::<Vec<_>>() {
        return repeat(
            Step::EACH[step.parse::<usize>().unwrap()],
            times.parse().unwrap(),
        );
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("valgrind is not installed: no instructions were counted");
        return;
    }
    // cargo itself hands over `--bench`.
    let wanted: Vec<_> = arguments
        .iter()
        .filter(|word| !word.starts_with('-'))
        .collect();
    for (number, step) in Step::EACH.into_iter().enumerate() {
        let name = format!("instructions/{}", step.name());
        if wanted.is_empty() || wanted.iter().any(|word| name.contains(*word)) {
            let counted = counted(number, MANY) - counted(number, FEW);
            println!("{name:<60}{:>8}", counted / (MANY - FEW));
        }
    }
}

/// The instructions of a whole run.
fn counted(step: usize, times: u64) -> u64 {
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().unwrap())
        .args([COUNTED, &step.to_string(), &times.to_string()])
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{report}");
    let collected = report
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    collected.unwrap().1.trim().parse().unwrap()
}

fn repeat(step: Step, times: u64) {
    let ca = Ca::software().unwrap();
    let (bench, key) = ca.stages().unwrap();
    let steps = Steps::new(&bench, &key).unwrap();
    (0..times).for_each(|_| assert!(steps.run(step)));
}

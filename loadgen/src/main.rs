//! The `loadgen` command: makes corpora, drives the engine, measures the limit.

#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod progress;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;

/// The engine hands every certificate out in a buffer of its own, allocated on one thread and
/// freed on another. With the system's allocator that crossing is what the driver and the pool
/// threads meet in most often; mimalloc gives memory back to its own thread without a lock.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the exit codes mean; `--help` shows the same list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Everything as it should be.
    Clean = 0,
    /// Some requests were rejected or did not meet what was expected.
    Differs = 1,
    /// The command line, a configuration or an input file is wrong.
    Usage = 2,
    /// The system failed: a disk, a token, the engine itself.
    Fault = 3,
}

fn main() -> ExitCode {
    let outcome = match commands::run(Arguments::parse(), &mut io::stdout().lock()) {
        Ok(outcome) => outcome,
        Err(failure) => {
            // Nothing can be done about a standard error that is closed.
            let _closed = writeln!(io::stderr(), "loadgen: {failure}");
            failure.outcome()
        }
    };
    ExitCode::from(outcome as u8)
}

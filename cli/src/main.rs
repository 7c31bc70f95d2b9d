//! The `birthmark` binary: arguments in, exit code out.

#![forbid(unsafe_code)]

use std::env;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use birthmark::{Arguments, Console};
use clap::Parser;
use clap::error::ErrorKind;
use mimalloc::MiMalloc;

/// Requests are allocated on one thread and freed on another, thousands at a time: with the
/// system allocator that is contended and keeps memory, with this one it is neither.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Also --help and --version, which are no errors and exit with 0.
            let _ = error.print();
            if error.kind() == ErrorKind::DisplayVersion && env::args().any(|it| it == "--verbose")
            {
                let _ = write!(io::stdout(), "{}", birthmark::version::processor());
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    // Standard error is not locked: the progress bar draws on it from a thread of its own.
    let (out, mut err) = (io::stdout(), io::stderr());
    let out_is_terminal = out.is_terminal();
    let progress = err.is_terminal();
    let mut console = Console {
        out: &mut out.lock(),
        err: &mut err,
        progress,
        out_is_terminal,
    };
    birthmark::run(arguments, &mut console).into()
}

//! `birthmark log backup`, `archive`, `restore`, `witness`, `follow`: keeping what a log knows.

mod archive;
mod args;
mod backup;
mod error;
mod follow;
mod http;
mod restore;
mod witness;

use serde::Serialize;

use crate::command::Exit;
use crate::console::Console;

pub(crate) use args::KeepCommand;
pub use error::KeepError;

/// Runs one of the commands.
///
/// # Errors
/// [`KeepError`].
pub(crate) fn run(command: KeepCommand, console: &mut Console<'_>) -> Result<Exit, KeepError> {
    match command {
        KeepCommand::Backup(arguments) => backup::run(&arguments, console),
        KeepCommand::Archive(arguments) => archive::run(&arguments, console),
        KeepCommand::Restore(arguments) => restore::run(&arguments, console),
        KeepCommand::Witness(arguments) => witness::run(&arguments, console),
        KeepCommand::Follow(arguments) => follow::run(&arguments, console),
    }
}

/// Writes a result for a program, or the same for a person.
fn write_result(
    console: &mut Console<'_>,
    json: bool,
    value: &impl Serialize,
    text: &str,
) -> Result<(), KeepError> {
    let written = if json {
        serde_json::to_writer(&mut *console.out, value)
            .map_err(std::io::Error::from)
            .and_then(|()| console.out.write_all(b"\n"))
    } else {
        console.out.write_all(text.as_bytes())
    };
    written
        .and_then(|()| console.out.flush())
        .map_err(|source| KeepError::Output { source })
}

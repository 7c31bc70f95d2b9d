//! `birthmark hsm`: what an HSM is, a key on it, and how well it signs.
//!
//! `list` never logs in; `keygen` and `check` log in once, and a PIN that was refused is never tried again: [`marks`] says
//! where that is remembered.

mod args;
mod check;
mod error;
mod keygen;
mod list;
mod marks;
mod measure;
pub(crate) mod pin;
mod search;

use birthmark_hsm::Pkcs11Uri;
use serde::Serialize;

use crate::command::Exit;
use crate::console::Console;

pub(crate) use args::HsmCommand;
pub use birthmark_hsm::TEST_TEXT;
pub use check::SESSIONS_TRIED_MAX;
pub use error::HsmError;
pub(crate) use error::{generate_exit, open_exit};
pub(crate) use marks::Marks;

/// Runs one of the commands.
///
/// # Errors
/// [`HsmError`].
pub(crate) fn run(command: HsmCommand, console: &mut Console<'_>) -> Result<Exit, HsmError> {
    match command {
        HsmCommand::List(arguments) => list::run(&arguments, console),
        HsmCommand::Keygen(arguments) => keygen::run(&arguments, console),
        HsmCommand::Check(arguments) => check::run(&arguments, console),
    }
}

/// Reads a URI. It is not left to the grammar of the command line, whose errors repeat what was typed: a
/// PIN might stand there.
pub(crate) fn uri(text: &str) -> Result<Pkcs11Uri, HsmError> {
    Ok(text.parse()?)
}

/// Writes a result for a program, or the same for a person.
fn write_result(
    console: &mut Console<'_>,
    json: bool,
    value: &impl Serialize,
    text: &str,
) -> Result<(), HsmError> {
    let written = console.result(json, value, text);
    written.map_err(|source| HsmError::Output { source })
}

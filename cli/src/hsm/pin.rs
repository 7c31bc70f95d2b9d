//! A PIN or passphrase that a person types, without echo.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};

use birthmark_engine::{Activation, Configuration};
use birthmark_hsm::{PIN_VARIABLE, Pkcs11Uri, SignerLocation, inspect_uri};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::{HsmError, Marks};

/// Longest secret read, in bytes: as long as the longest PIN that a file may hold.
const SECRET_BYTES_MAX: usize = 1024;

const TERMINAL: &str = "/dev/tty";

/// The URI as every command uses it that logs in: with the place of its marks, and with a PIN that is asked for on the
/// terminal where nothing else says what it is and the token wants one. Without a terminal opening the token says
/// what is missing.
pub(crate) fn with_pin(uri: Pkcs11Uri, marks: Marks<'_>) -> Result<Pkcs11Uri, HsmError> {
    let uri = uri.with_state_directory(marks.directory()?);
    if uri.has_pin() || std::env::var_os(PIN_VARIABLE).is_some() || open_terminal().is_err() {
        return Ok(uri);
    }
    typed(uri)
}

/// The URI with a PIN that is typed now, whatever else says what it is; for the activation "operator".
pub(crate) fn typed(uri: Pkcs11Uri) -> Result<Pkcs11Uri, HsmError> {
    let module = inspect_uri(&uri)?;
    // Several tokens that fit, or none, are told when the token is opened.
    let mut tokens = module.slots.into_iter().filter_map(|slot| slot.token);
    let wants_pin =
        tokens.any(|token| token.login_required && !token.protected_authentication_path);
    if !wants_pin {
        return Ok(uri);
    }
    let token = uri.token().unwrap_or("the token").to_owned();
    let pin = ask(&format!("PIN of {token}: ")).map_err(HsmError::Terminal)?;
    Ok(uri.with_typed_pin(pin))
}

/// The configuration as its station can start: with the activation "operator" the PIN is typed now. With "m-of-n" the
/// token asks by its own means when it is logged in to.
pub(crate) fn activated(configuration: Configuration) -> Result<Configuration, HsmError> {
    if configuration.activation() != Activation::Operator {
        return Ok(configuration);
    }
    let typed = configuration.signers().iter().map(|signer| match signer {
        SignerLocation::Pkcs11(uri) => Ok(SignerLocation::Pkcs11(typed(uri.clone())?)),
        SignerLocation::Software(path) => Ok(SignerLocation::Software(path.clone())),
    });
    let signers = typed.collect::<Result<_, HsmError>>()?;
    Ok(configuration.with_signers(signers))
}

/// Asks for a secret on the controlling terminal, which need not be where standard input comes from.
pub(crate) fn ask(prompt: &str) -> io::Result<Zeroizing<String>> {
    let mut terminal = open_terminal()?;
    let secret = {
        // Before the question: whoever types at once is not shown either.
        let _quiet = Quiet::begin(&terminal)?;
        (&terminal).write_all(prompt.as_bytes())?;
        read_line(&terminal)
    };
    // The line break that was typed was not shown.
    terminal.write_all(b"\n")?;
    secret
}

fn open_terminal() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(TERMINAL)
}

fn read_line(terminal: &File) -> io::Result<Zeroizing<String>> {
    // Room for everything at once: a buffer that grows leaves copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
    let limited = terminal.take(SECRET_BYTES_MAX as u64 + 1);
    BufReader::with_capacity(1, limited).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the line did not end",
        ));
    }
    let text = String::from_utf8(std::mem::take(&mut *line))
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))?;
    Ok(Zeroizing::new(text))
}

/// Echo off, and as it was again when dropped.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl Quiet<'_> {
    fn begin(terminal: &File) -> io::Result<Quiet<'_>> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Quiet { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // A terminal that went away needs no echo.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

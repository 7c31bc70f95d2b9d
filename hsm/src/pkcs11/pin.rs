//! Where the PIN comes from: a file or the environment, never an argument.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use super::uri::Pkcs11Uri;
use crate::error::PinError;

/// Environment variable with the PIN, for a URI without `pin-source`.
pub const PIN_VARIABLE: &str = "BIRTHMARK_PIN";

/// Longest PIN read, in bytes: four times the longest of the HSMs known (Luna: 255).
const PIN_LEN_MAX: usize = 1024;

/// What goes with a URI and is no part of what it names: a PIN that a person typed, wiped when dropped
/// and never shown, and where the marks of its logins are kept.
#[derive(Clone, Default)]
pub(super) struct PinCare {
    typed: Option<Arc<Zeroizing<String>>>,
    pub(super) state_directory: Option<PathBuf>,
}

impl PartialEq for PinCare {
    fn eq(&self, _: &PinCare) -> bool {
        true
    }
}

impl Eq for PinCare {}

impl Pkcs11Uri {
    /// The same URI with a PIN that a person typed: it is used in place of `pin-source` and of `BIRTHMARK_PIN`.
    #[must_use]
    pub fn with_typed_pin(mut self, pin: Zeroizing<String>) -> Pkcs11Uri {
        self.pin.typed = Some(Arc::new(pin));
        self
    }

    /// The same URI with the directory in which the marks of a refused PIN and of a login under way are kept,
    /// in place of [`PoolOptions::state_directory`](crate::PoolOptions::state_directory). No PIN is sent while
    /// it cannot be written. Without either, a refusal is remembered by this process alone.
    #[must_use]
    pub fn with_state_directory(mut self, directory: impl Into<PathBuf>) -> Pkcs11Uri {
        self.pin.state_directory = Some(directory.into());
        self
    }

    /// Whether the URI says where the PIN is, or carries one that was typed.
    pub fn has_pin(&self) -> bool {
        self.pin_source.is_some() || self.pin.typed.is_some()
    }

    /// Whether the URI says where the PIN is.
    pub fn has_pin_source(&self) -> bool {
        self.pin_source.is_some()
    }
}

/// Gives the PIN that was typed, or reads it from the file that the URI's `pin-source` names, without its last line break, or
/// from `BIRTHMARK_PIN`; `None` when neither is there. Wiped when dropped.
pub(super) fn read(uri: &Pkcs11Uri) -> Result<Option<AuthPin>, PinError> {
    let (place, bytes) = match (&uri.pin.typed, &uri.pin_source) {
        (Some(typed), _) => {
            let bytes = Zeroizing::new(typed.as_bytes().to_vec());
            ("what was typed", bytes)
        }
        (None, Some(path)) => {
            let bytes = read_file(path).map_err(|source| PinError::Unreadable { source })?;
            ("the PIN file", bytes)
        }
        (None, None) => match std::env::var_os(PIN_VARIABLE) {
            Some(value) => (PIN_VARIABLE, Zeroizing::new(value.into_encoded_bytes())),
            None => return Ok(None),
        },
    };
    parse(&bytes)
        .map(|pin| Some(AuthPin::from(pin)))
        .ok_or(PinError::Malformed {
            place,
            max: PIN_LEN_MAX,
        })
}

fn read_file(path: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for everything at once: a buffer that grows leaves copies behind. Two more bytes for
    // the line break, one to notice that there is more.
    let limit = PIN_LEN_MAX + 3;
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit));
    File::open(path)?
        .take(limit as u64)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Option<&str> {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let one_line = !line.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0));
    let text = std::str::from_utf8(line).ok()?;
    (one_line && (1..=PIN_LEN_MAX).contains(&line.len())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_break_is_cut_off() {
        assert_eq!(parse(b"12 34\r\n"), Some("12 34"));
        for good in [&b"1234"[..], b"1234\n", b" 1234 \n", &[b'x'; PIN_LEN_MAX]] {
            assert!(parse(good).is_some());
        }
        for bad in [
            &b""[..],
            b"\n",
            b"12\n34",
            b"12\n\n",
            b"\xff",
            &[b'x'; PIN_LEN_MAX + 1],
        ] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
    }
}

//! Initializes a SoftHSM token, with both PINs read from files.
//!
//! `initialize_token MODULE LABEL SO_PIN_FILE PIN_FILE`; used by `softhsm/token.sh`.

use std::error::Error;
use std::fs;
use std::path::Path;

use birthmark_hsm::{InitializeError, initialize_token};
use zeroize::Zeroizing;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, label, so_pin_file, pin_file] = &arguments[..] else {
        return Err("usage: initialize_token MODULE LABEL SO_PIN_FILE PIN_FILE".into());
    };
    let read = |file: &str| fs::read_to_string(file).map(Zeroizing::new);
    let (so_pin, pin) = (read(so_pin_file)?, read(pin_file)?);
    match initialize_token(Path::new(module), label, so_pin.trim_end(), pin.trim_end()) {
        Ok(()) | Err(InitializeError::Exists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

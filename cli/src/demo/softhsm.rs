//! A private SoftHSM token for the demonstration.

use std::convert::Infallible;
use std::env;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::rand;
use birthmark_hsm::softhsm::{self, CONFIGURATION_VARIABLE};
use birthmark_hsm::{InitializeError, Pkcs11Uri, initialize_token};
use zeroize::Zeroizing;

use crate::hex;

/// Names the module where it is not in one of the usual places.
const MODULE_VARIABLE: &str = "BIRTHMARK_TEST_MODULE";

/// Random octets of a PIN; twice as many hexadecimal digits.
const PIN_RANDOM_BYTES: usize = 16;

/// Random octets in a token's label, so that one configuration can serve many demonstrations.
const LABEL_RANDOM_BYTES: usize = 4;

/// Label of the issuing key on the token.
const KEY_LABEL: &str = "issuing-ca";

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SoftHsmError {
    /// No module was found.
    #[error(
        "SoftHSM is not installed: install it (apt install softhsm2, dnf install softhsm, brew \
         install softhsm), run 'make demo SIGNER=softhsm', or set {MODULE_VARIABLE} to the path \
         of libsofthsm2.so"
    )]
    Missing,
    /// A file could not be made.
    #[error("cannot make {}; check space and permissions", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// This program could not start itself again with SoftHSM's configuration.
    #[error(
        "cannot start this program again with {CONFIGURATION_VARIABLE} set; set it and try again"
    )]
    Execute {
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The operating system's random generator failed.
    #[error("the system gives no random numbers; nothing can be made on this machine")]
    Random,
    /// The token could not be initialized.
    #[error("cannot initialize a SoftHSM token")]
    Initialize(#[from] InitializeError),
}

/// Makes a fresh token with random PINs and returns the URI for its key.
///
/// Where `SOFTHSM2_CONF` is not set, writes a private configuration into `directory` and
/// replaces this process by itself with the variable set.
pub(super) fn token(directory: &Path) -> Result<Pkcs11Uri, SoftHsmError> {
    let module = module()?;
    if env::var_os(CONFIGURATION_VARIABLE).is_none() {
        match start_again(directory)? {}
    }
    make_private_directory(directory)?;
    let label = format!("birthmark-demo-{}", *random_hex(LABEL_RANDOM_BYTES)?);
    let (so_pin, user_pin) = (random_pin()?, random_pin()?);
    let pin_file = directory.join(format!("{label}.pin"));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&pin_file)
        .and_then(|mut file| file.write_all(user_pin.as_bytes()));
    written.map_err(|source| SoftHsmError::File {
        path: pin_file.clone(),
        source,
    })?;
    initialize_token(&module, &label, &so_pin, &user_pin)?;
    let uri = Pkcs11Uri::new(&module, &label, KEY_LABEL, Some(&pin_file));
    Ok(uri.with_state_directory(directory))
}

fn module() -> Result<PathBuf, SoftHsmError> {
    if let Some(path) = env::var_os(MODULE_VARIABLE) {
        return Ok(PathBuf::from(path));
    }
    // Beside what is installed: what `softhsm/install.sh` unpacked, when run from the checkout.
    softhsm::locate(Path::new(".")).ok_or(SoftHsmError::Missing)
}

/// Does not return when it succeeds.
fn start_again(directory: &Path) -> Result<Infallible, SoftHsmError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| SoftHsmError::File { path, source }
    };
    // Whoever sets no configuration has no token of ours in use: clear the earlier one.
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(file(directory)(error));
        }
        _ => {}
    }
    let configuration = softhsm::configure(directory).map_err(file(directory))?;
    let program = env::current_exe().map_err(|source| SoftHsmError::Execute { source })?;
    let mut command = Command::new(program);
    command
        .args(env::args_os().skip(1))
        .env(CONFIGURATION_VARIABLE, &configuration);
    Err(SoftHsmError::Execute {
        source: command.exec(),
    })
}

pub(super) fn make_private_directory(path: &Path) -> Result<(), SoftHsmError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| SoftHsmError::File {
        path: path.to_owned(),
        source,
    })
}

/// A PIN for a token that is thrown away.
pub(super) fn random_pin() -> Result<Zeroizing<String>, SoftHsmError> {
    random_hex(PIN_RANDOM_BYTES)
}

fn random_hex(bytes: usize) -> Result<Zeroizing<String>, SoftHsmError> {
    let mut random = Zeroizing::new(vec![0; bytes]);
    rand::fill(&mut random).map_err(|_| SoftHsmError::Random)?;
    Ok(Zeroizing::new(hex::encode(&random)))
}

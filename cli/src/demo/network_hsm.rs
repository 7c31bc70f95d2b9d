//! A network HSM for the demonstration, played by the test token.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use birthmark_hsm::Pkcs11Uri;

use super::softhsm::{SoftHsmError, make_private_directory, random_pin};

/// Names the test token's module.
const MODULE_VARIABLE: &str = "BIRTHMARK_TEST_TOKEN_MODULE";

/// Sessions that sign: with 1 ms each, several times what two processors can use.
pub(super) const SESSIONS: usize = 64;

/// What the HSM is like: some 1 ms away, of the class that signs 20,000 times a second. The ceremony makes
/// the key.
const CONFIGURATION: &str = "mode = \"software\"\nkey_file = \"key.p8\"\nmake_key = false\n\
    latency = { mean_us = 1000, jitter_us = 200 }\nrate_cap = 20000\nsession_max = 160\n";

const LABEL: &str = "network-hsm";
const KEY_LABEL: &str = "issuing-ca";

/// Why there is no network HSM.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkHsmError {
    /// The module is not known.
    #[error(
        "the test token that plays a network HSM is not part of an installation: run \
         'make demo SIGNER=network-hsm' in a checkout, or set {MODULE_VARIABLE} to the path of \
         libbirthmark_test_token.so"
    )]
    Missing,
    /// A file could not be made.
    #[error("cannot make {}; check space and permissions", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// What it has in common with SoftHSM's directory failed.
    #[error(transparent)]
    Directory(#[from] SoftHsmError),
}

/// Puts a copy of the module with a configuration of its own into `directory`, and returns the URI for
/// the key that is to be made.
pub(super) fn token(directory: &Path) -> Result<Pkcs11Uri, NetworkHsmError> {
    let module = env::var_os(MODULE_VARIABLE).ok_or(NetworkHsmError::Missing)?;
    // A token that has a key takes no other.
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(directory)(error));
        }
        _ => {}
    }
    make_private_directory(directory)?;
    let copy = directory.join("network-hsm.so");
    if !Path::new(&module).is_file() {
        return Err(NetworkHsmError::Missing);
    }
    fs::copy(&module, &copy).map_err(failed(&copy))?;
    let pin = random_pin()?;
    let pin_file = directory.join("pin");
    write_private(&pin_file, &pin)?;
    let configuration = format!(
        "label = \"{LABEL}\"\nkey_label = \"{KEY_LABEL}\"\npin = \"{}\"\n{CONFIGURATION}",
        &*pin
    );
    write_private(&directory.join("network-hsm.so.toml"), &configuration)?;
    let uri = Pkcs11Uri::new(&copy, LABEL, KEY_LABEL, Some(&pin_file));
    Ok(uri.with_state_directory(directory))
}

fn write_private(path: &Path, text: &str) -> Result<(), NetworkHsmError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(failed(path))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> NetworkHsmError {
    move |source| NetworkHsmError::File {
        path: path.to_owned(),
        source,
    }
}

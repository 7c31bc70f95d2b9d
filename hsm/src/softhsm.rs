//! SoftHSM, for tests and demonstrations: where its module is, and a private configuration.
//!
//! SoftHSM reads its configuration from the file that the environment variable
//! `SOFTHSM2_CONF` names, when its module is initialized. The variable has to be set before this
//! process starts, so whoever wants a private token starts itself again with it, or runs under
//! `softhsm/with-softhsm.sh`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Environment variable that names SoftHSM's configuration file.
pub const CONFIGURATION_VARIABLE: &str = "SOFTHSM2_CONF";

/// Where the module is under `target/softhsm/unpacked`, where `softhsm/install.sh` unpacks it.
const UNPACKED: &str = "target/softhsm/unpacked/usr/lib/softhsm/libsofthsm2.so";

/// Where Debian, Fedora, Homebrew and a build of one's own install the module.
pub const INSTALLED: &[&str] = &[
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// SoftHSM's module: installed on the system, or unpacked by `softhsm/install.sh` under
/// `repository`. `None` when it is in neither place.
pub fn locate(repository: &Path) -> Option<PathBuf> {
    let installed = INSTALLED.iter().map(PathBuf::from);
    installed
        .chain([repository.join(UNPACKED)])
        .find(|path| path.is_file())
}

/// Writes a configuration with its tokens in `directory/tokens`, both readable by the owner only,
/// and returns the file for `SOFTHSM2_CONF`. What is there already stays.
///
/// # Errors
/// Those of the file system.
pub fn configure(directory: &Path) -> io::Result<PathBuf> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory.join("tokens"))?;
    let directory = fs::canonicalize(directory)?;
    let file = directory.join("softhsm2.conf");
    let tokens = directory.join("tokens");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n\
         slots.removable = false\n",
        tokens.display()
    );
    let options = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&file);
    match options {
        Ok(mut new) => new.write_all(text.as_bytes())?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    Ok(file)
}

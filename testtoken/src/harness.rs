//! The tests' way to the module: a copy of it with a configuration of its own.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::configuration::{Configuration, ConfigurationError};
use crate::ffi::ControlLibrary;
use crate::report::Report;

/// The module's file name, as cargo makes it.
const FILE_NAME: &str = if cfg!(target_os = "macos") {
    "libbirthmark_test_token.dylib"
} else {
    "libbirthmark_test_token.so"
};

/// Why there is no test HSM, or why it did not obey.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HarnessError {
    /// The module was not built.
    #[error(
        "there is no {FILE_NAME} near {}: run cargo build -p birthmark-test-token with the same \
         profile", near.display()
    )]
    NotBuilt {
        /// The program that looked for it.
        near: PathBuf,
    },
    /// The configuration is wrong.
    #[error("the configuration of the test HSM '{name}': {source}")]
    Configuration {
        /// The HSM's name.
        name: String,
        /// What is wrong.
        source: ConfigurationError,
    },
    /// A file cannot be written or read.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The copy cannot be loaded.
    #[error("cannot load {}: {source}", path.display())]
    Load {
        /// The copy.
        path: PathBuf,
        /// Why.
        source: libloading::Error,
    },
    /// A command was refused.
    #[error("the command '{command}' was refused: {reason}")]
    Command {
        /// The command.
        command: String,
        /// Why.
        reason: String,
    },
    /// The report cannot be read.
    #[error("the report cannot be read: {0}")]
    Report(#[source] serde_json::Error),
}

/// An HSM of a test's own: a copy of the module, its configuration and its PIN file.
///
/// Copies are independent of each other, also in one process. The same file is one HSM for
/// everybody in a process.
///
/// ```no_run
/// use birthmark_test_token::TestHsm;
///
/// let directory = tempfile::tempdir()?;
/// let settings = "mode = 'software'\nkey_file = 'shared'";
/// let first = TestHsm::create(directory.path(), "first", settings)?;
/// let second = TestHsm::create(directory.path(), "second", settings)?;
/// // … pools are opened from first.uri() and second.uri(): one key on two HSMs …
/// first.command("fault = { function = 'C_Sign', at = [3], code = 'CKR_DEVICE_ERROR' }")?;
/// // … they sign …
/// assert_eq!(first.report()?.faults("CKR_DEVICE_ERROR"), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TestHsm {
    module: PathBuf,
    pin_file: PathBuf,
    label: String,
    key_label: String,
    control: ControlLibrary,
}

impl TestHsm {
    /// Makes the HSM `name` in `directory`: the files `name.so`, `name.so.toml` and `name.pin`. The
    /// settings are the configuration; `label` is the name and `pin` is made up where they are not
    /// set. Paths in it are relative to the directory.
    ///
    /// # Errors
    /// [`HarnessError`]; a configuration that is wrong is told here, before a module reads it.
    pub fn create(directory: &Path, name: &str, settings: &str) -> Result<TestHsm, HarnessError> {
        let wrong = |source| HarnessError::Configuration {
            name: name.to_owned(),
            source,
        };
        let given: toml::Table = crate::configuration::parse_toml(settings).map_err(wrong)?;
        let pin = match given.get("pin").and_then(toml::Value::as_str) {
            Some(pin) => pin.to_owned(),
            None => made_up_pin(),
        };
        // Before the settings: after them a line would belong to their last table.
        let mut text = String::new();
        for (key, value) in [("label", name), ("pin", &pin)] {
            if !given.contains_key(key) {
                text.push_str(&format!("{key} = {}\n", toml::Value::from(value)));
            }
        }
        text.push_str(settings);
        let configuration = Configuration::parse(&text, directory).map_err(wrong)?;

        let beside = |ending: &str| directory.join(format!("{name}{ending}"));
        let (module, pin_file) = (beside(".so"), beside(".pin"));
        let built = module_file()?;
        fs::copy(&built, &module).map_err(|source| HarnessError::File {
            path: module.clone(),
            source,
        })?;
        write_private(&beside(".so.toml"), &text)?;
        write_private(&pin_file, &pin)?;
        let control = ControlLibrary::load(&module).map_err(|source| HarnessError::Load {
            path: module.clone(),
            source,
        })?;
        Ok(TestHsm {
            module,
            pin_file,
            label: configuration.label().to_owned(),
            key_label: configuration.key_label().to_owned(),
            control,
        })
    }

    /// The copy of the module.
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// The file with the PIN.
    pub fn pin_file(&self) -> &Path {
        &self.pin_file
    }

    /// The token's label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The PKCS#11 URI (RFC 7512) of the token's key.
    pub fn uri(&self) -> String {
        self.uri_of(&self.label, &self.key_label)
    }

    /// The PKCS#11 URI of a key on a token of this module: with `mode = "forward"` those of the
    /// module behind it, whose PIN has to be in the PIN file.
    pub fn uri_of(&self, token: &str, object: &str) -> String {
        format!(
            "pkcs11:token={};object={}?module-path={}&pin-source=file:{}",
            encode(token),
            encode(object),
            encode(&self.module.to_string_lossy()),
            encode(&self.pin_file.to_string_lossy()),
        )
    }

    /// Gives a command to this process's HSM: a line as in the crate's README.
    ///
    /// # Errors
    /// [`HarnessError::Command`] when it is refused.
    pub fn command(&self, line: &str) -> Result<(), HarnessError> {
        if self.control.command(line) {
            return Ok(());
        }
        let reason = self.report()?.error;
        Err(HarnessError::Command {
            command: line.to_owned(),
            reason: reason.unwrap_or_else(|| "it holds a zero byte".to_owned()),
        })
    }

    /// What happened so far in this process's HSM.
    ///
    /// # Errors
    /// [`HarnessError::Report`] when the module is one of another version.
    pub fn report(&self) -> Result<Report, HarnessError> {
        serde_json::from_slice(&self.control.report()).map_err(HarnessError::Report)
    }
}

/// The module that cargo built beside the running program: for a test, a bench or an example that
/// depends on this crate it is always there.
///
/// # Errors
/// [`HarnessError::NotBuilt`].
pub fn module_file() -> Result<PathBuf, HarnessError> {
    let program = std::env::current_exe().unwrap_or_default();
    // Tests and benches are in `deps`, examples in `examples`, programs beside both.
    let directories = program.ancestors().skip(1).take(2);
    directories
        .flat_map(|directory| [directory.join("deps"), directory.to_owned()])
        .map(|directory| directory.join(FILE_NAME))
        .find(|file| file.is_file())
        .ok_or(HarnessError::NotBuilt { near: program })
}

fn made_up_pin() -> String {
    let mut random = [0; 8];
    // Without random numbers there is no key either: the token says so.
    let _ = aws_lc_rs::rand::fill(&mut random);
    format!("{:016x}", u64::from_be_bytes(random))
}

fn write_private(path: &Path, text: &str) -> Result<(), HarnessError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| HarnessError::File {
            path: path.to_owned(),
            source,
        })
}

/// Percent-encoding of everything but RFC 3986's unreserved characters and the slash.
fn encode(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

//! The configuration of a token: a TOML file, described in the crate's README.

use std::ffi::CString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use crate::key::ID_LEN_MAX;
use crate::pace::LatencySetting;
use crate::removals::Removals;
use crate::schedule::{FaultSetting, RULES_MAX, Rule, window};
use crate::session::SESSIONS_MAX;

/// Longest label in bytes: the field of `CK_TOKEN_INFO` (PKCS#11 v3.1 §3.2).
const LABEL_LEN_MAX: usize = 32;

/// Longest serial number in bytes: likewise.
const SERIAL_LEN_MAX: usize = 16;

/// Most times that the token goes and comes back by itself. Each call looks at each of them.
const REMOVALS_MAX: usize = 256;

/// Largest configuration in bytes: 256 faults and as many removals need less.
const FILE_LEN_MAX: u64 = 1 << 20;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no TOML, or no setting of that name and kind is known.
    #[error("line {line}: {message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// A value that cannot be used.
    #[error("{0}")]
    Value(String),
}

/// What makes the signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// A signature made beforehand: right in form, of another digest.
    Premade,
    /// A P-256 key of our own.
    Software,
    /// Another module.
    Forward,
}

/// Which key is behind the label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KeyChoice {
    Right,
    Wrong,
}

/// A PIN. It is shown nowhere.
#[derive(Clone)]
pub(crate) struct Pin(String);

impl Pin {
    pub(crate) fn fits(&self, given: &[u8]) -> bool {
        self.0.as_bytes() == given
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(…)")
    }
}

/// Reads a string, and tells nothing about what is not one: the errors of serde hold values.
impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pin, D::Error> {
        struct PinVisitor;
        impl<'de> Visitor<'de> for PinVisitor {
            type Value = Pin;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a PIN in quotation marks")
            }

            fn visit_str<E: de::Error>(self, pin: &str) -> Result<Pin, E> {
                Ok(Pin(pin.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Pin, E> {
                Err(E::custom("the PIN needs quotation marks"))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Pin, E> {
                Err(E::custom("the PIN needs quotation marks"))
            }
        }
        deserializer.deserialize_any(PinVisitor)
    }
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    mode: Mode,
    #[serde(default = "default_label")]
    label: String,
    #[serde(default = "default_serial")]
    serial: String,
    pin: Option<Pin>,
    #[serde(default = "default_sessions")]
    session_max: usize,
    #[serde(default)]
    reuse_handles: bool,
    module: Option<PathBuf>,
    init_string: Option<CString>,
    key_file: Option<PathBuf>,
    wrong_key_file: Option<PathBuf>,
    #[serde(default = "default_key_label")]
    key_label: String,
    #[serde(default = "default_key_id")]
    key_id: String,
    #[serde(default = "default_key")]
    key: KeyChoice,
    wrong_key_from_s: Option<f64>,
    #[serde(default = "yes")]
    make_key: bool,
    #[serde(default)]
    latency: LatencySetting,
    #[serde(default)]
    rate_cap: f64,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    faults: Vec<FaultSetting>,
    #[serde(default)]
    removals: Vec<RemovalSetting>,
    pin_lock_after: Option<u64>,
    sign_limit: Option<u64>,
    state_file: Option<PathBuf>,
    report_file: Option<PathBuf>,
    control_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RemovalSetting {
    from_s: Option<f64>,
    to_s: Option<f64>,
}

fn default_label() -> String {
    "test token".to_owned()
}

fn default_serial() -> String {
    "0001".to_owned()
}

fn default_sessions() -> usize {
    // What vendors advise for one partition lies below it.
    64
}

fn default_key_label() -> String {
    "k".to_owned()
}

fn default_key_id() -> String {
    "01".to_owned()
}

fn default_key() -> KeyChoice {
    KeyChoice::Right
}

fn yes() -> bool {
    true
}

/// A configuration that was checked. Paths are absolute, or relative to the process's directory.
#[derive(Debug)]
pub struct Configuration {
    pub(crate) mode: Mode,
    pub(crate) label: String,
    pub(crate) serial: String,
    pub(crate) pin: Option<Pin>,
    pub(crate) session_max: usize,
    /// A new session may get the number of one that is gone.
    pub(crate) reuse_handles: bool,
    pub(crate) module: Option<PathBuf>,
    /// What that module gets with C_Initialize.
    pub(crate) init_string: Option<CString>,
    pub(crate) keys: Keys,
    pub(crate) latency: LatencySetting,
    pub(crate) rate_cap: f64,
    pub(crate) seed: u64,
    pub(crate) faults: Vec<Rule>,
    pub(crate) removals: Removals,
    pub(crate) pin_lock_after: Option<u64>,
    pub(crate) sign_limit: Option<u64>,
    pub(crate) state_file: Option<PathBuf>,
    pub(crate) report_file: Option<PathBuf>,
    pub(crate) control_file: Option<PathBuf>,
}

/// The settings about keys.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) file: Option<PathBuf>,
    pub(crate) wrong_file: Option<PathBuf>,
    pub(crate) label: String,
    pub(crate) id: Vec<u8>,
    pub(crate) choice: KeyChoice,
    pub(crate) wrong_from: Option<Duration>,
    /// Make the key when the token starts; else C_GenerateKeyPair has to.
    pub(crate) make: bool,
}

impl Configuration {
    /// Reads the file.
    ///
    /// # Errors
    /// [`ConfigurationError`], which never holds the PIN.
    pub fn read(path: &Path) -> Result<Configuration, ConfigurationError> {
        let unreadable = |source| ConfigurationError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let len = fs::metadata(path).map_err(unreadable)?.len();
        if len > FILE_LEN_MAX {
            let reason = format!("more than {FILE_LEN_MAX} bytes");
            return Err(unreadable(io::Error::new(
                io::ErrorKind::FileTooLarge,
                reason,
            )));
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        Configuration::parse(&text, path.parent().unwrap_or(Path::new("")))
    }

    /// Reads a configuration whose paths are relative to `directory`.
    ///
    /// # Errors
    /// As for [`Configuration::read`].
    pub fn parse(text: &str, directory: &Path) -> Result<Configuration, ConfigurationError> {
        let raw: Raw = parse_toml(text)?;
        raw.check(directory).map_err(ConfigurationError::Value)
    }

    /// The token's label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The label of its key.
    pub fn key_label(&self) -> &str {
        &self.keys.label
    }
}

/// Reads TOML. The error names line and reason, and shows nothing of the text: it may be the PIN.
pub(crate) fn parse_toml<T: de::DeserializeOwned>(text: &str) -> Result<T, ConfigurationError> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or(text);
        ConfigurationError::Syntax {
            line: 1 + before.matches('\n').count(),
            message: error.message().to_owned(),
        }
    })
}

impl Raw {
    fn check(self, directory: &Path) -> Result<Configuration, String> {
        let within = |name: &str, text: &str, max: usize| {
            if (1..=max).contains(&text.len()) {
                Ok(())
            } else {
                Err(format!("{name} has 1 to {max} bytes"))
            }
        };
        within("label", &self.label, LABEL_LEN_MAX)?;
        within("serial", &self.serial, SERIAL_LEN_MAX)?;
        if !(1..=SESSIONS_MAX).contains(&self.session_max) {
            return Err(format!("session_max is 1 to {SESSIONS_MAX}"));
        }
        match (self.mode, &self.module, &self.pin) {
            (Mode::Forward, None, _) => {
                return Err("mode = \"forward\" needs module = \"/path/of/the/module.so\"".into());
            }
            (Mode::Premade | Mode::Software, _, None) => return Err("pin is missing".into()),
            _ => {}
        }
        if self.removals.len() > REMOVALS_MAX || self.faults.len() > RULES_MAX {
            return Err(format!(
                "at most {RULES_MAX} faults and {REMOVALS_MAX} removals"
            ));
        }
        let path = |path: Option<PathBuf>| path.map(|path| directory.join(path));
        let wrong_from = self
            .wrong_key_from_s
            .map(|from| window(Some(from), None).map(|window| window.0))
            .transpose()?;
        let removals = self.removals.iter();
        let faults = self.faults.into_iter().enumerate().map(|(index, fault)| {
            fault
                .rule()
                .map_err(|reason| format!("fault {}: {reason}", index + 1))
        });
        Ok(Configuration {
            mode: self.mode,
            label: self.label,
            serial: self.serial,
            pin: self.pin,
            session_max: self.session_max,
            reuse_handles: self.reuse_handles,
            module: path(self.module),
            init_string: self.init_string,
            keys: Keys {
                file: path(self.key_file),
                wrong_file: path(self.wrong_key_file),
                label: self.key_label,
                id: parse_id(&self.key_id)?,
                choice: self.key,
                wrong_from,
                make: self.make_key,
            },
            latency: self.latency,
            rate_cap: self.rate_cap,
            seed: self.seed,
            faults: faults.collect::<Result<_, _>>()?,
            removals: removals
                .map(|removal| window(removal.from_s, removal.to_s))
                .collect::<Result<_, _>>()
                .map(Removals)?,
            pin_lock_after: self.pin_lock_after,
            sign_limit: self.sign_limit,
            state_file: path(self.state_file),
            report_file: path(self.report_file),
            control_file: path(self.control_file),
        })
    }
}

fn parse_id(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.as_bytes().chunks(2).map(|pair| {
        let text = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(text, 16)
            .ok()
            .filter(|_| pair.len() == 2)
    });
    digits
        .collect::<Option<Vec<u8>>>()
        .filter(|id| (1..=ID_LEN_MAX).contains(&id.len()))
        .ok_or_else(|| format!("key_id is 1 to {ID_LEN_MAX} bytes in hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Configuration, ConfigurationError> {
        Configuration::parse(text, Path::new("/d"))
    }

    #[test]
    fn the_least_there_is_to_say() {
        let read = parse("mode = 'software'\npin = '1234'").unwrap();
        assert_eq!((read.label(), read.key_label()), ("test token", "k"));
        assert_eq!(read.session_max, 64);
        assert_eq!(read.keys.id, [1]);
        let read = parse("mode = 'forward'\nmodule = 'm.so'").unwrap();
        assert_eq!(read.module.as_deref(), Some(Path::new("/d/m.so")));
    }

    #[test]
    fn wrong_files_are_refused_with_line_or_reason() {
        let good = "mode = 'software'\npin = 'secret'\n";
        for (more, reason) in [
            ("sesion_max = 3", "line 3: unknown field `sesion_max`"),
            ("session_max = 0", "session_max is 1 to"),
            ("session_max = 1025", "session_max is 1 to"),
            ("label = ''", "label has 1 to 32"),
            ("serial = '12345678901234567'", "serial has 1 to 16"),
            ("key_id = '1'", "key_id is"),
            ("key_id = 'xy'", "key_id is"),
            ("key = 'other'", "line 3"),
            ("wrong_key_from_s = -1", "seconds from 0"),
            (
                "[[faults]]\nfunction = 'C_Sign'",
                "fault 1: a fault needs something",
            ),
            ("[[removals]]\nfrom_s = 3\nto_s = 2", "less than"),
        ] {
            let error = parse(&format!("{good}{more}")).unwrap_err().to_string();
            assert!(error.contains(reason), "{more}: {error}");
        }
        for (text, reason) in [
            ("mode = 'software'", "pin is missing"),
            ("mode = 'forward'", "needs module"),
            ("mode = 'hardware'", "line 1"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn no_error_and_no_dump_shows_the_pin() {
        for text in [
            "mode = 'software'\npin = 739124",
            "mode = 'software'\npin = 739.124",
            "mode = 'software'\npin = 739124 x",
            "mode = 'software'\npin = ['739124']",
            "mode = 'software'\npin = '739124'\nlabel = 1",
        ] {
            let error = parse(text).unwrap_err();
            for shown in [error.to_string(), format!("{error:?}")] {
                assert!(!shown.contains("739"), "{shown}");
            }
        }
        let read = parse("mode = 'software'\npin = '739124'").unwrap();
        assert!(!format!("{read:?}").contains("739124"));
    }
}

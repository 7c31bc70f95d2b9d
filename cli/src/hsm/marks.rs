//! Where the marks of a refused PIN are kept: beside the file that a person gave, else with the user's state.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::HsmError;

/// Base directory of the user's state (XDG Base Directory Specification).
const STATE_VARIABLE: &str = "XDG_STATE_HOME";

/// The same where that variable is not set, below the home directory.
const STATE_IN_HOME: &str = ".local/state";

/// Our directory in it.
const OWN_DIRECTORY: &str = "birthmark";

/// Where a command keeps the marks of the logins that it makes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Marks<'a> {
    /// In the directory of this configuration or plan.
    Beside(&'a Path),
    /// In the user's state directory: `$XDG_STATE_HOME/birthmark`, else `~/.local/state/birthmark`.
    OfUser,
}

impl Marks<'_> {
    /// The directory, which is made where it is the user's.
    ///
    /// # Errors
    /// No PIN may be sent: a refusal could not be remembered.
    pub(crate) fn directory(self) -> Result<PathBuf, HsmError> {
        match self {
            Marks::Beside(file) => Ok(match file.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
                _ => PathBuf::from("."),
            }),
            Marks::OfUser => {
                let variable = std::env::var_os;
                let directory = of_user(variable(STATE_VARIABLE), variable("HOME"));
                let directory = directory.ok_or(HsmError::NoStateDirectory)?;
                let made = DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&directory);
                made.map_err(|source| HsmError::StateDirectory {
                    path: directory.clone(),
                    source,
                })?;
                Ok(directory)
            }
        }
    }
}

/// Relative paths are not taken, as that specification says: they would be another directory each time.
fn of_user(state: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let base = state.and_then(absolute).or_else(|| {
        let home = home.and_then(absolute);
        home.map(|home| home.join(STATE_IN_HOME))
    });
    base.map(|base| base.join(OWN_DIRECTORY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_directory_is_the_variables_else_the_homes() {
        let of = |state: Option<&str>, home: Option<&str>| {
            of_user(state.map(OsString::from), home.map(OsString::from))
        };
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(of(Some("/s"), Some("/h")), path("/s/birthmark"));
        let in_home = path("/h/.local/state/birthmark");
        for state in [None, Some(""), Some("relative")] {
            assert_eq!(of(state, Some("/h")), in_home);
            for home in [None, Some(""), Some("relative")] {
                assert_eq!(of(state, home), None);
            }
        }
    }

    #[test]
    fn a_file_without_a_folder_lies_here() {
        let beside = |file: &str| Marks::Beside(file.as_ref()).directory().unwrap();
        assert_eq!(beside("plan.toml"), PathBuf::from("."));
        assert_eq!(beside("a/plan.toml"), PathBuf::from("a"));
    }
}

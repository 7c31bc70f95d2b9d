//! The durable mark of a refused PIN: while it is there, no PIN is sent to that token.
//!
//! Every wrong PIN brings a token nearer to locking itself, and a service that is restarted in a
//! loop would lock it within seconds. The mark names the token and what it returned, never the
//! PIN. A person removes it once the PIN is corrected.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::ckr::ReturnCode;
use crate::error::{Mark, PinError};

/// Most bytes that are read of a mark: ours have under 500.
const MARK_LEN_MAX: u64 = 4096;

/// The marks in one directory, or none.
#[derive(Debug, Clone, Default)]
pub(super) struct PinMarks {
    directory: Option<PathBuf>,
}

impl PinMarks {
    pub(super) fn new(directory: Option<PathBuf>) -> PinMarks {
        PinMarks { directory }
    }

    /// Fails where a mark says that the token refused a PIN before. A mark that cannot be looked
    /// for counts as one: a PIN too few is better than one too many.
    pub(super) fn check(&self, label: &str, serial: &str) -> Result<(), PinError> {
        let Some(path) = self.path(label, serial) else {
            return Ok(());
        };
        let refused_before = |reason: String| PinError::RefusedBefore {
            token: label.to_owned(),
            reason,
            mark: path.clone(),
        };
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(refused_before(format!("the mark cannot be read: {error}"))),
            Ok(_) => Err(refused_before(reason_in(&path))),
        }
    }

    /// Leaves the mark, and tells what became of it.
    pub(super) fn remember(&self, label: &str, serial: &str, code: ReturnCode) -> Mark {
        match self.leave(label, serial, code) {
            Ok(None) => Mark::None,
            Ok(Some(path)) => Mark::Left(Arc::from(path)),
            Err(error) => Mark::Failed(Arc::from(error.to_string())),
        }
    }

    /// Leaves the mark, and returns where it is, for the message. Durable when this returns.
    ///
    /// # Errors
    /// Those of the file system: the PIN is refused, but nothing will remember it.
    fn leave(&self, label: &str, serial: &str, code: ReturnCode) -> io::Result<Option<PathBuf>> {
        let Some(path) = self.path(label, serial) else {
            return Ok(None);
        };
        let seconds = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let text = format!(
            "C_Login returned {code}\n\n\
             Token '{label}', serial number '{serial}', refused the PIN at {seconds} s since \
             1970-01-01 UTC.\n\
             No PIN is sent to it while this file is here. Correct the PIN, make sure that the \
             token is not\n\
             locked, then remove this file.\n"
        );
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        let directory = path.parent().unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()?;
        Ok(Some(path))
    }

    /// One file per token.
    fn path(&self, label: &str, serial: &str) -> Option<PathBuf> {
        let directory = self.directory.as_ref()?;
        let directory = if directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            directory
        };
        let name = format!("pin-refused.{}.{}", file_name(label), file_name(serial));
        Some(directory.join(name))
    }
}

/// The mark's first line.
fn reason_in(path: &Path) -> String {
    let read = || -> io::Result<String> {
        use std::io::Read;
        let mut text = String::new();
        File::open(path)?
            .take(MARK_LEN_MAX)
            .read_to_string(&mut text)?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    };
    read().unwrap_or_else(|error| format!("the mark cannot be read: {error}"))
}

/// Letters, digits, `-` and `_` as they are, every other byte as `%XX`: labels and serial numbers
/// have 32 and 16 bytes at most (PKCS#11 v3.1 §3.2), so the name has 165 at most.
fn file_name(text: &str) -> String {
    let mut name = String::new();
    for byte in text.trim_end().bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stops_its_own_token_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let marks = PinMarks::new(Some(directory.path().to_owned()));
        marks.check("a/b", "1").unwrap();
        let code = ReturnCode::new(0xa0);
        let path = marks.leave("a/b", "1", code).unwrap().unwrap();
        assert_eq!(path, directory.path().join("pin-refused.a%2Fb.1"));
        let error = marks.check("a/b", "1").unwrap_err().to_string();
        assert!(error.contains("CKR_PIN_INCORRECT"), "{error}");
        assert!(error.contains(&path.display().to_string()), "{error}");
        marks.check("a/b", "2").unwrap();
        marks.check("a", "1").unwrap();
        // A second refusal writes over the first.
        marks.leave("a/b", "1", code).unwrap();
        fs::remove_file(&path).unwrap();
        marks.check("a/b", "1").unwrap();

        PinMarks::default().leave("a", "1", code).unwrap();
        PinMarks::default().check("a", "1").unwrap();
    }

    #[test]
    fn a_place_that_cannot_be_looked_at_counts_as_a_mark() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let marks = PinMarks::new(Some(file));
        assert!(marks.check("a", "1").is_err());
        assert!(marks.leave("a", "1", ReturnCode::new(0xa0)).is_err());
    }
}

//! The durable marks of a PIN that was refused and of one that is on its way: while a refusal is
//! written down, or a process ended before it heard of one, no PIN is sent to that token.
//!
//! Every wrong PIN brings a token nearer to locking itself, and a service that is restarted in a
//! loop would lock it within seconds. The marks name the token and what it returned, never the
//! PIN. A person removes them once the PIN is right.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::ckr::ReturnCode;
use crate::error::{Mark, PinError};

/// Most bytes that are read of a mark: ours have under 500.
const MARK_LEN_MAX: u64 = 4096;

/// How long a login waits for another one to the same token: half of what a call may last by
/// default, and a hundred times what a login takes.
const LOGIN_WAIT_MAX: Duration = Duration::from_secs(5);

/// How often it looks whether the other one ended.
const LOGIN_LOOK_EVERY: Duration = Duration::from_millis(5);

/// First line of a login mark, by whether a login is under way. One length: the line is written over in
/// place, which needs no room on a full disk, and of a write within one sector the disk keeps all or
/// nothing.
const UNDER_WAY: &[u8; 26] = b"a login is under way     \n";
const NO_LOGIN: &[u8; 26] = b"no login is under way    \n";

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
        let Some(path) = self.path("pin-refused", label, serial) else {
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

    /// Writes down that a PIN is about to be sent: durable when this returns. Logins of every
    /// process to one token come one after the other, so that the second hears what the first was
    /// told. `None` where nothing is kept.
    ///
    /// # Errors
    /// Nothing is sent then: the token refused a PIN, a process ended in the middle of a login, another
    /// login goes on, or the mark cannot be written.
    pub(super) fn login_begins(
        &self,
        label: &str,
        serial: &str,
    ) -> Result<Option<LoginMark>, PinError> {
        let Some(path) = self.path("pin-login", label, serial) else {
            return Ok(None);
        };
        let token = || label.to_owned();
        let unwritable = |source| PinError::MarkUnwritable {
            token: token(),
            mark: path.clone(),
            source,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        let mut file = options.open(&path).map_err(unwritable)?;
        if !lock_within(&file, LOGIN_WAIT_MAX).map_err(unwritable)? {
            return Err(PinError::LoginElsewhere {
                token: token(),
                waited: LOGIN_WAIT_MAX,
            });
        }
        self.check(label, serial)?;
        let mut line = Vec::new();
        let read = (&mut file)
            .take(NO_LOGIN.len() as u64)
            .read_to_end(&mut line);
        read.map_err(unwritable)?;
        // Empty: made just now, or by a process that ended before it sent anything.
        if !line.is_empty() && line != NO_LOGIN {
            return Err(PinError::LoginCutShort {
                token: token(),
                mark: path.clone(),
            });
        }
        let begin = || {
            file.write_all_at(UNDER_WAY, 0)?;
            if line.is_empty() {
                file.write_all_at(login_text(label, serial).as_bytes(), UNDER_WAY.len() as u64)?;
                file.sync_all()?;
                sync_directory(&path)
            } else {
                file.sync_data()
            }
        };
        begin().map_err(unwritable)?;
        Ok(Some(LoginMark { file }))
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
        let Some(path) = self.path("pin-refused", label, serial) else {
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
        sync_directory(&path)?;
        Ok(Some(path))
    }

    /// One file of a kind per token.
    fn path(&self, kind: &str, label: &str, serial: &str) -> Option<PathBuf> {
        let directory = self.directory.as_ref()?;
        let directory = if directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            directory
        };
        let name = format!("{kind}.{}.{}", file_name(label), file_name(serial));
        Some(directory.join(name))
    }
}

/// A login under way: locked for others, and left as it is if the process ends.
#[derive(Debug)]
#[must_use = "the login has an end too"]
pub(super) struct LoginMark {
    file: File,
}

impl LoginMark {
    /// The token's answer is known, and a refusal is written down. Durable when this returns: a power
    /// cut must not leave a mark of a login that went well.
    pub(super) fn ends(self) {
        // A disk that does not take it leaves the mark: the next start says what to do.
        let _ = self
            .file
            .write_all_at(NO_LOGIN, 0)
            .and_then(|()| self.file.sync_data());
    }
}

/// Whether the lock was to be had. It goes with the file, also when the process is killed.
fn lock_within(file: &File, limit: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Ok(false),
            Err(TryLockError::WouldBlock) => thread::sleep(LOGIN_LOOK_EVERY),
        }
    }
}

fn login_text(label: &str, serial: &str) -> String {
    format!(
        "\n\
         Logins to token '{label}', serial number '{serial}'. If the line above says that one is under \
         way and no process\n\
         runs, that process ended before it knew whether the PIN was refused, and no PIN is sent while \
         this file is here.\n\
         Make sure that the PIN is right and the token not locked, then remove this file.\n"
    )
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// The mark's first line.
fn reason_in(path: &Path) -> String {
    let read = || -> io::Result<String> {
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
    fn a_login_that_did_not_end_stops_the_next_until_its_mark_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let marks = PinMarks::new(Some(directory.path().to_owned()));
        for _ in 0..3 {
            marks.login_begins("a", "1").unwrap().unwrap().ends();
        }
        drop(marks.login_begins("a", "1").unwrap());
        marks.login_begins("b", "1").unwrap().unwrap().ends();
        let path = directory.path().join("pin-login.a.1");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("a login is under way "), "{text}");
        for _ in 0..3 {
            let error = marks.login_begins("a", "1").unwrap_err();
            assert!(matches!(&error, PinError::LoginCutShort { mark, .. } if *mark == path));
            assert!(
                error
                    .to_string()
                    .contains(&format!("remove {}", path.display()))
            );
        }
        fs::remove_file(&path).unwrap();
        marks.login_begins("a", "1").unwrap().unwrap().ends();
        assert!(
            PinMarks::default()
                .login_begins("a", "1")
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_login_waits_for_the_one_before_and_hears_what_it_was_told() {
        let directory = tempfile::tempdir().unwrap();
        let marks = PinMarks::new(Some(directory.path().to_owned()));
        let first = marks.login_begins("a", "1").unwrap().unwrap();
        let file = File::open(directory.path().join("pin-login.a.1")).unwrap();
        assert!(!lock_within(&file, Duration::from_millis(20)).unwrap());
        thread::scope(|scope| {
            let second = scope.spawn(|| marks.login_begins("a", "1"));
            marks.leave("a", "1", ReturnCode::new(0xa0)).unwrap();
            first.ends();
            let error = second.join().unwrap().unwrap_err();
            assert!(matches!(error, PinError::RefusedBefore { .. }), "{error}");
        });
    }

    #[test]
    fn a_place_that_cannot_be_looked_at_counts_as_a_mark() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let marks = PinMarks::new(Some(file));
        assert!(marks.check("a", "1").is_err());
        assert!(marks.leave("a", "1", ReturnCode::new(0xa0)).is_err());
        let error = marks.login_begins("a", "1").unwrap_err();
        assert!(matches!(error, PinError::MarkUnwritable { .. }), "{error}");
    }
}

//! The durable marks of a PIN that was refused and of one that is on its way: while a refusal is
//! written down, or a process ended before it heard of one, no PIN is sent to that token.
//!
//! Every wrong PIN brings a token nearer to locking itself, and a service that is restarted in a
//! loop would lock it within seconds. The marks name the token and what it returned, never the
//! PIN. A person removes them once the PIN is right.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::pin_memory::{self, TokenName, UnderWay};
use super::uri::Pkcs11Uri;
use crate::ckr::{ErrorClass, ReturnCode};
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

/// The user id of root.
const ROOT: u32 = 0;

/// The marks in one directory, or none.
#[derive(Debug, Clone, Default)]
pub(super) struct PinMarks {
    directory: Option<PathBuf>,
}

impl PinMarks {
    pub(super) fn new(directory: Option<PathBuf>) -> PinMarks {
        PinMarks { directory }
    }

    /// The marks where the URI says that they are kept.
    pub(super) fn of(uri: &Pkcs11Uri) -> Option<PinMarks> {
        let directory = uri.pin.state_directory.clone();
        directory.map(|directory| PinMarks::new(Some(directory)))
    }

    /// Fails where the token refused a PIN in this process, or a mark says that it did before. A mark that
    /// cannot be looked for counts as one: a PIN too few is better than one too many.
    pub(super) fn check(&self, token: &TokenName) -> Result<(), PinError> {
        pin_memory::check(token)?;
        let Some(path) = self.path("pin-refused", token) else {
            return Ok(());
        };
        let refused_before = |reason: String| PinError::RefusedBefore {
            token: token.label.clone(),
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
    /// told. Where no file is kept, this process alone knows.
    ///
    /// # Errors
    /// Nothing is sent then: the token refused a PIN, a process ended in the middle of a login, another
    /// login goes on, or the mark cannot be written.
    pub(super) fn login_begins(&self, token: &TokenName) -> Result<LoginMark, PinError> {
        let here = pin_memory::begin(token, LOGIN_WAIT_MAX)?;
        match self.write_login(token) {
            Ok(file) => Ok(LoginMark { file, here }),
            Err(error) => {
                here.ends();
                Err(error)
            }
        }
    }

    fn write_login(&self, token: &TokenName) -> Result<Option<File>, PinError> {
        let Some(path) = self.path("pin-login", token) else {
            return Ok(None);
        };
        let label = || token.label.clone();
        let unwritable = |source| PinError::MarkUnwritable {
            token: label(),
            mark: path.clone(),
            source,
        };
        let mut file = open_or_make(&path).map_err(unwritable)?;
        if !lock_within(&file, LOGIN_WAIT_MAX).map_err(unwritable)? {
            return Err(PinError::LoginElsewhere {
                token: label(),
                waited: LOGIN_WAIT_MAX,
            });
        }
        self.check(token)?;
        let mut line = Vec::new();
        let read = (&mut file)
            .take(NO_LOGIN.len() as u64)
            .read_to_end(&mut line);
        read.map_err(unwritable)?;
        // Empty: made just now, or by a process that ended before it sent anything.
        if !line.is_empty() && line != NO_LOGIN {
            return Err(PinError::LoginCutShort {
                token: label(),
                mark: path.clone(),
            });
        }
        let begin = || {
            file.write_all_at(UNDER_WAY, 0)?;
            if line.is_empty() {
                file.write_all_at(login_text(token).as_bytes(), UNDER_WAY.len() as u64)?;
                file.sync_all()?;
                sync_directory(&path)
            } else {
                file.sync_data()
            }
        };
        if let Err(source) = begin() {
            // No PIN is sent now: what stayed would say that one was.
            let _ = file.write_all_at(NO_LOGIN, 0);
            return Err(unwritable(source));
        }
        Ok(Some(file))
    }

    /// Leaves the mark of a PIN that was refused, or may have been, and tells what became of it.
    pub(super) fn remember(&self, token: &TokenName, code: ReturnCode) -> Mark {
        let left = self.leave(token, code);
        let path = left.as_ref().ok().and_then(|path| path.as_deref());
        pin_memory::refused(token, reason(code), path);
        match left {
            Ok(None) => Mark::None,
            Ok(Some(path)) => Mark::Left(Arc::from(path)),
            Err(error) => Mark::Failed(Arc::from(error.to_string())),
        }
    }

    /// Leaves the mark, and returns where it is, for the message. Durable when this returns.
    ///
    /// # Errors
    /// Those of the file system: the PIN is refused, but nothing will remember it.
    fn leave(&self, token: &TokenName, code: ReturnCode) -> io::Result<Option<PathBuf>> {
        let Some(path) = self.path("pin-refused", token) else {
            return Ok(None);
        };
        let seconds = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let TokenName { label, serial, .. } = token;
        let did = match code.class() {
            ErrorClass::Pin => "refused the PIN",
            _ => "may have refused the PIN",
        };
        let text = format!(
            "{}\n\n\
             Token '{label}', serial number '{serial}', {did} at {seconds} s since \
             1970-01-01 UTC.\n\
             No PIN is sent to it while this file is here. Correct the PIN, make sure that the \
             token is not\n\
             locked, then remove this file.\n",
            reason(code)
        );
        let mut file = open_or_make(&path)?;
        file.set_len(0)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        sync_directory(&path)?;
        Ok(Some(path))
    }

    /// One file of a kind per token.
    fn path(&self, kind: &str, token: &TokenName) -> Option<PathBuf> {
        let directory = self.directory.as_ref()?;
        let directory = if directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            directory
        };
        let (label, serial) = (file_name(&token.label), file_name(&token.serial));
        let name = format!("{kind}.{label}.{serial}");
        Some(directory.join(name))
    }
}

/// A login under way: locked for others, and left as it is if the process ends.
#[derive(Debug)]
#[must_use = "the login has an end too"]
pub(super) struct LoginMark {
    file: Option<File>,
    here: UnderWay,
}

impl LoginMark {
    /// The token's answer is known, and a refusal is written down. Durable when this returns: a power
    /// cut must not leave a mark of a login that went well.
    pub(super) fn ends(self) {
        if let Some(file) = &self.file {
            // A disk that does not take it leaves the mark: the next start says what to do.
            let _ = file
                .write_all_at(NO_LOGIN, 0)
                .and_then(|()| file.sync_data());
        }
        self.here.ends();
    }
}

/// Opens a mark, to be read and written. Where there is none it is made, for its owner alone; one that root
/// makes belongs to whom the directory belongs to: the service that comes after has to write it too. It is
/// not made through a symbolic link, so nothing outside the directory is given away.
fn open_or_make(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    let file = match options.create_new(true).mode(0o600).open(path) {
        // Another process made it in between, or it is a link to nothing.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return options.create_new(false).open(path);
        }
        made => made?,
    };
    if file.metadata()?.uid() == ROOT {
        let directory = fs::metadata(directory_of(path))?;
        // A root that may not give files away has a file of its own, and the service says what to do.
        let _ = fchown(&file, Some(directory.uid()), Some(directory.gid()));
    }
    Ok(file)
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

/// The first line of a mark of refusal.
fn reason(code: ReturnCode) -> String {
    format!("C_Login returned {code}")
}

fn login_text(token: &TokenName) -> String {
    let TokenName { label, serial, .. } = token;
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
    File::open(directory_of(path))?.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
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

    /// A token of one test: what this process remembers of it is no other test's.
    fn token(directory: &tempfile::TempDir, label: &str, serial: &str) -> TokenName {
        TokenName {
            module: directory.path().to_owned(),
            label: label.to_owned(),
            serial: serial.to_owned(),
        }
    }

    #[test]
    fn a_mark_stops_its_own_token_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let marks = PinMarks::new(Some(directory.path().to_owned()));
        let token = |label, serial| token(&directory, label, serial);
        marks.check(&token("a/b", "1")).unwrap();
        let code = ReturnCode::new(0xa0);
        let path = marks.leave(&token("a/b", "1"), code).unwrap().unwrap();
        assert_eq!(path, directory.path().join("pin-refused.a%2Fb.1"));
        let error = marks.check(&token("a/b", "1")).unwrap_err().to_string();
        assert!(error.contains("CKR_PIN_INCORRECT"), "{error}");
        assert!(error.contains(&path.display().to_string()), "{error}");
        marks.check(&token("a/b", "2")).unwrap();
        marks.check(&token("a", "1")).unwrap();
        // A second refusal writes over the first.
        marks.leave(&token("a/b", "1"), code).unwrap();
        fs::remove_file(&path).unwrap();
        marks.check(&token("a/b", "1")).unwrap();

        PinMarks::default().leave(&token("a", "1"), code).unwrap();
        PinMarks::default().check(&token("a", "1")).unwrap();

        // What a file does not say, this process still knows.
        for (marks, label) in [(marks, "kept"), (PinMarks::default(), "not kept")] {
            let token = token(label, "3");
            marks.login_begins(&token).unwrap().ends();
            marks.remember(&token, code);
            assert!(PinMarks::default().check(&token).unwrap_err().is_lasting());
        }
    }

    #[test]
    fn a_login_that_did_not_end_stops_the_next_until_its_mark_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let marks = PinMarks::new(Some(directory.path().to_owned()));
        let token = |label, serial| token(&directory, label, serial);
        for _ in 0..3 {
            marks.login_begins(&token("a", "1")).unwrap().ends();
        }
        // As a killed process leaves it: its memory is gone.
        drop(marks.write_login(&token("a", "1")).unwrap());
        marks.login_begins(&token("b", "1")).unwrap().ends();
        let path = directory.path().join("pin-login.a.1");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("a login is under way "), "{text}");
        for _ in 0..3 {
            let error = marks.login_begins(&token("a", "1")).unwrap_err();
            assert!(matches!(&error, PinError::LoginCutShort { mark, .. } if *mark == path));
            assert!(
                error
                    .to_string()
                    .contains(&format!("remove {}", path.display()))
            );
        }
        fs::remove_file(&path).unwrap();
        marks.login_begins(&token("a", "1")).unwrap().ends();
    }

    #[test]
    fn a_login_waits_for_the_one_before_and_hears_what_it_was_told() {
        let directory = tempfile::tempdir().unwrap();
        let marks = PinMarks::new(Some(directory.path().to_owned()));
        let token = |label, serial| token(&directory, label, serial);
        let first = marks.login_begins(&token("a", "1")).unwrap();
        let file = File::open(directory.path().join("pin-login.a.1")).unwrap();
        assert!(!lock_within(&file, Duration::from_millis(20)).unwrap());
        thread::scope(|scope| {
            let second = scope.spawn(|| marks.login_begins(&token("a", "1")));
            marks
                .leave(&token("a", "1"), ReturnCode::new(0xa0))
                .unwrap();
            first.ends();
            let error = second.join().unwrap().unwrap_err();
            assert!(matches!(error, PinError::RefusedBefore { .. }), "{error}");
        });
    }

    /// What a start by root leaves must not stop the service that comes after it.
    #[test]
    fn a_mark_belongs_to_whom_its_directory_belongs_to() {
        let directory = tempfile::tempdir().unwrap();
        // Without root's rights the directory stays our own, and so does the mark.
        let _ = std::os::unix::fs::chown(directory.path(), Some(12_345), Some(54_321));
        let marks = PinMarks::new(Some(directory.path().to_owned()));
        let token = token(&directory, "a", "1");
        marks.login_begins(&token).unwrap().ends();
        marks.leave(&token, ReturnCode::new(0xa0)).unwrap();
        let owner = |path: &Path| {
            let metadata = fs::metadata(path).unwrap();
            (metadata.uid(), metadata.gid())
        };
        for name in ["pin-login.a.1", "pin-refused.a.1"] {
            let path = directory.path().join(name);
            assert_eq!(owner(&path), owner(directory.path()), "{name}");
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        }
    }

    /// Root must not make a file elsewhere and give it away.
    #[test]
    fn a_mark_is_not_made_through_a_link() {
        let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = elsewhere.path().join("made");
        for name in ["pin-login.a.1", "pin-refused.a.1"] {
            std::os::unix::fs::symlink(&target, directory.path().join(name)).unwrap();
        }
        let marks = PinMarks::new(Some(directory.path().to_owned()));
        let token = token(&directory, "a", "1");
        let error = marks.login_begins(&token).unwrap_err();
        assert!(matches!(error, PinError::MarkUnwritable { .. }), "{error}");
        marks.leave(&token, ReturnCode::new(0xa0)).unwrap_err();
        assert!(!target.exists());
    }

    #[test]
    fn a_place_that_cannot_be_looked_at_counts_as_a_mark() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let marks = PinMarks::new(Some(file));
        let token = |label, serial| token(&directory, label, serial);
        assert!(marks.check(&token("a", "1")).is_err());
        assert!(
            marks
                .leave(&token("a", "1"), ReturnCode::new(0xa0))
                .is_err()
        );
        let error = marks.login_begins(&token("a", "1")).unwrap_err();
        assert!(matches!(error, PinError::MarkUnwritable { .. }), "{error}");
    }
}

//! The transcript: one line of JSON per event, durable before the ceremony goes on, a signed note in the end.
//!
//! While the ceremony runs, the lines are in `FILE.journal`. A step has a `begun` line and a `done` line, so that
//! after an interruption it is known what was done, and what may have been. [`Sequence`] says what lines may follow
//! each other: it judges every line that is written, and all of them when they are read again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::rand;
use birthmark_log::tlog::NOTE_BYTES_MAX;
use der::DateTime;
use serde::{Deserialize, Serialize};

use super::ScriptError;
use super::plan::Plan;
use super::sequence::{ID_BYTES, Sequence};
use crate::hex;

/// Longest journal, in bytes: it becomes a signed note, which has at most [`NOTE_BYTES_MAX`]. A hundred steps with a thousand
/// copies take some 300 KiB.
const JOURNAL_BYTES_MAX: usize = NOTE_BYTES_MAX - 50_000;

/// Beyond this no step begins, so that its lines still fit.
const BEGIN_BYTES_MAX: usize = JOURNAL_BYTES_MAX / 2;

/// Format of the lines.
pub(super) const FORMAT: &str = "birthmark/ceremony-transcript@v3";

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Event {
    /// The ceremony began, with this plan, and got its id.
    Opened,
    /// A signer's approval was found beside the plan.
    Approved,
    /// A step was agreed to.
    Begun,
    /// A step is done, and everything it made is durable.
    Done,
    /// The last step is done.
    Closed,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// SHA-256 of the line before, without its line break; none in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) previous: Option<String>,
    pub(super) time: String,
    pub(super) event: Event,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) format: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) plan: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) plan_sha256: Option<String>,
    /// The ceremony's id, which approvals name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ceremony: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) signer: Option<String>,
    /// The signed note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) approval: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) step: Option<usize>,
    #[serde(default, rename = "do", skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) approved_by: Vec<String>,
    #[serde(default, flatten)]
    pub(super) made: Made,
}

/// What a step made, changed and found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    /// SHA-256 of every file that was made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) files: BTreeMap<String, String>,
    /// SHA-256 of every copy that was made elsewhere.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) copies: BTreeMap<String, String>,
    /// Files that were removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) removed: Vec<String>,
    /// SHA-256 of the SubjectPublicKeyInfo of every key that was made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) keys: BTreeMap<String, String>,
    /// SHA-256 of the certificate, in DER, of the root that was made or installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) root: Option<String>,
    /// What was found, for people.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) found: BTreeMap<String, String>,
}

/// The lines so far, and the file that they are in. Nobody else has it open.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    text: String,
    lines: Vec<Line>,
    sequence: Sequence,
}

fn journal_path(transcript: &Path) -> PathBuf {
    let mut path = OsString::from(transcript);
    path.push(".journal");
    path.into()
}

impl Journal {
    /// Goes on with a ceremony of this plan, or begins one.
    pub(super) fn open(plan: &Plan) -> Result<Journal, ScriptError> {
        let path = journal_path(&plan.transcript);
        let failed = |source| ScriptError::file("use", &path, source);
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        fs::create_dir_all(&folder)
            .map_err(|source| ScriptError::file("create", &folder, source))?;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ScriptError::Running { path }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut text = String::new();
        let mut limited = (&mut file).take(JOURNAL_BYTES_MAX as u64 + 1);
        limited.read_to_string(&mut text).map_err(failed)?;
        // Before anything is cut off: it would be cut in the file, too.
        if text.len() > JOURNAL_BYTES_MAX {
            return Err(ScriptError::JournalFull { path });
        }
        // A line that an interruption cut short never happened.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            text.truncate(whole);
            file.set_len(whole as u64).map_err(failed)?;
        }
        let (sequence, lines) = read_lines(plan, &path, &text)?;
        let mut journal = Journal {
            path,
            file,
            text,
            lines,
            sequence,
        };
        if journal.lines.is_empty() {
            let mut id = [0; ID_BYTES];
            rand::fill(&mut id).map_err(|_| ScriptError::Random)?;
            let opened = Line {
                format: Some(FORMAT.to_owned()),
                plan: Some(plan.name.clone()),
                plan_sha256: Some(plan.sha256.clone()),
                ceremony: Some(hex::encode(&id)),
                ..Line::now(Event::Opened)
            };
            journal.append(plan, opened)?;
            let synced = File::open(&folder).and_then(|folder| folder.sync_all());
            synced.map_err(|source| ScriptError::file("sync", &folder, source))?;
        }
        Ok(journal)
    }

    /// The id of the plan's ceremony that goes on, if one does. Nothing is changed.
    pub(super) fn ceremony_of(plan: &Plan) -> Result<Option<String>, ScriptError> {
        let path = journal_path(&plan.transcript);
        let mut text = String::new();
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened
                .and_then(|file| {
                    file.take(JOURNAL_BYTES_MAX as u64)
                        .read_to_string(&mut text)
                })
                .map_err(|source| ScriptError::file("read", &path, source))?,
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let (sequence, lines) = read_lines(plan, &path, &text[..whole])?;
        Ok((!lines.is_empty()).then_some(sequence.ceremony))
    }

    /// Adds a line and makes it durable.
    pub(super) fn append(&mut self, plan: &Plan, line: Line) -> Result<(), ScriptError> {
        let wrong = |problem: String| ScriptError::Journal {
            path: self.path.clone(),
            line: self.lines.len() + 1,
            problem,
        };
        let line = Line {
            previous: self.sequence.last.clone(),
            ..line
        };
        let text = serde_json::to_string(&line).map_err(|error| wrong(error.to_string()))?;
        let mut sequence = self.sequence.clone();
        let line = sequence.next(plan, &text).map_err(wrong)?;
        let text = text + "\n";
        let most = match line.event {
            Event::Begun => BEGIN_BYTES_MAX,
            _ => JOURNAL_BYTES_MAX,
        };
        if self.text.len() + text.len() > most {
            return Err(ScriptError::JournalFull {
                path: self.path.clone(),
            });
        }
        self.file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.sync_all())
            .map_err(|source| ScriptError::file("write", &self.path, source))?;
        self.text.push_str(&text);
        self.lines.push(line);
        self.sequence = sequence;
        Ok(())
    }

    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Everything, to be signed, after it was read once more from the beginning.
    pub(super) fn whole(&self, plan: &Plan) -> Result<&str, ScriptError> {
        let (sequence, lines) = read_lines(plan, &self.path, &self.text)?;
        if sequence.closed {
            return Ok(&self.text);
        }
        Err(ScriptError::Journal {
            path: self.path.clone(),
            line: lines.len(),
            problem: "the ceremony has not ended".to_owned(),
        })
    }

    /// How many steps are done: they are done in order.
    pub(super) fn done(&self) -> usize {
        self.sequence.done
    }

    /// The ceremony's id.
    pub(super) fn ceremony(&self) -> &str {
        &self.sequence.ceremony
    }

    /// Whether this signer's approval is recorded.
    pub(super) fn has_approval(&self, signer: &str) -> bool {
        self.sequence.approved.iter().any(|name| name == signer)
    }

    /// Whether this very step, from 1, was begun last and is not finished.
    pub(super) fn was_begun(&self, step: usize) -> bool {
        self.sequence.begun && self.sequence.done + 1 == step
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sequence.closed
    }

    /// The transcript is durable: the journal is not needed any more.
    pub(super) fn remove(self) -> Result<(), ScriptError> {
        fs::remove_file(&self.path)
            .map_err(|source| ScriptError::file("remove", &self.path, source))
    }
}

/// All lines, each judged. A journal of another plan is told as such.
fn read_lines(plan: &Plan, path: &Path, text: &str) -> Result<(Sequence, Vec<Line>), ScriptError> {
    let first = text.lines().next();
    let first = first.and_then(|line| serde_json::from_str::<Line>(line).ok());
    if first.is_some_and(|first| first.plan_sha256.as_ref() != Some(&plan.sha256)) {
        return Err(ScriptError::OtherPlan {
            plan: plan.path.clone(),
            journal: path.to_owned(),
        });
    }
    Sequence::read(plan, text).map_err(|(line, problem)| ScriptError::Journal {
        path: path.to_owned(),
        line,
        problem,
    })
}

impl Line {
    /// An event of this moment.
    pub(super) fn now(event: Event) -> Line {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seconds = std::time::Duration::from_secs(now.unwrap_or_default().as_secs());
        let time = DateTime::from_unix_duration(seconds).map(|time| time.to_string());
        Line {
            time: time.unwrap_or_default(),
            ..Line::new(event)
        }
    }

    /// An event without its time.
    pub(super) fn new(event: Event) -> Line {
        Line {
            previous: None,
            time: String::new(),
            event,
            format: None,
            plan: None,
            plan_sha256: None,
            ceremony: None,
            signer: None,
            approval: None,
            step: None,
            action: None,
            approved_by: Vec::new(),
            made: Made::default(),
        }
    }
}

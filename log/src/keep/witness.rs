//! Witnesses (c2sp.org/tlog-witness): others who remember how far a log has come, and vouch for it.
//!
//! ```text
//! DIR/witness/checkpoint   the newest cosigned checkpoint: the log's signature and the cosignatures
//! DIR/witness/sizes        the size that each witness is known to have: `size vkey`, one a line
//! DIR/witness/LOCK         held during a round
//! ```
//!
//! A witness never cosigns a tree that does not continue what it cosigned before. So whoever puts an
//! older copy of the directory in place and goes on is found out at the next push.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::backup::{BackupError, stored_checkpoint, stored_vkey};
use super::source::Tiles;
use crate::error::VerifyError;
use crate::log::LOCK_FILE;
use crate::published::Published;
use crate::storage::{self, DiskStorage, LockGuard, PathError, Storage, at};
use crate::tlog::{
    Checkpoint, Hash, Note, NoteError, NoteSignature, VerifierKey, consistency_proof, root,
    verify_consistency,
};

/// Bytes of the longest answer that is read: a few signature lines, or a size.
pub const WITNESS_ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Longest file of sizes: a hundred witnesses with long names.
const SIZES_BYTES_MAX: u64 = 256 << 10;

/// Requests for one push: the size that we remember, the one that the witness has, and once more for a
/// push of somebody else in between.
const REQUESTS_MAX: usize = 3;

/// What a size is answered as (c2sp.org/tlog-witness, "add-checkpoint").
const SIZE_CONTENT_TYPE: &str = "text/x.tlog.size";

/// What carries a request to a witness.
pub trait WitnessClient {
    /// Sends `POST <url>/add-checkpoint` with this body and gives the answer, whatever its status.
    ///
    /// # Errors
    /// There was no answer.
    fn add_checkpoint(&self, body: &str) -> Result<WitnessAnswer, Box<dyn StdError + Send + Sync>>;
}

/// An HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessAnswer {
    /// Status code.
    pub status: u16,
    /// `Content-Type`, if there is one.
    pub content_type: Option<String>,
    /// At most [`WITNESS_ANSWER_BYTES_MAX`] bytes.
    pub body: Vec<u8>,
}

/// A witness that is asked.
pub struct Witness<'a> {
    /// Its verifier key, of type 0x04.
    pub key: VerifierKey,
    /// The way to it.
    pub client: &'a dyn WitnessClient,
}

/// What one round brought.
#[derive(Debug)]
#[non_exhaustive]
pub struct WitnessReport {
    /// The checkpoint that was pushed.
    pub checkpoint: Checkpoint,
    /// Witnesses that cosigned it, and when, in Unix seconds.
    pub cosigned: Vec<(VerifierKey, u64)>,
    /// Witnesses that did not, and why. The others are not affected.
    pub failed: Vec<(VerifierKey, WitnessError)>,
}

/// A checkpoint was not cosigned.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// Nothing was published yet.
    #[error("the log in {dir} has no checkpoint yet; start it once, then try again", dir = dir.display())]
    NothingPublished {
        /// The log.
        dir: PathBuf,
    },
    /// The witness says that it knows a longer log than this one.
    #[error(
        "{witness} says that it cosigned {known} records of this log, the directory has {size}: if that is so, \
         it was rolled back to an older state; STOP: do not issue from it, keep it as it is, compare with \
         another witness, and restore under a new origin if that one says the same"
    )]
    RolledBack {
        /// The witness.
        witness: String,
        /// Records that it says it cosigned.
        known: u64,
        /// Records that the directory's checkpoint covers.
        size: u64,
    },
    /// The witness says that it knows another log than this one.
    #[error(
        "{witness} says that it cosigned {known} records that are not the first ones of this log: if that is \
         so, its directory was rolled back and gone on with, or forked; STOP: do not issue from it, keep it as \
         it is, compare with another witness, and restore under a new origin if that one says the same"
    )]
    Forked {
        /// The witness.
        witness: String,
        /// Records that it says it cosigned.
        known: u64,
    },
    /// The log's own signature, kept with the cosignatures, covers what the log does not have.
    #[error(
        "STOP: {path} has this log's signature over {known} records, which the directory with its {size} \
         records does not begin with: it was rolled back or forked; do not issue from it, keep it as it is \
         and restore under a new origin", path = path.display()
    )]
    KeptAhead {
        /// The checkpoint that was cosigned last.
        path: PathBuf,
        /// Records that it covers.
        known: u64,
        /// Records that the directory's checkpoint covers.
        size: u64,
    },
    /// Another process pushes.
    #[error("{path} is held by another `birthmark log witness`; let that one do it, or stop it", path = path.display())]
    Busy {
        /// Its lock.
        path: PathBuf,
    },
    /// No answer.
    #[error(
        "{witness} does not answer; check the address and the network, it is asked again next time"
    )]
    Unreachable {
        /// The witness.
        witness: String,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The witness does not know this log.
    #[error("{witness} does not know {origin} (404); give its keeper the log's verifier key")]
    UnknownLog {
        /// The witness.
        witness: String,
        /// The log.
        origin: String,
    },
    /// The witness knows this log under another key.
    #[error(
        "{witness} does not trust the key of {origin} (403); give its keeper the log's verifier key"
    )]
    UnknownKey {
        /// The witness.
        witness: String,
        /// The log.
        origin: String,
    },
    /// An answer that the specification does not have, or a wrong cosignature.
    #[error("{witness} gave an answer that cannot be used ({detail}); ask its keeper")]
    Answer {
        /// The witness.
        witness: String,
        /// What is wrong.
        detail: String,
    },
    /// The log's own files do not do.
    #[error(transparent)]
    Log(#[from] BackupError),
    /// The log's tiles do not give the root of its checkpoint.
    #[error("the log's tiles do not prove its checkpoint ({detail}); run `birthmark log verify`")]
    Proof {
        /// What is wrong.
        detail: String,
    },
}

impl WitnessError {
    /// Whether the log's directory is not what it was, or a witness says so: nothing may be issued from it
    /// before that is cleared up.
    #[must_use]
    pub fn is_stop(&self) -> bool {
        matches!(
            self,
            WitnessError::RolledBack { .. }
                | WitnessError::Forked { .. }
                | WitnessError::KeptAhead { .. }
        )
    }
}

/// Pushes the checkpoint of the log in `dir`, which may be in use, to witnesses, and keeps their
/// cosignatures in `dir/witness`, durable. All are asked, whatever one of them says; a key that is named
/// twice, once.
///
/// # Errors
/// The log's own files do not do, or they are older than what `dir/witness` shows. What one witness says
/// is in the report, [`WitnessError::is_stop`] too: look there.
pub fn push_checkpoint(
    dir: &Path,
    witnesses: &[Witness<'_>],
) -> Result<WitnessReport, WitnessError> {
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage);
    let push = Push::begin(&storage, dir)?;
    let _lock = push.lock()?;
    push.check_kept()?;
    let mut sizes = push.read_sizes()?;
    let mut report = WitnessReport {
        checkpoint: push.checkpoint.clone(),
        cosigned: Vec::new(),
        failed: Vec::new(),
    };
    let mut note = push.note.clone();
    for (nth, witness) in witnesses.iter().enumerate() {
        if witnesses[..nth]
            .iter()
            .any(|other| other.key == witness.key)
        {
            continue;
        }
        let key = witness.key.to_string();
        let known = sizes.get(&key).copied().unwrap_or(0);
        match push.cosign(witness, known) {
            Ok((signature, time_s)) => {
                note.signatures.push(signature);
                sizes.insert(key, push.checkpoint.size);
                report.cosigned.push((witness.key.clone(), time_s));
            }
            Err(error) => report.failed.push((witness.key.clone(), error)),
        }
    }
    if !report.cosigned.is_empty() {
        push.keep(&note, &sizes)?;
    }
    Ok(report)
}

/// The log as it is now.
struct Push<'a> {
    storage: &'a Arc<dyn Storage>,
    dir: &'a Path,
    published: Published,
    note: Note,
    checkpoint: Checkpoint,
}

impl<'a> Push<'a> {
    fn begin(storage: &'a Arc<dyn Storage>, dir: &'a Path) -> Result<Push<'a>, WitnessError> {
        let key = stored_vkey(&**storage, dir)?;
        let stored = stored_checkpoint(&**storage, dir, key.as_ref())?;
        let (text, checkpoint) = stored.ok_or_else(|| WitnessError::NothingPublished {
            dir: dir.to_owned(),
        })?;
        let note = Note::parse(&text).map_err(|error| WitnessError::Proof {
            detail: error.to_string(),
        })?;
        let published = Published::new(Arc::clone(storage), dir, checkpoint.size);
        Ok(Push {
            storage,
            dir,
            published,
            note,
            checkpoint,
        })
    }

    /// One round at a time: two would overwrite each other's cosignatures.
    fn lock(&self) -> Result<LockGuard, WitnessError> {
        let dir = self.witness_dir();
        self.storage.create_dir(&dir).map_err(at(&dir))?;
        let path = dir.join(LOCK_FILE);
        let lock = self.storage.lock(&path);
        lock.map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => WitnessError::Busy { path },
            _ => PathError { path, source }.into(),
        })
    }

    /// The checkpoint must continue the one that was cosigned last.
    fn check_kept(&self) -> Result<(), WitnessError> {
        let path = self.witness_dir().join("checkpoint");
        let bytes_max = crate::published::CHECKPOINT_BYTES_MAX;
        let text = match storage::read_file(&**self.storage, &path, bytes_max) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            text => text.map_err(at(&path))?,
        };
        let key = stored_vkey(&**self.storage, self.dir)?;
        let key = key.ok_or_else(|| VerifyError::Missing {
            dir: self.dir.to_owned(),
        });
        let kept = Checkpoint::from_note(&text, &key.map_err(BackupError::from)?);
        let kept = kept.map_err(|source| BackupError::Checkpoint {
            path: path.clone(),
            source,
        })?;
        let (known, size) = (kept.size, self.checkpoint.size);
        if known > size || self.root_at(known)? != kept.root {
            return Err(WitnessError::KeptAhead { path, known, size });
        }
        Ok(())
    }

    /// Asks one witness, which is thought to have cosigned `known` records.
    fn cosign(
        &self,
        witness: &Witness<'_>,
        known: u64,
    ) -> Result<(NoteSignature, u64), WitnessError> {
        let name = witness.key.name().to_owned();
        let mut old = known;
        for _ in 0..REQUESTS_MAX {
            if old > self.checkpoint.size {
                return Err(self.behind(name, old));
            }
            let body = self.request(old)?;
            let answer = witness.client.add_checkpoint(&body);
            let answer = answer.map_err(|source| WitnessError::Unreachable {
                witness: name.clone(),
                source,
            })?;
            match answer.status {
                200 => return self.signature(witness, &answer.body),
                409 => {
                    let size =
                        stated_size(&answer).ok_or_else(|| wrong(&name, "409 without a size"))?;
                    if size == old && size == self.checkpoint.size {
                        // It has as many records as we have, and refuses our tree of them.
                        return Err(WitnessError::Forked {
                            witness: name,
                            known: size,
                        });
                    }
                    old = size;
                }
                // Our proof was checked before it was sent: the witness has another tree.
                422 => {
                    return Err(WitnessError::Forked {
                        witness: name,
                        known: old,
                    });
                }
                404 => {
                    return Err(WitnessError::UnknownLog {
                        witness: name,
                        origin: self.checkpoint.origin.clone(),
                    });
                }
                403 => {
                    return Err(WitnessError::UnknownKey {
                        witness: name,
                        origin: self.checkpoint.origin.clone(),
                    });
                }
                status => return Err(wrong(&name, &format!("status {status}"))),
            }
        }
        Err(wrong(&name, "its size changes with every request"))
    }

    /// The witness is ahead: the log has gone on since the checkpoint was read, or it went back.
    fn behind(&self, witness: String, known: u64) -> WitnessError {
        match Push::begin(self.storage, self.dir) {
            Ok(now) if now.checkpoint.size >= known => wrong(
                &witness,
                "the log went on meanwhile; it is asked again next time",
            ),
            _ => WitnessError::RolledBack {
                witness,
                known,
                size: self.checkpoint.size,
            },
        }
    }

    /// `old N`, the proof, an empty line, the checkpoint.
    fn request(&self, old: u64) -> Result<String, WitnessError> {
        let failed = |detail: String| WitnessError::Proof { detail };
        let size = self.checkpoint.size;
        let mut tiles = Tiles(&self.published);
        let proof =
            consistency_proof(&mut tiles, old, size).map_err(|error| failed(error.to_string()))?;
        verify_consistency(old, self.root_at(old)?, size, self.checkpoint.root, &proof)
            .map_err(|error| failed(error.to_string()))?;
        let mut body = format!("old {old}\n");
        for hash in proof {
            body.push_str(&format!("{hash}\n"));
        }
        body.push('\n');
        body.push_str(&self.note.to_string());
        Ok(body)
    }

    fn root_at(&self, size: u64) -> Result<Hash, WitnessError> {
        root(&mut Tiles(&self.published), size).map_err(|error| WitnessError::Proof {
            detail: error.to_string(),
        })
    }

    /// The witness's cosignature in its answer, verified.
    fn signature(
        &self,
        witness: &Witness<'_>,
        body: &[u8],
    ) -> Result<(NoteSignature, u64), WitnessError> {
        let name = witness.key.name();
        let bad = |error: NoteError| wrong(name, &error.to_string());
        let lines = std::str::from_utf8(body).map_err(|_| wrong(name, "not text"))?;
        let note = Note {
            text: self.note.text.clone(),
            signatures: NoteSignature::parse_lines(lines).map_err(bad)?,
        };
        let time_s = note.cosigned_by(&witness.key).map_err(bad)?;
        let of_key = |signature: &NoteSignature| {
            signature.name == name && signature.key_id == witness.key.key_id()
        };
        match note.signatures.into_iter().find(of_key) {
            Some(signature) => Ok((signature, time_s)),
            None => Err(wrong(name, "no signature of its key")),
        }
    }

    fn witness_dir(&self) -> PathBuf {
        self.dir.join("witness")
    }

    fn read_sizes(&self) -> Result<BTreeMap<String, u64>, WitnessError> {
        let path = self.witness_dir().join("sizes");
        let bytes = match storage::read_file(&**self.storage, &path, SIZES_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            bytes => bytes.map_err(at(&path))?,
        };
        // A hint for the first request; a line that says nothing costs one more.
        let text = String::from_utf8_lossy(&bytes);
        let line = |line: &str| {
            let (size, vkey) = line.split_once(' ')?;
            Some((vkey.to_owned(), size.parse().ok()?))
        };
        let sizes: BTreeMap<String, u64> = text.lines().filter_map(line).collect();
        let size = self.checkpoint.size;
        Ok(sizes
            .into_iter()
            .filter(|(_, known)| *known <= size)
            .collect())
    }

    fn keep(&self, note: &Note, sizes: &BTreeMap<String, u64>) -> Result<(), WitnessError> {
        let dir = self.witness_dir();
        self.storage.create_dir(&dir).map_err(at(&dir))?;
        self.storage.sync_dir(self.dir).map_err(at(self.dir))?;
        let text = note.to_string();
        storage::replace_file(&**self.storage, &dir.join("checkpoint"), text.as_bytes())?;
        let lines: String = sizes
            .iter()
            .map(|(vkey, size)| format!("{size} {vkey}\n"))
            .collect();
        storage::replace_file(&**self.storage, &dir.join("sizes"), lines.as_bytes())?;
        Ok(())
    }
}

fn wrong(witness: &str, detail: &str) -> WitnessError {
    WitnessError::Answer {
        witness: witness.to_owned(),
        detail: detail.to_owned(),
    }
}

/// The size in a 409 answer.
fn stated_size(answer: &WitnessAnswer) -> Option<u64> {
    let content_type = answer.content_type.as_deref()?;
    let essence = content_type.split(';').next()?.trim();
    let text = std::str::from_utf8(&answer.body).ok()?;
    let digits = text.strip_suffix('\n')?;
    let size: u64 = digits.parse().ok()?;
    (essence == SIZE_CONTENT_TYPE && size.to_string() == digits).then_some(size)
}

impl From<PathError> for WitnessError {
    fn from(error: PathError) -> WitnessError {
        BackupError::from(error).into()
    }
}

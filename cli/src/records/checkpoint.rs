//! `birthmark log vkey` and `birthmark log checkpoint`: who signs the log, and what was signed last.

use std::path::Path;

use birthmark_log::LogReader;
use birthmark_log::tlog::{Checkpoint, CheckpointError, Note, VerifierKey};
use serde::Serialize;

use super::file::read_vkey;
use super::json::write_json;
use super::{RecordsError, log_directory};
use crate::command::{CommandError, Exit};
use crate::console::Console;
use crate::hex;

#[derive(Serialize)]
struct VkeyJson {
    vkey: String,
    origin: String,
    key_id: String,
}

#[derive(Serialize)]
struct CheckpointJson<'a> {
    origin: &'a str,
    size: u64,
    root: String,
    signatures: Vec<SignatureJson<'a>>,
    /// The signed note, word for word.
    note: &'a str,
}

#[derive(Serialize)]
struct SignatureJson<'a> {
    name: &'a str,
    key_id: String,
}

/// `birthmark log vkey`: the verifier key that is kept beside the log (c2sp.org/signed-note).
///
/// # Errors
///
/// There is no log, no key or none that can be read.
pub fn vkey(dir: &Path, json: bool, console: &mut Console<'_>) -> Result<Exit, CommandError> {
    let dir = log_directory(dir);
    let reader = LogReader::open(&dir)?;
    let Some(key) = reader.vkey()? else {
        // The key comes with the first checkpoint, but a copy of the log may lack it.
        return Err(match reader.checkpoint()? {
            None => RecordsError::NothingPublished { dir },
            Some(_) => RecordsError::NoVkey { dir },
        }
        .into());
    };
    let written = if json {
        let json = VkeyJson {
            vkey: key.to_string(),
            origin: key.name().to_owned(),
            key_id: hex::encode(&key.key_id()),
        };
        write_json(console, &json)
    } else {
        writeln!(console.out, "{key}")
    };
    written
        .and_then(|()| console.out.flush())
        .map_err(CommandError::output)?;
    Ok(Exit::Done)
}

/// `birthmark log checkpoint`: the signed checkpoint, word for word, after its signature verified.
///
/// # Errors
///
/// There is no log, nothing was published, or the checkpoint is not signed by `vkey` (default: the
/// key that is kept beside the log).
pub fn checkpoint(
    dir: &Path,
    vkey: Option<&str>,
    json: bool,
    console: &mut Console<'_>,
) -> Result<Exit, CommandError> {
    let dir = log_directory(dir);
    let vkey = vkey.map(read_vkey).transpose()?;
    let reader = LogReader::open(&dir)?;
    let Signed { text, checkpoint } = signed(&reader, &dir, vkey.as_ref())?;
    let written = if json {
        let note = Note::parse(text.as_bytes()).map_err(|error| malformed(&dir, error.into()))?;
        let signatures = note.signatures.iter().map(|signature| SignatureJson {
            name: &signature.name,
            key_id: hex::encode(&signature.key_id),
        });
        let json = CheckpointJson {
            origin: &checkpoint.origin,
            size: checkpoint.size,
            root: checkpoint.root.to_string(),
            signatures: signatures.collect(),
            note: &text,
        };
        write_json(console, &json)
    } else {
        write!(console.out, "{text}")
    };
    written
        .and_then(|()| console.out.flush())
        .map_err(CommandError::output)?;
    Ok(Exit::Done)
}

/// A checkpoint whose signature verified.
pub(super) struct Signed {
    /// The whole note.
    pub(super) text: String,
    pub(super) checkpoint: Checkpoint,
}

/// The log's present checkpoint, signed by `key` or by the one that is kept beside the log.
pub(super) fn signed(
    reader: &LogReader,
    dir: &Path,
    key: Option<&VerifierKey>,
) -> Result<Signed, CommandError> {
    let text = reader.checkpoint()?;
    let text = text.ok_or_else(|| RecordsError::NothingPublished {
        dir: dir.to_owned(),
    })?;
    let key = log_vkey(reader, dir, key)?;
    let checkpoint =
        Checkpoint::from_note(text.as_bytes(), &key).map_err(|source| malformed(dir, source))?;
    Ok(Signed { text, checkpoint })
}

/// `key`, or the one that is kept beside the log.
pub(super) fn log_vkey(
    reader: &LogReader,
    dir: &Path,
    key: Option<&VerifierKey>,
) -> Result<VerifierKey, CommandError> {
    if let Some(key) = key {
        return Ok(key.clone());
    }
    let kept = reader.vkey()?;
    Ok(kept.ok_or_else(|| RecordsError::NoVkey {
        dir: dir.to_owned(),
    })?)
}

fn malformed(dir: &Path, source: CheckpointError) -> RecordsError {
    RecordsError::Checkpoint {
        path: dir.join("public").join("checkpoint"),
        source,
    }
}

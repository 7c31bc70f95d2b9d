//! `birthmark log consistency`: that a later state of the log continues an earlier one.

use std::path::{Path, PathBuf};

use birthmark_log::LogReader;
use birthmark_log::tlog::{Checkpoint, Hash, NOTE_BYTES_MAX, VerifierKey, verify_consistency};
use serde::Serialize;

use super::checkpoint::{Signed, log_vkey, signed};
use super::file::{read, read_vkey};
use super::json::write_json;
use super::{RecordsError, log_directory};
use crate::command::{CommandError, Exit};
use crate::console::{Console, grouped};

/// One state of the log.
#[derive(Serialize)]
struct State {
    /// As it was named.
    #[serde(skip)]
    name: String,
    size: u64,
    root: String,
    /// The checkpoint's; none when a size was given.
    origin: Option<String>,
    #[serde(skip)]
    root_hash: Hash,
}

#[derive(Serialize)]
struct ConsistentJson<'a> {
    consistent: bool,
    old: &'a State,
    new: &'a State,
    proof: Vec<String>,
}

/// `birthmark log consistency`: makes the proof from the log's tiles and verifies it. `old` and
/// `new` are files with checkpoints, or sizes. Checkpoints must be signed by `vkey`, by default the
/// key that is kept beside the log.
///
/// # Errors
///
/// A checkpoint cannot be read or trusted, or is not of this log's history.
pub fn consistency(
    dir: &Path,
    old: &str,
    new: &str,
    vkey: Option<&str>,
    json: bool,
    console: &mut Console<'_>,
) -> Result<Exit, CommandError> {
    let dir = log_directory(dir);
    let vkey = vkey.map(read_vkey).transpose()?;
    let reader = LogReader::open(&dir)?;
    let (old, new) = (
        state(&reader, &dir, old, vkey.as_ref())?,
        state(&reader, &dir, new, vkey.as_ref())?,
    );
    if old.size > new.size {
        return Err(RecordsError::Order {
            older: old.name,
            old: old.size,
            newer: new.name,
            new: new.size,
        }
        .into());
    }
    let proof = reader
        .consistency_proof(old.size, new.size)
        .map_err(RecordsError::Proof)?;
    verify_consistency(old.size, old.root_hash, new.size, new.root_hash, &proof)
        .map_err(|source| RecordsError::Inconsistent { source })?;
    let proof: Vec<String> = proof.iter().map(ToString::to_string).collect();
    let written = if json {
        let (old, new) = (&old, &new);
        let consistent = true;
        write_json(
            console,
            &ConsistentJson {
                consistent,
                old,
                new,
                proof,
            },
        )
    } else {
        let mut text = format!(
            "consistent: the log of {} records continues that of {}\n",
            grouped(new.size),
            grouped(old.size)
        );
        for (name, state) in [("old root", &old), ("new root", &new)] {
            text.push_str(&format!("  {name}  {}\n", state.root));
        }
        for hash in &proof {
            text.push_str(&format!("  proof     {hash}\n"));
        }
        write!(console.out, "{text}")
    };
    written
        .and_then(|()| console.out.flush())
        .map_err(CommandError::output)?;
    Ok(Exit::Done)
}

/// A number is a size, anything else a file.
fn state(
    reader: &LogReader,
    dir: &Path,
    argument: &str,
    vkey: Option<&VerifierKey>,
) -> Result<State, CommandError> {
    let name = argument.to_owned();
    if let Ok(size) = argument.parse::<u64>() {
        let Signed { checkpoint, .. } = signed(reader, dir, vkey)?;
        // The whole log has the root that was signed, whatever its tiles say.
        let root = match size == checkpoint.size {
            true => checkpoint.root,
            false => reader.root(size).map_err(RecordsError::Proof)?,
        };
        return Ok(State {
            name,
            size,
            root: root.to_string(),
            origin: None,
            root_hash: root,
        });
    }
    let path = PathBuf::from(argument);
    let bytes = read(&path, NOTE_BYTES_MAX as u64)?;
    let key = log_vkey(reader, dir, vkey)?;
    let Checkpoint { origin, size, root } = Checkpoint::from_note(&bytes, &key)
        .map_err(|source| RecordsError::Checkpoint { path, source })?;
    // Looked up after the argument was read, which may be the file that the writer replaces.
    let published = signed(reader, dir, vkey)?.checkpoint.size;
    if size > published {
        return Err(RecordsError::Beyond {
            what: name,
            size,
            published,
        }
        .into());
    }
    Ok(State {
        name,
        size,
        root: root.to_string(),
        origin: Some(origin),
        root_hash: root,
    })
}

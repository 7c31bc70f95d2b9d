//! `birthmark log consistency`: that a later state of the log continues an earlier one.

use std::path::{Path, PathBuf};

use birthmark_log::tlog::{
    Checkpoint, Hash, NOTE_BYTES_MAX, ProofError, VerifierKey, verify_consistency,
};
use birthmark_log::{LogProofError, LogReader};
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
    let key = log_vkey(&reader, &dir, vkey.as_ref())?;
    let (old, new) = (named(old, &key)?, named(new, &key)?);
    // After the arguments, one of which may be the file that the writer replaces.
    let Signed { checkpoint, .. } = signed(&reader, &dir, Some(&key))?;
    let root = reader.root(checkpoint.size).map_err(RecordsError::Proof)?;
    if root != checkpoint.root {
        let (computed, expected) = (root, checkpoint.root);
        let source = ProofError::Root { computed, expected };
        return Err(RecordsError::Unproven { source }.into());
    }
    let (old, new) = (
        old.in_log(&reader, &checkpoint)?,
        new.in_log(&reader, &checkpoint)?,
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
    verify_consistency(old.size, old.root_hash, new.size, new.root_hash, &proof).map_err(
        |source| RecordsError::Inconsistent {
            what: old.name.clone(),
            source,
        },
    )?;
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

/// An argument, read.
struct Named {
    name: String,
    size: u64,
    /// What was signed, if the argument is a checkpoint.
    checkpoint: Option<Checkpoint>,
}

/// A number is a size, anything else a file.
fn named(argument: &str, key: &VerifierKey) -> Result<Named, CommandError> {
    let name = argument.to_owned();
    if let Ok(size) = argument.parse() {
        let checkpoint = None;
        return Ok(Named {
            name,
            size,
            checkpoint,
        });
    }
    let path = PathBuf::from(argument);
    let bytes = read(&path, NOTE_BYTES_MAX as u64)?;
    let checkpoint = Checkpoint::from_note(&bytes, key)
        .map_err(|source| RecordsError::Checkpoint { path, source })?;
    Ok(Named {
        name,
        size: checkpoint.size,
        checkpoint: Some(checkpoint),
    })
}

impl Named {
    /// The log's state of this size. The log's own checkpoint must continue it: only then its root
    /// is one that the log stands by.
    fn in_log(self, reader: &LogReader, log: &Checkpoint) -> Result<State, CommandError> {
        let Named {
            name,
            size,
            checkpoint,
        } = self;
        if size > log.size {
            let published = log.size;
            return Err(match checkpoint {
                Some(_) => RecordsError::Beyond {
                    what: name,
                    size,
                    published,
                },
                None => LogProofError::NotPublished { size, published }.into(),
            }
            .into());
        }
        let root = match &checkpoint {
            Some(checkpoint) => checkpoint.root,
            None => reader.root(size).map_err(RecordsError::Proof)?,
        };
        let proof = reader
            .consistency_proof(size, log.size)
            .map_err(RecordsError::Proof)?;
        verify_consistency(size, root, log.size, log.root, &proof).map_err(|source| {
            RecordsError::Inconsistent {
                what: name.clone(),
                source,
            }
        })?;
        Ok(State {
            name,
            size,
            root: root.to_string(),
            origin: checkpoint.map(|checkpoint| checkpoint.origin),
            root_hash: root,
        })
    }
}

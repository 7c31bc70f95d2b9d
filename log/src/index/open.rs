//! Opening an index: what of the files can be used, and the thread.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use super::files;
use super::manifest::{MANIFEST, Manifest};
use super::memtable::Memtable;
use super::run::{Run, run_name};
use super::shared::{Limits, Shared, Snapshot};
use super::worker::Worker;
use super::{Index, RecordSource};
use crate::error::ReadError;
use crate::record::RecordIndex;
use crate::storage::{PathError, Storage, at};

/// What [`Index::open`] found.
pub(crate) struct Opened {
    /// The index.
    pub(crate) index: Index,
    /// The records below are indexed. The caller inserts the rest, in order.
    pub(crate) watermark: u64,
    /// Why what was on the disk was not used, whole or in part.
    pub(crate) discarded: Option<String>,
}

/// [`Index::open`] with any limits.
pub(crate) fn open(
    storage: Arc<dyn Storage>,
    dir: &Path,
    len: u64,
    source: Arc<dyn RecordSource>,
    limits: Limits,
) -> Result<Opened, PathError> {
    files::create_dir(&*storage, dir)?;
    let found = find(&*storage, dir, len, &*source)?;
    let watermark = found.runs.last().map_or(0, |run| run.header.end);
    let names: Vec<String> = found
        .runs
        .iter()
        .map(|run| run_name(run.header.id))
        .collect();
    let keep = |name: &str| {
        name == MANIFEST && !found.runs.is_empty() || names.iter().any(|kept| kept == name)
    };
    files::remove_others(&*storage, dir, &keep)?;
    let table = match limits.is_large(watermark) {
        true => Memtable::full_size(watermark, limits.memtable_entries, limits.hash_mask),
        false => Memtable::growing(watermark, limits.growing_max(), limits.hash_mask),
    };
    let snapshot = Snapshot {
        tables: vec![Arc::new(table)],
        runs: found.runs.into_iter().map(Arc::new).collect(),
    };
    let shared = Shared::new(storage, dir.to_owned(), source, limits, snapshot);
    let shared = Arc::new(shared);
    let worker = Worker {
        shared: Arc::clone(&shared),
        next_run: found.next_run,
        manifest_due: found.discarded.is_some() && watermark > 0,
        manifests: 0,
        anchor: (0, [0; 32]),
        garbage: Vec::new(),
        retired: Vec::new(),
        written: Vec::new(),
        write_after: None,
        merge_after: None,
        merging: Vec::new(),
    };
    let thread = thread::Builder::new()
        .name("log-index".to_owned())
        .spawn(move || worker.run())
        .map_err(at(dir))?;
    Ok(Opened {
        index: Index {
            shared,
            thread: Mutex::new(Some(thread)),
        },
        watermark,
        discarded: found.discarded,
    })
}

/// What of the files can be used.
#[derive(Default)]
struct Found {
    runs: Vec<Run>,
    next_run: u64,
    discarded: Option<String>,
}

/// Reads the manifest and the runs that it names, up to the first that is not good.
fn find(
    storage: &dyn Storage,
    dir: &Path,
    len: u64,
    source: &dyn RecordSource,
) -> Result<Found, PathError> {
    let manifest = match files::read_manifest(storage, dir)? {
        None => return Ok(Found::default()),
        Some(Ok(manifest)) => manifest,
        Some(Err(detail)) => return Ok(nothing(format!("the index's manifest: {detail}"))),
    };
    if let Some(reason) = is_foreign(&manifest, len, source) {
        return Ok(nothing(reason));
    }
    let mut found = Found {
        next_run: manifest.next_run,
        ..Found::default()
    };
    for described in &manifest.runs {
        let path = dir.join(run_name(described.id));
        let reason = match Run::open(storage, &path, described.id) {
            Ok(run) if described.describes(&run.header, run.file_bytes) => {
                found.runs.push(run);
                continue;
            }
            Ok(_) => format!("{}: another run than the manifest says", path.display()),
            Err(ReadError::Storage { path, source })
                if source.kind() != io::ErrorKind::NotFound =>
            {
                return Err(PathError { path, source });
            }
            Err(ReadError::Storage { path, .. }) => format!("{} is missing", path.display()),
            Err(error) => error.to_string(),
        };
        found.discarded = Some(reason);
        break;
    }
    Ok(found)
}

/// Why this index is not of this log and its keys, if it is not.
fn is_foreign(manifest: &Manifest, len: u64, source: &dyn RecordSource) -> Option<String> {
    if manifest.keys_version != source.keys_version() {
        return Some(format!(
            "the index has the keys of version {}, and this release looks for those of version {}",
            manifest.keys_version,
            source.keys_version()
        ));
    }
    let watermark = manifest.watermark;
    if watermark > len {
        return Some(format!(
            "the index is about {watermark} records, the log has {len}"
        ));
    }
    let last = RecordIndex(watermark.checked_sub(1)?);
    match source.digest(last) {
        Ok(digest) if digest == manifest.anchor => None,
        Ok(_) => Some(format!(
            "the index is about another record {last} than the log has"
        )),
        Err(error) => Some(format!(
            "record {last} cannot be compared with the index: {error}"
        )),
    }
}

fn nothing(reason: String) -> Found {
    Found {
        discarded: Some(reason),
        ..Found::default()
    }
}

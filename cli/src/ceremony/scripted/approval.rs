//! Approvals: each signer's signed note over the plan's SHA-256 and the ceremony's id, in a file beside the plan. The id
//! is random and made when the ceremony begins: an approval is good for that one ceremony.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use birthmark_log::tlog::{Note, NoteError, VerifierKey};

use super::ScriptError;
use super::note::Officer;
use super::plan::Plan;
use crate::ceremony::files::write_whole;

/// First line of an approval.
const HEADER: &str = "birthmark/ceremony-approval@v2";

/// End of an approval's file name, after the plan's whole name.
const ENDING: &str = ".approval";

/// Longest approval read, in bytes: four short lines and one signature.
const APPROVAL_BYTES_MAX: u64 = 4096;

/// Most files told that do not count: enough to see what they are.
const REMARKS_MAX: usize = 16;

/// What was found beside a plan.
#[derive(Debug, Default)]
pub(super) struct Approvals {
    /// The approvals that count: signer and note.
    pub(super) by: Vec<(String, String)>,
    /// Files that do not count, and why.
    pub(super) not_counted: Vec<String>,
}

fn text(plan: &Plan, ceremony: &str) -> String {
    let Plan { name, sha256, .. } = plan;
    format!("{HEADER}\nplan {name}\nsha256 {sha256}\nceremony {ceremony}\n")
}

/// Where a signer's approval is put: `plan.toml.NAME.approval`.
fn file(plan: &Path, signer: &VerifierKey) -> PathBuf {
    let plain = |c: char| {
        let plain = c.is_ascii_alphanumeric() || "-_.@".contains(c);
        if plain { c } else { '_' }
    };
    let name: String = signer.name().chars().map(plain).collect();
    let mut path = OsString::from(plan);
    path.push(format!(".{name}{ENDING}"));
    path.into()
}

/// Signs the plan as it is now, for this ceremony. What the signer approved for another one is replaced.
pub(super) fn approve(plan: &Plan, ceremony: &str, key: &Path) -> Result<PathBuf, ScriptError> {
    let officer = Officer::read(key, &plan.signers)?;
    let path = file(&plan.path, officer.verifier);
    let note = officer.sign(text(plan, ceremony))?;
    if path.exists()
        && read(&path)
            .and_then(|old| signer(plan, ceremony, &old))
            .is_err()
    {
        fs::remove_file(&path).map_err(|source| ScriptError::file("replace", &path, source))?;
    }
    write_whole(&path, note.as_bytes())?;
    Ok(path)
}

impl Approvals {
    /// Reads every approval beside the plan. Files of anybody else are told, and do not count.
    pub(super) fn read(plan: &Plan, ceremony: &str) -> Result<Approvals, ScriptError> {
        let folder = match plan.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let failed = |source| ScriptError::file("read", folder, source);
        let beginning = plan.path.file_name().unwrap_or_default().to_string_lossy();
        let beginning = format!("{beginning}.");
        let mut found = Found::default();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let text = name.to_string_lossy();
            if text.starts_with(&beginning) && text.ends_with(ENDING) {
                let path = folder.join(&name);
                let note = read(&path).and_then(|note| {
                    let by = signer(plan, ceremony, &note)?;
                    Ok((by, String::from_utf8_lossy(&note).into_owned()))
                });
                found.add(path, note);
            }
        }
        Ok(found.into_approvals())
    }

    pub(super) fn has(&self, signer: &str) -> bool {
        self.by.iter().any(|(name, _)| name == signer)
    }

    /// Names of the signers whose approval counts.
    pub(super) fn names(&self) -> Vec<String> {
        self.by.iter().map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn check(&self, plan: &Plan) -> Result<(), ScriptError> {
        if self.by.len() >= plan.threshold {
            return Ok(());
        }
        Err(ScriptError::NotApproved {
            plan: plan.path.clone(),
            found: self.by.len(),
            needed: plan.threshold,
            signers: plan.signers.len(),
            remarks: self
                .not_counted
                .iter()
                .map(|why| format!("; {why}"))
                .collect(),
        })
    }
}

/// What a directory has so far. The order in which it names its files changes nothing, nor does their number.
#[derive(Default)]
struct Found {
    /// One note of each signer who approved: as many as the plan has signers at most.
    by: BTreeMap<String, (PathBuf, String)>,
    /// Files that do not count, and why; [`REMARKS_MAX`] at most.
    not_counted: BTreeSet<String>,
    /// Files that do not count, beyond those.
    more: usize,
}

impl Found {
    /// A file, and the signer and note in it, or why it does not count.
    fn add(&mut self, path: PathBuf, note: Result<(String, String), String>) {
        match note {
            Ok((signer, note)) => match self.by.entry(signer) {
                Entry::Occupied(other) if other.get().0 < path => {}
                Entry::Occupied(mut other) => drop(other.insert((path, note))),
                Entry::Vacant(place) => drop(place.insert((path, note))),
            },
            Err(problem) => {
                let problem = format!("{}: {problem}", path.display());
                self.not_counted.insert(problem);
                if self.not_counted.len() > REMARKS_MAX {
                    self.not_counted.pop_last();
                    self.more += 1;
                }
            }
        }
    }

    fn into_approvals(self) -> Approvals {
        let mut by: Vec<_> = self.by.into_iter().collect();
        by.sort_by(|(_, (one, _)), (_, (other, _))| one.cmp(other));
        let mut not_counted: Vec<String> = self.not_counted.into_iter().collect();
        if self.more > 0 {
            not_counted.push(format!("and {} more files", self.more));
        }
        Approvals {
            by: by
                .into_iter()
                .map(|(signer, (_, note))| (signer, note))
                .collect(),
            not_counted,
        }
    }
}

/// An approval's bytes, at most [`APPROVAL_BYTES_MAX`].
fn read(path: &Path) -> Result<Vec<u8>, String> {
    // To open a pipe would wait for whoever writes into it.
    if !fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return Err("not a file that can be read".to_owned());
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(APPROVAL_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > APPROVAL_BYTES_MAX {
        return Err(format!("over {APPROVAL_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}

/// Whose approval of this very plan in this very ceremony a note is.
pub(super) fn signer(plan: &Plan, ceremony: &str, note: &[u8]) -> Result<String, String> {
    let note = Note::parse(note).map_err(|error| error.to_string())?;
    let mut by = None;
    for signer in &plan.signers {
        match note.verified_by(signer) {
            Ok(()) => by = Some(signer.name().to_owned()),
            Err(NoteError::NotSigned { .. }) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    let by = by.ok_or("not signed by a signer of the plan")?;
    // Only now: what nobody of the plan signed is not even compared.
    if note.text == text(plan, ceremony) {
        Ok(by)
    } else {
        Err(format!(
            "{by} approved another plan or another ceremony, or the plan was changed since: have it approved again"
        ))
    }
}

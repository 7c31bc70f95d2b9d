//! Approvals: each signer's signed note over the plan's SHA-256, in a file beside the plan.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use birthmark_log::tlog::{Note, NoteError, VerifierKey};

use super::ScriptError;
use super::note::Officer;
use super::plan::{Plan, SIGNERS_MAX};
use crate::ceremony::files::write_whole;

/// First line of an approval.
const HEADER: &str = "birthmark/ceremony-approval@v1";

/// End of an approval's file name, after the plan's whole name.
const ENDING: &str = ".approval";

/// Longest approval read, in bytes: three short lines and one signature.
const APPROVAL_BYTES_MAX: u64 = 4096;

/// What was found beside a plan.
#[derive(Debug, Default)]
pub(super) struct Approvals {
    /// Names of the signers whose approval counts.
    pub(super) by: Vec<String>,
    /// Files that do not count, and why.
    pub(super) not_counted: Vec<String>,
}

fn text(plan: &Plan) -> String {
    format!("{HEADER}\nplan {}\nsha256 {}\n", plan.name, plan.sha256)
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

/// Signs the plan as it is now.
pub(super) fn approve(plan: &Plan, key: &Path) -> Result<PathBuf, ScriptError> {
    let officer = Officer::read(key, &plan.signers)?;
    let path = file(&plan.path, officer.verifier);
    let note = officer.sign(text(plan))?;
    write_whole(&path, note.as_bytes())?;
    Ok(path)
}

impl Approvals {
    /// Reads every approval beside the plan. Files of anybody else are told, and do not count.
    pub(super) fn read(plan: &Plan) -> Result<Approvals, ScriptError> {
        let folder = match plan.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let failed = |source| ScriptError::file("read", folder, source);
        let beginning = plan.path.file_name().unwrap_or_default().to_string_lossy();
        let beginning = format!("{beginning}.");
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let text = name.to_string_lossy();
            if text.starts_with(&beginning) && text.ends_with(ENDING) {
                files.push(folder.join(&name));
            }
        }
        // In an order that does not depend on the directory.
        files.sort();
        files.truncate(2 * SIGNERS_MAX);
        let mut approvals = Approvals::default();
        for path in files {
            match signer(plan, &path) {
                Ok(name) if approvals.by.contains(&name) => {}
                Ok(name) => approvals.by.push(name),
                Err(problem) => {
                    let problem = format!("{}: {problem}", path.display());
                    approvals.not_counted.push(problem);
                }
            }
        }
        Ok(approvals)
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

/// Whose approval of this very plan the file holds.
fn signer(plan: &Plan, path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(APPROVAL_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > APPROVAL_BYTES_MAX {
        return Err(format!("over {APPROVAL_BYTES_MAX} bytes"));
    }
    let note = Note::parse(&bytes).map_err(|error| error.to_string())?;
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
    if note.text == text(plan) {
        Ok(by)
    } else {
        Err(format!(
            "{by} approved another plan, or the plan was changed since: have it approved again"
        ))
    }
}

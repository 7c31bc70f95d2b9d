//! What the journal says was made, and whether it is still so.
//!
//! A ceremony may last for days, and its later steps read what earlier ones made. Each time it is compared with the
//! journal: whoever can write the folder cannot put another certificate under the same name between two steps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use aws_lc_rs::digest::{self, SHA256};
use x509_cert::Certificate;
use zeroize::Zeroizing;

use super::ScriptError;
use super::keys::{is_half_erased, read_whole};
use super::plan::Plan;
use super::transcript::Made;
use crate::ceremony::{CeremonyError, chain};
use crate::hex;

/// What the steps made that are done.
#[derive(Default)]
pub(super) struct Recorded {
    /// SHA-256 of every file that is there, by its name in the journal, and the step that made it.
    files: BTreeMap<String, (String, usize)>,
    /// SHA-256 of the certificate of every root that was made.
    roots: BTreeSet<String>,
}

impl Recorded {
    /// A step, its number from 1, is done.
    pub(super) fn add(&mut self, plan: &Plan, step: usize, made: &Made) {
        for (path, digest) in &made.files {
            self.files.insert(path.clone(), (digest.clone(), step));
        }
        for path in &made.removed {
            self.files.remove(path);
        }
        let done = plan.steps.get(step.wrapping_sub(1));
        if done.is_some_and(|step| step.action.makes_root()) {
            self.roots.extend(made.root.clone());
        }
    }

    /// Whether a step made the root with this SHA-256.
    pub(super) fn made_root(&self, sha256: &[u8]) -> bool {
        self.roots.contains(&hex::encode(sha256))
    }

    /// Every file is as it was made. `goes` may be gone, or half gone: the step that was begun removes it.
    pub(super) fn compare_all(&self, plan: &Plan, goes: Option<&Path>) -> Result<(), ScriptError> {
        for (name, (_, step)) in &self.files {
            let path = plan.resolve(name);
            if goes == Some(path.as_path()) && (!path.exists() || is_half_erased(&path)?) {
                continue;
            }
            if !path.exists() {
                let step = *step;
                return Err(ScriptError::Changed { path, step });
            }
            self.read(plan, &path)?;
        }
        Ok(())
    }

    /// Reads a file. One that a step made is as it made it; of others the journal says nothing.
    ///
    /// # Errors
    /// [`ScriptError::Changed`], and that it cannot be read.
    pub(super) fn read(&self, plan: &Plan, path: &Path) -> Result<Zeroizing<Vec<u8>>, ScriptError> {
        let content = read_whole(path)?;
        match self.files.get(&plan.record(path)) {
            Some((digest, step)) if *digest != sha256_of(&content) => Err(ScriptError::Changed {
                path: path.to_owned(),
                step: *step,
            }),
            _ => Ok(content),
        }
    }

    /// Reads the one certificate of a file, as [`Recorded::read`] does.
    pub(super) fn certificate(&self, plan: &Plan, path: &Path) -> Result<Certificate, ScriptError> {
        let content = self.read(plan, path)?;
        Ok(chain::one_in(path, &content).map_err(CeremonyError::from)?)
    }

    /// Reads the certificates of a file, as [`Recorded::read`] does.
    pub(super) fn certificates(
        &self,
        plan: &Plan,
        path: &Path,
    ) -> Result<Vec<Certificate>, ScriptError> {
        let content = self.read(plan, path)?;
        Ok(chain::all_in(path, &content).map_err(CeremonyError::from)?)
    }
}

/// SHA-256 of a file, in hexadecimal.
pub(super) fn file_sha256(path: &Path) -> Result<String, ScriptError> {
    Ok(sha256_of(&read_whole(path)?))
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256_of(content: &[u8]) -> String {
    hex::encode(digest::digest(&SHA256, content).as_ref())
}

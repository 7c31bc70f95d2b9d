//! The keys of a ceremony while it runs: made, opened, recognized, taken away.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use birthmark_hsm::{
    KeyError, KeyReport, OpenError, Pkcs11Options, Pkcs11Uri, PublicKey, SigningPool, SoftwareKey,
    destroy_key_pair, generate_key_pair, report_key,
};
use zeroize::Zeroizing;

use super::plan::{Key, Place, Plan};
use super::{ScriptError, encrypted};
use crate::ceremony::certificate::public_key_sha256;
use crate::ceremony::files::write_whole;
use crate::hsm::{HsmError, Marks, pin};

/// Longest key or passphrase file read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Longest file copied, in bytes: certificates and attestations are much shorter.
const COPY_BYTES_MAX: u64 = 16 << 20;

/// The plan's keys, with what was typed for them and what is known of them.
pub(super) struct KeyRing<'a> {
    plan: &'a Plan,
    /// SHA-256 of the public keys: from the plan, or from when they were made.
    known: BTreeMap<String, String>,
    passphrases: BTreeMap<String, Zeroizing<String>>,
    uris: BTreeMap<String, Pkcs11Uri>,
}

impl<'a> KeyRing<'a> {
    pub(super) fn new(plan: &'a Plan) -> KeyRing<'a> {
        let known = plan.keys.iter().filter_map(|(name, key)| {
            let digest = key.public_key_sha256.clone()?;
            Some((name.clone(), digest))
        });
        KeyRing {
            plan,
            known: known.collect(),
            passphrases: BTreeMap::new(),
            uris: BTreeMap::new(),
        }
    }

    /// From now on only this key is taken under that name.
    pub(super) fn remember(&mut self, name: &str, sha256: String) {
        self.known.insert(name.to_owned(), sha256);
    }

    fn key(&self, name: &str) -> Result<&'a Key, ScriptError> {
        let key = self.plan.keys.get(name);
        key.ok_or_else(|| ScriptError::NoKey {
            name: name.to_owned(),
        })
    }

    /// Whether something is at the place of the key already.
    pub(super) fn is_there(&mut self, name: &str) -> Result<bool, ScriptError> {
        match &self.key(name)?.place {
            Place::Token(_) => Ok(self.report_if_there(name)?.is_some()),
            Place::File(file) | Place::Encrypted { file, .. } => Ok(file.exists()),
        }
    }

    /// Makes the key, at a place where none is.
    pub(super) fn make(&mut self, name: &str) -> Result<(), ScriptError> {
        let key = self.key(name)?;
        let algorithm = key.algorithm.ok_or_else(|| ScriptError::NoKey {
            name: name.to_owned(),
        })?;
        match &key.place {
            Place::Token(_) => {
                generate_key_pair(&self.uri(name)?, algorithm)?;
            }
            Place::File(file) => SoftwareKey::generate(algorithm)?.write_new(file)?,
            Place::Encrypted { file, .. } => {
                let passphrase = self.passphrase(name, true)?;
                let key = SoftwareKey::generate(algorithm)?;
                let pem = encrypted::encrypt(&key, &passphrase)?;
                write_whole(file, pem.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Opens the key to sign. Another key than the one that is known is refused.
    pub(super) fn open(&mut self, name: &str) -> Result<SigningPool, ScriptError> {
        let pool = match &self.key(name)?.place {
            Place::Token(_) => {
                let options = Pkcs11Options {
                    sessions: Some(1),
                    ..Pkcs11Options::default()
                };
                SigningPool::pkcs11(&self.uri(name)?, options)?
            }
            Place::File(file) => SigningPool::software(SoftwareKey::read(file)?),
            Place::Encrypted { file, .. } => SigningPool::software(self.decrypt(name, file)?),
        };
        self.check(name, pool.public_key())?;
        Ok(pool)
    }

    /// That a copy of the key's file holds the key. Media that keep no permissions are taken.
    pub(super) fn check_copy(&mut self, name: &str, copy: &Path) -> Result<(), ScriptError> {
        let key = match &self.key(name)?.place {
            Place::Encrypted { .. } => self.decrypt(name, copy)?,
            Place::File(_) | Place::Token(_) => SoftwareKey::from_pkcs8_pem(&read(copy)?)?,
        };
        self.check(name, key.public_key())
    }

    fn decrypt(&mut self, name: &str, file: &Path) -> Result<SoftwareKey, ScriptError> {
        let pem = read(file)?;
        let passphrase = self.passphrase(name, false)?;
        let key = encrypted::decrypt(&pem, &passphrase);
        // A wrong passphrase that was typed is asked for again the next time.
        if matches!(key, Err(ScriptError::Passphrase)) {
            self.passphrases.remove(name);
        }
        key
    }

    /// What the token says of the key.
    pub(super) fn report(&mut self, name: &str) -> Result<KeyReport, ScriptError> {
        let report = report_key(&self.uri(name)?)?;
        self.check(name, &report.public_key)?;
        Ok(report)
    }

    fn report_if_there(&mut self, name: &str) -> Result<Option<KeyReport>, ScriptError> {
        match report_key(&self.uri(name)?) {
            Ok(report) => Ok(Some(report)),
            Err(OpenError::Key(KeyError::Unknown { .. })) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Destroys the key, wherever it is; `false`: it was gone already. `again`: this was begun before, so that a file that
    /// is erased in part is finished.
    pub(super) fn destroy(&mut self, name: &str, again: bool) -> Result<bool, ScriptError> {
        match &self.key(name)?.place {
            Place::Token(_) => {
                let Some(report) = self.report_if_there(name)? else {
                    return Ok(false);
                };
                self.check(name, &report.public_key)?;
                destroy_key_pair(&self.uri(name)?, &report.public_key)?;
                Ok(true)
            }
            Place::File(file) | Place::Encrypted { file, .. } => {
                if !file.exists() {
                    return Ok(false);
                }
                // The right key, and not only a file of that name.
                if !(again && is_half_erased(file)?) {
                    drop(self.open(name)?);
                }
                remove(file)?;
                Ok(true)
            }
        }
    }

    fn check(&self, name: &str, key: &PublicKey) -> Result<(), ScriptError> {
        let found = public_key_sha256(key).unwrap_or_default();
        match self.known.get(name) {
            Some(known) if *known != found => Err(ScriptError::OtherKey {
                name: name.to_owned(),
                found,
                expected: known.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// The URI, with a PIN that is typed once.
    pub(super) fn uri(&mut self, name: &str) -> Result<Pkcs11Uri, ScriptError> {
        if let Some(uri) = self.uris.get(name) {
            return Ok(uri.clone());
        }
        let Place::Token(uri) = &self.key(name)?.place else {
            return Err(ScriptError::NoKey {
                name: name.to_owned(),
            });
        };
        let uri = pin::with_pin((**uri).clone(), Marks::Beside(&self.plan.path))?;
        self.uris.insert(name.to_owned(), uri.clone());
        Ok(uri)
    }

    fn passphrase(&mut self, name: &str, new: bool) -> Result<Zeroizing<String>, ScriptError> {
        if let Some(passphrase) = self.passphrases.get(name) {
            return Ok(passphrase.clone());
        }
        let passphrase = match &self.key(name)?.place {
            Place::Encrypted {
                passphrase: Some(file),
                ..
            } => {
                let text = read(file)?;
                Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            _ => typed(name, new)?,
        };
        let short = passphrase.chars().count() < encrypted::PASSPHRASE_CHARS_MIN;
        if new && short {
            return Err(ScriptError::ShortPassphrase {
                min: encrypted::PASSPHRASE_CHARS_MIN,
            });
        }
        self.passphrases.insert(name.to_owned(), passphrase.clone());
        Ok(passphrase)
    }
}

fn typed(name: &str, new: bool) -> Result<Zeroizing<String>, ScriptError> {
    let ask = |prompt: &str| pin::ask(prompt).map_err(HsmError::Terminal);
    let passphrase = ask(&format!("Passphrase of the key '{name}': "))?;
    if new && *ask("The same once more: ")? != *passphrase {
        return Err(ScriptError::PassphrasesDiffer);
    }
    Ok(passphrase)
}

/// A small text file that may hold a secret.
fn read(path: &Path) -> Result<Zeroizing<String>, ScriptError> {
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|source| ScriptError::file("read", path, source))?;
    Ok(text)
}

/// Overwrites a file with zeros and removes it. Some disks and file systems keep old blocks all the same: what must
/// never be read again belongs on a token or on a medium that is destroyed.
pub(super) fn remove(path: &Path) -> Result<(), ScriptError> {
    let erase = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let length = file.metadata()?.len().min(FILE_BYTES_MAX);
        file.write_all(&vec![0; length as usize])?;
        file.sync_all()?;
        fs::remove_file(path)?;
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    };
    erase().map_err(|source| ScriptError::file("remove", path, source))
}

/// Whether [`remove`] was cut short: there are zeros, and a key's PEM has none. The disk may have any part of them.
pub(super) fn is_half_erased(path: &Path) -> Result<bool, ScriptError> {
    Ok(read_whole(path)?.contains(&0))
}

/// Copies a file into directories, each copy durable and read back. A copy that is there already stays, if it is the
/// same. Gives the copies.
pub(super) fn copy(file: &Path, to: &[PathBuf]) -> Result<Vec<PathBuf>, ScriptError> {
    let content = read_whole(file)?;
    let name = file.file_name().unwrap_or_default();
    let mut copies = Vec::with_capacity(to.len());
    for directory in to {
        let copy = directory.join(name);
        if !copy.exists() {
            write_whole(&copy, &content)?;
        }
        if read_whole(&copy)? != content {
            return Err(ScriptError::CopyDiffers { path: copy });
        }
        copies.push(copy);
    }
    let mut all = vec![file.to_owned()];
    all.extend_from_slice(&copies);
    apart(&all)?;
    Ok(copies)
}

/// A file and its copies are different files, whatever their names: nothing that is one of them under another name
/// counts as a copy.
pub(super) fn apart(files: &[PathBuf]) -> Result<(), ScriptError> {
    let mut seen = Vec::with_capacity(files.len());
    for path in files {
        let metadata = fs::metadata(path);
        let metadata = metadata.map_err(|source| ScriptError::file("read", path, source))?;
        let inode = (metadata.dev(), metadata.ino());
        if seen.contains(&inode) {
            return Err(ScriptError::SameFile { path: path.clone() });
        }
        seen.push(inode);
    }
    Ok(())
}

/// A file of a ceremony, of at most [`COPY_BYTES_MAX`].
pub(super) fn read_whole(path: &Path) -> Result<Zeroizing<Vec<u8>>, ScriptError> {
    let mut content = Zeroizing::new(Vec::new());
    File::open(path)
        .and_then(|file| file.take(COPY_BYTES_MAX + 1).read_to_end(&mut content))
        .map_err(|source| ScriptError::file("read", path, source))?;
    if content.len() as u64 > COPY_BYTES_MAX {
        return Err(ScriptError::TooLong {
            path: path.to_owned(),
            max: COPY_BYTES_MAX,
        });
    }
    Ok(content)
}

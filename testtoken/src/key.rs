//! The token's key: P-256, kept in a file so that several tokens and restarts share it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

/// Length in bytes of a raw P-256 signature, r‖s (PKCS#11 v3.1 §6.3.12).
pub(crate) const SIGNATURE_LEN: usize = 64;

/// Length in bytes of the longest id: enough for a SHA-512.
pub(crate) const ID_LEN_MAX: usize = 64;

/// A P-256 key pair.
pub(crate) struct Key {
    pair: EcdsaKeyPair,
    id: Vec<u8>,
    /// Made beforehand, of a digest that is all zero.
    premade: [u8; SIGNATURE_LEN],
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    #[error("cannot use the key file {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the key file {} holds no PKCS#8 P-256 key: remove it to have one made", path.display())]
    NoKey { path: PathBuf },
    #[error("cannot make a P-256 key")]
    Generate,
}

impl Key {
    /// A key that is in no file.
    pub(crate) fn generate(id: &[u8]) -> Result<Key, KeyFileError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .and_then(|pair| Key::with_pair(pair, id.to_vec()))
            .map_err(|_| KeyFileError::Generate)
    }

    /// The key in the file (PKCS#8, DER); `None` when there is no file. Its id is `id`, or the one
    /// that it was made with.
    pub(crate) fn read(path: &Path, id: &[u8]) -> Result<Option<Key>, KeyFileError> {
        let Some(bytes) = read_file(path)? else {
            return Ok(None);
        };
        let id = read_file(&id_file(path))?.unwrap_or_else(|| id.to_vec());
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &bytes)
            .map_err(drop)
            .and_then(|pair| Key::with_pair(pair, id).map_err(drop))
            .map(Some)
            .map_err(|()| KeyFileError::NoKey {
                path: path.to_owned(),
            })
    }

    /// The key in the file, which is made when it is missing (mode 0600). Of several that make it
    /// at a time, one does and all read the same.
    pub(crate) fn read_or_make(path: &Path, id: &[u8]) -> Result<Key, KeyFileError> {
        if let Some(key) = Key::read(path, id)? {
            return Ok(key);
        }
        Key::make(path, id, false)?;
        Key::read(path, id)?.ok_or_else(|| KeyFileError::NoKey {
            path: path.to_owned(),
        })
    }

    /// Makes a key in the file. `None` when there is one already. With `own_id` the id is kept
    /// beside it.
    pub(crate) fn make(path: &Path, id: &[u8], own_id: bool) -> Result<Option<Key>, KeyFileError> {
        let key = Key::generate(id)?;
        let document = key.pair.to_pkcs8v1().map_err(|_| KeyFileError::Generate)?;
        let failed = |source| KeyFileError::File {
            path: path.to_owned(),
            source,
        };
        if !create(path, document.as_ref()).map_err(failed)? {
            return Ok(None);
        }
        if own_id {
            create(&id_file(path), id).map_err(failed)?;
        }
        Ok(Some(key))
    }

    fn with_pair(pair: EcdsaKeyPair, id: Vec<u8>) -> Result<Key, Unspecified> {
        let premade = sign_digest(&pair, &[0; 32])?;
        Ok(Key { pair, id, premade })
    }

    /// The same key under another id.
    pub(crate) fn with_id(mut self, id: &[u8]) -> Key {
        id.clone_into(&mut self.id);
        self
    }

    /// `CKA_ID`.
    pub(crate) fn id(&self) -> &[u8] {
        &self.id
    }

    /// The public point, uncompressed: 65 bytes.
    pub(crate) fn point(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// Signs a digest of 32 bytes: r‖s.
    pub(crate) fn sign(&self, digest: &[u8; 32]) -> Result<[u8; SIGNATURE_LEN], Unspecified> {
        sign_digest(&self.pair, digest)
    }

    /// A signature of this key, for another digest than the caller's.
    pub(crate) fn premade(&self) -> [u8; SIGNATURE_LEN] {
        self.premade
    }
}

fn sign_digest(pair: &EcdsaKeyPair, digest: &[u8; 32]) -> Result<[u8; SIGNATURE_LEN], Unspecified> {
    // The caller hashes, as with every HSM: what is signed here was hashed by it.
    let digest = Digest::import_less_safe(digest, &SHA256)?;
    let signature = pair.sign_digest(&digest)?;
    signature.as_ref().try_into().map_err(|_| Unspecified)
}

fn id_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".id");
    PathBuf::from(name)
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, KeyFileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeyFileError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Creates a file that appears with all of its content. False when there is one already.
fn create(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut name = path.as_os_str().to_owned();
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    // The copies of this module count each on its own: the address tells them apart.
    let copy = std::ptr::from_ref(&COUNT).addr();
    name.push(format!(".{}-{copy:x}-{number}", std::process::id()));
    let new = PathBuf::from(name);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    let linked = file
        .write_all(bytes)
        .and_then(|()| fs::hard_link(&new, path));
    fs::remove_file(&new)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_signature_is_of_the_digest_that_was_given() {
        let key = Key::generate(b"1").unwrap();
        let digest = aws_lc_rs::digest::digest(&SHA256, b"message");
        let signature = key.sign(digest.as_ref().try_into().unwrap()).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.point());
        public.verify(b"message", &signature).unwrap();
        assert!(public.verify(b"message", &key.premade()).is_err());
        assert_eq!(key.point().len(), 65);
    }

    #[test]
    fn all_that_make_a_key_at_once_get_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let points: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Key::read_or_make(&path, b"1").unwrap().point().to_vec()))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(points.iter().all(|point| *point == points[0]));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let left = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 1, "nothing but the key is left");
    }

    #[test]
    fn a_key_that_was_made_with_an_id_keeps_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        assert!(Key::read(&path, b"1").unwrap().is_none());
        let made = Key::make(&path, b"own id", true).unwrap().unwrap();
        let read = Key::read(&path, b"1").unwrap().unwrap();
        assert_eq!((read.id(), read.point()), (&b"own id"[..], made.point()));
        assert!(Key::make(&path, b"2", true).unwrap().is_none(), "taken");
    }

    #[test]
    fn a_file_without_a_key_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, "no key").unwrap();
        let error = Key::read_or_make(&path, b"1").err().unwrap();
        assert!(error.to_string().contains("remove it"), "{error}");
    }
}

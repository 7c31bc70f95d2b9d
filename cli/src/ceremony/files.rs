//! Files and directories of a CA: made new, private where they must be, synced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use birthmark_hsm::{KeyAlgorithm, SoftwareKey};
use der::EncodePem;
use der::pem::LineEnding;

use super::CeremonyError;
use super::certificate::CaCertificate;

pub(crate) fn software_key(
    algorithm: KeyAlgorithm,
    file: &Path,
    role: &'static str,
) -> Result<SoftwareKey, CeremonyError> {
    let made = SoftwareKey::generate(algorithm).and_then(|key| key.write_new(file).map(|()| key));
    made.map_err(|source| CeremonyError::SoftwareKey { role, source })
}

pub(super) fn write_certificate(
    path: &Path,
    certificate: &CaCertificate,
) -> Result<(), CeremonyError> {
    let pem = certificate.certificate.to_pem(LineEnding::LF)?;
    write_new(path, pem.as_bytes())
}

pub(crate) fn write_new(path: &Path, content: &[u8]) -> Result<(), CeremonyError> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        });
    written.map_err(|source| failed("write", path, source))
}

/// Writes a new file that is there whole and durable, or not at all; only its owner may read it. An existing one is
/// not overwritten.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<(), CeremonyError> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let written = tempfile::NamedTempFile::new_in(parent).and_then(|mut file| {
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map_err(|error| error.error)?;
        File::open(parent)?.sync_all()
    });
    written.map_err(|source| failed("write", path, source))
}

pub(super) fn make_private_directory(path: &Path) -> Result<(), CeremonyError> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(|source| failed("create", path, source))
}

pub(super) fn refuse_existing(path: &Path) -> Result<(), CeremonyError> {
    let exists = || CeremonyError::Exists {
        path: path.to_owned(),
    };
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().map_or(Ok(()), |_| Err(exists())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(exists()),
        Err(source) => Err(failed("read", path, source)),
    }
}

pub(super) fn failed(action: &'static str, path: &Path, source: io::Error) -> CeremonyError {
    CeremonyError::File {
        action,
        path: path.to_owned(),
        source,
    }
}

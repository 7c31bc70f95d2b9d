//! Files that commands read whole, and the file that `--out` names.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use birthmark_log::tlog::{VERIFIER_KEY_BYTES_MAX, VerifierKey};
use tempfile::NamedTempFile;

use super::RecordsError;
use crate::command::CommandError;
use crate::console::Console;

/// Certificates that are read: far more than a device certificate has, PEM and text around it
/// included.
const CERTIFICATE_FILE_BYTES_MAX: u64 = 256 << 10;

/// Output buffer: some forty records.
const OUTPUT_BUFFER_BYTES: usize = 64 << 10;

/// Reads a file of at most `bytes_max` bytes.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, RecordsError> {
    let unreadable = |source| RecordsError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > bytes_max {
        return Err(RecordsError::TooLong {
            path: path.to_owned(),
            bytes_max,
        });
    }
    Ok(bytes)
}

/// The one certificate in a file, DER: from PEM with any text around it, or as it is.
pub(super) fn read_certificate(path: &Path) -> Result<Vec<u8>, RecordsError> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    const END: &[u8] = b"-----END CERTIFICATE-----";
    let bytes = read(path, CERTIFICATE_FILE_BYTES_MAX)?;
    let wrong = |problem| RecordsError::NotACertificate {
        path: path.to_owned(),
        problem,
    };
    let find = |needle: &[u8], from: usize| {
        let rest = &bytes[from..];
        let at = rest
            .windows(needle.len())
            .position(|window| window == needle);
        at.map(|at| from + at)
    };
    let der = match find(BEGIN, 0) {
        None => bytes.clone(),
        Some(begin) => {
            let end =
                find(END, begin).ok_or_else(|| wrong("its PEM block has no end"))? + END.len();
            if find(BEGIN, end).is_some() {
                return Err(wrong(
                    "it holds several; give a file with the device's alone",
                ));
            }
            der::pem::decode_vec(&bytes[begin..end])
                .map_err(|_| wrong("its PEM block is malformed"))?
                .1
        }
    };
    match birthmark_engine::certificate_serial(&der) {
        Some(_) => Ok(der),
        None => Err(wrong("neither PEM nor DER")),
    }
}

/// A verifier key that was written out, or the first line of a file that holds it.
pub(super) fn read_vkey(argument: &str) -> Result<VerifierKey, RecordsError> {
    let written = argument.trim();
    let parsed = written.parse();
    if parsed.is_err() && fs::exists(argument).unwrap_or(false) {
        let bytes = read(argument.as_ref(), 2 * VERIFIER_KEY_BYTES_MAX as u64)?;
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().next().unwrap_or_default().trim();
        return line.parse().map_err(RecordsError::Vkey);
    }
    parsed.map_err(RecordsError::Vkey)
}

/// Where a command's result goes: standard output, or a file that appears whole or not at all.
pub(super) enum Output<'a> {
    Stream(BufWriter<&'a mut dyn Write>),
    /// A device or pipe that was there before.
    Special(PathBuf, BufWriter<File>),
    File(PathBuf, BufWriter<NamedTempFile>),
}

impl<'a> Output<'a> {
    pub(super) fn open(
        path: Option<&Path>,
        console: &'a mut Console<'_>,
    ) -> Result<Output<'a>, CommandError> {
        let Some(path) = path else {
            let out: &'a mut dyn Write = &mut *console.out;
            let out = BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, out);
            return Ok(Output::Stream(out));
        };
        let failed = |source| RecordsError::out(path, source);
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            let file = File::options().write(true).open(path).map_err(failed)?;
            return Ok(Output::Special(path.to_owned(), BufWriter::new(file)));
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // What is exported is for others to read; the umask takes away what it should.
        let file = tempfile::Builder::new()
            .prefix(".birthmark-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(failed)?;
        let file = BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, file);
        Ok(Output::File(path.to_owned(), file))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        match self {
            Output::Stream(out) => out.write_all(bytes).map_err(CommandError::output),
            Output::Special(path, out) => {
                out.write_all(bytes).map_err(|source| special(path, source))
            }
            Output::File(path, out) => Ok(out
                .write_all(bytes)
                .map_err(|source| RecordsError::out(path, source))?),
        }
    }

    /// Everything was written: the file gets its name.
    pub(super) fn finish(self) -> Result<(), CommandError> {
        match self {
            Output::Stream(mut out) => out.flush().map_err(CommandError::output),
            Output::Special(path, mut out) => out.flush().map_err(|source| special(&path, source)),
            Output::File(path, out) => {
                let failed = |source| RecordsError::out(&path, source);
                let file = out
                    .into_inner()
                    .map_err(|error| failed(error.into_error()))?;
                file.as_file().sync_all().map_err(failed)?;
                file.persist(&path).map_err(|error| failed(error.error))?;
                Ok(())
            }
        }
    }
}

/// Whoever reads the pipe has seen enough, as with standard output.
fn special(path: &Path, source: io::Error) -> CommandError {
    if source.kind() == io::ErrorKind::BrokenPipe {
        return CommandError::output(source);
    }
    RecordsError::out(path, source).into()
}

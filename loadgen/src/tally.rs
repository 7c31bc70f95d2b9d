//! Every answer of a run is looked at: counted, checked for doubles, compared.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use tempfile::NamedTempFile;

/// How many failures are kept word for word; the others are counted.
const EXAMPLES_MAX: usize = 5;

/// What every request of a run is expected to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// A certificate that did not exist before.
    Issued,
    /// The certificate that was issued before.
    Existing,
}

/// One answer, as the tally sees it.
pub(crate) enum Answer<'a> {
    Certificate {
        existing: bool,
        index: u64,
        der: &'a [u8],
    },
    Rejected(&'a dyn Display),
    Fault(&'a dyn Display),
}

/// What came of a run so far. Answers arrive in order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) issued: u64,
    pub(crate) existing: u64,
    pub(crate) rejected: u64,
    pub(crate) faults: u64,
    pub(crate) unexpected: u64,
    pub(crate) doubled: u64,
    pub(crate) digest_mismatches: u64,
    pub(crate) examples: Vec<String>,
    expectation: Option<Expectation>,
    seen: SeenIndices,
    digests: Digests,
}

impl Tally {
    pub(crate) fn new(expectation: Option<Expectation>, digests: Digests) -> Tally {
        Tally {
            expectation,
            digests,
            ..Tally::default()
        }
    }

    /// Answers of every kind.
    pub(crate) fn answered(&self) -> u64 {
        self.issued + self.existing + self.rejected + self.faults
    }

    pub(crate) fn take(&mut self, number: u64, answer: Answer<'_>) -> Result<(), DigestError> {
        let met = match &answer {
            Answer::Certificate {
                existing: false,
                index,
                ..
            } => {
                self.issued += 1;
                if !self.seen.insert(*index) {
                    self.doubled += 1;
                    self.example(
                        number,
                        &format_args!("log index {index} was given out twice"),
                    );
                }
                self.expectation != Some(Expectation::Existing)
            }
            Answer::Certificate { existing: true, .. } => {
                self.existing += 1;
                self.expectation != Some(Expectation::Issued)
            }
            Answer::Rejected(reason) => {
                self.rejected += 1;
                self.example(number, reason);
                self.expectation.is_none()
            }
            Answer::Fault(reason) => {
                self.faults += 1;
                self.example(number, reason);
                self.expectation.is_none()
            }
        };
        if !met {
            self.unexpected += 1;
        }
        if self.digests.is_used() {
            let certificate = match answer {
                Answer::Certificate { der, .. } => digest(&SHA256, der).as_ref().try_into().ok(),
                _ => None,
            };
            if !self.digests.take(certificate.unwrap_or(NO_CERTIFICATE))? {
                self.digest_mismatches += 1;
                self.example(number, &"the certificate is not the one in the digest file");
            }
        }
        Ok(())
    }

    /// Writes out what is buffered and gives the digest file its name.
    pub(crate) fn finish(&mut self) -> Result<(), DigestError> {
        self.digests.finish()
    }

    /// Keeps the reason why a run ended early.
    pub(crate) fn note(&mut self, number: u64, reason: &dyn Display) {
        self.example(number, reason);
    }

    fn example(&mut self, number: u64, reason: &dyn Display) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(format!("request {number}: {reason}"));
        }
    }
}

type CertificateDigest = [u8; SHA256_OUTPUT_LEN];

/// Stands in a digest file for a request that got no certificate. No certificate has this digest.
const NO_CERTIFICATE: CertificateDigest = [0; SHA256_OUTPUT_LEN];

/// Why a digest file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// The operating system refused.
    #[error("cannot {action} digest file {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file belongs to another run.
    #[error("digest file {} holds {found} bytes, this run needs {wanted} (32 for each request); give the file that `--digests` wrote for as many requests", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// The length that fits this run.
        wanted: u64,
    },
}

/// SHA-256 of each certificate, 32 bytes each in order of the requests: written, compared, both
/// or neither.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    /// A temporary file beside the place where it goes when it is whole.
    out: Option<(PathBuf, BufWriter<NamedTempFile>)>,
    compare: Option<(PathBuf, BufReader<File>)>,
}

impl Digests {
    pub(crate) fn open(
        out: Option<&Path>,
        compare: Option<&Path>,
        count: u64,
    ) -> Result<Digests, DigestError> {
        let compare = compare
            .map(|path| open_for_comparison(path, count))
            .transpose()?;
        let out = out.map(create).transpose()?;
        Ok(Digests { out, compare })
    }

    fn is_used(&self) -> bool {
        self.out.is_some() || self.compare.is_some()
    }

    /// The next digest; false if it is not the one expected.
    fn take(&mut self, certificate: CertificateDigest) -> Result<bool, DigestError> {
        if let Some((path, out)) = &mut self.out {
            out.write_all(&certificate)
                .map_err(|source| io_error("write", path, source))?;
        }
        let Some((path, compare)) = &mut self.compare else {
            return Ok(true);
        };
        let mut wanted = NO_CERTIFICATE;
        compare
            .read_exact(&mut wanted)
            .map_err(|source| io_error("read", path, source))?;
        Ok(wanted == certificate)
    }

    fn finish(&mut self) -> Result<(), DigestError> {
        let Some((path, out)) = self.out.take() else {
            return Ok(());
        };
        let file = out
            .into_inner()
            .map_err(|error| io_error("write", &path, error.into_error()))?;
        match file.persist_noclobber(&path) {
            Ok(_file) => Ok(()),
            Err(error) => Err(io_error("write", &path, error.error)),
        }
    }
}

/// Refuses a file that is there: it may be the proof of an earlier run.
fn create(path: &Path) -> Result<(PathBuf, BufWriter<NamedTempFile>), DigestError> {
    if path.exists() {
        return Err(io_error(
            "create",
            path,
            io::ErrorKind::AlreadyExists.into(),
        ));
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))
        .map_err(|source| io_error("create", path, source))?;
    Ok((path.to_path_buf(), BufWriter::new(file)))
}

fn open_for_comparison(path: &Path, count: u64) -> Result<(PathBuf, BufReader<File>), DigestError> {
    let file = File::open(path).map_err(|source| io_error("open", path, source))?;
    let found = file
        .metadata()
        .map_err(|source| io_error("read", path, source))?
        .len();
    let wanted = count.saturating_mul(SHA256_OUTPUT_LEN as u64);
    if found != wanted {
        return Err(DigestError::Length {
            path: path.to_path_buf(),
            found,
            wanted,
        });
    }
    Ok((path.to_path_buf(), BufReader::new(file)))
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> DigestError {
    DigestError::Io {
        action,
        path: path.to_path_buf(),
        source,
    }
}

/// A set of log indices: one bit each, in pages, so that a run in a long log costs only what it
/// adds (about a quarter byte a certificate, as reservations take no index).
#[derive(Debug, Default)]
struct SeenIndices(HashMap<u64, Box<[u64; PAGE_WORDS]>>);

/// 1024 × 64 bits: one page of 8 KiB covers 65,536 indices.
const PAGE_WORDS: usize = 1024;

impl SeenIndices {
    /// False if it was there.
    fn insert(&mut self, index: u64) -> bool {
        let word = index / 64;
        let page = self
            .0
            .entry(word / PAGE_WORDS as u64)
            .or_insert_with(|| Box::new([0; PAGE_WORDS]));
        let word = &mut page[(word % PAGE_WORDS as u64) as usize];
        let bit = 1 << (index % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(index: u64, der: &[u8], existing: bool) -> Answer<'_> {
        Answer::Certificate {
            existing,
            index,
            der,
        }
    }

    #[test]
    fn counts_and_expectations() {
        for (expectation, unexpected) in [
            (None, 0),
            (Some(Expectation::Issued), 3),
            (Some(Expectation::Existing), 4),
        ] {
            let mut tally = Tally::new(expectation, Digests::default());
            for (number, answer) in [
                certificate(7, b"a", false),
                certificate(9, b"b", false),
                certificate(7, b"a", true),
                Answer::Rejected(&"weak key"),
                Answer::Fault(&"disk full"),
            ]
            .into_iter()
            .enumerate()
            {
                tally.take(number as u64, answer).unwrap();
            }
            assert_eq!((tally.issued, tally.existing), (2, 1));
            assert_eq!((tally.rejected, tally.faults), (1, 1));
            assert_eq!((tally.doubled, tally.answered()), (0, 5));
            assert_eq!(tally.unexpected, unexpected, "{expectation:?}");
            assert_eq!(
                tally.examples,
                ["request 3: weak key", "request 4: disk full"]
            );
        }
    }

    #[test]
    fn an_index_given_out_twice_is_found() {
        let mut seen = SeenIndices::default();
        for index in [0, 63, 64, 65_535, 65_536, 1 << 40, u64::MAX] {
            assert!(seen.insert(index), "{index}");
        }
        for index in [0, 63, 64, 65_535, 65_536, 1 << 40, u64::MAX] {
            assert!(!seen.insert(index), "{index}");
        }
        let mut tally = Tally::default();
        tally.take(0, certificate(5, b"a", false)).unwrap();
        tally.take(1, certificate(5, b"b", false)).unwrap();
        assert_eq!(tally.doubled, 1);
    }

    #[test]
    fn digests_written_by_one_run_prove_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("digests");
        let digests = Digests::open(Some(&path), None, 3).unwrap();
        let mut first = Tally::new(None, digests);
        first.take(0, certificate(0, b"one", false)).unwrap();
        first.take(1, Answer::Rejected(&"no")).unwrap();
        first.take(2, certificate(1, b"three", false)).unwrap();
        first.finish().unwrap();

        let compare = || Digests::open(None, Some(&path), 3).unwrap();
        let mut same = Tally::new(None, compare());
        same.take(0, certificate(0, b"one", true)).unwrap();
        same.take(1, Answer::Rejected(&"no")).unwrap();
        same.take(2, certificate(1, b"three", true)).unwrap();
        assert_eq!(same.digest_mismatches, 0);

        let mut other = Tally::new(None, compare());
        other.take(0, certificate(0, b"onf", true)).unwrap();
        other.take(1, certificate(4, b"", false)).unwrap();
        other.take(2, Answer::Fault(&"lost")).unwrap();
        assert_eq!(other.digest_mismatches, 3);

        let wrong = Digests::open(None, Some(&path), 4).unwrap_err();
        assert!(
            matches!(
                wrong,
                DigestError::Length {
                    found: 96,
                    wanted: 128,
                    ..
                }
            ),
            "{wrong}"
        );
        let exists = Digests::open(Some(&path), None, 3).unwrap_err();
        assert!(
            matches!(
                exists,
                DigestError::Io {
                    action: "create",
                    ..
                }
            ),
            "{exists}"
        );
    }
}

//! Making corpus files, on all cores.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use birthmark_hsm::{KeyAlgorithm, RsaSignature};
use rayon::prelude::*;
use tempfile::NamedTempFile;

use super::{Corpus, CorpusError, HEADER_BYTES, Header, TABLE_ENTRY_BYTES};
use crate::device::{Device, DeviceError};

/// How many requests are made before they are written: enough to keep all cores busy for tens
/// of milliseconds between two writes, few enough to hold (about 2 MB, 30 MB of ML-DSA) and to move a progress
/// bar. RSA keys take so long to make that the bar would stand still.
const CHUNK: u64 = 4096;
const CHUNK_RSA: u64 = 16;

/// Lengths are kept in memory as u32 while the file is written: 4 bytes for each request.
const COUNT_MAX: u64 = u32::MAX as u64;

/// What is written of one device.
struct Made {
    request: Vec<u8>,
    key: Option<Vec<u8>>,
}

impl Corpus {
    /// Makes a corpus of `count` distinct devices and opens it.
    ///
    /// The same seed makes the same EC, Ed25519 and ML-DSA devices again; RSA devices get new keys each
    /// time. `progress` is told how many requests are made so far. The file appears under `path`
    /// when it is whole, in place of what was there.
    pub fn make(
        path: &Path,
        count: u64,
        algorithm: KeyAlgorithm,
        seed: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Corpus, CorpusError> {
        let rsa_signature = RsaSignature::default();
        Corpus::make_signing(path, count, (algorithm, rsa_signature), seed, progress)
    }

    /// [`Corpus::make`], where RSA keys sign as said. Other keys sign in their one way.
    pub fn make_signing(
        path: &Path,
        count: u64,
        (algorithm, rsa_signature): (KeyAlgorithm, RsaSignature),
        seed: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Corpus, CorpusError> {
        let rsa_signature = if algorithm.is_rsa() {
            rsa_signature
        } else {
            RsaSignature::default()
        };
        let plan = Plan {
            algorithm,
            rsa_signature,
            count,
            seed,
            generation: 0,
        };
        plan.write(path, progress, &|number| {
            let device = Device::make(algorithm, seed, number)?.with_rsa_signature(rsa_signature);
            Ok(Made {
                request: device.request()?,
                key: device.stored_key()?,
            })
        })
    }

    /// Makes the retry of this corpus: the same devices with the same keys and names sign again.
    ///
    /// ECDSA, ML-DSA and PSS requests differ in every signature; Ed25519 and PKCS #1 v1.5 signatures
    /// are deterministic, so there the retry has the same bytes, as it would have from a real device.
    pub fn resign(
        &self,
        path: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Corpus, CorpusError> {
        let (algorithm, seed) = (self.algorithm(), self.seed());
        let rsa_signature = self.header.rsa_signature;
        let plan = Plan {
            algorithm,
            rsa_signature,
            count: self.len(),
            seed,
            generation: self.generation().saturating_add(1),
        };
        plan.write(path, progress, &|number| match self.stored_key(number) {
            None => {
                let device = Device::make(algorithm, seed, number)?;
                Ok(Made {
                    request: device.request()?,
                    key: None,
                })
            }
            Some(key) => {
                let device =
                    Device::from_stored_key(seed, number, key)?.with_rsa_signature(rsa_signature);
                Ok(Made {
                    request: device.request()?,
                    key: Some(key.to_vec()),
                })
            }
        })
    }
}

struct Plan {
    algorithm: KeyAlgorithm,
    rsa_signature: RsaSignature,
    count: u64,
    seed: u64,
    generation: u32,
}

impl Plan {
    fn write(
        &self,
        path: &Path,
        progress: &mut dyn FnMut(u64),
        make: &(dyn Fn(u64) -> Result<Made, DeviceError> + Sync),
    ) -> Result<Corpus, CorpusError> {
        if self.count == 0 || self.count > COUNT_MAX {
            return Err(CorpusError::Count(self.count));
        }
        let io = |source| CorpusError::Io {
            action: "write",
            path: path.to_path_buf(),
            source,
        };
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        // Beside its final place, so that the rename stays inside one file system.
        let mut file = NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(io)?;
        self.write_parts(file.as_file_mut(), progress, make, &io)?;
        file.as_file().sync_all().map_err(io)?;
        file.persist(path).map_err(|error| io(error.error))?;
        Corpus::open(path)
    }

    fn write_parts(
        &self,
        file: &mut File,
        progress: &mut dyn FnMut(u64),
        make: &(dyn Fn(u64) -> Result<Made, DeviceError> + Sync),
        io: &dyn Fn(io::Error) -> CorpusError,
    ) -> Result<(), CorpusError> {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        out.write_all(&[0; HEADER_BYTES]).map_err(io)?;
        let (mut request_lengths, mut key_lengths, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        let chunk = if self.algorithm.is_rsa() {
            CHUNK_RSA
        } else {
            CHUNK
        };
        let mut start = 0;
        while start < self.count {
            let end = self.count.min(start + chunk);
            let made = (start..end)
                .into_par_iter()
                .map(|number| make(number).map_err(|source| CorpusError::Device { number, source }))
                .collect::<Result<Vec<Made>, CorpusError>>()?;
            for item in made {
                out.write_all(&item.request).map_err(io)?;
                request_lengths.push(item.request.len() as u32);
                if let Some(key) = item.key {
                    key_lengths.push(key.len() as u32);
                    keys.extend_from_slice(&key);
                }
            }
            start = end;
            progress(start);
        }
        out.write_all(&keys).map_err(io)?;

        let keys_start =
            write_table(&mut out, &request_lengths, HEADER_BYTES as u64).map_err(io)?;
        let requests_table = keys_start + keys.len() as u64;
        let table_bytes = (self.count + 1) * TABLE_ENTRY_BYTES;
        let keys_table = (!key_lengths.is_empty()).then_some(requests_table + table_bytes);
        if keys_table.is_some() {
            write_table(&mut out, &key_lengths, keys_start).map_err(io)?;
        }
        let header = Header {
            algorithm: self.algorithm,
            rsa_signature: self.rsa_signature,
            generation: self.generation,
            count: self.count,
            seed: self.seed,
            requests_table,
            keys_table,
            file_length: keys_table.unwrap_or(requests_table) + table_bytes,
        };
        out.seek(SeekFrom::Start(0)).map_err(io)?;
        out.write_all(&header.to_bytes()).map_err(io)?;
        out.flush().map_err(io)
    }
}

/// Writes where each item starts and where the last one ends; gives that end.
fn write_table(out: &mut impl Write, lengths: &[u32], start: u64) -> io::Result<u64> {
    let mut at = start;
    out.write_all(&at.to_le_bytes())?;
    for length in lengths {
        at += u64::from(*length);
        out.write_all(&at.to_le_bytes())?;
    }
    Ok(at)
}

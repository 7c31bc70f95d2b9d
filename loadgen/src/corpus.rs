//! Corpus files: many certification requests in one file that is read by number.
//!
//! A corpus is made before the clock starts and memory-mapped while it is used, so making load
//! costs nothing of what is measured. All integers are little-endian.
//!
//! ```text
//! header   0  magic            8 bytes  "BMCORPUS"
//!          8  format version   u32      1
//!         12  generation       u32      0 = first, n = signed again for the nth time
//!         16  key algorithm    u8       1 P-256, 2 P-384, 3 Ed25519, 4/5/6 RSA 2048/3072/4096, 7 P-521,
//!                                       8/9/10 ML-DSA-44/65/87
//!         17  RSA signature    u8       0 PKCS #1 v1.5 (and all others), 1 PSS
//!         18  zero             6 bytes
//!         24  count            u64      number of requests, at least 1
//!         32  seed             u64      what the devices were made from
//!         40  requests table   u64      position of the table of requests
//!         48  keys table       u64      position of the table of keys, 0 = no keys
//!         56  file length      u64
//! then        the requests, DER (RFC 2986), one after the other
//!             RSA only: the keys, PKCS#8 DER (RFC 5958), one after the other
//!             requests table: count + 1 × u64, where each request starts and the last one ends
//!             RSA only: keys table, the same for the keys
//! ```
//!
//! EC, Ed25519 and ML-DSA device keys derive from seed and number, so a corpus can be signed again
//! without stored keys. RSA keys cannot be derived and stand in the file: **throw-away keys of
//! devices that do not exist**, good for nothing else.

mod make;
mod map;

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use birthmark_hsm::{KeyAlgorithm, RsaSignature};

use crate::device::DeviceError;
use map::Map;

/// The first bytes of every corpus file.
pub const MAGIC: [u8; 8] = *b"BMCORPUS";

/// The largest request a corpus may hold: what one PKCS #10 request with a large
/// post-quantum key and signature needs (about 8 kB), with room.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;

const FORMAT_VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
const TABLE_ENTRY_BYTES: u64 = 8;

/// A corpus file, open for reading. Shared between threads freely.
#[derive(Debug)]
pub struct Corpus {
    path: PathBuf,
    map: Map,
    header: Header,
}

/// Why a corpus cannot be read or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: "open", "write", …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is not a corpus file; make one with `loadgen corpus`", path.display())]
    NotACorpus {
        /// The file.
        path: PathBuf,
    },
    /// The file was made by another version.
    #[error("{} has corpus format {version}, this version reads format 1; make it again", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format version.
        version: u32,
    },
    /// The file is cut or changed.
    #[error("{} is damaged: {what}; make it again with `loadgen corpus`", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A corpus needs at least one request, and at most what a file can hold.
    #[error("a corpus of {0} requests cannot be made; choose a count from 1 to 4,294,967,295")]
    Count(u64),
    /// A device could not be made.
    #[error("cannot make device {number}: {source}")]
    Device {
        /// Its number, from 0.
        number: u64,
        /// Why.
        #[source]
        source: DeviceError,
    },
}

impl Corpus {
    /// Opens, maps and completely checks a corpus file: every position in it, not the requests
    /// themselves (judging those is what the engine is for). Garbage gives an error, never a
    /// panic.
    pub fn open(path: &Path) -> Result<Corpus, CorpusError> {
        let io = |action| {
            move |source| CorpusError::Io {
                action,
                path: path.to_path_buf(),
                source,
            }
        };
        let file = File::open(path).map_err(io("open"))?;
        let length = file.metadata().map_err(io("read"))?.len();
        if length < HEADER_BYTES as u64 {
            return Err(CorpusError::NotACorpus {
                path: path.to_path_buf(),
            });
        }
        let map = Map::new(&file).map_err(io("map"))?;
        let header = Header::read(&map, path)?;
        let damaged = |what| CorpusError::Damaged {
            path: path.to_path_buf(),
            what,
        };
        header.check(&map).map_err(damaged)?;
        // The tables were read from end to end; they need not stay in memory for that.
        map.forget(0..map.len());
        Ok(Corpus {
            path: path.to_path_buf(),
            map,
            header,
        })
    }

    /// Whether the file starts like a corpus. A short or empty file does not.
    pub fn is_corpus(path: &Path) -> io::Result<bool> {
        let mut start = [0; MAGIC.len()];
        match File::open(path)?.read_exact(&mut start) {
            Ok(()) => Ok(start == MAGIC),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Number of requests.
    #[allow(clippy::len_without_is_empty)] // never empty: a count of 0 is refused
    pub fn len(&self) -> u64 {
        self.header.count
    }

    /// Request `number` (from 0), DER; none past the end.
    pub fn get(&self, number: u64) -> Option<&[u8]> {
        let range = item(
            &self.map,
            self.header.requests_table,
            self.header.count,
            number,
        )?;
        self.map.get(range)
    }

    /// All requests in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|number| self.get(number))
    }

    /// The kind of key the devices have.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.header.algorithm
    }

    /// What the devices were made from.
    pub fn seed(&self) -> u64 {
        self.header.seed
    }

    /// 0 for a first corpus, n for one signed again for the nth time.
    pub fn generation(&self) -> u32 {
        self.header.generation
    }

    /// How the devices sign, if their keys are RSA keys.
    pub fn rsa_signature(&self) -> Option<RsaSignature> {
        let header = &self.header;
        header.algorithm.is_rsa().then_some(header.rsa_signature)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says that these requests are done with: their pages leave this process's resident memory,
    /// so that a long run stays flat. They can still be read.
    pub fn forget(&self, numbers: Range<u64>) {
        let (from, to) = (numbers.start, numbers.end.min(self.header.count));
        if from >= to {
            return;
        }
        let entry = |number| position(&self.map, self.header.requests_table, number);
        if let (Some(start), Some(end)) = (entry(from), entry(to)) {
            self.map.forget(start..end);
        }
        if let (Some(start), Some(end)) = (self.table_position(from), self.table_position(to)) {
            self.map.forget(start..end);
        }
    }

    fn table_position(&self, number: u64) -> Option<usize> {
        usize::try_from(self.header.requests_table + number * TABLE_ENTRY_BYTES).ok()
    }

    /// The stored RSA key of a device, if this corpus carries keys.
    fn stored_key(&self, number: u64) -> Option<&[u8]> {
        let table = self.header.keys_table?;
        self.map
            .get(item(&self.map, table, self.header.count, number)?)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    algorithm: KeyAlgorithm,
    rsa_signature: RsaSignature,
    generation: u32,
    count: u64,
    seed: u64,
    requests_table: u64,
    keys_table: Option<u64>,
    file_length: u64,
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.generation.to_le_bytes());
        bytes[16] = algorithm_code(self.algorithm);
        bytes[17] = u8::from(self.rsa_signature == RsaSignature::Pss);
        let longs = [
            self.count,
            self.seed,
            self.requests_table,
            self.keys_table.unwrap_or(0),
            self.file_length,
        ];
        for (slot, value) in bytes[24..].chunks_exact_mut(8).zip(longs) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn read(file: &[u8], path: &Path) -> Result<Header, CorpusError> {
        let path = || path.to_path_buf();
        let damaged = |what: &str| CorpusError::Damaged {
            path: path(),
            what: what.to_owned(),
        };
        if file.get(..MAGIC.len()) != Some(&MAGIC) {
            return Err(CorpusError::NotACorpus { path: path() });
        }
        let short = || damaged("the header is cut");
        let version = u32_at(file, 8).ok_or_else(short)?;
        if version != FORMAT_VERSION {
            return Err(CorpusError::Version {
                path: path(),
                version,
            });
        }
        let code = *file.get(16).ok_or_else(short)?;
        let algorithm = algorithm_of(code)
            .ok_or_else(|| damaged(&format!("key algorithm {code} is not known")))?;
        let rsa_signature = match file.get(17) {
            Some(0) => RsaSignature::Pkcs1v15,
            Some(1) if algorithm.is_rsa() => RsaSignature::Pss,
            _ => {
                return Err(damaged(
                    "the RSA signature is not known, or the key is no RSA key",
                ));
            }
        };
        if file.get(18..24).is_none_or(|zeros| zeros != [0; 6]) {
            return Err(damaged("the header's reserved bytes are not zero"));
        }
        let long = |at| u64_at(file, at).ok_or_else(short);
        Ok(Header {
            algorithm,
            rsa_signature,
            generation: u32_at(file, 12).ok_or_else(short)?,
            count: long(24)?,
            seed: long(32)?,
            requests_table: long(40)?,
            keys_table: Some(long(48)?).filter(|table| *table != 0),
            file_length: long(56)?,
        })
    }

    /// Checks that the parts lie one after the other without a gap, exactly up to the file's
    /// end, and every item in them: not empty, not over-long, in order.
    fn check(&self, file: &[u8]) -> Result<(), String> {
        if self.file_length != file.len() as u64 {
            return Err(format!(
                "it has {} bytes and should have {}",
                file.len(),
                self.file_length
            ));
        }
        if self.count == 0 {
            return Err("it holds no request".to_owned());
        }
        let table_bytes = self
            .count
            .checked_add(1)
            .and_then(|entries| entries.checked_mul(TABLE_ENTRY_BYTES))
            .ok_or("the count is impossible")?;
        let tables_end = match self.keys_table {
            None => self.requests_table.checked_add(table_bytes),
            Some(keys_table) => self
                .requests_table
                .checked_add(table_bytes)
                .filter(|end| *end == keys_table)
                .and_then(|end| end.checked_add(table_bytes)),
        };
        if tables_end != Some(self.file_length) {
            return Err("its tables do not end where the file ends".to_owned());
        }
        let requests_end = check_table(file, self.requests_table, self.count, HEADER_BYTES as u64)?;
        let items_end = match self.keys_table {
            None => requests_end,
            Some(keys_table) => check_table(file, keys_table, self.count, requests_end)?,
        };
        if items_end != self.requests_table {
            return Err("its requests do not end where the table starts".to_owned());
        }
        Ok(())
    }
}

/// Checks one table against where its first item must start; gives where its last item ends.
fn check_table(file: &[u8], table: u64, count: u64, first: u64) -> Result<u64, String> {
    let cut = || "a table is cut".to_owned();
    let mut previous = position(file, table, 0).ok_or_else(cut)? as u64;
    if previous != first {
        return Err(format!(
            "the first item starts at {previous} and should start at {first}"
        ));
    }
    for number in 1..=count {
        let next = position(file, table, number).ok_or_else(cut)? as u64;
        let bytes = next.checked_sub(previous).filter(|bytes| *bytes > 0);
        if bytes.is_none_or(|bytes| bytes > REQUEST_BYTES_MAX as u64) {
            return Err(format!("item {} has an impossible length", number - 1));
        }
        previous = next;
    }
    Ok(previous)
}

/// Entry `number` of a table.
fn position(file: &[u8], table: u64, number: u64) -> Option<usize> {
    let at = table.checked_add(number.checked_mul(TABLE_ENTRY_BYTES)?)?;
    usize::try_from(u64_at(file, usize::try_from(at).ok()?)?).ok()
}

/// Where item `number` of a table lies.
fn item(file: &[u8], table: u64, count: u64, number: u64) -> Option<Range<usize>> {
    if number >= count {
        return None;
    }
    Some(position(file, table, number)?..position(file, table, number + 1)?)
}

fn u32_at(file: &[u8], at: usize) -> Option<u32> {
    file.get(at..)?
        .first_chunk()
        .map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(file: &[u8], at: usize) -> Option<u64> {
    file.get(at..)?
        .first_chunk()
        .map(|bytes| u64::from_le_bytes(*bytes))
}

/// Codes are part of the file format: never reuse one.
fn algorithm_code(algorithm: KeyAlgorithm) -> u8 {
    match algorithm {
        KeyAlgorithm::EcP256 => 1,
        KeyAlgorithm::EcP384 => 2,
        KeyAlgorithm::Ed25519 => 3,
        KeyAlgorithm::Rsa2048 => 4,
        KeyAlgorithm::Rsa3072 => 5,
        KeyAlgorithm::Rsa4096 => 6,
        KeyAlgorithm::EcP521 => 7,
        KeyAlgorithm::MlDsa44 => 8,
        KeyAlgorithm::MlDsa65 => 9,
        KeyAlgorithm::MlDsa87 => 10,
    }
}

fn algorithm_of(code: u8) -> Option<KeyAlgorithm> {
    KeyAlgorithm::ALL
        .into_iter()
        .find(|algorithm| algorithm_code(*algorithm) == code)
}

#[cfg(test)]
mod tests;

//! A list of keys that are public knowledge: Debian's weak ones, those in manuals and firmware images.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::key::SubjectPublicKeyInfo;
use crate::rejection::Rejection;

/// Keys in one list: 64 MiB in memory.
pub const KNOWN_BAD_KEYS_MAX: usize = 4 * 1024 * 1024;

/// Octets of a fingerprint that are kept and compared: by chance two keys agree in them once in 2^128.
const FINGERPRINT_BYTES: usize = 16;

/// Octets of one line: 64 digits and a remark.
const LINE_BYTES_MAX: u64 = 256;

/// The keys of a list, loaded once and asked for every request.
///
/// The file has one key a line: the SHA-256 of its SubjectPublicKeyInfo in 64 hexadecimal digits, in
/// any order. `openssl pkey -pubin -outform DER | sha256sum` makes one. What follows behind a
/// space is a remark, and so are lines that start with `#`.
#[derive(Clone)]
pub struct KnownBadKeys {
    sorted: Vec<[u8; FINGERPRINT_BYTES]>,
}

/// A list that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KnownBadKeysError {
    /// The file cannot be read.
    #[error("list of known bad keys {path}: cannot be read", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is not a key's.
    #[error("list of known bad keys {path}, line {line}: {problem}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
}

impl std::fmt::Debug for KnownBadKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KnownBadKeys")
            .field("keys", &self.sorted.len())
            .finish()
    }
}

impl KnownBadKeys {
    /// Reads a list.
    ///
    /// # Errors
    /// Names the file and the line at fault; more than [`KNOWN_BAD_KEYS_MAX`] keys are one.
    pub fn read(path: &Path) -> Result<Self, KnownBadKeysError> {
        let unreadable = |source| KnownBadKeysError::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = BufReader::new(std::fs::File::open(path).map_err(unreadable)?);
        let mut sorted = Vec::new();
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let mut rest = file.by_ref().take(LINE_BYTES_MAX);
            if rest.read_until(b'\n', &mut text).map_err(unreadable)? == 0 {
                break;
            }
            let wrong = |problem| KnownBadKeysError::Line {
                path: path.to_owned(),
                line,
                problem,
            };
            if text.len() as u64 == LINE_BYTES_MAX && !text.ends_with(b"\n") {
                return Err(wrong("it has over 255 octets"));
            }
            let Some(digits) = digits(&text) else {
                continue;
            };
            if sorted.len() == KNOWN_BAD_KEYS_MAX {
                return Err(wrong("there are over 4194304 keys"));
            }
            sorted.push(fingerprint(digits).ok_or_else(|| {
                wrong(
                    "a key is the 64 hexadecimal digits of the SHA-256 of its SubjectPublicKeyInfo",
                )
            })?);
        }
        sorted.sort_unstable();
        sorted.dedup();
        Ok(Self { sorted })
    }

    /// Different keys in the list.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether the list has no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Whether the key is in the list.
    fn contains(&self, key: &SubjectPublicKeyInfo<'_>) -> bool {
        let digest = key.listed_fingerprint();
        let (fingerprint, _) = digest.as_chunks::<FINGERPRINT_BYTES>();
        self.sorted.binary_search(&fingerprint[0]).is_ok()
    }
}

/// Holds a key against the list, where there is one.
pub(crate) fn check_known(
    list: Option<&KnownBadKeys>,
    key: &SubjectPublicKeyInfo<'_>,
) -> Result<(), Rejection> {
    match list {
        Some(list) if list.contains(key) => Err(Rejection::KnownBadKey),
        _ => Ok(()),
    }
}

/// The first word of a line, unless there is none or it is a remark.
fn digits(line: &[u8]) -> Option<&[u8]> {
    let word = line
        .trim_ascii_start()
        .split(u8::is_ascii_whitespace)
        .next()?;
    (!word.is_empty() && !word.starts_with(b"#")).then_some(word)
}

fn fingerprint(digits: &[u8]) -> Option<[u8; FINGERPRINT_BYTES]> {
    let text = core::str::from_utf8(digits).ok()?.to_ascii_lowercase();
    crate::hex::decode::<32>(&text)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der::reader::single;
    use crate::der::tag;
    use crate::der::writer::Writer;

    /// The SubjectPublicKeyInfo of an Ed25519 key.
    fn info(octet: u8) -> Vec<u8> {
        let mut der = Vec::new();
        Writer::new(&mut der).nested(tag::SEQUENCE, |info| {
            info.nested(tag::SEQUENCE, |algorithm| {
                algorithm.primitive(tag::OID, crate::oid::ED25519);
            });
            info.primitive(tag::BIT_STRING, &[&[0][..], &[octet; 32]].concat());
        });
        der
    }

    fn read(text: &str) -> Result<KnownBadKeys, KnownBadKeysError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known");
        std::fs::write(&path, text).unwrap();
        KnownBadKeys::read(&path)
    }

    fn digest(octet: u8) -> String {
        crate::hex::encode(&crate::key::sha256(&info(octet)))
    }

    #[test]
    fn listed_keys_are_found_and_no_others() {
        let text = format!(
            "# made by hand\n\n  # indented\n \t\n{}\n \t{}  firmware 1.0\n{}\r\n{}",
            digest(9),
            &digest(7).to_uppercase(),
            digest(5),
            digest(9),
        );
        let list = read(&text).unwrap();
        assert_eq!(list.len(), 3);
        for octet in 1..20 {
            let der = info(octet);
            let key = single(&der, tag::SEQUENCE, "").unwrap();
            let key = SubjectPublicKeyInfo::parse(&key).unwrap();
            let expected = if [5, 7, 9].contains(&octet) {
                Err(Rejection::KnownBadKey)
            } else {
                Ok(())
            };
            assert_eq!(check_known(Some(&list), &key), expected, "{octet}");
            assert_eq!(check_known(None, &key), Ok(()));
        }
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn faults_name_their_line() {
        let hex = digest(1);
        for wrong in [
            hex[..62].to_owned(),
            format!("{hex}00"),
            format!("{}g", &hex[..63]),
            "\u{e9}".repeat(20),
            format!("{hex} {}", "x".repeat(300)),
        ] {
            let text = format!("# list\n{hex}\n{wrong}\n");
            match read(&text) {
                Err(KnownBadKeysError::Line { line: 3, .. }) => {}
                other => panic!("{wrong}: {other:?}"),
            }
        }
        let missing = KnownBadKeys::read(Path::new("/nonexistent/known"));
        assert!(matches!(missing, Err(KnownBadKeysError::Read { .. })));
    }
}

//! The manifest: which runs make up the index, up to which record, and which keys of a record they hold.
//!
//! ```text
//! magic 16, watermark 8, anchor 32, next run 8, runs 4, version of the keys 4,
//! for each run: run, first record, end, entries of each space, bytes of the file (8 each)
//! checksum 4
//! ```
//!
//! `birthmark-index1` is the same without the version of the keys, which is then 0.

use super::run::RunHeader;
use crate::record::KEY_SPACES;

/// Name of the manifest's file.
pub(crate) const MANIFEST: &str = "MANIFEST";

const MAGIC: &[u8; 16] = b"birthmark-index2";
/// Written before the keys had versions.
const MAGIC_UNVERSIONED: &[u8; 16] = b"birthmark-index1";

/// Octets before the version of the keys.
const COUNTED_BYTES: usize = 16 + 8 + 32 + 8 + 4;
const KEYS_VERSION_BYTES: usize = 4;
const RUN_BYTES: usize = 8 * (4 + KEY_SPACES);

/// Largest manifest that is read: 16,000 runs, where a log has tens.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// What the files of the index hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The runs hold the entries of all records below.
    pub(crate) watermark: u64,
    /// Leaf hash of the record before the watermark; zeros when there is none.
    pub(crate) anchor: [u8; 32],
    /// Number of the next run. No run before had it or a later one.
    pub(crate) next_run: u64,
    /// [`KeyExtractor::version`](crate::KeyExtractor::version) of what found the keys.
    pub(crate) keys_version: u32,
    /// Oldest first, without gaps between their stretches.
    pub(crate) runs: Vec<ManifestRun>,
}

/// A run as the manifest knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ManifestRun {
    pub(crate) id: u64,
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) entries: [u64; KEY_SPACES],
    pub(crate) file_bytes: u64,
}

impl ManifestRun {
    /// Whether a run's own header says the same.
    pub(crate) fn describes(&self, header: &RunHeader, file_bytes: u64) -> bool {
        (self.id, self.first, self.end) == (header.id, header.first, header.end)
            && (self.entries, self.file_bytes) == (header.entries, file_bytes)
    }
}

impl Manifest {
    /// The content of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.watermark.to_le_bytes());
        bytes.extend_from_slice(&self.anchor);
        bytes.extend_from_slice(&self.next_run.to_le_bytes());
        bytes.extend_from_slice(&(self.runs.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.keys_version.to_le_bytes());
        for run in &self.runs {
            let [a, b, c] = run.entries;
            for number in [run.id, run.first, run.end, a, b, c, run.file_bytes] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        let sum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the content of the file. An error says what is wrong with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Manifest, &'static str> {
        let (content, sum) = bytes.split_last_chunk::<4>().ok_or("it is too short")?;
        let versioned = content.starts_with(MAGIC);
        if !versioned && !content.starts_with(MAGIC_UNVERSIONED) {
            return Err("it is none, or of another version");
        }
        if crc32c::crc32c(content) != u32::from_le_bytes(*sum) {
            return Err("its checksum does not match");
        }
        Manifest::parse(content, versioned).ok_or("its numbers do not fit together")
    }

    fn parse(content: &[u8], versioned: bool) -> Option<Manifest> {
        let (head, rest) = content.split_at_checked(COUNTED_BYTES)?;
        let count = u32::from_le_bytes(*head.last_chunk()?);
        let (keys_version, runs) = match versioned {
            true => {
                let (version, runs) = rest.split_first_chunk::<KEYS_VERSION_BYTES>()?;
                (u32::from_le_bytes(*version), runs)
            }
            false => (0, rest),
        };
        let number = |bytes: &[u8], at: usize| {
            let octets = bytes.get(at..at + 8)?;
            Some(u64::from_le_bytes(octets.try_into().ok()?))
        };
        if runs.len() != count as usize * RUN_BYTES {
            return None;
        }
        let run = |i: usize| {
            let at = |field: usize| number(runs, i * RUN_BYTES + field * 8);
            Some(ManifestRun {
                id: at(0)?,
                first: at(1)?,
                end: at(2)?,
                entries: [at(3)?, at(4)?, at(5)?],
                file_bytes: at(6)?,
            })
        };
        let manifest = Manifest {
            watermark: number(head, 16)?,
            anchor: head.get(24..56)?.try_into().ok()?,
            next_run: number(head, 56)?,
            keys_version,
            runs: (0..count as usize).map(run).collect::<Option<Vec<_>>>()?,
        };
        let mut end = 0;
        for run in &manifest.runs {
            if run.first != end || run.end < run.first || run.id >= manifest.next_run {
                return None;
            }
            end = run.end;
        }
        (end == manifest.watermark).then_some(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let run = |id, first, end| ManifestRun {
            id,
            first,
            end,
            entries: [end - first, 3, 0],
            file_bytes: 1 << 33,
        };
        Manifest {
            watermark: 90,
            anchor: [7; 32],
            next_run: 6,
            keys_version: 3,
            runs: vec![run(5, 0, 70), run(3, 70, 90)],
        }
    }

    #[test]
    fn what_is_encoded_is_read_back() {
        for manifest in [Manifest::default(), manifest()] {
            assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
        }
    }

    #[test]
    fn a_manifest_from_before_versions_is_of_version_0() {
        let newer = manifest().encode();
        let mut older = MAGIC_UNVERSIONED.to_vec();
        older.extend_from_slice(&newer[16..COUNTED_BYTES]);
        older.extend_from_slice(&newer[COUNTED_BYTES + KEYS_VERSION_BYTES..newer.len() - 4]);
        let sum = crc32c::crc32c(&older);
        older.extend_from_slice(&sum.to_le_bytes());
        let expected = Manifest {
            keys_version: 0,
            ..manifest()
        };
        assert_eq!(Manifest::decode(&older), Ok(expected));
    }

    #[test]
    fn any_flipped_bit_or_missing_byte_is_noticed() {
        let good = manifest().encode();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&bytes).is_err(), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(Manifest::decode(&good[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn runs_that_do_not_follow_each_other_are_refused() {
        let spoil: [fn(&mut Manifest); 5] = [
            |manifest| manifest.runs[1].first = 71,
            |manifest| manifest.runs[0].first = 1,
            |manifest| manifest.watermark = 91,
            |manifest| manifest.next_run = 5,
            |manifest| manifest.runs[0].end = 71,
        ];
        for spoil in spoil {
            let mut manifest = manifest();
            spoil(&mut manifest);
            assert!(
                Manifest::decode(&manifest.encode()).is_err(),
                "{manifest:?}"
            );
        }
    }
}

//! One file of the spool: its format, and reading it.
//!
//! ```text
//! 0      header, one sector: magic, number, length of the file, keys at most, CRC-32C
//! 512    marks: four octets for each key in order; zero while it waits, its digest once it is done with
//! …      batches, each from a multiple of 512 on: header, then its keys
//! ```
//!
//! A file is filled with zeros, and appears under its name only when that is durable; so neither keys nor marks
//! need room on the disk later, and zeros are where nothing was written. Numbers are little-endian. A batch is
//! begun when the one before is durable: one that cannot be read is a torn tail if nothing follows it,
//! and damage otherwise.

use super::super::Serial;
use super::super::seal::{Delivery, EncryptedKey};
use crate::tbs::SERIAL_BYTES;

/// What is written whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

/// Where the length of a file may lie, and what it is a multiple of: so that marks fill whole sectors.
pub(super) const FILE_BYTES_MIN: u64 = 128 << 10;
pub(super) const FILE_BYTES_MAX: u64 = 64 << 20;
const FILE_BYTES_UNIT: u64 = 64 << 10;

/// Octets of a mark.
pub(super) const MARK_BYTES: usize = 4;

/// Octets of file for each key that it may hold. Encrypted keys have 400 and more, so a file is never short of
/// marks by much.
const FILE_BYTES_PER_KEY: u64 = 512;

/// Octets of the largest encrypted key: far over RSA-4096 with a long issuer name.
pub(super) const KEY_BYTES_MAX: usize = 16 << 10;

const MAGIC: [u8; 8] = *b"BMKEYS\x00\x01";
const HEADER_BYTES: usize = 32;
const BATCH_MAGIC: [u8; 4] = *b"KEYS";
const BATCH_HEADER_BYTES: usize = 32;
const ENTRY_HEAD_BYTES: usize = SERIAL_BYTES + 4 + 1 + 4;

/// Set in an entry's kind of delivery: the key is a copy out of an older file, and its certificate is in the log.
const COPIED: u8 = 0x80;

/// Ends a file's name.
const SUFFIX: &str = ".keys";

pub(super) fn file_name(number: u64) -> String {
    format!("{number:012}{SUFFIX}")
}

pub(super) fn file_number(name: &str) -> Option<u64> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

/// Whether files may have this length.
pub(super) fn is_file_length(bytes: u64) -> bool {
    (FILE_BYTES_MIN..=FILE_BYTES_MAX).contains(&bytes) && bytes.is_multiple_of(FILE_BYTES_UNIT)
}

/// Keys that a file of this length holds at most.
pub(super) fn file_keys_max(file_bytes: u64) -> u32 {
    u32::try_from(file_bytes / FILE_BYTES_PER_KEY).unwrap_or(u32::MAX)
}

/// Where the batches begin.
pub(super) fn batches_start(file_bytes: u64) -> u64 {
    SECTOR_BYTES as u64 + u64::from(file_keys_max(file_bytes)) * MARK_BYTES as u64
}

/// Where the mark of a key stands.
pub(super) fn mark_offset(ordinal: u32) -> u64 {
    SECTOR_BYTES as u64 + u64::from(ordinal) * MARK_BYTES as u64
}

/// What stands in the place of a mark once the key is done with. Never zero.
pub(super) fn mark(number: u64, serial: &Serial) -> [u8; MARK_BYTES] {
    let digest = crc32c::crc32c_append(crc32c::crc32c(b"done"), serial);
    let digest = crc32c::crc32c_append(digest, &number.to_le_bytes());
    digest.max(1).to_le_bytes()
}

pub(super) fn encode_header(number: u64, file_bytes: u64) -> [u8; SECTOR_BYTES] {
    let mut sector = [0; SECTOR_BYTES];
    sector[..8].copy_from_slice(&MAGIC);
    sector[8..16].copy_from_slice(&number.to_le_bytes());
    sector[16..24].copy_from_slice(&file_bytes.to_le_bytes());
    sector[24..28].copy_from_slice(&file_keys_max(file_bytes).to_le_bytes());
    let digest = crc32c::crc32c(&sector[..HEADER_BYTES - 4]);
    sector[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&digest.to_le_bytes());
    sector
}

/// Octets that a key takes in a batch.
pub(super) fn entry_bytes(key_bytes: usize) -> usize {
    ENTRY_HEAD_BYTES + key_bytes
}

/// Octets that a batch takes in a file, up to where the next one begins.
pub(super) fn batch_bytes(entries_bytes: usize) -> usize {
    (BATCH_HEADER_BYTES + entries_bytes).next_multiple_of(SECTOR_BYTES)
}

/// A batch in the making.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    count: u32,
}

impl Batch {
    pub(super) fn begin(&mut self) {
        self.bytes.clear();
        self.bytes.resize(BATCH_HEADER_BYTES, 0);
        self.count = 0;
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Octets of the entries so far.
    pub(super) fn entries_bytes(&self) -> usize {
        self.bytes.len() - BATCH_HEADER_BYTES
    }

    /// Adds a key, or a copy of one. Returns where it stands in the batch.
    pub(super) fn push(&mut self, serial: &Serial, key: &EncryptedKey, copied: bool) -> u32 {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(serial);
        let length = key.as_der().len() as u32;
        self.bytes.extend_from_slice(&length.to_le_bytes());
        let copied = if copied { COPIED } else { 0 };
        self.bytes.push(key.delivery().code() | copied);
        let digest = crc32c::crc32c(&self.bytes[start..]);
        let digest = crc32c::crc32c_append(digest, key.as_der());
        self.bytes.extend_from_slice(&digest.to_le_bytes());
        self.bytes.extend_from_slice(key.as_der());
        self.count += 1;
        start as u32
    }

    /// Completes the batch, with zeros up to the next sector.
    pub(super) fn finish(&mut self, number: u64, first_ordinal: u32) -> &[u8] {
        let entries = &self.bytes[BATCH_HEADER_BYTES..];
        let (length, digest) = (entries.len() as u32, crc32c::crc32c(entries));
        let header = &mut self.bytes[..BATCH_HEADER_BYTES];
        header[..4].copy_from_slice(&BATCH_MAGIC);
        header[4..8].copy_from_slice(&self.count.to_le_bytes());
        header[8..12].copy_from_slice(&first_ordinal.to_le_bytes());
        header[12..16].copy_from_slice(&length.to_le_bytes());
        header[16..24].copy_from_slice(&number.to_le_bytes());
        header[24..28].copy_from_slice(&digest.to_le_bytes());
        let digest = crc32c::crc32c(&header[..28]);
        header[28..].copy_from_slice(&digest.to_le_bytes());
        let whole = self.bytes.len().next_multiple_of(SECTOR_BYTES);
        self.bytes.resize(whole, 0);
        &self.bytes
    }
}

/// A key as it stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) serial: Serial,
    pub(super) delivery: Delivery,
    pub(super) ordinal: u32,
    /// Where its entry begins.
    pub(super) offset: u32,
    /// Octets of its entry.
    pub(super) bytes: u32,
    /// Acknowledged, dropped or copied elsewhere.
    pub(super) done: bool,
    /// A copy out of an older file.
    pub(super) copied: bool,
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) keys: Vec<Found>,
    /// Where the next batch would begin.
    pub(super) end: u64,
    /// Something stands after the last whole batch.
    pub(super) torn: bool,
}

/// What is wrong with a file, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) offset: u64,
    pub(super) what: &'static str,
}

/// Reads a whole file.
pub(super) fn scan(bytes: &[u8], number: u64) -> Result<Scan, Damage> {
    let damage = |offset: usize, what| Damage {
        offset: offset as u64,
        what,
    };
    let file_bytes = bytes.len() as u64;
    let header = bytes.get(..SECTOR_BYTES);
    if !is_file_length(file_bytes)
        || header.is_none_or(|header| header != encode_header(number, file_bytes))
    {
        return Err(damage(0, "its header is not that of such a file"));
    }
    let mut scan = Scan {
        keys: Vec::new(),
        end: batches_start(file_bytes),
        torn: false,
    };
    loop {
        let at = scan.end as usize;
        let rest = bytes.get(at..).unwrap_or_default();
        let next_ordinal = scan.keys.len() as u32;
        let Some(batch) = BatchHeader::read(rest, number).and_then(|header| header.entries(rest))
        else {
            if has_batch_after(rest, number) {
                return Err(damage(at, "a batch cannot be read, and others follow it"));
            }
            scan.torn = rest.iter().any(|byte| *byte != 0);
            return Ok(scan);
        };
        let left = file_keys_max(file_bytes).saturating_sub(next_ordinal);
        if batch.header.first_ordinal != next_ordinal || batch.header.count > left {
            return Err(damage(at, "a batch is not the next one"));
        }
        let mut offset = at + BATCH_HEADER_BYTES;
        let end = offset + batch.entries.len();
        for ordinal in (next_ordinal..).take(batch.header.count as usize) {
            let (found, length) = entry(&bytes[offset..end])
                .ok_or_else(|| damage(offset, "a key's entry is malformed"))?;
            let at = mark_offset(ordinal) as usize;
            let written = &bytes[at..at + MARK_BYTES];
            let done = written == mark(number, &found.serial);
            if !done && written != [0; MARK_BYTES] {
                return Err(damage(at, "a mark is neither set nor clear"));
            }
            scan.keys.push(Found {
                ordinal,
                offset: offset as u32,
                bytes: length as u32,
                done,
                ..found
            });
            offset += length;
        }
        if offset != end {
            return Err(damage(offset, "octets after a batch's last key"));
        }
        scan.end = (at + batch_bytes(batch.entries.len())) as u64;
    }
}

/// Whether the header of a batch of this file stands in a later sector.
fn has_batch_after(rest: &[u8], number: u64) -> bool {
    let mut later = rest.chunks(SECTOR_BYTES).skip(1);
    later.any(|sector| BatchHeader::read(sector, number).is_some())
}

struct BatchHeader {
    count: u32,
    first_ordinal: u32,
    length: usize,
    digest: u32,
}

struct ReadBatch<'a> {
    header: BatchHeader,
    entries: &'a [u8],
}

impl BatchHeader {
    fn read(bytes: &[u8], number: u64) -> Option<Self> {
        let header = bytes.get(..BATCH_HEADER_BYTES)?;
        let sound = header[..4] == BATCH_MAGIC
            && header[16..24] == number.to_le_bytes()
            && u32_at(header, 28)? == crc32c::crc32c(&header[..28]);
        sound.then_some(Self {
            count: u32_at(header, 4)?,
            first_ordinal: u32_at(header, 8)?,
            length: u32_at(header, 12)? as usize,
            digest: u32_at(header, 24)?,
        })
    }

    /// The batch's entries, if they are there whole.
    fn entries(self, bytes: &[u8]) -> Option<ReadBatch<'_>> {
        let end = BATCH_HEADER_BYTES.checked_add(self.length)?;
        let entries = bytes.get(BATCH_HEADER_BYTES..end)?;
        (crc32c::crc32c(entries) == self.digest).then_some(ReadBatch {
            header: self,
            entries,
        })
    }
}

/// The first entry of some octets and its length; its place is for the caller to fill in.
fn entry(bytes: &[u8]) -> Option<(Found, usize)> {
    let serial: Serial = bytes.get(..SERIAL_BYTES)?.try_into().ok()?;
    let length = u32_at(bytes, SERIAL_BYTES)? as usize;
    let kind = *bytes.get(SERIAL_BYTES + 4)?;
    let delivery = Delivery::by_code(kind & !COPIED)?;
    let whole = ENTRY_HEAD_BYTES + length;
    if length > KEY_BYTES_MAX || bytes.len() < whole {
        return None;
    }
    let found = Found {
        serial,
        delivery,
        ordinal: 0,
        offset: 0,
        bytes: 0,
        done: false,
        copied: kind & COPIED != 0,
    };
    Some((found, whole))
}

/// The key in an entry that was read alone, if it is whole and the one that was asked for.
pub(super) fn read_entry(bytes: &[u8], serial: &Serial) -> Option<EncryptedKey> {
    let (found, whole) = entry(bytes)?;
    let (head, key) = bytes.split_at(ENTRY_HEAD_BYTES);
    let digest = crc32c::crc32c_append(crc32c::crc32c(&head[..ENTRY_HEAD_BYTES - 4]), key);
    let sound = found.serial == *serial
        && whole == bytes.len()
        && u32_at(head, ENTRY_HEAD_BYTES - 4)? == digest;
    sound.then(|| EncryptedKey::new(found.delivery, key))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: u64 = 7;

    fn key(size: usize) -> EncryptedKey {
        EncryptedKey::new(Delivery::Cms, &vec![0xab; size])
    }

    /// A file with three batches of two keys; where each batch begins.
    fn file() -> (Vec<u8>, Vec<usize>) {
        let mut bytes = vec![0; FILE_BYTES_MIN as usize];
        bytes[..SECTOR_BYTES].copy_from_slice(&encode_header(NUMBER, FILE_BYTES_MIN));
        let mut at = batches_start(FILE_BYTES_MIN) as usize;
        let mut starts = Vec::new();
        let mut batch = Batch::default();
        for first in [0_u32, 2, 4] {
            batch.begin();
            for ordinal in [first, first + 1] {
                batch.push(&[ordinal as u8; SERIAL_BYTES], &key(700), ordinal == 5);
            }
            let written = batch.finish(NUMBER, first);
            bytes[at..at + written.len()].copy_from_slice(written);
            starts.push(at);
            at += written.len();
        }
        starts.push(at);
        (bytes, starts)
    }

    #[test]
    fn keys_come_back_and_marks_count() {
        let (mut bytes, starts) = file();
        let at = mark_offset(3) as usize;
        bytes[at..at + MARK_BYTES].copy_from_slice(&mark(NUMBER, &[3; SERIAL_BYTES]));
        let read = scan(&bytes, NUMBER).unwrap();
        assert_eq!((read.end, read.torn), (starts[3] as u64, false));
        let done: Vec<_> = read.keys.iter().map(|key| key.done).collect();
        assert_eq!(done, [false, false, false, true, false, false]);
        let copied = read.keys.iter().filter(|key| key.copied);
        assert_eq!(copied.map(|key| key.ordinal).collect::<Vec<_>>(), [5]);
        for found in &read.keys {
            let whole = &bytes[found.offset as usize..][..found.bytes as usize];
            assert_eq!(read_entry(whole, &found.serial), Some(key(700)));
            assert_eq!(read_entry(whole, &[0xff; SERIAL_BYTES]), None);
        }
        assert!(
            scan(&bytes, NUMBER + 1).is_err(),
            "a file under another's name"
        );
    }

    #[test]
    fn a_torn_last_batch_is_no_damage_and_any_other_is() {
        let (bytes, starts) = file();
        for (number, start) in starts[..3].iter().enumerate() {
            for offset in [0, 5, 29, 40, 600, 1400] {
                let mut broken = bytes.clone();
                broken[start + offset] ^= 1;
                match scan(&broken, NUMBER) {
                    Ok(read) => {
                        assert_eq!(number, 2, "offset {offset}");
                        assert_eq!((read.keys.len(), read.torn), (4, true));
                    }
                    Err(damage) => {
                        assert_ne!(number, 2, "offset {offset}");
                        assert_eq!(damage.offset, *start as u64);
                    }
                }
            }
        }
        let mut marked = bytes.clone();
        marked[mark_offset(5) as usize] = 1;
        assert!(scan(&marked, NUMBER).is_err(), "a mark that is none");
        let mut headless = bytes;
        headless[16] ^= 1;
        assert!(scan(&headless, NUMBER).is_err());
    }

    #[test]
    fn a_batch_of_more_keys_than_there_are_numbers_is_damage() {
        for count in [u32::MAX - 1, u32::MAX, 255, 3] {
            let (mut bytes, starts) = file();
            let header = &mut bytes[starts[1]..starts[1] + BATCH_HEADER_BYTES];
            header[4..8].copy_from_slice(&count.to_le_bytes());
            let digest = crc32c::crc32c(&header[..28]);
            header[28..].copy_from_slice(&digest.to_le_bytes());
            assert!(scan(&bytes, NUMBER).is_err(), "{count}");
        }
    }

    #[test]
    fn no_bytes_panic() {
        let (bytes, starts) = file();
        for at in (0..starts[3]).step_by(3) {
            let mut broken = bytes.clone();
            broken[at] = !broken[at];
            let _ = scan(&broken, NUMBER);
            let _ = scan(&bytes[..at], NUMBER);
        }
    }
}

//! The reader of the key spool's files: any bytes give keys or an error, never a panic, and what is read are keys of
//! the file, each once, in their order.
//!
//! A file has 128 KiB at least, and everything in it a checksum. So the input is a file's marks and batches,
//! and the target completes what the fuzzer cannot guess: the header, the zeros, and the checksums, if the first
//! octet says so.

#![no_main]

use birthmark_engine::device_key::read_spool_file;
use libfuzzer_sys::fuzz_target;

const FILE_BYTES: usize = 128 << 10;
const SECTOR_BYTES: usize = 512;
/// Four octets for each of 256 keys.
const MARKS_BYTES: usize = 1024;
const BATCHES_START: usize = SECTOR_BYTES + MARKS_BYTES;
const BATCH_HEADER_BYTES: usize = 32;
const ENTRY_HEAD_BYTES: usize = 25;
const NUMBER: u64 = 7;

fuzz_target!(|input: &[u8]| {
    // As it is.
    let _ = read_spool_file(input, NUMBER);
    let Some((&how, content)) = input.split_first() else {
        return;
    };
    let mut bytes = vec![0; FILE_BYTES];
    header(&mut bytes);
    // With marks, or with batches alone.
    let start = if how & 1 == 0 { BATCHES_START } else { SECTOR_BYTES };
    let fits = content.len().min(FILE_BYTES - start);
    bytes[start..start + fits].copy_from_slice(&content[..fits]);
    if how & 2 == 0 {
        complete(&mut bytes);
    }
    match read_spool_file(&bytes, NUMBER) {
        Ok(keys) => {
            assert!(keys.len() <= MARKS_BYTES / 4);
            let mut at = BATCHES_START;
            for (spooled, key) in &keys {
                assert_eq!(spooled.delivery, key.delivery());
                // Behind the one before: its serial number, and its octets behind that.
                let found = find(&bytes[at..], &spooled.serial).expect("the file has it");
                at += found + ENTRY_HEAD_BYTES;
                let found = find(&bytes[at..], key.as_der()).expect("the file has it");
                at += found + key.as_der().len();
            }
            assert_eq!(read_spool_file(&bytes, NUMBER), Ok(keys));
        }
        Err(damage) => assert!(damage.offset <= FILE_BYTES as u64, "{damage}"),
    }
    // Another file's name.
    assert!(read_spool_file(&bytes, NUMBER + 1).is_err());
});

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    bytes.windows(part.len()).position(|window| window == part)
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn get(bytes: &[u8], at: usize) -> usize {
    let octets = bytes[at..at + 4].try_into();
    octets.map(u32::from_le_bytes).unwrap_or_default() as usize
}

fn header(bytes: &mut [u8]) {
    bytes[..8].copy_from_slice(b"BMKEYS\x00\x01");
    bytes[8..16].copy_from_slice(&NUMBER.to_le_bytes());
    bytes[16..24].copy_from_slice(&(FILE_BYTES as u64).to_le_bytes());
    put(bytes, 24, (MARKS_BYTES / 4) as u32);
    let digest = crc32c::crc32c(&bytes[..28]);
    put(bytes, 28, digest);
}

/// Sets the checksums of batches and entries, as far as their lengths lead.
fn complete(bytes: &mut [u8]) {
    let mut at = BATCHES_START;
    let mut first_ordinal = 0;
    while at + BATCH_HEADER_BYTES <= bytes.len() && bytes[at..at + 4] == *b"KEYS" {
        let count = get(bytes, at + 4);
        let end = at.saturating_add(BATCH_HEADER_BYTES + get(bytes, at + 12));
        if end > bytes.len() {
            return;
        }
        let mut entry = at + BATCH_HEADER_BYTES;
        for _ in 0..count {
            if entry + ENTRY_HEAD_BYTES > end {
                break;
            }
            let next = entry + ENTRY_HEAD_BYTES + get(bytes, entry + 16);
            if next > end {
                break;
            }
            let digest = crc32c::crc32c(&bytes[entry..entry + 21]);
            let key = &bytes[entry + ENTRY_HEAD_BYTES..next];
            let digest = crc32c::crc32c_append(digest, key);
            put(bytes, entry + 21, digest);
            entry = next;
        }
        put(bytes, at + 8, first_ordinal);
        bytes[at + 16..at + 24].copy_from_slice(&NUMBER.to_le_bytes());
        let digest = crc32c::crc32c(&bytes[at + BATCH_HEADER_BYTES..end]);
        put(bytes, at + 24, digest);
        let digest = crc32c::crc32c(&bytes[at..at + 28]);
        put(bytes, at + 28, digest);
        first_ordinal = first_ordinal.saturating_add(count as u32);
        at = end.next_multiple_of(SECTOR_BYTES);
    }
}

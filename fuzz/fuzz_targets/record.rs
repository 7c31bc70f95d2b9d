//! The reader of log records: any bytes give a record or an error, never a panic, and what is read is written
//! again as the same record, but for the time, which is the log's.

#![no_main]

use birthmark_engine::RecordKeyExtractor;
use birthmark_engine::record::Record;
use birthmark_log::KeyExtractor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = RecordKeyExtractor.keys(bytes);
    let record = match Record::decode(bytes) {
        Ok(record) => record,
        Err(error) => return drop(error.to_string()),
    };
    if let Record::Issued(issued) = &record {
        let _ = (issued.key_domain(), issued.identity_domain());
    }
    let Some(written) = encode(&record) else {
        return;
    };
    let again = Record::decode(&written).expect("what is written can be read");
    assert_eq!(encode(&again), Some(written.clone()));
});

/// The encoding of a record that this version writes.
fn encode(record: &Record<'_>) -> Option<Vec<u8>> {
    match record {
        Record::Issued(issued) => Some(issued.encode()),
        Record::Lost(lost) => Some(lost.encode()),
        Record::Activated(activated) => Some(activated.encode()),
        _ => None,
    }
}

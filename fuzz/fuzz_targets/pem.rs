//! The reader of requests and certificates in PEM: any bytes give blocks and errors, never a panic and never without end.

#![no_main]

use birthmark::pem::{PemReader, Wanted};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for wanted in [Wanted::Requests, Wanted::Certificates] {
        read(bytes, wanted);
    }
});

fn read(bytes: &[u8], wanted: Wanted) {
    let mut reader = PemReader::new(bytes, wanted);
    // Each item takes at least a line.
    for _ in 0..=bytes.len() {
        match reader.next_block() {
            Ok(Some(Ok(der))) => assert!(der.len() <= bytes.len()),
            Ok(Some(Err(error))) => drop(error.to_string()),
            Ok(None) => return,
            Err(error) => panic!("reading from memory does not fail: {error}"),
        }
    }
    panic!("it does not end");
}

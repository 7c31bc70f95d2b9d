//! The reader of receipts: any bytes give an answer, never a panic, and what is accepted has one
//! spelling.

#![no_main]

use birthmark_log::tlog::{Receipt, VerifierKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(receipt) = Receipt::parse(bytes) else { return };
    assert_eq!(receipt.encode().as_bytes(), bytes);
    if let Ok(key) = VerifierKey::ed25519("example.com/log", [1; 32]) {
        let _ = receipt.verify(b"record", &key);
    }
});

//! The parser of certification requests: any bytes give an answer, and never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = birthmark_engine::stages::parse_csr(bytes);
});

//! The parser of certification requests and the report about them: any bytes give an answer, never a panic, and
//! what the parser refuses has a finding in the report.

#![no_main]

use birthmark_engine::stages::{parse_csr, report_csr};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let sound = parse_csr(bytes);
    assert!(report_csr(bytes) || sound);
});

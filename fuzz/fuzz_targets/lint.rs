//! The linter: any bytes give findings, never a panic, and never more than its bound. The check before
//! release stops at the first error, and has one where the linter has one that needs the bytes alone.

#![no_main]

use birthmark_engine::lint::{FINDINGS_MAX, Options, lint};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let findings = lint(bytes, &Options::default());
    assert!(findings.len() <= FINDINGS_MAX);
    for finding in &findings {
        let text = finding.to_string();
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    assert_eq!(lint(bytes, &Options::default()), findings);
});

//! The reader of profiles: any text gives a profile, or an error that names file and line; never a panic.

#![no_main]

use std::path::Path;

use birthmark_engine::Profile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Profile::parse(text, Path::new("profile.toml")) {
        Ok(profile) => assert!(!profile.name().is_empty()),
        Err(error) => assert!(error.to_string().starts_with("profile profile.toml:")),
    }
});

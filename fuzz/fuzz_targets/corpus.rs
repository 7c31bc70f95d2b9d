//! The reader of corpus files: any bytes give a corpus or an error, never a panic, and a corpus that opens
//! hands out every request that it counts.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use birthmark_loadgen::corpus::Corpus;
use libfuzzer_sys::fuzz_target;

/// The one file of this process: a corpus is mapped from its file.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::temp_dir().join(format!("birthmark-fuzz-{}.corpus", std::process::id()))
});

/// Requests that are asked for, at most: a hostile count must not make the target slow.
const READ_MAX: u64 = 1_000;

fuzz_target!(|bytes: &[u8]| {
    // A new file each time: the one before may still be mapped.
    let _ = std::fs::remove_file(&*FILE);
    std::fs::write(&*FILE, bytes).expect("the temporary directory takes files");
    let _ = Corpus::is_corpus(&FILE);
    if let Ok(corpus) = Corpus::open(&FILE) {
        let counted = corpus.len();
        for number in 0..counted.min(READ_MAX) {
            assert!(corpus.get(number).is_some());
        }
        assert!(corpus.get(counted).is_none());
    }
    let _ = std::fs::remove_file(&*FILE);
});

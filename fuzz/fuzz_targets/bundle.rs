//! The readers of entry bundles, of partial tiles and of their paths: any bytes give an answer,
//! never a panic, and what is accepted has one spelling.
//!
//! The first two bytes are the width that the reader expects.

#![no_main]

use birthmark_log::tlog::{BundleId, TileId, TreeBuilder, entries, push_entry};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(path) = std::str::from_utf8(bytes) {
        assert!(TileId::parse_path(path).is_none_or(|tile| tile.path() == path));
        assert!(BundleId::parse_path(path).is_none_or(|bundle| bundle.path() == path));
    }
    let Some((width, bundle)) = bytes.split_first_chunk() else { return };
    let width = u16::from_be_bytes(*width);
    if let Ok(records) = entries(bundle, width) {
        assert_eq!(records.len(), usize::from(width));
        let mut again = Vec::new();
        for record in records {
            push_entry(&mut again, record).expect("a record of a bundle fits into a bundle");
        }
        assert_eq!(again, bundle);
    }
    let tree = TreeBuilder::load(u64::from(width), &mut |_| Ok::<_, ()>(bundle.to_vec()));
    if let Ok(tree) = tree {
        assert_eq!(tree.size(), u64::from(width));
        let _ = tree.root();
    }
});

//! The partial files of a copy: those of its checkpoint, and no others.

use std::io;
use std::path::Path;

use super::tree_copy::CopyError;
use crate::published::{bundle_at, public_dir};
use crate::storage::{Storage, at};
use crate::tlog::{TILE_WIDTH, TileId, tile_widths};

/// Removes the partial files of the tree of `old` records that the tree of `new` ones does not have.
pub(super) fn remove_partials(
    storage: &dyn Storage,
    dest: &Path,
    old: u64,
    new: u64,
) -> Result<(), CopyError> {
    let partials = |size: u64| {
        let edge = edge_tiles(size).map(|id| id.path());
        let bundle = (!size.is_multiple_of(TILE_WIDTH)).then(|| bundle_at(size / TILE_WIDTH, size));
        edge.chain(bundle.map(|id| id.path())).collect::<Vec<_>>()
    };
    let kept = partials(new);
    for path in partials(old).iter().filter(|path| !kept.contains(path)) {
        let path = public_dir(dest).join(path);
        match storage.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            removed => removed.map_err(at(&path))?,
        }
        // Other widths may be in it still.
        if let Some(dir) = path.parent()
            && storage.list(dir).is_ok_and(|names| names.is_empty())
        {
            storage.remove_dir(dir).map_err(at(dir))?;
        }
    }
    Ok(())
}

/// The partial tiles of a tree, without going through all of its tiles.
pub(super) fn edge_tiles(size: u64) -> impl Iterator<Item = TileId> {
    tile_widths(size).filter_map(|level| {
        (level.partial > 0).then_some(TileId {
            level: level.level,
            index: level.full,
            width: level.partial,
        })
    })
}

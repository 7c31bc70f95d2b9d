//! Tiles and entry bundles: which ones a tree has, and where they lie (c2sp.org/tlog-tiles).

use super::hash::HASH_BYTES;

/// Hashes of a full tile, and entries of a full bundle (c2sp.org/tlog-tiles, "Merkle Tree").
pub const TILE_WIDTH: u64 = 256;

/// Bytes of a full tile.
pub const TILE_BYTES: usize = 256 * HASH_BYTES;

/// Levels that a tree of up to 2^64 − 1 leaves can have: 256^8 leaves would need a ninth.
pub const TILE_LEVELS: u8 = 8;

/// The highest level that a path may name (c2sp.org/tlog-tiles, "Merkle Tree").
const PATH_LEVEL_MAX: u8 = 63;

/// [`TILE_WIDTH`] in the type of [`TileId::width`].
const FULL: u16 = 256;

/// A tile of the tree: up to 256 consecutive hashes of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// 0 for leaf hashes; a hash at level `l` spans 256^l leaves.
    pub level: u8,
    /// Place within the level, from the left.
    pub index: u64,
    /// Hashes in the tile, 1 to 256. Below 256 the tile is partial.
    pub width: u16,
}

impl TileId {
    /// The path below the log's prefix, for example `tile/0/x001/234.p/112`.
    #[must_use]
    pub fn path(&self) -> String {
        resource_path(&self.level.to_string(), self.index, self.width)
    }

    /// Reads a relative path. `None` for anything that [`path`](Self::path) does not write.
    #[must_use]
    pub fn parse_path(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let level = level
            .parse()
            .ok()
            .filter(|level| *level <= PATH_LEVEL_MAX)?;
        let (index, width) = parse_index_and_width(rest)?;
        Some(Self {
            level,
            index,
            width,
        })
        .filter(|tile| tile.path() == path)
    }

    /// True if the tile has fewer than 256 hashes.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        u64::from(self.width) < TILE_WIDTH
    }

    /// Bytes that the tile has.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        usize::from(self.width) * HASH_BYTES
    }

    /// The tile that holds hash `index` of `level` in a tree of `size` leaves, as wide as it is
    /// there. `None` if the tree has no such hash.
    #[must_use]
    pub fn containing(level: u8, index: u64, size: u64) -> Option<Self> {
        let hashes = level_hashes(size, level);
        let tile = index / TILE_WIDTH;
        (index < hashes).then(|| Self {
            level,
            index: tile,
            width: width_at(hashes, tile),
        })
    }
}

/// An entry bundle: the records below one level-0 tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleId {
    /// Place of the bundle, the same as that of its level-0 tile.
    pub index: u64,
    /// Entries in the bundle, 1 to 256. Below 256 the bundle is partial.
    pub width: u16,
}

impl BundleId {
    /// The path below the log's prefix, for example `tile/entries/x001/234.p/112`.
    #[must_use]
    pub fn path(&self) -> String {
        resource_path("entries", self.index, self.width)
    }

    /// Reads a relative path. `None` for anything that [`path`](Self::path) does not write.
    #[must_use]
    pub fn parse_path(path: &str) -> Option<Self> {
        let (index, width) = parse_index_and_width(path.strip_prefix("tile/entries/")?)?;
        Some(Self { index, width }).filter(|bundle| bundle.path() == path)
    }

    /// True if the bundle has fewer than 256 entries.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        u64::from(self.width) < TILE_WIDTH
    }

    /// The bundle that holds record `index` in a tree of `size` leaves, as wide as it is there.
    /// `None` if the tree has no such record.
    #[must_use]
    pub fn containing(index: u64, size: u64) -> Option<Self> {
        let tile = TileId::containing(0, index, size)?;
        Some(Self {
            index: tile.index,
            width: tile.width,
        })
    }
}

/// The tiles of one level of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelTiles {
    /// The level.
    pub level: u8,
    /// How many full tiles it has: those with the indexes `0..full`.
    pub full: u64,
    /// Width of the partial tile at index `full`; 0 if there is none.
    pub partial: u16,
}

/// How many hashes `level` has in a tree of `size` leaves: `floor(size / 256^level)`.
#[must_use]
pub fn level_hashes(size: u64, level: u8) -> u64 {
    // Eight levels use up the 64 bits.
    size.checked_shr(u32::from(level) * 8).unwrap_or(0)
}

/// Every level that a tree of `size` leaves has, lowest first (c2sp.org/tlog-tiles, "Partial
/// Tiles"): `floor(size / 256^level) mod 256` is the width of the partial tile.
pub fn tile_widths(size: u64) -> impl Iterator<Item = LevelTiles> {
    (0..TILE_LEVELS).map_while(move |level| {
        let hashes = level_hashes(size, level);
        let (full, partial) = (hashes / TILE_WIDTH, width_at(hashes, hashes / TILE_WIDTH));
        (hashes > 0).then_some(LevelTiles {
            level,
            full,
            partial,
        })
    })
}

/// Every tile of a tree of `size` leaves, level by level from the lowest, left to right.
pub fn tiles(size: u64) -> impl Iterator<Item = TileId> {
    tile_widths(size).flat_map(
        |LevelTiles {
             level,
             full,
             partial,
         }| {
            row(full, partial).map(move |(index, width)| TileId {
                level,
                index,
                width,
            })
        },
    )
}

/// Every entry bundle of a tree of `size` leaves, left to right.
pub fn bundles(size: u64) -> impl Iterator<Item = BundleId> {
    let full = size / TILE_WIDTH;
    row(full, width_at(size, full)).map(|(index, width)| BundleId { index, width })
}

/// Index and width of each tile of a row.
fn row(full: u64, partial: u16) -> impl Iterator<Item = (u64, u16)> {
    let partial = (partial > 0).then_some((full, partial));
    (0..full).map(|index| (index, FULL)).chain(partial)
}

/// How wide tile `tile` is in a row of `hashes` hashes; 0 if nothing of it is there.
fn width_at(hashes: u64, tile: u64) -> u16 {
    let left = hashes.saturating_sub(tile.saturating_mul(TILE_WIDTH));
    u16::try_from(left).map_or(FULL, |left| left.min(FULL))
}

fn resource_path(kind: &str, index: u64, width: u16) -> String {
    let mut path = format!("tile/{kind}/");
    push_index(&mut path, index);
    if width != FULL {
        path.push_str(&format!(".p/{width}"));
    }
    path
}

/// Appends `index` as groups of three digits, all but the last with an `x` in front.
fn push_index(path: &mut String, index: u64) {
    let mut divisor = 1;
    while index / divisor >= 1000 {
        divisor *= 1000;
    }
    while divisor > 1 {
        path.push_str(&format!("x{:03}/", index / divisor % 1000));
        divisor /= 1000;
    }
    path.push_str(&format!("{:03}", index % 1000));
}

/// Reads `<N>[.p/<W>]`. More lenient than the format: the caller compares with what it writes.
fn parse_index_and_width(text: &str) -> Option<(u64, u16)> {
    let (groups, width) = match text.split_once(".p/") {
        Some((groups, width)) => (
            groups,
            width.parse().ok().filter(|w| (1..FULL).contains(w))?,
        ),
        None => (text, FULL),
    };
    let mut index: u64 = 0;
    for group in groups.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    Some((index, width))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tile(level: u8, index: u64, width: u16) -> TileId {
        TileId {
            level,
            index,
            width,
        }
    }

    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(tile(0, 1_234_067, 256).path(), "tile/0/x001/x234/067");
        assert_eq!(tile(0, 1_067, 112).path(), "tile/0/x001/067.p/112");
        assert_eq!(tile(3, 0, 1).path(), "tile/3/000.p/1");
        assert_eq!(tile(63, 999, 256).path(), "tile/63/999");
        assert_eq!(tile(0, 1_000, 256).path(), "tile/0/x001/000");
        assert_eq!(
            tile(0, u64::MAX, 255).path(),
            "tile/0/x018/x446/x744/x073/x709/x551/615.p/255"
        );
        assert_eq!(
            BundleId {
                index: 273,
                width: 112
            }
            .path(),
            "tile/entries/273.p/112"
        );
    }

    #[test]
    fn a_path_has_one_spelling() {
        for path in [
            "tile/0/1",
            "tile/0/0001",
            "tile/0/x001",
            "tile/0/x000/001",
            "tile/00/001",
            "tile/64/001",
            "tile/0/001.p/0",
            "tile/0/001.p/01",
            "tile/0/001.p/256",
            "tile/0/001.p/",
            "tile/0/001.p",
            "tile/0/001/",
            "tile/0//001",
            "/tile/0/001",
            "tile/0/001/002",
            "tile/0/x001/x002",
            "tile/0/+01",
            "tile/-1/001",
            "tile/0/00١",
            "tile/entries/001",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "tile/0/xx01/001",
            "tile/0/001.p/1.p/1",
            "",
        ] {
            assert_eq!(TileId::parse_path(path), None, "{path:?}");
        }
        for path in [
            "tile/entries/1",
            "tile/0/001",
            "tile/entries/001.p/256",
            "tile/entries/",
        ] {
            assert_eq!(BundleId::parse_path(path), None, "{path:?}");
        }
    }

    /// The example of c2sp.org/tlog-tiles, "Partial Tiles".
    #[test]
    fn a_tree_of_70_000_has_the_tiles_of_the_specification() {
        let levels: Vec<_> = tile_widths(70_000)
            .map(|l| (l.level, l.full, l.partial))
            .collect();
        assert_eq!(levels, [(0, 273, 112), (1, 1, 17), (2, 0, 1)]);
        assert_eq!(tiles(70_000).count(), 277);
        assert_eq!(
            tiles(256).collect::<Vec<_>>(),
            [tile(0, 0, 256), tile(1, 0, 1)]
        );
        assert_eq!(
            bundles(70_000).last(),
            Some(BundleId {
                index: 273,
                width: 112
            })
        );
        assert_eq!((tiles(0).count(), bundles(0).count()), (0, 0));
    }

    #[test]
    fn the_largest_tree_has_eight_levels() {
        let levels: Vec<_> = tile_widths(u64::MAX).collect();
        assert_eq!(levels.len(), usize::from(TILE_LEVELS));
        assert_eq!(
            levels[7],
            LevelTiles {
                level: 7,
                full: 0,
                partial: 255
            }
        );
        assert_eq!(level_hashes(u64::MAX, 8), 0);
        assert_eq!(level_hashes(u64::MAX, 255), 0);
    }

    #[test]
    fn containing_names_the_tile_as_wide_as_it_is() {
        assert_eq!(
            TileId::containing(0, 69_999, 70_000),
            Some(tile(0, 273, 112))
        );
        assert_eq!(TileId::containing(0, 0, 70_000), Some(tile(0, 0, 256)));
        assert_eq!(TileId::containing(1, 272, 70_000), Some(tile(1, 1, 17)));
        assert_eq!(TileId::containing(1, 273, 70_000), None);
        assert_eq!(
            BundleId::containing(256, 257),
            Some(BundleId { index: 1, width: 1 })
        );
        assert_eq!(BundleId::containing(257, 257), None);
    }

    proptest! {
        #![proptest_config(crate::fixed_seed())]

        #[test]
        fn paths_come_back(level in 0..=63u8, index: u64, shift in 0..64u32, width in 1..=256u16) {
            let id = tile(level, index >> shift, width);
            prop_assert_eq!(TileId::parse_path(&id.path()), Some(id));
            let id = BundleId { index: index >> shift, width };
            prop_assert_eq!(BundleId::parse_path(&id.path()), Some(id));
        }

        #[test]
        fn any_text_is_answered(text in "(tile/)?[0-9exntris./p+]{0,40}") {
            if let Some(id) = TileId::parse_path(&text) {
                prop_assert_eq!(id.path(), text);
            }
        }
    }
}

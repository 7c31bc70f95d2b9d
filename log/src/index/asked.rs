//! Many keys asked for at once, and where each may be.

use super::entry::mix;

/// Hashes of the keys that are asked for together.
pub(crate) struct Asked {
    pub(crate) hashes: Vec<u64>,
    /// The hashes, [`mix`]ed: what filters take their bits from.
    pub(crate) mixed: Vec<u64>,
    /// Where each of them may be.
    pub(crate) places: Vec<Places>,
}

/// A set of tables and runs, counted over all of them in their order, oldest first. Those from the 64th on are
/// in it together or not at all; there are hardly ever twenty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places(u64);

impl Asked {
    pub(crate) fn new(hashes: Vec<u64>) -> Asked {
        Asked {
            mixed: hashes.iter().map(|&hash| mix(hash)).collect(),
            places: vec![Places::default(); hashes.len()],
            hashes,
        }
    }

    /// Everything may be at this place, which cannot be asked quickly.
    pub(crate) fn add_to_all(&mut self, place: Places) {
        self.places.iter_mut().for_each(|places| places.add(place));
    }
}

impl Places {
    /// Every table and run.
    pub(crate) const ALL: Places = Places(u64::MAX);

    /// One of them.
    pub(crate) fn nth(number: usize) -> Places {
        Places(1 << number.min(63))
    }

    pub(crate) fn add(&mut self, other: Places) {
        self.0 |= other.0;
    }

    /// Adds it if `wanted`, without a branch.
    pub(crate) fn add_if(&mut self, wanted: bool, other: Places) {
        self.0 |= other.0 * u64::from(wanted);
    }

    pub(crate) fn has(self, number: usize) -> bool {
        self.0 & Places::nth(number).0 != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Places;

    #[test]
    fn places_beyond_the_last_bit_share_it() {
        let mut places = Places::default();
        assert!(places.is_empty());
        places.add_if(false, Places::nth(3));
        places.add_if(true, Places::nth(5));
        assert!(!places.has(3) && places.has(5) && !places.has(63));
        places.add(Places::nth(200));
        assert!(places.has(63) && places.has(64) && !places.has(62));
        assert!((0..100).all(|number| Places::ALL.has(number)));
    }
}

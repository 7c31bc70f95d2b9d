//! A hash table of 8-byte entries: one cache line to look at for nearly every lookup.
//!
//! Open addressing with linear probing in one array, without deletion. Entries carry their hash (the
//! tag), so that growing reads no keys. Made for the index and nothing else: a general table keeps
//! its control bytes apart, which costs a second cache miss for each of a million entries.

/// Bits of an entry that hold the position: 17 thousand million records.
pub(crate) const POSITION_BITS: u32 = 34;

/// Bits of an entry that hold the tag.
pub(crate) const TAG_BITS: u32 = 64 - POSITION_BITS;

const POSITION_MASK: u64 = (1 << POSITION_BITS) - 1;

/// Slots of the smallest table.
const SLOTS_MIN: usize = 64;

/// A tag and a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry(u64);

/// What a slot without an entry holds.
const EMPTY: u64 = 0;

impl Entry {
    /// `tag` has at most [`TAG_BITS`] bits; `position` is below `2^POSITION_BITS - 1`.
    pub(crate) fn new(tag: u64, position: u64) -> Entry {
        // One more than the position, so that no entry looks like an empty slot.
        Entry(tag << POSITION_BITS | (position + 1))
    }

    fn tag(self) -> u64 {
        self.0 >> POSITION_BITS
    }

    fn position(self) -> u64 {
        (self.0 & POSITION_MASK) - 1
    }
}

/// The table. Several entries may have the same tag.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// A power of two of them, or none.
    slots: Vec<u64>,
    len: usize,
}

impl Table {
    /// Number of entries.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the array.
    #[cfg(test)]
    pub(crate) fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u64>()
    }

    /// Reads the slot where the search for a tag starts; the value means nothing.
    pub(crate) fn touch(&self, tag: u64) -> u64 {
        self.slots.get(self.home(tag)).copied().unwrap_or(EMPTY)
    }

    /// Positions of all entries with this tag.
    pub(crate) fn with_tag(&self, tag: u64) -> impl Iterator<Item = u64> {
        self.probe(tag)
            .map(|slot| Entry(self.slots[slot]))
            .take_while(|entry| entry.0 != EMPTY)
            .filter(move |entry| entry.tag() == tag)
            .map(Entry::position)
    }

    /// Adds an entry.
    pub(crate) fn insert(&mut self, entry: Entry) {
        // At most three quarters full: beyond that the searches get long.
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        self.place(entry);
        self.len += 1;
    }

    /// Puts an entry with the same tag in the place of another. `false` when the other is not
    /// there.
    pub(crate) fn replace(&mut self, old: Entry, new: Entry) -> bool {
        let found = self
            .probe(old.tag())
            .take_while(|&slot| self.slots[slot] != EMPTY)
            .find(|&slot| self.slots[slot] == old.0);
        found.inspect(|&slot| self.slots[slot] = new.0).is_some()
    }

    /// The slots to search for a tag, in order.
    fn probe(&self, tag: u64) -> impl Iterator<Item = usize> + use<> {
        let (home, slots) = (self.home(tag), self.slots.len());
        (home..slots).chain(0..home.min(slots))
    }

    /// Tags are hashes: their low bits are the place. 0 when there are no slots.
    fn home(&self, tag: u64) -> usize {
        tag as usize & self.slots.len().saturating_sub(1)
    }

    fn place(&mut self, entry: Entry) {
        let free = self
            .probe(entry.tag())
            .find(|&slot| self.slots[slot] == EMPTY);
        // `insert` has made room, so there is a free slot.
        if let Some(free) = free {
            self.slots[free] = entry.0;
        }
    }

    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(SLOTS_MIN);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; slots]);
        for entry in old.into_iter().filter(|&entry| entry != EMPTY) {
            self.place(Entry(entry));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(crate::fixed_seed())]

        #[test]
        fn behaves_like_a_map_of_lists(
            tag_bits in 1..=TAG_BITS,
            steps in prop::collection::vec((any::<u64>(), any::<bool>()), 0..600),
        ) {
            let mut table = Table::default();
            let mut model: HashMap<u64, Vec<u64>> = HashMap::new();
            for (position, (random, replace)) in (0..).zip(steps) {
                let tag = random & ((1 << tag_bits) - 1);
                let entry = Entry::new(tag, position);
                let same = model.entry(tag).or_default();
                match same.first_mut() {
                    Some(first) if replace => {
                        prop_assert!(table.replace(Entry::new(tag, *first), entry));
                        *first = position;
                    }
                    _ => {
                        prop_assert!(!table.replace(Entry::new(tag, POSITION_MASK - 1), entry));
                        table.insert(entry);
                        same.push(position);
                    }
                }
            }
            prop_assert_eq!(table.len(), model.values().map(Vec::len).sum::<usize>());
            for (tag, mut positions) in model {
                let mut found: Vec<u64> = table.with_tag(tag).collect();
                found.sort_unstable();
                positions.sort_unstable();
                prop_assert_eq!(found, positions);
            }
            prop_assert_eq!(table.with_tag(1 << (TAG_BITS - 1) | 12_345).count(), 0);
        }
    }

    #[test]
    fn the_extremes_fit_into_an_entry() {
        for tag in [0, 1, (1 << TAG_BITS) - 1] {
            for position in [0, 1, POSITION_MASK - 1] {
                let entry = Entry::new(tag, position);
                assert_eq!((entry.tag(), entry.position()), (tag, position));
                assert_ne!(entry.0, EMPTY);
            }
        }
    }

    #[test]
    fn an_empty_table_has_nothing() {
        let mut table = Table::default();
        assert_eq!(
            (
                table.with_tag(0).count(),
                table.touch(7),
                table.memory_bytes()
            ),
            (0, EMPTY, 0)
        );
        assert!(!table.replace(Entry::new(0, 0), Entry::new(0, 1)));
    }
}

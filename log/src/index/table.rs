//! The entries of one key space in memory: a hash table in the order of the hashes.

use super::entry::Entry;
use super::large_memory::LargeMemory;

/// Slots of the smallest table.
const SLOTS_MIN: usize = 1 << 10;

/// Slots behind the last home, for the entries that find theirs taken. If they do not do there are twice as
/// many: who chooses keys with hashes at the end may ask for a slot for each of these, and for no more.
const SLOTS_BEHIND: usize = 1 << 10;

/// Entries whose slots are brought into the cache together: two lines each are half of a first cache of 32 KB.
const TOUCHED: usize = 128;

const HASH_BYTES: usize = 8;
const POSITION_BYTES: usize = 4;

/// A hash table with linear probing whose entries are in order (Amble and Knuth, "Ordered hash tables", 1974):
/// the home of an entry is the top of its hash, and an entry that finds its slot taken by a larger one moves that
/// along. So it grows and is written in one pass each, and a search ends at the first larger hash.
pub(crate) struct Table {
    /// Little-endian; 0 where there is no entry.
    hashes: LargeMemory,
    /// Little-endian positions, counted from the base.
    positions: LargeMemory,
    /// How far a hash is shifted to get its home.
    shift: u32,
    /// Slots behind the last home.
    behind: usize,
    len: usize,
}

impl Table {
    /// Three quarters full with `entries`.
    pub(crate) fn with_capacity(entries: usize) -> Table {
        let homes = (entries * 4).div_ceil(3).next_power_of_two().max(SLOTS_MIN);
        Table::with_slots(homes, SLOTS_BEHIND)
    }

    fn with_slots(homes: usize, behind: usize) -> Table {
        Table {
            hashes: LargeMemory::zeroed((homes + behind) * HASH_BYTES),
            positions: LargeMemory::zeroed((homes + behind) * POSITION_BYTES),
            behind,
            shift: 64 - homes.trailing_zeros(),
            len: 0,
        }
    }

    /// Enters these hashes with their positions.
    pub(crate) fn insert_all(&mut self, entries: &[(u64, u32)]) {
        for some in entries.chunks(TOUCHED) {
            self.touch_slots(some);
            for &(hash, position) in some {
                self.insert(hash, position);
            }
        }
    }

    fn insert(&mut self, hash: u64, position: u32) {
        let homes = 1usize << (64 - self.shift);
        if (self.len + 1) * 4 > homes * 3 {
            self.rebuild(homes * 2, self.behind);
        }
        while !self.place(hash, position) {
            self.rebuild(1 << (64 - self.shift), self.behind * 2);
        }
    }

    /// Moves everything to so many slots, or more behind the homes until everything has one. Entries come in
    /// order, so each has the slot after the one before, or its home.
    fn rebuild(&mut self, homes: usize, mut behind: usize) {
        loop {
            let mut rebuilt = Table::with_slots(homes, behind);
            if rebuilt.take_all(self) {
                *self = rebuilt;
                return;
            }
            behind *= 2;
        }
    }

    /// Takes the entries of another table into this empty one. `false` when they do not fit.
    fn take_all(&mut self, other: &Table) -> bool {
        let hashes = self.hashes.chunks_mut::<HASH_BYTES>();
        let positions = self.positions.chunks_mut::<POSITION_BYTES>();
        let mut next = 0;
        for (hash, position) in other.entries() {
            let at = next.max((hash >> self.shift) as usize);
            let (Some(slot), Some(place)) = (hashes.get_mut(at), positions.get_mut(at)) else {
                return false;
            };
            (*slot, *place) = (hash.to_le_bytes(), position.to_le_bytes());
            next = at + 1;
        }
        self.len = other.len;
        true
    }

    /// `false` when there is no slot from the home on; nothing has changed then.
    fn place(&mut self, hash: u64, position: u32) -> bool {
        let home = (hash >> self.shift) as usize;
        let hashes = &mut self.hashes.chunks_mut::<HASH_BYTES>()[home..];
        let Some(free) = hashes.iter().position(|slot| *slot == [0; HASH_BYTES]) else {
            return false;
        };
        let positions = &mut self.positions.chunks_mut::<POSITION_BYTES>()[home..];
        let mut carried = (hash, position);
        for (slot, place) in hashes[..free].iter_mut().zip(positions.iter_mut()) {
            let taken = (u64::from_le_bytes(*slot), u32::from_le_bytes(*place));
            if carried < taken {
                (*slot, *place) = (carried.0.to_le_bytes(), carried.1.to_le_bytes());
                carried = taken;
            }
        }
        hashes[free] = carried.0.to_le_bytes();
        positions[free] = carried.1.to_le_bytes();
        self.len += 1;
        true
    }

    /// Forgets the entries and keeps the memory, of which every page is there then.
    pub(crate) fn clear(&mut self) {
        self.hashes.bytes_mut().fill(0);
        self.positions.bytes_mut().fill(0);
        self.len = 0;
    }

    /// Brings the homes of these hashes into the cache, all at once. Searching for one ends with
    /// a branch that nobody can predict, so otherwise the cache misses come one after the other.
    pub(crate) fn touch(&self, hashes: &[u64]) {
        let slots = self.hashes.chunks::<HASH_BYTES>();
        let home = |hash: &u64| slots.get((hash >> self.shift) as usize);
        let sum = hashes
            .iter()
            .filter_map(home)
            .fold(0, |sum: u8, slot| sum.wrapping_add(slot[0]));
        // Otherwise the compiler sees that nobody wants the sum and leaves the loop out.
        std::hint::black_box(sum);
    }

    /// [`touch`](Table::touch) for what will be entered: the places of the positions too.
    fn touch_slots(&self, entries: &[(u64, u32)]) {
        let slots = self.hashes.chunks::<HASH_BYTES>();
        let places = self.positions.chunks::<POSITION_BYTES>();
        let home = |(hash, _): &(u64, u32)| {
            let home = (hash >> self.shift) as usize;
            Some(slots.get(home)?[0].wrapping_add(places.get(home)?[0]))
        };
        let sum = entries.iter().filter_map(home).fold(0, u8::wrapping_add);
        std::hint::black_box(sum);
    }

    /// The positions with this hash, rising.
    pub(crate) fn with_hash(&self, hash: u64) -> impl Iterator<Item = u32> {
        let home = (hash >> self.shift) as usize;
        self.slots(home)
            .take_while(move |(slot, _)| (1..=hash).contains(slot))
            .filter(move |(slot, _)| *slot == hash)
            .map(|(_, position)| position)
    }

    /// Hash and position of each slot from one on.
    fn slots(&self, from: usize) -> impl Iterator<Item = (u64, u32)> {
        let hashes = self.hashes.chunks()[from..].iter();
        let slots = hashes.zip(&self.positions.chunks()[from..]);
        slots.map(|(hash, position)| (u64::from_le_bytes(*hash), u32::from_le_bytes(*position)))
    }

    /// Moves the entries from a slot on with hashes below `end` to `out`, in order; all that are left for
    /// `None`. Gives the slot to go on from. Positions are counted from `base`.
    pub(crate) fn take(
        &self,
        mut slot: usize,
        base: u64,
        end: Option<u64>,
        out: &mut Vec<Entry>,
    ) -> usize {
        for (hash, position) in self.slots(slot) {
            if end.is_some_and(|end| hash >= end) {
                break;
            }
            slot += 1;
            if hash != 0 {
                let position = base + u64::from(position);
                out.push(Entry { hash, position });
            }
        }
        slot
    }

    fn entries(&self) -> impl Iterator<Item = (u64, u32)> {
        self.slots(0).filter(|(hash, _)| *hash != 0)
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.hashes.bytes().len() + self.positions.bytes().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_at_the_very_end_cost_a_slot_each() {
        let mut table = Table::with_capacity(1 << 12);
        let before = table.memory_bytes();
        for position in 0..5000 {
            table.insert(u64::MAX - u64::from(position % 7), position);
        }
        assert_eq!(table.with_hash(u64::MAX).count(), 5000usize.div_ceil(7));
        assert!(
            table.memory_bytes() < 3 * before,
            "{}",
            table.memory_bytes()
        );
        // Growing moves each entry once, however many share a home.
        table.rebuild(1 << 13, SLOTS_BEHIND);
        assert_eq!(table.len(), 5000);
        assert_eq!(table.with_hash(u64::MAX).count(), 5000usize.div_ceil(7));
        let mut sorted = Vec::new();
        table.take(0, 0, None, &mut sorted);
        assert!(sorted.len() == 5000 && sorted.is_sorted());
    }
}

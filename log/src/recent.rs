//! The records read last: one that is looked up by a key is read to confirm the match, and then again by
//! whoever asked, at once. A durable record never changes, so nothing here is ever out of date.

use std::sync::{Mutex, PoisonError};

use crate::record::RecordIndex;

/// Records kept, at most. Enough for the requests that are judged at a time; 64 KiB for each record of the
/// largest size, so 16 MiB if somebody's records are so large.
const SLOTS: usize = 256;

/// A record that was read, with its place.
type Slot = Mutex<Option<(RecordIndex, Box<[u8]>)>>;

/// A table with one slot for each remainder of the position.
pub(crate) struct RecentRecords {
    slots: Box<[Slot]>,
}

impl Default for RecentRecords {
    fn default() -> RecentRecords {
        RecentRecords {
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
        }
    }
}

impl RecentRecords {
    /// A record, if it was read a short while ago.
    pub(crate) fn get(&self, index: RecordIndex) -> Option<Vec<u8>> {
        let slot = self
            .slot(index)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (kept, record) = slot.as_ref()?;
        (*kept == index).then(|| record.to_vec())
    }

    /// Keeps a record that was read and found good.
    pub(crate) fn put(&self, index: RecordIndex, record: &[u8]) {
        let entry = Some((index, Box::from(record)));
        *self
            .slot(index)
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = entry;
    }

    fn slot(&self, index: RecordIndex) -> &Slot {
        &self.slots[(index.0 % SLOTS as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_the_last_of_each_slot() {
        let recent = RecentRecords::default();
        let far = RecordIndex(7 + SLOTS as u64);
        assert_eq!(recent.get(RecordIndex(7)), None);
        recent.put(RecordIndex(7), b"seven");
        assert_eq!(recent.get(RecordIndex(7)).as_deref(), Some(&b"seven"[..]));
        assert_eq!(recent.get(far), None);
        recent.put(far, b"far");
        assert_eq!(recent.get(RecordIndex(7)), None);
        assert_eq!(recent.get(far).as_deref(), Some(&b"far"[..]));
    }
}

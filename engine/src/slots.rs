//! The table of work in flight. A free slot is the permit to have one certificate in flight; tickets name
//! slots and go stale when the slot is freed, so that a late answer of an abandoned attempt finds nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;

/// Names one piece of work: generation in the high half, slot in the low half.
pub(crate) type Ticket = u64;

/// A sleeper looks for itself after this time: callers that never sleep could otherwise keep the table so
/// full that nobody is woken.
const SLEEP_MAX: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Box<[Mutex<Slot<T>>]>,
    free: ArrayQueue<u32>,
    /// Threads asleep in [`Slots::insert_wait`].
    sleepers: AtomicUsize,
    gate: Mutex<()>,
    opened: Condvar,
}

#[derive(Debug)]
struct Slot<T> {
    /// Rises each time the slot is freed.
    generation: u32,
    work: Option<T>,
}

impl<T> Slots<T> {
    pub(crate) fn new(count: u32) -> Self {
        let free = ArrayQueue::new(count.max(1) as usize);
        for slot in 0..count {
            let _ = free.push(slot);
        }
        let slots = (0..count)
            .map(|_| {
                Mutex::new(Slot {
                    generation: 0,
                    work: None,
                })
            })
            .collect();
        Self {
            slots,
            free,
            sleepers: AtomicUsize::new(0),
            gate: Mutex::new(()),
            opened: Condvar::new(),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn in_use(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a slot for `work`, or hands it back when all are taken.
    pub(crate) fn insert(&self, work: T) -> Result<Ticket, T> {
        let Some(slot) = self.free.pop() else {
            return Err(work);
        };
        let mut entry = self.slots[slot as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        entry.work = Some(work);
        Ok(u64::from(entry.generation) << 32 | u64::from(slot))
    }

    /// Takes a slot for `work`, asleep while all are taken.
    pub(crate) fn insert_wait(&self, mut work: T) -> Ticket {
        loop {
            work = match self.insert(work) {
                Ok(ticket) => return ticket,
                Err(work) => work,
            };
            let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            if self.free.is_empty() {
                let woken = self.opened.wait_timeout(gate, SLEEP_MAX);
                drop(woken.unwrap_or_else(PoisonError::into_inner));
            }
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Takes the work of a ticket out of its slot, which stays taken. `None` if the ticket is stale or its
    /// work is with someone else.
    pub(crate) fn take(&self, ticket: Ticket) -> Option<T> {
        self.entry(ticket)?.work.take()
    }

    /// Puts work back for the next step.
    pub(crate) fn put(&self, ticket: Ticket, work: T) {
        if let Some(mut entry) = self.entry(ticket) {
            entry.work = Some(work);
        }
    }

    /// Frees the slot of a ticket whose work is done. Sleepers are woken when a quarter of the slots is
    /// free: waking one for every certificate would cost a context switch each.
    pub(crate) fn release(&self, ticket: Ticket) {
        let Some(mut entry) = self.entry(ticket) else {
            return;
        };
        entry.generation = entry.generation.wrapping_add(1);
        entry.work = None;
        drop(entry);
        let _ = self.free.push(slot_of(ticket));
        if self.sleepers.load(Ordering::SeqCst) > 0
            && self.free.len() >= self.slots.len().div_ceil(4)
        {
            let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            self.opened.notify_all();
        }
    }

    /// The slot of a ticket that is not stale, locked.
    fn entry(&self, ticket: Ticket) -> Option<MutexGuard<'_, Slot<T>>> {
        let entry = self.slots.get(slot_of(ticket) as usize)?;
        let entry = entry.lock().unwrap_or_else(PoisonError::into_inner);
        (u64::from(entry.generation) == ticket >> 32).then_some(entry)
    }
}

fn slot_of(ticket: Ticket) -> u32 {
    (ticket & u64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_tickets_find_nothing() {
        let slots = Slots::new(1);
        let first = slots.insert("first").unwrap();
        assert_eq!(slots.insert("second"), Err("second"));
        assert_eq!(slots.take(first), Some("first"));
        assert_eq!(slots.take(first), None);
        slots.release(first);
        let second = slots.insert("second").unwrap();
        slots.put(first, "late");
        assert_eq!(slots.take(first), None);
        assert_eq!(slots.take(second), Some("second"));
        slots.release(first);
        assert_eq!(slots.in_use(), 1);
    }

    #[test]
    fn sleepers_all_get_a_slot() {
        let slots = Slots::new(3);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let slots = &slots;
                scope.spawn(move || {
                    for number in 0..2_000 {
                        let ticket = slots.insert_wait((thread, number));
                        assert_eq!(slots.take(ticket), Some((thread, number)));
                        slots.release(ticket);
                    }
                });
            }
        });
        assert_eq!(slots.in_use(), 0);
    }
}

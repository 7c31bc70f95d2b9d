//! Who answers for a job: the session that signs it, or whoever gives its call up.
//!
//! A session lays the job on its seat when it enters the module and takes it off when it comes
//! back. A call that lasts too long is given up from outside, by taking the job off. It can be
//! taken off once, so that it is answered once; a late answer finds the seat empty.
//!
//! `tests/handover.rs` compiles this file against loom's mutex and tries every interleaving.

use std::sync::PoisonError;

use super::sync::{Mutex, MutexGuard};

/// The place of one thread that calls a module: what it has in hand and how long it has been
/// inside, with the record `T` of what it did. The mutex is this thread's own; the watch looks in
/// some ten times a second.
pub(super) struct Seat<J, T>(Mutex<Hand<J, T>>);

struct Hand<J, T> {
    job: Option<J>,
    inside: Inside,
    record: T,
}

/// Whether the thread is inside the module.
enum Inside {
    No,
    /// Since then, in the caller's unit of time.
    Since(u64),
    /// Longer than it may, so that it was given up.
    GivenUp,
}

/// The call was given up while it ran. What it brought is not to be used.
#[derive(Debug)]
pub(super) struct GivenUp;

impl<J, T> Seat<J, T> {
    pub(super) fn new(record: T) -> Seat<J, T> {
        Seat(Mutex::new(Hand {
            job: None,
            inside: Inside::No,
            record,
        }))
    }

    /// Before a call, at the time `now`. `job` is what the call is for, if it is for one.
    pub(super) fn enter(&self, job: Option<J>, now: u64, note: impl FnOnce(&mut T)) {
        let mut hand = self.hand();
        hand.job = job;
        hand.inside = Inside::Since(now);
        note(&mut hand.record);
    }

    /// After the call: hands the job back, and notes what came of it.
    ///
    /// # Errors
    /// [`GivenUp`]; nothing is noted then.
    pub(super) fn leave(&self, note: impl FnOnce(&mut T)) -> Result<Option<J>, GivenUp> {
        let mut hand = self.hand();
        if matches!(hand.inside, Inside::GivenUp) {
            return Err(GivenUp);
        }
        hand.inside = Inside::No;
        note(&mut hand.record);
        Ok(hand.job.take())
    }

    /// Gives the call up if it began before `limit`: hands out its job, for which the caller
    /// answers from now on. `None` when there is no such call, or it was given up before.
    pub(super) fn give_up(&self, limit: u64, note: impl FnOnce(&mut T)) -> Option<Option<J>> {
        let mut hand = self.hand();
        match hand.inside {
            Inside::Since(since) if since < limit => {
                hand.inside = Inside::GivenUp;
                note(&mut hand.record);
                Some(hand.job.take())
            }
            _ => None,
        }
    }

    /// The thread of a call that was given up is back, and the seat may be used again.
    pub(super) fn come_back(&self) {
        self.hand().inside = Inside::No;
    }

    /// Notes something outside a call.
    pub(super) fn note(&self, note: impl FnOnce(&mut T)) {
        note(&mut self.hand().record);
    }

    /// Whether the call under way was given up.
    pub(super) fn is_given_up(&self) -> bool {
        matches!(self.hand().inside, Inside::GivenUp)
    }

    /// Looks at the record.
    pub(super) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.hand().record)
    }

    fn hand(&self) -> MutexGuard<'_, Hand<J, T>> {
        // Nothing is left half changed when a note panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

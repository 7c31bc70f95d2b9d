//! The way to the log thread: a queue, and when to wake the thread that reads it.
//!
//! The queue has no limit of its own: whoever submits holds a permit for each item from the
//! engine's `max_in_flight`, and an item waits here at most once, so that number bounds it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::commit::{Append, Reservation};
use crate::preparer::Prepared;

/// What is sent to the log thread.
pub(crate) enum Submission {
    Reserve(Vec<Reservation>),
    Append(Vec<Append>),
    /// From the preparer.
    Segment(Prepared),
    /// Nothing comes after this.
    Close,
}

/// The sending half, shared by everybody.
pub(crate) struct Queue {
    sender: Sender<Submission>,
    pub(crate) in_flight: InFlight,
}

/// Counts the items that are somewhere in the caller's pipeline. When all of them wait for the
/// log, waiting longer cannot make the batch larger, so the log syncs at once.
///
/// A caller that never touches the gauge gets a sync for whatever waits, without delay.
#[derive(Debug)]
pub struct InFlight {
    items: AtomicUsize,
    /// Reservations and appends sent and not answered yet.
    waiting: AtomicUsize,
    /// So many waiting items are enough for a batch while the pipeline is not full.
    records_max: usize,
    /// What the log thread does: one of the constants below.
    doing: AtomicU8,
    log_thread: OnceLock<Thread>,
}

/// Awake: it looks at the queue by itself.
const WORKING: u8 = 0;
/// Asleep with nothing to do: any submission wakes it.
const IDLE: u8 = 1;
/// Asleep until its batch is due: only a submission that makes it due wakes it. A wake-up per
/// chunk would cost more than the log's own work.
const GATHERING: u8 = 2;

impl InFlight {
    fn new(records_max: usize) -> InFlight {
        InFlight {
            items: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            records_max,
            doing: AtomicU8::new(WORKING),
            log_thread: OnceLock::new(),
        }
    }

    /// `items` entered the pipeline.
    pub fn add(&self, items: usize) {
        self.items.fetch_add(items, Ordering::SeqCst);
    }

    /// `items` left the pipeline, with or without a record. If all that are left wait for the log,
    /// it is told to wait no longer.
    pub fn sub(&self, items: usize) {
        let before = self.items.fetch_sub(items, Ordering::SeqCst);
        debug_assert!(
            before >= items,
            "more items left the pipeline than entered it"
        );
        self.wake_if_due();
    }

    /// Items in the pipeline now.
    pub fn get(&self) -> usize {
        self.items.load(Ordering::SeqCst)
    }

    fn wake_if_due(&self) {
        if self.doing.load(Ordering::SeqCst) == GATHERING && self.is_full() {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(thread) = self.log_thread.get() {
            thread.unpark();
        }
    }

    /// Whether waiting longer brings nothing.
    fn is_full(&self) -> bool {
        let waiting = self.waiting.load(Ordering::SeqCst);
        let in_flight = self.get();
        waiting >= enough(self.records_max, in_flight) || waiting >= in_flight
    }
}

/// Most times that a batch is larger than `records_max` when the pipeline is full.
const FULL_FACTOR: usize = 4;

/// How many waiting items are enough for a batch: a quarter of those in flight, from `records_max` to
/// [`FULL_FACTOR`] times as many.
///
/// A sync costs the same whatever the batch, so a machine at its limit wants large ones. There, items queue
/// for much longer than a batch takes to fill; whoever has few items in flight wants them back soon.
pub(crate) fn enough(records_max: usize, in_flight: usize) -> usize {
    let most = records_max.saturating_mul(FULL_FACTOR);
    (in_flight / 4).clamp(records_max, most)
}

impl Queue {
    /// A queue whose reader wants to be woken for `records_max` waiting items.
    pub(crate) fn new(records_max: usize) -> (Queue, Receiver<Submission>) {
        let (sender, receiver) = unbounded();
        let in_flight = InFlight::new(records_max);
        (Queue { sender, in_flight }, receiver)
    }

    /// Sends a submission with so many items. Gives it back when the log thread is gone.
    pub(crate) fn send(&self, submission: Submission, items: usize) -> Result<(), Submission> {
        // Counted before it is sent, and sent before `doing` is read: either this call sees the
        // log thread asleep, or the log thread sees the count before it falls asleep.
        self.in_flight.waiting.fetch_add(items, Ordering::SeqCst);
        if let Err(unsent) = self.sender.send(submission) {
            self.answered(items);
            return Err(unsent.0);
        }
        match self.in_flight.doing.load(Ordering::SeqCst) {
            IDLE => self.in_flight.wake(),
            _ => self.in_flight.wake_if_due(),
        }
        Ok(())
    }

    /// So many items were answered.
    pub(crate) fn answered(&self, items: usize) {
        self.in_flight.waiting.fetch_sub(items, Ordering::SeqCst);
    }

    /// Names the calling thread as the one to wake.
    pub(crate) fn enter_log_thread(&self) {
        // A second call changes nothing: there is one log thread.
        let _ = self.in_flight.log_thread.set(thread::current());
    }

    /// Sleeps until something is sent.
    pub(crate) fn sleep_idle(&self, receiver: &Receiver<Submission>) {
        self.in_flight.doing.store(IDLE, Ordering::SeqCst);
        if receiver.is_empty() {
            thread::park();
        }
        self.in_flight.doing.store(WORKING, Ordering::SeqCst);
    }

    /// Sleeps until enough is waiting, at most so long.
    pub(crate) fn sleep_gathering(&self, longest: Duration) {
        self.in_flight.doing.store(GATHERING, Ordering::SeqCst);
        if !self.in_flight.is_full() {
            thread::park_timeout(longest);
        }
        self.in_flight.doing.store(WORKING, Ordering::SeqCst);
    }
}

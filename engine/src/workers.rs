//! Which worker takes which work, and when.
//!
//! Workers take the most advanced work first: finished signatures to check, then software signatures to make, then
//! requests to prepare. Where lanes verify, batches are whole groups of lanes; a few signatures wait for company,
//! for a short time and only while so much is in flight that company will come.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use crossbeam_queue::ArrayQueue;

use crate::pipeline::Pipeline;
use crate::slots::Ticket;
use crate::verification::{BATCH_MAX, BATCH_ONE_BY_ONE, LANES};

/// How long fewer signatures than are wanted wait for more, counted from the batch before. At 8,000 certificates per second
/// a group fills in that time.
const COMPANY_WAIT_MAX: Duration = Duration::from_millis(1);

/// While much is in flight, a worker is woken for so many signatures and not for each group of lanes: a chunk shares
/// inversions, and a wake-up costs as much as a verification in it.
const COMPANY_WANTED: usize = 4 * LANES;

/// So much is in flight that waiting for company delays nobody: at 30,000 certificates per second it passes in 8 ms.
const COMPANY_WANTED_IN_FLIGHT: usize = 4 * BATCH_MAX;

/// With fewer in flight nothing waits for company: it might be the only one that could come.
const COMPANY_IN_FLIGHT_MIN: usize = BATCH_MAX;

/// The pool, and who of it is awake.
pub(crate) struct Workers {
    pool: rayon::ThreadPool,
    threads: usize,
    /// Workers in [`Pipeline::drive`].
    drivers: AtomicUsize,
    /// A worker waits for company for what there is.
    waits: AtomicBool,
    /// The same for the one that waits, and its alarm.
    waiting: Mutex<bool>,
    alarm: Condvar,
    start: Instant,
    /// One batch at a time is taken from a queue, so that two workers do not share one.
    pub(crate) requests: Taking,
    pub(crate) signatures: Taking,
}

/// Who takes the next batch of a queue.
#[derive(Debug, Default)]
pub(crate) struct Taking {
    turn: Mutex<()>,
    /// When the last batch was taken, in microseconds since the start.
    last_us: AtomicU64,
}

impl Workers {
    pub(crate) fn new(pool: rayon::ThreadPool) -> Self {
        Self {
            threads: pool.current_num_threads(),
            pool,
            drivers: AtomicUsize::new(0),
            waits: AtomicBool::new(false),
            waiting: Mutex::new(false),
            alarm: Condvar::new(),
            start: Instant::now(),
            requests: Taking::default(),
            signatures: Taking::default(),
        }
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// How long what lies in a queue may still wait for company.
    fn patience(&self, taking: &Taking) -> Duration {
        let since = self
            .now_us()
            .saturating_sub(taking.last_us.load(Ordering::Relaxed));
        COMPANY_WAIT_MAX.saturating_sub(Duration::from_micros(since))
    }

    fn enter(&self) -> bool {
        let more = |drivers: usize| (drivers < self.threads).then_some(drivers + 1);
        self.drivers
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .is_ok()
    }

    /// Ends the wait for company.
    fn ring(&self) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.alarm.notify_one();
    }
}

impl Pipeline {
    /// Queues a ticket whose slot holds [`crate::pipeline::Work::Submitted`].
    pub(crate) fn enqueue(self: &Arc<Self>, ticket: Ticket) {
        let pushed = self.intake.push(ticket);
        debug_assert!(pushed.is_ok(), "the queue holds every ticket");
        self.wake();
    }

    /// Queues a ticket whose slot holds [`crate::pipeline::Work::Signing`], for the workers to sign.
    pub(crate) fn enqueue_signing(self: &Arc<Self>, ticket: Ticket) {
        let pushed = self.to_sign.push(ticket);
        debug_assert!(pushed.is_ok(), "the queue holds every ticket");
        self.wake();
    }

    /// Queues a ticket whose slot holds [`crate::pipeline::Work::Signed`]. Workers that are awake look within a batch's time;
    /// idle ones need a call.
    pub(crate) fn enqueue_signed(self: &Arc<Self>, ticket: Ticket) {
        let pushed = self.signed.push(ticket);
        debug_assert!(pushed.is_ok(), "the queue holds every ticket");
        if self.workers.waits.load(Ordering::SeqCst)
            || self.workers.drivers.load(Ordering::SeqCst) == 0
            || self.signed.len() >= self.verifier.certificate_batch()
        {
            self.wake();
        }
    }

    /// Starts another worker if one is free. One that waits for company is called if it has come.
    fn wake(self: &Arc<Self>) {
        if self.workers.waits.load(Ordering::SeqCst) {
            if self.has_work() {
                self.workers.ring();
            }
        } else if self.workers.enter() {
            let pipeline = self.clone();
            self.workers.pool.spawn(move || pipeline.drive());
        }
    }

    /// One worker's loop: the most advanced work first. Ends when there is none.
    fn drive(self: &Arc<Self>) {
        let workers = &self.workers;
        let mut prepared_last = false;
        loop {
            let full = self.signed.len() >= self.verifier.certificate_batch();
            let due = self.checkable() > 0 && (prepared_last || self.preparable() == 0);
            prepared_last = false;
            if full || due && self.to_sign.is_empty() {
                self.check_batch();
            } else if !self.to_sign.is_empty() {
                self.sign_batch();
            } else if self.preparable() > 0 {
                self.prepare_batch();
                prepared_last = true;
            } else if !self.is_idle() {
                if !self.wait_for_company() {
                    workers.drivers.fetch_sub(1, Ordering::SeqCst);
                    return;
                }
            } else {
                workers.drivers.fetch_sub(1, Ordering::SeqCst);
                // Work that came between the look and the step down found all workers busy.
                if self.is_idle() || !workers.enter() {
                    return;
                }
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.intake.is_empty() && self.to_sign.is_empty() && self.signed.is_empty()
    }

    /// Whether there is anything that does not wait for company.
    fn has_work(&self) -> bool {
        !self.to_sign.is_empty() || self.checkable() > 0 || self.preparable() > 0
    }

    /// Finished signatures to check now.
    fn checkable(&self) -> usize {
        let batch = self.verifier.certificate_batch();
        self.ready(&self.signed, &self.workers.signatures, batch)
    }

    /// Requests to prepare now.
    fn preparable(&self) -> usize {
        let batch = self.verifier.request_batch();
        self.ready(&self.intake, &self.workers.requests, batch)
    }

    /// How many to take from a queue now: whole groups of lanes, or what there is if no company is to be waited for.
    fn ready(&self, queue: &ArrayQueue<Ticket>, taking: &Taking, batch: usize) -> usize {
        let waiting = queue.len().min(batch);
        if waiting == 0 || batch == BATCH_ONE_BY_ONE {
            return waiting;
        }
        let groups = waiting - waiting % LANES;
        let in_flight = self.slots.in_use();
        let wanted = match in_flight {
            COMPANY_WANTED_IN_FLIGHT.. => COMPANY_WANTED,
            _ => LANES,
        };
        let waits = in_flight >= COMPANY_IN_FLIGHT_MIN && !self.workers.patience(taking).is_zero();
        match groups {
            _ if groups >= wanted => groups,
            _ if waits => 0,
            0 => waiting,
            // The rest is company for the next.
            _ => groups,
        }
    }

    /// Takes the next finished signatures to check.
    pub(crate) fn take_signed(&self) -> ArrayVec<Ticket, BATCH_MAX> {
        let batch = self.verifier.certificate_batch();
        self.take(&self.signed, &self.workers.signatures, batch)
    }

    /// Takes the next requests to prepare.
    pub(crate) fn take_requests(&self) -> ArrayVec<Ticket, BATCH_MAX> {
        let batch = self.verifier.request_batch();
        self.take(&self.intake, &self.workers.requests, batch)
    }

    fn take(
        &self,
        queue: &ArrayQueue<Ticket>,
        taking: &Taking,
        batch: usize,
    ) -> ArrayVec<Ticket, BATCH_MAX> {
        let _turn = taking.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let count = self.ready(queue, taking, batch);
        if count > 0 {
            taking
                .last_us
                .store(self.workers.now_us(), Ordering::Relaxed);
        }
        (0..count).map_while(|_| queue.pop()).collect()
    }

    /// Waits until what there is has company or has waited long enough. False if another worker does that.
    fn wait_for_company(&self) -> bool {
        let workers = &self.workers;
        let queues = [
            (&self.signed, &workers.signatures),
            (&self.intake, &workers.requests),
        ];
        let waiting = queues.into_iter().filter(|(queue, _)| !queue.is_empty());
        let patience = waiting.map(|(_, taking)| workers.patience(taking)).min();
        let mut waits = workers
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *waits {
            return false;
        }
        *waits = true;
        workers.waits.store(true, Ordering::SeqCst);
        // From here on whoever brings work rings. What was brought before is seen here.
        if !self.has_work() {
            let patience = patience.unwrap_or_default();
            let woken = workers
                .alarm
                .wait_timeout_while(waits, patience, |waits| *waits);
            waits = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        *waits = false;
        workers.waits.store(false, Ordering::SeqCst);
        true
    }
}

//! One token of a pool: its breaker, its seats and its figures.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender};

use self::wrong::Wrong;
use super::handover::Seat;
use super::key::TokenKey;
use super::module::lock;
use super::shared::{Bell, FAILURES_IN_A_ROW, Queued, REFUSALS_IN_A_ROW, Shared};
use super::tally::Tally;
use super::uri::Pkcs11Uri;
use crate::error::SignError;
use crate::event::{PoolEventKind, StateChange, TokenState};

mod figures;
mod wrong;

/// Changes of state that are kept: some hours of a token that comes and goes.
const HISTORY_LEN: usize = 32;

/// A seat of this pool.
pub(super) type JobSeat = Seat<Queued, Tally>;

/// One token of a pool.
pub(super) struct Member {
    pub(super) place: usize,
    pub(super) uri: Pkcs11Uri,
    /// Counts how often its breaker opened. Workers of an older generation leave.
    generation: AtomicU64,
    /// Failures since the last signature.
    failures: AtomicU32,
    /// Requests refused since the last signature, also over an outage: who comes back and refuses is
    /// out again at once.
    refusals: AtomicU32,
    /// Wrong signatures since the last one that verified or the token's test.
    wrong_in_a_row: AtomicU32,
    /// Sessions that there should be.
    pub(super) target: AtomicUsize,
    /// Sessions that are to leave, because there are more than there should be.
    pub(super) surplus: AtomicUsize,
    /// The keeper's place; it has no jobs.
    pub(super) keeper: JobSeat,
    /// Wakes the keeper.
    pub(super) bell: Bell,
    control: Mutex<Control>,
}

struct Control {
    label: Arc<str>,
    state: TokenState,
    why: Arc<str>,
    /// What a job is told once nothing else is left to try.
    fault: Option<SignError>,
    /// Workers wait for a job or for the end of this channel.
    up: Option<Sender<Infallible>>,
    key: Option<Arc<TokenKey>>,
    entries: Vec<Entry>,
    inside: usize,
    late: u64,
    wrong: Wrong,
    /// Of the seats that are gone.
    totals: Tally,
    history: VecDeque<StateChange>,
}

/// A worker's entry.
struct Entry {
    seat: Arc<JobSeat>,
    thread: Option<JoinHandle<()>>,
    /// The thread is about to end.
    left: bool,
}

/// Why a token no longer signs.
pub(super) struct Trip {
    pub(super) to: TokenState,
    pub(super) why: String,
    pub(super) fault: SignError,
}

impl Member {
    pub(super) fn new(place: usize, uri: Pkcs11Uri, sessions: usize) -> Member {
        let label = match uri.token() {
            Some(label) => label.to_owned(),
            None => uri.describe_token(),
        };
        let control = Control {
            label: Arc::from(label),
            state: TokenState::Opening,
            why: Arc::from("it is being opened"),
            fault: None,
            up: None,
            key: None,
            entries: Vec::new(),
            inside: 0,
            late: 0,
            wrong: Wrong::default(),
            totals: Tally::default(),
            history: VecDeque::new(),
        };
        Member {
            place,
            uri,
            generation: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            refusals: AtomicU32::new(0),
            wrong_in_a_row: AtomicU32::new(0),
            target: AtomicUsize::new(sessions),
            surplus: AtomicUsize::new(0),
            keeper: Seat::new(Tally::default()),
            bell: Bell::new(),
            control: Mutex::new(control),
        }
    }

    pub(super) fn label(&self) -> Arc<str> {
        Arc::clone(&lock(&self.control).label)
    }

    pub(super) fn state(&self) -> TokenState {
        lock(&self.control).state
    }

    pub(super) fn fault(&self) -> Option<SignError> {
        lock(&self.control).fault.clone()
    }

    pub(super) fn key(&self) -> Option<Arc<TokenKey>> {
        lock(&self.control).key.clone()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// State and reason, for a message about the whole pool.
    pub(super) fn tell_state(&self) -> String {
        let control = lock(&self.control);
        format!(
            "token '{}' is {}: {}",
            control.label, control.state, control.why
        )
    }

    /// A signature came: failures before it were moments.
    pub(super) fn works(&self) {
        // Looked at first, so that sessions that all sign do not fight for the cache line.
        for row in [&self.failures, &self.refusals] {
            if row.load(Ordering::Relaxed) != 0 {
                row.store(0, Ordering::Relaxed);
            }
        }
    }

    /// A failure came that may be a moment's. Returns whether it is one too many.
    pub(super) fn fails_again(&self) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_IN_A_ROW
    }

    /// A request was refused. Returns whether that is one too many.
    pub(super) fn refuses_again(&self) -> bool {
        self.refusals.fetch_add(1, Ordering::Relaxed) + 1 >= REFUSALS_IN_A_ROW
    }

    /// Whether a worker is to leave because there are too many.
    pub(super) fn takes_surplus(&self) -> bool {
        let less = |surplus: usize| surplus.checked_sub(1);
        self.surplus.load(Ordering::Relaxed) > 0
            && self
                .surplus
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
                .is_ok()
    }

    /// Opens the breaker, unless that was done since the caller's session opened.
    pub(super) fn trip(&self, shared: &Shared, generation: u64, trip: Trip) {
        let mut control = lock(&self.control);
        if control.state != TokenState::Up || self.generation() != generation {
            return;
        }
        let change = self.leave_up(&mut control, trip);
        drop(control);
        self.bell.ring();
        shared.watch.ring();
        shared.tell(self, PoolEventKind::State(change));
    }

    fn leave_up(&self, control: &mut Control, trip: Trip) -> StateChange {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.failures.store(0, Ordering::Relaxed);
        control.up = None;
        control.wrong.suspected |= trip.to == TokenState::WrongSignatures;
        control.fault = Some(trip.fault);
        control.change(trip.to, Arc::from(trip.why))
    }

    /// The token signs from now on: with the key, and with the sessions that `seat_workers` seats.
    /// Returns what that says.
    pub(super) fn take_up<R>(
        &self,
        shared: &Shared,
        key: &Arc<TokenKey>,
        why: &str,
        seat_workers: impl FnOnce(&mut Seats<'_>) -> R,
    ) -> R {
        let mut control = lock(&self.control);
        let (up, gone) = crossbeam_channel::bounded(0);
        control.up = Some(up);
        control.key = Some(Arc::clone(key));
        control.fault = None;
        self.surplus.store(0, Ordering::Relaxed);
        if std::mem::take(&mut control.wrong.suspected) {
            self.wrong_in_a_row.store(0, Ordering::Relaxed);
        }
        // First: the workers' first look is at the state that they were made for.
        let change = control.change(TokenState::Up, Arc::from(why));
        let generation = self.generation();
        let seated = seat_workers(&mut Seats {
            entries: &mut control.entries,
            gone,
            generation,
        });
        drop(control);
        shared.watch.ring();
        shared.tell(self, PoolEventKind::State(change));
        seated
    }

    /// Adds sessions to a token that signs; `None` when it no longer does.
    pub(super) fn add_workers<R>(
        &self,
        generation: u64,
        gone: &Receiver<Infallible>,
        seat_workers: impl FnOnce(&mut Seats<'_>) -> R,
    ) -> Option<R> {
        let mut control = lock(&self.control);
        if control.state != TokenState::Up || self.generation() != generation {
            return None;
        }
        Some(seat_workers(&mut Seats {
            entries: &mut control.entries,
            gone: gone.clone(),
            generation,
        }))
    }

    /// A state other than `Up`, after an attempt to open the token.
    pub(super) fn stay_down(
        &self,
        shared: &Shared,
        to: TokenState,
        why: String,
        fault: Option<SignError>,
    ) {
        let mut control = lock(&self.control);
        control.fault = fault;
        if control.state == to {
            control.why = Arc::from(why);
            return;
        }
        let change = control.change(to, Arc::from(why));
        drop(control);
        shared.watch.ring();
        shared.tell(self, PoolEventKind::State(change));
    }

    /// The token's own label, once it was seen.
    pub(super) fn name(&self, label: &Arc<str>) {
        lock(&self.control).label = Arc::clone(label);
    }

    /// Ends the sessions without a change of state: the pool closes.
    pub(super) fn dismiss(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        lock(&self.control).up = None;
        self.bell.ring();
    }

    /// Called by a worker whose thread is about to end, its session closed.
    pub(super) fn worker_leaves(&self, seat: &Arc<JobSeat>) {
        let mut control = lock(&self.control);
        let found = control
            .entries
            .iter_mut()
            .find(|entry| Arc::ptr_eq(&entry.seat, seat));
        if let Some(entry) = found {
            entry.left = true;
        }
        drop(control);
        self.bell.ring();
    }

    /// Joins the threads that left. Returns how many sessions remain and how many threads panicked.
    pub(super) fn reap(&self) -> (usize, usize) {
        let mut gone = Vec::new();
        let remaining = {
            let mut control = lock(&self.control);
            let Control {
                entries, totals, ..
            } = &mut *control;
            entries.retain_mut(|entry| {
                if entry.left {
                    entry.seat.read(|tally| totals.add(tally));
                    gone.extend(entry.thread.take());
                }
                !entry.left
            });
            entries.len()
        };
        let panicked = gone
            .into_iter()
            .map(|thread| usize::from(thread.join().is_err()))
            .sum();
        (remaining, panicked)
    }

    /// Sessions that there are.
    pub(super) fn sessions(&self) -> usize {
        let control = lock(&self.control);
        control.entries.iter().filter(|entry| !entry.left).count()
    }

    /// Calls given up that are still inside.
    pub(super) fn inside(&self) -> usize {
        lock(&self.control).inside
    }

    /// Gives up the key, and with it, when no session is left, the token.
    pub(super) fn forget_key(&self) -> Option<Arc<TokenKey>> {
        lock(&self.control).key.take()
    }

    /// Gives up the calls that began before `limit_us`, and returns their jobs.
    pub(super) fn give_up_calls(&self, shared: &Shared, limit_us: u64) -> Vec<Queued> {
        let (mut jobs, mut events) = (Vec::new(), Vec::new());
        // Under the lock, so that a call that returns right now is counted out after it was
        // counted in.
        let mut control = lock(&self.control);
        let Control {
            entries,
            totals,
            inside,
            ..
        } = &mut *control;
        let limit = shared.options.call_limit;
        let mut given_up = |job: Option<Queued>| {
            *inside += 1;
            events.push(PoolEventKind::CallGivenUp {
                limit,
                inside: *inside,
                job: job.is_some(),
            });
            jobs.extend(job);
        };
        entries.retain(
            |entry| match entry.seat.give_up(limit_us, Tally::given_up) {
                Some(job) => {
                    given_up(job);
                    entry.seat.read(|tally| totals.add(tally));
                    // Its thread is on its own from now on: nobody waits for it.
                    false
                }
                None => true,
            },
        );
        if let Some(job) = self.keeper.give_up(limit_us, |_| ()) {
            given_up(job);
        }
        // Without a session, and with nobody who could open one, its jobs would wait for ever.
        let stranded = control.entries.iter().all(|entry| entry.left) && self.keeper.is_given_up();
        if events.is_empty() && !stranded {
            return jobs;
        }
        let too_many = stranded || control.inside >= self.abandoned_max(shared);
        if too_many && control.state == TokenState::Up {
            let trip = self.hangs(&control, limit);
            events.push(PoolEventKind::State(self.leave_up(&mut control, trip)));
        }
        drop(control);
        self.bell.ring();
        for event in events {
            shared.tell(self, event);
        }
        jobs
    }

    fn hangs(&self, control: &Control, limit: Duration) -> Trip {
        Trip {
            to: TokenState::Down,
            why: format!(
                "{} calls did not return within {} s; check the HSM and its network, and restart \
                 this process if they stay away",
                control.inside,
                limit.as_secs_f64()
            ),
            fault: SignError::Hung {
                token: Arc::clone(&control.label),
                limit,
            },
        }
    }

    /// Most calls that may hang at a time.
    pub(super) fn abandoned_max(&self, shared: &Shared) -> usize {
        let sessions = || self.target.load(Ordering::Relaxed);
        shared.options.abandoned_max.unwrap_or_else(sessions).max(1)
    }

    /// A call that was given up came back.
    pub(super) fn came_back(&self, shared: &Shared) {
        let mut control = lock(&self.control);
        control.inside = control.inside.saturating_sub(1);
        control.late += 1;
        let inside = control.inside;
        drop(control);
        self.bell.ring();
        shared.tell(self, PoolEventKind::CallReturned { inside });
    }
}

impl Control {
    fn change(&mut self, to: TokenState, why: Arc<str>) -> StateChange {
        let change = StateChange {
            at: SystemTime::now(),
            from: self.state,
            to,
            why: Arc::clone(&why),
        };
        self.state = to;
        self.why = why;
        if self.history.len() == HISTORY_LEN {
            self.history.pop_front();
        }
        self.history.push_back(change.clone());
        change
    }
}

/// Where workers are seated, with the member's lock held: a worker that leaves at once finds its
/// entry.
pub(super) struct Seats<'a> {
    entries: &'a mut Vec<Entry>,
    /// Ends when the breaker opens.
    pub(super) gone: Receiver<Infallible>,
    pub(super) generation: u64,
}

impl Seats<'_> {
    pub(super) fn add(&mut self, seat: Arc<JobSeat>, thread: JoinHandle<()>) {
        self.entries.push(Entry {
            seat,
            thread: Some(thread),
            left: false,
        });
    }
}

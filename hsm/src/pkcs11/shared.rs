//! What the threads of one pool share: the channel of jobs, the tokens, the limits.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::member::Member;
use super::pin_mark::PinMarks;
use super::uri::Pkcs11Uri;
use crate::algorithm::KeyAlgorithm;
use crate::error::SignError;
use crate::event::{PoolEvent, PoolEventKind, TokenState};
use crate::metrics::Counters;
use crate::options::PoolOptions;
use crate::public_key::PublicKey;
use crate::signing::{SignJob, Signature};

/// Attempts that a job has, besides three for each token: three failures in a row open a token's
/// breaker, so that a job can meet all of them at their worst and still be signed by the last.
const ATTEMPTS_SPARE: u32 = 4;

/// Failures without a signature between them that open a token's breaker. One or two may be the
/// job's or a moment's; what fails three times in a row fails for good, and jobs have few attempts.
pub(super) const FAILURES_IN_A_ROW: u32 = 3;

/// Refused requests without a signature between them that take a token out while others sign. Every
/// job of a pool is for the same key and of the same form: one may be odd, sixteen are not.
pub(super) const REFUSALS_IN_A_ROW: u32 = 16;

/// A job on its way to a session.
pub(super) struct Queued {
    pub(super) job: SignJob,
    /// Attempts made.
    pub(super) attempts: u32,
    /// When it was submitted, in microseconds since the pool's start.
    pub(super) since_us: u64,
}

/// What all threads of a pool see.
pub(super) struct Shared {
    /// Unbounded, and bounded all the same: a job is only submitted under one of the caller's
    /// permits, so the channel never holds more than those, and no send ever waits. A job that
    /// goes back has been taken out before.
    jobs: Sender<Queued>,
    pub(super) queue: Receiver<Queued>,
    pub(super) members: Vec<Member>,
    pub(super) counters: Counters,
    submitted: AtomicU64,
    pub(super) options: PoolOptions,
    pub(super) marks: PinMarks,
    pub(super) attempts_max: u32,
    /// The pool's key, once it is known.
    pub(super) reference: OnceLock<Reference>,
    /// Wakes the watch.
    pub(super) watch: Bell,
    /// Nothing more is submitted; what is there is still signed.
    closing: AtomicBool,
    /// Everything is answered; the threads end.
    ended: AtomicBool,
    started: Instant,
}

impl Shared {
    pub(super) fn new(uris: &[Pkcs11Uri], options: PoolOptions, sessions: usize) -> Shared {
        let (jobs, queue) = crossbeam_channel::unbounded();
        let count = u32::try_from(uris.len()).unwrap_or(u32::MAX);
        let members = uris
            .iter()
            .enumerate()
            .map(|(place, uri)| Member::new(place, uri.clone(), sessions))
            .collect();
        Shared {
            jobs,
            queue,
            members,
            counters: Counters::default(),
            submitted: AtomicU64::new(0),
            marks: PinMarks::new(options.state_directory.clone()),
            attempts_max: count
                .saturating_mul(FAILURES_IN_A_ROW)
                .saturating_add(ATTEMPTS_SPARE),
            options,
            reference: OnceLock::new(),
            watch: Bell::new(),
            closing: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            started: Instant::now(),
        }
    }

    /// Microseconds since the pool's start.
    pub(super) fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn now_us(&self) -> u64 {
        self.micros(Instant::now())
    }

    /// Takes a job from the caller, which has had so many attempts before.
    pub(super) fn submit(&self, job: SignJob, attempts: u32) {
        self.submitted.fetch_add(1, Ordering::Relaxed);
        self.put_back(Queued {
            job,
            attempts,
            since_us: self.now_us(),
        });
    }

    /// Into the channel: for whichever session is free.
    pub(super) fn put_back(&self, queued: Queued) {
        // The receiver lives as long as this does.
        if let Err(error) = self.jobs.send(queued) {
            self.answer(error.0, Err(SignError::Stopped));
        }
    }

    /// Answers a job. Who calls this has taken it off its seat or out of the channel.
    pub(super) fn answer(&self, queued: Queued, outcome: Result<Signature, SignError>) {
        self.counters.outcome(&outcome);
        let SignJob {
            ticket, completion, ..
        } = queued.job;
        // A completion that panics must not take the session's thread with it: the jobs behind
        // it would never be answered.
        let call = AssertUnwindSafe(move || completion.signed(ticket, outcome));
        if catch_unwind(call).is_err() {
            self.counters.completion_panicked();
        }
    }

    /// Whether every job submitted was answered.
    pub(super) fn is_drained(&self) -> bool {
        self.counters.answered() >= self.submitted.load(Ordering::Relaxed)
    }

    pub(super) fn begin_closing(&self) {
        self.closing.store(true, Ordering::Release);
        self.watch.ring();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Tells every thread to end.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        for member in &self.members {
            member.dismiss();
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Tells the observer. Call it with no lock held.
    pub(super) fn tell(&self, member: &Member, kind: PoolEventKind) {
        let Some(observer) = &self.options.observer else {
            return;
        };
        let event = PoolEvent {
            token: member.label(),
            place: member.place,
            kind,
        };
        // An observer that panics is its own loss.
        let _ = catch_unwind(AssertUnwindSafe(|| observer.event(&event)));
    }

    /// Whether a token other than this one signs.
    pub(super) fn another_signs(&self, place: usize) -> bool {
        let mut others = self.members.iter().filter(|member| member.place != place);
        others.any(|member| member.state() == TokenState::Up)
    }

    /// Why no token signs: `None` while one does, or may do so again without a person.
    pub(super) fn stopped_for_good(&self) -> Option<SignError> {
        let lasting = |state: TokenState| !state.may_return();
        if !self.members.iter().all(|member| lasting(member.state())) {
            return None;
        }
        Some(match &self.members[..] {
            [member] => member.fault().unwrap_or_else(|| self.tokens_down(0)),
            _ => self.tokens_down(0),
        })
    }

    /// The error of a job that no token took.
    pub(super) fn tokens_down(&self, waited_us: u64) -> SignError {
        let told: Vec<String> = self.members.iter().map(Member::tell_state).collect();
        SignError::TokensDown {
            waited: Duration::from_micros(waited_us),
            tokens: Arc::from(told.join("; ")),
        }
    }
}

/// The key that every token has to hold, as the first of them told it at the start.
pub(super) struct Reference {
    pub(super) public_key: PublicKey,
    pub(super) algorithm: KeyAlgorithm,
}

thread_local! {
    /// The pool that this thread works for, by its address.
    static POOL: Cell<usize> = const { Cell::new(0) };
}

/// Called first by every thread of a pool.
pub(super) fn enter_thread(shared: &Arc<Shared>) {
    POOL.set(Arc::as_ptr(shared).addr());
}

/// Whether this is a thread of the pool, which cannot wait for its own end.
pub(super) fn is_own_thread(shared: &Arc<Shared>) -> bool {
    POOL.get() == Arc::as_ptr(shared).addr()
}

/// Wakes one thread. Rings that are not heard yet are one.
pub(super) struct Bell {
    ring: Sender<()>,
    heard: Receiver<()>,
}

impl Bell {
    pub(super) fn new() -> Bell {
        let (ring, heard) = crossbeam_channel::bounded(1);
        Bell { ring, heard }
    }

    pub(super) fn ring(&self) {
        // Full means that it rings already.
        let _ = self.ring.try_send(());
    }

    pub(super) fn wait(&self, timeout: Duration) {
        // Timed out or not, the one who waits looks around.
        let _ = self.heard.recv_timeout(timeout);
    }
}

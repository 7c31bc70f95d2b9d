//! A session's thread: takes jobs from the channel, signs them, and acts on what fails.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};

use super::breaker;
use super::handover::{GivenUp, Seat};
use super::member::{JobSeat, Member, Seats};
use super::session::SigningSession;
use super::shared::{self, Queued, Shared};
use super::tally::Tally;
use super::verdict::{self, Verdict};
use crate::ckr::ErrorClass;
use crate::error::SignError;
use crate::event::TokenState;
use crate::signing::{Origin, Signature};

/// First wait of a session whose token is busy.
const BUSY_WAIT_MIN: Duration = Duration::from_millis(10);

/// Longest wait of a session whose token is busy.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(1);

/// One session at work.
struct Worker {
    shared: Arc<Shared>,
    place: usize,
    seat: Arc<JobSeat>,
    generation: u64,
    /// Ends when the token's breaker opens.
    gone: Receiver<Infallible>,
    session: SigningSession,
    busy_wait: Duration,
}

/// Whether the worker goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Stay,
    Leave,
    /// The call was given up: the thread is on its own, its seat is somebody else's.
    Alone,
}

/// Starts a worker's thread. The seats' lock is held, so that it waits for its entry.
pub(super) fn start(
    shared: &Arc<Shared>,
    member: &Member,
    seats: &mut Seats<'_>,
    session: SigningSession,
    number: usize,
) -> std::io::Result<()> {
    let seat = Arc::new(Seat::new(Tally::default()));
    let worker = Worker {
        shared: Arc::clone(shared),
        place: member.place,
        seat: Arc::clone(&seat),
        generation: seats.generation,
        gone: seats.gone.clone(),
        session,
        busy_wait: BUSY_WAIT_MIN,
    };
    let thread: JoinHandle<()> = thread::Builder::new()
        .name(format!("pkcs11-sign-{}-{number}", member.place))
        .spawn(move || worker.run())?;
    seats.add(seat, thread);
    Ok(())
}

impl Worker {
    fn run(mut self) {
        shared::enter_thread(&self.shared);
        let ended = catch_unwind(AssertUnwindSafe(|| self.work()));
        let (shared, place, seat) = (Arc::clone(&self.shared), self.place, Arc::clone(&self.seat));
        let member = &shared.members[place];
        if matches!(ended, Ok(Next::Alone)) {
            if shared.has_ended() {
                // The pool closed without this call. Its module was left as it is, and so are
                // the session and the token.
                std::mem::forget(self);
            } else {
                // Counted as inside until the session is closed: that may hang too.
                drop(self);
            }
            return member.came_back(&shared);
        }
        // A panic leaves the job on the seat; it is not lost with the thread.
        if let Ok(Some(job)) = self.seat.leave(Tally::given_up) {
            if job.attempts < shared.attempts_max {
                shared.put_back(job);
            } else {
                shared.answer(job, Err(SignError::Stopped));
            }
        }
        // Closing the session is a call like any other.
        self.seat.enter(None, shared.now_us(), |_| ());
        drop(self);
        match seat.leave(|_| ()) {
            Ok(_) => member.worker_leaves(&seat),
            Err(GivenUp) => member.came_back(&shared),
        }
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    }

    fn member(&self) -> &Member {
        &self.shared.members[self.place]
    }

    fn work(&mut self) -> Next {
        loop {
            if self.member().generation() != self.generation || self.member().takes_surplus() {
                return Next::Leave;
            }
            let next = match self.next_job() {
                Awaited::Job(job) => self.serve(job),
                Awaited::Idle => self.keep_alive(),
                Awaited::Gone => Next::Leave,
            };
            if next != Next::Stay {
                return next;
            }
        }
    }

    /// Under load one receive from the channel; without it, a wait for whatever comes first.
    fn next_job(&self) -> Awaited {
        let queue = &self.shared.queue;
        if let Ok(job) = queue.try_recv() {
            return Awaited::Job(job);
        }
        select! {
            recv(queue) -> job => job.map_or(Awaited::Gone, Awaited::Job),
            recv(self.gone) -> _ => Awaited::Gone,
            default(self.shared.options.keep_alive) => Awaited::Idle,
        }
    }

    /// One job, from the channel to its answer or back.
    fn serve(&mut self, mut job: Queued) -> Next {
        if self.member().generation() != self.generation {
            self.shared.put_back(job);
            return Next::Leave;
        }
        // The copy that a call that hangs may keep.
        let input = job.job.input.clone();
        let mut used = [false; ErrorClass::ALL.len()];
        loop {
            job.attempts += 1;
            let logins = self.session.logins();
            let started = Instant::now();
            self.seat.enter(
                Some(job),
                self.shared.micros(started),
                Tally::attempt_begins,
            );
            let mut signature = Signature::empty();
            let error = match self.session.sign(&input, &mut signature) {
                Ok(()) => {
                    let latency = started.elapsed();
                    return match self.seat.leave(|tally| tally.signed(latency)) {
                        Ok(Some(job)) => self.deliver(job, signature),
                        Ok(None) => Next::Stay,
                        Err(GivenUp) => Next::Alone,
                    };
                }
                Err(error) => error,
            };
            let class = error.class();
            job = match self.seat.leave(|tally| tally.refused(class)) {
                Ok(Some(job)) => job,
                Ok(None) => return Next::Stay,
                Err(GivenUp) => return Next::Alone,
            };
            let mut verdict = verdict::of(&error);
            if let Verdict::Remedy = verdict {
                let again = std::mem::replace(&mut used[class.index()], true);
                if !again && job.attempts < self.shared.attempts_max {
                    match self.remedy(job, &error, logins) {
                        Ok((back, Ok(()))) => {
                            self.seat.note(Tally::retried);
                            job = back;
                            continue;
                        }
                        Ok((back, Err(error))) => {
                            let verdict = verdict::of_remedy(&error);
                            return self.give_back(back, error, verdict);
                        }
                        Err(GivenUp) => return Next::Alone,
                    }
                }
                verdict = verdict::of_remedy(&error);
            }
            return self.give_back(job, error, verdict);
        }
    }

    fn deliver(&mut self, job: Queued, mut signature: Signature) -> Next {
        signature.comes_from(Origin {
            place: self.place,
            generation: self.generation,
            attempts: job.attempts,
        });
        self.member().works();
        self.busy_wait = BUSY_WAIT_MIN;
        self.shared.answer(job, Ok(signature));
        Next::Stay
    }

    /// What the class of an error asks for, with the job on the seat: a remedy may hang too.
    fn remedy(
        &mut self,
        job: Queued,
        error: &SignError,
        logins: u64,
    ) -> Result<(Queued, Result<(), SignError>), GivenUp> {
        self.seat.enter(Some(job), self.shared.now_us(), |_| ());
        let counters = &self.shared.counters;
        let outcome = match (error.class(), error) {
            (ErrorClass::Session, _) => self.session.reopen(error.code(), counters),
            (ErrorClass::Handle, _) => self.session.find_key_again(counters),
            // There is none: it is remembered.
            (ErrorClass::Pin, SignError::Call { call, .. }) => {
                Err(self.session.key().token().pin_was_refused(call.code))
            }
            _ => self.session.log_in_again(logins, counters),
        };
        let job = self.seat.leave(|_| ())?.ok_or(GivenUp)?;
        Ok((job, outcome))
    }

    /// A job that was not signed goes on or gets its error, and the token what it deserves.
    fn give_back(&mut self, job: Queued, error: SignError, verdict: Verdict) -> Next {
        let mut next = Next::Stay;
        let mut wait = None;
        match verdict {
            // With none that signs, each is told what the token says.
            Verdict::Refused
                if self.member().refuses_again() && self.shared.another_signs(self.place) =>
            {
                self.stop_token(TokenState::Down, &error);
                next = Next::Leave;
            }
            Verdict::Answer | Verdict::Refused => {
                self.answer_error(job, error);
                return Next::Stay;
            }
            Verdict::Stop(to) => {
                self.stop_token(to, &error);
                next = Next::Leave;
            }
            Verdict::ModuleLost => {
                self.stop_module(&error);
                next = Next::Leave;
            }
            Verdict::NoSession => next = Next::Leave,
            Verdict::Suspicious | Verdict::Busy | Verdict::Remedy => {
                if self.member().fails_again() {
                    self.stop_token(TokenState::Down, &error);
                    next = Next::Leave;
                } else if matches!(verdict, Verdict::Busy) {
                    wait = Some(self.busy_wait);
                    self.busy_wait = (self.busy_wait * 2).min(BUSY_WAIT_MAX);
                }
            }
        }
        if !self.session.is_open() {
            // The keeper opens another in its place.
            (next, wait) = (Next::Leave, None);
        }
        // The breaker first, so that no other session of this token takes the job meanwhile.
        if job.attempts >= self.shared.attempts_max {
            self.answer_error(job, error);
        } else {
            self.seat.note(Tally::retried);
            self.shared.put_back(job);
        }
        if let Some(wait) = wait {
            // Ends early when the token's breaker opens or the pool closes.
            let _ = self.gone.recv_timeout(wait);
        }
        next
    }

    fn answer_error(&self, job: Queued, error: SignError) {
        self.seat.note(Tally::failed);
        self.shared.answer(job, Err(error));
    }

    fn stop_token(&self, to: TokenState, error: &SignError) {
        let key = self.session.key();
        breaker::stop_token(&self.shared, self.member(), self.generation, key, to, error);
    }

    fn stop_module(&self, error: &SignError) {
        breaker::stop_module(&self.shared, self.member(), self.session.key(), error);
    }

    /// An idle session is used, so that the token does not drop it.
    fn keep_alive(&mut self) -> Next {
        self.seat.enter(None, self.shared.now_us(), |_| ());
        let mut outcome = self.session.ping();
        if let Err(error) = &outcome
            && error.class() == ErrorClass::Session
        {
            outcome = self.session.reopen(error.code(), &self.shared.counters);
        }
        if self.seat.leave(|_| ()).is_err() {
            return Next::Alone;
        }
        let Err(error) = outcome else {
            return Next::Stay;
        };
        match verdict::of_remedy(&error) {
            Verdict::Stop(to) => self.stop_token(to, &error),
            Verdict::ModuleLost => self.stop_module(&error),
            Verdict::NoSession => {}
            _ if self.session.is_open() => return Next::Stay,
            _ => {}
        }
        Next::Leave
    }
}

enum Awaited {
    Job(Queued),
    Idle,
    /// The breaker opened, or the pool closes.
    Gone,
}

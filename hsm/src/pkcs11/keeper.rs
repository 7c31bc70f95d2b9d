//! A token's keeper: opens it, compares its key, gives it sessions, probes it when it is down.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::adapt::Climb;
use super::breaker;
use super::key::TokenKey;
use super::member::Member;
use super::module::ModuleUser;
use super::opening::{self, Opened};
use super::pool::SESSIONS_MAX;
use super::probes::Probes;
use super::shared::{self, Shared};
use super::start::{Report, Seen};
use super::token::Token;
use super::verdict::{self, Verdict};
use crate::error::{CloseError, OpenError};
use crate::event::TokenState;

mod sessions;
use sessions::WINDOW;

/// Longest wait for a ring of the bell: nothing depends on it but a bell that was not heard.
const WAIT_MAX: Duration = Duration::from_secs(1);

struct Keeper {
    shared: Arc<Shared>,
    place: usize,
    /// Keeps the module initialized while its token comes and goes.
    module: Option<ModuleUser>,
    /// Sessions started so far, for the threads' names.
    started: usize,
    probes: Probes,
    probe_at: Option<Instant>,
    climb: Climb,
    /// The token's present time of work.
    shift: Option<Shift>,
}

/// From taking a token up to its next fault.
struct Shift {
    generation: u64,
    gone: Receiver<Infallible>,
    key: Arc<TokenKey>,
    /// When more sessions may be asked for, and whether it was told that there are too few.
    grow_at: Instant,
    told: bool,
    /// Signatures when they were last looked at, and when that was.
    window: (u64, Instant),
    /// When the token was last used or pinged, and the attempts then.
    used: (u64, Instant),
}

/// The life of a keeper's thread. It ends with the token closed.
pub(super) fn run(
    shared: Arc<Shared>,
    place: usize,
    report: Sender<Report>,
) -> Result<(), CloseError> {
    shared::enter_thread(&shared);
    let sessions = shared.members[place].target.load(Ordering::Relaxed);
    let mut keeper = Keeper {
        shared,
        place,
        module: None,
        started: 0,
        probes: Probes::default(),
        probe_at: None,
        climb: Climb::new(sessions, SESSIONS_MAX),
        shift: None,
    };
    keeper.begin(&report);
    drop(report);
    while !keeper.shared.has_ended() {
        keeper.step();
    }
    keeper.end()
}

impl Keeper {
    fn member(&self) -> &Member {
        &self.shared.members[self.place]
    }

    /// Opens the token for the first time. Whoever opens the pool hears of it.
    fn begin(&mut self, report: &Sender<Report>) {
        let place = self.place;
        let opened = match self.call(Self::open) {
            Ok(opened) => opened,
            Err(error) => {
                self.stays_down(&error);
                let _ = report.send(Report::Opened(place, Err(error)));
                return;
            }
        };
        let seen = Seen::of(&opened.key);
        let _ = report.send(Report::Opened(place, Ok(seen)));
        // The others are waited for, and all keys compared.
        while self.shared.reference.get().is_none() && !self.shared.has_ended() {
            self.member().bell.wait(WAIT_MAX);
        }
        let seated = match self.shared.reference.get() {
            Some(_) => self.take_up(opened, "its key was found"),
            None => {
                self.call(|_| drop(opened));
                Ok(())
            }
        };
        let _ = report.send(Report::Seated(seated));
    }

    /// One look around, with the wait before it.
    fn step(&mut self) {
        match self.member().state() {
            TokenState::Up => self.tend(),
            state => {
                self.clear();
                self.wait_or_probe(state);
            }
        }
    }

    /// Calls the module under the watch's eyes.
    fn call<R>(&mut self, work: impl FnOnce(&mut Keeper) -> R) -> R {
        let shared = Arc::clone(&self.shared);
        let member = &shared.members[self.place];
        member.keeper.enter(None, shared.now_us(), |_| ());
        let result = work(self);
        if member.keeper.leave(|_| ()).is_err() {
            member.keeper.come_back();
            member.came_back(&shared);
        }
        result
    }

    fn open(&mut self) -> Result<Opened, OpenError> {
        let member = &self.shared.members[self.place];
        Opened::open(&self.shared, member, &mut self.module)
    }

    /// Looks after a token that signs.
    fn tend(&mut self) {
        let Some(shift) = &self.shift else {
            // Up without a shift: it went down and the state was not read yet.
            return self.member().bell.wait(WAIT_MAX);
        };
        let missing = self.member().sessions() < self.member().target.load(Ordering::Relaxed);
        let mut wait = self.shared.options.keep_alive;
        wait = wait.saturating_sub(shift.used.1.elapsed());
        if self.shared.options.adaptive {
            wait = wait.min(WINDOW);
        }
        if missing {
            wait = wait.min(shift.grow_at.saturating_duration_since(Instant::now()));
        }
        self.member().bell.wait(wait);
        let remaining = self.member().reap();
        if self.shared.has_ended() || self.member().state() != TokenState::Up {
            return;
        }
        if self.shared.options.adaptive {
            self.adapt(remaining);
        }
        self.fill(remaining);
        self.keep_alive();
    }

    /// Uses the anchor session of a token that is idle.
    fn keep_alive(&mut self) {
        let attempts = self.member().progress().0;
        let keep_alive = self.shared.options.keep_alive;
        let Some(shift) = &mut self.shift else { return };
        if shift.used.0 != attempts {
            shift.used = (attempts, Instant::now());
        }
        if shift.used.1.elapsed() < keep_alive {
            return;
        }
        shift.used.1 = Instant::now();
        let (key, generation) = (Arc::clone(&shift.key), shift.generation);
        let pinged = self.call(|_| {
            let pinged = key.token().keep_alive();
            pinged.map_err(|call| key.failed(call))
        });
        let Err(error) = pinged else {
            return;
        };
        let (shared, member) = (&self.shared, self.member());
        match verdict::of_remedy(&error) {
            Verdict::ModuleLost => breaker::stop_module(shared, member, &key, &error),
            Verdict::Stop(to) => {
                breaker::stop_token(shared, member, generation, to, &error);
            }
            // The sessions that sign will show whether it matters.
            _ => {}
        }
    }

    /// Waits until every session has left or was given up.
    fn wait_for_sessions(&mut self) {
        while self.member().reap() > 0 {
            self.member().bell.wait(WAIT_MAX);
        }
    }

    /// Gives up the key of a token that is down.
    fn clear(&mut self) {
        self.wait_for_sessions();
        let key = self.member().forget_key();
        let lost = key
            .as_ref()
            .is_some_and(|key| key.token().module().is_lost());
        let shift = self.shift.take();
        if shift.is_some() {
            self.keep_number();
        }
        if key.is_some() || shift.is_some() {
            self.call(|keeper| {
                drop((shift, key));
                if lost {
                    keeper.module = None;
                }
            });
        }
    }

    /// Waits for the time of the next probe, then probes.
    fn wait_or_probe(&mut self, state: TokenState) {
        let wanted = match state {
            TokenState::PinRefused | TokenState::KeyStopped => false,
            // As many may hang inside as do.
            _ => self.member().inside() < self.member().abandoned_max(&self.shared),
        };
        if !wanted {
            self.probe_at = None;
            return self.member().bell.wait(WAIT_MAX);
        }
        let now = Instant::now();
        let interval = self.interval(state);
        let at = *self.probe_at.get_or_insert(now + interval);
        if now < at {
            return self.member().bell.wait(at - now);
        }
        self.probe_at = None;
        self.probe();
    }

    fn interval(&mut self, state: TokenState) -> Duration {
        let max = self.shared.options.probe_interval_max;
        if matches!(state, TokenState::WrongKey | TokenState::WrongSignatures) {
            return max;
        }
        let signatures = self.member().progress().1;
        self.probes.interval(signatures, max)
    }

    fn probe(&mut self) {
        let lost = self.module.as_ref().is_some_and(|module| module.is_lost());
        if self.probes.begin() || lost {
            // Some modules connect to their HSM only when they are initialized.
            self.call(|keeper| keeper.module = None);
        }
        match self.call(Self::open) {
            Ok(opened) => {
                if self.shared.has_ended() {
                    return self.call(|_| drop(opened));
                }
                let why = "it answers again and holds the right key";
                // A thread that cannot be had is told by the state.
                let _ = self.take_up(opened, why);
            }
            Err(error) => self.stays_down(&error),
        }
    }

    /// The token could not be opened.
    fn stays_down(&self, error: &OpenError) {
        let (to, fault) = opening::state_after(error, self.member().label());
        let why = error.to_string();
        self.member().stay_down(&self.shared, to, why, fault);
    }

    /// The pool is closed: nothing of the token stays open.
    fn end(mut self) -> Result<(), CloseError> {
        // Once more: it may have been taken up at the very moment.
        self.member().dismiss();
        self.wait_for_sessions();
        let key = self.member().forget_key();
        self.call(|keeper| {
            keeper.shift = None;
            // Calls that hang and raw signers hold the key and, through it, the token and the
            // module: the last to go closes.
            let token = key.and_then(Arc::into_inner).map(TokenKey::into_token);
            let closed = token.and_then(Arc::into_inner).map_or(Ok(()), Token::close);
            let released = keeper.module.as_mut().map_or(Ok(()), ModuleUser::release);
            closed.and(released)
        })
    }
}

//! The sessions of a token that signs: seated when it is taken up, replaced when they are lost, and
//! so many that it signs fastest.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Keeper, Shift};
use crate::ckr::{CallError, ReturnCode};
use crate::error::{OpenError, SignError};
use crate::event::{PoolEventKind, TokenState};
use crate::pkcs11::breaker;
use crate::pkcs11::member::Trip;
use crate::pkcs11::opening::{self, Opened};
use crate::pkcs11::verdict::{self, Verdict};
use crate::pkcs11::worker;

/// How long a token that refused a session is not asked for more.
const GROW_AGAIN: Duration = Duration::from_secs(10);

/// Length of a window in which a token's rate is measured.
pub(super) const WINDOW: Duration = Duration::from_secs(1);

impl Keeper {
    /// Lets the token sign, if its key is the right one and, where its signatures were wrong, a
    /// test signature verifies.
    pub(super) fn take_up(&mut self, mut opened: Opened, why: &str) -> Result<(), OpenError> {
        let shared = Arc::clone(&self.shared);
        let member = &shared.members[self.place];
        if let Some(reference) = shared.reference.get()
            && let Err(error) = self.call(|_| opened.examine(reference, member))
        {
            self.call(|_| drop(opened));
            self.probe_at = None;
            let to = match verdict::of(&error) {
                Verdict::Stop(to) => to,
                _ => TokenState::Down,
            };
            let why = error.to_string();
            member.stay_down(&shared, to, why, Some(error));
            return Ok(());
        }
        let Opened {
            key,
            sessions,
            refused,
        } = opened;
        let asked = member.target.load(Ordering::Relaxed);
        let mut failed = None;
        let mut started = self.started;
        let (attempts, signatures) = member.progress();
        self.probes.taken_up(signatures);
        let shift = member.take_up(&shared, &key, why, |seats| {
            for session in sessions {
                started += 1;
                if let Err(error) = worker::start(&shared, member, seats, session, started) {
                    failed = Some(error);
                    break;
                }
            }
            let now = Instant::now();
            Shift {
                generation: seats.generation,
                gone: seats.gone.clone(),
                key: Arc::clone(&key),
                grow_at: refused.map_or(now, |_| now + GROW_AGAIN),
                told: refused.is_some(),
                window: (signatures, now),
                used: (attempts, now),
            }
        });
        self.started = started;
        self.shift = Some(shift);
        self.probe_at = None;
        if let Some(call) = refused {
            self.tell_fewer(asked, &call);
        }
        match failed {
            Some(error) if member.sessions() == 0 => {
                let trip = Trip {
                    to: TokenState::Down,
                    why: OpenError::Thread(std::io::Error::from(error.kind())).to_string(),
                    fault: SignError::Stopped,
                };
                member.trip(&shared, member.generation(), trip);
                Err(OpenError::Thread(error))
            }
            _ => Ok(()),
        }
    }

    fn tell_fewer(&self, asked: usize, call: &CallError) {
        let why = Arc::from(call.to_string());
        let open = self.member().sessions();
        let kind = PoolEventKind::FewerSessions { asked, open, why };
        self.shared.tell(self.member(), kind);
    }

    /// Replaces sessions that were lost, and opens those that were not to be had before.
    pub(super) fn fill(&mut self, remaining: usize) {
        let shared = Arc::clone(&self.shared);
        let member = &shared.members[self.place];
        let missing = member
            .target
            .load(Ordering::Relaxed)
            .saturating_sub(remaining);
        let Some(shift) = &self.shift else { return };
        let (key, now) = (Arc::clone(&shift.key), Instant::now());
        if missing == 0 || (now < shift.grow_at && remaining > 0) {
            return;
        }
        let (generation, gone) = (shift.generation, shift.gone.clone());
        let (sessions, refused) = self.call(|_| {
            let (sessions, refused) = opening::open_sessions(&key, missing);
            let refused = refused.map(|call| SignError::Call {
                token: Arc::clone(key.token().label()),
                call,
            });
            // Whatever took the sessions may have changed the token: what is not confirmed does
            // not sign.
            match key.confirm() {
                Ok(_) => (sessions, refused),
                Err(error) => (Vec::new(), Some(error)),
            }
        });
        let mut started = self.started;
        member.add_workers(generation, &gone, |seats| {
            for session in sessions {
                started += 1;
                if worker::start(&shared, member, seats, session, started).is_err() {
                    break;
                }
            }
        });
        self.started = started;
        match (refused, &mut self.shift) {
            (Some(error), _) => self.refused_more(&error, missing + remaining),
            // No thread was to be had: not again at once.
            (None, Some(shift)) if member.sessions() < missing + remaining => {
                shift.grow_at = Instant::now() + GROW_AGAIN;
            }
            _ => {}
        }
    }

    /// The token opens no more sessions, or worse.
    fn refused_more(&mut self, error: &SignError, asked: usize) {
        let open = self.member().sessions();
        let Some(shift) = &mut self.shift else { return };
        let (generation, key) = (shift.generation, Arc::clone(&shift.key));
        let told_before = std::mem::replace(&mut shift.told, true);
        shift.grow_at = Instant::now() + GROW_AGAIN;
        if self.shared.options.adaptive {
            let target = self.climb.refused(open);
            self.member().target.store(target, Ordering::Relaxed);
        }
        let (shared, member) = (&self.shared, self.member());
        match verdict::of_remedy(error) {
            Verdict::ModuleLost => breaker::stop_module(shared, member, &key, error),
            Verdict::Stop(TokenState::Down) | Verdict::NoSession | Verdict::Suspicious
                if open > 0 =>
            {
                // No memory or no room for more; what is open signs.
                if let (SignError::Call { call, .. }, false) = (error, told_before) {
                    self.tell_fewer(asked, call);
                }
            }
            Verdict::Stop(to) => {
                breaker::stop_token(shared, member, generation, &key, to, error);
            }
            _ => breaker::stop_token(shared, member, generation, &key, TokenState::Down, error),
        }
    }

    /// Looks for the number of sessions that signs fastest.
    pub(super) fn adapt(&mut self, sessions: usize) {
        let shared = Arc::clone(&self.shared);
        let member = &shared.members[self.place];
        let Some(shift) = &mut self.shift else { return };
        let (before, since) = shift.window;
        let elapsed = since.elapsed();
        if elapsed < WINDOW {
            return;
        }
        let signatures = member.progress().1;
        shift.window = (signatures, Instant::now());
        let rate = signatures.saturating_sub(before) as f64 / elapsed.as_secs_f64();
        let busy = !shared.queue.is_empty();
        let wanted = self.climb.observe(sessions, rate, busy);
        if wanted != member.target.swap(wanted, Ordering::Relaxed) {
            shift.grow_at = Instant::now();
        }
        let surplus = sessions.saturating_sub(wanted);
        member.surplus.store(surplus, Ordering::Relaxed);
    }

    /// The token went down. It comes back with as many sessions as it was found to be fastest with;
    /// after a want of memory with a third fewer.
    pub(super) fn keep_number(&mut self) {
        if !self.shared.options.adaptive {
            return;
        }
        let fault = self.member().fault().and_then(|fault| fault.code());
        let mut wanted = self.climb.interrupted();
        if fault == Some(ReturnCode::HOST_MEMORY) {
            wanted = self.climb.refused(wanted - wanted / 3);
        }
        self.member().target.store(wanted, Ordering::Relaxed);
    }
}

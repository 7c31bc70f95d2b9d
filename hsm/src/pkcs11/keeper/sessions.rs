//! The sessions of a token that signs: seated when it is taken up, replaced when they are lost, and
//! so many that it signs fastest.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Keeper, Shift};
use crate::ckr::ReturnCode;
use crate::error::{OpenError, SignError};
use crate::event::{PoolEventKind, TokenState};
use crate::pkcs11::breaker;
use crate::pkcs11::member::Trip;
use crate::pkcs11::opening::{self, Opened};
use crate::pkcs11::session::SigningSession;
use crate::pkcs11::verdict::{self, Verdict};
use crate::pkcs11::worker::Recruit;

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
            mut sessions,
            refused,
        } = opened;
        let (recruits, failed) = self.recruit(&mut sessions);
        let failed = match failed {
            Some(error) if recruits.is_empty() => {
                self.call(|_| drop((sessions, key)));
                let fault = Some(SignError::Stopped);
                member.stay_down(&shared, TokenState::Down, no_thread(&error), fault);
                return Err(OpenError::Thread(error));
            }
            failed => failed.map(|error| no_thread(&error)),
        };
        let fewer = refused.map(|call| call.to_string()).or(failed);
        let asked = member.target.load(Ordering::Relaxed);
        let (attempts, signatures) = member.progress();
        self.probes.taken_up(signatures);
        let shift = member.take_up(&shared, &key, why, |seats| {
            for (recruit, session) in recruits.into_iter().zip(sessions) {
                recruit.seat(&shared, member, seats, session);
            }
            let now = Instant::now();
            Shift {
                generation: seats.generation,
                gone: seats.gone.clone(),
                key: Arc::clone(&key),
                grow_at: fewer.as_ref().map_or(now, |_| now + GROW_AGAIN),
                told: fewer.is_some(),
                window: (signatures, now),
                used: (attempts, now),
            }
        });
        self.shift = Some(shift);
        self.probe_at = None;
        if let Some(why) = fewer {
            self.tell_fewer(asked, &why);
        }
        Ok(())
    }

    /// Starts a thread for each session. Sessions for which there is none are closed.
    fn recruit(&mut self, sessions: &mut Vec<SigningSession>) -> (Vec<Recruit>, Option<io::Error>) {
        let (mut recruits, mut failed) = (Vec::with_capacity(sessions.len()), None);
        while recruits.len() < sessions.len() && failed.is_none() {
            self.started += 1;
            match Recruit::start(self.place, self.started) {
                Ok(recruit) => recruits.push(recruit),
                Err(error) => failed = Some(error),
            }
        }
        let surplus = sessions.split_off(recruits.len());
        if !surplus.is_empty() {
            self.call(|_| drop(surplus));
        }
        (recruits, failed)
    }

    fn tell_fewer(&self, asked: usize, why: &str) {
        let why = Arc::from(why);
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
        let (mut sessions, refused) = self.call(|_| {
            // Whatever took the sessions may have changed the token: what is not confirmed is not copied, and does not sign.
            let unconfirmed = |error| (Vec::new(), Some(key.token().settle(error)));
            if let Err(error) = key.confirm() {
                return unconfirmed(error);
            }
            let (mut sessions, refused) = opening::open_sessions(&key, missing);
            match key.confirm() {
                Ok(object) => {
                    sessions.retain(|session| session.object() == object);
                    (sessions, refused.map(|call| key.failed(call)))
                }
                Err(error) => unconfirmed(error),
            }
        });
        let (recruits, failed) = self.recruit(&mut sessions);
        let seated = member.add_workers(generation, &gone, |seats| {
            for (recruit, session) in recruits.into_iter().zip(sessions.drain(..)) {
                recruit.seat(&shared, member, seats, session);
            }
        });
        if seated.is_none() {
            // The breaker opened meanwhile.
            self.call(|_| drop(sessions));
        }
        match (refused, failed) {
            (Some(error), _) => self.refused_more(&error, missing + remaining),
            (None, Some(error)) => self.threads_are_few(&error, missing + remaining),
            (None, None) => {}
        }
    }

    /// The system gives no more threads. A token with a session signs on; without one it is down, and probed.
    fn threads_are_few(&mut self, error: &io::Error, asked: usize) {
        let open = self.member().sessions();
        let Some(shift) = &mut self.shift else { return };
        shift.grow_at = Instant::now() + GROW_AGAIN;
        let (generation, why) = (shift.generation, no_thread(error));
        if open == 0 {
            let trip = Trip {
                to: TokenState::Down,
                why,
                fault: SignError::Stopped,
            };
            self.member().trip(&self.shared, generation, trip);
        } else if !std::mem::replace(&mut shift.told, true) {
            self.tell_fewer(asked, &why);
        }
    }

    /// The token opens no more sessions, or worse.
    fn refused_more(&mut self, error: &SignError, asked: usize) {
        let open = self.member().sessions();
        let Some(shift) = &mut self.shift else { return };
        let (generation, key) = (shift.generation, Arc::clone(&shift.key));
        let told_before = std::mem::replace(&mut shift.told, true);
        shift.grow_at = Instant::now() + GROW_AGAIN;
        let verdict = verdict::of_remedy(error);
        // A token that is failing says nothing about how many it opens when it is well.
        let no_room =
            verdict == Verdict::NoSession || error.code() == Some(ReturnCode::HOST_MEMORY);
        if self.shared.options.adaptive && no_room {
            let target = self.climb.refused(open);
            self.member().target.store(target, Ordering::Relaxed);
        }
        let (shared, member) = (&self.shared, self.member());
        match verdict {
            Verdict::ModuleLost => breaker::stop_module(shared, member, &key, error),
            Verdict::Stop(TokenState::Down) | Verdict::NoSession | Verdict::Suspicious
                if open > 0 =>
            {
                // No memory or no room for more; what is open signs.
                if let (SignError::Call { call, .. }, false) = (error, told_before) {
                    self.tell_fewer(asked, &call.to_string());
                }
            }
            Verdict::Stop(to) => {
                breaker::stop_token(shared, member, generation, to, error);
            }
            _ => breaker::stop_token(shared, member, generation, TokenState::Down, error),
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

/// Why there is no session, for people.
fn no_thread(error: &io::Error) -> String {
    OpenError::Thread(error.kind().into()).to_string()
}

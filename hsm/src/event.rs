//! What a pool tells of its tokens: their states, and the changes between them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Whether a token takes work, and if not, what brings it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenState {
    /// It is being opened for the first time.
    Opening,
    /// It signs.
    Up,
    /// Its breaker is open: it failed, is probed, and comes back by itself.
    Down,
    /// It holds another key under the same name. It is looked at again at the longest interval
    /// between probes.
    WrongKey,
    /// Three of its signatures in a row did not verify. It is looked at again at the longest
    /// interval between probes, and comes back when its key is the right one and a test signature
    /// verifies.
    WrongSignatures,
    /// It no longer lets the key sign: used up, or not permitted. A person has to act, then restart.
    KeyStopped,
    /// It refused the PIN, now or before the last restart. A person has to act, then restart.
    PinRefused,
    /// Its module lost its state while calls are inside or others of this process use it. It comes
    /// back if they leave; otherwise the process has to be restarted.
    RestartNeeded,
}

impl TokenState {
    /// Every state.
    pub const ALL: [TokenState; 8] = [
        TokenState::Opening,
        TokenState::Up,
        TokenState::Down,
        TokenState::WrongKey,
        TokenState::WrongSignatures,
        TokenState::KeyStopped,
        TokenState::PinRefused,
        TokenState::RestartNeeded,
    ];

    /// One or two words for metrics and logs: `up`, `wrong key`.
    pub fn name(self) -> &'static str {
        match self {
            TokenState::Opening => "opening",
            TokenState::Up => "up",
            TokenState::Down => "down",
            TokenState::WrongKey => "wrong key",
            TokenState::WrongSignatures => "wrong signatures",
            TokenState::KeyStopped => "key stopped",
            TokenState::PinRefused => "PIN refused",
            TokenState::RestartNeeded => "restart needed",
        }
    }

    /// Whether waiting may bring it back, without a person.
    pub(crate) fn may_return(self) -> bool {
        matches!(
            self,
            TokenState::Opening | TokenState::Up | TokenState::Down | TokenState::RestartNeeded
        )
    }
}

impl fmt::Display for TokenState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One change of a token's state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateChange {
    /// When, by the system's clock.
    pub at: SystemTime,
    /// The state before.
    pub from: TokenState,
    /// The state since.
    pub to: TokenState,
    /// Why, in a sentence, with what to do where something is to be done.
    pub why: Arc<str>,
}

/// Something happened to a pool that a person may want to know. `Display` is one line for them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolEvent {
    /// The token's label.
    pub token: Arc<str>,
    /// The token's place in the pool's list, from 0.
    pub place: usize,
    /// What happened.
    pub kind: PoolEventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolEventKind {
    /// The token's state changed.
    State(StateChange),
    /// A call lasted too long and was given up.
    CallGivenUp {
        /// The limit that it passed.
        limit: Duration,
        /// Calls that hang inside the module now.
        inside: usize,
        /// Whether a job was in hand, which is signed elsewhere.
        job: bool,
    },
    /// A call that was given up came back. What it brought was dropped.
    CallReturned {
        /// Calls that still hang inside the module.
        inside: usize,
    },
    /// A signature does not verify with the key's public half. It was not used.
    WrongSignature {
        /// Whether its job is signed again; if not, its attempts are used up.
        again: bool,
    },
    /// The token opened fewer sessions than were asked for.
    FewerSessions {
        /// What was asked for.
        asked: usize,
        /// What there is.
        open: usize,
        /// The call that was refused.
        why: Arc<str>,
    },
}

impl fmt::Display for PoolEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token '{}': ", self.token)?;
        match &self.kind {
            PoolEventKind::State(change) => {
                write!(f, "{} (was {}): {}", change.to, change.from, change.why)
            }
            PoolEventKind::CallGivenUp { limit, inside, job } => {
                let what = if *job {
                    ", its job is signed elsewhere"
                } else {
                    ""
                };
                write!(
                    f,
                    "a call did not return within {} s and was given up{what}; {inside} hang inside \
                     the module now",
                    limit.as_secs_f64()
                )
            }
            PoolEventKind::CallReturned { inside } => write!(
                f,
                "a call that was given up returned, and its answer was dropped; {inside} still hang"
            ),
            PoolEventKind::WrongSignature { again } => {
                let what = if *again {
                    "its job is signed again"
                } else {
                    "its job has no attempt left"
                };
                write!(
                    f,
                    "a signature does not verify with the key's public half and was not used; {what}"
                )
            }
            PoolEventKind::FewerSessions { asked, open, why } => write!(
                f,
                "{open} sessions where {asked} were asked for: {why}; raise the token's limit or \
                 ask for fewer"
            ),
        }
    }
}

/// Hears of a pool's events. A stand-in in tests, a log or a metrics service elsewhere.
pub trait PoolObserver: Send + Sync {
    /// Called at each event, on one of the pool's threads or on that of a caller who rejects a
    /// signature. It must not block: the token does not sign or is not looked after meanwhile.
    fn event(&self, event: &PoolEvent);
}

//! What makes the signatures: a token of our own, or a module behind ours.

use cryptoki_sys::CK_SESSION_HANDLE;

use crate::ffi::RealModule;
use crate::token::Token;

/// What makes the signatures.
pub(crate) enum Backend {
    Own(Token),
    Forward(RealModule),
}

impl Backend {
    /// Sessions open now, and most at a time.
    pub(crate) fn sessions(&self) -> (u64, u64) {
        match self {
            Backend::Own(token) => {
                let sessions = token.sessions();
                (sessions.open_now() as u64, sessions.most())
            }
            Backend::Forward(real) => real.sessions(),
        }
    }

    pub(crate) fn lose_session(&self, session: CK_SESSION_HANDLE) {
        match self {
            // One that is gone already cannot be lost.
            Backend::Own(token) => drop(token.close_session(session)),
            Backend::Forward(real) => real.lose_session(session),
        }
    }

    pub(crate) fn lose_sessions(&self) {
        match self {
            Backend::Own(token) => token.lose_sessions(),
            Backend::Forward(real) => real.lose_sessions(),
        }
    }

    pub(crate) fn log_out(&self) {
        match self {
            Backend::Own(token) => token.log_out(),
            Backend::Forward(real) => real.log_out(),
        }
    }

    /// The handles of another module are its own.
    pub(crate) fn lose_handles(&self) {
        if let Backend::Own(token) = self {
            token.lose_handles();
        }
    }
}

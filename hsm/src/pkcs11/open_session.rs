//! A session and its end: closed once, or forgotten when the token says that it is gone.

use cryptoki::context::Pkcs11;
use cryptoki::session::Session;
use cryptoki::slot::Slot;

use crate::ckr::{CallError, ReturnCode};

/// A session that signs, or holds a login. Dropping it closes it.
///
/// HSMs give the number of a session that is gone to the next one that is opened. So a session is
/// given up before another takes its place, and one that is gone is not closed: that could be
/// somebody else's by now.
pub(super) struct OpenSession(Option<Session>);

/// What a session that was given up answers: as the token would.
const GIVEN_UP: CallError = CallError {
    function: "C_OpenSession",
    code: ReturnCode::SESSION_HANDLE_INVALID,
};

impl OpenSession {
    /// Opens a session that only reads and signs.
    pub(super) fn open(context: &Pkcs11, slot: Slot) -> Result<OpenSession, CallError> {
        // The wrapper would close it whatever became of it.
        let session = context.open_ro_session_no_drop(slot);
        let session = session.map_err(|error| CallError::from_wrapper("C_OpenSession", &error))?;
        Ok(OpenSession(Some(session)))
    }

    /// The session.
    ///
    /// # Errors
    /// `CKR_SESSION_HANDLE_INVALID` when it was given up.
    pub(super) fn get(&self) -> Result<&Session, CallError> {
        self.0.as_ref().ok_or(GIVEN_UP)
    }

    /// The session, for an operation that nothing else goes on beside.
    ///
    /// # Errors
    /// As [`OpenSession::get`].
    pub(super) fn get_mut(&mut self) -> Result<&mut Session, CallError> {
        self.0.as_mut().ok_or(GIVEN_UP)
    }

    /// Whether it was not given up.
    pub(super) fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Ends the session because of an error: closes it, unless the error says that it is gone.
    pub(super) fn give_up(&mut self, code: Option<ReturnCode>) {
        let gone = [
            ReturnCode::SESSION_HANDLE_INVALID,
            ReturnCode::SESSION_CLOSED,
        ];
        match code {
            Some(code) if gone.contains(&code) => self.0 = None,
            _ => self.close(),
        }
    }

    /// Closes the session. A module that refuses has lost it.
    pub(super) fn close(&mut self) {
        if let Some(session) = self.0.take() {
            let _ = session.close();
        }
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.close();
    }
}

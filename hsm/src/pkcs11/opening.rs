//! Opening a token for a pool: from its URI to the sessions that sign.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::key::TokenKey;
use super::member::Member;
use super::module::ModuleUser;
use super::session::SigningSession;
use super::shared::{Reference, Shared};
use super::token::Token;
use crate::ckr::CallError;
use crate::error::{ModuleError, OpenError, PinError, SignError};
use crate::event::TokenState;
use crate::signing::{SignInput, Signature};
use crate::verify::TEST_TEXT;

/// A token that was opened: its key was found, its sessions are open.
pub(super) struct Opened {
    pub(super) key: Arc<TokenKey>,
    pub(super) sessions: Vec<SigningSession>,
    /// Why there are not more of them.
    pub(super) refused: Option<CallError>,
}

impl Opened {
    /// Opens the token, logs in once, finds the key, and opens as many sessions as the token lets,
    /// at least one. `hold` keeps the module initialized when the token is closed again.
    pub(super) fn open(
        shared: &Shared,
        member: &Member,
        hold: &mut Option<ModuleUser>,
    ) -> Result<Opened, OpenError> {
        let token = Token::open(&member.uri, &shared.marks)?;
        member.name(token.label());
        let key = TokenKey::open(token, &member.uri, &shared.options.tokens)?;
        let key = Arc::new(key);
        if hold.is_none() {
            *hold = Some(ModuleUser::acquire(&member.uri)?);
        }
        let (sessions, refused) = open_sessions(&key, member.target.load(Ordering::Relaxed));
        match refused {
            Some(call) if sessions.is_empty() => Err(OpenError::Call {
                token: key.token().label().to_string(),
                call,
            }),
            refused => Ok(Opened {
                key,
                sessions,
                refused,
            }),
        }
    }

    /// Compares the token's key with the pool's, and asks a token that is suspected for a test
    /// signature, which has to verify.
    ///
    /// # Errors
    /// [`SignError::WrongKey`], [`SignError::WrongSignature`], and what the test signature's calls
    /// return.
    pub(super) fn examine(
        &mut self,
        reference: &Reference,
        member: &Member,
    ) -> Result<(), SignError> {
        let token = Arc::clone(self.key.token().label());
        if reference.public_key != *self.key.public_key() {
            let key = self.key.describe();
            return Err(SignError::WrongKey { token, key });
        }
        // There is at least one session.
        let tester = self.sessions.first_mut().filter(|_| member.is_suspected());
        let Some(session) = tester else {
            return Ok(());
        };
        member.counts_test();
        let text = TEST_TEXT.as_bytes();
        let input = SignInput::for_key(reference.algorithm, text);
        let mut signature = Signature::empty();
        session.sign(&input, &mut signature)?;
        let (rsa, bytes) = (self.key.rsa_signature(), signature.as_bytes());
        if reference.public_key.verifies(rsa, text, bytes) {
            Ok(())
        } else {
            Err(SignError::WrongSignature { token })
        }
    }
}

/// As many sessions as the token opens, up to `count`, and why there are not more.
pub(super) fn open_sessions(
    key: &Arc<TokenKey>,
    count: usize,
) -> (Vec<SigningSession>, Option<CallError>) {
    let mut sessions = Vec::with_capacity(count);
    for _ in 0..count {
        match SigningSession::open(key) {
            Ok(session) => sessions.push(session),
            Err(call) => return (sessions, Some(call)),
        }
    }
    (sessions, None)
}

/// The state of a token that could not be opened, and what its jobs are told if no other is left.
pub(super) fn state_after(error: &OpenError, label: Arc<str>) -> (TokenState, Option<SignError>) {
    match error {
        OpenError::Pin(PinError::Refused { code, mark, .. }) => {
            let fault = SignError::PinRefused {
                token: label,
                code: *code,
                mark: mark.clone(),
            };
            (TokenState::PinRefused, Some(fault))
        }
        OpenError::Pin(error) if error.is_lasting() => (TokenState::PinRefused, None),
        OpenError::Module(ModuleError::Lost { .. }) => (TokenState::RestartNeeded, None),
        OpenError::Key(_) => (TokenState::WrongKey, None),
        OpenError::Call { call, .. } => {
            let call = *call;
            (
                TokenState::Down,
                Some(SignError::Call { token: label, call }),
            )
        }
        _ => (TokenState::Down, None),
    }
}

//! One token in use: found by its URI, logged in once, kept open by an anchor session.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use cryptoki::session::{Session, SessionState};
use cryptoki::slot::{Slot, TokenInfo};

use super::login::{self, Login, LoginError};
use super::module::{Module, ModuleUser, SetupLock, lock};
use super::open_session::OpenSession;
use super::pin_mark::PinMarks;
use super::pin_memory::TokenName;
use super::raw::SignFunctions;
use super::uri::Pkcs11Uri;
use crate::ckr::{CallError, ErrorClass, ReturnCode};
use crate::error::{CloseError, ModuleError, OpenError, PinError, SignError, TokenError};

/// A token with its anchor session. The login belongs to all sessions of the process on this
/// token (PKCS#11 v3.1 §5.6.8), so one is enough, and it lasts as long as the anchor is open.
/// There is no `C_Logout`: it would log out the sessions of every other pool too.
pub(super) struct Token {
    label: Arc<str>,
    name: TokenName,
    slot: Slot,
    marks: PinMarks,
    setup: SetupLock,
    /// The calls that sign know this token's sessions.
    direct: bool,
    wants_login: bool,
    anchor: Mutex<Anchor>,
    /// Counts logins. A worker whose call found no login names the count it had seen; only the
    /// first to come logs in again.
    logins: AtomicU64,
    module: ModuleUser,
}

struct Anchor {
    session: OpenSession,
    /// How to log in again; `None` where the token wants no login.
    login: Option<Login>,
    /// The token refused the PIN: it is never sent again.
    refused: Option<SignError>,
}

impl Token {
    /// Finds the token that the URI names, opens the anchor session and logs in, once. A token
    /// with a mark of a refused PIN gets no PIN; a PIN that is refused leaves one. `marks` are for a URI
    /// that does not say where they are kept.
    pub(super) fn open(uri: &Pkcs11Uri, marks: &PinMarks) -> Result<Token, OpenError> {
        let module = ModuleUser::acquire(uri)?;
        let (slot, info) = find(&module, uri)?;
        let label: Arc<str> = Arc::from(info.label());
        let name = TokenName {
            module: module.path().to_owned(),
            label: info.label().to_owned(),
            serial: info.serial_number().to_owned(),
        };
        let marks = PinMarks::of(uri).unwrap_or_else(|| marks.clone());
        let login = login::find(uri, &info, &name, &marks)?;
        let failed = |call| OpenError::Call {
            token: info.label().to_owned(),
            call,
        };
        let setup = module.setup_lock(slot);
        let anchor = {
            let (_setup, _slots) = (lock(&setup), module.keep_slots());
            OpenSession::open(module.context(), slot).map_err(failed)?
        };
        let session = anchor.get().map_err(failed)?;
        let logged_in = login
            .as_ref()
            .map_or(Ok(()), |login| login::marked(session, login, &marks, &name));
        if let Err(error) = logged_in {
            // The last session of a token must not close while another one opens.
            let _setup = lock(&setup);
            drop(anchor);
            return Err(match error {
                LoginError::HeldBack(error) => error.into(),
                LoginError::Refused(code, mark) => PinError::Refused {
                    token: label.to_string(),
                    code,
                    mark,
                }
                .into(),
                LoginError::Call(call) => failed(call),
            });
        }
        let direct = module.sign_functions().know(session);
        let wants_login = login.is_some();
        let anchor = Anchor {
            session: anchor,
            login,
            refused: None,
        };
        Ok(Token {
            label,
            name,
            slot,
            marks,
            setup,
            direct,
            wants_login,
            anchor: Mutex::new(anchor),
            logins: AtomicU64::new(1),
            module,
        })
    }

    /// The token's label.
    pub(super) fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// The module's calls that sign; `None` where they do not know the wrapper's sessions, so
    /// that the wrapper has to sign.
    pub(super) fn sign_functions(&self) -> Option<&SignFunctions> {
        self.direct.then(|| self.module.sign_functions())
    }

    /// The module.
    pub(super) fn module(&self) -> &Module {
        &self.module
    }

    /// Waits for the right to search, make or destroy keys.
    pub(super) fn setup(&self) -> MutexGuard<'_, ()> {
        lock(&self.setup)
    }

    /// Opens a session that only signs.
    pub(super) fn open_session(&self) -> Result<OpenSession, CallError> {
        let _slots = self.module.keep_slots();
        OpenSession::open(self.module.context(), self.slot)
    }

    /// Opens a session that can make keys.
    pub(super) fn open_writing_session(&self) -> Result<Session, CallError> {
        let _slots = self.module.keep_slots();
        let session = self.module.context().open_rw_session(self.slot);
        session.map_err(|error| CallError::from_wrapper("C_OpenSession", &error))
    }

    /// Runs `work` on the anchor session. A lost anchor is opened anew, once.
    pub(super) fn with_anchor<T>(
        &self,
        work: impl Fn(&Session) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let mut anchor = lock(&self.anchor);
        match anchor.session.get().and_then(&work) {
            Err(call) if call.class() == ErrorClass::Session => {
                work(self.replace_anchor(&mut anchor, call.code)?)
            }
            outcome => outcome,
        }
    }

    /// Tells a lost login from a key that is not there: without it private keys are not shown.
    pub(super) fn check_login(&self, session: &Session) -> Result<(), CallError> {
        let info = session
            .get_session_info()
            .map_err(|error| CallError::from_wrapper("C_GetSessionInfo", &error))?;
        let public = matches!(
            info.session_state(),
            SessionState::RoPublic | SessionState::RwPublic
        );
        if self.wants_login && public {
            return Err(CallError {
                function: "C_GetSessionInfo",
                code: ReturnCode::USER_NOT_LOGGED_IN,
            });
        }
        Ok(())
    }

    /// How many logins there were; for [`Token::log_in_again`].
    pub(super) fn logins(&self) -> u64 {
        self.logins.load(Ordering::Acquire)
    }

    /// Logs in again, unless another thread did so since there were `seen` logins. A PIN that is
    /// refused is remembered and not sent again.
    pub(super) fn log_in_again(&self, seen: u64) -> Result<(), SignError> {
        let failed = |call| SignError::Call {
            token: Arc::clone(&self.label),
            call,
        };
        let mut anchor = lock(&self.anchor);
        if let Some(refused) = &anchor.refused {
            return Err(refused.clone());
        }
        if self.logins() != seen {
            return Ok(());
        }
        let attempt = |anchor: &Anchor| match (anchor.session.get(), &anchor.login) {
            (Ok(session), Some(login)) => login::marked(session, login, &self.marks, &self.name),
            (Ok(_), None) => Ok(()),
            (Err(call), _) => Err(LoginError::Call(call)),
        };
        let mut outcome = attempt(&anchor);
        if let Err(LoginError::Call(call)) = &outcome
            && call.class() == ErrorClass::Session
        {
            self.replace_anchor(&mut anchor, call.code)
                .map_err(failed)?;
            outcome = attempt(&anchor);
        }
        match outcome {
            Ok(()) => {
                self.logins.fetch_add(1, Ordering::AcqRel);
                Ok(())
            }
            Err(LoginError::Refused(code, mark)) => {
                let token = Arc::clone(&self.label);
                let refused = SignError::PinRefused { token, code, mark };
                Err(anchor.refused.insert(refused).clone())
            }
            Err(LoginError::HeldBack(error)) => Err(SignError::PinHeldBack {
                token: Arc::clone(&self.label),
                why: Arc::from(error.to_string()),
                lasting: error.is_lasting(),
            }),
            Err(LoginError::Call(call)) => Err(failed(call)),
        }
    }

    /// Where a call's error says of the PIN that it will not do, that is remembered, and no login sends
    /// it again. This may wait behind a login that hangs: whoever calls it is on its seat.
    pub(super) fn settle(&self, error: SignError) -> SignError {
        let code = match &error {
            SignError::Call { call, .. } if call.class() == ErrorClass::Pin => call.code,
            _ => return error,
        };
        let mut anchor = lock(&self.anchor);
        let refused = anchor.refused.take().unwrap_or_else(|| self.refused(code));
        anchor.refused.insert(refused).clone()
    }

    fn refused(&self, code: ReturnCode) -> SignError {
        SignError::PinRefused {
            token: Arc::clone(&self.label),
            code,
            mark: self.marks.remember(&self.name, code),
        }
    }

    /// The token's slot.
    pub(super) fn slot(&self) -> Slot {
        self.slot
    }

    /// Uses the anchor session, so that the token does not drop it.
    pub(super) fn keep_alive(&self) -> Result<(), CallError> {
        self.with_anchor(ping)
    }

    /// Closes the anchor and gives the module up. Every other session is closed by now.
    pub(super) fn close(mut self) -> Result<(), CloseError> {
        self.close_anchor();
        self.module.release()
    }

    /// Opens the anchor anew after the old one gave an error with this code.
    fn replace_anchor<'a>(
        &self,
        anchor: &'a mut Anchor,
        code: ReturnCode,
    ) -> Result<&'a Session, CallError> {
        anchor.session.give_up(Some(code));
        anchor.session = self.open_session()?;
        anchor.session.get()
    }

    fn close_anchor(&mut self) {
        // The last session of a token must not close while another one opens.
        let _setup = lock(&self.setup);
        lock(&self.anchor).session.close();
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.close_anchor();
    }
}

/// Asks the token something small.
pub(super) fn ping(session: &Session) -> Result<(), CallError> {
    let info = session.get_session_info();
    info.map(drop)
        .map_err(|error| CallError::from_wrapper("C_GetSessionInfo", &error))
}

/// The one token that fits the URI's `token`, `serial`, `manufacturer` and `model`.
fn find(module: &Module, uri: &Pkcs11Uri) -> Result<(Slot, TokenInfo), OpenError> {
    let name = |info: &TokenInfo| format!("'{}' (serial {})", info.label(), info.serial_number());
    let mut tokens = {
        let _slots = module.keep_slots();
        initialized_tokens(module)?
    };
    let seen: Vec<String> = tokens.iter().map(|(_, info)| name(info)).collect();
    tokens.retain(|(_, info)| fits(uri, info));
    match tokens.len() {
        0 => Err(TokenError::Unknown {
            wanted: uri.describe_token(),
            seen,
        }
        .into()),
        1 => Ok(tokens.remove(0)),
        _ => {
            let fitting = tokens.iter().map(|(_, info)| name(info)).collect();
            Err(TokenError::Ambiguous {
                wanted: uri.describe_token(),
                fitting,
            }
            .into())
        }
    }
}

/// Whether the token is one that the URI's `token`, `serial`, `manufacturer` and `model` mean.
pub(super) fn fits(uri: &Pkcs11Uri, info: &TokenInfo) -> bool {
    let same = |wanted: &Option<String>, found: &str| {
        wanted
            .as_ref()
            .is_none_or(|wanted| wanted.trim_end() == found.trim_end())
    };
    same(&uri.token, info.label())
        && same(&uri.serial, info.serial_number())
        && same(&uri.manufacturer, info.manufacturer_id())
        && same(&uri.model, info.model())
}

/// The tokens that can hold keys.
pub(super) fn initialized_tokens(module: &Module) -> Result<Vec<(Slot, TokenInfo)>, ModuleError> {
    let mut tokens = module.tokens()?;
    tokens.retain(|(_, info)| info.token_initialized());
    Ok(tokens)
}

//! The token of our own: one P-256 key, sessions, a login.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cryptoki_sys::*;

use crate::code::{Code, Outcome};
use crate::configuration::{Configuration, KeyChoice, Keys, Mode, Pin};
use crate::key::{ID_LEN_MAX, Key, KeyFileError, SIGNATURE_LEN};
use crate::object::{Object, P256_PARAMS, Template};
use crate::session::{Session, Sessions};
use crate::{read, write};

/// The one slot.
pub(crate) const SLOT: CK_SLOT_ID = 0;

/// Length in bytes of what is signed: a SHA-256.
const DIGEST_LEN: usize = 32;

/// A token with its sessions.
pub(crate) struct Token {
    mode: Mode,
    pin: Pin,
    settings: Keys,
    /// `None` until one is made.
    right: RwLock<Option<Key>>,
    wrong: Key,
    use_wrong: AtomicBool,
    started: Instant,
    sessions: Sessions,
    logged_in: AtomicBool,
    /// Part of each object handle: when it changes, handles are stale.
    handles: AtomicU64,
}

/// What C_Sign comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    /// Only the length was asked for, or the buffer is too short.
    Length,
    Signature([u8; SIGNATURE_LEN]),
}

impl Token {
    /// A token with its keys read or made.
    pub(crate) fn start(
        configuration: &Configuration,
        pin: Pin,
        choice: KeyChoice,
    ) -> Result<Token, KeyFileError> {
        let settings = configuration.keys.clone();
        let right = match &settings.file {
            Some(file) if settings.make => Some(Key::read_or_make(file, &settings.id)?),
            Some(file) => Key::read(file, &settings.id)?,
            None if settings.make => Some(Key::generate(&settings.id)?),
            None => None,
        };
        // Another key under the same label and the same id.
        let id = right.as_ref().map_or(&settings.id[..], Key::id).to_vec();
        let wrong = match &settings.wrong_file {
            Some(file) => Key::read_or_make(file, &id)?.with_id(&id),
            None => Key::generate(&id)?,
        };
        Ok(Token {
            mode: configuration.mode,
            pin,
            right: RwLock::new(right),
            wrong,
            use_wrong: AtomicBool::new(choice == KeyChoice::Wrong),
            started: Instant::now(),
            sessions: Sessions::new(configuration.session_max, configuration.reuse_handles),
            logged_in: AtomicBool::new(false),
            handles: AtomicU64::new(1),
            settings,
        })
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Puts another key behind the label, from now on.
    pub(crate) fn choose_key(&self, choice: KeyChoice) {
        let wrong = choice == KeyChoice::Wrong;
        self.use_wrong.store(wrong, Ordering::Release);
    }

    /// Takes back every session, and the login with them.
    pub(crate) fn lose_sessions(&self) {
        self.sessions.close_all();
        self.log_out();
    }

    pub(crate) fn log_out(&self) {
        self.logged_in.store(false, Ordering::Release);
    }

    /// Makes every object handle stale.
    pub(crate) fn lose_handles(&self) {
        self.handles.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn close_session(&self, session: CK_SESSION_HANDLE) -> Outcome<()> {
        // The login ends with the last session (PKCS#11 v3.1 §5.6.2).
        if self.sessions.close(session)? {
            self.log_out();
        }
        Ok(())
    }

    pub(crate) fn session_info(&self, session: CK_SESSION_HANDLE) -> Outcome<CK_SESSION_INFO> {
        let writable = self
            .sessions
            .with(session, |session| Ok(session.writable))?;
        let state = match (writable, self.is_logged_in()) {
            (false, false) => CKS_RO_PUBLIC_SESSION,
            (false, true) => CKS_RO_USER_FUNCTIONS,
            (true, false) => CKS_RW_PUBLIC_SESSION,
            (true, true) => CKS_RW_USER_FUNCTIONS,
        };
        Ok(CK_SESSION_INFO {
            slotID: SLOT,
            state,
            flags: CKF_SERIAL_SESSION | if writable { CKF_RW_SESSION } else { 0 },
            ulDeviceError: 0,
        })
    }

    pub(crate) fn login(
        &self,
        session: CK_SESSION_HANDLE,
        user: CK_USER_TYPE,
        pin: &[u8],
    ) -> Outcome<()> {
        self.sessions.with(session, |_| Ok(()))?;
        if user != CKU_USER {
            return Err(Code(CKR_USER_TYPE_INVALID));
        }
        if self.is_logged_in() {
            return Err(Code(CKR_USER_ALREADY_LOGGED_IN));
        }
        if !self.pin.fits(pin) {
            return Err(Code(CKR_PIN_INCORRECT));
        }
        self.logged_in.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn logout(&self, session: CK_SESSION_HANDLE) -> Outcome<()> {
        self.sessions.with(session, |_| Ok(()))?;
        if !self.logged_in.swap(false, Ordering::AcqRel) {
            return Err(Code(CKR_USER_NOT_LOGGED_IN));
        }
        Ok(())
    }

    pub(crate) fn find_init(&self, session: CK_SESSION_HANDLE, template: &Template) -> Outcome<()> {
        self.sessions.with(session, |session| {
            if session.finding.is_some() {
                return Err(Code(CKR_OPERATION_ACTIVE));
            }
            let epoch = self.handles.load(Ordering::Acquire);
            let found = self.with_key(|key| {
                let objects = Object::ALL.into_iter();
                objects
                    .filter(|object| self.shows(*object))
                    .filter(|object| object.fits(template, key, &self.settings.label))
                    .map(|object| object.handle(epoch))
                    .collect()
            });
            session.finding = Some(found.unwrap_or_default());
            Ok(())
        })
    }

    pub(crate) fn find(
        &self,
        session: CK_SESSION_HANDLE,
        max: usize,
    ) -> Outcome<Vec<CK_OBJECT_HANDLE>> {
        self.sessions.with(session, |session| {
            let finding = session
                .finding
                .as_mut()
                .ok_or(Code(CKR_OPERATION_NOT_INITIALIZED))?;
            Ok(finding.drain(..max.min(finding.len())).collect())
        })
    }

    pub(crate) fn find_final(&self, session: CK_SESSION_HANDLE) -> Outcome<()> {
        self.sessions.with(session, |session| {
            let found = session.finding.take();
            found.map(drop).ok_or(Code(CKR_OPERATION_NOT_INITIALIZED))
        })
    }

    /// The object of the handle.
    pub(crate) fn object(
        &self,
        session: CK_SESSION_HANDLE,
        handle: CK_OBJECT_HANDLE,
    ) -> Outcome<Object> {
        self.sessions.with(session, |_| Ok(()))?;
        self.of_handle(handle)
            .filter(|object| self.shows(*object))
            .ok_or(Code(CKR_OBJECT_HANDLE_INVALID))
    }

    pub(crate) fn attribute(&self, object: Object, wanted: CK_ATTRIBUTE_TYPE) -> Outcome<Vec<u8>> {
        self.with_key(|key| object.attribute(wanted, key, &self.settings.label))
            .unwrap_or(Err(Code(CKR_OBJECT_HANDLE_INVALID)))
    }

    pub(crate) fn sign_init(
        &self,
        session: CK_SESSION_HANDLE,
        mechanism: CK_MECHANISM_TYPE,
        key: CK_OBJECT_HANDLE,
    ) -> Outcome<()> {
        self.sessions.with(session, |session| {
            if session.signing.is_some() {
                return Err(Code(CKR_OPERATION_ACTIVE));
            }
            if !self.is_logged_in() {
                return Err(Code(CKR_USER_NOT_LOGGED_IN));
            }
            if mechanism != CKM_ECDSA {
                return Err(Code(CKR_MECHANISM_INVALID));
            }
            match self.of_handle(key) {
                Some(Object::Private) => {}
                Some(Object::Public) => return Err(Code(CKR_KEY_FUNCTION_NOT_PERMITTED)),
                None => return Err(Code(CKR_KEY_HANDLE_INVALID)),
            }
            session.signing = Some(key);
            Ok(())
        })
    }

    /// Signs. `room` is the caller's buffer in bytes; `None` when only the length is asked for.
    pub(crate) fn sign(
        &self,
        session: CK_SESSION_HANDLE,
        data: &[u8],
        room: Option<usize>,
    ) -> Outcome<Signed> {
        self.sessions.with(session, |session| {
            let key = session.signing.ok_or(Code(CKR_OPERATION_NOT_INITIALIZED))?;
            // Neither of these ends the operation (PKCS#11 v3.1 §5.2).
            if room.is_none_or(|room| room < SIGNATURE_LEN) {
                return Ok(Signed::Length);
            }
            let signed = self.sign_now(key, data);
            session.signing = None;
            signed.map(Signed::Signature)
        })
    }

    /// Ends what C_SignInit began.
    pub(crate) fn sign_cancel(&self, session: CK_SESSION_HANDLE) {
        // A session that is gone has nothing to end.
        let _ = self.sessions.with(session, |session: &mut Session| {
            session.signing = None;
            Ok(())
        });
    }

    /// Makes the key pair (C_GenerateKeyPair), in the key file where one is named.
    pub(crate) fn generate(
        &self,
        session: CK_SESSION_HANDLE,
        mechanism: CK_MECHANISM_TYPE,
        public: &Template,
        private: &Template,
    ) -> Outcome<[CK_OBJECT_HANDLE; 2]> {
        let writable = self
            .sessions
            .with(session, |session| Ok(session.writable))?;
        if !writable {
            return Err(Code(CKR_SESSION_READ_ONLY));
        }
        if !self.is_logged_in() {
            return Err(Code(CKR_USER_NOT_LOGGED_IN));
        }
        if mechanism != CKM_EC_KEY_PAIR_GEN {
            return Err(Code(CKR_MECHANISM_INVALID));
        }
        let value = |template: &Template, wanted| {
            let found = template.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| value.clone())
        };
        if value(public, CKA_EC_PARAMS).as_deref() != Some(P256_PARAMS) {
            return Err(Code(CKR_CURVE_NOT_SUPPORTED));
        }
        // The label is the configuration's, so that a restart finds the key under it.
        if value(private, CKA_LABEL).is_some_and(|label| label != self.settings.label.as_bytes()) {
            return Err(Code(CKR_TEMPLATE_INCONSISTENT));
        }
        let id = value(private, CKA_ID)
            .filter(|id| (1..=ID_LEN_MAX).contains(&id.len()))
            .unwrap_or_else(|| self.settings.id.clone());
        let mut right = write(&self.right);
        if right.is_some() {
            // It holds one key.
            return Err(Code(CKR_DEVICE_MEMORY));
        }
        let made = match &self.settings.file {
            Some(file) => Key::make(file, &id, true),
            None => Key::generate(&id).map(Some),
        };
        *right = Some(
            made.map_err(|_| Code(CKR_DEVICE_ERROR))?
                .ok_or(Code(CKR_DEVICE_MEMORY))?,
        );
        let epoch = self.handles.load(Ordering::Acquire);
        Ok([Object::Public.handle(epoch), Object::Private.handle(epoch)])
    }

    fn sign_now(&self, key: CK_OBJECT_HANDLE, data: &[u8]) -> Outcome<[u8; SIGNATURE_LEN]> {
        if !self.is_logged_in() {
            return Err(Code(CKR_USER_NOT_LOGGED_IN));
        }
        if self.of_handle(key).is_none() {
            return Err(Code(CKR_KEY_HANDLE_INVALID));
        }
        let digest: &[u8; DIGEST_LEN] = data.try_into().map_err(|_| Code(CKR_DATA_LEN_RANGE))?;
        self.with_key(|key| match self.mode {
            Mode::Premade => Ok(key.premade()),
            _ => key.sign(digest).map_err(|_| Code(CKR_FUNCTION_FAILED)),
        })
        .unwrap_or(Err(Code(CKR_KEY_HANDLE_INVALID)))
    }

    fn is_logged_in(&self) -> bool {
        self.logged_in.load(Ordering::Acquire)
    }

    fn of_handle(&self, handle: CK_OBJECT_HANDLE) -> Option<Object> {
        Object::of_handle(handle, self.handles.load(Ordering::Acquire))
    }

    /// Private objects show after the login (PKCS#11 v3.1 §4.4).
    fn shows(&self, object: Object) -> bool {
        object == Object::Public || self.is_logged_in()
    }

    fn with_key<T>(&self, work: impl FnOnce(&Key) -> T) -> Option<T> {
        let late = |from: Duration| self.started.elapsed() >= from;
        if self.use_wrong.load(Ordering::Acquire) || self.settings.wrong_from.is_some_and(late) {
            return Some(work(&self.wrong));
        }
        read(&self.right).as_ref().map(work)
    }
}

#[cfg(test)]
mod tests;

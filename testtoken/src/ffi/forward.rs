//! The module behind ours, in mode `forward`.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::mem;
use std::path::Path;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cryptoki_sys::*;
use libloading::Library;

use crate::code::{Code, Outcome};
use crate::lock;

/// Calls a function of the real module with the arguments as they came.
macro_rules! forward {
    ($real:expr, $name:ident($($arg:expr),*)) => {
        match $real.functions.$name {
            // SAFETY: the function is the real module's, which stays loaded, and has the
            // standard's signature. What the arguments point to is our caller's to answer for: it
            // called this very function with them.
            Some(function) => $crate::ffi::outcome(unsafe { function($($arg),*) }),
            None => Err($crate::code::Code(cryptoki_sys::CKR_FUNCTION_NOT_SUPPORTED)),
        }
    };
}
pub(super) use forward;

/// `CK_C_INITIALIZE_ARGS` as NSS has it: what the standard reserves is a text there, and a field follows.
#[repr(C)]
#[derive(Default)]
struct InitializeArguments {
    standard: CK_C_INITIALIZE_ARGS,
    reserved: usize,
}

impl InitializeArguments {
    /// The arguments with a text, for as long as both live.
    fn with(&mut self, text: &CString) -> *mut c_void {
        self.standard.flags = CKF_OS_LOCKING_OK;
        self.standard.pReserved = text.as_ptr().cast_mut().cast();
        ptr::from_mut(self).cast()
    }
}

/// The real module.
pub(crate) struct RealModule {
    pub(super) functions: CK_FUNCTION_LIST,
    /// What some modules (NSS, YubiHSM) are told by a reserved pointer of C_Initialize.
    init_string: Option<CString>,
    /// Sessions opened through us, each with its slot.
    sessions: Mutex<HashMap<CK_SESSION_HANDLE, CK_SLOT_ID>>,
    most: AtomicU64,
    /// Initialized by us, and not by other code of this process.
    ours: AtomicBool,
}

impl RealModule {
    /// Loads the module in the file at `path`. It stays loaded until the process ends.
    pub(crate) fn load(path: &Path, init_string: Option<CString>) -> Result<RealModule, String> {
        type GetFunctionList = unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV;
        let failed =
            |error: libloading::Error| format!("{} is no PKCS#11 module: {error}", path.display());
        // SAFETY: loading runs the file's initializers, which is what naming a module in the
        // configuration asks for.
        let library = unsafe { Library::new(path) }.map_err(failed)?;
        // SAFETY: the type is the standard's for the function of this name.
        let get = unsafe { library.get::<GetFunctionList>(b"C_GetFunctionList\0") };
        let get = *get.map_err(failed)?;
        let mut list: *mut CK_FUNCTION_LIST = ptr::null_mut();
        // SAFETY: the function may be called before C_Initialize (PKCS#11 v3.1 §5.4.4) and writes
        // one pointer.
        let code = unsafe { get(&mut list) };
        if code != CKR_OK || list.is_null() {
            let code = Code(code);
            return Err(format!("{}: C_GetFunctionList gave {code}", path.display()));
        }
        // SAFETY: after CKR_OK it points to the module's own list. It may be packed.
        let functions = unsafe { list.read_unaligned() };
        // Unloading would run destructors while others of the process may still use them.
        mem::forget(library);
        Ok(RealModule {
            functions,
            init_string,
            sessions: Mutex::default(),
            most: AtomicU64::new(0),
            ours: AtomicBool::new(false),
        })
    }

    /// Sessions open now, and most at a time.
    pub(crate) fn sessions(&self) -> (u64, u64) {
        let now = lock(&self.sessions).len() as u64;
        (now, self.most.load(Ordering::Relaxed))
    }

    pub(crate) fn lose_session(&self, session: CK_SESSION_HANDLE) {
        lock(&self.sessions).remove(&session);
        // One that is gone already is lost all the same.
        let _ = forward!(self, C_CloseSession(session));
    }

    pub(crate) fn lose_sessions(&self) {
        let lost = mem::take(&mut *lock(&self.sessions));
        for session in lost.into_keys() {
            let _ = forward!(self, C_CloseSession(session));
        }
    }

    /// Logs out of every slot that has a session.
    pub(crate) fn log_out(&self) {
        let mut by_slot = HashMap::new();
        for (session, slot) in &*lock(&self.sessions) {
            by_slot.insert(*slot, *session);
        }
        for session in by_slot.into_values() {
            // A slot without a login needs no logout.
            let _ = forward!(self, C_Logout(session));
        }
    }

    pub(super) fn initialize(&self, arguments: *mut c_void) -> Outcome<()> {
        let mut own = InitializeArguments::default();
        let arguments = match &self.init_string {
            Some(text) => own.with(text),
            None => arguments,
        };
        match forward!(self, C_Initialize(arguments)) {
            // Other code of this process did so, and finalizes it too.
            Err(Code(CKR_CRYPTOKI_ALREADY_INITIALIZED)) => Ok(()),
            outcome => {
                self.ours.store(outcome.is_ok(), Ordering::Release);
                outcome
            }
        }
    }

    pub(super) fn finalize(&self, reserved: *mut c_void) -> Outcome<()> {
        if self.ours.swap(false, Ordering::AcqRel) {
            return forward!(self, C_Finalize(reserved));
        }
        self.lose_sessions();
        Ok(())
    }

    /// Notes a session that was opened through us.
    pub(super) fn opened(&self, session: CK_SESSION_HANDLE, slot: CK_SLOT_ID) {
        let mut sessions = lock(&self.sessions);
        sessions.insert(session, slot);
        self.most
            .fetch_max(sessions.len() as u64, Ordering::Relaxed);
    }

    pub(super) fn closed(&self, session: CK_SESSION_HANDLE) {
        lock(&self.sessions).remove(&session);
    }

    pub(super) fn closed_all(&self, slot: CK_SLOT_ID) {
        lock(&self.sessions).retain(|_, own| *own != slot);
    }
}

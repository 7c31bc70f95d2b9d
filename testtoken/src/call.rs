//! A call that goes through: what several functions have in common, whatever makes the signatures.

use std::sync::atomic::Ordering;

use cryptoki_sys::{
    CK_ATTRIBUTE_TYPE, CK_ULONG, CK_USER_TYPE, CKA_VENDOR_DEFINED, CKR_DEVICE_ERROR,
    CKR_PIN_INCORRECT, CKR_PIN_LOCKED, CKU_USER,
};

use crate::code::{Code, Outcome};
use crate::module::{Module, Running};
use crate::object::{Object, number};
use crate::report::add;
use crate::schedule::Effect;
use crate::state::Memory;

/// Thales Luna: how often a key was used, and how often it may be (`LUNA_ATTR_USAGE_COUNT` and
/// `LUNA_ATTR_USAGE_COUNT_LIMIT` in the vendor's pycryptoki, `defines.py`). A key has both or neither.
const CKA_USAGE_COUNT: CK_ATTRIBUTE_TYPE = CKA_VENDOR_DEFINED + 0x101;
const CKA_USAGE_LIMIT: CK_ATTRIBUTE_TYPE = CKA_VENDOR_DEFINED + 0x200;

/// A call that goes through, with what is to go wrong in it.
pub(crate) struct Call<'a> {
    pub(crate) module: &'a Module,
    pub(crate) running: &'a Running,
    pub(crate) effect: Effect,
}

impl Call<'_> {
    /// Whether the token is in its slot, for the functions that tell so.
    pub(crate) fn is_present(&self) -> bool {
        self.module.is_present(self.running)
    }

    /// A login, with the user's PIN locked after too many wrong ones.
    pub(crate) fn login(
        &self,
        user: CK_USER_TYPE,
        attempt: impl FnOnce() -> Outcome<()>,
    ) -> Outcome<()> {
        if user != CKU_USER {
            return attempt();
        }
        let counters = &self.module.counters;
        let update = |change: &dyn Fn(&mut Memory)| {
            let updated = self.module.remembered.update(|memory| change(memory));
            updated.map_err(|_| Code(CKR_DEVICE_ERROR))
        };
        let memory = self.module.remembered.read();
        let in_a_row = memory
            .map_err(|_| Code(CKR_DEVICE_ERROR))?
            .wrong_pins_in_a_row;
        let limit = self.running.configuration().pin_lock_after;
        let outcome = if limit.is_some_and(|limit| in_a_row >= limit) {
            Err(Code(CKR_PIN_LOCKED))
        } else {
            attempt()
        };
        match outcome {
            Ok(()) if in_a_row > 0 => update(&|memory| memory.wrong_pins_in_a_row = 0)?,
            Err(Code(CKR_PIN_INCORRECT)) => update(&|memory| {
                memory.wrong_pins += 1;
                memory.wrong_pins_in_a_row += 1;
            })?,
            Err(Code(CKR_PIN_LOCKED)) => update(&|memory| memory.wrong_pins += 1)?,
            _ => {}
        }
        match outcome {
            Err(Code(CKR_PIN_INCORRECT | CKR_PIN_LOCKED)) => {
                add(&counters.logins);
                add(&counters.logins_refused);
            }
            Ok(()) => add(&counters.logins),
            Err(_) => {}
        }
        outcome
    }

    /// What the key tells of its uses, where they are limited; `None` for every other attribute.
    pub(crate) fn uses(
        &self,
        object: Object,
        wanted: CK_ATTRIBUTE_TYPE,
    ) -> Option<Outcome<Vec<u8>>> {
        let limit = self.running.configuration().sign_limit?;
        match (object, wanted) {
            (Object::Private, CKA_USAGE_LIMIT) => Some(Ok(number(limit as CK_ULONG))),
            (Object::Private, CKA_USAGE_COUNT) => {
                let memory = self.module.remembered.read();
                let used = memory.map(|memory| number(memory.signatures as CK_ULONG));
                Some(used.map_err(|_| Code(CKR_DEVICE_ERROR)))
            }
            _ => None,
        }
    }

    /// Whether the key may be used once more, for C_SignInit.
    pub(crate) fn key_is_active(&self) -> Outcome<()> {
        let Some(limit) = self.running.configuration().sign_limit else {
            return Ok(());
        };
        match self.module.remembered.read() {
            Ok(memory) if memory.signatures < limit => Ok(()),
            Ok(_) => Err(Code::KEY_NOT_ACTIVE),
            Err(_) => Err(Code(CKR_DEVICE_ERROR)),
        }
    }

    /// Makes a signature, counted where the key has a limit. The count is taken before, so that
    /// several sessions at once do not pass the limit, and given back when no signature comes.
    pub(crate) fn counted_signature(&self, make: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
        if let Some(limit) = self.running.configuration().sign_limit {
            let taken = self.module.remembered.update(|memory| {
                let free = memory.signatures < limit;
                memory.signatures += u64::from(free);
                free
            });
            if !taken.map_err(|_| Code(CKR_DEVICE_ERROR))? {
                return Err(Code::KEY_NOT_ACTIVE);
            }
        }
        let made = make();
        if made.is_ok() {
            add(&self.module.counters.signatures);
        } else if self.running.configuration().sign_limit.is_some() {
            let given_back = self
                .module
                .remembered
                .update(|memory| memory.signatures = memory.signatures.saturating_sub(1));
            given_back.map_err(|_| Code(CKR_DEVICE_ERROR))?;
        }
        made
    }

    /// Notes that a session was opened.
    pub(crate) fn session_opened(&self) {
        let most = self.running.backend().sessions().1;
        let counter = &self.module.counters.sessions_most;
        counter.fetch_max(most, Ordering::Relaxed);
    }
}

//! PKCS#11 (v2.40 and later): modules, tokens, keys and the sessions that sign.
//!
//! A [`module`] is initialized once per process. A [`token`] is found by its URI and logged in by
//! one anchor session. A [`key`] is found on it, and a [`session`] signs with it.
//!
//! A [`pool`] is one key on one or several tokens. [`keeper`], [`worker`] and [`watch`] are its
//! threads; [`shared`], [`member`] and [`handover`] what they share; [`verdict`] and [`breaker`]
//! say what is done about errors.

mod adapt;
mod attributes;
mod breaker;
mod generate;
mod handover;
mod initialize;
mod inspect;
mod keeper;
mod key;
mod key_attributes;
mod login;
mod member;
mod module;
mod open_session;
mod opening;
mod pin;
mod pin_mark;
mod pin_memory;
mod pool;
mod probes;
mod raw;
mod session;
mod shared;
mod start;
mod tally;
mod token;
mod uri;
mod verdict;
mod watch;
mod worker;

/// What [`handover`] locks with; its model check brings loom's in this place.
mod sync {
    pub(super) use std::sync::{Mutex, MutexGuard};
}

pub use attributes::{
    KeyAttribute, KeyReport, KeyUses, destroy_key_pair, generate_reported_key_pair, report_key,
};
pub use generate::generate_key_pair;
pub use initialize::initialize_token;
pub use inspect::{
    MechanismDescription, ModuleDescription, PinState, SLOTS_MAX, SessionLimit, SlotDescription,
    TokenDescription, inspect_module, inspect_uri,
};
pub use module::MODULE_DIRECTORIES;
pub use pin::PIN_VARIABLE;
pub use pool::{Pkcs11Options, SESSIONS_MAX};
pub use uri::{Pkcs11Uri, UriError};

pub(crate) use pool::TokenPool;
pub(crate) use session::SigningSession;

//! PKCS#11 (v2.40 and later): modules, tokens, keys and the sessions that sign.
//!
//! A [`module`] is initialized once per process. A [`token`] is found by its URI and logged in by
//! one anchor session. A [`key`] is found once, and a [`pool`] gives it sessions that sign.

mod attributes;
mod generate;
mod initialize;
mod inspect;
mod key;
mod module;
mod pin;
mod pool;
mod raw;
mod session;
mod token;
mod uri;

pub use attributes::{
    KeyAttribute, KeyReport, destroy_key_pair, generate_reported_key_pair, report_key,
};
pub use generate::generate_key_pair;
pub use initialize::initialize_token;
pub use inspect::{
    MechanismDescription, ModuleDescription, PinState, SLOTS_MAX, SessionLimit, SlotDescription,
    TokenDescription, inspect_module, inspect_uri,
};
pub use pin::PIN_VARIABLE;
pub use pool::{Pkcs11Options, SESSIONS_MAX};
pub use uri::{Pkcs11Uri, UriError};

pub(crate) use pool::TokenPool;
pub(crate) use session::SigningSession;

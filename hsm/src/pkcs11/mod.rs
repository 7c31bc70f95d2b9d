//! PKCS#11 (v2.40 and later): modules, tokens, keys and the sessions that sign.
//!
//! A [`module`] is initialized once per process. A [`token`] is found by its URI and logged in by
//! one anchor session. A [`key`] is found once, and a [`pool`] gives it sessions that sign.

mod generate;
mod initialize;
mod key;
mod key_attributes;
mod module;
mod pin;
mod pool;
mod raw;
mod session;
mod token;
mod uri;

pub use generate::generate_key_pair;
pub use initialize::initialize_token;
pub use pin::PIN_VARIABLE;
pub use pool::{Pkcs11Options, SESSIONS_MAX};
pub use uri::{Pkcs11Uri, UriError};

pub(crate) use pool::TokenPool;
pub(crate) use session::SigningSession;

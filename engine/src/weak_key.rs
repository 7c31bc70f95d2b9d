//! Keys that verify and are no secret all the same: RSA moduli that can be factored, and keys that everybody has.

mod known_bad;
mod rsa;

pub(crate) use known_bad::check_known;
pub use known_bad::{KNOWN_BAD_KEYS_MAX, KnownBadKeys, KnownBadKeysError};
#[cfg(test)]
pub(crate) use rsa::keys as rsa_keys;
pub(crate) use rsa::{check_modulus, modulus_findings};

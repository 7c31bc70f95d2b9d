//! Keys that the engine makes for a device which cannot make its own.
//!
//! A profile allows it with `key.generated`, and says how the private key is delivered. The key exists in the
//! clear on one worker, from its making until it is encrypted for the line. The encrypted form is durable in
//! the [`KeySpool`] before anything is reserved or signed for it, is released with the certificate, and is
//! kept until the line acknowledges it. It never enters the log.

mod cms;
mod configuration;
mod generate;
mod making;
mod pkcs12;
mod pkcs8;
mod policy;
mod seal;
mod spool;
mod station;

pub use cms::{Recipient, RecipientError};
pub use configuration::DeviceKeysError;
pub use pkcs8::{SECRET_CHARS_MIN, SecretError, TransportSecret};
pub use seal::{Delivery, DeviceKeys, EncryptedKey, KeyDelivery};
pub use spool::{
    Acknowledgement, KeySpool, SPOOL_BYTES_MAX_DEFAULT, SPOOL_KEYS_MAX_DEFAULT, SpoolError,
    SpoolFileDamage, SpoolOpenError, SpoolOptions, SpooledKey, read_spool_file,
};
pub use station::DeviceKeysOpenError;

pub(crate) use configuration::{DeviceKeyFiles, RawDeviceKeys};
pub(crate) use generate::{GeneratedKey, NoKey};
pub(crate) use making::{KeptKey, KeyMaker, are_recorded, prove_possession, released};
pub(crate) use policy::{GeneratedKeyRule, check_rule};
use seal::NotSealed;
pub(crate) use spool::{LogEnd, Room, SpoolEntry, SpoolSink};
pub(crate) use station::SealedStation;

/// A certificate's serial number as the engine makes them: what the spool knows a key by.
pub(crate) type Serial = crate::tbs::Serial;

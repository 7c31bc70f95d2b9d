//! What an engine needs for generated keys: checked and opened at its start, asked while it runs.

use std::sync::Arc;

use birthmark_log::Log;

use super::making::KeyMaker;
use super::seal::{Delivery, DeviceKeys, Sealers};
use super::spool::{Acknowledgement, KeySpool, SpoolError, SpoolOpenError, SpoolOptions};
use super::{NotSealed, RecipientError};
use crate::engine::Engine;
use crate::pipeline::Relay;
use crate::profile::Profile;

/// Why an engine cannot make keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceKeysOpenError {
    /// A profile lets the engine make keys, and the station cannot deliver them so.
    #[error(
        "profile {profile} has key.generated = \"{delivery}\", but the station has no {missing}; name its file in \
         device_keys.{missing}"
    )]
    NoDelivery {
        /// Name of the profile.
        profile: String,
        /// As the profile says it.
        delivery: &'static str,
        /// What is missing.
        missing: &'static str,
    },
    /// No key can be delivered to the recipient.
    #[error(transparent)]
    Recipient(#[from] RecipientError),
    /// The spool does not open.
    #[error(transparent)]
    Spool(#[from] SpoolOpenError),
    /// What a crash left in the spool cannot be dropped.
    #[error(transparent)]
    SpoolFailed(#[from] SpoolError),
    /// The random number generator failed.
    #[error(
        "the random number generator failed; restart, and if it fails again replace the machine"
    )]
    Random,
}

impl From<NotSealed> for DeviceKeysOpenError {
    fn from(NotSealed: NotSealed) -> Self {
        Self::Random
    }
}

/// A station's [`DeviceKeys`], if it has any, ready to encrypt.
pub(crate) struct SealedStation {
    ready: Option<(Sealers, SpoolOptions)>,
    /// Whether a profile delivers keys as `pkcs12`.
    makes_pkcs12: bool,
}

impl SealedStation {
    /// Checks that every profile's keys can be delivered.
    pub(crate) fn new(
        keys: Option<DeviceKeys>,
        profiles: &[Profile],
        now_s: u64,
    ) -> Result<Self, DeviceKeysOpenError> {
        let ready = match keys {
            None => None,
            Some(keys) => {
                if let Some(recipient) = &keys.recipient {
                    recipient.check_valid_at(now_s)?;
                }
                let sealers = Sealers::new(keys.recipient, keys.secret)?;
                Some((sealers, keys.spool))
            }
        };
        let sealers = ready.as_ref().map(|(sealers, _)| sealers);
        let rules = profiles
            .iter()
            .filter_map(|profile| Some((profile, profile.generated_key()?)));
        let mut makes_pkcs12 = false;
        for (profile, rule) in rules {
            makes_pkcs12 |= rule.delivery == Delivery::Pkcs12;
            if let Some(sealers) = sealers {
                sealers.make_ready(rule.delivery);
            }
            if sealers.is_none_or(|sealers| !sealers.can(rule.delivery)) {
                return Err(DeviceKeysOpenError::NoDelivery {
                    profile: profile.name().to_owned(),
                    delivery: rule.delivery.name(),
                    missing: match rule.delivery {
                        Delivery::Cms => "recipient",
                        Delivery::Pkcs8 | Delivery::Pkcs12 => "secret",
                    },
                });
            }
        }
        Ok(Self {
            ready,
            makes_pkcs12,
        })
    }

    /// Opens the spool, and drops from it what a crash left without a record.
    pub(crate) fn open(
        self,
        relay: &Arc<Relay>,
        log: &Log,
        log_name: &str,
    ) -> Result<Option<KeyMaker>, DeviceKeysOpenError> {
        let Some((sealers, spool)) = self.ready else {
            return Ok(None);
        };
        let spool = KeySpool::open_with(spool, relay.clone(), log, log_name)?;
        let mut maker = KeyMaker {
            sealers,
            spool,
            dropped: 0,
        };
        maker.dropped = maker.drop_unrecorded(log)?;
        maker.spool.bind(log, log_name)?;
        // Who alone writes the spool is this engine: no such key comes to it later.
        if !self.makes_pkcs12 && !maker.spool.has_waiting(Delivery::Pkcs12) {
            maker.sealers.forget_secret();
        }
        Ok(Some(maker))
    }
}

impl Engine {
    /// Lets generated keys go that the line has, by their certificates' serial numbers, and blocks until that is
    /// durable. One outcome for each, in their order; many at once share a sync.
    ///
    /// # Errors
    /// [`SpoolError`] says what keeps the acknowledgements from being durable. They may be repeated.
    pub fn acknowledge(
        &self,
        serials: &[impl AsRef<[u8]>],
    ) -> Result<Vec<Acknowledgement>, SpoolError> {
        match &self.pipeline().keys {
            Some(keys) => keys.spool.acknowledge(serials),
            None => Ok(vec![Acknowledgement::NotWaiting; serials.len()]),
        }
    }

    /// Generated keys that the start dropped from the spool, because a crash left them without a certificate.
    #[must_use]
    pub fn keys_dropped(&self) -> usize {
        let keys = self.pipeline().keys.as_ref();
        keys.map_or(0, |keys| keys.dropped)
    }

    /// Generated keys that wait for their acknowledgement.
    #[must_use]
    pub fn keys_waiting(&self) -> usize {
        let keys = self.pipeline().keys.as_ref();
        keys.map_or(0, |keys| keys.spool.waiting())
    }
}

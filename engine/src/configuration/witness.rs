//! Who cosigns the log's checkpoints.

use birthmark_log::tlog::{KeyAlgorithm, VerifierKey};

/// A witness that cosigns the log's checkpoints (c2sp.org/tlog-witness).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessAddress {
    /// Its address, to which `/add-checkpoint` is appended.
    pub url: String,
    /// Its verifier key, of type 0x04.
    pub key: VerifierKey,
}

impl WitnessAddress {
    /// Checks an address and a verifier key.
    ///
    /// # Errors
    /// What is wrong, for the person who wrote it.
    pub fn new(url: &str, vkey: &str) -> Result<Self, String> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err("the address must begin with https:// or http://".to_owned());
        }
        let key: VerifierKey = vkey.parse().map_err(|error| format!("vkey: {error}"))?;
        if key.algorithm() != KeyAlgorithm::CosignatureV1 {
            return Err("vkey: not the key of a witness (type 0x04)".to_owned());
        }
        Ok(Self {
            url: url.to_owned(),
            key,
        })
    }
}

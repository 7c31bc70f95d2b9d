//! The configuration's tables as they are written, and what follows from each.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use birthmark_hsm::{PoolOptions, SignerLocation};
use serde::Deserialize;

use crate::activation::{Activation, UnknownActivation};
use crate::device_key::RawDeviceKeys;
use crate::permit::Officers;
use crate::verification::{UnknownVerification, Verification};

/// A configuration file as it is written. Unknown keys are refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfiguration {
    pub(super) issuer: RawIssuer,
    pub(super) log: RawLog,
    pub(super) engine: RawEngine,
    pub(super) device_keys: Option<RawDeviceKeys>,
    pub(super) lots: Option<RawLots>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIssuer {
    pub(super) certificate: PathBuf,
    pub(super) signer: Option<String>,
    pub(super) signers: Option<Vec<String>>,
    pub(super) signature: Option<String>,
    pub(super) sessions: Option<RawSessions>,
    #[serde(default)]
    pub(super) key_copy: bool,
    pub(super) activation: Option<String>,
    pub(super) probe_interval_max_s: Option<u64>,
    pub(super) call_limit_s: Option<u64>,
    pub(super) wait_limit_s: Option<u64>,
}

/// A number, or a word.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum RawSessions {
    Count(usize),
    Word(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) directory: PathBuf,
    pub(super) origin: String,
    pub(super) key: PathBuf,
    #[serde(default)]
    pub(super) witness: Vec<RawWitness>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWitness {
    pub(super) url: String,
    pub(super) vkey: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLots {
    pub(super) directory: PathBuf,
    #[serde(default)]
    pub(super) required: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEngine {
    pub(super) threads: Option<usize>,
    pub(super) max_in_flight: Option<usize>,
    pub(super) verification: Option<String>,
    pub(super) profiles: Vec<PathBuf>,
    #[serde(default)]
    pub(super) officers: Vec<String>,
    pub(super) known_bad_keys: Option<PathBuf>,
}

/// Limits in seconds that can be configured: as long as anybody waits for a machine at a line.
const LIMIT_RANGE_S: RangeInclusive<u64> = 1..=3600;

impl RawEngine {
    pub(super) fn verification(&self) -> Result<Verification, (&'static str, String)> {
        let text = self.verification.as_deref();
        let verification = text.map(str::parse).transpose();
        let wrong = |error: UnknownVerification| ("engine.verification", error.to_string());
        Ok(verification.map_err(wrong)?.unwrap_or_default())
    }

    pub(super) fn check_threads(&self) -> Result<(), (&'static str, String)> {
        match self.threads {
            Some(threads) if !(1..=1024).contains(&threads) => {
                let problem = "use 1 to 1024, or leave it out for one per core";
                Err(("engine.threads", problem.to_owned()))
            }
            _ => Ok(()),
        }
    }
}

impl RawIssuer {
    /// One signer or a list, with the key at fault otherwise.
    pub(super) fn signers(
        &self,
        folder: &Path,
    ) -> Result<Vec<SignerLocation>, (&'static str, String)> {
        let (key, texts) = match (&self.signer, &self.signers) {
            (Some(signer), None) => ("issuer.signer", std::slice::from_ref(signer)),
            (None, Some(signers)) => ("issuer.signers", &signers[..]),
            (None, None) => {
                let problem = "name the issuing key: signer = \"software:PATH\" or \
                    \"pkcs11:token=…;object=…?module-path=…\"";
                return Err(("issuer.signer", problem.to_owned()));
            }
            (Some(_), Some(_)) => {
                let problem = "use signer for one, or signers for a list, not both";
                return Err(("issuer.signers", problem.to_owned()));
            }
        };
        if !(1..=birthmark_hsm::TOKENS_MAX).contains(&texts.len()) {
            let problem = format!("name 1 to {} tokens", birthmark_hsm::TOKENS_MAX);
            return Err((key, problem));
        }
        let signers = texts.iter().map(|text| signer_location(text, folder));
        signers
            .collect::<Result<_, _>>()
            .map_err(|problem| (key, problem))
    }

    /// How the signers are used. The mark of a refused PIN stays beside the configuration.
    pub(super) fn pool_options(
        &self,
        folder: &Path,
    ) -> Result<PoolOptions, (&'static str, String)> {
        let mut options = PoolOptions {
            state_directory: Some(folder.to_owned()),
            ..PoolOptions::default()
        };
        options.tokens.key_copy = self.key_copy;
        match &self.sessions {
            None => {}
            Some(RawSessions::Count(count)) => options.tokens.sessions = Some(*count),
            Some(RawSessions::Word(word)) if word == "adaptive" => options.adaptive = true,
            Some(RawSessions::Word(_)) => {
                let problem = "use a number, or \"adaptive\"";
                return Err(("issuer.sessions", problem.to_owned()));
            }
        }
        let limits = [
            (
                "issuer.probe_interval_max_s",
                self.probe_interval_max_s,
                &mut options.probe_interval_max,
            ),
            (
                "issuer.call_limit_s",
                self.call_limit_s,
                &mut options.call_limit,
            ),
            (
                "issuer.wait_limit_s",
                self.wait_limit_s,
                &mut options.wait_limit,
            ),
        ];
        for (key, given, limit) in limits {
            match given {
                None => {}
                Some(seconds) if LIMIT_RANGE_S.contains(&seconds) => {
                    *limit = Duration::from_secs(seconds);
                }
                Some(_) => return Err((key, "use 1 to 3600 seconds".to_owned())),
            }
        }
        Ok(options)
    }
}

pub(super) fn officers(raw: &RawConfiguration) -> Result<Option<Officers>, String> {
    match raw.engine.officers.as_slice() {
        [] => Ok(None),
        keys => Officers::new(&raw.log.origin, keys)
            .map(Some)
            .map_err(|error| error.to_string()),
    }
}

pub(super) fn activation(
    raw: &RawIssuer,
    signers: &[SignerLocation],
) -> Result<Activation, String> {
    let activation = match &raw.activation {
        Some(name) => name
            .parse()
            .map_err(|error: UnknownActivation| error.to_string())?,
        None => Activation::default(),
    };
    let mut signers = signers.iter();
    let fits = signers.try_for_each(|signer| activation.check(signer));
    fits.map(|()| activation).map_err(|error| error.to_string())
}

pub(super) fn signer_location(text: &str, folder: &Path) -> Result<SignerLocation, String> {
    match text.parse::<SignerLocation>() {
        Ok(SignerLocation::Software(path)) => Ok(SignerLocation::Software(folder.join(path))),
        Ok(location) => Ok(location),
        Err(error) => Err(error.to_string()),
    }
}

//! A station's configuration file, `birthmark.toml`.

use std::path::{Path, PathBuf};

use birthmark_hsm::{Pkcs11Options, SignerLocation, SigningPool};
use birthmark_log::tlog::{KeyAlgorithm, VerifierKey};
use serde::Deserialize;

use crate::activation::{Activation, UnknownActivation};
use crate::checkpoint::{LogKey, LogKeyError};
use crate::engine::Station;
use crate::issuer::{Issuer, IssuerError};
use crate::permit::Officers;
use crate::profile::{Profile, ProfileError, one_line};

/// A configuration file as it is written. Unknown keys are refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfiguration {
    issuer: RawIssuer,
    log: RawLog,
    engine: RawEngine,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIssuer {
    certificate: PathBuf,
    signer: String,
    sessions: Option<usize>,
    #[serde(default)]
    key_copy: bool,
    activation: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    directory: PathBuf,
    origin: String,
    key: PathBuf,
    #[serde(default)]
    witness: Vec<RawWitness>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWitness {
    url: String,
    vkey: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEngine {
    threads: Option<usize>,
    max_in_flight: Option<usize>,
    profiles: Vec<PathBuf>,
    #[serde(default)]
    officers: Vec<String>,
}

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

/// A configuration that was read and whose keys are sound. Files that it names are opened by
/// [`Configuration::station`].
#[derive(Debug)]
pub struct Configuration {
    issuer_certificate: PathBuf,
    signer: SignerLocation,
    activation: Activation,
    pkcs11: Pkcs11Options,
    log_directory: PathBuf,
    log_origin: String,
    log_key: PathBuf,
    witnesses: Vec<WitnessAddress>,
    threads: Option<usize>,
    max_in_flight: Option<usize>,
    profiles: Vec<PathBuf>,
    officers: Option<Officers>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("configuration {path}: cannot be read; make one with `birthmark ca init`", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, or not the keys of a configuration.
    #[error("configuration {path}: {problem}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line and key, in one line.
        problem: String,
    },
    /// One key's value does not do.
    #[error("configuration {path}: {key}: {problem}", path = path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The issuer certificate does not do.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// A profile does not do.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The log's key or origin does not do.
    #[error(transparent)]
    LogKey(#[from] LogKeyError),
    /// The signer does not open.
    #[error(transparent)]
    Signer(#[from] birthmark_hsm::OpenError),
}

impl Configuration {
    /// Reads a configuration file. Relative paths in it are taken from its own folder.
    ///
    /// # Errors
    /// Names the file, the key and the fault.
    pub fn load(path: &Path) -> Result<Self, ConfigurationError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigurationError::Read {
            path: path.to_owned(),
            source,
        })?;
        let raw: RawConfiguration =
            toml::from_str(&text).map_err(|error| ConfigurationError::Syntax {
                path: path.to_owned(),
                problem: one_line(&text, &error),
            })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let signer = signer_location(&raw.issuer.signer, folder).map_err(|problem| {
            ConfigurationError::Value {
                path: path.to_owned(),
                key: "issuer.signer",
                problem,
            }
        })?;
        let activation = activation(path, &raw.issuer, &signer)?;
        let witnesses = raw.log.witness.iter();
        let witnesses = witnesses
            .map(|witness| WitnessAddress::new(&witness.url, &witness.vkey))
            .collect::<Result<_, _>>()
            .map_err(|problem| ConfigurationError::Value {
                path: path.to_owned(),
                key: "log.witness",
                problem,
            })?;
        let in_range = |count: usize| (1..=1024).contains(&count);
        if raw.engine.threads.is_some_and(|threads| !in_range(threads)) {
            return Err(ConfigurationError::Value {
                path: path.to_owned(),
                key: "engine.threads",
                problem: "use 1 to 1024, or leave it out for one per core".to_owned(),
            });
        }
        let officers = match raw.engine.officers.as_slice() {
            [] => None,
            keys => Some(Officers::new(&raw.log.origin, keys).map_err(|error| {
                ConfigurationError::Value {
                    path: path.to_owned(),
                    key: "engine.officers",
                    problem: error.to_string(),
                }
            })?),
        };
        Ok(Self {
            issuer_certificate: folder.join(raw.issuer.certificate),
            signer,
            activation,
            pkcs11: Pkcs11Options {
                sessions: raw.issuer.sessions,
                key_copy: raw.issuer.key_copy,
            },
            log_directory: folder.join(raw.log.directory),
            log_origin: raw.log.origin,
            log_key: folder.join(raw.log.key),
            witnesses,
            threads: raw.engine.threads,
            max_in_flight: raw.engine.max_in_flight,
            profiles: raw
                .engine
                .profiles
                .iter()
                .map(|path| folder.join(path))
                .collect(),
            officers,
        })
    }

    /// Opens what the configuration names: issuer certificate, profiles, signer.
    ///
    /// # Errors
    /// The first part that does not do.
    pub fn station(&self) -> Result<Station, ConfigurationError> {
        let issuer = self.issuer()?;
        let profiles = self.profiles()?;
        let signer = SigningPool::open(&self.signer, self.pkcs11.clone())?;
        let log_key = LogKey::read(&self.log_key, &self.log_origin)?;
        let log_directory = self.log_directory.clone();
        let mut station = Station::new(issuer, signer, profiles, log_directory, log_key);
        station.threads = self.threads;
        station.max_in_flight = self.max_in_flight;
        station.officers.clone_from(&self.officers);
        Ok(station)
    }

    /// Reads the issuer certificate alone, without its key.
    ///
    /// # Errors
    /// Names the file and the fault.
    pub fn issuer(&self) -> Result<Issuer, ConfigurationError> {
        Ok(Issuer::read(&self.issuer_certificate)?)
    }

    /// Reads the profiles alone.
    ///
    /// # Errors
    /// Names the file, the key and the fault.
    pub fn profiles(&self) -> Result<Vec<Profile>, ConfigurationError> {
        let profiles = self.profiles.iter();
        Ok(profiles
            .map(|path| Profile::read(path))
            .collect::<Result<_, _>>()?)
    }

    /// The officers whose permits count.
    #[must_use]
    pub fn officers(&self) -> Option<&Officers> {
        self.officers.as_ref()
    }

    /// The file with the issuing CA's certificate.
    #[must_use]
    pub fn issuer_certificate(&self) -> &Path {
        &self.issuer_certificate
    }

    /// The log's directory.
    #[must_use]
    pub fn log_directory(&self) -> &Path {
        &self.log_directory
    }

    /// The log's name in the world, the first line of its checkpoints (c2sp.org/tlog-checkpoint).
    #[must_use]
    pub fn log_origin(&self) -> &str {
        &self.log_origin
    }

    /// The file with the Ed25519 key that signs the log's checkpoints.
    #[must_use]
    pub fn log_key(&self) -> &Path {
        &self.log_key
    }

    /// Who cosigns the log's checkpoints.
    #[must_use]
    pub fn witnesses(&self) -> &[WitnessAddress] {
        &self.witnesses
    }

    /// Where the issuing key is.
    #[must_use]
    pub fn signer(&self) -> &SignerLocation {
        &self.signer
    }

    /// Who has to be there when the station starts.
    #[must_use]
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// The same configuration with another way to the key: the same URI with the PIN that an operator typed.
    #[must_use]
    pub fn with_signer(mut self, signer: SignerLocation) -> Self {
        self.signer = signer;
        self
    }
}

fn activation(
    path: &Path,
    raw: &RawIssuer,
    signer: &SignerLocation,
) -> Result<Activation, ConfigurationError> {
    let wrong = |problem| ConfigurationError::Value {
        path: path.to_owned(),
        key: "issuer.activation",
        problem,
    };
    let activation = raw
        .activation
        .as_deref()
        .map_or(Ok(Activation::default()), str::parse)
        .map_err(|error: UnknownActivation| wrong(error.to_string()))?;
    let fits = activation.check(signer);
    fits.map(|()| activation)
        .map_err(|error| wrong(error.to_string()))
}

fn signer_location(text: &str, folder: &Path) -> Result<SignerLocation, String> {
    match text.parse::<SignerLocation>() {
        Ok(SignerLocation::Software(path)) => Ok(SignerLocation::Software(folder.join(path))),
        Ok(location) => Ok(location),
        Err(error) => Err(error.to_string()),
    }
}

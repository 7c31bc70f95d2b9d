//! A station's configuration file, `birthmark.toml`.

mod error;
mod raw;
#[cfg(test)]
mod tests;
mod witness;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use birthmark_hsm::{
    Pkcs11Options, PoolObserver, PoolOptions, RsaSignature, SignerLocation, SigningPool,
    UnknownRsaSignature,
};

use crate::activation::Activation;
use crate::checkpoint::LogKey;
use crate::device_key::{DeviceKeyFiles, SpoolOptions};
use crate::engine::Station;
use crate::issuer::Issuer;
use crate::lots::Lots;
use crate::permit::Officers;
use crate::profile::{Profile, one_line};
use crate::verification::Verification;
use crate::weak_key::KnownBadKeys;

pub use error::ConfigurationError;
use raw::{RawConfiguration, activation, officers};
pub use witness::WitnessAddress;

/// A configuration that was read and whose keys are sound. Files that it names are opened by
/// [`Configuration::station`].
#[derive(Debug)]
pub struct Configuration {
    issuer_certificate: PathBuf,
    signers: Vec<SignerLocation>,
    rsa_signature: Option<RsaSignature>,
    activation: Activation,
    pool: PoolOptions,
    log_directory: PathBuf,
    log_origin: String,
    log_key: PathBuf,
    witnesses: Vec<WitnessAddress>,
    threads: Option<usize>,
    max_in_flight: Option<usize>,
    verification: Verification,
    profiles: Vec<PathBuf>,
    officers: Option<Officers>,
    known_bad_keys: Option<PathBuf>,
    device_keys: Option<DeviceKeyFiles>,
    /// The directory, and whether requests must name a lot.
    lots: Option<(PathBuf, bool)>,
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
        let wrong = |(key, problem)| ConfigurationError::Value {
            path: path.to_owned(),
            key,
            problem,
        };
        let signers = raw.issuer.signers(folder).map_err(wrong)?;
        let rsa_signature = raw.issuer.signature.as_deref().map(str::parse).transpose();
        let rsa_signature = rsa_signature
            .map_err(|error: UnknownRsaSignature| wrong(("issuer.signature", error.to_string())))?;
        let pool = raw.issuer.pool_options(folder).map_err(wrong)?;
        let activation = activation(&raw.issuer, &signers)
            .map_err(|problem| wrong(("issuer.activation", problem)))?;
        let witnesses = raw.log.witness.iter();
        let witnesses = witnesses
            .map(|witness| WitnessAddress::new(&witness.url, &witness.vkey))
            .collect::<Result<_, _>>()
            .map_err(|problem| wrong(("log.witness", problem)))?;
        let verification = raw.engine.verification().map_err(wrong)?;
        raw.engine.check_threads().map_err(wrong)?;
        let officers = officers(&raw).map_err(|problem| wrong(("engine.officers", problem)))?;
        let device_keys = raw.device_keys;
        let device_keys = device_keys
            .map(|raw| DeviceKeyFiles::new(raw, folder))
            .transpose()
            .map_err(wrong)?;
        Ok(Self {
            issuer_certificate: folder.join(raw.issuer.certificate),
            signers,
            rsa_signature,
            activation,
            pool,
            log_directory: folder.join(raw.log.directory),
            log_origin: raw.log.origin,
            log_key: folder.join(raw.log.key),
            witnesses,
            threads: raw.engine.threads,
            max_in_flight: raw.engine.max_in_flight,
            verification,
            profiles: raw
                .engine
                .profiles
                .iter()
                .map(|path| folder.join(path))
                .collect(),
            officers,
            known_bad_keys: raw.engine.known_bad_keys.map(|path| folder.join(path)),
            device_keys,
            lots: raw
                .lots
                .map(|raw| (folder.join(raw.directory), raw.required)),
        })
    }

    /// Opens what the configuration names: issuer certificate, profiles, signer.
    ///
    /// # Errors
    /// The first part that does not do.
    pub fn station(&self) -> Result<Station, ConfigurationError> {
        let issuer = self.issuer()?;
        let profiles = self.profiles()?;
        let device_keys = self.device_keys.as_ref();
        let device_keys = device_keys.map(DeviceKeyFiles::read).transpose()?;
        let mut options = self.pool.clone();
        options.tokens = Pkcs11Options {
            rsa_signature: issuer.rsa_signature().unwrap_or_default(),
            ..options.tokens
        };
        let signer = SigningPool::open_all(&self.signers, options)?;
        let log_key = LogKey::read(&self.log_key, &self.log_origin)?;
        let log_directory = self.log_directory.clone();
        let mut station = Station::new(issuer, signer, profiles, log_directory, log_key);
        station.device_keys = device_keys;
        station.threads = self.threads;
        station.max_in_flight = self.max_in_flight;
        station.verification = self.verification;
        station.officers.clone_from(&self.officers);
        station.known_bad_keys = self.known_bad_keys()?;
        station.lots = self.lots()?;
        let on_tokens = |signer: &SignerLocation| matches!(signer, SignerLocation::Pkcs11(_));
        station.activation = self
            .signers
            .iter()
            .any(on_tokens)
            .then_some(self.activation);
        Ok(station)
    }

    /// Reads the issuer certificate alone, without its key. It signs as `issuer.signature` says.
    ///
    /// # Errors
    /// Names the file and the fault.
    pub fn issuer(&self) -> Result<Issuer, ConfigurationError> {
        let issuer = Issuer::read(&self.issuer_certificate)?;
        Ok(match self.rsa_signature {
            Some(signature) => issuer.with_rsa_signature(signature)?,
            None => issuer,
        })
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

    /// Reads the list of known bad keys, `engine.known_bad_keys`, if there is one.
    ///
    /// # Errors
    /// Names the file, the line and the fault.
    pub fn known_bad_keys(&self) -> Result<Option<KnownBadKeys>, ConfigurationError> {
        let path = self.known_bad_keys.as_deref();
        Ok(path.map(KnownBadKeys::read).transpose()?)
    }

    /// Reads the lots in the directory `lots.directory`, if the station has any.
    ///
    /// # Errors
    /// Names the file, the line, the key and the fault.
    pub fn lots(&self) -> Result<Option<Lots>, ConfigurationError> {
        let lots = self.lots.as_ref();
        let lots = lots.map(|(directory, required)| Lots::read(directory, *required));
        Ok(lots.transpose()?)
    }

    /// Where generated keys wait for their acknowledgement, if the station makes any.
    #[must_use]
    pub fn key_spool(&self) -> Option<&SpoolOptions> {
        self.device_keys.as_ref().map(DeviceKeyFiles::spool)
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

    /// Where the issuing key is: one software key, or the same key on one or several tokens.
    #[must_use]
    pub fn signers(&self) -> &[SignerLocation] {
        &self.signers
    }

    /// Who has to be there when the station starts.
    #[must_use]
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// The same configuration with other ways to the key: the same URIs with the PINs that an operator typed.
    #[must_use]
    pub fn with_signers(mut self, signers: Vec<SignerLocation>) -> Self {
        self.signers = signers;
        self
    }

    /// Lets `observer` hear of the tokens' failures and returns, from the next
    /// [`Configuration::station`] on.
    pub fn observe_signers(&mut self, observer: Arc<dyn PoolObserver>) {
        self.pool.observer = Some(observer);
    }
}

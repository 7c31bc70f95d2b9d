//! A station's configuration file, `birthmark.toml`.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use birthmark_hsm::{
    Pkcs11Options, PoolObserver, PoolOptions, RsaSignature, SignerLocation, SigningPool,
    UnknownRsaSignature,
};
use birthmark_log::tlog::{KeyAlgorithm, VerifierKey};
use serde::Deserialize;

use crate::activation::{Activation, UnknownActivation};
use crate::checkpoint::{LogKey, LogKeyError};
use crate::device_key::{DeviceKeyFiles, DeviceKeysError, RawDeviceKeys, SpoolOptions};
use crate::engine::Station;
use crate::issuer::{Issuer, IssuerError};
use crate::permit::Officers;
use crate::profile::{Profile, ProfileError, one_line};
use crate::weak_key::{KnownBadKeys, KnownBadKeysError};

/// A configuration file as it is written. Unknown keys are refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfiguration {
    issuer: RawIssuer,
    log: RawLog,
    engine: RawEngine,
    device_keys: Option<RawDeviceKeys>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIssuer {
    certificate: PathBuf,
    signer: Option<String>,
    signers: Option<Vec<String>>,
    signature: Option<String>,
    sessions: Option<RawSessions>,
    #[serde(default)]
    key_copy: bool,
    activation: Option<String>,
    probe_interval_max_s: Option<u64>,
    call_limit_s: Option<u64>,
    wait_limit_s: Option<u64>,
}

/// A number, or a word.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawSessions {
    Count(usize),
    Word(String),
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
    known_bad_keys: Option<PathBuf>,
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
    profiles: Vec<PathBuf>,
    officers: Option<Officers>,
    known_bad_keys: Option<PathBuf>,
    device_keys: Option<DeviceKeyFiles>,
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
    /// The list of known bad keys does not do.
    #[error(transparent)]
    KnownBadKeys(#[from] KnownBadKeysError),
    /// The log's key or origin does not do.
    #[error(transparent)]
    LogKey(#[from] LogKeyError),
    /// What generated keys are delivered with does not do.
    #[error(transparent)]
    DeviceKeys(#[from] DeviceKeysError),
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
        let in_range = |count: usize| (1..=1024).contains(&count);
        if raw.engine.threads.is_some_and(|threads| !in_range(threads)) {
            return Err(ConfigurationError::Value {
                path: path.to_owned(),
                key: "engine.threads",
                problem: "use 1 to 1024, or leave it out for one per core".to_owned(),
            });
        }
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
            profiles: raw
                .engine
                .profiles
                .iter()
                .map(|path| folder.join(path))
                .collect(),
            officers,
            known_bad_keys: raw.engine.known_bad_keys.map(|path| folder.join(path)),
            device_keys,
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
        station.officers.clone_from(&self.officers);
        station.known_bad_keys = self.known_bad_keys()?;
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

/// Limits in seconds that can be configured: as long as anybody waits for a machine at a line.
const LIMIT_RANGE_S: RangeInclusive<u64> = 1..=3600;

impl RawIssuer {
    /// One signer or a list, with the key at fault otherwise.
    fn signers(&self, folder: &Path) -> Result<Vec<SignerLocation>, (&'static str, String)> {
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
    fn pool_options(&self, folder: &Path) -> Result<PoolOptions, (&'static str, String)> {
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

fn officers(raw: &RawConfiguration) -> Result<Option<Officers>, String> {
    match raw.engine.officers.as_slice() {
        [] => Ok(None),
        keys => Officers::new(&raw.log.origin, keys)
            .map(Some)
            .map_err(|error| error.to_string()),
    }
}

fn activation(raw: &RawIssuer, signers: &[SignerLocation]) -> Result<Activation, String> {
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

fn signer_location(text: &str, folder: &Path) -> Result<SignerLocation, String> {
    match text.parse::<SignerLocation>() {
        Ok(SignerLocation::Software(path)) => Ok(SignerLocation::Software(folder.join(path))),
        Ok(location) => Ok(location),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "pkcs11:token=t;object=k?module-path=/m.so";

    fn load(issuer: &str) -> Result<Configuration, ConfigurationError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("birthmark.toml");
        let text = format!(
            "[issuer]\ncertificate = 'c.pem'\n{issuer}\n[log]\ndirectory = 'log'\n\
             origin = 'o'\nkey = 'k'\n[engine]\nprofiles = []\n"
        );
        std::fs::write(&path, text).unwrap();
        Configuration::load(&path)
    }

    #[test]
    fn one_signer_or_a_list() {
        let one = load("signer = 'software:key.pem'").unwrap();
        let [SignerLocation::Software(path)] = one.signers() else {
            panic!("{one:?}")
        };
        assert!(path.is_absolute(), "taken from the file's folder");
        let folder = path.parent().unwrap();
        assert_eq!(one.pool.state_directory.as_deref(), Some(folder));
        assert!(!one.pool.adaptive);
        assert_eq!(one.pool.call_limit, Duration::from_secs(10));
        assert_eq!(one.pool.wait_limit, Duration::from_secs(30));
        assert_eq!(one.pool.probe_interval_max, Duration::from_secs(300));

        let several = load(&format!(
            "signers = ['{TOKEN}', '{TOKEN}']\nsessions = 'adaptive'\ncall_limit_s = 5\n\
             wait_limit_s = 60\nprobe_interval_max_s = 30"
        ));
        let several = several.unwrap();
        assert_eq!(several.signers().len(), 2);
        assert!(several.pool.adaptive);
        assert_eq!(several.pool.call_limit, Duration::from_secs(5));
        assert_eq!(several.pool.wait_limit, Duration::from_secs(60));
        assert_eq!(several.pool.probe_interval_max, Duration::from_secs(30));

        let counted = load(&format!("signer = '{TOKEN}'\nsessions = 4")).unwrap();
        assert_eq!(counted.pool.tokens.sessions, Some(4));
    }

    #[test]
    fn a_wrong_value_is_told_with_its_key() {
        let many = format!("signers = [{}]", format!("'{TOKEN}', ").repeat(17));
        let both = format!("signer = '{TOKEN}'\nsigners = ['{TOKEN}']");
        let with = |more: &str| format!("signer = '{TOKEN}'\n{more}");
        let table = [
            (String::new(), "issuer.signer"),
            ("signer = 'key.pem'".to_owned(), "issuer.signer"),
            ("signers = []".to_owned(), "issuer.signers"),
            ("signers = ['key.pem']".to_owned(), "issuer.signers"),
            (many, "issuer.signers"),
            (both, "issuer.signers"),
            (with("sessions = 'some'"), "issuer.sessions"),
            (with("call_limit_s = 0"), "issuer.call_limit_s"),
            (with("wait_limit_s = 3601"), "issuer.wait_limit_s"),
            (
                with("probe_interval_max_s = 0"),
                "issuer.probe_interval_max_s",
            ),
        ];
        for (issuer, key) in table {
            match load(&issuer) {
                Err(ConfigurationError::Value { key: told, .. }) => assert_eq!(told, key),
                other => panic!("{issuer}: {other:?}"),
            }
        }
    }
}

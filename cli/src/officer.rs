//! What officers do: make their key, and sign permits that let a device be reissued.
//!
//! Neither needs the issuing key or the log: a copy of the configuration, the issuer certificate and the
//! profiles is enough, so that an officer's key can stay on a machine of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use birthmark_engine::permit::{Permit, PermitError, fold_identity};
use birthmark_engine::{Configuration, Reissue};
use birthmark_hsm::{KeyAlgorithm, PublicKey, SignInput, SoftwareKey, SoftwareKeyError};
use birthmark_log::tlog::{KeyError, VerifierKey};
use der::DateTime;

use crate::command::{CommandError, Exit};
use crate::console::Console;

/// How long a permit counts unless the officer says otherwise: the device is on the bench, or will be
/// within the week.
pub const VALID_DEFAULT: &str = "7d";

/// Longest time that a permit counts. One that waits longer was forgotten.
pub const VALID_MAX: Duration = Duration::from_secs(366 * 86_400);

/// What a permit is to allow, from the command line.
#[derive(Clone, Debug)]
pub struct PermitPlan {
    /// The configuration of the station: its log, issuer, profiles and officers.
    pub config: PathBuf,
    /// The profile's name.
    pub profile: String,
    /// The device's identity.
    pub identity: String,
    /// The entry that is replaced.
    pub replaces: u64,
    /// Fingerprint of the new key; `None`: any key.
    pub key_fingerprint: Option<[u8; 32]>,
    /// How long it counts from now.
    pub valid: Duration,
    /// For people.
    pub reason: Option<String>,
    /// The officer's key.
    pub officer_key: PathBuf,
    /// The new file.
    pub out: PathBuf,
}

/// Why an officer's command ends without what it was to make.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfficerError {
    /// The name cannot stand in a signed note.
    #[error("'{}' cannot be an officer's name", name.escape_debug())]
    Name {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// The key cannot be made, written or read.
    #[error("cannot use the officer's key")]
    Key {
        /// Why.
        #[from]
        source: SoftwareKeyError,
    },
    /// The file holds another kind of key.
    #[error("{} is not an Ed25519 key; officers sign with one of `birthmark officer keygen`", path.display())]
    KeyKind {
        /// The key file.
        path: PathBuf,
    },
    /// The configuration cannot be used.
    #[error(transparent)]
    Configuration(#[from] birthmark_engine::ConfigurationError),
    /// The configuration does not know the key.
    #[error(
        "the key {} is not in engine.officers of {}: its permits would not count; add the line that \
         `birthmark officer keygen` printed", key.display(), config.display()
    )]
    UnknownOfficer {
        /// The key file.
        key: PathBuf,
        /// The configuration.
        config: PathBuf,
    },
    /// The profile replaces nothing by permit.
    #[error("profile '{name}' does not have reissue = \"permit\": a permit for it would not count")]
    NotByPermit {
        /// The profile's name.
        name: String,
    },
    /// A value does not fit.
    #[error("cannot make the permit")]
    Permit {
        /// Which.
        #[from]
        source: PermitError,
    },
    /// The key does not sign.
    #[error("cannot sign the permit")]
    Sign {
        /// Why.
        #[from]
        source: birthmark_hsm::SignError,
    },
    /// The permit cannot be written.
    #[error("cannot write {}; check the directory, and that no such file exists", path.display())]
    Write {
        /// The new file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// `birthmark officer keygen`: makes a key file and prints the line for `engine.officers`.
///
/// # Errors
///
/// The name cannot be used, or the file cannot be written; nothing is overwritten.
pub fn keygen(name: &str, out: &Path, console: &mut Console<'_>) -> Result<Exit, CommandError> {
    let key = SoftwareKey::generate(KeyAlgorithm::Ed25519).map_err(OfficerError::from)?;
    let verifier = verifier_key(&key, name, out)?;
    key.write_new(out).map_err(OfficerError::from)?;
    print(console, &format!("{verifier}\n"))
}

/// `birthmark permit new`: signs a permit and says what it allows.
///
/// # Errors
///
/// The permit would not count, a value does not fit in it, or the file cannot be written; nothing is
/// overwritten.
pub fn new_permit(plan: &PermitPlan, console: &mut Console<'_>) -> Result<Exit, CommandError> {
    let configuration = Configuration::load(&plan.config)?;
    let permit = permit(plan, &configuration)?;
    let note = sign(plan, &configuration, &permit)?;
    write_new(&plan.out, note.as_bytes()).map_err(|source| OfficerError::Write {
        path: plan.out.clone(),
        source,
    })?;
    let not_after = DateTime::from_unix_duration(Duration::from_secs(permit.not_after_s))
        .map(|time| time.to_string())
        .unwrap_or_default();
    let text = format!(
        "permit     {}\ndevice     {}\nprofile    {}\nreplaces   {}\nnot after  {not_after}\n",
        plan.out.display(),
        permit.identity,
        permit.profile,
        permit.replaces,
    );
    print(console, &text)
}

fn permit(plan: &PermitPlan, configuration: &Configuration) -> Result<Permit, CommandError> {
    let profiles = configuration.profiles()?;
    let Some(profile) = profiles
        .iter()
        .find(|profile| profile.name() == plan.profile)
    else {
        let known: Vec<&str> = profiles.iter().map(|profile| profile.name()).collect();
        return Err(CommandError::UnknownProfile {
            name: plan.profile.clone(),
            known: known.join(", "),
        });
    };
    if profile.reissue() != Reissue::Permit {
        let name = plan.profile.clone();
        return Err(OfficerError::NotByPermit { name }.into());
    }
    // A clock before 1970 makes a permit that has ended, which is what such a clock deserves.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Ok(Permit {
        log: configuration.log_origin().to_owned(),
        issuer: *configuration.issuer()?.key_identifier(),
        profile: plan.profile.clone(),
        identity_domain: profile.identity_domain().to_owned(),
        identity: fold_identity(&plan.identity),
        key_fingerprint: plan.key_fingerprint,
        replaces: plan.replaces,
        not_after_s: now.saturating_add(plan.valid).as_secs(),
        reason: plan.reason.clone(),
    })
}

fn sign(
    plan: &PermitPlan,
    configuration: &Configuration,
    permit: &Permit,
) -> Result<String, OfficerError> {
    let key = SoftwareKey::read(&plan.officer_key)?;
    let PublicKey::Ed25519(public) = key.public_key() else {
        let path = plan.officer_key.clone();
        return Err(OfficerError::KeyKind { path });
    };
    let officers = configuration.officers();
    let verifier = officers
        .into_iter()
        .flat_map(|officers| officers.keys())
        .find(|verifier| verifier.public_key() == public)
        .ok_or_else(|| OfficerError::UnknownOfficer {
            key: plan.officer_key.clone(),
            config: plan.config.clone(),
        })?;
    let text = permit.to_text()?;
    let input = SignInput::for_key(KeyAlgorithm::Ed25519, text.as_bytes());
    Ok(permit.signed(verifier, key.sign(&input)?.as_bytes())?)
}

fn verifier_key(key: &SoftwareKey, name: &str, path: &Path) -> Result<VerifierKey, OfficerError> {
    let PublicKey::Ed25519(public) = key.public_key() else {
        let path = path.to_owned();
        return Err(OfficerError::KeyKind { path });
    };
    VerifierKey::ed25519(name, *public).map_err(|source| OfficerError::Name {
        name: name.chars().take(80).collect(),
        source,
    })
}

/// Writes a new file and makes it durable, with its directory entry.
fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn print(console: &mut Console<'_>, text: &str) -> Result<Exit, CommandError> {
    let written = console
        .out
        .write_all(text.as_bytes())
        .and_then(|()| console.out.flush());
    written.map_err(CommandError::output)?;
    Ok(Exit::Done)
}

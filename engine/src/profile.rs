//! Certificate profiles: what a certificate of one kind looks like, and whom it is for.
//!
//! A profile is a TOML file: a base, which brings what a standard fixes, and what the file says besides. What the
//! file says is read into raw types (`raw`), and becomes a [`Profile`] by checks that name file, line and key
//! (`checks`, `locate`), so that a bad profile never reaches a request.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::device_key::GeneratedKeyRule;
use crate::key::{DeviceKeyAlgorithm, SubjectPublicKeyInfo, sha256};
use crate::record::{DATA_IDENTITY_DOMAIN, DATA_KEY_DOMAIN, DATA_RESIDENCY, KEY_DOMAIN_WHOLE_LOG};
use crate::reissue::Reissue;
use crate::rejection::Rejection;
use crate::template::{Fields, Template};

mod alt_names;
mod base;
mod checks;
mod explain;
mod extensions;
mod issuing;
mod key_usage;
pub(crate) mod locate;
mod names;
mod pattern;
mod preview;
mod raw;
mod ready;
mod requested;
mod rules;
mod sample;
mod serials;
mod validity;

pub(crate) use alt_names::AltName;
#[cfg(test)]
pub(crate) use alt_names::AltNameForm;
pub use explain::Statement;
pub(crate) use extensions::{StaticValue, static_values};
pub(crate) use names::SubjectAttribute;
pub(crate) use pattern::{Pattern, PatternTables};
pub(crate) use raw::RawSerial;
pub use ready::{READY_MADE, ReadyMade};
pub(crate) use requested::RequestedPolicy;
pub(crate) use rules::{BasicConstraintsRule, CertificateRules, MatterIdsRule, Presence};
pub(crate) use serials::{Serials, check_serials};
pub(crate) use validity::{NotBefore, Validity};

/// The IDevID profile that `birthmark ca init` writes.
pub const IDEVID_TOML: &str = include_str!("profile/idevid.toml");
/// The TLS client profile that `birthmark ca init` writes.
pub const TLS_CLIENT_TOML: &str = include_str!("profile/tls-client.toml");

/// `notAfter` of a certificate without a well-defined expiration, RFC 5280 §4.1.2.5.
pub const INDEFINITE: &str = "99991231235959Z";

/// A profile that is fit for use.
#[derive(Debug, Clone)]
pub struct Profile {
    name: String,
    digest: [u8; 32],
    source: &'static str,
    pub(crate) identity: Option<Template>,
    identity_text: Option<String>,
    identity_domain: String,
    key_domain: String,
    reissue: Reissue,
    pub(crate) subject: Vec<SubjectAttribute>,
    pub(crate) alt_names: Vec<AltName>,
    pub(crate) requested: RequestedPolicy,
    pub(crate) validity: Validity,
    key: KeyPolicy,
    generated_key: Option<GeneratedKeyRule>,
    /// The request's and caller's values that this profile takes, each once.
    pub(crate) fields: Fields,
    rules: CertificateRules,
    serials: Option<Serials>,
    residency: Option<&'static str>,
    /// Rules that concern its issuer too.
    is_matter: bool,
    warnings: Vec<String>,
}

/// The keys that a profile takes.
#[derive(Debug, Clone)]
struct KeyPolicy {
    algorithms: Vec<DeviceKeyAlgorithm>,
    /// Bits of an RSA modulus, from and to.
    rsa_bits: (usize, usize),
}

/// A profile that cannot be used: the file, the line, the key and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The file cannot be read.
    #[error("profile {path}: cannot be read; check the path and its permissions", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Longer than any profile.
    #[error("profile {path}: has over {PROFILE_BYTES_MAX} bytes", path = path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// Not TOML, or not the keys of a profile.
    #[error("profile {path}:{line}: {problem}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, if it is known, and what is wrong.
        problem: String,
    },
    /// One key's value does not do.
    #[error("profile {path}:{line}: {key}: {problem}", path = path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The line, from 1; where the key is missing, that of the table it belongs to.
        line: usize,
        /// The key, as a path such as `subject[1].value`.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// Octets of one profile file. Real ones have under 4,000.
pub const PROFILE_BYTES_MAX: usize = 64 * 1024;

impl Profile {
    /// Reads and checks a profile file.
    ///
    /// # Errors
    /// Names the file, the line, the key and the fault.
    pub fn read(path: &Path) -> Result<Self, ProfileError> {
        let text = std::fs::read_to_string(path).map_err(|source| ProfileError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// Checks a profile's text. `path` names it in errors.
    ///
    /// # Errors
    /// Names the line, the key and the fault.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ProfileError> {
        if text.len() > PROFILE_BYTES_MAX {
            return Err(ProfileError::TooLong {
                path: path.to_owned(),
            });
        }
        let raw = toml::from_str(text).map_err(|error| syntax(text, path, &error))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        checks::check(raw, sha256(text.as_bytes()), folder).map_err(|fault| ProfileError::Value {
            path: path.to_owned(),
            line: locate::line_of(text, &fault.key),
            key: fault.key,
            problem: fault.problem,
        })
    }

    /// The name that requests ask for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the file as it was read: what `sha256sum` prints for it. Stands in every record.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Identities are unique within this domain.
    #[must_use]
    pub fn identity_domain(&self) -> &str {
        &self.identity_domain
    }

    /// Keys are unique within this domain; the empty name is the one all profiles share.
    #[must_use]
    pub fn key_domain(&self) -> &str {
        &self.key_domain
    }

    /// When a device that has a certificate may get another.
    #[must_use]
    pub fn reissue(&self) -> Reissue {
        self.reissue
    }

    /// Writes into a record's data what the record must say by itself: the domains that are not the default, so
    /// that it shows what it claims, and what is known of where the key is.
    pub(crate) fn add_data<'a>(&'a self, data: &mut BTreeMap<&'a str, &'a str>) {
        if self.key_domain != KEY_DOMAIN_WHOLE_LOG {
            data.insert(DATA_KEY_DOMAIN, &self.key_domain);
        }
        if self.identity_domain != self.name {
            data.insert(DATA_IDENTITY_DOMAIN, &self.identity_domain);
        }
        if let Some(residency) = self.residency {
            data.insert(DATA_RESIDENCY, residency);
        }
    }

    /// What is allowed here but should not stay so.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What its certificates must hold.
    pub(crate) fn rules(&self) -> &CertificateRules {
        &self.rules
    }

    /// The serial numbers that it hands out to devices whose requests bring none.
    pub(crate) fn serials(&self) -> Option<&Serials> {
        self.serials.as_ref()
    }

    /// Its certificates are those of CAs.
    pub(crate) fn is_ca(&self) -> bool {
        matches!(
            self.rules.basic_constraints,
            BasicConstraintsRule::Ca { .. }
        )
    }

    /// How the engine may make keys for it, if it may.
    pub(crate) fn generated_key(&self) -> Option<GeneratedKeyRule> {
        self.generated_key
    }

    /// Whether a device may hold a key of this kind.
    pub(crate) fn accepts(&self, algorithm: DeviceKeyAlgorithm) -> bool {
        self.key.algorithms.contains(&algorithm)
    }

    /// Whether a device may hold this key.
    pub(crate) fn check_key(&self, key: &SubjectPublicKeyInfo<'_>) -> Result<(), Rejection> {
        if !self.accepts(key.algorithm) {
            return Err(Rejection::KeyNotAllowed {
                profile: self.name.clone(),
                algorithm: key.algorithm.name(),
            });
        }
        let (min, max) = self.key.rsa_bits;
        match key.rsa_bits() {
            Some(bits) if bits < min => Err(Rejection::RsaPolicy(
                "the modulus has fewer bits than the profile's key.rsa_bits_min",
            )),
            Some(bits) if bits > max => Err(Rejection::RsaPolicy(
                "the modulus has more bits than the profile's key.rsa_bits_max",
            )),
            _ => Ok(()),
        }
    }
}

fn syntax(text: &str, path: &Path, error: &toml::de::Error) -> ProfileError {
    let (line, problem) = locate::syntax(text, error);
    ProfileError::Syntax {
        path: path.to_owned(),
        line,
        problem,
    }
}

/// The TOML error with its line number, in one line.
pub(crate) fn one_line(text: &str, error: &toml::de::Error) -> String {
    let line = locate::line_at(text, error.span().map_or(0, |span| span.start));
    format!("line {line}: {}", error.message().replace('\n', " "))
}

#[cfg(test)]
mod tests;

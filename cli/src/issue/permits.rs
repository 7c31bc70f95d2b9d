//! Permits of a run: read before anything is issued, and shown to the engine where a request needs one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use birthmark_engine::device_key::KeyDelivery;
use birthmark_engine::permit::{PERMIT_BYTES_MAX, Permit, PermitProblem, fold_identity};
use birthmark_engine::{Configuration, ConfigurationError, IssueError, Issued, Rejection};
use birthmark_log::tlog::{Note, VerifierKey};

use crate::hex;
use crate::input::list;

/// Permits of one run: a day's rework of a large site, and at 4 KiB each 40 MB at the worst.
pub const PERMITS_MAX: usize = 10_000;

/// Permits by the entry that they replace.
#[derive(Debug, Default)]
pub(super) struct Permits {
    by_entry: HashMap<u64, Vec<(Permit, Vec<u8>)>>,
    count: usize,
    /// What a permit has to say and who may sign it, as far as it is known before a request.
    station: Option<Station>,
}

/// What permits of this run have in common.
#[derive(Debug)]
struct Station {
    log: String,
    issuer: [u8; 20],
    profile: String,
    officers: Vec<VerifierKey>,
}

impl Station {
    /// Whether a permit is one for this run, signed by an officer, and has not ended. The engine checks
    /// this again, and the rest.
    fn counts(&self, permit: &Permit, note: &[u8]) -> bool {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let signed = || {
            Note::parse(note).is_ok_and(|note| {
                let mut officers = self.officers.iter();
                officers.any(|officer| note.verified_by(officer).is_ok())
            })
        };
        permit.log == self.log
            && permit.issuer == self.issuer
            && permit.profile == self.profile
            && permit.not_after_s >= now.as_secs()
            && signed()
    }
}

/// Why the run cannot begin: a permit that is none. Whether one counts is the engine's to say.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PermitsError {
    /// A file or directory is missing or closed to this user.
    #[error("cannot read permit {}; check the path and its permissions", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} is no permit", path.display())]
    NotAPermit {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: PermitProblem,
    },
    /// More than [`PERMITS_MAX`].
    #[error("there are over {PERMITS_MAX} permits; take those that were used out of the directory")]
    TooMany,
}

impl Permits {
    /// Reads permit files, and all files in directories.
    pub(super) fn open(paths: &[PathBuf]) -> Result<Permits, PermitsError> {
        let mut permits = Permits::default();
        for path in paths {
            let unreadable = |source| PermitsError::Unreadable {
                path: path.clone(),
                source,
            };
            if fs::metadata(path).map_err(unreadable)?.is_dir() {
                for file in list(path).map_err(unreadable)? {
                    permits.add(&file)?;
                }
            } else {
                permits.add(path)?;
            }
        }
        Ok(permits)
    }

    /// Tells what the permits of this run have to say.
    pub(super) fn for_station(
        &mut self,
        configuration: &Configuration,
        profile: &str,
    ) -> Result<(), ConfigurationError> {
        let officers = configuration.officers().into_iter();
        self.station = Some(Station {
            log: configuration.log_origin().to_owned(),
            issuer: *configuration.issuer()?.key_identifier(),
            profile: profile.to_owned(),
            officers: officers
                .flat_map(|officers| officers.keys().iter().cloned())
                .collect(),
        });
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn add(&mut self, path: &Path) -> Result<(), PermitsError> {
        if self.count == PERMITS_MAX {
            return Err(PermitsError::TooMany);
        }
        let mut note = Vec::new();
        File::open(path)
            .and_then(|file| {
                file.take(PERMIT_BYTES_MAX as u64 + 1)
                    .read_to_end(&mut note)
            })
            .map_err(|source| PermitsError::Unreadable {
                path: path.to_owned(),
                source,
            })?;
        let permit = Permit::read_unverified(&note).map_err(|source| PermitsError::NotAPermit {
            path: path.to_owned(),
            source,
        })?;
        let same_entry = self.by_entry.entry(permit.replaces).or_default();
        same_entry.push((permit, note));
        self.count += 1;
        Ok(())
    }

    /// The permit that a refusal asks for: of those for the device and the key the one that counts, and
    /// that longest, so that a permit that has ended or is another line's hides none. A permit that came alone is shown in any case: the engine says
    /// best what is wrong with it.
    ///
    /// A device whose generated key was acknowledged is answered without it; a permit for that entry asks for
    /// another key. `identity_of` tells whose entry it is.
    pub(super) fn called_for(
        &self,
        result: &Result<Issued, IssueError>,
        identity_of: impl Fn(u64) -> Option<String>,
    ) -> Option<&[u8]> {
        let counts = |permit: &Permit, note: &[u8]| {
            let station = self.station.as_ref();
            station.is_none_or(|station| station.counts(permit, note))
        };
        if let Ok(issued) = result {
            let gone = matches!(
                issued.key,
                Some(KeyDelivery::Acknowledged | KeyDelivery::NotKept)
            );
            let index = issued.certificate.index();
            let same_entry = self.by_entry.get(&index).filter(|_| gone)?;
            let identity = identity_of(index).map(|identity| fold_identity(&identity));
            // Another log's entry of the same number is none of this device's.
            let own_log = same_entry.iter().filter(|(permit, _)| {
                let station = self.station.as_ref();
                station.is_none_or(|station| permit.log == station.log)
            });
            let chosen = own_log.max_by_key(|(permit, note)| {
                let own = identity.as_ref() == Some(&permit.identity);
                let any_key = permit.key_fingerprint.is_none();
                (own, any_key, counts(permit, note), permit.not_after_s)
            });
            return chosen.map(|(_, note)| note.as_slice());
        }
        let Err(IssueError::Rejected(Rejection::PermitNeeded {
            identity,
            index,
            key_fingerprint,
        })) = result
        else {
            return None;
        };
        let identity = fold_identity(identity);
        let of_device = || {
            let same_entry = self.by_entry.get(index).into_iter().flatten();
            same_entry.filter(|(permit, _)| permit.identity == identity)
        };
        let of_key = |permit: &Permit| match &permit.key_fingerprint {
            Some(key) => hex::encode(key) == *key_fingerprint,
            None => true,
        };
        let for_key = of_device()
            .filter(|(permit, _)| of_key(permit))
            .max_by_key(|(permit, note)| (counts(permit, note), permit.not_after_s));
        let mut all = self.by_entry.values().flatten();
        let only = || all.next().filter(|_| self.count == 1);
        let chosen = for_key.or_else(|| of_device().next()).or_else(only);
        chosen.map(|(_, note)| note.as_slice())
    }
}

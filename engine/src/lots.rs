//! Lots: production orders that authorize a number of certificates.
//!
//! A lot is a TOML file in the directory that `lots.directory` of the configuration names:
//!
//! ```toml
//! name = "WO-4711"
//! profile = "idevid"
//! quantity = 5000
//! line = "line-3"                      # whoever asks, without it
//! not_before = 2026-03-01T06:00:00Z    # certificates are made from here
//! not_after = 2026-03-31T22:00:00Z     # to here; both hold when a request is prepared, and signing and logging follow
//! closed = false
//!
//! [serial]                             # the device's identity; or list = "FILE", or pattern = "SN[0-9]{6}"
//! from = "SN000001"
//! to = "SN005000"
//! ```
//!
//! A certificate takes a place in its lot: a number from 0 to below the quantity, which stands in its record
//! ([`crate::record::DATA_LOT_NUMBER`]) and is a key of the log's index. So the log alone says how much of a lot is
//! used, and no place is taken twice, over crashes and starts ([`crate::number_walk`]). A request that was answered
//! before gets its answer and takes nothing, whatever became of the lot. A reissue is a certificate and takes a place.

mod authorization;
mod file;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::profile::{Pattern, Serials};
use crate::rejection::Action;

pub(crate) use authorization::{LotBook, LotOffer, LotOutcome, check_requester};

/// Octets of a lot's name, and of a line's.
pub const LOT_BYTES_MAX: usize = 128;
/// Lots of one station: more orders than a factory has open.
pub const LOTS_MAX: usize = 10_000;
/// Most certificates of one lot. A lot that is used up and asked for all the same looks up each of its places once a
/// start, about 6 µs each: a minute for this many, spread over the requests that ask.
pub const LOT_QUANTITY_MAX: u64 = 10_000_000;

/// The lots of a station, and whether requests must name one.
#[derive(Debug, Clone, Default)]
pub struct Lots {
    required: bool,
    lots: Vec<Lot>,
}

/// A production order.
#[derive(Debug, Clone)]
pub struct Lot {
    name: String,
    profile: String,
    line: Option<String>,
    quantity: u64,
    not_before_s: Option<u64>,
    not_after_s: Option<u64>,
    closed: bool,
    serials: Option<LotSerials>,
    /// The file, and the line of `serial` in it.
    path: PathBuf,
    serial_line: usize,
}

/// Which devices a lot is for, by their identities.
#[derive(Debug, Clone)]
pub struct LotSerials(Devices);

#[derive(Debug, Clone)]
enum Devices {
    Serials(Serials),
    Pattern(Pattern),
}

/// Why a lot does not authorize a request, in the words that follow its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LotProblem {
    /// No lot has this name.
    #[error("is not one of this station's")]
    Unknown,
    /// It is closed.
    #[error("is closed")]
    Closed,
    /// Its time has not come.
    #[error("begins at {0}")]
    NotYet(String),
    /// Its time is over.
    #[error("ended at {0}")]
    Over(String),
    /// It is for another profile.
    #[error("is for profile {0}")]
    OtherProfile(String),
    /// It is for another line.
    #[error("is for line {0:?}")]
    OtherLine(String),
    /// All its certificates were issued.
    #[error("is used up: it authorizes {quantity} certificates, and as many or more were issued")]
    Exhausted {
        /// How many it authorizes.
        quantity: u64,
    },
    /// The device is none of those that it is for.
    #[error("is for {0}, and the device's identity is none of them")]
    OtherSerial(String),
}

impl LotProblem {
    /// Number, reason, rule and action.
    pub(crate) fn facts(&self) -> (u16, &'static str, &'static str, Action) {
        let (number, reason) = match self {
            Self::Unknown => (601, "lot-unknown"),
            Self::Closed => (602, "lot-closed"),
            Self::NotYet(_) => (603, "lot-not-yet"),
            Self::Over(_) => (604, "lot-over"),
            Self::OtherProfile(_) => (605, "lot-other-profile"),
            Self::OtherLine(_) => (606, "lot-other-line"),
            Self::Exhausted { .. } => (607, "lot-exhausted"),
            Self::OtherSerial(_) => (608, "lot-other-serial"),
        };
        let action = match self {
            Self::OtherSerial(_) => Action::CallOfficer,
            _ => Action::Stop,
        };
        (number, reason, "lot", action)
    }
}

/// Lots that cannot be used: the file, the line, the key and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LotsError {
    /// The directory or a file cannot be read.
    #[error("lots {path}: cannot be read; check the path and its permissions", path = path.display())]
    Read {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Over [`LOTS_MAX`] files.
    #[error("lots {path}: over {LOTS_MAX} files; move those of closed lots away", path = path.display())]
    TooMany {
        /// The directory.
        path: PathBuf,
    },
    /// A pipe, a device or a directory.
    #[error("lot {path}: is no file; move it away, or give it another ending", path = path.display())]
    NoFile {
        /// What it is.
        path: PathBuf,
    },
    /// Longer than any lot.
    #[error("lot {path}: has over {max} bytes", path = path.display(), max = file::LOT_FILE_BYTES_MAX)]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// Not TOML, or not the keys of a lot.
    #[error("lot {path}:{line}: {problem}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, if it is known, and what is wrong.
        problem: String,
    },
    /// One key's value does not do.
    #[error("lot {path}:{line}: {key}: {problem}", path = path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The line, from 1; where the key is missing, that of the table it belongs to.
        line: usize,
        /// The key, as a path such as `serial.from`.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

impl Lots {
    /// Reads every file of a directory whose name ends in `.toml`, in the order of their names. `required`: requests
    /// must name a lot.
    ///
    /// # Errors
    /// Names the file, the line, the key and the fault. Two files must not declare one lot.
    pub fn read(directory: &Path, required: bool) -> Result<Self, LotsError> {
        Ok(Self {
            required,
            lots: file::read_directory(directory)?,
        })
    }

    /// These lots. Of several with one name the first counts.
    #[must_use]
    pub fn new(lots: Vec<Lot>, required: bool) -> Self {
        Self { required, lots }
    }

    /// Whether requests must name a lot.
    #[must_use]
    pub fn required(&self) -> bool {
        self.required
    }

    /// All lots.
    pub fn iter(&self) -> impl Iterator<Item = &Lot> {
        self.lots.iter()
    }

    /// The lot of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Lot> {
        self.lots.iter().find(|lot| lot.name == name)
    }
}

impl Lot {
    /// Checks a lot's text. `path` names it in errors, and its folder is where a list of serial numbers lies.
    ///
    /// # Errors
    /// Names the line, the key and the fault.
    pub fn parse(text: &str, path: &Path) -> Result<Self, LotsError> {
        file::parse(text, path)
    }

    /// The name that requests give.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The profile that its certificates have.
    #[must_use]
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// The line that it is for; every line without one.
    #[must_use]
    pub fn line(&self) -> Option<&str> {
        self.line.as_deref()
    }

    /// How many certificates it authorizes.
    #[must_use]
    pub fn quantity(&self) -> u64 {
        self.quantity
    }

    /// When it begins, in seconds since 1970.
    #[must_use]
    pub fn not_before_s(&self) -> Option<u64> {
        self.not_before_s
    }

    /// The last second in which certificates are made for it, since 1970.
    #[must_use]
    pub fn not_after_s(&self) -> Option<u64> {
        self.not_after_s
    }

    /// Whether it is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The devices that it is for; every device without them.
    #[must_use]
    pub fn serials(&self) -> Option<&LotSerials> {
        self.serials.as_ref()
    }
}

impl LotSerials {
    /// Whether a device with this identity is one of them.
    #[must_use]
    pub fn contains(&self, identity: &str) -> bool {
        match &self.0 {
            Devices::Serials(serials) => serials.contains(identity),
            Devices::Pattern(pattern) => pattern.matches(identity),
        }
    }
}

/// For people: a range, the size of a list, or a pattern.
impl std::fmt::Display for LotSerials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Devices::Pattern(pattern) => write!(f, "serial numbers like {}", pattern.text()),
            Devices::Serials(serials @ Serials::Range { .. }) => {
                let last = serials.count().saturating_sub(1);
                write!(f, "{} to {}", serials.text(0), serials.text(last))
            }
            Devices::Serials(list) => write!(f, "a list of {} serial numbers", list.count()),
        }
    }
}

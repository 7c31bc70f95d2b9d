//! What a run may be asked to do, and why it may refuse.

use std::path::PathBuf;

use crate::limit::LimitError;
use crate::tally::{DigestError, Expectation};

/// How the load comes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Mode {
    /// As fast as the engine takes it: for capacity.
    #[default]
    Closed,
    /// At a fixed rate, whatever the engine does: for latency.
    Open {
        /// Requests per second; finite and above zero.
        rate_per_second: f64,
    },
}

/// What [`measure`](crate::measure) does beyond driving every request of the corpus once.
#[derive(Debug, Clone)]
pub struct Options {
    /// Closed or open loop.
    pub mode: Mode,
    /// Drive only the first so many requests.
    pub count: Option<u64>,
    /// So many requests first, outside all rates and latencies; by default a twentieth, at most
    /// 10,000.
    pub warm_up: Option<u64>,
    /// Measure the limit beside the engine.
    pub limit: bool,
    /// Threads of the limit loop; by default the best number found.
    pub limit_threads: Option<usize>,
    /// What every answer should be. Answers that differ are counted.
    pub expect: Option<Expectation>,
    /// Write the SHA-256 of each certificate here; a new file.
    pub digests: Option<PathBuf>,
    /// Compare the certificates with the digests that an earlier run wrote.
    pub check_digests: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            mode: Mode::Closed,
            count: None,
            warm_up: None,
            limit: true,
            limit_threads: None,
            expect: None,
            digests: None,
            check_digests: None,
        }
    }
}

/// Why a run cannot be made. What goes wrong inside a run stands in its report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The corpus has fewer requests than wanted.
    #[error(
        "the corpus holds {held} requests and {wanted} were asked for; make a larger one or ask for fewer"
    )]
    Count {
        /// What was asked for.
        wanted: u64,
        /// What there is.
        held: u64,
    },
    /// The rate makes no sense.
    #[error("a rate of {0} requests per second cannot be driven; give one above zero")]
    Rate(f64),
    /// The engine does not know the profile: every request would be refused.
    #[error("no profile is named {0:?}; give one that the configuration lists")]
    Profile(String),
    /// The limit cannot be measured.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A digest file cannot be used.
    #[error(transparent)]
    Digests(#[from] DigestError),
}

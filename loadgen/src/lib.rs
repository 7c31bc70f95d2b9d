//! Drives the engine in process, measures the limit beside it, and reports.
//!
//! The parts, in the order in which a run uses them:
//!
//! - [`Corpus`]: a file of certification requests of distinct devices, made before the clock
//!   starts ([`Corpus::make`], [`Corpus::resign`]) and memory-mapped while it is used.
//! - [`measure`]: a whole run. It drives the engine from the calling thread, in a closed loop
//!   for capacity or in an open loop for latency ([`Mode`]), and looks at every answer.
//! - [`LimitLoop`]: the same cryptography and nothing else, on the same cores, in slices that
//!   alternate with the engine's. The ratio of the two is the figure that travels between
//!   machines.
//! - [`Report`]: what a run found, as text or JSON.
//!
//! ```no_run
//! # fn run(engine: &birthmark_engine::Engine) -> Result<(), Box<dyn std::error::Error>> {
//! use birthmark_hsm::KeyAlgorithm;
//! use birthmark_loadgen::{Corpus, Options, measure};
//!
//! let path = std::path::Path::new("devices.corpus");
//! let corpus = Corpus::make(path, 200_000, KeyAlgorithm::EcP256, 1, &mut |_made| {})?;
//! let report = measure(engine, &corpus, "idevid", &Options::default(), &mut |_answered| {})?;
//! let ratio = report.ratio_to_limit;
//! # Ok(()) }
//! ```

pub mod corpus;
mod csr;
pub mod device;
mod drive;
pub mod limit;
mod measure;
pub mod process;
mod ratio;
mod report;
mod tally;
mod verification;

pub use corpus::{Corpus, CorpusError};
pub use limit::{LimitError, LimitLoop, LimitReport, LimitSlice};
pub use measure::{MeasureError, Mode, Options, measure};
pub use ratio::Spread;
pub use report::{Lanes, Latency, Report};
pub use tally::{DigestError, Expectation};

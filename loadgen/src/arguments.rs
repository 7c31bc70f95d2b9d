//! The command line.

use std::path::PathBuf;

use birthmark_hsm::{KeyAlgorithm, RsaSignature};
use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes:
  0  everything as it should be
  1  requests were rejected, or answers differ from --expect or --check-digests
  2  the command line, a configuration or an input file is wrong
  3  the system failed: a disk, a token, the engine";

/// Load generator of the Birthmark engine.
///
/// Makes files of certification requests, drives the engine with them in process, and measures
/// beside it what the cryptography alone would allow.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a corpus: certification requests of distinct devices in one file
    #[command(after_help = "\
Examples:
  loadgen corpus --count 1000000 --out devices.corpus
  loadgen corpus --count 1000 --algorithm rsa2048 --out rsa.corpus
  loadgen corpus --resign devices.corpus --out retry.corpus

The device keys are throw-away keys: whoever has the file or the seed has them.")]
    Corpus(CorpusArguments),
    /// Drive the engine with a corpus and report
    #[command(after_help = "\
Examples:
  loadgen run --config ca/birthmark.toml --profile idevid --corpus devices.corpus
  loadgen run --config ca/birthmark.toml --profile idevid --corpus devices.corpus \\
      --open --rate 5000 --json
  loadgen run --config ca/birthmark.toml --profile idevid --corpus devices.corpus \\
      --expect issued --digests first.sha256
  loadgen run --config ca/birthmark.toml --profile idevid --corpus retry.corpus \\
      --expect existing --check-digests first.sha256")]
    Run(RunArguments),
    /// Measure what the cryptography alone would allow with a configuration's signer
    #[command(after_help = "\
Examples:
  loadgen limit --config ca/birthmark.toml
  loadgen limit --config ca/birthmark.toml --corpus devices.corpus --threads 4 --json")]
    Limit(LimitArguments),
}

#[derive(Debug, Args)]
pub(crate) struct CorpusArguments {
    /// Number of devices
    #[arg(long, required_unless_present = "resign", conflicts_with = "resign")]
    pub(crate) count: Option<u64>,
    /// Where the corpus goes; replaces a file of that name
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    #[arg(long, help = format!("Kind of the device keys: {}", KeyAlgorithm::NAMES),
          default_value = "p256", conflicts_with = "resign")]
    pub(crate) algorithm: KeyAlgorithm,
    /// How RSA keys sign: pkcs1 or pss
    #[arg(long, value_name = "FORM", default_value_t, conflicts_with = "resign")]
    pub(crate) signature: RsaSignature,
    /// The same seed makes the same EC, Ed25519 and ML-DSA devices again
    #[arg(long, default_value_t = 1, conflicts_with = "resign")]
    pub(crate) seed: u64,
    /// Make the retry of this corpus: same devices and keys, fresh signatures
    #[arg(long, value_name = "CORPUS")]
    pub(crate) resign: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// The issuer's configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The profile to issue under
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: String,
    /// The requests
    #[arg(long, value_name = "FILE")]
    pub(crate) corpus: PathBuf,
    /// Closed loop, for capacity: keep the engine full (the default)
    #[arg(long, conflicts_with = "open")]
    pub(crate) closed: bool,
    /// Open loop, for latency: requests fall due at --rate, whatever the engine does
    #[arg(long, requires = "rate")]
    pub(crate) open: bool,
    /// Requests per second of the open loop
    #[arg(long, value_name = "R", requires = "open")]
    pub(crate) rate: Option<f64>,
    /// Drive only the first N requests of the corpus
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Requests that warm up and do not count in rates and latencies [default: a twentieth, at
    /// most 10000]
    #[arg(long, value_name = "N")]
    pub(crate) warm_up: Option<u64>,
    /// Do not measure the limit
    #[arg(long)]
    pub(crate) no_limit: bool,
    /// Threads of the limit loop [default: the best of several]
    #[arg(long, value_name = "N", conflicts_with = "no_limit")]
    pub(crate) limit_threads: Option<usize>,
    /// Fail with exit code 1 if any request comes to something else
    #[arg(long, value_enum)]
    pub(crate) expect: Option<Expect>,
    /// Write the SHA-256 of each certificate, 32 bytes each, to this new file
    #[arg(long, value_name = "FILE")]
    pub(crate) digests: Option<PathBuf>,
    /// Compare each certificate with what an earlier run wrote with --digests
    #[arg(long, value_name = "FILE")]
    pub(crate) check_digests: Option<PathBuf>,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Expect {
    /// A certificate that did not exist before
    Issued,
    /// The certificate that was issued before
    Existing,
}

#[derive(Debug, Args)]
pub(crate) struct LimitArguments {
    /// The issuer's configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Requests to verify [default: P-256 requests made for the purpose]
    #[arg(long, value_name = "FILE")]
    pub(crate) corpus: Option<PathBuf>,
    /// Threads [default: the best of several]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Number of slices; the median is reported
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) slices: u32,
    /// Seconds of each slice
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    pub(crate) seconds: f64,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

//! What each subcommand does.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use birthmark_engine::{Configuration, Engine, OpenError};
use birthmark_hsm::{KeyAlgorithm, RsaSignature};
use birthmark_loadgen::{
    Corpus, CorpusError, DigestError, Expectation, LimitError, LimitLoop, LimitReport,
    MeasureError, Mode, Options, measure,
};

use crate::Outcome;
use crate::arguments::{Arguments, Command, CorpusArguments, Expect, LimitArguments, RunArguments};
use crate::progress;

/// Requests made for `limit` when no corpus is given: as many as its loop uses.
const LIMIT_CORPUS: u64 = 256;

/// A slice shorter than this measures the waking of threads.
const SLICE_SECONDS_MIN: f64 = 0.05;
const SLICE_SECONDS_MAX: f64 = 3600.0;

/// A command that could not be carried out: what happened, and the exit code.
pub(crate) struct Failure {
    message: String,
    outcome: Outcome,
}

impl Failure {
    fn new(outcome: Outcome, message: impl Into<String>) -> Failure {
        Failure {
            message: message.into(),
            outcome,
        }
    }

    fn usage(error: &dyn std::error::Error) -> Failure {
        Failure::new(Outcome::Usage, chain(error))
    }

    fn fault(error: &dyn std::error::Error) -> Failure {
        Failure::new(Outcome::Fault, chain(error))
    }

    pub(crate) fn outcome(&self) -> Outcome {
        self.outcome
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// An error and its causes in one line. A cause that the text above quotes already is left out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}

pub(crate) fn run(arguments: Arguments, out: &mut dyn Write) -> Result<Outcome, Failure> {
    match arguments.command {
        Command::Corpus(arguments) => corpus(&arguments, out),
        Command::Run(arguments) => drive(&arguments, out),
        Command::Limit(arguments) => limit(&arguments, out),
    }
}

fn corpus(arguments: &CorpusArguments, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let made = match (&arguments.resign, arguments.count) {
        (Some(first), _) => {
            let first = open_corpus(first)?;
            let bar = progress::bar("signing again", first.len());
            let made = first.resign(&arguments.out, &mut |done| bar.set_position(done));
            bar.finish_and_clear();
            made
        }
        (None, count) => {
            let count = count.unwrap_or_default();
            let bar = progress::bar("making", count);
            let keys = (arguments.algorithm, arguments.signature);
            let (out, seed) = (&arguments.out, arguments.seed);
            let made = Corpus::make_signing(out, count, keys, seed, &mut |done| {
                bar.set_position(done);
            });
            bar.finish_and_clear();
            made
        }
    }
    .map_err(|error| match error {
        CorpusError::Count(_) => Failure::usage(&error),
        _ => Failure::fault(&error),
    })?;
    let pss = match made.rsa_signature() {
        Some(RsaSignature::Pss) => " PSS",
        _ => "",
    };
    let line = format!(
        "{}: {} requests, {}{pss}, seed {}, generation {}\n",
        made.path().display(),
        made.len(),
        made.algorithm().title(),
        made.seed(),
        made.generation(),
    );
    write(out, &line)?;
    Ok(Outcome::Clean)
}

fn drive(arguments: &RunArguments, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let corpus = open_corpus(&arguments.corpus)?;
    let engine = open_engine(&arguments.config)?;
    let options = Options {
        mode: match arguments.rate {
            Some(rate_per_second) if arguments.open => Mode::Open { rate_per_second },
            _ => Mode::Closed,
        },
        count: arguments.count,
        warm_up: arguments.warm_up,
        limit: !arguments.no_limit,
        limit_threads: arguments.limit_threads,
        expect: arguments.expect.map(|expect| match expect {
            Expect::Issued => Expectation::Issued,
            Expect::Existing => Expectation::Existing,
        }),
        digests: arguments.digests.clone(),
        check_digests: arguments.check_digests.clone(),
    };
    let bar = progress::bar("issuing", arguments.count.unwrap_or(corpus.len()));
    let measured = measure(
        &engine,
        &corpus,
        &arguments.profile,
        &options,
        &mut |answered| {
            bar.set_position(answered);
        },
    );
    bar.finish_and_clear();
    // Closed before anything is said: what is reported is then on the disk and at rest.
    let closed = engine.close();
    let report = measured.map_err(|error| match &error {
        MeasureError::Limit(LimitError::NoRequest(_)) => Failure::usage(&error),
        MeasureError::Limit(_) => Failure::fault(&error),
        MeasureError::Digests(DigestError::Io {
            action: "write", ..
        }) => Failure::fault(&error),
        _ => Failure::usage(&error),
    })?;
    write_result(&report, arguments.json, out)?;
    closed.map_err(|error| Failure::fault(&error))?;
    Ok(match () {
        () if report.has_faults() => Outcome::Fault,
        () if report.is_clean() => Outcome::Clean,
        () => Outcome::Differs,
    })
}

fn limit(arguments: &LimitArguments, out: &mut dyn Write) -> Result<Outcome, Failure> {
    if !(SLICE_SECONDS_MIN..=SLICE_SECONDS_MAX).contains(&arguments.seconds) {
        let message = format!(
            "a slice of {} seconds cannot be measured; give --seconds {SLICE_SECONDS_MIN} to {SLICE_SECONDS_MAX}",
            arguments.seconds
        );
        return Err(Failure::new(Outcome::Usage, message));
    }
    let corpus = match &arguments.corpus {
        Some(path) => open_corpus(path)?,
        None => throw_away_corpus()?,
    };
    // The engine only holds the signer here; idle, it takes nothing of the cores.
    let engine = open_engine(&arguments.config)?;
    let failure = |error: LimitError| match error {
        LimitError::NoRequest(_) => Failure::usage(&error),
        _ => Failure::fault(&error),
    };
    let mut limit = LimitLoop::start(
        engine.signing_pool(),
        &corpus,
        engine.verification(),
        arguments.threads,
    )
    .map_err(failure)?;
    let bar = progress::bar("measuring", u64::from(arguments.slices));
    let mut slices = Vec::new();
    for _ in 0..arguments.slices.max(1) {
        slices.push(
            limit
                .both_slices(Duration::from_secs_f64(arguments.seconds))
                .map_err(failure)?,
        );
        bar.inc(1);
    }
    bar.finish_and_clear();
    let report = LimitReport::new(
        &slices,
        limit.threads(),
        engine.verification().name(),
        engine.describe_signer(),
        corpus.algorithm(),
    );
    drop(limit);
    engine.close().map_err(|error| Failure::fault(&error))?;
    write_result(&report, arguments.json, out)?;
    Ok(Outcome::Clean)
}

fn open_corpus(path: &Path) -> Result<Corpus, Failure> {
    Corpus::open(path).map_err(|error| Failure::usage(&error))
}

fn open_engine(config: &Path) -> Result<Engine, Failure> {
    let station = Configuration::load(config)
        .and_then(|configuration| configuration.station())
        .map_err(|error| Failure::usage(&error))?;
    Engine::open(station).map_err(|error| match error {
        OpenError::Log(_) | OpenError::Threads(_) => Failure::fault(&error),
        _ => Failure::usage(&error),
    })
}

/// A few requests in a file that has no name any more once it is open.
fn throw_away_corpus() -> Result<Corpus, Failure> {
    let folder = tempfile::tempdir().map_err(|error| {
        Failure::new(
            Outcome::Fault,
            format!("cannot make a temporary folder: {error}"),
        )
    })?;
    let path = folder.path().join("limit.corpus");
    Corpus::make(&path, LIMIT_CORPUS, KeyAlgorithm::EcP256, 1, &mut |_| {})
        .map_err(|error| Failure::fault(&error))
}

fn write_result(
    result: &(impl fmt::Display + serde::Serialize),
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if !json {
        return write(out, &result.to_string());
    }
    let json = serde_json::to_string_pretty(result).map_err(|error| Failure::fault(&error))?;
    write(out, &format!("{json}\n"))
}

fn write(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| {
        Failure::new(
            Outcome::Fault,
            format!("cannot write to standard output: {error}"),
        )
    })
}

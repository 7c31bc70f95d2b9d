//! `birthmark key`: generated keys that wait for their acknowledgement.

use std::fs::File;
use std::io::{self, BufRead};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use birthmark_engine::device_key::{
    Acknowledgement, KeySpool, SpoolError, SpoolOpenError, SpoolOptions,
};
use birthmark_engine::{Configuration, ConfigurationError};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use crate::command::Exit;
use crate::console::{Console, grouped};
use crate::hex;
use crate::input::STANDARD_INPUT;

/// Acknowledgements that share a sync.
const CHUNK: usize = 4096;

/// Longest line on standard input: a line of `birthmark issue` has under 32 KiB.
const LINE_BYTES_MAX: u64 = 256 * 1024;

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Let go of keys that the line has.
    Ack(KeyAckArguments),
    /// Make a spool where it was lost, or let this station's log have the one that is there.
    Init(KeyInitArguments),
    /// List the keys that wait for their acknowledgement.
    List(KeyListArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark key ack --config ca/birthmark.toml 6d3f0c5e8f1b4a7299d0c1e2f3a4b5c6\n  \
    birthmark key ack --config ca/birthmark.toml - < issued.ndjson\n\n\
    Acknowledge a key when it is in its device, or safe in the line's own storage: the station\n\
    keeps it no longer, and a retry gets the certificate alone. A serial number that no key waits\n\
    under was acknowledged before, or its key was not made here.\n\
    Lines redirected from a file are made durable first (fsync), for they may hold the only copy.\n\
    The spool belongs to one process: not while 'birthmark issue' runs.")]
pub(crate) struct KeyAckArguments {
    /// The station's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print the counts as JSON.
    #[arg(long)]
    json: bool,
    /// The certificates' serial numbers in hexadecimal; or '-' for one a line, or the lines of
    /// 'birthmark issue', on standard input.
    #[arg(value_name = "SERIAL", required = true)]
    serials: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark key list --config ca/birthmark.toml\n  \
    birthmark key list --config ca/birthmark.toml --json\n\n\
    One line for each key, the oldest first: the certificate's serial number and how the key is\n\
    encrypted. Ask for the same device again with 'birthmark issue --generate' to get one.")]
pub(crate) struct KeyListArguments {
    /// The station's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print one JSON object for each key.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark key init --config ca/birthmark.toml\n\n\
    A first spool is made by 'birthmark issue'. This is for a spool that is lost, lost a file, or\n\
    belongs to another log or a newer copy of it: what the log has by the next start and the\n\
    spool does not is answered with key_state \"not-kept\". Keys that are there stay.")]
pub(crate) struct KeyInitArguments {
    /// The station's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print the counts as JSON.
    #[arg(long)]
    json: bool,
}

/// Why a command on keys fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The station makes no keys.
    #[error("configuration {} has no device_keys, so no keys are made there", config.display())]
    NoKeys {
        /// The configuration.
        config: PathBuf,
    },
    /// The spool does not open.
    #[error(transparent)]
    Open(#[from] SpoolOpenError),
    /// The spool fails.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Not a serial number.
    #[error("'{text}' is no serial number; write 32 hexadecimal digits, as 'birthmark issue' does")]
    Serial {
        /// What stands there, shortened.
        text: String,
    },
    /// Standard input cannot be read.
    #[error("standard input cannot be read")]
    Input {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Results cannot be written.
    #[error("cannot write to standard output; check where it goes")]
    Output {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl KeyError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            KeyError::Configuration(_)
            | KeyError::NoKeys { .. }
            | KeyError::Serial { .. }
            | KeyError::Open(SpoolOpenError::Option(_)) => Exit::Usage,
            _ => Exit::Fault,
        }
    }
}

/// Counts of a run.
#[derive(Default, Serialize)]
struct Tally {
    acknowledged: u64,
    not_waiting: u64,
}

/// What is taken of a line of `birthmark issue`.
#[derive(Deserialize)]
struct IssuedLine {
    serial: Option<String>,
}

pub(crate) fn run(command: KeyCommand, console: &mut Console<'_>) -> Result<Exit, KeyError> {
    match command {
        KeyCommand::Ack(arguments) => acknowledge(&arguments, console),
        KeyCommand::Init(arguments) => init(&arguments, console),
        KeyCommand::List(arguments) => list(&arguments, console),
    }
}

fn options(config: &Path) -> Result<SpoolOptions, KeyError> {
    let configuration = Configuration::load(config)?;
    let options = configuration.key_spool().cloned();
    options.ok_or_else(|| KeyError::NoKeys {
        config: config.to_owned(),
    })
}

fn open(config: &Path) -> Result<KeySpool, KeyError> {
    Ok(KeySpool::open(options(config)?)?)
}

fn init(arguments: &KeyInitArguments, console: &mut Console<'_>) -> Result<Exit, KeyError> {
    #[derive(Serialize)]
    struct Waiting {
        waiting: usize,
    }
    let spool = KeySpool::init(options(&arguments.config)?)?;
    let waiting = spool.waiting();
    let text = format!("{} keys wait in the spool\n", grouped(waiting as u64));
    console
        .result(arguments.json, &Waiting { waiting }, &text)
        .map_err(|source| KeyError::Output { source })?;
    Ok(Exit::Done)
}

fn acknowledge(arguments: &KeyAckArguments, console: &mut Console<'_>) -> Result<Exit, KeyError> {
    // What is typed is read whole before anything is let go.
    let mut typed = Vec::new();
    for text in &arguments.serials {
        if text != STANDARD_INPUT {
            typed.push(serial(text)?);
        }
    }
    let spool = open(&arguments.config)?;
    let mut tally = Tally::default();
    for chunk in typed.chunks(CHUNK) {
        tally.add(&spool.acknowledge(chunk)?);
    }
    if arguments.serials.iter().any(|text| text == STANDARD_INPUT) {
        sync_standard_input().map_err(|source| KeyError::Input { source })?;
        acknowledge_lines(&spool, &mut io::stdin().lock(), &mut tally)?;
    }
    let text = format!(
        "{} acknowledged, {} not waiting\n",
        grouped(tally.acknowledged),
        grouped(tally.not_waiting)
    );
    console
        .result(arguments.json, &tally, &text)
        .map_err(|source| KeyError::Output { source })?;
    Ok(Exit::Done)
}

/// What is acknowledged is gone from the spool. Where the lines come from a file, it is made durable first: it may
/// be all that holds the keys.
fn sync_standard_input() -> io::Result<()> {
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    if input.metadata()?.is_file() {
        input.sync_all()?;
    }
    Ok(())
}

/// One serial number a line, or lines of `birthmark issue`; those without a certificate are passed over.
fn acknowledge_lines(
    spool: &KeySpool,
    reader: &mut dyn BufRead,
    tally: &mut Tally,
) -> Result<(), KeyError> {
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        let mut line = String::new();
        let mut limited = io::Read::take(&mut *reader, LINE_BYTES_MAX);
        let read = limited.read_line(&mut line);
        let read = read.map_err(|source| KeyError::Input { source })?;
        if read == 0 || chunk.len() == CHUNK {
            tally.add(&spool.acknowledge(&chunk)?);
            chunk.clear();
        }
        if read == 0 {
            return Ok(());
        }
        let text = line.trim();
        let written = if text.starts_with('{') {
            let issued: IssuedLine = serde_json::from_str(text).map_err(|_| no_serial(text))?;
            issued.serial
        } else {
            Some(text.to_owned()).filter(|text| !text.is_empty())
        };
        if let Some(written) = written {
            chunk.push(serial(&written)?);
        }
    }
}

fn serial(text: &str) -> Result<Vec<u8>, KeyError> {
    let bytes = hex::decode(text).filter(|bytes| bytes.len() == 16);
    bytes.ok_or_else(|| no_serial(text))
}

fn no_serial(text: &str) -> KeyError {
    KeyError::Serial {
        text: text.chars().take(40).collect(),
    }
}

impl Tally {
    fn add(&mut self, outcomes: &[Acknowledgement]) {
        for outcome in outcomes {
            match outcome {
                Acknowledgement::Done => self.acknowledged += 1,
                Acknowledgement::NotWaiting => self.not_waiting += 1,
            }
        }
    }
}

/// A key that waits.
#[derive(Serialize)]
struct KeyLine {
    serial: String,
    delivery: &'static str,
}

fn list(arguments: &KeyListArguments, console: &mut Console<'_>) -> Result<Exit, KeyError> {
    let spool = open(&arguments.config)?;
    let output = |source| KeyError::Output { source };
    for key in spool.keys() {
        let line = KeyLine {
            serial: hex::encode(&key.serial),
            delivery: key.delivery.name(),
        };
        let written = match arguments.json {
            true => serde_json::to_writer(&mut *console.out, &line)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(console.out)),
            false => writeln!(console.out, "{}  {}", line.serial, line.delivery),
        };
        written.map_err(output)?;
    }
    console.out.flush().map_err(output)?;
    Ok(Exit::Done)
}

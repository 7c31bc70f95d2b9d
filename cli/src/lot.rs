//! `birthmark lot`: the station's lots, and how much of each is used.
//!
//! Nothing but the log says that: its records are counted, on all cores, also while the station issues.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use birthmark_engine::record::Record;
use birthmark_engine::{Configuration, ConfigurationError, Lot, Lots};
use birthmark_log::{LogReader, VerifyError};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::command::Exit;
use crate::console::{Console, grouped};
use crate::records::rfc3339;

#[derive(Debug, Subcommand)]
pub(crate) enum LotCommand {
    /// List the station's lots: state, used and left.
    List(LotListArguments),
    /// Show one lot.
    Show(LotShowArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark lot list --config ca/birthmark.toml\n  \
    birthmark lot list --config ca/birthmark.toml --json\n\n\
    One line for each lot, in the order of the files' names. The state is open, not-yet, over,\n\
    closed or exhausted. The log's records are counted, all of them, also while 'birthmark issue'\n\
    runs.")]
pub(crate) struct LotListArguments {
    /// The station's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print one JSON object for each lot.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark lot show --config ca/birthmark.toml WO-4711\n  \
    birthmark lot show --config ca/birthmark.toml --json WO-4711")]
pub(crate) struct LotShowArguments {
    /// The station's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print the lot as JSON.
    #[arg(long)]
    json: bool,
    /// The lot's name.
    #[arg(value_name = "LOT")]
    name: String,
}

/// Why a command on lots fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LotError {
    /// The configuration or a lot cannot be used.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The station has no lots.
    #[error("configuration {} has no lots; name their directory: [lots] directory = \"lots\"", config.display())]
    NoLots {
        /// The configuration.
        config: PathBuf,
    },
    /// There is none of this name.
    #[error("no lot is named {name:?}; see 'birthmark lot list'")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] VerifyError),
    /// Results cannot be written.
    #[error("cannot write to standard output; check where it goes")]
    Output {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl LotError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            LotError::Configuration(_)
            | LotError::NoLots { .. }
            | LotError::Log(VerifyError::Missing { .. }) => Exit::Usage,
            LotError::Unknown { .. } => Exit::Rejected,
            _ => Exit::Fault,
        }
    }
}

/// A lot as it stands.
#[derive(Serialize)]
struct LotView<'a> {
    name: &'a str,
    state: &'static str,
    profile: &'a str,
    line: Option<&'a str>,
    quantity: u64,
    /// Certificates that took a place.
    used: u64,
    left: u64,
    /// Certificates that name the lot and took no place: it was not declared, or `[lots]` was switched off.
    uncounted: u64,
    not_before: Option<String>,
    not_after: Option<String>,
    serials: Option<String>,
}

/// Records of one lot.
#[derive(Default)]
struct Count {
    used: AtomicU64,
    uncounted: AtomicU64,
}

pub(crate) fn run(command: LotCommand, console: &mut Console<'_>) -> Result<Exit, LotError> {
    match command {
        LotCommand::List(arguments) => list(&arguments, console),
        LotCommand::Show(arguments) => show(&arguments, console),
    }
}

fn list(arguments: &LotListArguments, console: &mut Console<'_>) -> Result<Exit, LotError> {
    let (configuration, lots) = open(&arguments.config)?;
    let lots: Vec<&Lot> = lots.iter().collect();
    let views = views(&configuration, &lots)?;
    let width = |text: fn(&LotView<'_>) -> usize| views.iter().map(text).max().unwrap_or(0);
    let (name, profile) = (
        width(|view| view.name.len()),
        width(|view| view.profile.len()),
    );
    for view in &views {
        let written = match arguments.json {
            true => serde_json::to_writer(&mut *console.out, view)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(console.out)),
            false => writeln!(
                console.out,
                "{:name$}  {:9}  {:profile$}  {} of {} used, {} left",
                view.name,
                view.state,
                view.profile,
                grouped(view.used),
                grouped(view.quantity),
                grouped(view.left)
            ),
        };
        written.map_err(|source| LotError::Output { source })?;
    }
    console
        .out
        .flush()
        .map_err(|source| LotError::Output { source })?;
    Ok(Exit::Done)
}

fn show(arguments: &LotShowArguments, console: &mut Console<'_>) -> Result<Exit, LotError> {
    let (configuration, lots) = open(&arguments.config)?;
    let lot = lots.get(&arguments.name).ok_or_else(|| LotError::Unknown {
        name: arguments.name.clone(),
    })?;
    for view in views(&configuration, &[lot])? {
        console
            .result(arguments.json, &view, &view.text())
            .map_err(|source| LotError::Output { source })?;
    }
    Ok(Exit::Done)
}

fn open(config: &Path) -> Result<(Configuration, Lots), LotError> {
    let configuration = Configuration::load(config)?;
    let lots = configuration.lots()?.ok_or_else(|| LotError::NoLots {
        config: config.to_owned(),
    })?;
    Ok((configuration, lots))
}

fn views<'a>(
    configuration: &Configuration,
    lots: &[&'a Lot],
) -> Result<Vec<LotView<'a>>, LotError> {
    let names = lots.iter().map(|lot| (lot.name(), Count::default()));
    let counts: HashMap<&str, Count> = names.collect();
    let reader = LogReader::open(configuration.log_directory())?;
    reader.scan(None, &|_, bytes| {
        let Ok(Record::Issued(issued)) = Record::decode(bytes) else {
            return;
        };
        if let Some(count) = issued.lot.and_then(|lot| counts.get(lot)) {
            let counted = match issued.lot_place() {
                Some(_) => &count.used,
                None => &count.uncounted,
            };
            counted.fetch_add(1, Ordering::Relaxed);
        }
    })?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now_s = now.map_or(0, |now| now.as_secs());
    let time = |seconds: u64| rfc3339(seconds * 1_000);
    let view = |lot: &&'a Lot| {
        let count = counts.get(lot.name());
        let read = |number: fn(&Count) -> &AtomicU64| {
            count.map_or(0, |count| number(count).load(Ordering::Relaxed))
        };
        let used = read(|count| &count.used);
        LotView {
            name: lot.name(),
            state: state(lot, used, now_s),
            profile: lot.profile(),
            line: lot.line(),
            quantity: lot.quantity(),
            used,
            left: lot.quantity().saturating_sub(used),
            uncounted: read(|count| &count.uncounted),
            not_before: lot.not_before_s().map(time),
            not_after: lot.not_after_s().map(time),
            serials: lot.serials().map(ToString::to_string),
        }
    };
    Ok(lots.iter().map(view).collect())
}

fn state(lot: &Lot, used: u64, now_s: u64) -> &'static str {
    match () {
        () if lot.is_closed() => "closed",
        () if used >= lot.quantity() => "exhausted",
        () if lot.not_before_s().is_some_and(|from| now_s < from) => "not-yet",
        () if lot.not_after_s().is_some_and(|to| now_s > to) => "over",
        () => "open",
    }
}

impl LotView<'_> {
    fn text(&self) -> String {
        let any = || "any".to_owned();
        let mut text = format!(
            "lot         {}\nstate       {}\nprofile     {}\nline        {}\nquantity    {}\nused        {}\n\
             left        {}\n",
            self.name,
            self.state,
            self.profile,
            self.line.unwrap_or("any"),
            grouped(self.quantity),
            grouped(self.used),
            grouped(self.left),
        );
        for (label, value) in [
            ("not before", &self.not_before),
            ("not after", &self.not_after),
            ("serials", &self.serials),
        ] {
            let value = value.clone().unwrap_or_else(any);
            text.push_str(&format!("{label:11} {value}\n"));
        }
        if self.uncounted > 0 {
            text.push_str(&format!(
                "uncounted   {} certificates name it without a place: issued while it was not declared\n",
                grouped(self.uncounted)
            ));
        }
        text
    }
}

//! `birthmark profile`: the ready-made profiles, and whether and what one's own says.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use birthmark_engine::profile::{READY_MADE, ReadyMade, Statement};
use birthmark_engine::{Profile, ProfileError, Rejection};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::command::Exit;
use crate::console::Console;
use crate::input::{InputError, Inputs};

#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// List the ready-made profiles.
    List(ListArguments),
    /// Print a ready-made profile, to start one's own from.
    Show(ShowArguments),
    /// Check profile files.
    Check(CheckArguments),
    /// Say in words what a profile's certificates hold, or what one request would get.
    Explain(ExplainArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark profile list\n  \
    birthmark profile list --json")]
pub(crate) struct ListArguments {
    /// Print them as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark profile show matter-dac > ca/profiles/matter-dac.toml\n\n\
    Then name the file in engine.profiles of birthmark.toml.")]
pub(crate) struct ShowArguments {
    /// Name of a ready-made profile.
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark profile check ca/profiles/*.toml\n\n\
    One line per file: 'FILE: ok', or FILE:LINE: KEY: what is wrong; then the exit code is 2.\n\
    Warnings go to standard error.")]
pub(crate) struct CheckArguments {
    /// Profile files.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark profile explain ca/profiles/idevid.toml\n  \
    birthmark profile explain tls-server --csr device.csr\n  \
    birthmark profile explain tcg-iak --csr tpm.csr --data tpm_serial=STM:0f:1 --json\n\n\
    Nothing is issued. Exit code 1: the request would be rejected. Whether its key and identity\n\
    are free only the log knows.")]
pub(crate) struct ExplainArguments {
    /// A profile file, or the name of a ready-made profile.
    #[arg(value_name = "PROFILE")]
    profile: PathBuf,
    /// A request, PEM or DER, or '-': what it would get.
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// A value that the line adds; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::args::key_value, requires = "csr")]
    data: Vec<(String, String)>,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// Why a command about profiles did not run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileCommandError {
    /// No ready-made profile has this name.
    #[error("no ready-made profile is named '{name}'; there are {}", ready_names())]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The profile cannot be used.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The request cannot be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The file holds no request, or several.
    #[error("{}: {problem}", path.display())]
    Request {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Results cannot be written.
    #[error("cannot write to standard output; check where it goes")]
    Output {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ProfileCommandError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Output { .. } => Exit::Fault,
            _ => Exit::Usage,
        }
    }
}

fn ready_names() -> String {
    let names: Vec<&str> = READY_MADE.iter().map(|ready| ready.name).collect();
    names.join(", ")
}

/// Runs one of the commands.
///
/// # Errors
/// [`ProfileCommandError`].
pub(crate) fn run(
    command: ProfileCommand,
    console: &mut Console<'_>,
) -> Result<Exit, ProfileCommandError> {
    match command {
        ProfileCommand::List(arguments) => list(&arguments, console),
        ProfileCommand::Show(arguments) => show(&arguments, console),
        ProfileCommand::Check(arguments) => check(&arguments, console),
        ProfileCommand::Explain(arguments) => explain(&arguments, console),
    }
}

fn list(arguments: &ListArguments, console: &mut Console<'_>) -> Result<Exit, ProfileCommandError> {
    let value: Vec<Value> = READY_MADE
        .iter()
        .map(|ready| json!({"name": ready.name, "about": ready.about, "source": ready.source}))
        .collect();
    let text: String = READY_MADE
        .iter()
        .map(|ready| format!("{:<18} {} ({})\n", ready.name, ready.about, ready.source))
        .collect();
    write(console, arguments.json, &Value::Array(value), &text)?;
    Ok(Exit::Done)
}

fn show(arguments: &ShowArguments, console: &mut Console<'_>) -> Result<Exit, ProfileCommandError> {
    let Some(ready) = ReadyMade::by_name(&arguments.name) else {
        return Err(ProfileCommandError::Unknown {
            name: arguments.name.clone(),
        });
    };
    write(console, false, &Value::Null, ready.toml)?;
    Ok(Exit::Done)
}

fn check(
    arguments: &CheckArguments,
    console: &mut Console<'_>,
) -> Result<Exit, ProfileCommandError> {
    let mut exit = Exit::Done;
    for path in &arguments.files {
        let line = match Profile::read(path) {
            Ok(profile) => {
                warn(&profile, path, console);
                format!("{}: ok\n", path.display())
            }
            Err(error) => {
                exit = Exit::Usage;
                let text = crate::command::one_line(&error);
                format!("{}\n", text.strip_prefix("profile ").unwrap_or(&text))
            }
        };
        write(console, false, &Value::Null, &line)?;
    }
    Ok(exit)
}

fn warn(profile: &Profile, path: &Path, console: &mut Console<'_>) {
    for warning in profile.warnings() {
        console.note(format_args!("warning: {}: {warning}", path.display()));
    }
}

fn explain(
    arguments: &ExplainArguments,
    console: &mut Console<'_>,
) -> Result<Exit, ProfileCommandError> {
    let path = &arguments.profile;
    // A file of that name goes before a ready-made profile.
    let ready = path.to_str().and_then(ReadyMade::by_name);
    let profile = match ready {
        Some(ready) if !path.exists() => Profile::parse(ready.toml, path)?,
        _ => Profile::read(path)?,
    };
    warn(&profile, path, console);
    let Some(csr) = &arguments.csr else {
        let statements = profile.explain();
        return report(console, arguments.json, &statements, Exit::Done);
    };
    let data: BTreeMap<String, String> = arguments.data.iter().cloned().collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_s = now.map_or(0, |since| since.as_secs());
    match profile.preview(&only_request(csr)?, &data, now_s) {
        Ok(statements) => report(console, arguments.json, &statements, Exit::Done),
        Err(rejection) => report(
            console,
            arguments.json,
            &refusal(&rejection),
            Exit::Rejected,
        ),
    }
}

fn refusal(rejection: &Rejection) -> Vec<Statement> {
    vec![
        ("rejected", rejection.reason().to_owned()),
        ("number", rejection.number().to_string()),
        ("why", rejection.detail()),
        ("rule", rejection.rule().to_owned()),
        ("action", rejection.action().to_string()),
    ]
}

/// The one request in a file.
fn only_request(path: &Path) -> Result<Vec<u8>, ProfileCommandError> {
    let mut found = Vec::new();
    let _ = Inputs::open(&[path.to_owned()])?.read(&mut |item| {
        found.push(item.request);
        match found.len() {
            0..2 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    });
    let wrong = |problem: String| ProfileCommandError::Request {
        path: path.to_owned(),
        problem,
    };
    match (found.pop(), found.is_empty()) {
        (Some(request), true) => request.map_err(|error| wrong(error.to_string())),
        (Some(_), false) => Err(wrong("holds several requests; give one".to_owned())),
        (None, _) => Err(wrong("holds no request".to_owned())),
    }
}

fn report(
    console: &mut Console<'_>,
    json: bool,
    statements: &[Statement],
    exit: Exit,
) -> Result<Exit, ProfileCommandError> {
    let value: Vec<Value> = statements
        .iter()
        .map(|(what, text)| json!({"what": what, "text": text}))
        .collect();
    let text: String = statements
        .iter()
        .map(|(what, text)| format!("{what:<25} {text}\n"))
        .collect();
    write(console, json, &Value::Array(value), &text)?;
    Ok(exit)
}

fn write(
    console: &mut Console<'_>,
    json: bool,
    value: &Value,
    text: &str,
) -> Result<(), ProfileCommandError> {
    let written = console.result(json, value, text);
    written.map_err(|source| ProfileCommandError::Output { source })
}

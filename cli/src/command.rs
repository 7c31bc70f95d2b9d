//! From parsed arguments to an exit code.

mod log;

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::process::ExitCode;

use crate::args::{
    Arguments, CaCommand, CaInitArguments, Command, DemoArguments, IssueArguments, OfficerCommand,
    OfficerKeygenArguments, PermitCommand, PermitNewArguments,
};
use crate::ceremony::{self, CaPlan, CeremonyError, CreatedCa, ScriptError};
use crate::console::Console;
use crate::csr;
use crate::demo::{self, DemoError, DemoPlan};
use crate::hsm::{self, HsmError};
use crate::input::InputError;
use crate::issue::{self, IssuePlan, PermitsError};
use crate::keep::KeepError;
use crate::key::{self, KeyError};
use crate::lint::{self, LintError};
use crate::lot::{self, LotError};
use crate::officer::{self, OfficerError, PermitPlan};
use crate::profile::{self, ProfileCommandError};
use crate::records::RecordsError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// Everything was done: 0.
    Done,
    /// Some requests were rejected, or what was looked for is not there: 1.
    Rejected,
    /// Wrong usage or configuration: 2. Nothing was issued.
    Usage,
    /// A fault of the system: 3.
    Fault,
    /// The log was rolled back or forked, or somebody says so: 4. Nothing may be issued from it.
    Stop,
    /// A token refused the PIN, now or before: 5. Starting again does not help, and a service must not.
    Pin,
    /// Ended by this signal: 128 and its number.
    Interrupted(u8),
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Rejected => 1,
            Exit::Usage => 2,
            Exit::Fault => 3,
            Exit::Stop => 4,
            Exit::Pin => 5,
            Exit::Interrupted(signal) => signal.saturating_add(128),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// Runs the command. An error is written to `console.err` in one line.
pub fn run(arguments: Arguments, console: &mut Console<'_>) -> Exit {
    match dispatch(arguments.command, console) {
        Ok(exit) => exit,
        // Whoever reads the output has seen enough, as in `birthmark log show … | head`.
        // `issue` never gets here with this: it accounts for results that nobody reads.
        Err(
            CommandError::Output { source }
            | CommandError::Keep(KeepError::Output { source })
            | CommandError::Key(KeyError::Output { source })
            | CommandError::Lot(LotError::Output { source })
            | CommandError::Hsm(HsmError::Output { source })
            | CommandError::Script(ScriptError::Output { source })
            | CommandError::Profile(ProfileCommandError::Output { source }),
        ) if source.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            console.note(format_args!("error: {}", one_line(&error)));
            error.exit()
        }
    }
}

/// Why a command did not run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// An input cannot be used.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A permit cannot be used.
    #[error(transparent)]
    Permits(#[from] PermitsError),
    /// An officer's command failed.
    #[error(transparent)]
    Officer(#[from] OfficerError),
    /// `--data` gives one key two values.
    #[error("--data gives '{key}' more than once; give each key one value")]
    DataTwice {
        /// The key.
        key: String,
    },
    /// `--profile` names none of the configuration's.
    #[error("no profile is named '{name}'; the configuration has {known}")]
    UnknownProfile {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The configuration or something it names cannot be used.
    #[error(transparent)]
    Configuration(#[from] birthmark_engine::ConfigurationError),
    /// The engine did not open.
    #[error(transparent)]
    OpenEngine(#[from] birthmark_engine::OpenError),
    /// The log did not open for a command of its own.
    #[error(transparent)]
    OpenLog(#[from] birthmark_log::OpenError),
    /// The engine did not close cleanly.
    #[error(transparent)]
    CloseEngine(#[from] birthmark_engine::CloseError),
    /// The ceremony failed.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// The demonstration failed.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// The log cannot be read or is damaged.
    #[error(transparent)]
    Log(#[from] birthmark_log::VerifyError),
    /// A command over the log fails or refuses.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// A command on generated keys fails.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A command on lots fails.
    #[error(transparent)]
    Lot(#[from] LotError),
    /// The log could not be kept as asked.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// A record of the log is not one.
    #[error("record {index} cannot be read; use the version that wrote it")]
    Record {
        /// Its position in the log.
        index: u64,
        /// Why.
        #[source]
        source: birthmark_engine::record::RecordError,
    },
    /// A command on an HSM fails or refuses.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// Certificates cannot be linted as asked.
    #[error(transparent)]
    Lint(#[from] LintError),
    /// A command about profiles fails or refuses.
    #[error(transparent)]
    Profile(#[from] ProfileCommandError),
    /// A scripted ceremony stopped or failed.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// The system refused signal handlers, or a thread.
    #[error("cannot watch for signals or events; check the limits of this process")]
    Signals {
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

impl CommandError {
    pub(crate) fn output(source: io::Error) -> CommandError {
        CommandError::Output { source }
    }

    /// Usage and configuration are told apart from faults of the system.
    fn exit(&self) -> Exit {
        match self {
            CommandError::Officer(OfficerError::Sign { .. }) => Exit::Fault,
            CommandError::Configuration(birthmark_engine::ConfigurationError::Signer(error)) => {
                pin_exit(error).unwrap_or(Exit::Usage)
            }
            CommandError::Input(_)
            | CommandError::Lint(_)
            | CommandError::Permits(_)
            | CommandError::Officer(_)
            | CommandError::DataTwice { .. }
            | CommandError::UnknownProfile { .. }
            | CommandError::Configuration(_) => Exit::Usage,
            CommandError::Ceremony(error) | CommandError::Demo(DemoError::Ceremony(error)) => {
                ceremony_exit(error)
            }
            CommandError::Demo(
                DemoError::NotADemo { .. } | DemoError::SoftHsm(_) | DemoError::NetworkHsm(_),
            ) => Exit::Usage,
            CommandError::OpenEngine(error) => open_exit(error),
            CommandError::Keep(error) => error.exit(),
            CommandError::Key(error) => error.exit(),
            CommandError::Lot(error) => error.exit(),
            CommandError::Records(error) => error.exit(),
            CommandError::Hsm(error) => error.exit(),
            CommandError::Script(error) => error.exit(),
            CommandError::Profile(error) => error.exit(),
            CommandError::OpenLog(birthmark_log::OpenError::Missing { .. })
            | CommandError::Log(birthmark_log::VerifyError::Missing { .. }) => Exit::Usage,
            _ => Exit::Fault,
        }
    }
}

/// What a person typed or a token's owner arranged is usage; disk and device are the system.
pub(crate) fn ceremony_exit(error: &CeremonyError) -> Exit {
    match error {
        CeremonyError::Exists { .. }
        | CeremonyError::RootSubject { .. }
        | CeremonyError::SameSubject
        | CeremonyError::NotRsa { .. }
        | CeremonyError::Origin { .. }
        | CeremonyError::NoKeyIdentifier { .. }
        | CeremonyError::Chain(_)
        | CeremonyError::Issuer(_)
        | CeremonyError::OtherRoot { .. }
        | CeremonyError::RootNotStated { .. }
        | CeremonyError::Location { .. }
        | CeremonyError::Activation(_) => Exit::Usage,
        CeremonyError::OpenSigner { source, .. }
        | CeremonyError::Generate {
            source: birthmark_hsm::GenerateError::Open(source),
            ..
        } => pin_exit(source).unwrap_or(Exit::Usage),
        CeremonyError::Generate { .. } => Exit::Usage,
        CeremonyError::Hsm(error) => error.exit(),
        CeremonyError::KeysLeft { source, .. } => ceremony_exit(source),
        _ => Exit::Fault,
    }
}

/// The exit code of its own that a refused PIN has, for `RestartPreventExitStatus` of systemd.
pub(crate) fn pin_exit(error: &birthmark_hsm::OpenError) -> Option<Exit> {
    match error {
        birthmark_hsm::OpenError::Pin(error) if error.is_lasting() => Some(Exit::Pin),
        _ => None,
    }
}

/// A log that is not there is a wrong configuration; a log in use, damaged or full is a fault.
fn open_exit(error: &birthmark_engine::OpenError) -> Exit {
    use birthmark_engine::OpenError;
    use birthmark_engine::device_key::DeviceKeysOpenError;
    use birthmark_log::OpenError as LogOpenError;
    match error {
        OpenError::Issuer(_)
        | OpenError::Profiles(_)
        | OpenError::Lots(_)
        | OpenError::NoOfficer { .. }
        | OpenError::OfficersOfOtherLog { .. }
        | OpenError::Range { .. }
        | OpenError::DeviceKeys(
            DeviceKeysOpenError::NoDelivery { .. } | DeviceKeysOpenError::Recipient(_),
        ) => Exit::Usage,
        OpenError::Log(LogOpenError::Missing { .. } | LogOpenError::Option { .. }) => Exit::Usage,
        _ => Exit::Fault,
    }
}

fn dispatch(command: Command, console: &mut Console<'_>) -> Result<Exit, CommandError> {
    match command {
        Command::Demo(DemoArguments {
            count,
            signer,
            dir,
            json,
        }) => demo::run(
            &DemoPlan {
                count,
                signer,
                directory: dir,
                json,
            },
            console,
        ),
        Command::Ca(CaCommand::Init(arguments)) => ca_init(arguments, console),
        Command::Ca(CaCommand::Csr(arguments)) => ceremony::commands::csr(arguments, console),
        Command::Ca(CaCommand::Install(arguments)) => {
            ceremony::commands::install_ca(arguments, console)
        }
        Command::Ca(CaCommand::Ceremony(arguments)) => {
            Ok(ceremony::scripted::run(arguments, console)?)
        }
        Command::Hsm(command) => Ok(hsm::run(command, console)?),
        Command::Key(command) => Ok(key::run(command, console)?),
        Command::Lot(command) => Ok(lot::run(command, console)?),
        Command::Issue(arguments) => issue::run(&issue_plan(arguments)?, console),
        Command::Csr(command) => csr::run(command, console),
        Command::Officer(OfficerCommand::Keygen(OfficerKeygenArguments { name, out })) => {
            officer::keygen(&name, &out, console)
        }
        Command::Permit(PermitCommand::New(arguments)) => {
            officer::new_permit(&permit_plan(arguments), console)
        }
        Command::Lint(arguments) => lint::run(&arguments, console),
        Command::Profile(command) => Ok(profile::run(command, console)?),
        Command::Log(command) => log::run(command, console),
    }
}

fn issue_plan(arguments: IssueArguments) -> Result<IssuePlan, CommandError> {
    let IssueArguments {
        config,
        profile,
        data,
        lot,
        line,
        permit,
        quiet,
        json,
        generate,
        inputs,
    } = arguments;
    Ok(IssuePlan {
        config,
        profile,
        data: each_once(data)?,
        lot,
        line,
        inputs,
        permits: permit,
        generate,
        quiet,
        json,
    })
}

fn permit_plan(arguments: PermitNewArguments) -> PermitPlan {
    let PermitNewArguments {
        config,
        profile,
        identity,
        replaces,
        key_fingerprint,
        // The grammar wants exactly one of the two.
        any_key: _,
        valid,
        reason,
        officer_key,
        out,
    } = arguments;
    PermitPlan {
        config,
        profile,
        identity,
        replaces,
        key_fingerprint: key_fingerprint.map(|fingerprint| fingerprint.0),
        valid,
        reason,
        officer_key,
        out,
    }
}

/// The line's values, each key once.
pub(crate) fn each_once(
    data: Vec<(String, String)>,
) -> Result<BTreeMap<String, String>, CommandError> {
    let mut values = BTreeMap::new();
    for (key, value) in data {
        if values.insert(key.clone(), value).is_some() {
            return Err(CommandError::DataTwice { key });
        }
    }
    Ok(values)
}

fn ca_init(arguments: CaInitArguments, console: &mut Console<'_>) -> Result<Exit, CommandError> {
    let mut plan = CaPlan::new(arguments.dir, arguments.subject);
    plan.root_subject = arguments.root_subject;
    plan.algorithm = arguments.algorithm;
    plan.rsa_signature = arguments.signature;
    plan.signer = ceremony::commands::with_pin(arguments.signer)?;
    plan.root_signer = ceremony::commands::with_pin(arguments.root_signer)?;
    plan.origin = arguments.station.origin;
    plan.sessions = arguments.station.sessions.map(usize::from);
    plan.key_copy = arguments.station.key_copy;
    plan.activation = arguments.station.activation;
    let created = ceremony::create(&plan)?;
    let text = if arguments.json {
        serde_json::to_string_pretty(&created)
            .map(|text| text + "\n")
            .unwrap_or_default()
    } else {
        created_text(&created)
    };
    let written = console
        .out
        .write_all(text.as_bytes())
        .and_then(|()| console.out.flush());
    written.map_err(CommandError::output)?;
    Ok(Exit::Done)
}

fn created_text(created: &CreatedCa) -> String {
    let on_token = || "on the token, not extractable".to_owned();
    let key = |path: &Option<std::path::PathBuf>| {
        path.as_ref()
            .map_or_else(on_token, |path| path.display().to_string())
    };
    let mut text = format!(
        "root CA        {}\n  certificate  {}\n  key          {}\n\
         issuing CA     {}\n  certificate  {}\n  key          {}\n\
         log            {}\n  origin       {}\nconfiguration  {}\n",
        created.root_subject,
        created.root_certificate.display(),
        key(&created.root_key),
        created.issuing_subject,
        created.issuing_certificate.display(),
        key(&created.issuing_key),
        created.log.display(),
        created.log_origin,
        created.configuration.display(),
    );
    if let Some(root_key) = &created.root_key {
        text.push_str(&format!(
            "\nTake the root key offline now: copy {} to two offline media, test them, delete it \
             here.\n",
            root_key.display()
        ));
    }
    text
}

/// The error and its causes, joined by ": ", in one line. A cause that the text names already is
/// not repeated.
#[must_use]
pub fn one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_joined_once_and_in_one_line() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open it: {0}")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("disk\n  gone")]
        struct Inner(#[source] io::Error);
        let error = Outer(Inner(io::Error::other("EIO")));
        assert_eq!(one_line(&error), "cannot open it: disk gone: EIO");
    }

    #[test]
    fn codes() {
        use Exit::{Done, Fault, Interrupted, Pin, Rejected, Stop, Usage};
        let exits = [Done, Rejected, Usage, Fault, Stop, Pin, Interrupted(2)];
        assert_eq!(exits.map(Exit::code), [0, 1, 2, 3, 4, 5, 130]);
    }
}

//! `birthmark log …`, from parsed arguments to the command.

use super::{CommandError, Exit};
use crate::args::{LogCommand, LogExportArguments, LogProofArguments, LogVerifyArguments};
use crate::console::Console;
use crate::keep;
use crate::records::{
    self, ExportFormat, ExportPlan, ProofPlan, ProofSubject, Selection, VerifyPlan,
};

pub(super) fn run(command: LogCommand, console: &mut Console<'_>) -> Result<Exit, CommandError> {
    match command {
        LogCommand::Verify(LogVerifyArguments {
            dir,
            signatures,
            issuer: issuers,
            vkey,
            threads,
            json,
        }) => {
            let plan = VerifyPlan {
                dir,
                signatures,
                issuers,
                vkey,
                threads: threads.map(usize::from),
                json,
            };
            records::verify(&plan, console)
        }
        LogCommand::Show(arguments) => {
            let selection = match (arguments.index, arguments.serial) {
                (Some(index), _) => Selection::Index(index),
                (None, Some(serial)) => Selection::Serial(serial.0),
                (None, None) => Selection::Newest(arguments.limit),
            };
            records::show(&arguments.dir, &selection, arguments.json, console)
        }
        LogCommand::Vkey(arguments) => records::vkey(&arguments.dir, arguments.json, console),
        LogCommand::Checkpoint(arguments) => records::checkpoint(
            &arguments.dir,
            arguments.vkey.as_deref(),
            arguments.json,
            console,
        ),
        LogCommand::Proof(arguments) => log_proof(arguments, console),
        LogCommand::VerifyProof(arguments) => records::verify_proof(
            &arguments.receipt,
            &arguments.cert,
            &arguments.vkey,
            arguments.json,
            console,
        ),
        LogCommand::Consistency(arguments) => records::consistency(
            &arguments.dir,
            &arguments.old,
            &arguments.new,
            arguments.vkey.as_deref(),
            arguments.json,
            console,
        ),
        LogCommand::Export(arguments) => log_export(arguments, console),
        LogCommand::Keep(command) => Ok(keep::run(command, console)?),
        LogCommand::Reindex(arguments) => records::reindex(&arguments.dir, console),
    }
}

fn log_proof(
    arguments: LogProofArguments,
    console: &mut Console<'_>,
) -> Result<Exit, CommandError> {
    let subject = arguments.subject;
    // The grammar wants exactly one of them.
    let subject = match (subject.cert, subject.serial) {
        (Some(path), _) => ProofSubject::Certificate(path),
        (None, Some(serial)) => ProofSubject::Serial(serial.0),
        (None, None) => ProofSubject::Index(subject.index.unwrap_or_default()),
    };
    let plan = ProofPlan {
        dir: arguments.dir,
        subject,
        out: arguments.out,
        bare: arguments.bare,
        vkey: arguments.vkey,
    };
    records::prove(&plan, console)
}

fn log_export(
    arguments: LogExportArguments,
    console: &mut Console<'_>,
) -> Result<Exit, CommandError> {
    // The grammar wants exactly one of them.
    let format = match (arguments.format.csv, arguments.format.pem) {
        (true, _) => ExportFormat::Csv,
        (false, true) => ExportFormat::Pem,
        (false, false) => ExportFormat::Ndjson,
    };
    let plan = ExportPlan {
        dir: arguments.dir,
        format,
        profile: arguments.profile,
        lot: arguments.lot,
        since_ms: arguments.since,
        out: arguments.out,
    };
    records::export(&plan, console)
}

//! `birthmark ca ceremony`: a ceremony by a plan that was reviewed and approved before.
//!
//! A plan is a TOML file. Its signers approve it, as it is byte for byte, by signed notes beside it. Run, it shows each
//! step, asks, does it, and records it in a transcript that is signed in the end. An interrupted ceremony goes on where
//! it stopped.

mod approval;
mod args;
mod encrypted;
mod error;
mod keys;
mod note;
mod perform;
mod plan;
mod raw_step;
mod recorded;
mod sequence;
mod step;
mod transcript;
mod verify;

use std::io::{self, BufRead, Read};
use std::path::Path;

use birthmark_hsm::{PublicKey, SigningPool};
use birthmark_log::tlog::VerifierKey;

use crate::ceremony::certificate::signed;
use crate::ceremony::files::write_whole;
use crate::command::Exit;
use crate::console::Console;

use approval::Approvals;
use keys::KeyRing;
use note::Officer;
use perform::Performer;
use plan::{Plan, TranscriptSigner};
use recorded::{Recorded, file_sha256};
use step::{Step, shown};
use transcript::{Event, Journal, Line};

pub(crate) use args::CeremonyArguments;
pub use error::ScriptError;

/// Longest answer read, in bytes.
const ANSWER_BYTES_MAX: u64 = 1024;

/// What has to be typed.
const YES: &str = "yes";

/// Runs one of the commands; answers come from standard input.
///
/// # Errors
/// [`ScriptError`].
pub(crate) fn run(
    arguments: CeremonyArguments,
    console: &mut Console<'_>,
) -> Result<Exit, ScriptError> {
    match arguments.command {
        Some(args::CeremonyCommand::Check(check)) => {
            let plan = Plan::read(&check.plan)?;
            let ceremony = Journal::ceremony_of(&plan)?;
            let approvals = match &ceremony {
                Some(ceremony) => Approvals::read(&plan, ceremony)?,
                None => Approvals::default(),
            };
            print(console, &explain(&plan, ceremony.as_deref(), &approvals))
        }
        Some(args::CeremonyCommand::Open(open)) => {
            let plan = Plan::read(&open.plan)?;
            if plan.transcript.exists() {
                return done_already(&plan, console);
            }
            let journal = Journal::open(&plan)?;
            print(console, &named(&plan, journal.ceremony()))
        }
        Some(args::CeremonyCommand::Approve(approve)) => {
            let plan = Plan::read(&approve.plan)?;
            let ceremony = ceremony_to_approve(&plan, approve.ceremony)?;
            let path = approval::approve(&plan, &ceremony, &approve.key)?;
            let text = format!("{}approval  {}\n", named(&plan, &ceremony), path.display());
            print(console, &text)
        }
        Some(args::CeremonyCommand::Verify(question)) => {
            let plan = Plan::read(&question.plan)?;
            let transcript = question.transcript.as_ref().unwrap_or(&plan.transcript);
            let text = verify::verify(&verify::Question {
                plan: &plan,
                transcript,
                signers: &question.signer,
                vkey: question.vkey.as_deref(),
            })?;
            print(console, &text)
        }
        None => {
            let path = arguments.plan.ok_or(ScriptError::NoPlan)?;
            let plan = Plan::read(&path)?;
            let mut answers = io::stdin().lock();
            carry_out(&plan, arguments.key.as_deref(), &mut answers, console)
        }
    }
}

/// What is approved.
fn named(plan: &Plan, ceremony: &str) -> String {
    format!(
        "plan      {}\nsha256    {}\nceremony  {ceremony}\n",
        plan.path.display(),
        plan.sha256,
    )
}

/// The id that was given, or that of the ceremony that has begun here; both are the same where both are there.
fn ceremony_to_approve(plan: &Plan, given: Option<String>) -> Result<String, ScriptError> {
    let begun = Journal::ceremony_of(plan)?;
    match (begun, given) {
        (None, None) => Err(ScriptError::NotOpened),
        (Some(begun), None) => Ok(begun),
        (begun, Some(given)) => {
            let fits = begun.is_none_or(|begun| begun == given);
            let fits = fits && sequence::is_hex(&given, sequence::ID_BYTES);
            fits.then_some(given).ok_or(ScriptError::CeremonyId)
        }
    }
}

/// The whole plan for people.
fn explain(plan: &Plan, ceremony: Option<&str>, approvals: &Approvals) -> String {
    let mut text = format!(
        "ceremony    {}, {}\npurpose     {}\nplan        {}\nsha256      {}\ntranscript  {}, signed by {}\n\
         approval    {} of {} signers:\n",
        plan.name,
        ceremony.unwrap_or("not begun"),
        shown(&plan.purpose),
        plan.path.display(),
        plan.sha256,
        plan.transcript.display(),
        match &plan.transcript_signer {
            TranscriptSigner::Officer => "a signer of the plan".to_owned(),
            TranscriptSigner::Key(name) => format!("the key '{}'", shown(name)),
        },
        plan.threshold,
        plan.signers.len(),
    );
    for signer in &plan.signers {
        let approved = approvals.has(signer.name());
        let mark = if approved { "approved" } else { "not yet" };
        text.push_str(&format!("  {:<9} {}\n", mark, signer.name()));
    }
    for problem in &approvals.not_counted {
        text.push_str(&format!("  does not count: {problem}\n"));
    }
    text.push_str("steps:\n");
    for (index, step) in plan.steps.iter().enumerate() {
        let approval = if step.needs_approval {
            " [needs approval]"
        } else {
            ""
        };
        let sentence = step.action.explain(&plan.keys);
        text.push_str(&format!("  {:>2}. {sentence}{approval}\n", index + 1));
    }
    text
}

fn done_already(plan: &Plan, console: &mut Console<'_>) -> Result<Exit, ScriptError> {
    let path = plan.transcript.display();
    print(console, &format!("done already\ntranscript  {path}\n"))
}

fn carry_out(
    plan: &Plan,
    key: Option<&Path>,
    answers: &mut dyn BufRead,
    console: &mut Console<'_>,
) -> Result<Exit, ScriptError> {
    let officer = match (&plan.transcript_signer, key) {
        (TranscriptSigner::Officer, Some(key)) => Some(Officer::read(key, &plan.signers)?),
        (TranscriptSigner::Officer, None) => return Err(ScriptError::NoOfficer),
        (TranscriptSigner::Key(_), None) => None,
        (TranscriptSigner::Key(_), Some(_)) => return Err(ScriptError::OfficerNotNeeded),
    };
    if plan.transcript.exists() {
        return done_already(plan, console);
    }
    let mut journal = Journal::open(plan)?;
    let mut performer = Performer {
        plan,
        keys: KeyRing::new(plan),
        recorded: Recorded::default(),
    };
    recall(plan, &journal, &mut performer)?;
    // A key that exists is of a kind that the plan does not tell: better known now than in the end.
    if let TranscriptSigner::Key(name) = &plan.transcript_signer
        && plan
            .keys
            .get(name)
            .is_some_and(|key| key.algorithm.is_none())
    {
        ed25519(&performer.keys.open(name)?, name)?;
    }
    let done = journal.done();
    if done > 0 {
        console.note(format_args!(
            "{done} of {} steps are done already",
            plan.steps.len()
        ));
    }
    for (index, step) in plan.steps.iter().enumerate().skip(done) {
        let number = index + 1;
        one_step(
            plan,
            number,
            step,
            (&mut journal, &mut performer),
            answers,
            console,
        )?;
    }
    if !journal.is_closed() {
        journal.append(plan, Line::now(Event::Closed))?;
    }
    let vkey = write_transcript(plan, &journal, officer.as_ref(), &mut performer.keys)?;
    let digest = file_sha256(&plan.transcript)?;
    journal.remove()?;
    let path = plan.transcript.display();
    print(
        console,
        &format!("done\ntranscript  {path}\nsha256      {digest}\nsigned by   {vkey}\n"),
    )
}

/// Shows a step, has it approved and agreed to, does it and records it.
fn one_step(
    plan: &Plan,
    number: usize,
    step: &Step,
    (journal, performer): (&mut Journal, &mut Performer<'_>),
    answers: &mut dyn BufRead,
    console: &mut Console<'_>,
) -> Result<(), ScriptError> {
    let count = plan.steps.len();
    console.note(format_args!(
        "\nstep {number} of {count}: {}",
        step.action.explain(&plan.keys)
    ));
    let again = journal.was_begun(number);
    // Those of a step that was begun are in the journal, and were verified with it.
    let mut approvals = Approvals::default();
    if step.needs_approval && !again {
        // Read now: an approval may have come meanwhile.
        approvals = Approvals::read(plan, journal.ceremony())?;
        approvals.check(plan)?;
        console.note(format_args!("approved by {}", approvals.names().join(", ")));
    }
    if again {
        console.note(format_args!(
            "this step was begun before and not finished: what it made is checked and kept"
        ));
    }
    console.note(format_args!("type '{YES}' to do it:"));
    let mut answer = String::new();
    // An answer that cannot be read is none.
    let _ = answers.take(ANSWER_BYTES_MAX).read_line(&mut answer);
    if answer.trim() != YES {
        return Err(ScriptError::Stopped { step: number });
    }
    let failed = |source: ScriptError| ScriptError::Step {
        step: number,
        source: Box::new(source),
    };
    if !again {
        if let Some(what) = performer.in_the_way(&step.action).map_err(failed)? {
            return Err(ScriptError::Exists { step: number, what });
        }
        begin(plan, number, step, approvals, journal)?;
    }
    let made = performer.perform(&step.action, again).map_err(failed)?;
    for (path, digest) in made.files.iter().chain(&made.copies) {
        console.note(format_args!("  {path}  SHA-256 {digest}"));
    }
    for (name, digest) in &made.keys {
        console.note(format_args!("  key '{name}'  SHA-256 {digest}"));
    }
    performer.recorded.add(plan, number, &made);
    let done = Line {
        step: Some(number),
        action: Some(step.action.name().to_owned()),
        made,
        ..Line::now(Event::Done)
    };
    journal.append(plan, done)
}

/// Records that a step begins, with the approvals that it rests on.
fn begin(
    plan: &Plan,
    number: usize,
    step: &Step,
    approvals: Approvals,
    journal: &mut Journal,
) -> Result<(), ScriptError> {
    let approved_by = approvals.names();
    for (signer, note) in approvals.by {
        if !journal.has_approval(&signer) {
            let approved = Line {
                signer: Some(signer),
                approval: Some(note),
                ..Line::now(Event::Approved)
            };
            journal.append(plan, approved)?;
        }
    }
    let begun = Line {
        step: Some(number),
        action: Some(step.action.name().to_owned()),
        approved_by,
        ..Line::now(Event::Begun)
    };
    journal.append(plan, begun)
}

/// What earlier runs made, checked: every file is as it was, and every key is known.
fn recall(
    plan: &Plan,
    journal: &Journal,
    performer: &mut Performer<'_>,
) -> Result<(), ScriptError> {
    let done = journal.lines().iter();
    for line in done.filter(|line| line.event == Event::Done) {
        let step = line.step.unwrap_or_default();
        performer.recorded.add(plan, step, &line.made);
        for (name, digest) in &line.made.keys {
            performer.keys.remember(name, digest.clone());
        }
    }
    // The one step that may be half done may have removed what it was about to.
    let begun = plan.steps.get(journal.done());
    let begun = begun.filter(|_| journal.was_begun(journal.done() + 1));
    let goes = begun.and_then(|step| step.action.removed(&plan.keys));
    performer.recorded.compare_all(plan, goes)
}

/// Signs everything and writes it; gives the key that it can be checked with.
fn write_transcript(
    plan: &Plan,
    journal: &Journal,
    officer: Option<&Officer<'_>>,
    keys: &mut KeyRing<'_>,
) -> Result<VerifierKey, ScriptError> {
    let text = journal.whole(plan)?.to_owned();
    let (note, key) = match (officer, &plan.transcript_signer) {
        (Some(officer), _) => (officer.sign(text)?, officer.verifier.clone()),
        (None, TranscriptSigner::Key(name)) => {
            let pool = keys.open(name)?;
            let key = VerifierKey::ed25519(&plan.name, ed25519(&pool, name)?);
            let key = key.map_err(|source| ScriptError::NoteKey { source })?;
            let signature = signed(&pool, text.as_bytes())?;
            (note::note(text, &key, signature.as_bytes())?, key)
        }
        (None, TranscriptSigner::Officer) => return Err(ScriptError::NoOfficer),
    };
    write_whole(&plan.transcript, note.as_bytes())?;
    Ok(key)
}

/// The public half of a key that can sign notes.
fn ed25519(pool: &SigningPool, name: &str) -> Result<[u8; 32], ScriptError> {
    match pool.public_key() {
        PublicKey::Ed25519(public) => Ok(*public),
        _ => Err(ScriptError::NotEd25519 {
            name: name.to_owned(),
        }),
    }
}

fn print(console: &mut Console<'_>, text: &str) -> Result<Exit, ScriptError> {
    let written = console
        .out
        .write_all(text.as_bytes())
        .and_then(|()| console.out.flush());
    written.map_err(|source| ScriptError::Output { source })?;
    Ok(Exit::Done)
}

//! `birthmark ca ceremony verify`: what a transcript proves, to whoever has it, the plan and the officers' public
//! keys. No key of the CA is used, and nothing is believed that no signature covers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use birthmark_hsm::PublicKey;
use birthmark_log::tlog::{Note, VerifierKey};

use super::ScriptError;
use super::keys::read_whole;
use super::plan::{Plan, TranscriptSigner};
use super::recorded::file_sha256;
use super::sequence::Sequence;
use super::step::shown;
use super::transcript::{Event, Line};
use crate::ceremony::certificate::public_key_sha256;
use crate::ceremony::chain;
use crate::ceremony::install::certificate_sha256;
use crate::hex;

/// What is verified, and with whose keys.
pub(super) struct Question<'a> {
    pub(super) plan: &'a Plan,
    pub(super) transcript: &'a Path,
    /// The officers' verifier keys from elsewhere than the plan; none: the plan's are taken.
    pub(super) signers: &'a [String],
    /// The verifier key of the plan's key that signed the transcript, where no officer did.
    pub(super) vkey: Option<&'a str>,
}

/// Verifies everything and tells what that proves, for people.
///
/// # Errors
/// The first thing that does not hold.
pub(super) fn verify(question: &Question<'_>) -> Result<String, ScriptError> {
    let plan = question.plan;
    compare_signers(plan, question.signers)?;
    let wrong = |problem: String| ScriptError::Transcript {
        path: question.transcript.to_owned(),
        problem,
    };
    let bytes = read_whole(question.transcript)?;
    let note = Note::parse(&bytes).map_err(|error| wrong(error.to_string()))?;
    // What is not covered by the signature is the signature's own line, in its one spelling.
    if note.signatures.len() != 1 || note.to_string().as_bytes() != bytes.as_slice() {
        return Err(wrong(
            "it is not one signed text, as this program writes it".to_owned(),
        ));
    }
    let signer = signer(question, &note)?;
    let (sequence, lines) = Sequence::read(plan, &note.text)
        .map_err(|(line, problem)| wrong(format!("line {line}: {problem}")))?;
    if !sequence.closed {
        return Err(wrong("the ceremony has not ended in it".to_owned()));
    }
    if let TranscriptSigner::Key(name) = &plan.transcript_signer {
        let key = public_key_sha256(&PublicKey::Ed25519(*signer.public_key()));
        if key.is_none() || key != key_in(plan, &lines, name) {
            let name = shown(name);
            return Err(wrong(format!(
                "it is not signed by the ceremony's key '{name}'"
            )));
        }
    }
    let mut text = format!(
        "plan        {}\nsha256      {}\ntranscript  {}\nceremony    {}\n\nproved:\n",
        plan.path.display(),
        plan.sha256,
        question.transcript.display(),
        sequence.ceremony
    );
    proofs(&mut text, plan, &signer, &lines);
    text.push_str("\nhere, compared with the SHA-256 in the transcript:\n");
    compare_files(&mut text, plan, &lines, &wrong)?;
    not_proved(&mut text, question);
    Ok(text)
}

/// The plan's officers are those whose keys were brought.
fn compare_signers(plan: &Plan, brought: &[String]) -> Result<(), ScriptError> {
    if brought.is_empty() {
        return Ok(());
    }
    let mut keys = Vec::with_capacity(brought.len());
    for text in brought {
        let key: VerifierKey = text
            .trim()
            .parse()
            .map_err(|source| ScriptError::SignerKey { source })?;
        keys.push(key);
    }
    let missing = |among: &[VerifierKey], of: &[VerifierKey]| {
        let found = of.iter().find(|key| !among.contains(key));
        found.map(|key| key.name().to_owned())
    };
    match missing(&keys, &plan.signers).or_else(|| missing(&plan.signers, &keys)) {
        Some(name) => Err(ScriptError::OtherSigners { name }),
        None => Ok(()),
    }
}

/// Whoever signed the note, which verifies.
fn signer(question: &Question<'_>, note: &Note) -> Result<VerifierKey, ScriptError> {
    let plan = question.plan;
    let brought = match (&plan.transcript_signer, question.vkey) {
        (TranscriptSigner::Officer, None) => None,
        (TranscriptSigner::Key(_), Some(text)) => {
            let key = text.trim().parse::<VerifierKey>();
            Some(key.map_err(|source| ScriptError::SignerKey { source })?)
        }
        (TranscriptSigner::Officer, Some(_)) => return Err(ScriptError::VkeyNotNeeded),
        (TranscriptSigner::Key(_), None) => return Err(ScriptError::NoVkey),
    };
    let mut keys = brought.iter().chain(match brought {
        Some(_) => &[],
        None => &plan.signers[..],
    });
    let signer = keys.find(|key| note.verified_by(key).is_ok());
    signer.cloned().ok_or_else(|| ScriptError::Transcript {
        path: question.transcript.to_owned(),
        problem: "no signature of whoever signs it by the plan verifies: it was changed, or signed by somebody else"
            .to_owned(),
    })
}

/// SHA-256 of a key of the ceremony: as it was made, or as the plan has it.
fn key_in(plan: &Plan, lines: &[Line], name: &str) -> Option<String> {
    let made = lines.iter().find_map(|line| line.made.keys.get(name));
    let existing = plan
        .keys
        .get(name)
        .and_then(|key| key.public_key_sha256.as_ref());
    made.or(existing).cloned()
}

/// A line for everything that a signature proves.
fn proofs(text: &mut String, plan: &Plan, signer: &VerifierKey, lines: &[Line]) {
    let mut line = |sentence: String| {
        let _ = writeln!(text, "  {sentence}");
    };
    let by = match &plan.transcript_signer {
        TranscriptSigner::Officer => format!("{}, a signer of the plan,", signer.name()),
        TranscriptSigner::Key(name) => format!("the key '{}' of this ceremony", shown(name)),
    };
    line(format!("The transcript is, to the byte, what {by} signed."));
    line("It is of this plan as it is here, to the byte.".to_owned());
    let time = |line: Option<&Line>| line.map_or("", |line| line.time.as_str()).to_owned();
    line(format!(
        "None of its {} lines is missing or out of order, from {} to {}.",
        lines.len(),
        time(lines.first()),
        time(lines.last())
    ));
    let mut begun = None;
    for entry in lines {
        match entry.event {
            Event::Approved => {
                let signer = entry.signer.as_deref().unwrap_or_default();
                line(format!("{signer} approved this plan for this ceremony."));
            }
            Event::Begun => begun = Some(entry),
            Event::Done => line(step_sentence(plan, begun, entry)),
            Event::Opened | Event::Closed => {}
        }
    }
}

/// What a step did, when, and on whose approval.
fn step_sentence(plan: &Plan, begun: Option<&Line>, done: &Line) -> String {
    let number = done.step.unwrap_or_default();
    let mut sentence = format!("Step {number}, ");
    match begun.map(|line| line.approved_by.join(", ")) {
        Some(names) if !names.is_empty() => {
            let _ = write!(sentence, "approved by {names}, ");
        }
        _ => {}
    }
    let _ = write!(sentence, "done {}: ", done.time);
    if let Some(step) = plan.steps.get(number.wrapping_sub(1)) {
        sentence.push_str(&step.action.explain(&plan.keys));
    }
    let digests = done
        .made
        .keys
        .iter()
        .map(|(name, digest)| (format!("key '{name}'"), digest));
    let files = done.made.files.iter().chain(&done.made.copies);
    let digests = digests.chain(files.map(|(path, digest)| (path.clone(), digest)));
    for (what, digest) in digests {
        let _ = write!(sentence, "\n    {} SHA-256 {digest}", shown(&what));
    }
    if let Some(root) = &done.made.root {
        let _ = write!(sentence, "\n    root SHA-256 {root}");
    }
    for (what, value) in &done.made.found {
        let _ = write!(sentence, "\n    {}: {}", shown(what), shown(value));
    }
    sentence
}

/// Everything that was made and is at hand is as it was made.
fn compare_files(
    text: &mut String,
    plan: &Plan,
    lines: &[Line],
    wrong: &impl Fn(String) -> ScriptError,
) -> Result<(), ScriptError> {
    let mut made: BTreeMap<&str, &str> = BTreeMap::new();
    for line in lines {
        let files = line.made.files.iter().chain(&line.made.copies);
        made.extend(files.map(|(path, digest)| (path.as_str(), digest.as_str())));
        for removed in &line.made.removed {
            made.remove(removed.as_str());
        }
    }
    for (recorded, digest) in made {
        let path: PathBuf = plan.resolve(recorded);
        let recorded = shown(recorded);
        let state = if !path.exists() {
            "not here"
        } else if file_sha256(&path)? == digest {
            "as it was made"
        } else {
            return Err(wrong(format!("{recorded} is not as the ceremony made it")));
        };
        let _ = writeln!(text, "  {recorded}: {state}");
    }
    for line in lines {
        let step = plan
            .steps
            .get(line.step.unwrap_or_default().wrapping_sub(1));
        let file = step.and_then(|step| step.action.root_file());
        if let (Some(root), Some(file)) = (&line.made.root, file)
            && file.exists()
            && !is_certificate(&file, root)
        {
            let file = shown(&plan.record(&file));
            return Err(wrong(format!(
                "{file} is not the root that the transcript names"
            )));
        }
    }
    Ok(())
}

/// Whether the file has the one certificate with this SHA-256.
fn is_certificate(file: &Path, sha256: &str) -> bool {
    let certificate = chain::read_one(file).ok();
    let digest = certificate.and_then(|found| certificate_sha256(&found).ok());
    digest.is_some_and(|digest| hex::encode(&digest) == sha256)
}

fn not_proved(text: &mut String, question: &Question<'_>) {
    text.push_str(
        "\nnot proved:\n  That what is done by hand was done, and what the ceremony's machine said is so: its clock, what it \
         found,\n  that no other copy of a destroyed key is left.\n",
    );
    if let TranscriptSigner::Key(name) = &question.plan.transcript_signer {
        let _ = writeln!(
            text,
            "  That the key '{name}', which signed, is that of the real ceremony: whoever has the plan and the approvals can write\n  \
             a transcript with a key of their own. Compare the vkey with the one that those who were there wrote down."
        );
    }
    if question.signers.is_empty() {
        text.push_str(
            "  That the plan's signers have these keys; compare, or give them with --signer:\n",
        );
        for signer in &question.plan.signers {
            let _ = writeln!(text, "    {signer}");
        }
    }
}

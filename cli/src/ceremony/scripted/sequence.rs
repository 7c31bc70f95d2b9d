//! Whether the lines of a journal or transcript are those of a ceremony by its plan.
//!
//! Each line names the SHA-256 of the one before, times do not go back, steps begin and end in the plan's order, every
//! approval is a signature over this plan and this ceremony, and each step tells what the plan has it make. Whoever
//! writes a journal by hand can do all that but for the approvals; without them no step that needs them is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256};
use der::DateTime;

use super::approval;
use super::plan::Plan;
use super::step::{Action, Step};
use super::transcript::{Event, FORMAT, Line, Made};
use crate::hex;

/// Bytes of a ceremony's id: random, so that no two ceremonies share one.
pub(super) const ID_BYTES: usize = 16;

const DIGEST_BYTES: usize = 32;

/// How far the lines go that were read.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    /// The ceremony's id, hexadecimal.
    pub(super) ceremony: String,
    /// Signers whose approval is recorded.
    pub(super) approved: Vec<String>,
    /// Steps that are done.
    pub(super) done: usize,
    /// Whether the next one was begun.
    pub(super) begun: bool,
    pub(super) closed: bool,
    /// SHA-256 of the last line, hexadecimal; `None` before the first.
    pub(super) last: Option<String>,
    time: Duration,
    /// SHA-256 of what was made, by name.
    files: BTreeMap<String, String>,
    /// SHA-256 of the certificate of every root that was made.
    roots: BTreeSet<String>,
}

impl Sequence {
    /// Reads all lines of a text that ends with a line break.
    ///
    /// # Errors
    /// The number of the first line that is wrong, from 1, and what is wrong with it.
    pub(super) fn read(plan: &Plan, text: &str) -> Result<(Sequence, Vec<Line>), (usize, String)> {
        let mut sequence = Sequence::default();
        let mut lines = Vec::new();
        for (index, raw) in text.lines().enumerate() {
            let line = sequence.next(plan, raw);
            lines.push(line.map_err(|problem| (index + 1, problem))?);
        }
        Ok((sequence, lines))
    }

    /// Reads the next line.
    ///
    /// # Errors
    /// What is wrong with it. The sequence is not to be used any more then.
    pub(super) fn next(&mut self, plan: &Plan, raw: &str) -> Result<Line, String> {
        let line: Line = serde_json::from_str(raw).map_err(|error| error.to_string())?;
        if serde_json::to_string(&line).map_err(|error| error.to_string())? != raw {
            return Err("it is not written as this program writes lines".to_owned());
        }
        if line.previous != self.last {
            return Err("it does not name the SHA-256 of the line before it".to_owned());
        }
        let time: DateTime = line
            .time
            .parse()
            .map_err(|_| format!("'{}' is no time", line.time))?;
        if time.unix_duration() < self.time {
            return Err(format!(
                "its time, {}, is before that of the line before it",
                line.time
            ));
        }
        if self.closed {
            return Err("the ceremony had ended".to_owned());
        }
        let expected = match (line.event, self.last.is_some()) {
            (Event::Opened, false) => self.opened(plan, &line)?,
            (Event::Opened, true) => return Err("the ceremony began before".to_owned()),
            (_, false) => return Err("the ceremony had not begun".to_owned()),
            (Event::Approved, true) => self.approved(plan, &line)?,
            (Event::Begun, true) => self.begun(plan, &line)?,
            (Event::Done, true) => self.done(plan, &line)?,
            (Event::Closed, true) if self.done == plan.steps.len() => {
                self.closed = true;
                Line::new(Event::Closed)
            }
            (Event::Closed, true) => return Err("not every step is done".to_owned()),
        };
        let expected = Line {
            previous: self.last.take(),
            time: line.time.clone(),
            ..expected
        };
        if line != expected {
            return Err("it says something else than such a line does in this plan".to_owned());
        }
        self.time = time.unix_duration();
        self.last = Some(line_digest(raw));
        Ok(line)
    }

    fn opened(&mut self, plan: &Plan, line: &Line) -> Result<Line, String> {
        let id = line.ceremony.as_deref().unwrap_or_default();
        if !is_hex(id, ID_BYTES) {
            return Err("the ceremony's id is missing".to_owned());
        }
        if line.plan_sha256.as_ref() != Some(&plan.sha256) {
            return Err("it is of another plan, or the plan was changed since".to_owned());
        }
        id.clone_into(&mut self.ceremony);
        Ok(Line {
            format: Some(FORMAT.to_owned()),
            plan: Some(plan.name.clone()),
            plan_sha256: Some(plan.sha256.clone()),
            ceremony: line.ceremony.clone(),
            ..Line::new(Event::Opened)
        })
    }

    fn approved(&mut self, plan: &Plan, line: &Line) -> Result<Line, String> {
        let note = line.approval.as_deref().unwrap_or_default();
        let signer = approval::signer(plan, &self.ceremony, note.as_bytes())?;
        if self.begun || self.approved.contains(&signer) {
            return Err(format!("{signer} cannot approve here, or did so before"));
        }
        self.approved.push(signer.clone());
        Ok(Line {
            signer: Some(signer),
            approval: line.approval.clone(),
            ..Line::new(Event::Approved)
        })
    }

    fn begun(&mut self, plan: &Plan, line: &Line) -> Result<Line, String> {
        let (number, step) = self.step(plan)?;
        if self.begun {
            return Err(format!("step {number} was begun before"));
        }
        if step.needs_approval {
            let by: BTreeSet<&String> = line.approved_by.iter().collect();
            if by.len() != line.approved_by.len() || by.len() < plan.threshold {
                return Err(format!(
                    "step {number} needs the approval of {} signers",
                    plan.threshold
                ));
            }
            if let Some(name) = by.into_iter().find(|name| !self.approved.contains(name)) {
                return Err(format!("no approval of {name} is recorded"));
            }
        }
        self.begun = true;
        let approved_by = match step.needs_approval {
            true => line.approved_by.clone(),
            false => Vec::new(),
        };
        Ok(Line {
            step: Some(number),
            action: Some(step.action.name().to_owned()),
            approved_by,
            ..Line::new(Event::Begun)
        })
    }

    fn done(&mut self, plan: &Plan, line: &Line) -> Result<Line, String> {
        let (number, step) = self.step(plan)?;
        if !self.begun {
            return Err(format!("step {number} was not begun"));
        }
        self.check_made(plan, step, &line.made)?;
        self.check_root(&step.action, line.made.root.as_ref())?;
        if step.action.makes_root() {
            self.roots.extend(line.made.root.clone());
        }
        for (name, sha256) in &line.made.files {
            self.files.insert(name.clone(), sha256.clone());
        }
        (self.begun, self.done) = (false, number);
        Ok(Line {
            step: Some(number),
            action: Some(step.action.name().to_owned()),
            made: line.made.clone(),
            ..Line::new(Event::Done)
        })
    }

    /// The next step, and its number from 1.
    fn step<'a>(&self, plan: &'a Plan) -> Result<(usize, &'a Step), String> {
        let step = plan.steps.get(self.done);
        let step = step.ok_or_else(|| "the plan has no more steps".to_owned())?;
        Ok((self.done + 1, step))
    }

    /// That a step tells all that the plan has it make, with digests, and nothing else.
    fn check_made(&self, plan: &Plan, step: &Step, made: &Made) -> Result<(), String> {
        let names = |digests: &BTreeMap<String, String>| digests.keys().cloned().collect();
        let record = |path: &Path| plan.record(path);
        let files = step.action.files(&plan.keys);
        let copied = step.action.copied(&plan.keys);
        let wanted: [(&str, BTreeSet<String>, BTreeSet<String>); 4] = [
            (
                "files",
                files.iter().map(|path| record(path)).collect(),
                names(&made.files),
            ),
            (
                "copies",
                copied.iter().map(|(_, copy)| record(copy)).collect(),
                names(&made.copies),
            ),
            (
                "removed files",
                step.action
                    .removed(&plan.keys)
                    .map(record)
                    .into_iter()
                    .collect(),
                made.removed.iter().cloned().collect(),
            ),
            (
                "keys",
                step.action
                    .made_key()
                    .map(str::to_owned)
                    .into_iter()
                    .collect(),
                names(&made.keys),
            ),
        ];
        for (what, wanted, found) in wanted {
            if wanted != found {
                return Err(format!("its {what} are not those of the plan"));
            }
        }
        let digests = [&made.files, &made.copies, &made.keys];
        let mut digests = digests.into_iter().flat_map(BTreeMap::values);
        if digests.any(|sha256| !is_hex(sha256, DIGEST_BYTES)) {
            return Err("it has something that is no SHA-256".to_owned());
        }
        for (file, copy) in copied {
            let known = self.files.get(&record(&file));
            if known.is_some_and(|known| made.copies.get(&record(&copy)) != Some(known)) {
                return Err(format!("{} is no copy of what was made", record(&copy)));
            }
        }
        Ok(())
    }

    /// That a step which makes or installs a root names it, and installs none but what was made or the plan states.
    fn check_root(&self, action: &Action, root: Option<&String>) -> Result<(), String> {
        let Some(root) = root else {
            return match action.root_file() {
                Some(_) => Err("it does not name its root".to_owned()),
                None => Ok(()),
            };
        };
        let right = match action {
            Action::SelfSign { .. } => is_hex(root, DIGEST_BYTES),
            Action::Install { root_sha256, .. } => match root_sha256 {
                Some(stated) => *root == hex::encode(stated),
                None => self.roots.contains(root),
            },
            _ => return Err("it names a root, and the plan has it make none".to_owned()),
        };
        match right {
            true => Ok(()),
            false => {
                Err("its root is none that was made before or that the plan states".to_owned())
            }
        }
    }
}

fn line_digest(raw: &str) -> String {
    hex::encode(digest::digest(&SHA256, raw.as_bytes()).as_ref())
}

pub(super) fn is_hex(text: &str, bytes: usize) -> bool {
    hex::decode(text).is_some_and(|found| found.len() == bytes && hex::encode(&found) == text)
}

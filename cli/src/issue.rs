//! `birthmark issue`: requests in, one line of JSON per request out.
//!
//! A thread reads the inputs; this thread submits them and writes the results in the order of
//! the inputs. At most [`WINDOWS_IN_ORDER`] engine windows of requests and results exist at any
//! time, however long the input is.

mod line;
mod permits;
mod source;
mod summary;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use birthmark_engine::record::Record;
use birthmark_engine::{
    Configuration, Engine, Fault, IssueError, IssueStatus, Issued, Pending, Request, Station,
    SubmitError,
};
use birthmark_log::RecordIndex;
use indicatif::ProgressBar;

use crate::command::{CommandError, Exit};
use crate::console::Console;
use crate::events::Events;
use crate::hsm;
use crate::input::InputRejection;
use crate::interrupt::Interrupt;

use line::Line;
use permits::Permits;
use source::{Asked, Item, Source, read_ahead};
use summary::{End, Tally, exit, report};

pub use permits::{PERMITS_MAX, PermitsError};

/// Handles kept in flight, in engine windows. One window is what the engine works on; the other
/// holds finished results that wait behind a slower one, so that the order of the
/// output does not empty the engine.
const WINDOWS_IN_ORDER: usize = 2;

/// How often an idle run looks whether it was interrupted.
const IDLE_CHECK: Duration = Duration::from_millis(100);

/// Output buffer: some forty certificates. It is written out whenever the run would wait.
const OUTPUT_BUFFER_BYTES: usize = 64 * 1024;

/// What to issue, from the command line.
#[derive(Clone, Debug)]
pub struct IssuePlan {
    /// The configuration file.
    pub config: PathBuf,
    /// The profile's name.
    pub profile: String,
    /// What the line adds to every request.
    pub data: BTreeMap<String, String>,
    /// The production order.
    pub lot: Option<String>,
    /// Who asks.
    pub line: Option<String>,
    /// Files, directories, corpora, `-`.
    pub inputs: Vec<PathBuf>,
    /// Files with permits, and directories of them.
    pub permits: Vec<PathBuf>,
    /// Make the devices' keys; inputs are lists of devices.
    pub generate: bool,
    /// No summary and no progress bar.
    pub quiet: bool,
    /// The summary as JSON.
    pub json: bool,
}

/// Performs the whole run.
///
/// # Errors
///
/// An input cannot be read, the configuration is unsound, the engine does not open: nothing was
/// issued then. Or the engine does not close cleanly; what was written is durable nonetheless.
pub fn run(plan: &IssuePlan, console: &mut Console<'_>) -> Result<Exit, CommandError> {
    // What can be known to be wrong is found before anything is issued.
    let source = Source::open(plan)?;
    let mut permits = Permits::open(&plan.permits)?;
    let interrupt = Interrupt::install().map_err(|source| CommandError::Signals { source })?;
    let mut configuration = hsm::pin::activated(Configuration::load(&plan.config)?)?;
    let (events, event_lines) = Events::new();
    let events = Arc::new(events);
    configuration.observe_signers(events.clone());
    let mut station = configuration.station()?;
    station.observer = Some(events);
    check_profile(&station, &plan.profile)?;
    permits.for_station(&configuration, &plan.profile)?;
    let warnings: Vec<String> = station
        .profiles
        .iter()
        .flat_map(|profile| profile.warnings())
        .cloned()
        .collect();
    if !plan.quiet && !plan.json {
        warnings
            .iter()
            .for_each(|warning| console.note(format_args!("warning: {warning}")));
    }
    let engine = Engine::open(station)?;
    if engine.keys_dropped() > 0 {
        let dropped = engine.keys_dropped();
        console.note(format_args!(
            "dropped {dropped} generated keys that an interrupted run left without certificates"
        ));
    }
    let watched = event_lines.write();
    watched.map_err(|source| CommandError::Signals { source })?;

    let show_bar = !plan.quiet && !console.out_is_terminal;
    let bar = match show_bar {
        true => console.bar("issuing", "requests", source.len_known()),
        false => ProgressBar::hidden(),
    };
    let mut issuing = Issuing {
        engine: &engine,
        plan,
        permits,
        out: &mut *console.out,
        buffer: Vec::with_capacity(2 * OUTPUT_BUFFER_BYTES),
        buffered: 0,
        out_failed: None,
        in_flight: VecDeque::new(),
        tally: Tally {
            warnings,
            ..Tally::default()
        },
        bar: bar.clone(),
    };
    let begun = Instant::now();
    let end = issuing.drive(read_ahead(source), &interrupt);
    issuing.tally.seconds = begun.elapsed().as_secs_f64();
    let Issuing {
        tally, out_failed, ..
    } = issuing;
    bar.finish_and_clear();
    let closed = engine.close();
    report(plan, &tally, &end, out_failed.as_ref(), console);
    closed?;
    Ok(exit(&tally, &end, out_failed.is_some()))
}

fn check_profile(station: &Station, name: &str) -> Result<(), CommandError> {
    let names: Vec<&str> = station
        .profiles
        .iter()
        .map(|profile| profile.name())
        .collect();
    if names.contains(&name) {
        return Ok(());
    }
    Err(CommandError::UnknownProfile {
        name: name.to_owned(),
        known: names.join(", "),
    })
}

/// A request whose result is not yet written.
struct InFlight {
    name: String,
    answer: Answer,
    /// The request, as long as it may have to be asked again with a permit.
    asked: Option<Asked>,
}

enum Answer {
    Pending(Pending),
    Refused(InputRejection),
    Fault(Fault),
}

/// What an input came to.
enum Outcome {
    Answered(Result<Issued, IssueError>),
    Refused(InputRejection),
}

/// A run in progress.
struct Issuing<'a, W: Write> {
    engine: &'a Engine,
    plan: &'a IssuePlan,
    permits: Permits,
    out: W,
    /// Lines that are not yet written out, and how many they are.
    buffer: Vec<u8>,
    buffered: u64,
    out_failed: Option<io::Error>,
    in_flight: VecDeque<InFlight>,
    tally: Tally,
    bar: ProgressBar,
}

impl<W: Write> Issuing<'_, W> {
    /// Submits until the inputs end or something ends the run, then waits for the rest.
    fn drive(&mut self, items: Receiver<Item>, interrupt: &Interrupt) -> End {
        let end = loop {
            if let Some(signal) = interrupt.signal() {
                break End::Interrupted { signal };
            }
            if self.out_failed.is_some() {
                break End::OutputClosed;
            }
            match self.next_item(&items) {
                Ok(Some(item)) => {
                    if let ControlFlow::Break(fault) = self.submit(item) {
                        break End::Closed { fault };
                    }
                }
                Ok(None) => {}
                Err(InputsEnded) => break End::Complete,
            }
        };
        // The reader stops at its next send. It is not joined: it may be waiting for a pipe.
        drop(items);
        while let Some(oldest) = self.in_flight.pop_front() {
            self.finish(oldest);
        }
        self.flush();
        end
    }

    /// The next input; or `None` after waiting for the oldest result, or a while, instead.
    fn next_item(&mut self, items: &Receiver<Item>) -> Result<Option<Item>, InputsEnded> {
        self.finish_ready();
        if self.in_flight.len() >= self.engine.max_in_flight() * WINDOWS_IN_ORDER {
            self.finish_oldest();
            return Ok(None);
        }
        match items.try_recv() {
            Ok(item) => return Ok(Some(item)),
            Err(TryRecvError::Disconnected) => return Err(InputsEnded),
            Err(TryRecvError::Empty) => {}
        }
        if !self.in_flight.is_empty() {
            self.finish_oldest();
            return Ok(None);
        }
        self.flush();
        match items.recv_timeout(IDLE_CHECK) {
            Ok(item) => Ok(Some(item)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(InputsEnded),
        }
    }

    fn submit(&mut self, item: Item) -> ControlFlow<Fault> {
        let name = item.name;
        let asked = match item.asked {
            Ok(asked) => asked,
            Err(rejection) => {
                self.in_flight.push_back(InFlight {
                    name,
                    answer: Answer::Refused(rejection),
                    asked: None,
                });
                return ControlFlow::Continue(());
            }
        };
        let kept = (!self.permits.is_empty()).then(|| asked.clone());
        let (answer, flow) = match self.ask(asked, None) {
            Ok(pending) => (Answer::Pending(pending), ControlFlow::Continue(())),
            Err(fault) => (Answer::Fault(fault.clone()), ControlFlow::Break(fault)),
        };
        self.in_flight.push_back(InFlight {
            name,
            answer,
            asked: kept,
        });
        flow
    }

    fn ask(&self, asked: Asked, permit: Option<Vec<u8>>) -> Result<Pending, Fault> {
        let mut data = self.plan.data.clone();
        let mut request = match asked {
            Asked::Csr(csr) => Request {
                data,
                ..Request::new(csr, &self.plan.profile)
            },
            Asked::Key(own) => {
                data.extend(own);
                Request::generated(&self.plan.profile, data)
            }
        };
        request.permit = permit;
        request.lot.clone_from(&self.plan.lot);
        request.requester.clone_from(&self.plan.line);
        match self.engine.submit_wait(request) {
            Ok(pending) => Ok(pending),
            Err(SubmitError::Closed(_, fault)) => Err(fault),
            // `submit_wait` waits while the engine is full and never says so.
            Err(SubmitError::Full(_)) => Err(Fault::Closing),
        }
    }

    /// Asks once more with a permit, if that is what the result calls for and there is one. A permit is
    /// not shown before: only the answer says which entry the device's newest is.
    fn ask_with_permit(
        &self,
        asked: &mut Option<Asked>,
        result: &Result<Issued, IssueError>,
    ) -> Option<Answer> {
        let identity_of = |index| self.identity_of(index);
        let permit = self.permits.called_for(result, identity_of)?.to_vec();
        match self.ask(asked.take()?, Some(permit)) {
            Ok(pending) => Some(Answer::Pending(pending)),
            Err(fault) => Some(Answer::Fault(fault)),
        }
    }

    /// The device of an entry.
    fn identity_of(&self, index: u64) -> Option<String> {
        let record = self.engine.log().read(RecordIndex(index)).ok()?;
        match Record::decode(&record) {
            Ok(Record::Issued(issued)) => issued.identity.map(str::to_owned),
            _ => None,
        }
    }

    /// Writes the results at the head that are there already.
    fn finish_ready(&mut self) {
        while let Some(oldest) = self.in_flight.front_mut() {
            let outcome = match &mut oldest.answer {
                Answer::Pending(pending) => match pending.poll_result() {
                    Some(result) => Some(result),
                    None => return,
                },
                Answer::Refused(_) | Answer::Fault(_) => None,
            };
            if let Some(result) = &outcome {
                let mut asked = oldest.asked.take();
                if let Some(answer) = self.ask_with_permit(&mut asked, result) {
                    if let Some(oldest) = self.in_flight.front_mut() {
                        oldest.answer = answer;
                    }
                    return;
                }
            }
            let Some(oldest) = self.in_flight.pop_front() else {
                return;
            };
            match outcome {
                Some(result) => self.write(&oldest.name, Outcome::Answered(result)),
                None => self.finish(oldest),
            }
        }
    }

    /// Waits for the oldest result and writes it. What is written so far goes out first.
    fn finish_oldest(&mut self) {
        self.flush();
        if let Some(oldest) = self.in_flight.pop_front() {
            self.finish(oldest);
        }
    }

    fn finish(&mut self, oldest: InFlight) {
        let InFlight {
            name,
            mut answer,
            mut asked,
        } = oldest;
        let outcome = loop {
            match answer {
                Answer::Pending(pending) => {
                    let result = pending.wait();
                    match self.ask_with_permit(&mut asked, &result) {
                        Some(again) => answer = again,
                        None => break Outcome::Answered(result),
                    }
                }
                Answer::Refused(rejection) => break Outcome::Refused(rejection),
                Answer::Fault(fault) => break Outcome::Answered(Err(IssueError::Fault(fault))),
            }
        };
        self.write(&name, outcome);
    }

    /// Counts one result and writes its line. A certificate gets here only once it is durable.
    fn write(&mut self, input: &str, outcome: Outcome) {
        let (line, count) = match &outcome {
            Outcome::Answered(Ok(issued)) => match issued.status {
                IssueStatus::Issued => (Line::issued(input, issued), &mut self.tally.issued),
                IssueStatus::Existing => (Line::issued(input, issued), &mut self.tally.existing),
            },
            Outcome::Answered(Err(IssueError::Rejected(rejection))) => {
                (Line::rejected(input, rejection), &mut self.tally.rejected)
            }
            Outcome::Answered(Err(IssueError::Fault(fault))) => {
                (Line::fault(input, fault), &mut self.tally.faults)
            }
            Outcome::Refused(rejection) => {
                (Line::refused(input, rejection), &mut self.tally.rejected)
            }
        };
        *count += 1;
        self.bar.inc(1);
        if self.out_failed.is_some() {
            self.tally.unwritten += 1;
            return;
        }
        self.buffered += 1;
        // Writing JSON to memory cannot fail: the keys are fixed and the values are text.
        if serde_json::to_writer(&mut self.buffer, &line).is_ok() {
            self.buffer.push(b'\n');
        }
        if self.buffer.len() >= OUTPUT_BUFFER_BYTES {
            self.flush();
        }
    }

    /// Writes out what waits. After an error nothing more is written: what the reader at the
    /// other end has got is unknown.
    fn flush(&mut self) {
        if self.out_failed.is_none()
            && let Err(error) = self
                .out
                .write_all(&self.buffer)
                .and_then(|()| self.out.flush())
        {
            self.out_failed = Some(error);
            self.tally.unwritten += self.buffered;
        }
        self.buffer.clear();
        self.buffered = 0;
    }
}

/// The reader has sent everything.
struct InputsEnded;

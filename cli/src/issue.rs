//! `birthmark issue`: requests in, one line of JSON per request out.
//!
//! A thread reads the inputs; this thread submits them and writes the results in the order of
//! the inputs. At most [`WINDOWS_IN_ORDER`] engine windows of requests and results exist at any
//! time, however long the input is.

mod line;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use birthmark_engine::{
    Configuration, Engine, Fault, IssueError, IssueStatus, Issued, Pending, Request, Station,
    SubmitError,
};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::command::{CommandError, Exit};
use crate::console::{Console, grouped};
use crate::input::{InputItem, InputRejection, Inputs};
use crate::interrupt::Interrupt;

use line::Line;

/// Handles kept in flight, in engine windows. One window is what the engine works on; the other
/// holds finished results that wait behind a slower one, so that the order of the
/// output does not empty the engine.
const WINDOWS_IN_ORDER: usize = 2;

/// Requests read ahead of the engine. Enough that a slow disk does not show, and at 64 KiB each
/// still only 16 MiB in the worst case.
const READ_AHEAD: usize = 256;

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
    /// Files, directories, corpora, `-`.
    pub inputs: Vec<PathBuf>,
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
    let inputs = Inputs::open(&plan.inputs)?;
    let interrupt = Interrupt::install().map_err(|source| CommandError::Signals { source })?;
    let configuration = Configuration::load(&plan.config)?;
    let station = configuration.station()?;
    check_profile(&station, &plan.profile)?;
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

    let show_bar = !plan.quiet && !console.out_is_terminal;
    let bar = match show_bar {
        true => console.bar("issuing", "requests", inputs.len_known()),
        false => ProgressBar::hidden(),
    };
    let mut issuing = Issuing {
        engine: &engine,
        plan,
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
    let end = issuing.drive(read_ahead(inputs), &interrupt);
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

/// How the run ended.
#[derive(Debug)]
enum End {
    /// Every input was read and answered.
    Complete,
    /// Someone asked for it.
    Interrupted { signal: u8 },
    /// The engine takes no more requests.
    Closed { fault: Fault },
    /// The results can no longer be written.
    OutputClosed,
}

/// Counts of a run.
#[derive(Clone, Debug, Default, Serialize)]
struct Tally {
    issued: u64,
    existing: u64,
    rejected: u64,
    faults: u64,
    /// Results that could not be written out, at most: of the last few some may have been.
    unwritten: u64,
    seconds: f64,
    /// What the profiles warn of.
    warnings: Vec<String>,
}

impl Tally {
    fn answered(&self) -> u64 {
        self.issued + self.existing + self.rejected + self.faults
    }
}

/// A request whose result is not yet written.
struct InFlight {
    name: String,
    answer: Answer,
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
    fn drive(&mut self, items: Receiver<InputItem>, interrupt: &Interrupt) -> End {
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
    fn next_item(&mut self, items: &Receiver<InputItem>) -> Result<Option<InputItem>, InputsEnded> {
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

    fn submit(&mut self, item: InputItem) -> ControlFlow<Fault> {
        let name = item.name;
        let csr = match item.request {
            Ok(csr) => csr,
            Err(rejection) => {
                self.in_flight.push_back(InFlight {
                    name,
                    answer: Answer::Refused(rejection),
                });
                return ControlFlow::Continue(());
            }
        };
        let mut request = Request::new(csr, &self.plan.profile);
        request.data.clone_from(&self.plan.data);
        match self.engine.submit_wait(request) {
            Ok(pending) => {
                self.in_flight.push_back(InFlight {
                    name,
                    answer: Answer::Pending(pending),
                });
                ControlFlow::Continue(())
            }
            Err(SubmitError::Closed(_, fault)) => {
                let answer = Answer::Fault(fault.clone());
                self.in_flight.push_back(InFlight { name, answer });
                ControlFlow::Break(fault)
            }
            Err(SubmitError::Full(_)) => {
                // `submit_wait` waits while the engine is full and never says so.
                let answer = Answer::Fault(Fault::Closing);
                self.in_flight.push_back(InFlight { name, answer });
                ControlFlow::Break(Fault::Closing)
            }
        }
    }

    /// Writes the results at the head that are there already.
    fn finish_ready(&mut self) {
        while let Some(oldest) = self.in_flight.front_mut() {
            let outcome = match &mut oldest.answer {
                Answer::Pending(pending) => match pending.poll_result() {
                    Some(result) => Some(Outcome::Answered(result)),
                    None => return,
                },
                Answer::Refused(_) | Answer::Fault(_) => None,
            };
            let Some(oldest) = self.in_flight.pop_front() else {
                return;
            };
            match outcome {
                Some(outcome) => self.write(&oldest.name, outcome),
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
        let outcome = match oldest.answer {
            Answer::Pending(pending) => Outcome::Answered(pending.wait()),
            Answer::Refused(rejection) => Outcome::Refused(rejection),
            Answer::Fault(fault) => Outcome::Answered(Err(IssueError::Fault(fault))),
        };
        self.write(&oldest.name, outcome);
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

/// Starts the thread that reads the inputs. It ends when the receiver is dropped.
fn read_ahead(inputs: Inputs) -> Receiver<InputItem> {
    let (sender, receiver) = mpsc::sync_channel(READ_AHEAD);
    thread::spawn(move || {
        let _ = inputs.read(&mut |item| match sender.send(item) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        });
    });
    receiver
}

/// The summary and what went wrong, on standard error.
fn report(
    plan: &IssuePlan,
    tally: &Tally,
    end: &End,
    out_failed: Option<&io::Error>,
    console: &mut Console<'_>,
) {
    if plan.json && !plan.quiet {
        if let Ok(text) = serde_json::to_string(tally) {
            console.note(format_args!("{text}"));
        }
    } else if !plan.quiet {
        console.note(format_args!("{}", Summary(tally)));
    }
    if let Some(error) = out_failed {
        console.note(format_args!(
            "error: standard output closed ({error}); the last results were not written, but \
             every certificate is in the log: run the same command again to get them as 'existing'"
        ));
    }
    match end {
        End::Interrupted { signal } => console.note(format_args!(
            "interrupted by signal {signal}: what was in flight is finished and in the log; run \
             the same command again to go on"
        )),
        End::Closed { fault } => console.note(format_args!(
            "error: the engine stopped: {fault}; the inputs after this one were not read"
        )),
        End::Complete | End::OutputClosed => {}
    }
}

/// A system fault outweighs an interruption, and both outweigh rejected requests.
fn exit(tally: &Tally, end: &End, out_failed: bool) -> Exit {
    match end {
        End::Closed { .. } | End::OutputClosed => Exit::Fault,
        _ if out_failed || tally.faults > 0 => Exit::Fault,
        End::Interrupted { signal } => Exit::Interrupted(*signal),
        End::Complete if tally.rejected > 0 => Exit::Rejected,
        End::Complete => Exit::Done,
    }
}

struct Summary<'a>(&'a Tally);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = self.0;
        let answered = tally.answered();
        let noun = if answered == 1 { "request" } else { "requests" };
        write!(f, "{} {noun}: ", grouped(answered))?;
        write!(f, "{} issued, ", grouped(tally.issued))?;
        write!(f, "{} existing, ", grouped(tally.existing))?;
        write!(f, "{} rejected", grouped(tally.rejected))?;
        if tally.faults > 0 {
            write!(f, ", {} failed", grouped(tally.faults))?;
        }
        if tally.unwritten > 0 {
            write!(f, ", up to {} not written", grouped(tally.unwritten))?;
        }
        write!(f, " in {:.2} s", tally.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes() {
        let clean = Tally {
            issued: 1,
            ..Tally::default()
        };
        let rejected = Tally {
            rejected: 1,
            ..clean.clone()
        };
        let faulty = Tally {
            faults: 1,
            ..rejected.clone()
        };
        let closed = End::Closed {
            fault: Fault::Closing,
        };
        let interrupted = End::Interrupted { signal: 2 };
        assert_eq!(exit(&clean, &End::Complete, false), Exit::Done);
        assert_eq!(exit(&rejected, &End::Complete, false), Exit::Rejected);
        assert_eq!(exit(&faulty, &End::Complete, false), Exit::Fault);
        assert_eq!(exit(&clean, &End::Complete, true), Exit::Fault);
        assert_eq!(exit(&clean, &closed, false), Exit::Fault);
        assert_eq!(exit(&clean, &End::OutputClosed, false), Exit::Fault);
        assert_eq!(exit(&rejected, &interrupted, false), Exit::Interrupted(2));
        assert_eq!(exit(&faulty, &interrupted, false), Exit::Fault);
    }

    #[test]
    fn the_summary_names_what_happened() {
        let tally = Tally {
            issued: 1_200,
            rejected: 1,
            seconds: 0.5,
            ..Tally::default()
        };
        let expected = "1,201 requests: 1,200 issued, 0 existing, 1 rejected in 0.50 s";
        assert_eq!(Summary(&tally).to_string(), expected);
    }
}

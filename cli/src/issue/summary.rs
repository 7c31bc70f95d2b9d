//! How a run ended, and what is said of it.

use std::fmt;
use std::io;

use birthmark_engine::Fault;
use serde::Serialize;

use super::IssuePlan;
use crate::command::Exit;
use crate::console::{Console, grouped};

/// How the run ended.
#[derive(Debug)]
pub(super) enum End {
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
pub(super) struct Tally {
    pub(super) issued: u64,
    pub(super) existing: u64,
    pub(super) rejected: u64,
    pub(super) faults: u64,
    /// Results that could not be written out, at most: of the last few some may have been.
    pub(super) unwritten: u64,
    pub(super) seconds: f64,
    /// What the profiles warn of.
    pub(super) warnings: Vec<String>,
}

impl Tally {
    pub(super) fn answered(&self) -> u64 {
        self.issued + self.existing + self.rejected + self.faults
    }
}

/// The summary and what went wrong, on standard error.
pub(super) fn report(
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
pub(super) fn exit(tally: &Tally, end: &End, out_failed: bool) -> Exit {
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

//! The engine as a target of the drive.

use birthmark_engine::{
    Engine, Fault, IssueError, IssueStatus, Issued, Pending, Rejection, Request, SubmitError,
};
use std::fmt;

use crate::corpus::Corpus;
use crate::drive::Target;
use crate::tally::{Answer, DigestError};

/// Makes requests from the corpus and hands them in.
pub(super) struct EngineTarget<'a> {
    engine: &'a Engine,
    corpus: &'a Corpus,
    profile: &'a str,
}

impl<'a> EngineTarget<'a> {
    pub(super) fn new(engine: &'a Engine, corpus: &'a Corpus, profile: &'a str) -> Self {
        EngineTarget {
            engine,
            corpus,
            profile,
        }
    }
}

impl Target for EngineTarget<'_> {
    type Handle = Pending;
    type Outcome = Result<Issued, IssueError>;
    type Stop = Fault;

    fn submit_wait(&self, number: u64) -> Result<Pending, Fault> {
        // Numbers stay below the corpus' count, which was checked when it was opened.
        let csr = self.corpus.get(number).unwrap_or_default().to_vec();
        let mut request = Request::new(csr, self.profile);
        loop {
            request = match self.engine.submit_wait(request) {
                Ok(pending) => return Ok(pending),
                Err(SubmitError::Closed(_, fault)) => return Err(fault),
                // `submit_wait` blocks while the engine is full and never says so.
                Err(SubmitError::Full(request)) => request,
            }
        }
    }

    fn try_take(&self, handle: &mut Pending) -> Option<Self::Outcome> {
        handle.poll_result()
    }

    fn wait(&self, handle: Pending) -> Self::Outcome {
        handle.wait()
    }

    fn window(&self) -> usize {
        self.engine.max_in_flight()
    }
}

/// Whether the engine said that it has no profile of the name asked for.
pub(super) fn is_unknown_profile(outcome: &Result<Issued, IssueError>) -> bool {
    matches!(
        outcome,
        Err(IssueError::Rejected(Rejection::UnknownProfile(_)))
    )
}

/// Shows the outcome to the tally.
pub(super) fn with_answer(
    outcome: &Result<Issued, IssueError>,
    take: impl FnOnce(Answer<'_>) -> Result<(), DigestError>,
) -> Result<(), DigestError> {
    match outcome {
        Ok(issued) => take(Answer::Certificate {
            existing: issued.status == IssueStatus::Existing,
            index: issued.certificate.index(),
            der: issued.certificate.as_der(),
        }),
        Err(IssueError::Rejected(rejection)) => take(Answer::Rejected(&Rejected(rejection))),
        Err(error) => take(Answer::Fault(error)),
    }
}

/// The rejection with its reason, rule and action in one line.
struct Rejected<'a>(&'a Rejection);

impl fmt::Display for Rejected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reason, rule, action) = (self.0.reason(), self.0.rule(), self.0.action());
        write!(
            f,
            "rejected, {reason} ({rule}): {}; {action}",
            self.0.detail()
        )
    }
}

//! Counts of what the engine did since it was opened.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::request::{IssueError, IssueResult, IssueStatus};

/// What the engine did since it was opened. Every answer is counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Certificates made.
    pub issued: u64,
    /// Requests that were answered with an earlier certificate.
    pub existing: u64,
    /// Requests refused.
    pub rejected: u64,
    /// Requests that a fault of the system kept from an answer.
    pub faults: u64,
    /// Reservations closed as lost, because the signer or the check failed.
    pub lost: u64,
    /// Lanes that verified a signature. 0 where all are verified one by one.
    pub lanes_filled: u64,
    /// Lanes that ran, filled or not.
    pub lanes_run: u64,
    /// Signatures that were not valid on the lanes, and were verified again by aws-lc-rs.
    pub lanes_asked_again: u64,
    /// Of these, those that aws-lc-rs found valid: a fault of this machine, or of the program.
    pub lanes_disagreements: u64,
}

/// The live counters behind [`Metrics`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    issued: Counter,
    existing: Counter,
    rejected: Counter,
    faults: Counter,
    pub(crate) lost: Counter,
}

impl Counters {
    pub(crate) fn count(&self, result: &IssueResult) {
        let counter = match result {
            Ok(issued) if issued.status == IssueStatus::Issued => &self.issued,
            Ok(_) => &self.existing,
            Err(IssueError::Rejected(_)) => &self.rejected,
            Err(IssueError::Fault(_)) => &self.faults,
        };
        counter.add(1);
    }

    pub(crate) fn read(&self) -> Metrics {
        Metrics {
            issued: self.issued.get(),
            existing: self.existing.get(),
            rejected: self.rejected.get(),
            faults: self.faults.get(),
            lost: self.lost.get(),
            ..Metrics::default()
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

//! What one session did, noted by its own thread on its own seat.

use std::time::Duration;

use crate::ckr::ErrorClass;
use crate::metrics::LatencyHistogram;

/// The figures of one session, or of several added up.
#[derive(Clone)]
pub(super) struct Tally {
    pub(super) attempts: u64,
    pub(super) signatures: u64,
    pub(super) retries: u64,
    pub(super) failed: u64,
    pub(super) abandoned: u64,
    pub(super) errors: [u64; ErrorClass::ALL.len()],
    pub(super) latency: LatencyHistogram,
    /// Whether the call under way is an attempt at a signature.
    pub(super) in_attempt: bool,
    /// An attempt was begun, and is not counted as signed, retried, failed or abandoned yet.
    unsettled: bool,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            attempts: 0,
            signatures: 0,
            retries: 0,
            failed: 0,
            abandoned: 0,
            errors: [0; ErrorClass::ALL.len()],
            latency: LatencyHistogram::new(),
            in_attempt: false,
            unsettled: false,
        }
    }
}

impl Tally {
    pub(super) fn attempt_begins(&mut self) {
        self.attempts += 1;
        self.in_attempt = true;
        self.unsettled = true;
    }

    pub(super) fn signed(&mut self, latency: Duration) {
        self.in_attempt = false;
        self.unsettled = false;
        self.signatures += 1;
        self.latency.record(latency);
    }

    pub(super) fn refused(&mut self, class: ErrorClass) {
        self.in_attempt = false;
        self.errors[class.index()] += 1;
    }

    /// Another attempt follows.
    pub(super) fn retried(&mut self) {
        self.retries += u64::from(std::mem::take(&mut self.unsettled));
    }

    /// The job got the attempt's error.
    pub(super) fn failed(&mut self) {
        self.failed += u64::from(std::mem::take(&mut self.unsettled));
    }

    /// The attempt, or the remedy after it, did not return.
    pub(super) fn given_up(&mut self) {
        if std::mem::take(&mut self.in_attempt) {
            self.unsettled = false;
            self.abandoned += 1;
        }
        self.retried();
    }

    pub(super) fn add(&mut self, other: &Tally) {
        self.attempts += other.attempts;
        self.signatures += other.signatures;
        self.retries += other.retries;
        self.failed += other.failed;
        self.abandoned += other.abandoned;
        for (sum, count) in self.errors.iter_mut().zip(other.errors) {
            *sum += count;
        }
        self.latency.add(&other.latency);
    }
}

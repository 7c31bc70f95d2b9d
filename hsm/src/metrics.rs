//! What a pool has done so far.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ckr::ErrorClass;
use crate::error::SignError;

/// What a signing pool has done since it was opened. Counts never go down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolMetrics {
    /// Signatures handed to a completion.
    pub signatures: u64,
    /// Sessions that sign; 0 for a software key.
    pub sessions: usize,
    /// Sessions replaced after an error of the class *session*.
    pub sessions_reopened: u64,
    /// Keys found again after an error of the class *handle*.
    pub keys_found_again: u64,
    /// Logins renewed after an error of the class *login*.
    pub logins_renewed: u64,
    /// Completions that panicked. Their jobs count as signed or failed all the same.
    pub completions_panicked: u64,
    /// Jobs that wait for a session now.
    pub queued: usize,
    errors: [u64; ErrorClass::ALL.len()],
}

impl PoolMetrics {
    /// Errors of a class handed to a completion. What a second attempt mended is not among them.
    pub fn errors(&self, class: ErrorClass) -> u64 {
        self.errors[class.index()]
    }

    /// Errors of every class.
    pub fn errors_total(&self) -> u64 {
        self.errors.iter().sum()
    }
}

/// The counters behind [`PoolMetrics`]. Relaxed: they order nothing.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    signatures: AtomicU64,
    sessions_reopened: AtomicU64,
    keys_found_again: AtomicU64,
    logins_renewed: AtomicU64,
    completions_panicked: AtomicU64,
    errors: [AtomicU64; ErrorClass::ALL.len()],
}

impl Counters {
    pub(crate) fn outcome<T>(&self, outcome: &Result<T, SignError>) {
        match outcome {
            Ok(_) => add_one(&self.signatures),
            Err(error) => add_one(&self.errors[error.class().index()]),
        }
    }

    pub(crate) fn session_reopened(&self) {
        add_one(&self.sessions_reopened);
    }

    pub(crate) fn key_found_again(&self) {
        add_one(&self.keys_found_again);
    }

    pub(crate) fn login_renewed(&self) {
        add_one(&self.logins_renewed);
    }

    pub(crate) fn completion_panicked(&self) {
        add_one(&self.completions_panicked);
    }

    pub(crate) fn read(&self, sessions: usize, queued: usize) -> PoolMetrics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PoolMetrics {
            signatures: get(&self.signatures),
            sessions,
            sessions_reopened: get(&self.sessions_reopened),
            keys_found_again: get(&self.keys_found_again),
            logins_renewed: get(&self.logins_renewed),
            completions_panicked: get(&self.completions_panicked),
            queued,
            errors: std::array::from_fn(|index| get(&self.errors[index])),
        }
    }
}

fn add_one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

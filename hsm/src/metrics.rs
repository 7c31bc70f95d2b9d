//! What a pool and its tokens have done so far.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::ckr::ErrorClass;
use crate::error::SignError;
use crate::event::{StateChange, TokenState};

/// Two decimal digits: a latency is known to 1 %.
const LATENCY_DIGITS: u8 = 2;

/// Longest latency told apart: an hour. It bounds the histogram to some 30 KB.
const LATENCY_MAX_US: u64 = 3_600_000_000;

/// What a signing pool has done since it was opened. Counts never go down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolMetrics {
    /// Signatures handed to a completion.
    pub signatures: u64,
    /// Signatures among them that did not verify.
    pub wrong_signatures: u64,
    /// Sessions that sign; 0 for a software key.
    pub sessions: usize,
    /// Tokens that sign; 0 for a software key.
    pub tokens_up: usize,
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
    /// Jobs answered without a token, because none came back within the wait limit.
    pub waited_out: u64,
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

/// What one token of a pool is doing and has done since the pool was opened.
///
/// Once nothing is in flight, `attempts = signatures + retries + failed + abandoned`. A signature that
/// is [rejected](crate::SigningPool::reject) counts as a retry, or as failed, from then on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TokenMetrics {
    /// The token's label; what its URI calls it while it was never open.
    pub label: Arc<str>,
    /// Whether it signs.
    pub state: TokenState,
    /// Why it is in that state.
    pub why: Arc<str>,
    /// Sessions that sign now.
    pub sessions: usize,
    /// Attempts under way now.
    pub in_flight: usize,
    /// Signatures asked of the token: calls of `C_SignInit` for a job.
    pub attempts: u64,
    /// Attempts that brought the signature that was handed to a completion, and not rejected there.
    pub signatures: u64,
    /// Attempts that failed and were followed by another, here or on another token.
    pub retries: u64,
    /// Attempts whose error was handed to a completion.
    pub failed: u64,
    /// Attempts given up because the call did not return.
    pub abandoned: u64,
    /// Signatures that did not verify. Their attempts are among `retries` and `failed`.
    pub wrong_signatures: u64,
    /// Test signatures, made before the token was taken back after wrong ones. They are for no job
    /// and not among the attempts.
    pub tests: u64,
    /// Calls given up that came back later. Their answers were dropped.
    pub late: u64,
    /// Calls given up that hang inside the module now.
    pub inside: usize,
    /// How long `C_SignInit` and `C_Sign` took together, of attempts that brought a signature, also
    /// a wrong one.
    pub latency: LatencyHistogram,
    /// The last 32 changes of state, oldest first.
    pub history: Vec<StateChange>,
    pub(crate) errors: [u64; ErrorClass::ALL.len()],
}

impl TokenMetrics {
    /// Errors of a class that the token returned for attempts, also those that another attempt
    /// mended.
    pub fn errors(&self, class: ErrorClass) -> u64 {
        self.errors[class.index()]
    }

    /// Errors of every class.
    pub fn errors_total(&self) -> u64 {
        self.errors.iter().sum()
    }
}

/// How long something took, as a distribution: microseconds, to 1 %.
#[derive(Clone)]
pub struct LatencyHistogram(Option<Histogram<u64>>);

impl LatencyHistogram {
    pub(crate) fn new() -> LatencyHistogram {
        // Grows with the values seen; the number of digits is within what the crate takes.
        LatencyHistogram(Histogram::new(LATENCY_DIGITS).ok())
    }

    /// Allocates only when a value is larger than any before.
    pub(crate) fn record(&mut self, latency: Duration) {
        if let Some(histogram) = &mut self.0 {
            let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            // Values below the bound are taken by a histogram that resizes.
            let _ = histogram.record(micros.min(LATENCY_MAX_US));
        }
    }

    pub(crate) fn add(&mut self, other: &LatencyHistogram) {
        if let (Some(histogram), Some(other)) = (&mut self.0, &other.0) {
            // A histogram that resizes takes everything.
            let _ = histogram.add(other);
        }
    }

    /// How many were measured.
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// Mean in microseconds; 0 when nothing was measured.
    pub fn mean_us(&self) -> f64 {
        self.0.as_ref().map_or(0.0, Histogram::mean)
    }

    /// The longest in microseconds.
    pub fn max_us(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::max)
    }

    /// The latency in microseconds that the share `quantile` (0 to 1) does not pass.
    pub fn quantile_us(&self, quantile: f64) -> u64 {
        self.0
            .as_ref()
            .map_or(0, |histogram| histogram.value_at_quantile(quantile))
    }

    /// How many took at most `micros`, for buckets of one's own.
    pub fn count_up_to_us(&self, micros: u64) -> u64 {
        self.0
            .as_ref()
            .map_or(0, |histogram| histogram.count_between(0, micros))
    }
}

impl fmt::Debug for LatencyHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatencyHistogram")
            .field("count", &self.count())
            .field("median_us", &self.quantile_us(0.5))
            .field("p99_us", &self.quantile_us(0.99))
            .field("max_us", &self.max_us())
            .finish()
    }
}

/// The counters behind [`PoolMetrics`]. Relaxed: they order nothing.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    signatures: AtomicU64,
    wrong_signatures: AtomicU64,
    sessions_reopened: AtomicU64,
    keys_found_again: AtomicU64,
    logins_renewed: AtomicU64,
    completions_panicked: AtomicU64,
    waited_out: AtomicU64,
    errors: [AtomicU64; ErrorClass::ALL.len()],
}

impl Counters {
    pub(crate) fn outcome<T>(&self, outcome: &Result<T, SignError>) {
        match outcome {
            Ok(_) => add_one(&self.signatures),
            Err(error) => add_one(&self.errors[error.class().index()]),
        }
    }

    /// Jobs answered, with a signature or an error.
    pub(crate) fn answered(&self) -> u64 {
        let errors: u64 = self.errors.iter().map(get).sum();
        get(&self.signatures) + errors
    }

    pub(crate) fn wrong_signature(&self) {
        add_one(&self.wrong_signatures);
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

    pub(crate) fn waited_out(&self) {
        add_one(&self.waited_out);
    }

    /// Without what only the pool's tokens know.
    pub(crate) fn read(&self, queued: usize) -> PoolMetrics {
        PoolMetrics {
            signatures: get(&self.signatures),
            wrong_signatures: get(&self.wrong_signatures),
            sessions: 0,
            tokens_up: 0,
            sessions_reopened: get(&self.sessions_reopened),
            keys_found_again: get(&self.keys_found_again),
            logins_renewed: get(&self.logins_renewed),
            completions_panicked: get(&self.completions_panicked),
            queued,
            waited_out: get(&self.waited_out),
            errors: std::array::from_fn(|index| get(&self.errors[index])),
        }
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn add_one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

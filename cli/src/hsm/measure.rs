//! How fast a token signs with 1, 2, 4, … sessions, and how many are best.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use birthmark_hsm::{RawSigner, SignError, SignInput, Signature};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::HsmError;
use crate::console::Console;

/// So much of the best rate is as good as the best.
const GOOD_ENOUGH: f64 = 0.95;

/// A call that has not come back after so long will not: some 1,000 times what a slow HSM takes.
const HUNG: Duration = Duration::from_secs(30);

/// Latencies from 1 µs to a minute, to three digits: some 100 KiB a session.
const LATENCY_US_MAX: u64 = 60_000_000;

/// One number of sessions, measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Step {
    pub(super) sessions: usize,
    pub(super) signatures: u64,
    pub(super) signatures_per_s: f64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
}

/// Measures with each number of sessions, for so many seconds each.
///
/// # Errors
/// The token does not sign, or hangs; a thread cannot be started.
pub(super) fn measure(
    mut signers: Vec<RawSigner>,
    input: &SignInput,
    seconds: u16,
    console: &mut Console<'_>,
) -> Result<Vec<Step>, HsmError> {
    let counts = session_counts(signers.len());
    let bar = console.bar("measuring", "steps", Some(counts.len() as u64));
    let mut steps = Vec::with_capacity(counts.len());
    for count in counts {
        let rest = signers.split_off(count);
        let step;
        (signers, step) = measure_step(signers, input, Duration::from_secs(seconds.into()))?;
        signers.extend(rest);
        steps.push(step);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(steps)
}

/// The smallest number of sessions with at least [`GOOD_ENOUGH`] of the best rate; `None` where nothing
/// was measured.
pub(super) fn recommended(steps: &[Step]) -> Option<&Step> {
    let rate = |step: &Step| step.signatures_per_s;
    let best = steps.iter().map(rate).fold(0.0, f64::max);
    steps.iter().find(|step| rate(step) >= GOOD_ENOUGH * best)
}

/// 1, 2, 4, … and all that there are.
fn session_counts(most: usize) -> Vec<usize> {
    let powers = (0..).map(|exponent| 1usize << exponent);
    let mut counts: Vec<usize> = powers.take_while(|count| *count < most).collect();
    counts.push(most);
    counts
}

/// What one thread brings back.
struct Signed {
    signer: RawSigner,
    outcome: Result<Histogram<u64>, SignError>,
}

/// All signers sign until the time is over, each on a thread of its own. The threads are not waited for when
/// the token hangs: nothing ends a call into a module.
fn measure_step(
    signers: Vec<RawSigner>,
    input: &SignInput,
    time: Duration,
) -> Result<(Vec<RawSigner>, Step), HsmError> {
    let sessions = signers.len();
    let (results, finished) = mpsc::channel();
    let start = Arc::new(Barrier::new(sessions + 1));
    for signer in signers {
        let (results, start, input) = (results.clone(), Arc::clone(&start), input.clone());
        let work = move || {
            start.wait();
            // The receiver gives up on a token that hangs.
            let _ = results.send(sign_for(signer, &input, time));
        };
        thread::Builder::new()
            .name("hsm-check".to_owned())
            .spawn(work)
            .map_err(HsmError::Thread)?;
    }
    start.wait();
    let begun = Instant::now();
    let mut signers = Vec::with_capacity(sessions);
    let mut latency = histogram();
    for _ in 0..sessions {
        let patience = (time + HUNG).saturating_sub(begun.elapsed());
        let signed: Signed = match finished.recv_timeout(patience) {
            Ok(signed) => signed,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let seconds = HUNG.as_secs();
                return Err(HsmError::Hung { seconds, sessions });
            }
        };
        signers.push(signed.signer);
        // Histograms of the same bounds always add up.
        let _ = latency.add(signed.outcome?);
    }
    let elapsed_s = begun.elapsed().as_secs_f64();
    let step = Step {
        sessions,
        signatures: latency.len(),
        signatures_per_s: latency.len() as f64 / elapsed_s,
        p50_us: latency.value_at_quantile(0.5),
        p99_us: latency.value_at_quantile(0.99),
    };
    Ok((signers, step))
}

fn sign_for(mut signer: RawSigner, input: &SignInput, time: Duration) -> Signed {
    let mut latency = histogram();
    let mut signature = Signature::empty();
    let begun = Instant::now();
    let outcome = loop {
        let before = Instant::now();
        if let Err(error) = signer.sign(input, &mut signature) {
            break Err(error);
        }
        let us = u64::try_from(before.elapsed().as_micros()).unwrap_or(u64::MAX);
        latency.saturating_record(us.max(1));
        if begun.elapsed() >= time {
            break Ok(latency);
        }
    };
    Signed { signer, outcome }
}

#[allow(clippy::unwrap_used, reason = "the bounds are constants that fit")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(rates: &[(usize, f64)]) -> Vec<Step> {
        let step = |(sessions, signatures_per_s): &(usize, f64)| Step {
            sessions: *sessions,
            signatures: 0,
            signatures_per_s: *signatures_per_s,
            p50_us: 0,
            p99_us: 0,
        };
        rates.iter().map(step).collect()
    }

    #[test]
    fn the_smallest_number_that_is_good_enough_is_recommended() {
        type Rates<'a> = &'a [(usize, f64)];
        let cases: [(Rates<'_>, Option<usize>); 4] = [
            (&[(1, 100.0), (2, 200.0), (4, 390.0), (8, 400.0)], Some(4)),
            (&[(1, 100.0), (2, 200.0), (4, 379.0), (8, 400.0)], Some(8)),
            (&[(1, 100.0), (2, 60.0)], Some(1)),
            (&[], None),
        ];
        for (rates, sessions) in cases {
            let steps = steps(rates);
            let best = recommended(&steps).map(|step| step.sessions);
            assert_eq!(best, sessions, "{rates:?}");
        }
    }

    #[test]
    fn session_counts_double_and_end_with_all() {
        assert_eq!(session_counts(1), [1]);
        assert_eq!(session_counts(2), [1, 2]);
        assert_eq!(session_counts(62), [1, 2, 4, 8, 16, 32, 62]);
        assert_eq!(session_counts(64), [1, 2, 4, 8, 16, 32, 64]);
    }
}

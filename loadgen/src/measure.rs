//! A whole run: warm-up, then slices of the engine and of the limit in turn, then the report.

use std::sync::Arc;
use std::time::Duration;

use birthmark_engine::Engine;
use hdrhistogram::Histogram;

use crate::corpus::Corpus;
use crate::drive::{self, Clock, MonotonicClock, Stretch, Target};
use crate::limit::LimitLoop;
use crate::process::{self, ProcessorClock};
use crate::ratio::{median, spread};
use crate::report::{Lanes, Latency, Report};
use crate::tally::{Answer, DigestError, Digests, Tally};

mod engine_target;
mod options;
mod slices;

use engine_target::EngineTarget;
pub use options::{MeasureError, Mode, Options};
use slices::{Cost, Slices};

/// A slice of the engine lasts about this long: long against the start and the end of a slice,
/// where the engine is not full (a window of 2,048 is a tenth of a second), and short against
/// the machine's moods, which the limit slice beside it must share.
const ENGINE_SLICE: Duration = Duration::from_secs(2);

/// No slice is smaller than this if there are requests enough for [`SLICES_MIN`].
const SLICE_REQUESTS_MIN: u64 = 20_000;

/// The median of fewer slices says little.
const SLICES_MIN: u64 = 5;

/// Below this a slice is hardly more than one window of the engine; then rather fewer slices.
const SLICE_REQUESTS_FLOOR: u64 = 2_000;

/// A limit slice lasts half as long as the engine slice beside it, within these bounds.
const LIMIT_SLICE_MIN: Duration = Duration::from_millis(200);
const LIMIT_SLICE_MAX: Duration = Duration::from_secs(1);

/// Warm-up: enough to fill every pool and buffer several windows deep.
const WARM_UP_MAX: u64 = 10_000;
const WARM_UP_PART: u64 = 20;

/// Answers between two looks at progress and at memory to give back (about 3 MB of requests).
const HOUSEKEEPING_EVERY: u64 = 8_192;
const PROGRESS_EVERY: u64 = 512;

/// Latencies from a microsecond to an hour, three significant digits: about 250 kB.
const LATENCY_NS_MIN: u64 = 1_000;
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
const LATENCY_DIGITS: u8 = 3;

/// Drives the corpus through the engine and reports.
///
/// The calling thread generates the load. `progress` is told how many requests were answered so
/// far. Rejections and faults do not end a run: they are in the report.
pub fn measure(
    engine: &Engine,
    corpus: &Corpus,
    profile: &str,
    options: &Options,
    progress: &mut dyn FnMut(u64),
) -> Result<Report, MeasureError> {
    let count = check_options(options, corpus)?;
    let digests = Digests::open(
        options.digests.as_deref(),
        options.check_digests.as_deref(),
        count,
    )?;
    let mut limit = match options.limit {
        true => Some(LimitLoop::start(
            engine.signing_pool(),
            corpus,
            engine.verification(),
            options.limit_threads,
        )?),
        false => None,
    };
    let mut run = Run {
        engine,
        corpus,
        target: EngineTarget::new(engine, corpus, profile),
        mode: options.mode,
        tally: Tally::new(options.expect, digests),
        latencies: Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, LATENCY_DIGITS)
            .expect("the constants are valid bounds"),
        digest_error: None,
        progress,
        next: 0,
        stopped: false,
        unknown_profile: false,
    };

    let before = engine.metrics();
    // 1. Warm up, apart.
    let default = (count / WARM_UP_PART).min(WARM_UP_MAX);
    let warm_up = options.warm_up.unwrap_or(default).min(count - 1);
    let warm_up = run.stretch(warm_up, false);
    run.check_profile(profile)?;
    // 2. Engine and limit in turn.
    let mut slices = Slices::default();
    for requests in plan(
        count - run.next,
        warm_up.certificates_per_second(),
        options.mode,
    ) {
        let slice = run.stretch(requests, true);
        run.check_profile(profile)?;
        slices.add(&slice);
        if let Some(limit) = &mut limit
            && options.mode == Mode::Closed
        {
            slices.add_limits(limit.both_slices(limit_slice(slice.elapsed))?);
        }
        if run.stopped {
            break;
        }
    }
    // In the open loop the engine runs in one piece, and the limit after it.
    if let (Some(limit), Mode::Open { .. }) = (&mut limit, options.mode) {
        for _ in 0..SLICES_MIN {
            slices.add_limits(limit.both_slices(LIMIT_SLICE_MAX)?);
        }
    }
    run.tally.finish()?;
    (run.progress)(run.tally.answered());
    if let Some(error) = run.digest_error {
        return Err(error.into());
    }
    let lanes = Lanes::between(&before, &engine.metrics());
    Ok(run.report(count, &warm_up, &slices, limit.as_ref(), lanes))
}

/// The number of requests to drive, once the options fit the corpus.
fn check_options(options: &Options, corpus: &Corpus) -> Result<u64, MeasureError> {
    let (wanted, held) = (options.count.unwrap_or(corpus.len()), corpus.len());
    if wanted > held || wanted == 0 {
        return Err(MeasureError::Count { wanted, held });
    }
    match options.mode {
        Mode::Open {
            rate_per_second: rate,
        } if !(rate.is_finite() && rate > 0.0) => Err(MeasureError::Rate(rate)),
        _ => Ok(wanted),
    }
}

struct Run<'a> {
    engine: &'a Engine,
    corpus: &'a Corpus,
    target: EngineTarget<'a>,
    mode: Mode,
    tally: Tally,
    latencies: Histogram<u64>,
    digest_error: Option<DigestError>,
    progress: &'a mut dyn FnMut(u64),
    next: u64,
    stopped: bool,
    /// No request can come to anything: no need to send them all.
    unknown_profile: bool,
}

impl Run<'_> {
    /// Drives the next `requests` and drains the engine.
    fn stretch(&mut self, requests: u64, measured: bool) -> Cost {
        let numbers = self.next..self.next + requests;
        let (log_before, before) = (self.engine.log().metrics(), self.certificates());
        let (clock, driver) = (ProcessorClock::start(), process::thread_time());
        let Run {
            target,
            corpus,
            tally,
            latencies,
            digest_error,
            unknown_profile,
            progress,
            ..
        } = self;
        let mut sink = |number, latency: Duration, outcome| {
            if measured {
                latencies.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
            }
            *unknown_profile |= engine_target::is_unknown_profile(&outcome);
            if let Err(error) = engine_target::with_answer(&outcome, |answer: Answer<'_>| {
                tally.take(number, answer)
            }) {
                digest_error.get_or_insert(error);
            }
            if (number + 1).is_multiple_of(PROGRESS_EVERY) {
                progress(number + 1);
            }
            if (number + 1).is_multiple_of(HOUSEKEEPING_EVERY) {
                corpus.forget(number + 1 - HOUSEKEEPING_EVERY..number + 1);
            }
        };
        let stretch: Stretch<<EngineTarget<'_> as Target>::Stop> = match self.mode {
            Mode::Closed => drive::closed(target, numbers, &mut sink),
            Mode::Open { rate_per_second } => {
                let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::start());
                drive::open(target, numbers, rate_per_second, &clock, &mut sink)
            }
        };
        let driver = driver.and_then(|start| process::thread_time()?.checked_sub(start));
        let processor = clock.and_then(ProcessorClock::stop);
        self.next += stretch.taken;
        if let Some(fault) = stretch.stop {
            self.stopped = true;
            self.tally.note(self.next, &fault);
        }
        let log = self.engine.log().metrics();
        Cost {
            taken: stretch.taken,
            certificates: self.certificates() - before,
            elapsed: stretch.elapsed,
            driver,
            processor,
            syncs: log.syncs - log_before.syncs,
            records: log.records - log_before.records,
        }
    }

    fn check_profile(&self, profile: &str) -> Result<(), MeasureError> {
        match self.unknown_profile {
            true => Err(MeasureError::Profile(profile.to_owned())),
            false => Ok(()),
        }
    }

    fn certificates(&self) -> u64 {
        self.tally.issued + self.tally.existing
    }

    fn report(
        self,
        count: u64,
        warm_up: &Cost,
        slices: &Slices,
        limit: Option<&LimitLoop>,
        lanes: Lanes,
    ) -> Report {
        let total = &slices.total;
        let microseconds = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1000.0;
        let rate = total.certificates_per_second();
        Report {
            certificates: self.certificates(),
            existing: self.tally.existing,
            rejected: self.tally.rejected,
            faults: self.tally.faults,
            unfinished: count - self.next,
            unexpected: self.tally.unexpected,
            doubled: self.tally.doubled,
            digest_mismatches: self.tally.digest_mismatches,
            seconds: total.elapsed.as_secs_f64(),
            certificates_per_second: rate,
            certificates_per_hour: rate * 3600.0,
            limit_per_second: median(slices.limits.iter().map(|limit| limit.per_second)),
            scalar_limit_per_second: median(
                slices.scalar_limits.iter().map(|limit| limit.per_second),
            ),
            ratio_to_limit: median(slices.ratios(&slices.limits)),
            ratio_spread: spread(slices.ratios(&slices.limits)),
            ratio_to_scalar_limit: median(slices.ratios(&slices.scalar_limits)),
            processor_us_per_certificate: total.processor_us(),
            limit_processor_us_per_certificate: median(
                slices.limits.iter().filter_map(|limit| limit.processor_us),
            ),
            processor_ratio_to_limit: median(slices.processor_ratios(&slices.limits)),
            processor_ratio_to_scalar_limit: median(slices.processor_ratios(&slices.scalar_limits)),
            other_load_cores: total.cores(|used| used.others),
            limit_threads: limit.map(LimitLoop::threads),
            limit_has_lanes: limit.map(LimitLoop::has_lanes),
            verification: self.engine.verification().name(),
            lanes,
            slices: slices.engine.len(),
            warm_up: warm_up.taken,
            offered_per_second: match self.mode {
                Mode::Closed => None,
                Mode::Open { rate_per_second } => Some(rate_per_second),
            },
            latency_us: Latency {
                p50: microseconds(0.5),
                p90: microseconds(0.9),
                p99: microseconds(0.99),
                p999: microseconds(0.999),
                max: self.latencies.max() as f64 / 1000.0,
            },
            syncs_per_second: slices::per_second(total.syncs, total.elapsed),
            records_per_sync: total.records as f64 / total.syncs.max(1) as f64,
            peak_rss_bytes: process::peak_rss_bytes(),
            anonymous_rss_bytes: process::anonymous_rss_bytes(),
            cores: process::cores(),
            driver_cores: total.driver_cores(),
            engine_threads: self.engine.threads(),
            signer: self.engine.describe_signer(),
            // The engine has no other way: it releases nothing before its record is synced.
            durable: true,
            errors: self.tally.examples,
        }
    }
}

/// Sizes of the engine's slices: about [`ENGINE_SLICE`] each at this rate, at least
/// [`SLICES_MIN`] of them when there are requests enough, and all requests used.
fn plan(requests: u64, certificates_per_second: f64, mode: Mode) -> Vec<u64> {
    let wanted = (certificates_per_second * ENGINE_SLICE.as_secs_f64()) as u64;
    let slices = match mode {
        Mode::Open { .. } => 1,
        Mode::Closed => (requests / wanted.max(SLICE_REQUESTS_MIN))
            .max(SLICES_MIN)
            .min(requests / SLICE_REQUESTS_FLOOR)
            .max(1),
    };
    (0..slices)
        .map(|slice| requests / slices + u64::from(slice < requests % slices))
        .filter(|requests| *requests > 0)
        .collect()
}

fn limit_slice(engine: Duration) -> Duration {
    (engine / 2).clamp(LIMIT_SLICE_MIN, LIMIT_SLICE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_in_exactly_one_slice() {
        for requests in [
            1, 7, 1_999, 2_000, 9_999, 10_000, 190_000, 990_001, 99_990_000,
        ] {
            for rate in [0.0, 150.0, 18_000.0, 60_000.0] {
                let plan = plan(requests, rate, Mode::Closed);
                assert_eq!(plan.iter().sum::<u64>(), requests);
                let (least, most) = (plan.iter().min().unwrap(), plan.iter().max().unwrap());
                assert!(most - least <= 1);
                assert!(plan.len() == 1 || *least >= SLICE_REQUESTS_FLOOR);
                let enough = requests >= SLICES_MIN * SLICE_REQUESTS_FLOOR;
                assert!(
                    !enough || plan.len() as u64 >= SLICES_MIN,
                    "{requests} at {rate}"
                );
            }
        }
        assert_eq!(plan(190_000, 18_000.0, Mode::Closed), [38_000; 5]);
        assert_eq!(plan(990_000, 18_000.0, Mode::Closed).len(), 27);
        assert_eq!(
            plan(
                5_000,
                18_000.0,
                Mode::Open {
                    rate_per_second: 9.0
                }
            ),
            [5_000]
        );
    }
}

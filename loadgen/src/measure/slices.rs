//! What the slices of a run cost, and their ratios.

use std::time::Duration;

use crate::limit::LimitSlice;
use crate::process::ProcessorUse;

/// What one stretch of the engine cost.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Cost {
    pub(super) taken: u64,
    pub(super) certificates: u64,
    pub(super) elapsed: Duration,
    pub(super) driver: Option<Duration>,
    pub(super) processor: Option<ProcessorUse>,
    pub(super) syncs: u64,
    pub(super) records: u64,
}

impl Cost {
    pub(super) fn certificates_per_second(&self) -> f64 {
        per_second(self.certificates, self.elapsed)
    }

    /// Processor time of the process for each certificate, in microseconds; what generated the
    /// load is part of it.
    pub(super) fn processor_us(&self) -> Option<f64> {
        let own = self.processor?.own.as_secs_f64();
        (self.certificates > 0).then(|| own * 1e6 / self.certificates as f64)
    }

    /// Cores that some part of the processor time kept busy.
    pub(super) fn cores(&self, part: impl Fn(ProcessorUse) -> Duration) -> Option<f64> {
        self.share(part(self.processor?))
    }

    pub(super) fn driver_cores(&self) -> Option<f64> {
        self.share(self.driver?)
    }

    fn share(&self, time: Duration) -> Option<f64> {
        (!self.elapsed.is_zero()).then(|| time.as_secs_f64() / self.elapsed.as_secs_f64())
    }
}

/// The slices of a run in order.
#[derive(Debug, Default)]
pub(super) struct Slices {
    pub(super) engine: Vec<Cost>,
    pub(super) limits: Vec<LimitSlice>,
    /// Those of aws-lc-rs alone, each beside one of `limits`.
    pub(super) scalar_limits: Vec<LimitSlice>,
    pub(super) total: Cost,
}

impl Slices {
    pub(super) fn add(&mut self, cost: &Cost) {
        let total = &mut self.total;
        total.taken += cost.taken;
        total.certificates += cost.certificates;
        total.elapsed += cost.elapsed;
        total.syncs += cost.syncs;
        total.records += cost.records;
        if let Some(driver) = cost.driver {
            *total.driver.get_or_insert_default() += driver;
        }
        if let Some(processor) = cost.processor {
            *total.processor.get_or_insert_default() += processor;
        }
        self.engine.push(*cost);
    }

    pub(super) fn add_limits(&mut self, (limit, scalar): (LimitSlice, LimitSlice)) {
        self.limits.push(limit);
        self.scalar_limits.push(scalar);
    }

    /// Engine rate over limit rate of each pair: the machine's mood, which both slices of a pair
    /// share, cancels inside the pair.
    pub(super) fn ratios(&self, limits: &[LimitSlice]) -> Vec<f64> {
        self.pairs(limits)
            .filter(|(_, limit)| limit.per_second > 0.0)
            .map(|(engine, limit)| engine.certificates_per_second() / limit.per_second)
            .collect()
    }

    /// The same in processor time: the limit's for one certificate over the engine's. Other
    /// programs on the machine take wall time from either slice as the scheduler pleases (more
    /// threads get a larger share); processor time they hardly touch.
    pub(super) fn processor_ratios(&self, limits: &[LimitSlice]) -> Vec<f64> {
        self.pairs(limits)
            .filter_map(|(engine, limit)| {
                let engine = engine.processor_us().filter(|time| *time > 0.0)?;
                Some(limit.processor_us? / engine)
            })
            .collect()
    }

    /// Each engine slice with the limit slice after it; in the open loop the one engine slice
    /// with each of the limit's.
    fn pairs<'a>(
        &'a self,
        limits: &'a [LimitSlice],
    ) -> impl Iterator<Item = (&'a Cost, &'a LimitSlice)> {
        let last = self.engine.len().saturating_sub(1);
        let engine = move |place: usize| if last == 0 { 0 } else { place };
        limits
            .iter()
            .enumerate()
            .filter_map(move |(place, limit)| Some((self.engine.get(engine(place))?, limit)))
    }
}

pub(super) fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() {
        0.0
    } else {
        count as f64 / elapsed.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ratio::median;

    /// An engine slice of two seconds on two cores.
    fn engine(certificates: u64, own_ms: u64) -> Cost {
        Cost {
            taken: certificates,
            certificates,
            elapsed: Duration::from_secs(2),
            driver: Some(Duration::from_millis(100)),
            processor: Some(ProcessorUse {
                own: Duration::from_millis(own_ms),
                others: Duration::from_millis(4000 - own_ms),
            }),
            syncs: 10,
            records: 1000,
        }
    }

    fn limit(per_second: f64, processor_us: f64) -> LimitSlice {
        let count = per_second as u64;
        LimitSlice {
            count,
            seconds: 1.0,
            per_second,
            processor_us: Some(processor_us),
        }
    }

    fn slices(engine: &[Cost], limits: &[LimitSlice]) -> Slices {
        let mut slices = Slices {
            limits: limits.to_vec(),
            ..Slices::default()
        };
        engine.iter().for_each(|cost| slices.add(cost));
        slices
    }

    #[test]
    fn the_ratio_is_the_median_of_pairs_and_not_the_ratio_of_medians() {
        // The machine was slow in the second pair and the engine in the third.
        let slices = slices(
            &[
                engine(18_000, 4000),
                engine(9_000, 2000),
                engine(12_000, 4000),
            ],
            &[
                limit(10_000.0, 200.0),
                limit(5_000.0, 200.0),
                limit(10_000.0, 200.0),
            ],
        );
        assert_eq!(slices.ratios(&slices.limits), [0.9, 0.9, 0.6]);
        assert_eq!(median(slices.ratios(&slices.limits)), Some(0.9));
        assert_eq!(slices.total.certificates_per_second(), 6_500.0);
    }

    #[test]
    fn processor_time_tells_a_crowded_machine_from_a_slow_engine() {
        // Others took half the machine from the engine's slice and nothing from the limit's.
        let slices = slices(&[engine(10_000, 2000)], &[limit(10_000.0, 190.0)]);
        assert_eq!(slices.ratios(&slices.limits), [0.5]);
        assert_eq!(slices.processor_ratios(&slices.limits), [0.95]);
        assert_eq!(slices.total.cores(|used| used.others), Some(1.0));
        assert_eq!(slices.total.driver_cores(), Some(0.05));
    }

    #[test]
    fn one_engine_slice_stands_against_all_of_the_limit() {
        let limits = [10_000.0, 20_000.0, 12_500.0].map(|rate| limit(rate, 100.0));
        assert_eq!(
            slices(&[engine(10_000, 4000)], &limits).ratios(&limits),
            [0.5, 0.25, 0.4]
        );
    }

    #[test]
    fn nothing_measured_gives_no_ratio() {
        let ratios =
            |engines: &[Cost], limits: &[LimitSlice]| slices(engines, limits).ratios(limits);
        assert!(ratios(&[engine(10_000, 4000)], &[]).is_empty());
        assert!(ratios(&[], &[limit(1.0, 1.0)]).is_empty());
        let mut unknown = engine(10, 4000);
        unknown.processor = None;
        assert!(ratios(&[unknown], &[limit(0.0, 1.0)]).is_empty());
        let limits = [limit(9.0, 1.0)];
        let unknown = slices(&[unknown], &limits);
        assert!(unknown.processor_ratios(&limits).is_empty());
    }
}

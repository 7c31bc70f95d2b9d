//! How slow the token is: a latency per signature, and a cap on signatures per second.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::lock;
use crate::random::number_at;

/// Longest latency and longest interval between two signatures: as long as a hang may last.
const PACE_MAX: Duration = crate::schedule::HANG_MAX;

/// The latency of a C_Sign, in microseconds: uniform from mean − jitter to mean + jitter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LatencySetting {
    mean_us: f64,
    jitter_us: f64,
}

/// The pace in force.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Settings {
    mean: Duration,
    jitter: Duration,
    /// Zero for no cap.
    interval: Duration,
}

/// Makes signatures wait, and reports how long they really waited: a sleep takes longer than asked.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// There is a latency or a cap. A token without takes no lock.
    slow: AtomicBool,
    state: Mutex<State>,
    calls: AtomicU64,
    latency_ns: AtomicU64,
    rate_wait_ns: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    settings: Settings,
    seed: u64,
    /// When the next signature may start; `None` before the first one.
    free_at: Option<Instant>,
}

/// What the pace came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PaceReport {
    /// Calls of C_Sign that went through.
    pub calls: u64,
    /// Their latency as it really was, mean in microseconds.
    pub latency_mean_us: f64,
    /// How long the cap on the rate made them wait, mean in microseconds.
    pub rate_wait_mean_us: f64,
}

impl LatencySetting {
    fn durations(self) -> Result<(Duration, Duration), String> {
        let time = |us: f64| {
            Duration::try_from_secs_f64(us / 1e6)
                .ok()
                .filter(|time| *time <= PACE_MAX)
                .ok_or("latency: mean_us and jitter_us are microseconds up to 600 s")
        };
        let (mean, jitter) = (time(self.mean_us)?, time(self.jitter_us)?);
        if jitter > mean {
            return Err("latency: jitter_us must not exceed mean_us".into());
        }
        Ok((mean, jitter))
    }
}

impl Pace {
    /// Sets the seed of the jitter.
    pub(crate) fn seed(&self, seed: u64) {
        lock(&self.state).seed = seed;
    }

    /// Sets the latency from now on.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub(crate) fn set_latency(&self, setting: LatencySetting) -> Result<(), String> {
        let (mean, jitter) = setting.durations()?;
        let mut state = lock(&self.state);
        state.settings.mean = mean;
        state.settings.jitter = jitter;
        self.note(&state);
        Ok(())
    }

    /// Sets the cap from now on, in signatures per second over all sessions; 0 for none.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub(crate) fn set_rate_cap(&self, per_second: f64) -> Result<(), String> {
        let interval = if per_second == 0.0 {
            Some(Duration::ZERO)
        } else {
            Duration::try_from_secs_f64(1.0 / per_second)
                .ok()
                .filter(|interval| !interval.is_zero() && *interval <= PACE_MAX)
        };
        let interval = interval.ok_or("rate_cap is signatures per second, 0 for no cap")?;
        let mut state = lock(&self.state);
        state.settings.interval = interval;
        self.note(&state);
        Ok(())
    }

    fn note(&self, state: &State) {
        let slow = !state.settings.mean.is_zero() || !state.settings.interval.is_zero();
        self.slow.store(slow, Ordering::Release);
    }

    /// Waits as one C_Sign has to. No lock is held meanwhile.
    pub(crate) fn wait(&self) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if !self.slow.load(Ordering::Acquire) {
            return;
        }
        let (settings, seed, rate_wait) = {
            let mut state = lock(&self.state);
            let wait = state.reserve(Instant::now());
            (state.settings, state.seed, wait)
        };
        // One sleep for both, as a real call has one answer to wait for. What it takes too long
        // counts as latency.
        let slept = sleep(rate_wait + settings.latency(seed, call));
        add_ns(&self.rate_wait_ns, rate_wait);
        add_ns(&self.latency_ns, slept.saturating_sub(rate_wait));
    }

    pub(crate) fn report(&self) -> PaceReport {
        let calls = self.calls.load(Ordering::Relaxed);
        let mean_us = |sum: &AtomicU64| sum.load(Ordering::Relaxed) as f64 / 1e3 / calls as f64;
        if calls == 0 {
            return PaceReport::default();
        }
        PaceReport {
            calls,
            latency_mean_us: mean_us(&self.latency_ns),
            rate_wait_mean_us: mean_us(&self.rate_wait_ns),
        }
    }
}

impl State {
    /// Takes the next place: a token bucket that holds one token. Returns how long it is until
    /// then. What a sleep takes too long does not lower the rate: places follow the clock.
    fn reserve(&mut self, now: Instant) -> Duration {
        if self.settings.interval.is_zero() {
            return Duration::ZERO;
        }
        let start = self.free_at.map_or(now, |free_at| free_at.max(now));
        self.free_at = Some(start + self.settings.interval);
        start - now
    }
}

impl Settings {
    fn latency(self, seed: u64, call: u64) -> Duration {
        if self.jitter.is_zero() {
            return self.mean;
        }
        self.mean - self.jitter + (2 * self.jitter).mul_f64(number_at(seed, call))
    }
}

/// Sleeps, and returns how long it really took.
fn sleep(time: Duration) -> Duration {
    if time.is_zero() {
        return time;
    }
    let started = Instant::now();
    std::thread::sleep(time);
    started.elapsed()
}

fn add_ns(sum: &AtomicU64, time: Duration) {
    let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    sum.fetch_add(ns, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_each_other_by_the_interval() {
        let pace = Pace::default();
        pace.set_rate_cap(100.0).unwrap();
        let mut state = lock(&pace.state);
        let start = Instant::now();
        let ms = Duration::from_millis;
        let waits: Vec<Duration> = (0..4).map(|_| state.reserve(start)).collect();
        assert_eq!(waits, [ms(0), ms(10), ms(20), ms(30)]);
        // Later than its place: it starts at once, and saves nothing up.
        assert_eq!(state.reserve(start + ms(500)), ms(0));
        assert_eq!(state.reserve(start + ms(500)), ms(10));
    }

    #[test]
    fn latency_stays_within_its_jitter() {
        let us = Duration::from_micros;
        let settings = Settings {
            mean: us(300),
            jitter: us(100),
            interval: us(0),
        };
        let all: Vec<Duration> = (0..1000).map(|call| settings.latency(5, call)).collect();
        assert!(all.iter().all(|time| (us(200)..=us(400)).contains(time)));
        assert!(all.iter().any(|time| *time < us(220)) && all.iter().any(|time| *time > us(380)));
    }

    #[test]
    fn the_true_latency_is_reported() {
        let pace = Pace::default();
        let setting = LatencySetting {
            mean_us: 500.0,
            jitter_us: 0.0,
        };
        pace.set_latency(setting).unwrap();
        for _ in 0..4 {
            pace.wait();
        }
        let report = pace.report();
        assert_eq!(report.calls, 4);
        assert!(report.latency_mean_us >= 500.0, "{report:?}");
        assert_eq!(report.rate_wait_mean_us, 0.0);
    }

    #[test]
    fn wrong_settings_are_refused() {
        let pace = Pace::default();
        for (mean_us, jitter_us) in [(-1.0, 0.0), (1.0, 2.0), (f64::NAN, 0.0), (1e12, 0.0)] {
            let setting = LatencySetting { mean_us, jitter_us };
            assert!(pace.set_latency(setting).is_err(), "{setting:?}");
        }
        for wrong in [-1.0, f64::NAN, 1e-9, f64::INFINITY] {
            assert!(pace.set_rate_cap(wrong).is_err(), "{wrong}");
        }
        pace.set_rate_cap(0.0).unwrap();
    }
}

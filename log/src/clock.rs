//! The clock rule: time stamps never go back, and a bad clock stops new work but nothing else.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use thiserror::Error;

use crate::record::TIME_MS_MIN;

/// Where the log reads the time. Tests put their own in.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970-01-01 00:00 UTC, as the machine's clock shows them.
    fn unix_ms(&self) -> u64;
    /// Time since some fixed moment, never set or stepped while the process runs.
    fn monotonic(&self) -> Duration;
}

/// The machine's own clock.
#[derive(Clone, Debug, Default)]
pub struct SystemClock(());

impl SystemClock {
    /// The machine's own clock.
    pub fn new() -> SystemClock {
        SystemClock(())
    }
}

impl Clock for SystemClock {
    fn unix_ms(&self) -> u64 {
        // A clock before 1970 reads as 0, which the rule refuses.
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        saturating_ms(since_epoch)
    }

    fn monotonic(&self) -> Duration {
        // Not `Instant`: that stands still while the machine is suspended, and waking up would look
        // like a jump of the wall clock.
        let since_boot = clock_gettime(ClockId::Boottime);
        Duration::try_from(since_boot).unwrap_or_default()
    }
}

/// The clock cannot be trusted; nothing new is begun until it can.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClockError {
    /// The clock fell behind the last record.
    #[error(
        "the clock shows {}, but the last record was written at {}; set the clock right, then retry",
        UtcMs(*now_ms),
        UtcMs(*last_ms)
    )]
    Backward {
        /// What the clock shows.
        now_ms: u64,
        /// Time stamp of the last record.
        last_ms: u64,
    },
    /// The clock jumped ahead.
    #[error(
        "the clock shows {}, but it should be about {}; set the clock right, or restart if it is right now",
        UtcMs(*now_ms),
        UtcMs(*expected_ms)
    )]
    Forward {
        /// What the clock shows.
        now_ms: u64,
        /// What it should show: by the monotonic clock while running, the last record's time
        /// stamp at start.
        expected_ms: u64,
    },
    /// The clock was never set.
    #[error("the clock shows {}: it was never set; set it, then retry", UtcMs(*now_ms))]
    Unset {
        /// What the clock shows.
        now_ms: u64,
    },
}

/// How often the wall clock's reading becomes the new base of comparison. A crystal drifts some
/// 100 ppm, 0.4 s in this time, so the default limit of 60 s never meets an honest clock.
const REBASE_AFTER: Duration = Duration::from_secs(3600);

/// Limits of the clock rule, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockLimits {
    pub(crate) back_max_ms: u64,
    pub(crate) forward_max_ms: u64,
    pub(crate) start_forward_max_ms: u64,
}

/// One reading of the clock under the rule.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    /// Time for records that are already reserved; `Err` when there is none to give.
    pub(crate) time_ms: Result<u64, ClockError>,
    /// Whether something new may be begun.
    pub(crate) admits: Result<(), ClockError>,
}

/// The rule and its state; shared by the log thread and by whoever asks before signing.
pub(crate) struct ClockRule {
    clock: Arc<dyn Clock>,
    limits: ClockLimits,
    state: Mutex<State>,
}

struct State {
    /// Time stamp of the last record; 0 before the first.
    last_ms: u64,
    /// The last accepted reading that later ones are compared with; `None` until one is accepted.
    base: Option<Base>,
}

#[derive(Clone, Copy)]
struct Base {
    wall_ms: u64,
    monotonic: Duration,
}

impl ClockRule {
    pub(crate) fn new(clock: Arc<dyn Clock>, limits: ClockLimits, last_ms: u64) -> ClockRule {
        ClockRule {
            clock,
            limits,
            state: Mutex::new(State {
                last_ms,
                base: None,
            }),
        }
    }

    /// The check at start. `Err` when the clock is too far ahead of the last record.
    pub(crate) fn check_start(&self) -> Result<(), ClockError> {
        match self.read().admits {
            Err(error @ ClockError::Forward { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes the clock's reading as the truth, on an officer's word.
    /// Gives the time now and the last record's.
    pub(crate) fn accept(&self) -> (u64, u64) {
        let (now_ms, monotonic) = (self.clock.unix_ms(), self.clock.monotonic());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.base = Some(Base {
            wall_ms: now_ms,
            monotonic,
        });
        (now_ms, state.last_ms)
    }

    /// Reads the clock once.
    pub(crate) fn read(&self) -> Stamp {
        let (now_ms, monotonic) = (self.clock.unix_ms(), self.clock.monotonic());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let admits = self.judge(&mut state, now_ms, monotonic);
        // A bad reading never becomes a time stamp: it would drag every later one along.
        let time_ms = match &admits {
            Ok(()) => now_ms.max(state.last_ms),
            Err(ClockError::Backward { .. }) => state.last_ms,
            Err(_) => state.expected_ms(monotonic).unwrap_or(0).max(state.last_ms),
        };
        let time_ms = if time_ms < TIME_MS_MIN {
            Err(ClockError::Unset { now_ms })
        } else {
            Ok(time_ms)
        };
        Stamp { time_ms, admits }
    }

    /// A record with this time stamp is durable.
    pub(crate) fn advance(&self, time_ms: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last_ms = state.last_ms.max(time_ms);
    }

    /// Time stamp of the last durable record; 0 before the first.
    pub(crate) fn last_ms(&self) -> u64 {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .last_ms
    }

    fn judge(&self, state: &mut State, now_ms: u64, monotonic: Duration) -> Result<(), ClockError> {
        let last_ms = state.last_ms;
        if now_ms < TIME_MS_MIN {
            return Err(ClockError::Unset { now_ms });
        }
        if now_ms < last_ms.saturating_sub(self.limits.back_max_ms) {
            return Err(ClockError::Backward { now_ms, last_ms });
        }
        match state.expected_ms(monotonic) {
            Some(expected_ms) => {
                if now_ms > expected_ms.saturating_add(self.limits.forward_max_ms) {
                    return Err(ClockError::Forward {
                        now_ms,
                        expected_ms,
                    });
                }
            }
            // No reading was accepted yet, as after a start with a dead clock battery: the rule
            // of the start applies until one is.
            None => {
                let limit_ms = last_ms.saturating_add(self.limits.start_forward_max_ms);
                if last_ms > 0 && now_ms > limit_ms {
                    return Err(ClockError::Forward {
                        now_ms,
                        expected_ms: last_ms,
                    });
                }
            }
        }
        let stale = state
            .base
            .is_none_or(|b| monotonic.saturating_sub(b.monotonic) >= REBASE_AFTER);
        if stale {
            state.base = Some(Base {
                wall_ms: now_ms,
                monotonic,
            });
        }
        Ok(())
    }
}

impl State {
    fn expected_ms(&self, monotonic: Duration) -> Option<u64> {
        let base = self.base?;
        let elapsed = monotonic.saturating_sub(base.monotonic);
        Some(base.wall_ms.saturating_add(saturating_ms(elapsed)))
    }
}

/// A duration in whole milliseconds.
pub(crate) fn saturating_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Shows milliseconds since 1970 as a person reads them: `2026-03-21 12:00:00 UTC`.
struct UtcMs(u64);

impl fmt::Display for UtcMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY_S: u64 = 86_400;
        let seconds = self.0 / 1000;
        let (days, second) = (seconds / DAY_S, seconds % DAY_S);
        // The Gregorian calendar repeats every 146,097 days; counting years from March puts the
        // leap day last, so that a month's first day is a linear function of its number.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let leap_days = day_of_era / 1460 + day_of_era / 146_096 - day_of_era / 36_524;
        let year_of_era = (day_of_era - leap_days) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const NOW: u64 = 1_774_094_400_000;
    const DAY: u64 = 86_400_000;

    #[derive(Default)]
    struct Hands {
        wall_ms: AtomicU64,
        monotonic_ms: AtomicU64,
    }

    impl Clock for Hands {
        fn unix_ms(&self) -> u64 {
            self.wall_ms.load(Ordering::Relaxed)
        }
        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.monotonic_ms.load(Ordering::Relaxed))
        }
    }

    fn rule(wall_ms: u64, last_ms: u64) -> (Arc<Hands>, ClockRule) {
        let hands = Arc::new(Hands::default());
        hands.wall_ms.store(wall_ms, Ordering::Relaxed);
        let limits = ClockLimits {
            back_max_ms: 60_000,
            forward_max_ms: 60_000,
            start_forward_max_ms: 400 * DAY,
        };
        let rule = ClockRule::new(Arc::clone(&hands) as Arc<dyn Clock>, limits, last_ms);
        (hands, rule)
    }

    #[test]
    fn shows_dates() {
        assert_eq!(UtcMs(0).to_string(), "1970-01-01 00:00:00 UTC");
        assert_eq!(
            UtcMs(951_782_400_000).to_string(),
            "2000-02-29 00:00:00 UTC"
        );
        assert_eq!(
            UtcMs(4_107_542_399_999).to_string(),
            "2100-02-28 23:59:59 UTC"
        );
        assert_eq!(UtcMs(NOW).to_string(), "2026-03-21 12:00:00 UTC");
    }

    #[test]
    fn a_small_step_back_keeps_the_last_time() {
        let (_, rule) = rule(NOW - 60_000, NOW);
        let stamp = rule.read();
        assert_eq!(stamp.time_ms, Ok(NOW));
        assert_eq!(stamp.admits, Ok(()));
    }

    #[test]
    fn a_large_step_back_refuses_new_work_and_recovers() {
        let (hands, rule) = rule(NOW - 60_001, NOW);
        let stamp = rule.read();
        assert_eq!(
            stamp.time_ms,
            Ok(NOW),
            "what is reserved already still gets a time"
        );
        assert_eq!(
            stamp.admits,
            Err(ClockError::Backward {
                now_ms: NOW - 60_001,
                last_ms: NOW
            })
        );
        // The clock battery was dead; the network sets the clock while the process runs.
        hands.wall_ms.store(NOW + DAY, Ordering::Relaxed);
        assert_eq!(rule.read().admits, Ok(()));
        assert_eq!(rule.read().time_ms, Ok(NOW + DAY));
    }

    #[test]
    fn a_jump_ahead_while_running_is_refused_and_not_stamped() {
        let (hands, rule) = rule(NOW, NOW);
        assert_eq!(rule.read().admits, Ok(()));
        hands.monotonic_ms.store(1000, Ordering::Relaxed);
        hands.wall_ms.store(NOW + 61_000, Ordering::Relaxed);
        assert_eq!(rule.read().admits, Ok(()), "exactly at the limit");
        hands.wall_ms.store(NOW + 61_001, Ordering::Relaxed);
        let stamp = rule.read();
        assert_eq!(
            stamp.admits,
            Err(ClockError::Forward {
                now_ms: NOW + 61_001,
                expected_ms: NOW + 1000
            })
        );
        assert_eq!(stamp.time_ms, Ok(NOW + 1000));
        hands.wall_ms.store(NOW + 1001, Ordering::Relaxed);
        assert_eq!(rule.read().admits, Ok(()), "one bad reading is forgotten");
    }

    #[test]
    fn slow_drift_never_adds_up_to_a_jump() {
        let (hands, rule) = rule(NOW, NOW);
        for hour in 1..=100 {
            hands
                .monotonic_ms
                .store(hour * 3_600_000, Ordering::Relaxed);
            hands
                .wall_ms
                .store(NOW + hour * 3_602_000, Ordering::Relaxed);
            assert_eq!(rule.read().admits, Ok(()), "hour {hour}");
        }
    }

    #[test]
    fn start_far_ahead_needs_an_officer() {
        let (_, at_limit) = rule(NOW + 400 * DAY, NOW);
        assert_eq!(at_limit.check_start(), Ok(()));
        let (_, beyond) = rule(NOW + 400 * DAY + 1, NOW);
        assert!(matches!(
            beyond.check_start(),
            Err(ClockError::Forward { .. })
        ));
        assert_eq!(beyond.accept(), (NOW + 400 * DAY + 1, NOW));
        assert_eq!(beyond.read().admits, Ok(()));
        let (_, empty_log) = rule(NOW + 4000 * DAY, 0);
        assert_eq!(empty_log.check_start(), Ok(()));
    }

    #[test]
    fn a_clock_that_was_never_set_gives_no_time() {
        let (_, empty_log) = rule(TIME_MS_MIN - 1, 0);
        assert!(matches!(
            empty_log.read().time_ms,
            Err(ClockError::Unset { .. })
        ));
        let (_, rule) = rule(0, NOW);
        assert!(matches!(rule.read().admits, Err(ClockError::Unset { .. })));
        assert_eq!(rule.read().time_ms, Ok(NOW));
    }
}

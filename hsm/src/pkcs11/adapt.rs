//! The number of sessions of a token, found while it works.
//!
//! Hill climbing: half as many sessions more, and if the rate rose, again. What brought nothing is
//! taken back, and tried again after a while, because load and network change.

/// How much the rate has to rise for more sessions to be worth it. Two windows of the same load
/// differ by 1 to 3 % on a busy machine.
const GAIN: f64 = 1.05;

/// Windows of rest after a step that brought nothing: at a second each, a minute.
const REST: u32 = 60;

/// Where the search stands.
#[derive(Debug, Clone)]
pub(super) struct Climb {
    max: usize,
    /// Sessions that there should be, as far as is known. There may be fewer for a while, when some
    /// were lost, and none while the token is down: that is not learned from.
    wanted: usize,
    phase: Phase,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The next busy window is the one to compare with.
    Ready,
    /// More sessions were opened; the window in which they came says nothing.
    Settling { before: usize, rate: f64 },
    /// The next window tells whether they were worth it.
    Trying { before: usize, rate: f64 },
    /// So many windows more until the next trial.
    Resting(u32),
}

impl Climb {
    pub(super) fn new(wanted: usize, max: usize) -> Climb {
        Climb {
            max,
            wanted,
            phase: Phase::Ready,
        }
    }

    /// After a window with `open` sessions, which signed at `rate` per second; `busy` when they all
    /// had work all the time. Returns how many sessions there should be.
    pub(super) fn observe(&mut self, open: usize, rate: f64, busy: bool) -> usize {
        self.phase = match self.phase {
            Phase::Resting(0) => Phase::Ready,
            Phase::Resting(left) => Phase::Resting(left - 1),
            // Without load, or with other sessions than wanted, a window tells nothing; a trial
            // waits for the next that does.
            phase if !busy || open != self.wanted => phase,
            Phase::Ready => self.step(rate),
            Phase::Settling { before, rate } => Phase::Trying { before, rate },
            Phase::Trying { rate: least, .. } if rate > least * GAIN => self.step(rate),
            Phase::Trying { before, .. } => {
                self.wanted = before;
                Phase::Resting(REST)
            }
        };
        self.wanted
    }

    /// The token refused more than `open` sessions. Returns how many there should be.
    pub(super) fn refused(&mut self, open: usize) -> usize {
        self.wanted = open.max(1);
        self.phase = Phase::Resting(REST);
        self.wanted
    }

    /// The token went down. What was learned is kept; a trial is begun anew. Returns how many
    /// sessions there should be when it is back.
    pub(super) fn interrupted(&mut self) -> usize {
        if let Phase::Settling { before, .. } | Phase::Trying { before, .. } = self.phase {
            self.wanted = before;
            self.phase = Phase::Ready;
        }
        self.wanted
    }

    fn step(&mut self, rate: f64) -> Phase {
        let before = self.wanted;
        self.wanted = (before + before.div_ceil(2)).min(self.max);
        if self.wanted == before {
            Phase::Resting(REST)
        } else {
            Phase::Settling { before, rate }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a token whose rate grows with its sessions up to `knee`.
    fn settle(knee: usize, max: usize, windows: usize) -> Vec<usize> {
        let mut sessions = 2;
        let mut climb = Climb::new(sessions, max);
        (0..windows)
            .map(|_| {
                let rate = sessions.min(knee) as f64 * 100.0;
                sessions = climb.observe(sessions, rate, true);
                sessions
            })
            .collect()
    }

    #[test]
    fn it_grows_to_where_the_rate_stops_and_stays_near() {
        for (knee, least, most) in [(1, 2, 2), (10, 10, 15), (60, 60, 90), (1000, 256, 256)] {
            let path = settle(knee, 256, 50);
            let last = path[path.len() - 1];
            assert!((least..=most).contains(&last), "knee {knee}: {path:?}");
            assert!(path.iter().all(|sessions| (1..=256).contains(sessions)));
        }
    }

    #[test]
    fn it_tries_again_after_a_rest() {
        // A trial takes 3 windows, a rest 61: the first trial and three after it.
        let path = settle(2, 256, 3 * 64 + 3);
        let trials = path.windows(2).filter(|pair| pair[0] == 3 && pair[1] == 2);
        assert_eq!(trials.count(), 4);
    }

    #[test]
    fn idle_windows_change_nothing() {
        let mut climb = Climb::new(4, 256);
        for _ in 0..100 {
            assert_eq!(climb.observe(4, 0.0, false), 4);
        }
    }

    #[test]
    fn a_refusal_is_kept_to() {
        let mut climb = Climb::new(4, 256);
        assert_eq!(climb.observe(4, 400.0, true), 6);
        assert_eq!(climb.refused(5), 5);
        for _ in 0..REST {
            assert_eq!(climb.observe(5, 500.0, true), 5);
        }
        assert_eq!(climb.refused(0), 1);
    }

    #[test]
    fn sessions_that_are_lost_are_wanted_all_the_same() {
        let mut climb = Climb::new(40, 256);
        // All are busy, some hang and were not replaced yet.
        for open in [39, 7, 0] {
            assert_eq!(climb.observe(open, 100.0, true), 40);
        }
        assert_eq!(climb.observe(40, 4000.0, true), 60);
        assert_eq!(climb.observe(55, 5000.0, true), 60, "they are still coming");
        assert_eq!(
            climb.observe(60, 5500.0, true),
            60,
            "the window they came in"
        );
        assert_eq!(climb.observe(59, 0.0, true), 60, "no judgement on a loss");
        assert_eq!(climb.observe(60, 6000.0, true), 90);
    }

    #[test]
    fn what_was_learned_lasts_over_an_outage() {
        let mut climb = Climb::new(40, 256);
        assert_eq!(climb.observe(40, 4000.0, true), 60);
        assert_eq!(climb.observe(60, 5500.0, true), 60);
        // Down in the middle of a trial: 60 were not found to be worth it.
        assert_eq!(climb.interrupted(), 40);
        assert_eq!(climb.observe(40, 4000.0, true), 60, "the trial begins anew");
        assert_eq!(climb.observe(60, 5500.0, true), 60);
        assert_eq!(climb.observe(60, 4000.0, true), 40);
        assert_eq!(climb.interrupted(), 40);
        for _ in 0..REST {
            assert_eq!(climb.observe(40, 4000.0, true), 40, "it goes on resting");
        }
    }
}

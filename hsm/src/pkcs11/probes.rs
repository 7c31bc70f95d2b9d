//! When a token that is down is probed.

use std::time::Duration;

/// Waits between probes, in seconds: a moment's fault is over soon, a real one lasts. The last one
/// repeats.
const INTERVALS_S: [u64; 7] = [1, 1, 2, 5, 10, 60, 300];

/// Probes before those that start the module anew, if nobody else uses it.
const BEFORE_RESTART: usize = 2;

/// The probes of one token since it signed last.
#[derive(Debug, Clone, Default)]
pub(super) struct Probes {
    made: usize,
    /// Signatures of the token when it was taken up last.
    signatures: u64,
}

impl Probes {
    /// The token was taken up, having made so many signatures before. That it answers does not
    /// end the row: it has to sign.
    pub(super) fn taken_up(&mut self, signatures: u64) {
        self.signatures = signatures;
    }

    /// The wait before the next probe of a token that has made so many signatures, `max` at most.
    pub(super) fn interval(&mut self, signatures: u64, max: Duration) -> Duration {
        if signatures > self.signatures {
            // It has signed since it was taken up: this fault is a new one.
            *self = Probes {
                made: 0,
                signatures,
            };
        }
        Duration::from_secs(INTERVALS_S[self.made.min(INTERVALS_S.len() - 1)]).min(max)
    }

    /// Counts a probe that begins. Returns whether the module is to be started anew for it: some
    /// modules connect to their HSM only in C_Initialize.
    pub(super) fn begin(&mut self) -> bool {
        self.made = self.made.saturating_add(1);
        self.made > BEFORE_RESTART
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(probes: &mut Probes, signatures: u64, count: usize) -> Vec<u64> {
        row_up_to(Duration::MAX, probes, signatures, count)
    }

    fn row_up_to(max: Duration, probes: &mut Probes, signatures: u64, count: usize) -> Vec<u64> {
        (0..count)
            .map(|_| {
                let interval = probes.interval(signatures, max).as_secs();
                probes.begin();
                interval
            })
            .collect()
    }

    #[test]
    fn no_wait_is_longer_than_the_limit() {
        let max = Duration::from_secs(4);
        let row = row_up_to(max, &mut Probes::default(), 0, 8);
        assert_eq!(row, [1, 1, 2, 4, 4, 4, 4, 4]);
    }

    #[test]
    fn the_row_starts_over_only_once_the_token_has_signed() {
        let mut probes = Probes::default();
        probes.taken_up(0);
        assert_eq!(row(&mut probes, 7, 9), [1, 1, 2, 5, 10, 60, 300, 300, 300]);
        // It came back and failed again before it signed.
        probes.taken_up(7);
        assert_eq!(row(&mut probes, 7, 1), [300]);
        // It came back and signed.
        probes.taken_up(7);
        assert_eq!(row(&mut probes, 8, 4), [1, 1, 2, 5]);
    }

    #[test]
    fn the_third_probe_starts_the_module_anew() {
        let mut probes = Probes::default();
        let anew: Vec<bool> = (0..4).map(|_| probes.begin()).collect();
        assert_eq!(anew, [false, false, true, true]);
    }
}

//! When the token is away by itself.

use std::time::Duration;

/// Times in which the token is out of its slot, from and to, since C_Initialize.
#[derive(Debug, Default)]
pub(crate) struct Removals(pub(crate) Vec<(Duration, Duration)>);

impl Removals {
    /// Whether it is away at that time.
    pub(crate) fn is_away(&self, now: impl FnOnce() -> Duration) -> bool {
        // Most tokens stay, and need not ask the clock.
        if self.0.is_empty() {
            return false;
        }
        let now = now();
        self.0.iter().any(|(from, to)| (*from..*to).contains(&now))
    }

    /// How often it has gone by that time, whether it is back or not: each time costs it its
    /// sessions, also when nobody called meanwhile.
    pub(crate) fn departures(&self, now: impl FnOnce() -> Duration) -> u64 {
        if self.0.is_empty() {
            return 0;
        }
        let now = now();
        self.0.iter().filter(|(from, _)| *from <= now).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_and_returns_by_the_clock() {
        let ms = Duration::from_millis;
        let removals = Removals(vec![(ms(10), ms(20)), (ms(50), Duration::MAX)]);
        let at = |time| {
            (
                removals.is_away(|| ms(time)),
                removals.departures(|| ms(time)),
            )
        };
        let seen = [0, 9, 10, 19, 20, 49, 50, 10_000].map(at);
        let expected = [
            (false, 0),
            (false, 0),
            (true, 1),
            (true, 1),
            (false, 1),
            (false, 1),
            (true, 2),
            (true, 2),
        ];
        assert_eq!(seen, expected);
        assert!(!Removals::default().is_away(|| Duration::MAX));
    }
}

//! Calls that hang: for a time, or until they are released.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::lock;

/// How often a hung call looks whether it was released by another way than [`Hangs::release`].
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
pub(crate) struct Hangs {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    releases: u64,
    now: u64,
    total: u64,
}

impl Hangs {
    /// Blocks the calling thread for `time`, or until it is released. `meanwhile` is called now and
    /// then, with no lock held.
    pub(crate) fn hang(&self, time: Duration, meanwhile: impl Fn()) {
        let end = Instant::now() + time;
        let mut state = lock(&self.state);
        let releases = state.releases;
        state.now += 1;
        state.total += 1;
        while state.releases == releases {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            drop(state);
            meanwhile();
            state = lock(&self.state);
            if state.releases != releases {
                break;
            }
            let waited = self.released.wait_timeout(state, left.min(LOOK_EVERY));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.now -= 1;
    }

    /// Lets every call go on that hangs now.
    pub(crate) fn release(&self) {
        lock(&self.state).releases += 1;
        self.released.notify_all();
    }

    /// How many calls hang now, and how many ever did.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.now, state.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_hang_ends_by_itself_or_by_release() {
        let hangs = Hangs::default();
        let started = Instant::now();
        hangs.hang(Duration::from_millis(30), || {});
        assert!(started.elapsed() >= Duration::from_millis(30));
        assert_eq!(hangs.counts(), (0, 1));

        let back = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                hangs.hang(Duration::from_secs(60), || {});
                back.store(true, Ordering::SeqCst);
            });
            while hangs.counts().0 == 0 {
                std::thread::yield_now();
            }
            assert!(!back.load(Ordering::SeqCst));
            hangs.release();
        });
        assert_eq!(hangs.counts(), (0, 2));
        assert!(started.elapsed() < Duration::from_secs(60), "released");
    }
}

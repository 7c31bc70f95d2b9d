//! Hands out the numbers from 0 to below a count: each once, for good, over crashes and starts.
//!
//! Nothing is kept of what was handed out. A number that was used stands in a record, so that the log's index knows it
//! (the caller's `is_used`); this only proposes. It goes through the numbers in order, passes over those that the
//! index knows, and takes back those whose requests came to nothing. So a crash, at any moment, loses no number and
//! gives none twice.
//!
//! The count of a quota may be lowered from one start to the next, below numbers that were used. Those are looked up
//! once a start, from the count up to the first [`GAPS_MAX`] in a row that are free: no row of free numbers below a
//! used one is as long. For the walk goes in order, from a number that is the first or follows a used one, and at any
//! time no more than that of what it has passed are neither used nor to be proposed first. As many free numbers as
//! were found used there are then held back.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::MAX_IN_FLIGHT_MAX;
use crate::fault::Fault;

/// Numbers that are looked up for one request at a time, each one read of the index and perhaps of a record.
pub(crate) const PROBES_MAX: usize = 1_024;

/// Numbers that the walk has passed and that are held or set aside, at most: with fewer, what is in flight would have
/// to wait.
pub(crate) const GAPS_MAX: u64 = MAX_IN_FLIGHT_MAX as u64;

/// The numbers of one range.
#[derive(Debug)]
pub(crate) struct NumberWalk {
    count: u64,
    /// [`GAPS_MAX`], but for tests.
    gaps_max: u64,
    /// How far before the end of what is used a start begins.
    back: u64,
    state: Mutex<State>,
}

/// Every number that this process may still propose is in exactly one of: `returned`, the walk that `next` and `end`
/// bound, the second walk, `last`, or `out`.
#[derive(Debug, Default)]
struct State {
    /// What a quota has beyond its count; `None` where the count is never lowered.
    beyond: Option<Beyond>,
    /// Free numbers that are not handed out because as many beyond the count are used.
    held_back: u64,
    /// Where the walk is; `None` before the first request.
    walk: Option<Walk>,
    /// Taken back, to be proposed first.
    returned: BTreeSet<u64>,
    /// Taken back from requests that failed because of the number, as far as one can tell: proposed when there is no
    /// other, so that a number that does not do holds up nobody.
    last: BTreeSet<u64>,
    /// Held by somebody, or being looked up.
    out: BTreeSet<u64>,
}

/// What came of asking for a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proposed {
    /// This one, which is out until it is given back or used.
    Number(u64),
    /// None is free, but those that are out may come back: one of them. Or none was found yet, and this one is used or
    /// is beyond the count.
    AllOut(u64),
    /// All are used.
    AllUsed,
}

/// The used numbers from the count on, as far as they were looked up.
#[derive(Debug, Clone, Copy)]
struct Beyond {
    next: u64,
    /// Free ones in a row before `next`.
    free: u64,
    used: u64,
}

/// The first walk goes from near the last number that was used to the end, the second through what is before it, where
/// earlier runs may have left gaps.
#[derive(Debug, Clone, Copy)]
struct Walk {
    next: u64,
    end: u64,
    /// What the second walk goes through begins at 0 and ends here; 0 when it is done or under way.
    before: u64,
}

impl NumberWalk {
    /// `back`: how far before the end of what is used a start begins, to hand out gaps there first. Each number
    /// costs a look-up; gaps further back come last.
    pub(crate) fn new(count: u64, back: u64) -> Self {
        Self {
            count,
            gaps_max: GAPS_MAX,
            back,
            state: Mutex::default(),
        }
    }

    /// As many numbers as the count says, in all: those that were used beyond it, when it was higher, are taken off.
    /// A start looks for no gaps.
    pub(crate) fn quota(count: u64) -> Self {
        let beyond = Some(Beyond {
            next: count,
            free: 0,
            used: 0,
        });
        Self {
            state: Mutex::new(State {
                beyond,
                ..State::default()
            }),
            ..Self::new(count, 0)
        }
    }

    /// The next number that is not used, if there is one. The index is asked without the lock, which the log's
    /// thread takes too, and no more than [`PROBES_MAX`] times: then the request goes back and others have a turn.
    pub(crate) fn take(
        &self,
        is_used: impl Fn(u64) -> Result<bool, Fault>,
    ) -> Result<Proposed, Fault> {
        if let Some(proposed) = self.look_beyond(&is_used)? {
            return Ok(proposed);
        }
        if self.lock().walk.is_none() {
            let walk = self.begin(&is_used);
            self.lock().walk.get_or_insert(walk);
        }
        let mut used = 0;
        for _ in 0..PROBES_MAX {
            let number = match self.lock().propose(self.gaps_max) {
                Ok(number) => number,
                Err(Some(out)) => return Ok(Proposed::AllOut(out)),
                Err(None) => return Ok(Proposed::AllUsed),
            };
            let found = is_used(number);
            let mut state = self.lock();
            if let Ok(false) = found {
                if state
                    .beyond
                    .is_none_or(|beyond| state.held_back >= beyond.used)
                {
                    return Ok(Proposed::Number(number));
                }
                state.held_back += 1;
            }
            state.out.remove(&number);
            if let Err(fault) = found {
                // Perhaps only this number cannot be looked up: others have their turn first.
                state.last.insert(number);
                return Err(fault);
            }
            used = number;
        }
        Ok(Proposed::AllOut(used))
    }

    /// Takes a number back, to be proposed next. Whether it was used the index knows.
    pub(crate) fn give_back(&self, number: u64) {
        let mut state = self.lock();
        state.out.remove(&number);
        state.returned.insert(number);
    }

    /// Takes a number back, to be proposed when there is no other.
    pub(crate) fn set_aside(&self, number: u64) {
        let mut state = self.lock();
        state.out.remove(&number);
        state.last.insert(number);
    }

    /// A number is in a durable record.
    pub(crate) fn used(&self, number: u64) {
        self.lock().out.remove(&number);
    }

    /// Looks up more of what a quota has beyond its count. What came of asking, unless all of that is known and
    /// something may be left.
    fn look_beyond(
        &self,
        is_used: impl Fn(u64) -> Result<bool, Fault>,
    ) -> Result<Option<Proposed>, Fault> {
        let Some(mut beyond) = self.lock().beyond else {
            return Ok(None);
        };
        let first = beyond.next;
        let known = |beyond: &Beyond| beyond.used >= self.count || beyond.free >= self.gaps_max;
        let mut looked = Ok(());
        for _ in 0..PROBES_MAX {
            if known(&beyond) {
                break;
            }
            match is_used(beyond.next) {
                Ok(true) => (beyond.used, beyond.free) = (beyond.used + 1, 0),
                Ok(false) => beyond.free += 1,
                Err(fault) => {
                    looked = Err(fault);
                    break;
                }
            }
            beyond.next += 1;
        }
        if beyond.next > first {
            // Nobody takes these numbers: whoever looks finds the same, and the one who came further counts.
            let mut state = self.lock();
            if state.beyond.is_some_and(|other| other.next < beyond.next) {
                state.beyond = Some(beyond);
            }
        }
        looked?;
        Ok(match known(&beyond) {
            false => Some(Proposed::AllOut(beyond.next)),
            true if beyond.used >= self.count => Some(Proposed::AllUsed),
            true => None,
        })
    }

    /// Finds about where the last run was, in as many steps as the count has binary digits: numbers are handed out in
    /// order, so that used ones are nearly a prefix. What is out of order, because requests in flight end in any, is
    /// mostly no further behind than the most requests in flight; the second walk finds the rest.
    fn begin(&self, is_used: impl Fn(u64) -> Result<bool, Fault>) -> Walk {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            // One that cannot be looked up only makes the start begin earlier.
            match is_used(middle) {
                Ok(true) => low = middle + 1,
                Ok(false) | Err(_) => high = middle,
            }
        }
        let next = low.saturating_sub(self.back);
        Walk {
            next,
            end: self.count,
            before: next,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the first walk begins.
    #[cfg(test)]
    pub(crate) fn begins_at(&self, is_used: impl Fn(u64) -> Result<bool, Fault>) -> u64 {
        self.begin(is_used).next
    }
}

impl State {
    /// Takes the next number out. The error is one of those that are out, if any is.
    fn propose(&mut self, gaps_max: u64) -> Result<u64, Option<u64>> {
        let returned = self.returned.pop_first();
        let gaps = (self.out.len() + self.last.len()) as u64;
        let number = returned.or_else(|| match gaps < gaps_max {
            true => self.next_of_walk(),
            false => None,
        });
        match number.or_else(|| self.last.pop_first()) {
            Some(number) => {
                self.out.insert(number);
                Ok(number)
            }
            None => Err(self.out.first().copied()),
        }
    }

    fn next_of_walk(&mut self) -> Option<u64> {
        let walk = self.walk.as_mut()?;
        if walk.next == walk.end {
            *walk = Walk {
                next: 0,
                end: walk.before,
                before: 0,
            };
        }
        let number = walk.next;
        (number < walk.end).then(|| {
            walk.next += 1;
            number
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Takes until all are used, as requests do that go back to the start.
    fn drain(walk: &NumberWalk, used: &RefCell<BTreeSet<u64>>) -> Vec<u64> {
        let mut taken = Vec::new();
        loop {
            match walk.take(|number| Ok(used.borrow().contains(&number))) {
                Ok(Proposed::Number(number)) => {
                    assert!(used.borrow_mut().insert(number), "{number} twice");
                    walk.used(number);
                    taken.push(number);
                }
                Ok(Proposed::AllOut(_)) => {}
                Ok(Proposed::AllUsed) => return taken,
                Err(fault) => panic!("{fault}"),
            }
        }
    }

    #[test]
    fn a_start_without_looking_back_asks_little_and_leaves_no_gap() {
        const COUNT: u64 = 5_000;
        let used: BTreeSet<u64> = (0..4_000).filter(|number| number % 1_000 != 999).collect();
        let used = RefCell::new(used);
        let walk = NumberWalk::new(COUNT, 0);
        let asked = Cell::new(0);
        let first = walk.take(|number| {
            asked.set(asked.get() + 1);
            Ok(used.borrow().contains(&number))
        });
        assert!(matches!(first, Ok(Proposed::Number(number)) if number >= 999));
        assert!(asked.get() <= 15, "{}", asked.get());
        let Ok(Proposed::Number(first)) = first else {
            unreachable!("it was one");
        };
        walk.give_back(first);
        let taken = drain(&walk, &used);
        assert_eq!(taken.len(), 1_004, "the rest and the four gaps");
        assert!(used.borrow().iter().copied().eq(0..COUNT));
    }

    #[test]
    fn what_is_out_is_waited_for_and_what_was_set_aside_comes_last() {
        let walk = NumberWalk::new(2, 0);
        let none = |_| Ok(false);
        assert_eq!(walk.take(none), Ok(Proposed::Number(0)));
        assert_eq!(walk.take(none), Ok(Proposed::Number(1)));
        assert_eq!(walk.take(none), Ok(Proposed::AllOut(0)));
        walk.set_aside(0);
        walk.give_back(1);
        assert_eq!(walk.take(none), Ok(Proposed::Number(1)));
        walk.used(1);
        assert_eq!(walk.take(none), Ok(Proposed::Number(0)));
        walk.used(0);
        assert_eq!(walk.take(none), Ok(Proposed::AllUsed));
    }

    #[test]
    fn what_was_used_beyond_a_lowered_count_is_taken_off() {
        // Ten were used, with two gaps below the new count and some above it.
        let used: BTreeSet<u64> = [0, 1, 3, 5, 6, 7, 10, 11, 14, 17].into();
        for (count, left) in [(8, 0), (10, 0), (11, 1), (12, 2), (18, 8), (1, 0)] {
            let used = RefCell::new(used.clone());
            let taken = drain(&NumberWalk::quota(count), &used);
            assert_eq!(taken.len(), left, "{count}: {taken:?}");
        }
    }

    #[test]
    fn a_count_far_below_what_was_used_asks_no_more_than_it() {
        let walk = NumberWalk::quota(10);
        let asked = Cell::new(0);
        let taken = walk.take(|number| {
            asked.set(asked.get() + 1);
            Ok(number < 1_000_000)
        });
        assert_eq!((taken, asked.get()), (Ok(Proposed::AllUsed), 10));
    }

    #[test]
    fn a_number_that_cannot_be_looked_up_holds_up_nobody() {
        let broken = Cell::new(true);
        let look_up = |number| match broken.get() && number % 4 == 1 {
            true => Err(Fault::Log("broken".to_owned())),
            false => Ok(false),
        };
        let walk = NumberWalk::new(6, 0);
        let taken: Vec<_> = (0..8).map(|_| walk.take(look_up).ok()).collect();
        let number = |number| Some(Proposed::Number(number));
        // The last two asks find nothing but what cannot be looked up.
        let expected = [
            number(0),
            None,
            number(2),
            number(3),
            number(4),
            None,
            None,
            None,
        ];
        assert_eq!(taken, expected);
        broken.set(false);
        assert_eq!(walk.take(look_up), Ok(Proposed::Number(1)));
        assert_eq!(walk.take(look_up), Ok(Proposed::Number(5)));
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Take,
        Use(usize),
        GiveBack(usize),
        SetAside(usize),
        /// The process dies, and the next has this quota.
        Start(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            12 => Just(Step::Take),
            6 => (0usize..8).prop_map(Step::Use),
            2 => (0usize..8).prop_map(Step::GiveBack),
            1 => (0usize..8).prop_map(Step::SetAside),
            1 => (1u64..60).prop_map(Step::Start),
        ];
        proptest::collection::vec(step, 0..300)
    }

    proptest! {
        /// However the quota changes from start to start: what is used never grows beyond it, and reaches it.
        #[test]
        fn a_quota_is_met_exactly(steps in steps(), count in 1u64..60, gaps_max in 1u64..6) {
            let start = |count| NumberWalk { gaps_max, ..NumberWalk::quota(count) };
            let used = RefCell::new(BTreeSet::new());
            let (mut walk, mut count, mut before) = (start(count), count, 0);
            let mut out = Vec::new();
            for step in steps {
                match step {
                    Step::Take => {
                        let taken = walk.take(|number| Ok(used.borrow().contains(&number)));
                        if let Ok(Proposed::Number(number)) = taken {
                            out.push(number);
                        }
                    }
                    Step::Use(at) if at < out.len() => {
                        let number = out.remove(at);
                        prop_assert!(used.borrow_mut().insert(number), "{} twice", number);
                        walk.used(number);
                        prop_assert!(used.borrow().len() as u64 <= count.max(before));
                    }
                    Step::GiveBack(at) if at < out.len() => walk.give_back(out.remove(at)),
                    Step::SetAside(at) if at < out.len() => walk.set_aside(out.remove(at)),
                    Step::Start(quota) => {
                        out.clear();
                        (walk, count, before) = (start(quota), quota, used.borrow().len() as u64);
                    }
                    _ => {}
                }
            }
            out.into_iter().for_each(|number| walk.give_back(number));
            drain(&walk, &used);
            prop_assert_eq!(used.borrow().len() as u64, count.max(before));
        }
    }
}

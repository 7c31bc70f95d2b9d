//! Hands out the serial numbers of devices whose requests bring none: each to one device, for good.
//!
//! Nothing is kept of what was handed out. A serial number is its device's identity, so that the log's index knows
//! every one that was issued, and the identity's claim (see [`crate::claims`]) keeps two requests in flight apart. The
//! allocator only proposes: it goes through the numbers in order, passes over those that the index knows, and takes
//! back those whose requests came to nothing. So a crash, at any moment, loses no number and gives none twice.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::MAX_IN_FLIGHT_MAX;
use crate::fault::Fault;
use crate::index_keys::{IDENTITY_SPACE, identity_index_key};
use crate::profile::{Profile, Serials};
use crate::reissue::History;

/// The numbers of one profile.
#[derive(Debug)]
pub(crate) struct SerialAllocator {
    serials: Serials,
    identity_domain: String,
    state: Mutex<State>,
}

/// Every number that this process may still propose is in exactly one of: `returned`, the walk that `next` and `end`
/// bound, the second walk, or out with an [`AllocatedSerial`].
#[derive(Debug, Default)]
struct State {
    /// Where the walk is; `None` before the first request.
    walk: Option<Walk>,
    /// Taken back, to be proposed first.
    returned: BTreeSet<u64>,
    /// With an [`AllocatedSerial`].
    out: BTreeSet<u64>,
}

/// What came of asking for a number.
#[derive(Debug)]
pub(crate) enum Taken {
    Serial(AllocatedSerial),
    /// None is free, but requests in flight may give theirs back: one of these.
    AllOut(String),
    /// All are used, this one too.
    AllUsed(String),
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

/// A number that is proposed for one request. Dropping it gives it back; whether it was used the index knows.
#[derive(Debug)]
pub(crate) struct AllocatedSerial {
    allocator: Arc<SerialAllocator>,
    number: u64,
    text: String,
}

impl AllocatedSerial {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl Drop for AllocatedSerial {
    fn drop(&mut self) {
        let mut state = self.allocator.lock();
        state.out.remove(&self.number);
        state.returned.insert(self.number);
    }
}

impl SerialAllocator {
    /// The allocator of a profile that hands out serial numbers.
    pub(crate) fn new(profile: &Profile) -> Option<Arc<Self>> {
        let serials = profile.serials()?.clone();
        Some(Arc::new(Self {
            serials,
            identity_domain: profile.identity_domain().to_owned(),
            state: Mutex::default(),
        }))
    }

    /// The next number that no record has, if there is one.
    pub(crate) fn take<H: History>(self: &Arc<Self>, history: &H) -> Result<Taken, Fault> {
        let mut state = self.lock();
        if state.walk.is_none() {
            state.walk = Some(self.begin(history)?);
        }
        loop {
            let Some(number) = state.propose() else {
                let out = state.out.first().copied();
                return Ok(match out {
                    Some(number) => Taken::AllOut(self.serials.text(number)),
                    None => Taken::AllUsed(self.serials.text(0)),
                });
            };
            match self.is_used(number, history) {
                Ok(true) => {}
                Ok(false) => {
                    state.out.insert(number);
                    return Ok(Taken::Serial(AllocatedSerial {
                        allocator: self.clone(),
                        number,
                        text: self.serials.text(number),
                    }));
                }
                Err(fault) => {
                    state.returned.insert(number);
                    return Err(fault);
                }
            }
        }
    }

    /// Finds about where the last run was, in as many steps as the count has binary digits: numbers are handed out in
    /// order, so that used ones are nearly a prefix. What is out of order, because requests in flight end in any, is
    /// no further behind than the most requests in flight; the second walk finds the rest.
    fn begin<H: History>(&self, history: &H) -> Result<Walk, Fault> {
        let (mut low, mut high) = (0, self.serials.count());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.is_used(middle, history)? {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        let next = low.saturating_sub(MAX_IN_FLIGHT_MAX as u64);
        Ok(Walk {
            next,
            end: self.serials.count(),
            before: next,
        })
    }

    fn is_used<H: History>(&self, number: u64, history: &H) -> Result<bool, Fault> {
        let key = identity_index_key(&self.identity_domain, &self.serials.text(number));
        Ok(history.newest(IDENTITY_SPACE, &key)?.is_some())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn propose(&mut self) -> Option<u64> {
        if let Some(number) = self.returned.pop_first() {
            return Some(number);
        }
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
    use std::collections::HashSet;

    use birthmark_log::IndexKey;
    use proptest::prelude::*;

    use super::*;

    /// An index that holds serial numbers.
    #[derive(Default)]
    struct Used {
        keys: RefCell<HashSet<[u8; 32]>>,
        asked: Cell<usize>,
        broken: Cell<bool>,
    }

    impl Used {
        fn add(&self, serial: &str) {
            assert!(
                self.keys
                    .borrow_mut()
                    .insert(identity_index_key("p", serial).0),
                "{serial} twice"
            );
        }
    }

    impl History for Used {
        fn newest(&self, _: usize, key: &IndexKey) -> Result<Option<u64>, Fault> {
            self.asked.set(self.asked.get() + 1);
            match self.broken.get() {
                true => Err(Fault::Log("broken".to_owned())),
                false => Ok(self.keys.borrow().contains(&key.0).then_some(0)),
            }
        }

        fn record(&self, _: u64) -> Result<Vec<u8>, Fault> {
            Err(Fault::Closing)
        }
    }

    /// An allocator as a start makes it.
    fn start(count: u64) -> Arc<SerialAllocator> {
        Arc::new(SerialAllocator {
            serials: Serials::Range {
                prefix: "S".to_owned(),
                from: 0,
                digits: 7,
                count,
            },
            identity_domain: "p".to_owned(),
            state: Mutex::default(),
        })
    }

    fn text(taken: &Result<Taken, Fault>) -> Option<&str> {
        match taken.as_ref().unwrap() {
            Taken::Serial(serial) => Some(serial.text()),
            Taken::AllOut(_) | Taken::AllUsed(_) => None,
        }
    }

    #[test]
    fn numbers_go_out_in_order_and_come_back() {
        let (used, allocator) = (Used::default(), start(3));
        let first = allocator.take(&used);
        let second = allocator.take(&used);
        assert_eq!(
            [text(&first), text(&second)],
            [Some("S0000000"), Some("S0000001")]
        );
        drop(first);
        used.add("S0000001");
        drop(second);
        let again = allocator.take(&used);
        assert_eq!(text(&again), Some("S0000000"));
        let last = allocator.take(&used);
        assert_eq!(text(&last), Some("S0000002"));
        let all_out = allocator.take(&used).unwrap();
        assert!(matches!(all_out, Taken::AllOut(number) if number == "S0000000"));
        drop(again);
        assert_eq!(text(&allocator.take(&used)), Some("S0000000"));
    }

    #[test]
    fn a_start_in_a_long_range_asks_little_and_finds_gaps_at_last() {
        let count = 200_000;
        let used = Used::default();
        for number in 0..count - 2 {
            if number != 7 {
                used.add(&format!("S{number:07}"));
            }
        }
        let allocator = start(count);
        let begun = allocator.begin(&used).unwrap();
        assert!(used.asked.get() <= 18, "{}", used.asked.get());
        assert_eq!(begun.next, count - 2 - MAX_IN_FLIGHT_MAX as u64);
        let taken: Vec<_> = (0..4).map(|_| allocator.take(&used)).collect();
        let texts: Vec<_> = taken.iter().map(text).collect();
        assert_eq!(
            texts,
            [Some("S0199998"), Some("S0199999"), Some("S0000007"), None]
        );
    }

    #[test]
    fn an_index_that_fails_loses_no_number() {
        let (used, allocator) = (Used::default(), start(1));
        drop(allocator.take(&used));
        used.broken.set(true);
        assert!(allocator.take(&used).is_err());
        used.broken.set(false);
        assert_eq!(text(&allocator.take(&used)), Some("S0000000"));
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Take,
        /// The request of one of those in flight ends in a record.
        Issue(usize),
        /// It comes to nothing.
        Fail(usize),
        /// The process dies and starts anew.
        Crash,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => Just(Step::Take),
            4 => (0usize..8).prop_map(Step::Issue),
            2 => (0usize..8).prop_map(Step::Fail),
            1 => Just(Step::Crash),
        ];
        proptest::collection::vec(step, 0..120)
    }

    proptest! {
        /// Whatever ends how and whenever the process dies: no number is out twice at a time, none is issued twice
        /// (`Used::add` would panic), and in the end all are issued.
        #[test]
        fn each_number_is_issued_exactly_once(steps in steps(), count in 1u64..40) {
            let used = Used::default();
            let mut allocator = start(count);
            let mut out: Vec<AllocatedSerial> = Vec::new();
            for step in steps {
                match step {
                    Step::Take => {
                        if let Taken::Serial(taken) = allocator.take(&used).unwrap() {
                            prop_assert!(out.iter().all(|other| other.text() != taken.text()));
                            out.push(taken);
                        }
                    }
                    Step::Issue(at) if at < out.len() => used.add(out.remove(at).text()),
                    Step::Fail(at) if at < out.len() => drop(out.remove(at)),
                    Step::Crash => {
                        out.clear();
                        allocator = start(count);
                    }
                    _ => {}
                }
            }
            out.clear();
            while let Taken::Serial(taken) = allocator.take(&used).unwrap() {
                used.add(taken.text());
            }
            prop_assert!(matches!(allocator.take(&used).unwrap(), Taken::AllUsed(_)));
            prop_assert_eq!(used.keys.borrow().len() as u64, count);
        }
    }
}

//! Hands out the serial numbers of devices whose requests bring none: each to one device, for good.
//!
//! A serial number is its device's identity, so that the log's index knows every one that was issued, and the
//! identity's claim (see [`crate::claims`]) keeps two requests in flight apart. What is proposed when is
//! [`crate::number_walk`]'s business.

use std::sync::Arc;

use crate::engine::MAX_IN_FLIGHT_MAX;
use crate::fault::Fault;
use crate::index_keys::{IDENTITY_SPACE, identity_index_key};
use crate::number_walk::{NumberWalk, Proposed};
use crate::profile::{Profile, Serials};
use crate::reissue::History;

/// A start looks for gaps among the last numbers, because requests in flight end in any order: people expect theirs in
/// order.
const BACK: u64 = MAX_IN_FLIGHT_MAX as u64;

/// The numbers of one profile.
#[derive(Debug)]
pub(crate) struct SerialAllocator {
    serials: Serials,
    identity_domain: String,
    walk: NumberWalk,
}

/// What came of asking for a number.
#[derive(Debug)]
pub(crate) enum Taken {
    Serial(AllocatedSerial),
    /// None is free, but requests in flight may give theirs back: one of these. Or none was found yet, and this one
    /// is used.
    AllOut(String),
    /// All are used, this one too.
    AllUsed(String),
}

/// A number that is proposed for one request. Dropping it gives it back; whether it was used the index knows.
#[derive(Debug)]
pub(crate) struct AllocatedSerial {
    allocator: Arc<SerialAllocator>,
    number: u64,
    text: String,
    failed: bool,
}

impl AllocatedSerial {
    /// The request failed because of the number, or may have: it is proposed again when there is no other.
    pub(crate) fn set_aside(&mut self) {
        self.failed = true;
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl Drop for AllocatedSerial {
    fn drop(&mut self) {
        match self.failed {
            false => self.allocator.walk.give_back(self.number),
            true => self.allocator.walk.set_aside(self.number),
        }
    }
}

impl SerialAllocator {
    /// The allocator of a profile that hands out serial numbers.
    pub(crate) fn new(profile: &Profile) -> Option<Arc<Self>> {
        let serials = profile.serials()?.clone();
        Some(Arc::new(Self {
            walk: NumberWalk::new(serials.count(), BACK),
            serials,
            identity_domain: profile.identity_domain().to_owned(),
        }))
    }

    /// The next number that no record has, if there is one.
    pub(crate) fn take<H: History>(self: &Arc<Self>, history: &H) -> Result<Taken, Fault> {
        let taken = self.walk.take(|number| self.is_used(number, history))?;
        Ok(match taken {
            Proposed::Number(number) => Taken::Serial(AllocatedSerial {
                allocator: self.clone(),
                number,
                text: self.serials.text(number),
                failed: false,
            }),
            Proposed::AllOut(out) => Taken::AllOut(self.serials.text(out)),
            Proposed::AllUsed => Taken::AllUsed(self.serials.text(0)),
        })
    }

    fn is_used<H: History>(&self, number: u64, history: &H) -> Result<bool, Fault> {
        let key = identity_index_key(&self.identity_domain, &self.serials.text(number));
        match history.newest(IDENTITY_SPACE, &key) {
            Ok(newest) => Ok(newest.is_some()),
            // The index has it: what the record says does not matter here, and the archive may stay where it is.
            Err(Fault::Archived(_)) => Ok(true),
            Err(fault) => Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::HashSet;

    use birthmark_log::IndexKey;
    use proptest::prelude::*;

    use super::*;
    use crate::number_walk::PROBES_MAX;

    /// An index that holds serial numbers.
    #[derive(Default)]
    struct Used {
        keys: RefCell<HashSet<[u8; 32]>>,
        asked: Cell<usize>,
        broken: Cell<bool>,
        archived: Cell<bool>,
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
            let found = self.keys.borrow().contains(&key.0);
            match self.broken.get() {
                true => Err(Fault::Log("broken".to_owned())),
                false if found && self.archived.get() => Err(Fault::Archived("away".to_owned())),
                false => Ok(found.then_some(0)),
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
            walk: NumberWalk::new(count, BACK),
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
        let is_used = |number| allocator.is_used(number, &used);
        let begun = allocator.walk.begins_at(is_used);
        assert!(used.asked.get() <= 18, "{}", used.asked.get());
        assert_eq!(begun, count - 2 - MAX_IN_FLIGHT_MAX as u64);
        // As a request does that goes back to the start.
        let turns = MAX_IN_FLIGHT_MAX / PROBES_MAX + 2 * 196;
        let next = || {
            let mut turns = (0..turns).map(|_| allocator.take(&used));
            turns.find(|taken| text(taken).is_some())
        };
        let taken: Vec<_> = (0..4).map(|_| next()).collect();
        let texts: Vec<_> = taken
            .iter()
            .map(|taken| taken.as_ref().and_then(text))
            .collect();
        assert_eq!(
            texts,
            [Some("S0199998"), Some("S0199999"), Some("S0000007"), None]
        );
    }

    #[test]
    fn a_number_that_fails_its_request_goes_out_last() {
        let (used, allocator) = (Used::default(), start(3));
        let Taken::Serial(mut bad) = allocator.take(&used).unwrap() else {
            panic!("none is used");
        };
        bad.set_aside();
        drop(bad);
        let taken: Vec<_> = (0..4).map(|_| allocator.take(&used)).collect();
        let texts: Vec<_> = taken.iter().map(text).collect();
        assert_eq!(
            texts,
            [Some("S0000001"), Some("S0000002"), Some("S0000000"), None]
        );
    }

    #[test]
    fn a_number_whose_record_is_in_an_archive_is_used() {
        let (used, allocator) = (Used::default(), start(3));
        used.add("S0000000");
        used.archived.set(true);
        assert_eq!(text(&allocator.take(&used)), Some("S0000001"));
    }

    #[test]
    fn one_request_asks_for_a_bounded_number() {
        let (used, allocator) = (Used::default(), start(3_000));
        (0..2_999).for_each(|number| used.add(&format!("S{number:07}")));
        assert!(matches!(allocator.take(&used).unwrap(), Taken::AllOut(_)));
        assert!(used.asked.get() <= PROBES_MAX + 13, "{}", used.asked.get());
        assert!(matches!(allocator.take(&used).unwrap(), Taken::AllOut(_)));
        assert_eq!(text(&allocator.take(&used)), Some("S0002999"));
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

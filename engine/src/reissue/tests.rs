//! The rules of reissue over a history in memory, whose finds and reads a test can come between.

use std::collections::{HashMap, HashSet};

use super::world::{Ask, ISSUER, NOW_S, Told, World, profile};
use super::*;
use crate::key::sha256;

fn changed(index: u64) -> Told {
    let identity = "SN-1".to_owned();
    Told::Refused(Rejection::ChangedRequest { identity, index })
}

fn identity_in_use(index: u64) -> Told {
    let identity = "SN-1".to_owned();
    Told::Refused(Rejection::IdentityInUse { identity, index })
}

fn superseded(index: u64, by: u64) -> Told {
    Told::Refused(Rejection::Superseded { index, by })
}

fn key_retired(index: u64, by: u64) -> Told {
    let identity = "SN-1".to_owned();
    Told::Refused(Rejection::KeyRetired {
        identity,
        index,
        by,
    })
}

fn permit_needed(ask: Ask, index: u64) -> Told {
    Told::Refused(Rejection::PermitNeeded {
        identity: ask.1.to_owned(),
        index,
        key_fingerprint: hex::encode(&ask.fingerprint()),
    })
}

fn key_in_use(index: u64) -> Told {
    Told::Refused(Rejection::KeyInUse { index })
}

#[test]
fn never() {
    let world = World::new("never");
    assert_eq!(world.issue(Ask(1, "SN-1", 1), None), Told::Issued(0, None));
    let permit = world.signed("SN-1", 0);
    for permit in [None, Some(permit.as_str())] {
        assert_eq!(world.issue(Ask(1, "SN-1", 1), permit), Told::Existing(0));
        assert_eq!(world.issue(Ask(1, "SN-1", 2), permit), changed(0));
        assert_eq!(world.issue(Ask(2, "SN-1", 1), permit), identity_in_use(0));
        assert_eq!(world.issue(Ask(1, "SN-2", 1), permit), key_in_use(0));
    }
}

#[test]
fn same_key() {
    let world = World::new("same-key");
    let (a, b, c) = (Ask(1, "SN-1", 1), Ask(1, "SN-1", 2), Ask(1, "SN-1", 3));
    assert_eq!(world.issue(a, None), Told::Issued(0, None));
    assert_eq!(world.issue(b, None), Told::Issued(1, Some(0)));
    for _ in 0..2 {
        assert_eq!(world.issue(b, None), Told::Existing(1));
        // Otherwise a line that asks for the two in turn would have a certificate for each time.
        assert_eq!(world.issue(a, None), superseded(0, 1));
    }
    assert_eq!(world.issue(c, None), Told::Issued(2, Some(1)));
    assert_eq!(world.issue(a, None), superseded(0, 2));
    assert_eq!(world.issue(b, None), superseded(1, 2));
    assert_eq!(world.issue(Ask(2, "SN-1", 3), None), identity_in_use(2));
    assert_eq!(world.issue(Ask(1, "SN-2", 3), None), key_in_use(2));
    // In other capitals it is the same device.
    assert_eq!(
        world.issue(Ask(1, "sn-1", 9), None),
        Told::Issued(3, Some(2))
    );
    assert_eq!(world.issue(a, None), superseded(0, 3));
}

#[test]
fn same_key_stays_within_profile_and_issuer() {
    let domain = "identity_domain = \"factory\"";
    let mut world = World::new("same-key");
    world.profile = profile("first", "same-key", domain);
    world.issue(Ask(1, "SN-1", 1), None);
    world.profile = profile("second", "same-key", domain);
    assert_eq!(world.issue(Ask(1, "SN-1", 2), None), changed(0));
    world.profile = profile("first", "same-key", domain);
    world.issuer = [8; 20];
    assert_eq!(world.issue(Ask(1, "SN-1", 1), None), changed(0));
    world.issuer = ISSUER;
    assert_eq!(
        world.issue(Ask(1, "SN-1", 2), None),
        Told::Issued(1, Some(0))
    );
    // What was replaced stays so if the profile becomes strict again.
    world.profile = profile("first", "never", domain);
    assert_eq!(world.issue(Ask(1, "SN-1", 1), None), superseded(0, 1));
    assert_eq!(world.issue(Ask(1, "SN-1", 2), None), Told::Existing(1));
}

#[test]
fn permit() {
    let world = World::new("permit");
    let (first, rework) = (Ask(1, "SN-1", 1), Ask(2, "SN-1", 1));
    assert_eq!(world.issue(first, None), Told::Issued(0, None));
    assert_eq!(world.issue(rework, None), permit_needed(rework, 0));
    let changed = Ask(1, "SN-1", 2);
    assert_eq!(world.issue(changed, None), permit_needed(changed, 0));

    let permit = world.signed("SN-1", 0);
    // An answer that stands needs no permit, and a key of another device is not to be had by one.
    assert_eq!(world.issue(first, Some("nonsense")), Told::Existing(0));
    assert_eq!(world.issue(Ask(1, "SN-2", 1), Some(&permit)), key_in_use(0));
    let Verdict::Replaces(replacement) = world.judge(rework, Some(&permit)) else {
        panic!("the permit is good");
    };
    assert_eq!(replacement.index, 0);
    assert_eq!(replacement.permit, Some(sha256(permit.as_bytes())));
    assert_eq!(world.issue(rework, Some(&permit)), Told::Issued(1, Some(0)));

    // Spent: it replaced 0, and 1 stands.
    assert_eq!(world.issue(rework, Some(&permit)), Told::Existing(1));
    assert_eq!(world.issue(rework, None), Told::Existing(1));
    let problem = PermitProblem::OtherEntry(0);
    assert_eq!(
        world.issue(Ask(3, "SN-1", 1), Some(&permit)),
        Told::Refused(Rejection::Permit {
            identity: "SN-1".to_owned(),
            index: 1,
            problem
        })
    );
    // The old request is over, and so is the old key: for this device, with a new permit, and for others.
    let next = world.signed("SN-1", 1);
    for permit in [None, Some(next.as_str())] {
        assert_eq!(world.issue(first, permit), superseded(0, 1));
        assert_eq!(world.issue(Ask(1, "SN-1", 5), permit), key_retired(0, 1));
        assert_eq!(world.issue(Ask(1, "SN-9", 1), permit), key_in_use(0));
        assert_eq!(world.issue(Ask(2, "SN-9", 1), permit), key_in_use(1));
    }
    assert_eq!(
        world.issue(Ask(2, "SN-1", 2), Some(&next)),
        Told::Issued(2, Some(1))
    );
    assert_eq!(world.issue(first, None), superseded(0, 2));
    assert_eq!(world.issue(rework, None), superseded(1, 2));
}

/// A clock that cannot be right stops what needs the time, and nothing else.
#[test]
fn a_permit_needs_the_time() {
    let mut world = World::new("permit");
    let (first, rework) = (Ask(1, "SN-1", 1), Ask(2, "SN-1", 1));
    world.issue(first, None);
    let permit = world.signed("SN-1", 0);
    let fault = Fault::Clock("it stands".to_owned());
    world.now_s = Err(fault.clone());
    assert_eq!(world.issue(rework, Some(&permit)), Told::Failed(fault));
    assert_eq!(world.issue(rework, None), permit_needed(rework, 0));
    assert_eq!(world.issue(first, None), Told::Existing(0));
    world.now_s = Ok(NOW_S + 1);
    let Told::Refused(Rejection::Permit { problem, .. }) = world.issue(rework, Some(&permit))
    else {
        panic!("it has ended");
    };
    assert_eq!(
        problem,
        PermitProblem::Expired("2027-01-15T08:00:00Z".to_owned())
    );
}

#[test]
fn a_device_is_reissued_so_often_and_no_more() {
    let world = World::new("same-key");
    world.issue(Ask(1, "SN-1", 0), None);
    for count in 1..=REISSUES_MAX {
        let value = u8::try_from(count).unwrap();
        assert_eq!(
            world.issue(Ask(1, "SN-1", value), None),
            Told::Issued(count as u64, Some(count as u64 - 1))
        );
    }
    let last = REISSUES_MAX as u64;
    let refused = Told::Refused(Rejection::ReissueLimit {
        identity: "SN-1".to_owned(),
        index: last,
    });
    assert_eq!(world.issue(Ask(1, "SN-1", 200), None), refused);
    // The first request is still known for what it is.
    assert_eq!(world.issue(Ask(1, "SN-1", 0), None), superseded(0, last));
    let value = u8::try_from(REISSUES_MAX).unwrap();
    assert_eq!(
        world.issue(Ask(1, "SN-1", value), None),
        Told::Existing(last)
    );

    // A longer chain, of a later release perhaps, is not made longer still.
    world.push(Ask(1, "SN-1", 201), Some(last));
    let refused = Told::Refused(Rejection::ReissueLimit {
        identity: "SN-1".to_owned(),
        index: last + 1,
    });
    assert_eq!(world.issue(Ask(1, "SN-1", 202), None), refused);
}

#[test]
fn a_chain_that_no_engine_wrote_is_a_fault() {
    for replaces in [1, 2, 3, u64::MAX] {
        let world = World::new("same-key");
        world.push(Ask(9, "SN-9", 1), None);
        world.push(Ask(1, "SN-1", 1), Some(replaces));
        let told = world.issue(Ask(1, "SN-1", 2), None);
        assert_eq!(told, Told::Failed(unreadable(1)), "replaces {replaces}");
        assert_eq!(world.issue(Ask(1, "SN-1", 1), None), Told::Existing(1));
    }
}

/// Records that come between two finds: every answer is right for some moment of the judging, and a
/// device's present key never looks given up.
#[test]
fn records_that_come_meanwhile() {
    let (a, b, c) = (Ask(1, "SN-1", 1), Ask(1, "SN-1", 2), Ask(1, "SN-1", 3));
    for first in 1..6 {
        for second in first..6 {
            let world = World::new("same-key");
            world.push(a, None);
            let arrivals = vec![
                (first, world.record(b, Some(0))),
                (second, world.record(c, Some(1))),
            ];
            world.past.arrivals.replace(arrivals);
            let place = format!("after {first} and {second} finds");
            match world.judge(Ask(1, "SN-1", 4), None) {
                Verdict::Replaces(Replacement { index: 0..=2, .. }) => {}
                other => panic!("{place}: {other:?}"),
            }
        }
        let world = World::new("never");
        world
            .past
            .arrivals
            .replace(vec![(first, world.record(a, None))]);
        match world.judge(a, None) {
            Verdict::New => {}
            Verdict::Same(earlier) if earlier.index == 0 => {}
            other => panic!("after {first} finds: {other:?}"),
        }
    }
}

/// A storm of random requests, with every permit that the refusals ask for, on devices that fight for keys.
#[test]
fn whatever_is_asked_the_rules_hold() {
    const SEED: u64 = 0x2e15_50e5;
    for (number, reissue) in (0..).zip(["never", "same-key", "permit"]) {
        let world = World::new(reissue);
        let mut state = SEED + number;
        let mut below = |end: u64| {
            // An LCG (Knuth, MMIX); the high bits are the random ones.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % end
        };
        let mut issued: HashMap<Ask, u64> = HashMap::new();
        let mut asks = Vec::new();
        for _ in 0..1_500 {
            let identity = ["SN-1", "SN-2", "SN-3"][below(3) as usize];
            let ask = Ask(below(20) as u8, identity, below(3) as u8);
            let mut told = world.issue(ask, None);
            if let Told::Refused(Rejection::PermitNeeded { index, .. }) = told {
                told = world.issue(ask, Some(&world.signed(identity, index)));
            }
            match told {
                Told::Issued(index, _) => assert_eq!(issued.insert(ask, index), None, "{ask:?}"),
                Told::Existing(index) => assert_eq!(issued[&ask], index, "{ask:?}"),
                Told::Refused(_) => {}
                Told::Failed(fault) => panic!("seed {SEED:#x}: {fault}"),
            }
            asks.push(ask);
        }
        assert!(issued.len() >= 3, "{reissue}: {}", issued.len());
        assert_chains_are_sound(&world, reissue);
    }
}

/// One line of records for each identity, each but the first replacing the one before; each key with one
/// identity, and in one stretch of its line.
fn assert_chains_are_sound(world: &World, reissue: &str) {
    let records = world.past.records.borrow();
    let mut lines: HashMap<String, Vec<(u64, Vec<u8>)>> = HashMap::new();
    let mut replaced = 0;
    for (index, record) in (0..).zip(records.iter()) {
        let Ok(Record::Issued(issued)) = Record::decode(record) else {
            panic!("an issued record");
        };
        let line = lines
            .entry(issued.identity.unwrap().to_owned())
            .or_default();
        assert_eq!(issued.replaces, line.last().map(|(index, _)| *index));
        replaced += usize::from(issued.replaces.is_some());
        line.push((index, issued.key_fingerprint.to_vec()));
    }
    assert_eq!(replaced > 0, reissue != "never");
    let mut keys = HashSet::new();
    for line in lines.values_mut() {
        line.dedup_by(|(_, key), (_, before)| key == before);
        for (index, key) in line {
            assert!(keys.insert(key.clone()), "{reissue}: record {index}");
        }
    }
}

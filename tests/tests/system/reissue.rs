//! Devices that are issued again: with the same key, or by an officer's permit; in turn, at once, across
//! restarts and faults of the storage.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use birthmark_engine::permit::{Permit, PermitProblem};
use birthmark_engine::{
    Action, Engine, Fault, IssueStatus, Issued, OpenError, Rejection, Request, RequestKey,
};

use crate::clock::HandClock;
use crate::faulty_storage::{CommitFault, FaultyStorage};
use crate::officer::{Officer, ask, ask_with, profile};
use crate::requests::Key;
use crate::station::{Entry, Factory, Signer, fault, rejection};

on_every_signer!(
    the_same_key_gets_another_certificate_for_other_values,
    a_permit_allows_one_new_key_once,
    changes_at_once_make_one_line,
    one_permit_in_flight_twice_serves_once,
);

#[track_caller]
fn issue_new(engine: &Engine, request: Request) -> Issued {
    let issued = engine.issue(request).unwrap();
    assert_eq!(issued.status, IssueStatus::Issued);
    issued
}

#[track_caller]
fn assert_existing(engine: &Engine, request: Request, earlier: &Issued) {
    let again = engine.issue(request).unwrap();
    assert_eq!(again.status, IssueStatus::Existing);
    assert_eq!(again.certificate, earlier.certificate);
}

/// What each record replaces, in order.
fn replaced(entries: &[Entry]) -> Vec<Option<u64>> {
    let issued = entries.iter().filter_map(|entry| match entry {
        Entry::Issued { replaces, .. } => Some(*replaces),
        _ => None,
    });
    issued.collect()
}

fn problem(rejection: Rejection) -> PermitProblem {
    match rejection {
        Rejection::Permit { problem, .. } => problem,
        other => panic!("the permit should be refused: {other:?}"),
    }
}

fn the_same_key_gets_another_certificate_for_other_values(signer: Signer) {
    let factory = Factory::new(signer);
    let officer = Officer::new(&factory);
    let open = || officer.open(&factory, "same-key");
    let (key, other_key) = (Key::generate(), Key::generate());
    let identity = || "SN-1".to_owned();

    let engine = open();
    let first = issue_new(&engine, ask(&key, "A-1"));
    assert_existing(&engine, ask(&key, "A-1"), &first);
    engine.close().unwrap();
    let mut engine = open();
    let second = issue_new(&engine, ask(&key, "A-2"));
    assert_ne!(first.certificate, second.certificate);
    for _ in 0..2 {
        assert_existing(&engine, ask(&key, "A-2"), &second);
        let superseded = rejection(engine.issue(ask(&key, "A-1")));
        assert_eq!(superseded, Rejection::Superseded { index: 0, by: 1 });
        assert_eq!(
            (superseded.number(), superseded.action()),
            (503, Action::CallOfficer)
        );
        assert_eq!(
            rejection(engine.issue(ask(&other_key, "A-1"))),
            Rejection::IdentityInUse {
                identity: identity(),
                index: 1
            }
        );
        let elsewhere = Request {
            key: RequestKey::Csr(key.request("SN-2")),
            ..ask(&key, "A-1")
        };
        assert_eq!(
            rejection(engine.issue(elsewhere)),
            Rejection::KeyInUse { index: 1 }
        );
        engine.close().unwrap();
        engine = open();
    }
    engine.close().unwrap();

    // A profile that becomes strict keeps what was replaced and replaces nothing more.
    let engine = officer.open(&factory, "never");
    assert_existing(&engine, ask(&key, "A-2"), &second);
    assert_eq!(
        rejection(engine.issue(ask(&key, "A-1"))),
        Rejection::Superseded { index: 0, by: 1 }
    );
    assert_eq!(
        rejection(engine.issue(ask(&key, "A-3"))),
        Rejection::ChangedRequest {
            identity: identity(),
            index: 1
        }
    );
    engine.close().unwrap();
    assert_eq!(replaced(&factory.assert_sound()), [None, Some(0)]);
}

fn a_permit_allows_one_new_key_once(signer: Signer) {
    let factory = Factory::new(signer);
    let officer = Officer::new(&factory);
    let open = || officer.open(&factory, "permit");
    let keys = [(); 4].map(|()| Key::generate());
    let [old, one, other, third] = &keys;

    let mut engine = open();
    let first = issue_new(&engine, ask(old, "A"));
    let needed = rejection(engine.issue(ask(one, "A")));
    assert!(
        matches!(&needed, Rejection::PermitNeeded { identity, index: 0, .. } if identity == "SN-1")
    );
    assert_eq!(
        (needed.number(), needed.action()),
        (510, Action::CallOfficer)
    );
    let permit = officer.sign(&officer.permit("SN-1", 0));
    engine.close().unwrap();

    // Two in one batch: whoever is first spends it, and either may be.
    engine = open();
    let asked = [one, other].map(|key| ask_with(key, "A", &permit));
    let mut answers = engine.issue_batch(asked.into()).into_iter();
    let (to_one, to_other) = (answers.next().unwrap(), answers.next().unwrap());
    let (new, rival, won, lost) = match to_one.is_ok() {
        true => (one, other, to_one, to_other),
        false => (other, one, to_other, to_one),
    };
    let second = won.unwrap();
    assert_eq!(second.status, IssueStatus::Issued);
    assert_eq!(problem(rejection(lost)), PermitProblem::OtherEntry(0));

    for _ in 0..2 {
        // The retry is the same certificate, with the spent permit and without.
        assert_existing(&engine, ask(new, "A"), &second);
        assert_existing(&engine, ask_with(new, "A", &permit), &second);
        for key in [rival, new] {
            let spent = rejection(engine.issue(ask_with(key, "B", &permit)));
            assert_eq!(problem(spent), PermitProblem::OtherEntry(0));
        }
        assert_given_up(&engine, old, &officer.sign(&officer.permit("SN-1", 1)));
        engine.close().unwrap();
        engine = open();
    }
    let next = officer.sign(&officer.permit("SN-1", 1));
    let last = issue_new(&engine, ask_with(third, "A", &next));
    assert_existing(&engine, ask(third, "A"), &last);
    engine.close().unwrap();

    let entries = factory.assert_sound();
    assert_eq!(replaced(&entries), [None, Some(0), Some(1)]);
    let permits: Vec<_> = entries
        .iter()
        .map(|entry| match entry {
            Entry::Issued { permit, .. } => permit.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        permits,
        [None, Some(hex_digest(&permit)), Some(hex_digest(&next))]
    );
    assert_eq!(entries[0].certificate(), Some(first.certificate.as_der()));
}

/// The old request is over, and its key is nobody's, whatever `next` permits.
fn assert_given_up(engine: &Engine, old: &Key, next: &[u8]) {
    let superseded = Rejection::Superseded { index: 0, by: 1 };
    assert_eq!(rejection(engine.issue(ask(old, "A"))), superseded);
    assert_eq!(
        rejection(engine.issue(ask_with(old, "A", next))),
        superseded
    );
    let retired = rejection(engine.issue(ask_with(old, "B", next)));
    assert!(matches!(
        retired,
        Rejection::KeyRetired {
            index: 0,
            by: 1,
            ..
        }
    ));
    assert_eq!((retired.number(), retired.action()), (504, Action::Rework));
    let mut elsewhere = ask_with(old, "A", next);
    elsewhere.key = RequestKey::Csr(old.request("SN-2"));
    assert_eq!(
        rejection(engine.issue(elsewhere)),
        Rejection::KeyInUse { index: 0 }
    );
}

fn hex_digest(bytes: &[u8]) -> String {
    birthmark::hex::encode(digest(&SHA256, bytes).as_ref())
}

/// Different changes of one device, all in flight together: each is judged against the one before, so that
/// none replaces what another has replaced.
fn changes_at_once_make_one_line(signer: Signer) {
    const CHANGES: usize = 6;
    let factory = Factory::new(signer);
    let officer = Officer::new(&factory);
    let (storage, faults) = FaultyStorage::new();
    let engine = factory.open_with(|station| {
        officer.configure(station, "same-key");
        station.log_options.storage = storage;
    });
    let key = Key::generate();
    issue_new(&engine, ask(&key, "first"));
    faults.close_gate();
    let submit = |change: usize| {
        engine
            .submit(ask(&key, &format!("change {change}")))
            .unwrap()
    };
    // Each twice: the second attaches to the first, or finds it answered or replaced.
    let pending: Vec<_> = (0..2 * CHANGES)
        .map(|number| (number % CHANGES, submit(number % CHANGES)))
        .collect();
    faults.open_gate();
    let mut issued = BTreeMap::new();
    for (change, pending) in pending {
        match pending.wait() {
            Ok(answer) => {
                let certificate = answer.certificate;
                assert_eq!(
                    *issued.entry(change).or_insert(certificate.clone()),
                    certificate
                );
            }
            Err(error) => match rejection(Err(error)) {
                Rejection::Superseded { .. } => {}
                other => panic!("change {change}: {other:?}"),
            },
        }
    }
    assert_eq!(engine.log().len(), CHANGES as u64 + 1);
    engine.close().unwrap();
    let line: Vec<_> = (0..CHANGES as u64).map(Some).collect();
    assert_eq!(replaced(&factory.assert_sound())[1..], line);
}

fn one_permit_in_flight_twice_serves_once(signer: Signer) {
    let factory = Factory::new(signer);
    let officer = Officer::new(&factory);
    let (storage, faults) = FaultyStorage::new();
    let engine = factory.open_with(|station| {
        officer.configure(station, "permit");
        station.log_options.storage = storage;
    });
    issue_new(&engine, ask(&Key::generate(), "A"));
    let permit = officer.sign(&officer.permit("SN-1", 0));
    let keys = [(); 5].map(|()| Key::generate());
    faults.close_gate();
    let submit = |key: &Key| engine.submit(ask_with(key, "A", &permit)).unwrap();
    // The first key asks twice: that is one request.
    let pending: Vec<_> = keys.iter().chain([&keys[0]]).map(submit).collect();
    faults.open_gate();
    let (good, bad): (Vec<_>, Vec<_>) = pending
        .into_iter()
        .map(|pending| pending.wait())
        .partition(Result::is_ok);
    let good: Vec<_> = good.into_iter().map(Result::unwrap).collect();
    assert!(matches!(good.len(), 1..=2), "{good:?}");
    assert!(
        good.iter()
            .all(|answer| answer.certificate == good[0].certificate)
    );
    for refused in bad {
        let refused = problem(rejection(refused));
        assert_eq!(refused, PermitProblem::OtherEntry(0));
    }
    engine.close().unwrap();
    assert_eq!(replaced(&factory.assert_sound()), [None, Some(0)]);
}

/// A commit that fails while a permit is being spent: afterwards the reissue is there whole or not at all,
/// and the same request with the same permit ends in the one certificate.
#[test]
fn a_failing_disk_spends_a_permit_once() {
    let mut runs = 0;
    for commit_fault in CommitFault::ALL {
        // The reservation is the first commit, the record the second.
        for commit in 1..=2 {
            let factory = Factory::new(Signer::P256);
            let officer = Officer::new(&factory);
            let (storage, faults) = FaultyStorage::new();
            let engine = factory.open_with(|station| {
                officer.configure(station, "permit");
                station.log_options.storage = storage;
            });
            issue_new(&engine, ask(&Key::generate(), "A"));
            let permit = officer.sign(&officer.permit("SN-1", 0));
            let key = Key::generate();
            faults.fail_commit(commit_fault, commit);
            let failed = fault(engine.issue(ask_with(&key, "A", &permit)));
            assert!(
                matches!(failed, Fault::Log(_)),
                "{commit_fault:?}: {failed}"
            );
            drop(engine);

            let engine = officer.open(&factory, "permit");
            let issued = engine.issue(ask_with(&key, "A", &permit)).unwrap();
            let kept = commit == 2 && commit_fault == CommitFault::SyncPersisted;
            let expected = match kept {
                true => IssueStatus::Existing,
                false => IssueStatus::Issued,
            };
            assert_eq!(
                issued.status, expected,
                "{commit_fault:?} in commit {commit}"
            );
            let rival = rejection(engine.issue(ask_with(&Key::generate(), "A", &permit)));
            assert_eq!(problem(rival), PermitProblem::OtherEntry(0));
            engine.close().unwrap();
            assert_eq!(replaced(&factory.assert_sound()), [None, Some(0)]);
            runs += 1;
        }
    }
    assert_eq!(runs, 8);
}

#[test]
fn the_logs_clock_ends_a_permit() {
    let factory = Factory::new(Signer::P256);
    let officer = Officer::new(&factory);
    let clock = HandClock::new();
    let begin_s = clock.now() / 1000;
    let open = |clock: &Arc<HandClock>| {
        factory.open_with(|station| {
            officer.configure(station, "permit");
            station.log_options.clock = clock.clone();
        })
    };
    let engine = open(&clock);
    let (old, new) = (Key::generate(), Key::generate());
    let first = issue_new(&engine, ask(&old, "A"));
    let permit = officer.sign(&Permit {
        not_after_s: begin_s + 60,
        ..officer.permit("SN-1", 0)
    });
    clock.pass(61_000);
    let expired = rejection(engine.issue(ask_with(&new, "A", &permit)));
    assert_eq!(expired.number(), 520);
    // A clock set back to save the permit is a fault and saves nothing, and answers of long ago stand.
    issue_new(&engine, {
        let mut request = ask(&Key::generate(), "A");
        request.key = RequestKey::Csr(Key::generate().request("SN-2"));
        request
    });
    clock.set(clock.now() - 3_600_000);
    let stopped = fault(engine.issue(ask_with(&new, "A", &permit)));
    assert!(matches!(stopped, Fault::Clock(_)), "{stopped}");
    assert_existing(&engine, ask_with(&old, "A", &permit), &first);
    // Set back by less, the log's time stands still and does not go back.
    clock.set(clock.now() + 3_600_000 - 30_000);
    let expired = rejection(engine.issue(ask_with(&new, "A", &permit)));
    assert_eq!(expired.number(), 520);
    engine.close().unwrap();
    assert_eq!(replaced(&factory.assert_sound()), [None, None]);
}

/// Every way in which a permit can be somebody else's, through the whole engine, and what is left of it.
#[test]
fn a_permit_for_something_else_changes_nothing() {
    let factory = Factory::new(Signer::P256);
    let officer = Officer::new(&factory);
    let eve = Officer::new(&factory);
    let engine = officer.open(&factory, "permit");
    let (old, new) = (Key::generate(), Key::generate());
    issue_new(&engine, ask(&old, "A"));
    let needed = rejection(engine.issue(ask(&new, "A")));
    let Rejection::PermitNeeded {
        key_fingerprint, ..
    } = needed
    else {
        panic!("{needed:?}")
    };
    let fingerprint: [u8; 32] = birthmark::hex::decode(&key_fingerprint)
        .unwrap()
        .try_into()
        .unwrap();
    let good = || officer.permit("SN-1", 0);
    let mut forged = officer.sign(&good());
    let at = forged
        .windows(8)
        .position(|window| window == b"replaces")
        .unwrap();
    forged[at + 9] ^= 1;
    let signed = |change: &dyn Fn(&mut Permit)| {
        let mut permit = good();
        change(&mut permit);
        officer.sign(&permit)
    };
    let table = [
        (b"no permit".to_vec(), 511),
        (eve.sign(&good()), 512),
        (forged, 513),
        (
            signed(&|permit| permit.log = "example.com/line-8".into()),
            514,
        ),
        (signed(&|permit| permit.issuer = [0; 20]), 515),
        (signed(&|permit| permit.profile = "idevid".into()), 516),
        (signed(&|permit| permit.identity = "sn-2".into()), 517),
        (
            signed(&|permit| permit.identity_domain = "idevid".into()),
            517,
        ),
        (signed(&|permit| permit.replaces = 1), 518),
        (
            signed(&|permit| permit.key_fingerprint = Some([1; 32])),
            519,
        ),
        (signed(&|permit| permit.not_after_s = 1_000_000_000), 520),
    ];
    for (permit, number) in table {
        let refused = rejection(engine.issue(ask_with(&new, "A", &permit)));
        assert_eq!(refused.number(), number, "{refused}");
        assert_eq!(refused.action(), Action::CallOfficer);
    }
    let too_large = rejection(engine.issue(ask_with(&new, "A", &[b'x'; 4097])));
    assert_eq!(too_large.number(), 404);
    assert_eq!(engine.signing_pool().metrics().signatures, 1);
    let permit = signed(&|permit| permit.key_fingerprint = Some(fingerprint));
    issue_new(&engine, ask_with(&new, "A", &permit));
    engine.close().unwrap();
    assert_eq!(replaced(&factory.assert_sound()), [None, Some(0)]);
}

#[test]
fn without_officers_a_profile_by_permit_does_not_start() {
    let factory = Factory::new(Signer::P256);
    let mut station = factory.station();
    station.profiles = vec![profile("permit")];
    match Engine::open(station) {
        Err(OpenError::NoOfficer { profile }) => assert_eq!(profile, "order"),
        other => panic!("this should not start: {other:?}"),
    }
}

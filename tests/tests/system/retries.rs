//! The same request again, and requests that are in each other's way: in turn, at once, and
//! across restarts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Barrier;
use std::thread;

use birthmark_engine::{Action, Engine, IssueError, IssueStatus, Issued, Rejection, Request};

use crate::faulty_storage::FaultyStorage;
use crate::requests::{COMMON_NAME, Key, device, name};
use crate::station::{Factory, Random, Signer, rejection};

on_every_signer!(
    a_retry_gets_the_identical_certificate,
    conflicts_are_refused,
    a_key_is_unique_among_all_profiles,
    changed_content_is_refused,
    identical_requests_at_once_give_one_certificate,
    identical_requests_attach_to_the_one_in_flight,
    conflicting_requests_at_once_give_one_certificate,
    a_storm_of_conflicts_stays_consistent,
);

/// IDevID with a value from the line in the subject, so that content can change.
const ORDER_PROFILE: &str = r#"
name = "order"
base = "idevid"
identity = "{csr.subject.serialNumber}"

[[subject]]
type = "O"
value = "{data.order}"

[[subject]]
type = "serialNumber"
value = "{csr.subject.serialNumber}"

[validity]
not_after = "99991231235959Z"

[key]
algorithms = ["p256"]
"#;

type IssueResult = Result<Issued, IssueError>;

fn idevid(csr: Vec<u8>) -> Request {
    Request::new(csr, "idevid")
}

fn a_retry_gets_the_identical_certificate(signer: Signer) {
    let factory = Factory::new(signer);
    let engine = factory.open();
    let csr = device(0);
    let first = engine.issue(idevid(csr.clone())).unwrap();
    assert_eq!(first.status, IssueStatus::Issued);
    let retry = |engine: &Engine, request: Request| {
        let again = engine.issue(request).unwrap();
        assert_eq!(again.status, IssueStatus::Existing);
        assert_eq!(again.certificate, first.certificate);
        assert_eq!(again.certificate.serial(), first.certificate.serial());
    };
    let resigned = device(0);
    assert_ne!(resigned, csr, "a fresh signature");
    // What the profile does not take is no part of the request's identity.
    let mut elsewhere = idevid(device(0));
    elsewhere.lot = Some("lot-2".to_owned());
    elsewhere.data = BTreeMap::from([("station".to_owned(), "9".to_owned())]);
    for request in [idevid(csr.clone()), idevid(resigned.clone()), elsewhere] {
        retry(&engine, request);
    }
    // The proof of possession is asked for every time.
    let mut forged = csr.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(
        rejection(engine.issue(idevid(forged.clone()))),
        Rejection::ProofOfPossession
    );
    assert_eq!(engine.metrics().existing, 3);
    assert_eq!(engine.metrics().issued, 1);
    engine.close().unwrap();

    for _ in 0..2 {
        let engine = factory.open();
        retry(&engine, idevid(csr.clone()));
        retry(&engine, idevid(device(0)));
        assert_eq!(
            rejection(engine.issue(idevid(forged.clone()))),
            Rejection::ProofOfPossession
        );
        engine.close().unwrap();
    }
    assert_eq!(factory.assert_sound().len(), 1);
}

fn conflicts_are_refused(signer: Signer) {
    let factory = Factory::new(signer);
    let mut engine = factory.open();
    let (key, other_key) = (Key::generate(), Key::generate());
    engine.issue(idevid(device(0))).unwrap();
    let mine = engine.issue(idevid(key.request("SN-1"))).unwrap();
    for _ in 0..2 {
        let taken = rejection(engine.issue(idevid(key.request("SN-2"))));
        assert_eq!(taken, Rejection::KeyInUse { index: 1 });
        assert_eq!((taken.number(), taken.action()), (500, Action::Scrap));

        let taken = rejection(engine.issue(idevid(other_key.request("SN-1"))));
        assert_eq!(
            taken,
            Rejection::IdentityInUse {
                identity: "SN-1".to_owned(),
                index: 1
            }
        );
        assert_eq!((taken.number(), taken.action()), (501, Action::CallOfficer));

        // Refusing the others has not hurt the first.
        let again = engine.issue(idevid(key.request("SN-1"))).unwrap();
        assert_eq!(again.certificate, mine.certificate);
        engine.close().unwrap();
        engine = factory.open();
    }
    // The key that was refused is free for a device of its own; an identity is free in another
    // profile's domain.
    let free = engine.issue(idevid(other_key.request("SN-3"))).unwrap();
    assert_eq!(free.status, IssueStatus::Issued);
    let subject = name(&[(COMMON_NAME, der::Tag::Utf8String, "SN-1")]);
    let client = Request::new(Key::generate().request_with(subject, &[]), "tls-client");
    assert_eq!(engine.issue(client).unwrap().status, IssueStatus::Issued);
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 4);
}

/// Also when the identity in the other profile's domain happens to read the same: that is another
/// identity, so nothing of this request was changed.
fn a_key_is_unique_among_all_profiles(signer: Signer) {
    let factory = Factory::new(signer);
    let engine = factory.open();
    let key = Key::generate();
    engine.issue(idevid(key.request("SN-1"))).unwrap();
    for common_name in ["other", "SN-1"] {
        let subject = name(&[(COMMON_NAME, der::Tag::Utf8String, common_name)]);
        let client = Request::new(key.request_with(subject, &[]), "tls-client");
        let taken = rejection(engine.issue(client));
        assert_eq!(taken, Rejection::KeyInUse { index: 0 }, "CN={common_name}");
    }
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 1);
}

fn changed_content_is_refused(signer: Signer) {
    let factory = Factory::new(signer);
    factory.add_profile("order", ORDER_PROFILE);
    let key = Key::generate();
    let request = |order: &str| {
        let mut request = Request::new(key.request("SN-1"), "order");
        request.data = BTreeMap::from([("order".to_owned(), order.to_owned())]);
        request
    };
    let engine = factory.open();
    let first = engine.issue(request("A-1")).unwrap();
    let changed = Rejection::ChangedRequest {
        identity: "SN-1".to_owned(),
        index: 0,
    };
    assert_eq!(rejection(engine.issue(request("A-2"))), changed);
    assert_eq!(
        (changed.number(), changed.action()),
        (502, Action::CallOfficer)
    );
    assert_eq!(
        engine.issue(request("A-1")).unwrap().certificate,
        first.certificate
    );
    engine.close().unwrap();
    let engine = factory.open();
    assert_eq!(rejection(engine.issue(request("A-2"))), changed);
    assert_eq!(
        engine.issue(request("A-1")).unwrap().certificate,
        first.certificate
    );
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 1);
}

fn identical_requests_at_once_give_one_certificate(signer: Signer) {
    const THREADS: usize = 8;
    const ROUNDS: u64 = 25;
    let factory = Factory::new(signer);
    let engine = factory.open();
    for round in 0..ROUNDS {
        let start = Barrier::new(THREADS);
        let answers: Vec<_> = thread::scope(|scope| {
            let ask = || {
                let request = idevid(device(round));
                start.wait();
                engine.issue(request).unwrap()
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(ask)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let issued = answers
            .iter()
            .filter(|answer| answer.status == IssueStatus::Issued)
            .count();
        assert_eq!(issued, 1, "round {round}");
        for answer in &answers {
            assert_eq!(answer.certificate, answers[0].certificate, "round {round}");
        }
        assert_eq!(engine.log().len(), round + 1);
    }
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len() as u64, ROUNDS);
}

/// With commits held back, all of them are surely in flight together.
fn identical_requests_attach_to_the_one_in_flight(signer: Signer) {
    const ASKED: usize = 30;
    let factory = Factory::new(signer);
    let (storage, faults) = FaultyStorage::new();
    let engine = factory.open_with(|station| station.log_options.storage = storage);
    let (key, other) = (Key::generate(), Key::generate());
    faults.close_gate();
    let submit = |csr: Vec<u8>| engine.submit(idevid(csr)).unwrap();
    let same: Vec<_> = (0..ASKED).map(|_| submit(key.request("SN-1"))).collect();
    let same_key = submit(key.request("SN-2"));
    let same_identity = submit(other.request("SN-1"));
    faults.open_gate();
    let answers: Vec<_> = same.into_iter().map(|handle| handle.wait()).collect();
    let conflicts = [
        rejection_or_ok(same_key.wait()),
        rejection_or_ok(same_identity.wait()),
    ];
    // Which of the three is first is open; whoever it is, the others yield to it.
    match &conflicts {
        // SN-2 got the key and the other key SN-1: nothing is left for the first request.
        [None, None] => assert!(answers.iter().all(Result::is_err), "{answers:?}"),
        [Some(key_taken), Some(identity_taken)] => {
            assert!(matches!(key_taken, Rejection::KeyInUse { .. }));
            assert!(matches!(identity_taken, Rejection::IdentityInUse { .. }));
            let issued: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
            let new = issued
                .iter()
                .filter(|answer| answer.status == IssueStatus::Issued)
                .count();
            assert_eq!(new, 1);
            assert!(
                issued
                    .iter()
                    .all(|answer| answer.certificate == issued[0].certificate)
            );
        }
        half => panic!("who took one of the two must have taken both: {half:?}"),
    }
    engine.close().unwrap();
    factory.assert_sound();
}

fn rejection_or_ok(result: IssueResult) -> Option<Rejection> {
    match result {
        Ok(_) => None,
        Err(IssueError::Rejected(rejection)) => Some(rejection),
        Err(other) => panic!("{other}"),
    }
}

fn conflicting_requests_at_once_give_one_certificate(signer: Signer) {
    const RIVALS: usize = 8;
    const ROUNDS: usize = 12;
    let factory = Factory::new(signer);
    let engine = factory.open();
    for round in 0..ROUNDS {
        // Even rounds: one key for many devices. Odd rounds: one device with many keys.
        let keys: Vec<_> = (0..RIVALS).map(|_| Key::generate()).collect();
        let request = |rival: usize| match round % 2 {
            0 => keys[0].request(&format!("R{round}-{rival}")),
            _ => keys[rival].request(&format!("R{round}")),
        };
        let start = Barrier::new(RIVALS);
        let ask = |rival| {
            let request = idevid(request(rival));
            start.wait();
            engine.issue(request)
        };
        let ask = &ask;
        let answers: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..RIVALS)
                .map(|rival| scope.spawn(move || ask(rival)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let winners = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(winners, 1, "round {round}: {answers:?}");
        for answer in answers.into_iter().filter(Result::is_err) {
            match rejection(answer) {
                Rejection::KeyInUse { index } if round % 2 == 0 => assert_eq!(index, round as u64),
                Rejection::IdentityInUse { index, identity } if round % 2 == 1 => {
                    assert_eq!((index, identity), (round as u64, format!("R{round}")));
                }
                other => panic!("round {round}: {other:?}"),
            }
        }
        assert_eq!(engine.log().len(), round as u64 + 1);
    }
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), ROUNDS);
}

const STORM_SEED: u64 = 0x5707_1a55;

/// Many threads ask for random pairs of few keys and few identities.
fn a_storm_of_conflicts_stays_consistent(signer: Signer) {
    const THREADS: u64 = 8;
    const ASKED: u64 = 60;
    const KEYS: u64 = 12;
    let factory = Factory::new(signer);
    let engine = factory.open_with(|station| station.max_in_flight = Some(16));
    let keys: Vec<_> = (0..KEYS).map(|_| Key::generate()).collect();
    let start = Barrier::new(THREADS as usize);
    let ask = |thread| {
        let mut random = Random::new(STORM_SEED + thread);
        let pairs: Vec<_> = (0..ASKED)
            .map(|_| (random.below(KEYS), random.below(KEYS)))
            .collect();
        let requests = pairs
            .iter()
            .map(|(key, serial)| idevid(keys[*key as usize].request(&format!("S-{serial}"))))
            .collect();
        start.wait();
        pairs
            .into_iter()
            .zip(engine.issue_batch(requests))
            .collect::<Vec<_>>()
    };
    let ask = &ask;
    let answers: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || ask(thread)))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });

    let issued = assert_consistent(&answers);
    let log_len = engine.log().len();
    assert_eq!(log_len as usize, issued);
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), issued);
}

/// Holds the answers against each other. Gives the number of certificates made.
fn assert_consistent(answers: &[((u64, u64), IssueResult)]) -> usize {
    // Each key has one identity, each identity one key, each pair one certificate.
    let mut by_key = HashMap::new();
    let mut by_serial = HashMap::new();
    let mut issued = 0;
    for ((key, serial), answer) in answers {
        let Ok(answer) = answer else { continue };
        issued += usize::from(answer.status == IssueStatus::Issued);
        let der = answer.certificate.as_der();
        assert_eq!(
            *by_key.entry(key).or_insert((serial, der)),
            (serial, der),
            "seed {STORM_SEED:#x}"
        );
        assert_eq!(
            *by_serial.entry(serial).or_insert((key, der)),
            (key, der),
            "seed {STORM_SEED:#x}"
        );
    }
    assert_eq!(issued, by_key.len());
    // Who was refused was refused rightly.
    for ((key, serial), answer) in answers {
        match answer {
            Ok(_) => {}
            Err(IssueError::Rejected(Rejection::KeyInUse { .. })) => {
                assert!(by_key.get(key).is_some_and(|(holder, _)| *holder != serial));
            }
            Err(IssueError::Rejected(Rejection::IdentityInUse { .. })) => {
                assert!(
                    by_serial
                        .get(serial)
                        .is_some_and(|(holder, _)| *holder != key)
                );
            }
            Err(other) => panic!("seed {STORM_SEED:#x}: {other}"),
        }
    }
    issued
}

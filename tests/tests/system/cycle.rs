//! The issuance cycle: one request, batches, submission, awaiting, closing.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use birthmark_engine::{
    CSR_BYTES_MAX, IssueResult, IssueStatus, Pending, Rejection, Request, SubmitError,
};
use birthmark_hsm::KeyAlgorithm;
use birthmark_log::RecordIndex;

use crate::faulty_storage::FaultyStorage;
use crate::requests::{
    COMMON_NAME, Key, SERIAL_NUMBER, device, device_of, device_serial, name, wants_to_be_a_ca,
};
use crate::station::{Entry, Factory, Signer, rejection, serial_of};

on_every_signer!(
    one_request,
    a_batch_keeps_its_order_and_bad_items_spoil_only_themselves,
    a_full_engine_says_so_and_gives_the_request_back,
    an_answer_makes_room,
    handles_are_awaited_polled_and_waited_for,
    closing_answers_what_is_in_flight,
);

fn one_request(signer: Signer) {
    let factory = Factory::new(signer);
    let engine = factory.open();
    let issued = engine.issue(Request::new(device(0), "idevid")).unwrap();
    assert_eq!(issued.status, IssueStatus::Issued);
    assert_eq!(issued.certificate.index(), 0);
    assert_eq!(
        issued.certificate.serial(),
        serial_of(issued.certificate.as_der())
    );

    // It is in the log before anybody has it.
    assert_eq!(engine.log().len(), 1);
    let record = engine.log().read(RecordIndex(0)).unwrap();
    let der = issued.certificate.as_der();
    assert!(record.windows(der.len()).any(|window| window == der));
    let metrics = engine.metrics();
    assert_eq!(
        (metrics.issued, metrics.existing, metrics.rejected),
        (1, 0, 0)
    );
    assert_eq!((metrics.faults, metrics.lost), (0, 0));
    engine.close().unwrap();

    assert!(factory.verify().clean);
    let entries = factory.assert_sound();
    assert_eq!(entries[0].certificate(), Some(der));
    let Entry::Issued { identity, .. } = &entries[0] else {
        panic!("{entries:?}")
    };
    assert_eq!(identity.as_deref(), Some(&*device_serial(0)));
}

/// What a batch's item must come to.
enum Expected {
    Certificate { serial: String },
    Rejection(&'static str),
}

fn a_batch_keeps_its_order_and_bad_items_spoil_only_themselves(signer: Signer) {
    let factory = Factory::new(signer);
    let engine = factory.open_with(|station| station.max_in_flight = Some(32));
    let mut requests = Vec::new();
    let mut expected = Vec::new();
    let mut bad = bad_requests().into_iter();
    let good: Vec<u64> = (0..100).collect();
    for number in good {
        if number % 6 == 0
            && let Some((request, reason)) = bad.next()
        {
            requests.push(request);
            expected.push(Expected::Rejection(reason));
        }
        let algorithm = match number % 10 {
            3 => KeyAlgorithm::EcP384,
            7 => KeyAlgorithm::Ed25519,
            _ => KeyAlgorithm::EcP256,
        };
        requests.push(Request::new(device_of(algorithm, number), "idevid"));
        expected.push(Expected::Certificate {
            serial: device_serial(number),
        });
    }
    assert!(bad.next().is_none(), "every bad request is in the batch");

    let results = engine.issue_batch(requests);
    assert_eq!(results.len(), expected.len());
    let mut indexes = Vec::new();
    for (number, (result, expected)) in results.into_iter().zip(expected).enumerate() {
        match expected {
            Expected::Rejection(reason) => {
                let rejection = rejection(result);
                assert_eq!(rejection.reason(), reason, "item {number}: {rejection}");
                assert!(!rejection.rule().is_empty());
                assert!(rejection.number() >= 100 && rejection.number() < 600);
            }
            Expected::Certificate { serial } => {
                let issued = result.unwrap_or_else(|error| panic!("item {number}: {error}"));
                assert_eq!(issued.status, IssueStatus::Issued);
                let der = issued.certificate.as_der();
                assert!(
                    der.windows(serial.len())
                        .any(|part| part == serial.as_bytes())
                );
                indexes.push(issued.certificate.index());
            }
        }
    }
    indexes.sort_unstable();
    assert_eq!(indexes, (0..100).collect::<Vec<_>>());
    assert_eq!(engine.metrics().rejected, 13);
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 100);
}

/// Requests that no profile takes, and why.
fn bad_requests() -> Vec<(Request, &'static str)> {
    let idevid = |csr: Vec<u8>| Request::new(csr, "idevid");
    let key = Key::generate();
    let other = Key::generate();
    let subject = || name(&[(SERIAL_NUMBER, der::Tag::PrintableString, "BAD-1")]);
    let mut cut = device(500);
    cut.truncate(100);
    let mut longer = device(501);
    longer.push(0);
    let mut flipped = device(502);
    *flipped.last_mut().unwrap() ^= 1;
    let mut long_length = device(503);
    // The outer length in one octet more than it needs (X.690 §10.1).
    long_length.splice(1..2, [0x82, 0x00]);
    let no_serial = key.request_with(name(&[(COMMON_NAME, der::Tag::Utf8String, "x")]), &[]);
    let not_signed_by_it = other.sign(&key.info(subject(), &[]));
    let mut huge = device(504);
    huge.resize(10_000_000, 0);
    let mut lot = idevid(device(505));
    lot.lot = Some("L".repeat(129));
    vec![
        (idevid(Vec::new()), "empty"),
        (idevid(vec![0xa5; 5_000]), "malformed"),
        (idevid(vec![0; 10_000_000]), "too-large"),
        (idevid(huge), "too-large"),
        (idevid(vec![0x30; CSR_BYTES_MAX]), "malformed"),
        (idevid(cut), "malformed"),
        (idevid(longer), "malformed"),
        (idevid(long_length), "malformed"),
        (idevid(not_signed_by_it), "proof-of-possession"),
        (
            Request::new(device(506), "no-such-profile"),
            "unknown-profile",
        ),
        (
            idevid(key.request_with(subject(), &[wants_to_be_a_ca()])),
            "requests-ca",
        ),
        (idevid(no_serial), "field-count"),
        (lot, "data-limit"),
    ]
}

fn a_full_engine_says_so_and_gives_the_request_back(signer: Signer) {
    const PERMITS: u64 = 4;
    let factory = Factory::new(signer);
    let (storage, faults) = FaultyStorage::new();
    let engine = factory.open_with(|station| {
        station.log_options.storage = storage;
        station.max_in_flight = Some(PERMITS as usize);
    });
    faults.close_gate();
    let mut pending: Vec<Pending> = (0..PERMITS)
        .map(|number| {
            engine
                .submit(Request::new(device(number), "idevid"))
                .unwrap()
        })
        .collect();
    let one_more = Request::new(device(PERMITS), "idevid");
    let Err(SubmitError::Full(back)) = engine.submit(one_more.clone()) else {
        panic!("{PERMITS} are in flight and a fifth was taken");
    };
    assert_eq!(back, one_more);
    assert_eq!(engine.in_flight(), PERMITS as usize);
    assert!(
        pending
            .iter_mut()
            .all(|handle| handle.poll_result().is_none())
    );
    assert_eq!(
        engine.log().len(),
        0,
        "nothing is released while nothing is durable"
    );

    // Who can wait gets in as soon as there is room.
    thread::scope(|scope| {
        let waiting = scope.spawn(|| engine.submit_wait(back).unwrap().wait().unwrap());
        faults.open_gate();
        for handle in pending {
            assert_eq!(handle.wait().unwrap().status, IssueStatus::Issued);
        }
        assert_eq!(waiting.join().unwrap().status, IssueStatus::Issued);
    });
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 5);
}

/// "Wait for an answer, then submit again": whoever has an answer has room.
fn an_answer_makes_room(signer: Signer) {
    let factory = Factory::new(signer);
    let engine = factory.open_with(|station| station.max_in_flight = Some(1));
    engine.issue(Request::new(device(0), "idevid")).unwrap();
    for round in 0..200 {
        let handle = engine
            .submit(Request::new(device(0), "idevid"))
            .unwrap_or_else(|error| panic!("round {round}: nothing is in flight, yet: {error}"));
        assert_eq!(handle.wait().unwrap().status, IssueStatus::Existing);
    }
    engine.close().unwrap();
}

fn handles_are_awaited_polled_and_waited_for(signer: Signer) {
    let factory = Factory::new(signer);
    let (storage, faults) = FaultyStorage::new();
    let engine = factory.open_with(|station| station.log_options.storage = storage);
    let submit = |number| {
        engine
            .submit(Request::new(device(number), "idevid"))
            .unwrap()
    };

    // Awaited: pending first, then woken from another thread.
    faults.close_gate();
    let (polled, first_poll) = mpsc::channel();
    thread::scope(|scope| {
        let awaiting = scope.spawn(|| block_on(submit(0), &polled));
        first_poll.recv().unwrap();
        faults.open_gate();
        assert_eq!(awaiting.join().unwrap().unwrap().certificate.index(), 0);
    });

    // Polled by hand: nothing, the answer once, nothing.
    let mut handle = submit(1);
    let answer = loop {
        match handle.poll_result() {
            Some(answer) => break answer,
            None => thread::yield_now(),
        }
    };
    assert_eq!(answer.unwrap().certificate.index(), 1);
    assert!(handle.poll_result().is_none());

    // Rejections come the same way.
    let rejected = engine.submit(Request::new(vec![1], "idevid")).unwrap();
    assert!(matches!(
        rejection(block_on(rejected, &polled)),
        Rejection::Malformed(_)
    ));

    // A handle that nobody keeps: its certificate is in the log all the same.
    drop(submit(2));
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 3);
}

/// Wakers are called on the thread that commits for everybody, whatever the signer.
#[test]
fn a_waker_that_panics_harms_nobody_else() {
    struct Faulty(AtomicBool);
    impl Wake for Faulty {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
            panic!("a waker that panics");
        }
    }
    let factory = Factory::new(Signer::P256);
    let (storage, faults) = FaultyStorage::new();
    let engine = factory.open_with(|station| station.log_options.storage = storage);
    let submit = |number| {
        engine
            .submit(Request::new(device(number), "idevid"))
            .unwrap()
    };
    faults.close_gate();
    // In between, so that there are answers to give before and after.
    let (before, mut awaited, after) = (submit(0), submit(1), submit(2));
    let faulty = Arc::new(Faulty(false.into()));
    let waker = Waker::from(faulty.clone());
    let polled = pin!(&mut awaited).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending(), "nothing is durable behind the gate");
    faults.open_gate();
    for handle in [before, after] {
        assert_eq!(in_time(handle).unwrap().status, IssueStatus::Issued);
    }
    let answer = in_time(awaited).unwrap();
    assert_eq!(answer.status, IssueStatus::Issued);
    // Later requests find a log that works.
    assert_eq!(in_time(submit(3)).unwrap().status, IssueStatus::Issued);
    let again = in_time(submit(1)).unwrap();
    assert_eq!(again.certificate, answer.certificate);
    engine.close().unwrap();
    assert!(faulty.0.load(Ordering::SeqCst), "it was called");
    assert!(factory.verify().clean);
    assert_eq!(factory.assert_sound().len(), 4);
}

/// The answer, where none may ever come. The time is for a test that fails: it only has to be
/// longer than any answer takes.
fn in_time(mut handle: Pending) -> IssueResult {
    const LONGEST: Duration = Duration::from_secs(60);
    let deadline = Instant::now() + LONGEST;
    loop {
        match handle.poll_result() {
            Some(answer) => return answer,
            None => assert!(Instant::now() < deadline, "no answer in {LONGEST:?}"),
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn closing_answers_what_is_in_flight(signer: Signer) {
    let factory = Factory::new(signer);
    let engine = factory.open();
    let pending: Vec<_> = (0..200)
        .map(|number| {
            engine
                .submit_wait(Request::new(device(number), "idevid"))
                .unwrap()
        })
        .collect();
    engine.close().unwrap();
    let mut indexes: Vec<_> = pending
        .into_iter()
        .map(|handle| handle.wait().unwrap().certificate.index())
        .collect();
    indexes.sort_unstable();
    assert_eq!(indexes, (0..200).collect::<Vec<_>>());
    assert!(factory.verify().clean);
    assert_eq!(factory.assert_sound().len(), 200);
}

/// Runs a future to its end on this thread, without any runtime. Tells of every poll.
fn block_on<F: Future>(future: F, polled: &mpsc::Sender<()>) -> F::Output {
    struct Unpark(Thread, AtomicBool);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.1.store(true, Ordering::SeqCst);
            self.0.unpark();
        }
    }
    let unpark = Arc::new(Unpark(thread::current(), false.into()));
    let waker = Waker::from(unpark.clone());
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        let _ = polled.send(());
        while !unpark.1.swap(false, Ordering::SeqCst) {
            thread::park();
        }
    }
}

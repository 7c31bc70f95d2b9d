//! Lots: as many certificates as an order says, whoever asks how often, over starts and failures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use birthmark_engine::record::Record;
use birthmark_engine::{Engine, IssueError, IssueResult, IssueStatus, Request};
use birthmark_log::LogReader;

use crate::requests::{Key, device};
use crate::station::{Factory, Random, Signer, rejection};

on_every_signer!(many_threads_get_exactly_the_quantity);

/// A station with one lot.
fn station(signer: Signer, lot: &str) -> Factory {
    let factory = Factory::new(signer);
    add_lots(&factory, "");
    write(&factory, lot);
    factory
}

/// Names the directory of lots in the configuration.
fn add_lots(factory: &Factory, more: &str) {
    let configuration = std::fs::read_to_string(factory.configuration()).unwrap();
    let lots = format!("\n[lots]\ndirectory = \"lots\"\n{more}");
    factory.file("ca/birthmark.toml", configuration + &lots);
}

/// An IDevID profile with a name that the line adds.
fn write_profile(factory: &Factory, first: &str) {
    let named = "[[subject]]\ntype = \"CN\"\nvalue = \"{data.name}\"\n\n[hardware_module_name]";
    let text = birthmark_engine::profile::IDEVID_TOML.replace("[hardware_module_name]", named);
    factory.file("ca/profiles/idevid.toml", format!("{first}\n{text}"));
}

fn write(factory: &Factory, lot: &str) {
    let text = format!("name = \"WO-1\"\nprofile = \"idevid\"\n{lot}\n");
    factory.file("ca/lots/wo-1.toml", text);
}

fn of_lot(csr: Vec<u8>) -> Request {
    let mut request = Request::new(csr, "idevid");
    request.lot = Some("WO-1".to_owned());
    request
}

fn ask(engine: &Engine, number: u64) -> IssueResult {
    engine.issue(of_lot(device(number)))
}

/// The reason of a rejection.
fn reason(result: IssueResult) -> &'static str {
    rejection(result).reason()
}

/// The places that the log's records have in the lot, in the order of the log.
fn places(factory: &Factory) -> Vec<Option<u64>> {
    factory.assert_sound();
    let reader = LogReader::open(&factory.log()).unwrap();
    let mut places = Vec::new();
    for entry in reader.iter() {
        if let Record::Issued(issued) = Record::decode(&entry.unwrap().1).unwrap() {
            places.push(issued.lot_place().map(|(lot, number)| {
                assert_eq!(lot, "WO-1");
                number
            }));
        }
    }
    places
}

/// Every place once, and there are so many.
fn assert_places(factory: &Factory, quantity: u64) {
    let places = places(factory);
    let unique: BTreeSet<u64> = places.iter().copied().flatten().collect();
    assert_eq!(places.len() as u64, quantity);
    assert!(unique.into_iter().eq(0..quantity), "{places:?}");
}

/// Eight threads with three times as many devices as the lot has places, each of which asks twice.
fn many_threads_get_exactly_the_quantity(signer: Signer) {
    const QUANTITY: u64 = 40;
    let factory = station(signer, "quantity = 40");
    let engine = factory.open();
    let issued = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..8 {
            let (engine, issued) = (&engine, &issued);
            scope.spawn(move || {
                let numbers = (0..15).map(|number| thread * 15 + number);
                let requests = numbers.flat_map(|number| [device(number), device(number)]);
                let results = engine.issue_batch(requests.map(of_lot).collect());
                for pair in results.chunks(2) {
                    match pair {
                        [Ok(one), Ok(other)] => {
                            assert_eq!(one.certificate, other.certificate);
                            issued.fetch_add(1, Ordering::Relaxed);
                        }
                        [
                            Err(IssueError::Rejected(one)),
                            Err(IssueError::Rejected(other)),
                        ] => {
                            assert_eq!([one.number(), other.number()], [607, 607]);
                        }
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
    });
    assert_eq!(issued.into_inner() as u64, QUANTITY);
    assert_eq!(reason(ask(&engine, 999)), "lot-exhausted");
    engine.close().unwrap();
    assert_places(&factory, QUANTITY);
}

/// Starts in between, callers that are gone, and requests that come to nothing when they have a place already.
#[test]
fn places_of_requests_that_fail_are_used_by_others() {
    const QUANTITY: u64 = 60;
    let factory = Factory::new(Signer::P256);
    write_profile(&factory, "");
    let named = |number: u64, name: &str| {
        let mut request = of_lot(device(number));
        request.data = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        request
    };
    // What a certificate takes, while a lot is a name and nothing else.
    let engine = factory.open();
    let bytes = engine
        .issue(named(0, "a"))
        .unwrap()
        .certificate
        .as_der()
        .len();
    engine.close().unwrap();
    assert_eq!(places(&factory), [None]);
    let limit = format!("certificate_bytes_max = {}", bytes + 30);
    write_profile(&factory, &limit);
    add_lots(&factory, "required = true\n");
    write(&factory, "quantity = 60");

    let mut random = Random::new(23);
    for start in 0..4 {
        let engine = factory.open_with(|station| station.max_in_flight = Some(48));
        let pending: Vec<_> = (0..120)
            .map(|_| {
                let number = 1 + random.below(60);
                // A third is too large, with a name of its own so that it is nobody's retry.
                let name = ["a", "a", &"b".repeat(60)][random.below(3) as usize].to_owned();
                (
                    name.clone(),
                    engine.submit_wait(named(number, &name)).unwrap(),
                )
            })
            .collect();
        // An odd start forgets its last requests.
        let kept = if start % 2 == 0 { 120 } else { 70 };
        for (name, pending) in pending.into_iter().take(kept) {
            let result = pending.wait();
            match name.as_str() {
                "a" => drop(result.unwrap()),
                // Once the device is issued it is a change of that.
                _ => assert!(matches!(
                    rejection(result).reason(),
                    "certificate-too-large" | "changed-request"
                )),
            }
        }
        engine.close().unwrap();
    }
    let engine = factory.open();
    for number in 1..=QUANTITY {
        engine.issue(named(number, "a")).unwrap();
    }
    assert_eq!(reason(engine.issue(named(61, "a"))), "lot-exhausted");
    // What was answered before the lot was declared is answered still, and took nothing of it.
    let first = engine.issue(named(0, "a")).unwrap();
    assert_eq!(first.status, IssueStatus::Existing);
    let mut without = named(61, "a");
    without.lot = None;
    assert_eq!(reason(engine.issue(without)), "lot-needed");
    engine.close().unwrap();
    let mut places: Vec<u64> = places(&factory).into_iter().flatten().collect();
    places.sort_unstable();
    assert!(places.into_iter().eq(0..QUANTITY));
}

#[test]
fn answers_stay_whatever_becomes_of_the_lot() {
    let factory = station(Signer::P256, "quantity = 2\nline = \"line-3\"");
    let engine = factory.open();
    let line = |number| {
        let mut request = of_lot(device(number));
        request.requester = Some("line-3".to_owned());
        engine.issue(request)
    };
    assert_eq!(reason(ask(&engine, 0)), "lot-other-line");
    let first = line(0).unwrap();
    assert_eq!(line(1).unwrap().status, IssueStatus::Issued);
    assert_eq!(reason(line(2)), "lot-exhausted");
    engine.close().unwrap();
    assert_eq!(places(&factory), [Some(0), Some(1)]);

    for lot in [
        "quantity = 2\nline = \"line-3\"",
        "quantity = 9\nclosed = true",
        "quantity = 9\nnot_before = 2400-01-01T00:00:00Z",
        "quantity = 9\nnot_after = 2020-01-01T00:00:00Z",
        "quantity = 9\nserial.pattern = \"none\"",
        "quantity = 1",
    ] {
        write(&factory, lot);
        let engine = factory.open();
        let again = ask(&engine, 0).unwrap();
        assert_eq!(
            (again.status, &again.certificate),
            (IssueStatus::Existing, &first.certificate),
            "{lot}"
        );
        // The same device with another key is told so, whatever its lot says.
        let other_key = of_lot(Key::generate().request(&crate::requests::device_serial(0)));
        assert_eq!(reason(engine.issue(other_key)), "identity-in-use");
        assert!(reason(ask(&engine, 2)).starts_with("lot-"), "{lot}");
        engine.close().unwrap();
    }
    // The order was extended.
    write(&factory, "quantity = 3");
    let engine = factory.open();
    assert_eq!(ask(&engine, 2).unwrap().status, IssueStatus::Issued);
    assert_eq!(reason(ask(&engine, 3)), "lot-exhausted");
    engine.close().unwrap();
    assert_places(&factory, 3);
}

/// The same devices at once under a lot that there is not, and under the right one, which never is in the way.
#[test]
fn a_wrong_lot_is_told_to_nobody_else() {
    const DEVICES: u64 = 320;
    let factory = station(Signer::P256, "quantity = 320");
    let engine = factory.open();
    // One worker has those of one lot while the next has those of the other.
    let numbers: Vec<u64> = (0..DEVICES).collect();
    let requests = numbers.chunks(16).flat_map(|numbers| {
        ["WO-9", "WO-1"].into_iter().flat_map(move |lot| {
            numbers.iter().map(move |number| {
                let mut request = of_lot(device(*number));
                request.lot = Some(lot.to_owned());
                request
            })
        })
    });
    let requests: Vec<Request> = requests.collect();
    let lots: Vec<Option<String>> = requests.iter().map(|request| request.lot.clone()).collect();
    for (result, lot) in engine.issue_batch(requests).into_iter().zip(lots) {
        match (lot.as_deref(), result) {
            (_, Ok(_)) => {}
            (Some("WO-9"), result) => assert_eq!(reason(result), "lot-unknown"),
            (_, result) => panic!("{result:?}"),
        }
    }
    engine.close().unwrap();
    assert_places(&factory, DEVICES);
}

#[test]
fn a_reissue_takes_a_place_too() {
    let factory = station(Signer::P256, "quantity = 2");
    write_profile(&factory, "reissue = \"same-key\"");
    let engine = factory.open();
    let named = |name: &str, lot: bool| {
        let mut request = of_lot(device(0));
        request.data = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        if !lot {
            request.lot = None;
        }
        engine.issue(request)
    };
    named("a", true).unwrap();
    named("b", true).unwrap();
    assert_eq!(reason(named("c", true)), "lot-exhausted");
    assert_eq!(named("b", true).unwrap().status, IssueStatus::Existing);
    // This station issues without a lot as well.
    named("c", false).unwrap();
    engine.close().unwrap();
    assert_eq!(places(&factory), [Some(0), Some(1), None]);
}

/// An index that is made anew knows the places.
#[test]
fn a_lot_outlives_its_index() {
    let factory = station(Signer::P256, "quantity = 30");
    let engine = factory.open();
    (0..20).for_each(|number| drop(ask(&engine, number).unwrap()));
    engine.close().unwrap();
    std::fs::remove_dir_all(factory.log().join("index")).unwrap();
    let engine = factory.open();
    (20..30).for_each(|number| drop(ask(&engine, number).unwrap()));
    assert_eq!(reason(ask(&engine, 30)), "lot-exhausted");
    engine.close().unwrap();
    assert_places(&factory, 30);
}

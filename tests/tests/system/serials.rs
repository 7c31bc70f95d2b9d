//! Serial numbers that are handed out: each to one device, for good, whatever happens in between.

use std::collections::{BTreeMap, BTreeSet};

use birthmark_engine::{IssueStatus, Request};

use crate::requests::{Key, name};
use crate::station::{Entry, Factory, Random, Signer, rejection};

/// An IDevID profile that hands out so many serial numbers.
fn profile(last: &str) -> String {
    birthmark_engine::profile::IDEVID_TOML
        .replace(
            "name = \"idevid\"",
            "name = \"numbered\"\nidentity_domain = \"numbered\"",
        )
        .replace("{csr.subject.serialNumber}", "{serial}")
        + &format!("\n[serial]\nfrom = \"SN0001\"\nto = \"{last}\"\n")
}

fn station(last: &str) -> Factory {
    let factory = Factory::new(Signer::P256);
    factory.add_profile("numbered", &profile(last));
    factory
}

/// A request that carries a key and nothing else.
fn key_only(key: &Key) -> Request {
    Request::new(key.request_with(name(&[]), &[]), "numbered")
}

fn identities(entries: &[Entry]) -> Vec<String> {
    let identity = |entry: &Entry| match entry {
        Entry::Issued { identity, .. } => identity.clone(),
        _ => None,
    };
    entries.iter().filter_map(identity).collect()
}

#[test]
fn each_device_gets_the_next_number_and_keeps_it() {
    let factory = station("SN0004");
    let keys: Vec<Key> = (0..4).map(|_| Key::generate()).collect();
    let engine = factory.open();
    let first = engine.issue(key_only(&keys[0])).unwrap();
    // A device that brings a number of the range has it.
    let brought = Request::new(keys[1].request("SN0002"), "numbered");
    engine.issue(brought.clone()).unwrap();
    let foreign = Request::new(keys[2].request("SN0005"), "numbered");
    let refused = rejection(engine.issue(foreign));
    assert!(
        refused.detail().contains("not one of the profile's"),
        "{refused}"
    );
    let again = engine.issue(key_only(&keys[0])).unwrap();
    assert_eq!(
        (again.status, &again.certificate),
        (IssueStatus::Existing, &first.certificate)
    );
    engine.close().unwrap();

    // After a start the next free ones follow, and answers stay.
    let engine = factory.open();
    let again = engine.issue(key_only(&keys[0])).unwrap();
    assert_eq!(
        (again.status, &again.certificate),
        (IssueStatus::Existing, &first.certificate)
    );
    engine.issue(key_only(&keys[2])).unwrap();
    engine.issue(key_only(&keys[3])).unwrap();
    let late = Key::generate();
    let refused = rejection(engine.issue(key_only(&late)));
    assert_eq!(
        (refused.reason(), refused.action().to_string().as_str()),
        ("serials-exhausted", "STOP")
    );
    // What was answered is answered still, and a brought number is nobody else's.
    assert_eq!(
        engine.issue(key_only(&keys[3])).unwrap().status,
        IssueStatus::Existing
    );
    assert_eq!(engine.issue(brought).unwrap().status, IssueStatus::Existing);
    let taken = Request::new(late.request("SN0003"), "numbered");
    assert_eq!(rejection(engine.issue(taken)).reason(), "identity-in-use");
    engine.close().unwrap();
    let entries = factory.assert_sound();
    assert_eq!(
        identities(&entries),
        ["SN0001", "SN0002", "SN0003", "SN0004"]
    );
}

/// A device keeps its number when it is reissued, and may bring it or not.
#[test]
fn a_device_with_a_number_is_reissued_under_it() {
    let factory = Factory::new(Signer::P256);
    let reissued = "reissue = \"same-key\"\n".to_owned() + &profile("SN0004");
    let named = "[[subject]]\ntype = \"CN\"\nvalue = \"{data.name}\"\n\n[hardware_module_name]";
    let reissued = reissued.replace("[hardware_module_name]", named);
    factory.add_profile("numbered", &reissued);
    let key = Key::generate();
    let engine = factory.open();
    let ask = |csr: Vec<u8>, name: &str| {
        let mut request = Request::new(csr, "numbered");
        request.data = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        engine.issue(request).unwrap()
    };
    let none = || key.request_with(name(&[]), &[]);
    let first = ask(none(), "a");
    let brought = ask(key.request("SN0001"), "a");
    assert_eq!(
        (brought.status, &brought.certificate),
        (IssueStatus::Existing, &first.certificate)
    );
    let second = ask(none(), "b");
    assert_eq!(second.status, IssueStatus::Issued);
    assert_eq!(
        ask(key.request("SN0001"), "b").status,
        IssueStatus::Existing
    );
    engine.close().unwrap();
    assert_eq!(identities(&factory.assert_sound()), ["SN0001", "SN0001"]);
}

/// Key-only requests, requests that bring numbers, and retries of both, at once and over several starts; half the
/// starts end with requests in flight whose callers are gone.
#[test]
fn numbers_are_unique_under_load_and_over_starts() {
    const DEVICES: usize = 300;
    let factory = station("SN0300");
    let mut random = Random::new(17);
    let keys: Vec<Key> = (0..DEVICES).map(|_| Key::generate()).collect();
    let ask = |device: usize| match device % 10 {
        // A tenth brings its own, from the range's end.
        0 => Request::new(
            keys[device].request(&format!("SN{:04}", 300 - device / 10)),
            "numbered",
        ),
        _ => key_only(&keys[device]),
    };
    let mut answers: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    for start in 0..6 {
        let engine = factory.open_with(|station| station.max_in_flight = Some(64));
        let asked: Vec<usize> = (0..150)
            .map(|_| random.below(DEVICES as u64) as usize)
            .collect();
        let pending: Vec<_> = asked
            .iter()
            .map(|device| engine.submit_wait(ask(*device)).unwrap())
            .collect();
        // An odd start forgets its last requests.
        let kept = if start % 2 == 0 {
            asked.len()
        } else {
            asked.len() - 40
        };
        for (device, pending) in asked.iter().zip(pending).take(kept) {
            let der = pending.wait().unwrap().certificate.as_der().to_vec();
            let before = answers.entry(*device).or_insert_with(|| der.clone());
            assert_eq!(*before, der, "device {device} has one certificate");
        }
        engine.close().unwrap();
    }
    let engine = factory.open();
    for device in 0..DEVICES {
        let der = engine
            .issue(ask(device))
            .unwrap()
            .certificate
            .as_der()
            .to_vec();
        assert_eq!(*answers.entry(device).or_insert_with(|| der.clone()), der);
    }
    assert_eq!(
        rejection(engine.issue(key_only(&Key::generate()))).reason(),
        "serials-exhausted"
    );
    engine.close().unwrap();
    let identities = identities(&factory.assert_sound());
    let unique: BTreeSet<&String> = identities.iter().collect();
    assert_eq!(
        (identities.len(), unique.len()),
        (DEVICES, DEVICES),
        "each number once"
    );
}

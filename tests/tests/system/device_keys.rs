//! Keys that the engine makes: openssl opens them, retries bring the same bytes until they are acknowledged,
//! and nothing of them is anywhere else.

mod compaction;
mod faults;
mod killed;
mod line;
mod lost_ends;
mod memory;
mod pkcs12;
mod spool_and_log;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use birthmark_engine::device_key::{
    Acknowledgement, Delivery, DeviceKeysOpenError, KeyDelivery, Recipient,
};
use birthmark_engine::permit::Permit;
use birthmark_engine::record::{DATA_KEY, KEY_GENERATED, Record};
use birthmark_engine::{
    Configuration, Engine, IssueStatus, Issued, OpenError, Profile, REISSUES_MAX, Request,
};
use birthmark_log::{LogReader, RecordIndex};

use crate::requests::{Key, openssl};
use crate::station::{Factory, Signer, fault, rejection};
use line::{Line, Receiver};

/// A request for a device of the profile `made`.
pub(crate) fn request(serial: &str) -> Request {
    let data = [("serial", serial)].map(|(key, value)| (key.to_owned(), value.to_owned()));
    Request::generated("made", BTreeMap::from(data))
}

/// The encrypted key, DER, and how it is encrypted.
#[track_caller]
pub(crate) fn delivered(issued: &Issued) -> (Delivery, Vec<u8>) {
    match &issued.key {
        Some(KeyDelivery::Encrypted(key)) => (key.delivery(), key.as_der().to_vec()),
        other => panic!("there should be a key: {other:?}"),
    }
}

#[test]
fn openssl_opens_what_is_delivered_and_it_is_the_certificates_key() {
    let all = ["p256", "p384", "p521"];
    for (receiver, algorithms) in [
        (Receiver::Ec, &all[..]),
        (Receiver::Rsa(2048), &all),
        (Receiver::Rsa(3072), &all[..1]),
        (Receiver::Secret, &all),
        (Receiver::Pkcs12, &all),
    ] {
        for &algorithm in algorithms {
            let factory = Factory::new(Signer::P256);
            let line = Line::new(&factory, receiver, algorithm);
            let engine = factory.open();
            let issued = engine.issue(request("SN-1")).unwrap();
            assert_eq!(issued.status, IssueStatus::Issued);
            let (delivery, blob) = delivered(&issued);
            assert_eq!(delivery.name(), receiver.delivery());
            let private = line
                .open(&blob)
                .unwrap_or_else(|| panic!("{receiver:?} {algorithm}: openssl does not open it"));
            let public = line.public_key(&private);
            let certificate = factory.file("device.pem", issued.certificate.to_pem());
            let certified = openssl(&["x509", "-in", &certificate, "-pubkey", "-noout"]).stdout;
            assert_eq!(public, certified, "{receiver:?} {algorithm}");
            engine.close().unwrap();
        }
    }
}

#[test]
fn nobody_else_opens_it() {
    for receiver in [
        Receiver::Ec,
        Receiver::Rsa(2048),
        Receiver::Secret,
        Receiver::Pkcs12,
    ] {
        let factory = Factory::new(Signer::P256);
        let line = Line::new(&factory, receiver, "p256");
        let engine = factory.open();
        let (_, blob) = delivered(&engine.issue(request("SN-1")).unwrap());
        assert!(line.open(&blob).is_some());
        let elsewhere = Factory::new(Signer::P256);
        let other = Line::new(&elsewhere, receiver, "p256");
        // openssl may take a wrong RSA key's result for a random content key: what it gives is no key then.
        let opened = other.open(&blob);
        assert!(
            opened.is_none_or(|bytes| !Line::is_private_key(&bytes)),
            "{receiver:?}"
        );
    }
}

#[test]
fn a_retry_brings_the_same_bytes_until_it_is_acknowledged() {
    let factory = Factory::new(Signer::P256);
    let _line = Line::new(&factory, Receiver::Ec, "p256");
    let engine = factory.open();
    let first = engine.issue(request("SN-1")).unwrap();
    let serial = first.certificate.serial().to_vec();
    let same = |engine: &Engine, key: &Option<KeyDelivery>| {
        let again = engine.issue(request("SN-1")).unwrap();
        assert_eq!(again.status, IssueStatus::Existing);
        assert_eq!(again.certificate, first.certificate);
        assert_eq!(&again.key, key);
    };
    same(&engine, &first.key);
    engine.close().unwrap();

    let engine = factory.open();
    assert_eq!(engine.keys_waiting(), 1);
    same(&engine, &first.key);
    let acknowledge = |engine: &Engine| engine.acknowledge(&[&serial, &vec![1; 16]]).unwrap();
    let (done, not_waiting) = (Acknowledgement::Done, Acknowledgement::NotWaiting);
    assert_eq!(acknowledge(&engine), [done, not_waiting]);
    let gone = Some(KeyDelivery::Acknowledged);
    same(&engine, &gone);
    assert_eq!(acknowledge(&engine), [not_waiting, not_waiting]);
    engine.close().unwrap();

    let engine = factory.open();
    assert_eq!(engine.keys_waiting(), 0);
    same(&engine, &gone);
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 1);
}

#[test]
fn a_device_that_lost_its_key_gets_another_by_a_permit() {
    let factory = Factory::new(Signer::P256);
    let line = Line::new(&factory, Receiver::Secret, "p256");
    let engine = factory.open();
    let first = engine.issue(request("SN-1")).unwrap();
    engine.acknowledge(&[first.certificate.serial()]).unwrap();
    let permit = |replaces| {
        let permit = Permit {
            profile: "made".to_owned(),
            identity_domain: "made".to_owned(),
            ..line.officer.permit("SN-1", replaces)
        };
        Request {
            permit: Some(line.officer.sign(&permit)),
            ..request("SN-1")
        }
    };
    // A permit that does not count is told, and not passed over.
    let told = rejection(engine.issue(permit(7)));
    assert_eq!(told.number(), 518, "{told}");
    assert!(told.to_string().contains("record 7"), "{told}");
    let unchanged = engine.issue(request("SN-1")).unwrap();
    assert_eq!(unchanged.certificate, first.certificate);
    assert_eq!(unchanged.key, Some(KeyDelivery::Acknowledged));
    let second = engine.issue(permit(0)).unwrap();
    assert_eq!(second.status, IssueStatus::Issued);
    assert_ne!(delivered(&second), delivered(&first));
    assert_key_of(
        &line,
        &second.certificate.to_pem(),
        &delivered(&second).1,
        &factory,
    );
    // The permit is spent, and the newest certificate answers.
    for again in [permit(0), request("SN-1")] {
        let again = engine.issue(again).unwrap();
        assert_eq!(again.status, IssueStatus::Existing);
        assert_eq!(
            (again.certificate, again.key),
            (second.certificate.clone(), second.key.clone())
        );
    }
    // One that an older entry spent is no retry of the newest.
    let third = engine.issue(permit(1)).unwrap();
    assert_eq!(third.status, IssueStatus::Issued);
    assert_eq!(rejection(engine.issue(permit(0))).number(), 518);
    for replaced in 2..REISSUES_MAX as u64 {
        let next = engine.issue(permit(replaced)).unwrap();
        assert_eq!(next.status, IssueStatus::Issued);
    }
    let newest = REISSUES_MAX as u64;
    let limit = rejection(engine.issue(permit(newest)));
    assert_eq!((limit.number(), limit.reason()), (505, "reissue-limit"));
    let last = engine.issue(permit(newest - 1)).unwrap();
    assert_eq!(
        last.status,
        IssueStatus::Existing,
        "the permit that it spent"
    );
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), REISSUES_MAX + 1);
}

#[test]
fn many_at_once_have_one_key_each() {
    let factory = Factory::new(Signer::P256);
    let line = Line::new(&factory, Receiver::Ec, "p256");
    let engine = factory.open_with(|station| {
        // Small files, so that the run fills many.
        station.device_keys.as_mut().unwrap().spool.file_bytes = 128 << 10;
    });
    // Each device asks three times, side by side.
    let requests = (0..3_000).map(|number| request(&format!("SN-{}", number / 3)));
    let results = engine.issue_batch(requests.collect());
    let mut keys = BTreeMap::new();
    for (number, result) in results.iter().enumerate() {
        let issued = result.as_ref().unwrap();
        let known = keys
            .entry(number / 3)
            .or_insert_with(|| delivered(issued).1);
        assert_eq!(*known, delivered(issued).1, "device {}", number / 3);
    }
    let private = line.open(&keys[&999]).unwrap();
    assert!(Line::is_private_key(&private));
    assert_eq!(engine.metrics().issued, 1_000);
    assert_eq!(engine.keys_waiting(), 1_000);
    let files = |factory: &Factory| fs::read_dir(factory.path("ca/spool")).unwrap().count();
    assert!(files(&factory) >= 5);
    let serials: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().unwrap().certificate.serial())
        .collect();
    let done = engine.acknowledge(&serials).unwrap();
    let done = done.iter().filter(|one| **one == Acknowledgement::Done);
    assert_eq!(done.count(), 1_000);
    // The lock, the log's name, and the file that is written to.
    assert_eq!(files(&factory), 3);
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 1_000);
}

#[test]
fn the_key_is_nowhere_but_in_its_envelope() {
    let factory = Factory::new(Signer::P256);
    let line = Line::new(&factory, Receiver::Ec, "p256");
    let engine = factory.open();
    let issued = engine.issue(request("SN-1")).unwrap();
    let (_, blob) = delivered(&issued);
    let shown = format!("{issued:?} {:?} {engine:?}", request("SN-1"));
    engine.close().unwrap();
    let private = line.open(&blob).unwrap();
    let scalar = Line::scalar(&private);
    let mut seen = 0;
    for (path, bytes) in files_below(&factory.path("ca")) {
        assert!(!contains(&bytes, &scalar), "{}", path.display());
        let is_spool = path.components().any(|part| part.as_os_str() == "spool");
        let has_blob = contains(&bytes, &blob[blob.len() - 64..]);
        assert!(!has_blob || is_spool, "{}", path.display());
        seen += usize::from(has_blob);
    }
    assert_eq!(seen, 1, "the encrypted key is in the spool, once");
    let spool = fs::metadata(factory.path("ca/spool")).unwrap();
    assert_eq!(spool.permissions().mode() & 0o777, 0o700);
    let hex: String = scalar.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimal = format!("{:?}", &scalar[..4]);
    let decimal = decimal.trim_matches(['[', ']']);
    assert!(!shown.contains(&hex) && !shown.contains(decimal), "{shown}");

    let record = LogReader::open(&factory.log()).unwrap();
    let record = record
        .read(RecordIndex(issued.certificate.index()))
        .unwrap();
    let Record::Issued(record) = Record::decode(&record).unwrap() else {
        panic!("no certificate")
    };
    assert_eq!(record.data.get(DATA_KEY), Some(&KEY_GENERATED));
    assert_eq!(record.identity, Some("SN-1"));
}

#[test]
fn a_full_spool_refuses_new_keys_and_answers_old_ones() {
    let factory = Factory::new(Signer::P256);
    let _line = Line::new(&factory, Receiver::Ec, "p256");
    let engine = factory.open_with(|station| {
        station.device_keys.as_mut().unwrap().spool.keys_max = 3;
    });
    let issued: Vec<_> = (0..3)
        .map(|number| engine.issue(request(&format!("SN-{number}"))).unwrap())
        .collect();
    let full = fault(engine.issue(request("SN-3")));
    assert_eq!((full.number(), full.reason()), (910, "key-spool-full"));
    assert!(full.to_string().contains("birthmark key ack"), "{full}");
    let again = engine.issue(request("SN-1")).unwrap();
    assert_eq!(again.key, issued[1].key);
    // Devices with keys of their own go on.
    let own = Key::generate();
    engine
        .issue(Request::new(own.request("SN-9"), "idevid"))
        .unwrap();
    let serial = issued[0].certificate.serial();
    engine.acknowledge(&[serial]).unwrap();
    engine.issue(request("SN-3")).unwrap();
    assert_eq!(engine.metrics().lost, 0);
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 5);
}

#[test]
fn generated_and_own_keys_of_one_device_exclude_each_other() {
    let factory = Factory::new(Signer::P256);
    let _line = Line::new(&factory, Receiver::Ec, "p256");
    let engine = factory.open();
    engine.issue(request("SN-1")).unwrap();
    let mut own = Request::new(Key::generate().request("SN-1"), "made");
    own.data = request("SN-1").data;
    assert_eq!(rejection(engine.issue(own.clone())).number(), 501);
    own.data.insert("serial".to_owned(), "SN-2".to_owned());
    let issued = engine.issue(own).unwrap();
    assert_eq!(issued.key, None);
    assert_eq!(rejection(engine.issue(request("SN-2"))).number(), 501);
}

#[test]
fn requests_that_cannot_have_a_key_are_told_why() {
    let factory = Factory::new(Signer::P256);
    let _line = Line::new(&factory, Receiver::Ec, "p256");
    let engine = factory.open();
    let of = |profile: &str, key: &str| {
        let data = BTreeMap::from([(key.to_owned(), "SN-1".to_owned())]);
        rejection(engine.issue(Request::generated(profile, data)))
    };
    let refused = of("idevid", "serial");
    assert_eq!(
        (refused.number(), refused.reason()),
        (390, "key-not-generated")
    );
    assert_eq!(of("made", "other").number(), 401);
    assert_eq!(of("nowhere", "serial").number(), 400);
    assert_eq!(of("made", "birthmark:key").number(), 404);
    assert_eq!(engine.keys_waiting(), 0);
}

#[test]
fn profiles_and_stations_that_do_not_fit_stop_the_start() {
    let factory = Factory::new(Signer::P256);
    let _line = Line::new(&factory, Receiver::Ec, "p256");
    let mut station = factory.station();
    station.device_keys = None;
    match Engine::open(station) {
        Err(OpenError::DeviceKeys(error @ DeviceKeysOpenError::NoDelivery { .. })) => {
            assert!(
                error.to_string().contains("device_keys.recipient"),
                "{error}"
            );
        }
        other => panic!("{other:?}"),
    }
    let profile = line::profile("p256", "cms");
    let parse = |text: &str| {
        Profile::parse(text, Path::new("made.toml"))
            .map(drop)
            .map_err(|error| error.to_string())
    };
    assert_eq!(parse(&profile), Ok(()));
    for (from, to, told) in [
        (
            "\"cms\"",
            "\"plain\"",
            "use \"cms\", \"pkcs8\" or \"pkcs12\"",
        ),
        ("\"cms\"", "\"pkcs8\"", "reissue"),
        ("\"cms\"", "\"pkcs12\"", "reissue"),
        ("[\"p256\"]", "[\"rsa\"]", "p256, p384, p521"),
        ("{data.serial}", "{csr.subject.CN}", "csr.subject.CN"),
    ] {
        let error = parse(&profile.replace(from, to)).unwrap_err();
        assert!(
            error.contains("key.generated") && error.contains(told),
            "{error}"
        );
    }
}

#[test]
fn a_secret_that_others_may_read_is_refused() {
    let factory = Factory::new(Signer::P256);
    let _line = Line::new(&factory, Receiver::Secret, "p256");
    factory.open().close().unwrap();
    let everybody = fs::Permissions::from_mode(0o640);
    fs::set_permissions(factory.path("line.key"), everybody).unwrap();
    let station = Configuration::load(&factory.configuration()).and_then(|loaded| loaded.station());
    let error = station.map(drop).unwrap_err().to_string();
    assert!(
        error.contains("0640") && error.contains("chmod 600"),
        "{error}"
    );
}

#[test]
fn recipients_that_cannot_receive_are_refused() {
    let factory = Factory::new(Signer::P256);
    let p256 = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let p384 = ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"];
    let table: [(&[&str], &str, Option<&str>); 6] = [
        (&p256, "keyUsage=keyAgreement", None),
        (&p256, "basicConstraints=CA:FALSE", None),
        (
            &p256,
            "keyUsage=digitalSignature",
            Some("keyAgreement for P-256"),
        ),
        (
            &["rsa:2048"],
            "keyUsage=keyAgreement",
            Some("keyEncipherment for RSA"),
        ),
        (&p384, "keyUsage=keyAgreement", Some("or P-256")),
        (&["ed25519"], "keyUsage=keyAgreement", Some("or P-256")),
    ];
    for (kind, extension, told) in table {
        let [key, out] = ["r.key", "r.pem"].map(|name| factory.path(name));
        let (key, path) = (key.to_str().unwrap(), out.to_str().unwrap());
        let fixed = ["-nodes", "-keyout", key, "-out", path, "-subj", "/CN=Line"];
        let extension = ["-addext", extension];
        openssl(&[&["req", "-x509", "-newkey"], kind, &fixed, &extension].concat());
        let read = Recipient::read(&out).map_err(|error| error.to_string());
        match (read, told) {
            (Ok(_), None) => {}
            (Err(error), Some(told)) => assert!(error.contains(told), "{error}"),
            other => panic!("{kind:?} {extension:?}: {other:?}"),
        }
    }
}

fn files_below(directory: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
    files
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Of the tests beside this one: what the line gets is the certificate's key.
pub(crate) fn assert_key_of(line: &Line, issued_pem: &str, blob: &[u8], factory: &Factory) {
    let private = line.open(blob).expect("openssl opens the key");
    let certificate = factory.file("checked.pem", issued_pem);
    let certified = openssl(&["x509", "-in", &certificate, "-pubkey", "-noout"]).stdout;
    assert_eq!(line.public_key(&private), certified);
}

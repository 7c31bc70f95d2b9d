//! A spool belongs to one log: with another one, or an older copy, or none where one was, nothing is dropped and
//! nothing is called acknowledged.

use std::fs;
use std::path::Path;

use birthmark_engine::device_key::{
    DeviceKeysOpenError, KeyDelivery, KeySpool, SpoolOpenError, SpoolOptions,
};
use birthmark_engine::{Engine, OpenError, Station};

use super::line::{Line, Receiver};
use super::request;
use crate::station::{Factory, Signer};

/// Why the start is refused.
#[track_caller]
fn refused(station: Station) -> SpoolOpenError {
    match Engine::open(station) {
        Err(OpenError::DeviceKeys(DeviceKeysOpenError::Spool(error))) => error,
        other => panic!("{other:?}"),
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn another_log_is_refused_and_drops_nothing() {
    let factory = Factory::new(Signer::P256);
    let _line = Line::new(&factory, Receiver::Ec, "p256");
    let engine = factory.open();
    engine.issue(request("SN-1")).unwrap();
    engine.close().unwrap();
    let elsewhere = Factory::new(Signer::P256);
    let _other = Line::new(&elsewhere, Receiver::Ec, "p256");
    let mut station = elsewhere.station();
    let spool = factory.path("ca/spool");
    station.device_keys.as_mut().unwrap().spool.directory = spool.clone();
    let error = refused(station);
    assert!(
        matches!(error, SpoolOpenError::OtherLog { .. }),
        "{error:?}"
    );
    let spool = KeySpool::open(SpoolOptions::new(spool)).unwrap();
    assert_eq!(spool.waiting(), 1);
}

#[test]
fn an_older_copy_of_the_log_is_refused_and_keeps_the_keys_if_it_is_to_be() {
    let factory = Factory::new(Signer::P256);
    let _line = Line::new(&factory, Receiver::Ec, "p256");
    let engine = factory.open();
    let first = engine.issue(request("SN-1")).unwrap();
    engine.close().unwrap();
    let (log, backup) = (factory.log(), factory.path("backup"));
    copy(&log, &backup);
    let engine = factory.open();
    engine.issue(request("SN-2")).unwrap();
    engine.close().unwrap();
    fs::remove_dir_all(&log).unwrap();
    copy(&backup, &log);
    let error = refused(factory.station());
    assert!(error.to_string().contains("records"), "{error}");

    let options = SpoolOptions::new(factory.path("ca/spool"));
    assert_eq!(KeySpool::init(options).unwrap().waiting(), 2);
    let engine = factory.open();
    assert_eq!((engine.keys_waiting(), engine.keys_dropped()), (2, 0));
    assert_eq!(engine.issue(request("SN-1")).unwrap().key, first.key);
    engine.close().unwrap();
}

#[test]
fn a_spool_that_is_gone_stops_the_start_and_its_keys_are_not_called_acknowledged() {
    let factory = Factory::new(Signer::P256);
    let _line = Line::new(&factory, Receiver::Ec, "p256");
    let engine = factory.open();
    engine.issue(request("SN-1")).unwrap();
    engine.close().unwrap();
    let (spool, away) = (factory.path("ca/spool"), factory.path("away"));
    fs::rename(&spool, away).unwrap();
    let options = SpoolOptions::new(spool.clone());
    for _ in 0..2 {
        let looked = KeySpool::open(options.clone());
        assert!(
            matches!(looked, Err(SpoolOpenError::Missing { .. })),
            "{looked:?}"
        );
        let error = refused(factory.station());
        assert!(error.to_string().contains("key init"), "{error}");
        assert!(!spool.exists());
    }

    drop(KeySpool::init(options).unwrap());
    let engine = factory.open();
    let lost = engine.issue(request("SN-1")).unwrap();
    assert_eq!(lost.key, Some(KeyDelivery::NotKept));
    let kept = engine.issue(request("SN-2")).unwrap();
    engine.acknowledge(&[kept.certificate.serial()]).unwrap();
    engine.close().unwrap();
    let engine = factory.open();
    let asked = |serial| engine.issue(request(serial)).unwrap().key;
    assert_eq!(asked("SN-1"), Some(KeyDelivery::NotKept));
    assert_eq!(asked("SN-2"), Some(KeyDelivery::Acknowledged));
    engine.close().unwrap();
}

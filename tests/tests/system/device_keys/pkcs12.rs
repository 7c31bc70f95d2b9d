//! PKCS #12 files are assembled of what the spool and the log have: again after every start.

use std::fs;

use birthmark_engine::device_key::KeyDelivery;
use birthmark_engine::{IssueStatus, Issued};

use super::line::{Line, Receiver};
use super::{contains, delivered, files_below, request};
use crate::requests::openssl;
use crate::station::{Factory, Signer, fault};

/// The certificates in a file, as openssl lists them, without the names of bags.
fn certificates(line: &Line, factory: &Factory, issued: &Issued) -> String {
    let (_, pfx) = delivered(issued);
    let path = factory.path("device.p12");
    fs::write(&path, pfx).unwrap();
    let password = format!("file:{}", line.secret_file());
    let file = path.to_str().unwrap();
    let listed = ["pkcs12", "-in", file, "-nokeys", "-passin", &password];
    String::from_utf8(openssl(&listed).stdout).unwrap()
}

#[test]
fn every_start_assembles_the_same_file() {
    let factory = Factory::new(Signer::P256);
    let line = Line::new(&factory, Receiver::Pkcs12, "p256");
    let engine = factory.open();
    let first = engine.issue(request("SN-1")).unwrap();
    engine.close().unwrap();
    let listed = certificates(&line, &factory, &first);
    for pem in [
        first.certificate.to_pem(),
        fs::read_to_string(factory.path("ca/issuing-ca.pem")).unwrap(),
    ] {
        assert!(listed.contains(pem.trim()), "{listed}");
    }
    // By the key's bag and its certificate's, and not by the issuer's.
    let serial = first.certificate.serial().iter();
    let id: Vec<_> = serial.map(|octet| format!("{octet:02X}")).collect();
    assert_eq!(listed.matches("localKeyID").count(), 1, "{listed}");
    assert!(listed.contains(&id.join(" ")), "{listed}");

    // Each of two more starts makes a key of its own, and has the older ones.
    let mut issued = vec![first];
    for start in 2..=3 {
        let engine = factory.open();
        for (number, before) in issued.iter().enumerate() {
            let again = engine
                .issue(request(&format!("SN-{}", number + 1)))
                .unwrap();
            assert_eq!(again.status, IssueStatus::Existing);
            assert_eq!(again.key, before.key, "start {start}");
        }
        issued.push(engine.issue(request(&format!("SN-{start}"))).unwrap());
        engine.close().unwrap();
    }
    let (_, pfx) = delivered(&issued[0]);
    for (path, bytes) in files_below(&factory.path("ca")) {
        let has_file = contains(&bytes, &pfx);
        assert!(!has_file, "{} has the whole file", path.display());
    }
}

#[test]
fn a_key_under_an_older_secret_waits_for_it() {
    let factory = Factory::new(Signer::P256);
    let line = Line::new(&factory, Receiver::Pkcs12, "p256");
    let engine = factory.open();
    let first = engine.issue(request("SN-1")).unwrap();
    engine.close().unwrap();
    let old = fs::read(line.secret_file()).unwrap();
    fs::write(line.secret_file(), "another secret of the line").unwrap();
    let engine = factory.open();
    let told = fault(engine.issue(request("SN-1")));
    assert_eq!((told.number(), told.reason()), (911, "key-spool"));
    assert!(told.to_string().contains("device_keys.secret"), "{told}");
    assert!(!told.to_string().contains("another secret of"), "{told}");
    let second = engine.issue(request("SN-2")).unwrap();
    assert!(matches!(second.key, Some(KeyDelivery::Encrypted(_))));
    engine.close().unwrap();
    fs::write(line.secret_file(), old).unwrap();
    let engine = factory.open();
    assert_eq!(engine.issue(request("SN-1")).unwrap().key, first.key);
    engine.close().unwrap();
}

#[test]
fn a_profile_that_delivers_otherwise_now_still_gives_the_older_files() {
    let factory = Factory::new(Signer::P256);
    let _line = Line::new(&factory, Receiver::Pkcs12, "p256");
    let engine = factory.open();
    let first = engine.issue(request("SN-1")).unwrap();
    engine.close().unwrap();
    let profile = factory.path("ca/profiles/made.toml");
    let text = fs::read_to_string(&profile).unwrap();
    fs::write(&profile, text.replace("\"pkcs12\"", "\"pkcs8\"")).unwrap();
    let engine = factory.open();
    assert_eq!(engine.issue(request("SN-1")).unwrap().key, first.key);
    let (delivery, _) = delivered(&engine.issue(request("SN-2")).unwrap());
    assert_eq!(delivery.name(), "pkcs8");
    engine.close().unwrap();
}

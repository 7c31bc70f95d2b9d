//! Each start with a key on a token stands in the log, before what was begun after it.

use birthmark_engine::{Activation, Configuration, Engine, Request};
use birthmark_hsm::KeyAlgorithm;

use crate::requests::device;
use crate::station::{Entry, Factory, Signer};

#[test]
fn each_start_with_a_token_is_a_record() {
    let factory = Factory::new(Signer::SoftHsm(KeyAlgorithm::EcP256));
    for number in 0..2 {
        let configuration = Configuration::load(&factory.configuration()).unwrap();
        let station = configuration.station().unwrap();
        assert_eq!(station.activation, Some(Activation::Unattended));
        let engine = Engine::open(station).unwrap();
        engine
            .issue(Request::new(device(number), "idevid"))
            .unwrap();
        engine.close().unwrap();
    }
    let entries = factory.assert_sound();
    for (index, entry) in entries.iter().enumerate() {
        match entry {
            Entry::Activated { activation, signer } if index % 2 == 0 => {
                assert_eq!(activation, "unattended");
                assert!(signer.contains("PKCS#11 token"), "{signer}");
                assert!(!signer.contains("pin"), "{signer}");
            }
            Entry::Issued { .. } if index % 2 == 1 => {}
            other => panic!("record {index}: {other:?}"),
        }
    }
    assert_eq!(entries.len(), 4);
}

#[test]
fn a_key_file_is_not_activated() {
    let factory = Factory::new(Signer::P256);
    let configuration = Configuration::load(&factory.configuration()).unwrap();
    assert_eq!(configuration.station().unwrap().activation, None);
}

//! An officer who permits reissues, and the profile and requests that they are for.

use std::collections::BTreeMap;
use std::path::Path;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use birthmark_engine::permit::{Officers, Permit, fold_identity};
use birthmark_engine::{Engine, Profile, Request, Station};
use birthmark_log::tlog::VerifierKey;

use crate::requests::Key;
use crate::station::Factory;

pub(crate) const LOG: &str = "example.com/line-7";

/// An IDevID with a value from the line in the subject, so that content can change.
pub(crate) fn profile(reissue: &str) -> Profile {
    let text = format!(
        r#"
name = "order"
base = "idevid"
reissue = "{reissue}"

[[subject]]
type = "O"
value = "{{data.order}}"

[[subject]]
type = "serialNumber"
value = "{{csr.subject.serialNumber}}"

[validity]
not_after = "99991231235959Z"

[key]
algorithms = ["p256"]
"#
    );
    Profile::parse(&text, Path::new("test.toml")).unwrap()
}

/// An officer and the issuer that permits are for.
pub(crate) struct Officer {
    key: Ed25519KeyPair,
    verifier: VerifierKey,
    issuer: [u8; 20],
}

impl Officer {
    pub(crate) fn new(factory: &Factory) -> Officer {
        let key = Ed25519KeyPair::generate().unwrap();
        let public = key.public_key().as_ref().try_into().unwrap();
        Officer {
            verifier: VerifierKey::ed25519("ada", public).unwrap(),
            issuer: *factory.station().issuer.key_identifier(),
            key,
        }
    }

    /// Its line in `engine.officers`.
    pub(crate) fn vkey(&self) -> String {
        self.verifier.to_string()
    }

    pub(crate) fn configure(&self, station: &mut Station, reissue: &str) {
        station.profiles = vec![profile(reissue)];
        station.officers = Some(Officers::new(LOG, &[self.verifier.to_string()]).unwrap());
    }

    pub(crate) fn open(&self, factory: &Factory, reissue: &str) -> Engine {
        factory.open_with(|station| self.configure(station, reissue))
    }

    pub(crate) fn permit(&self, identity: &str, replaces: u64) -> Permit {
        Permit {
            log: LOG.to_owned(),
            issuer: self.issuer,
            profile: "order".to_owned(),
            identity_domain: "order".to_owned(),
            identity: fold_identity(identity),
            key_fingerprint: None,
            replaces,
            not_after_s: 4_000_000_000,
            reason: None,
        }
    }

    pub(crate) fn sign(&self, permit: &Permit) -> Vec<u8> {
        let signature = self.key.sign(permit.to_text().unwrap().as_bytes());
        let note = permit.signed(&self.verifier, signature.as_ref()).unwrap();
        note.into_bytes()
    }
}

pub(crate) fn ask(key: &Key, order: &str) -> Request {
    let mut request = Request::new(key.request("SN-1"), "order");
    request.data = BTreeMap::from([("order".to_owned(), order.to_owned())]);
    request
}

pub(crate) fn ask_with(key: &Key, order: &str, permit: &[u8]) -> Request {
    let mut request = ask(key, order);
    request.permit = Some(permit.to_vec());
    request
}

//! Certification requests with a single fault, RFC 2986.
//!
//! A fault is put into a good request and the request is signed again with the device's key wherever that can
//! be done: the proof of possession holds, so that nothing but the fault can be the reason of a rejection.

mod attributes;
mod encoding;
mod keys;
mod names;
mod proof;
mod request;
mod wishes;

use std::sync::OnceLock;

use birthmark_hsm::KeyAlgorithm;
use birthmark_loadgen::device::Device;

use crate::authority::AuthorityKey;
use crate::der_tree::Node;

/// The seed of the devices' keys.
const DEVICE_SEED: u64 = 62;

/// What no certificate may repeat: harmless faults carry it.
pub const MARKER: &str = "WISH-7731";

/// What becomes of a request with a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is refused, for this reason.
    Refused(&'static str),
    /// It is issued, and the certificate is what it would have been without.
    Harmless,
}

/// One way to get a request wrong.
#[derive(Clone, Copy)]
pub struct RequestFault {
    /// Kebab case, unique.
    pub name: &'static str,
    /// The kind of the device's key.
    pub key: KeyAlgorithm,
    /// The rule that it breaks.
    pub source: &'static str,
    /// What has to become of it.
    pub outcome: Outcome,
    change: Change,
}

#[derive(Clone, Copy)]
enum Change {
    /// In the request, which is signed afterwards.
    Signed(fn(&mut Node)),
    /// In the request as it was signed.
    Unsigned(fn(&mut Node)),
    /// In its bytes.
    Octets(fn(&mut Vec<u8>)),
    /// The key and the signature are the issuer's own.
    IssuersKey,
}

impl RequestFault {
    /// Every fault, in validation's order.
    pub fn all() -> impl Iterator<Item = &'static RequestFault> {
        [
            encoding::FAULTS,
            attributes::FAULTS,
            proof::FAULTS,
            keys::FAULTS,
            names::FAULTS,
            wishes::FAULTS,
        ]
        .into_iter()
        .flatten()
    }

    /// The request of device `number` with this fault, DER or what is left of it. `issuer` is the key and
    /// the SubjectPublicKeyInfo of the CA that it goes to.
    #[must_use]
    pub fn apply(&self, number: u64, issuer: (&AuthorityKey, &Node)) -> Vec<u8> {
        let device = device(self.key, number);
        let good = device.request().unwrap();
        let mut tree = Node::parse(&good);
        match self.change {
            Change::Signed(change) => {
                change(&mut tree);
                tree[2] = Node::bits(0, &device.sign(&tree[0].encode()).unwrap());
                tree.encode()
            }
            Change::Unsigned(change) => {
                change(&mut tree);
                tree.encode()
            }
            Change::Octets(change) => {
                let mut octets = good;
                change(&mut octets);
                octets
            }
            Change::IssuersKey => {
                tree[0][request::SPKI] = issuer.1.clone();
                tree[2] = Node::bits(0, &issuer.0.sign(&tree[0].encode()));
                tree.encode()
            }
        }
    }
}

/// The device with this number. All RSA devices share one key, which takes long to make.
#[must_use]
pub fn device(key: KeyAlgorithm, number: u64) -> Device {
    static RSA: OnceLock<Vec<u8>> = OnceLock::new();
    if key != KeyAlgorithm::Rsa2048 {
        return Device::make(key, DEVICE_SEED, number).unwrap();
    }
    let stored = RSA.get_or_init(|| {
        let first = Device::make(key, DEVICE_SEED, 0).unwrap();
        first.stored_key().unwrap().unwrap()
    });
    Device::from_stored_key(DEVICE_SEED, number, stored).unwrap()
}

const fn refused(
    name: &'static str,
    key: KeyAlgorithm,
    source: &'static str,
    reason: &'static str,
    change: Change,
) -> RequestFault {
    RequestFault {
        name,
        key,
        source,
        outcome: Outcome::Refused(reason),
        change,
    }
}

const fn harmless(
    name: &'static str,
    key: KeyAlgorithm,
    source: &'static str,
    change: Change,
) -> RequestFault {
    RequestFault {
        name,
        key,
        source,
        outcome: Outcome::Harmless,
        change,
    }
}

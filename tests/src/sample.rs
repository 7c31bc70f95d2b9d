//! A certificate of every ready-made profile.

use std::collections::BTreeMap;

use birthmark_engine::Request;
use birthmark_engine::profile::READY_MADE;
use birthmark_hsm::KeyAlgorithm::{self, EcP256, EcP384, Ed25519, Rsa2048};
use birthmark_loadgen::device::Device;

use crate::authority::Authority;
use crate::der_tree::{Node, tag};

/// The seed of the devices' keys.
const DEVICE_SEED: u64 = 63;

/// Subject alternative names.
enum Name {
    Dns(&'static str),
    Uri(&'static str),
}

/// How a certificate is asked for.
struct Wish {
    profile: &'static str,
    key: KeyAlgorithm,
    /// Attribute type and value.
    subject: (&'static str, &'static str),
    names: &'static [Name],
    data: &'static [(&'static str, &'static str)],
}

const COMMON_NAME: &str = "2.5.4.3";
const SERIAL_NUMBER: &str = "2.5.4.5";

const fn wish(
    profile: &'static str,
    key: KeyAlgorithm,
    subject: (&'static str, &'static str),
    names: &'static [Name],
) -> Wish {
    Wish {
        profile,
        key,
        subject,
        names,
        data: &[("tpm_serial", "STM:0f:1")],
    }
}

const WISHES: &[Wish] = &[
    wish("idevid", EcP256, (SERIAL_NUMBER, "SN-1"), &[]),
    wish("idevid", Ed25519, (SERIAL_NUMBER, "SN-2"), &[]),
    wish("ldevid", EcP384, (SERIAL_NUMBER, "SN-3"), &[]),
    wish("tcg-idevid", Rsa2048, (SERIAL_NUMBER, "SN-4"), &[]),
    wish("tcg-iak", EcP256, (SERIAL_NUMBER, "SN-5"), &[]),
    wish("matter-dac", EcP256, (COMMON_NAME, "DAC 1"), &[]),
    wish("matter-pai", EcP256, (COMMON_NAME, "Acme PAI"), &[]),
    wish("matter-paa", EcP256, (COMMON_NAME, "Acme PAA"), &[]),
    wish(
        "opcua-application",
        EcP256,
        (COMMON_NAME, "Press 7"),
        &[
            Name::Uri("urn:acme:press:7"),
            Name::Dns("press7.acme.example"),
        ],
    ),
    wish(
        "opcua-application",
        Rsa2048,
        (COMMON_NAME, "Press 8"),
        &[
            Name::Uri("urn:acme:press:8"),
            Name::Dns("press8.acme.example"),
        ],
    ),
    wish(
        "wi-sun-fan",
        EcP256,
        (SERIAL_NUMBER, "0123456789abcdef"),
        &[],
    ),
    wish("iso15118-secc", EcP256, (COMMON_NAME, "DEABCE1234567"), &[]),
    wish(
        "iso15118-contract",
        EcP256,
        (COMMON_NAME, "DEABCC12345678X"),
        &[],
    ),
    wish("tls-client", EcP256, (COMMON_NAME, "device-1"), &[]),
    wish("tls-client", Rsa2048, (COMMON_NAME, "device-2"), &[]),
    wish(
        "tls-server",
        EcP256,
        (COMMON_NAME, "left out"),
        &[Name::Dns("gw-1.devices.example")],
    ),
];

/// A certificate that the engine issued.
pub struct Sample {
    /// The profile.
    pub profile: &'static str,
    /// The kind of its key.
    pub key: KeyAlgorithm,
    /// DER.
    pub certificate: Vec<u8>,
}

/// Who issues samples: CAs with a path length that allows the profile.
pub struct Issuers {
    /// Issues devices. Its name holds Matter's vendor FFF1, as a PAI's does.
    pub devices: Authority,
    /// Issues CAs.
    pub authorities: Authority,
}

impl Issuers {
    /// Makes the CAs and has them issue a certificate of each wish.
    #[must_use]
    pub fn issue() -> (Issuers, Vec<Sample>) {
        let issuers = Issuers {
            devices: Authority::matter(),
            authorities: Authority::with_issuing_certificate(EcP256, without_path_length),
        };
        for ready in READY_MADE {
            let authority = issuers.of(ready.name);
            if !["idevid", "tls-client"].contains(&ready.name) {
                authority.add_ready_made(ready.name);
            }
        }
        let mut samples = Vec::new();
        for authority in [&issuers.devices, &issuers.authorities] {
            let engine = authority.open();
            for (number, wish) in WISHES.iter().enumerate() {
                if !std::ptr::eq(issuers.of(wish.profile), authority) {
                    continue;
                }
                let data: BTreeMap<_, _> = wish
                    .data
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect();
                let mut request = Request::new(request(wish, number as u64), wish.profile);
                request.data = data;
                let issued = engine
                    .issue(request)
                    .unwrap_or_else(|error| panic!("{}: {error}", wish.profile));
                samples.push(Sample {
                    profile: wish.profile,
                    key: wish.key,
                    certificate: issued.certificate.as_der().to_vec(),
                });
            }
            engine.close().unwrap();
        }
        let missing = READY_MADE
            .iter()
            .find(|ready| samples.iter().all(|sample| sample.profile != ready.name));
        assert!(missing.is_none(), "no sample of {missing:?}");
        (issuers, samples)
    }

    /// Who issues this profile.
    #[must_use]
    pub fn of(&self, profile: &str) -> &Authority {
        if ["matter-pai", "matter-paa"].contains(&profile) {
            &self.authorities
        } else {
            &self.devices
        }
    }
}

/// Takes the path length out of an issuing certificate.
fn without_path_length(certificate: &mut Node) {
    let id = Node::oid("2.5.29.19");
    let extensions = certificate[0][7][0].nodes_mut();
    let constraints = extensions.iter_mut().find(|one| one[0] == id).unwrap();
    let value = constraints.nodes_mut().last_mut().unwrap();
    value.within(|fields| fields.nodes_mut().truncate(1));
}

fn request(wish: &Wish, number: u64) -> Vec<u8> {
    let device = Device::make(wish.key, DEVICE_SEED, number).unwrap();
    let (oid, text) = wish.subject;
    let pair = Node::sequence([Node::oid(oid), Node::string(tag::UTF8_STRING, text)]);
    let names = wish.names.iter().map(|name| match name {
        Name::Dns(text) => Node::context(2, text.as_bytes()),
        Name::Uri(text) => Node::context(6, text.as_bytes()),
    });
    let mut attributes = Vec::new();
    if !wish.names.is_empty() {
        let value = Node::octets(&Node::sequence(names).encode());
        let extension = Node::sequence([Node::oid("2.5.29.17"), value]);
        let values = Node::set([Node::sequence([extension])]);
        attributes.push(Node::sequence([Node::oid("1.2.840.113549.1.9.14"), values]));
    }
    let info = Node::sequence([
        Node::integer(&[0]),
        Node::sequence([Node::set([pair])]),
        Node::parse(&device.public_key_info().unwrap()),
        Node::context_of(0, attributes),
    ]);
    let signature = device.sign(&info.encode()).unwrap();
    let algorithm = Node::parse(&device.signature_algorithm());
    Node::sequence([info, algorithm, Node::bits(0, &signature)]).encode()
}

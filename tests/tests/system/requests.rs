//! Requests: of the load generator, built with x509-cert, and made by openssl.

use std::process::{Command, Output};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use birthmark_hsm::KeyAlgorithm;
use der::asn1::{Any, BitString, ObjectIdentifier, OctetString, SetOfVec};
use der::{Decode, Encode, Tag};
use x509_cert::attr::{Attribute, AttributeTypeAndValue, Attributes};
use x509_cert::ext::Extension;
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq, Version};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

/// The corpus device `number`: P-256, freshly signed on every call.
pub(crate) fn device(number: u64) -> Vec<u8> {
    device_of(KeyAlgorithm::EcP256, number)
}

/// The corpus device `number` with another kind of key.
pub(crate) fn device_of(algorithm: KeyAlgorithm, number: u64) -> Vec<u8> {
    let device = birthmark_loadgen::device::Device::make(algorithm, DEVICE_SEED, number).unwrap();
    device.request().unwrap()
}

/// The subject serialNumber of the corpus device `number`.
pub(crate) fn device_serial(number: u64) -> String {
    format!("BM-{DEVICE_SEED:016x}-{:08}", number + 1)
}

const DEVICE_SEED: u64 = 7;

/// PEM as openssl writes it.
pub(crate) fn pem(label: &'static str, der: &[u8]) -> String {
    der::pem::encode_string(label, der::pem::LineEnding::LF, der).unwrap()
}

/// The bytes of one PEM block.
pub(crate) fn from_pem(pem: &[u8]) -> Vec<u8> {
    der::pem::decode_vec(pem).unwrap().1
}

/// A P-256 key that asks for whatever a test wants.
pub(crate) struct Key(EcdsaKeyPair);

impl Key {
    pub(crate) fn generate() -> Key {
        Key(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    /// A request for `serialNumber=serial`.
    pub(crate) fn request(&self, serial: &str) -> Vec<u8> {
        self.request_with(name(&[(SERIAL_NUMBER, Tag::PrintableString, serial)]), &[])
    }

    /// A request for any subject with any attributes.
    pub(crate) fn request_with(&self, subject: Name, attributes: &[Attribute]) -> Vec<u8> {
        let info = self.info(subject, attributes);
        self.sign(&info)
    }

    pub(crate) fn info(&self, subject: Name, attributes: &[Attribute]) -> CertReqInfo {
        let mut set = Attributes::new();
        for attribute in attributes {
            set.insert(attribute.clone()).unwrap();
        }
        CertReqInfo {
            version: Version::V1,
            subject,
            public_key: SubjectPublicKeyInfoOwned {
                algorithm: AlgorithmIdentifierOwned {
                    oid: EC_PUBLIC_KEY,
                    parameters: Some(Any::encode_from(&SECP256R1).unwrap()),
                },
                subject_public_key: BitString::from_bytes(self.0.public_key().as_ref()).unwrap(),
            },
            attributes: set,
        }
    }

    /// Signs any request info, also one with another's key in it.
    pub(crate) fn sign(&self, info: &CertReqInfo) -> Vec<u8> {
        let signature = self
            .0
            .sign(&SystemRandom::new(), &info.to_der().unwrap())
            .unwrap();
        let request = CertReq {
            info: info.clone(),
            algorithm: AlgorithmIdentifierOwned {
                oid: ECDSA_WITH_SHA256,
                parameters: None,
            },
            signature: BitString::from_bytes(signature.as_ref()).unwrap(),
        };
        request.to_der().unwrap()
    }
}

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
pub(crate) const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
pub(crate) const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.5");
const CHALLENGE_PASSWORD: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.7");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");

/// A name of single-valued parts, in order.
pub(crate) fn name(parts: &[(ObjectIdentifier, Tag, &str)]) -> Name {
    let mut sequence = RdnSequence::default();
    for (oid, tag, value) in parts {
        let value = Any::new(*tag, value.as_bytes()).unwrap();
        let mut part = RelativeDistinguishedName::default();
        part.insert(AttributeTypeAndValue { oid: *oid, value })
            .unwrap();
        sequence.push(part);
    }
    Name::from_der(&sequence.to_der().unwrap()).unwrap()
}

/// The wish to be a CA: BasicConstraints { cA TRUE } in an extension request.
pub(crate) fn wants_to_be_a_ca() -> Attribute {
    let extension = Extension {
        extn_id: BASIC_CONSTRAINTS,
        critical: true,
        extn_value: OctetString::new([0x30, 0x03, 0x01, 0x01, 0xff]).unwrap(),
    };
    ExtensionReq(vec![extension]).try_into().unwrap()
}

/// A challengePassword attribute, RFC 2985 §5.4.1.
pub(crate) fn challenge_password(password: &str) -> Attribute {
    let value = Any::new(Tag::Utf8String, password.as_bytes()).unwrap();
    Attribute {
        oid: CHALLENGE_PASSWORD,
        values: SetOfVec::try_from([value]).unwrap(),
    }
}

/// Runs openssl, which has to succeed.
#[track_caller]
pub(crate) fn openssl(arguments: &[&str]) -> Output {
    let output = Command::new("openssl")
        .args(arguments)
        .output()
        .expect("openssl must be installed for the whole-system tests");
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

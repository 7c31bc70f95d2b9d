//! Requests of which a test changes any part before they are signed.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use num_bigint::BigUint;

use crate::der::tag;
use crate::der::writer::Writer;
use crate::oid;

/// A value, DER.
pub(crate) fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = Vec::new();
    Writer::new(&mut der).primitive(tag, content);
    der
}

pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    der(tag::SEQUENCE, &parts.concat())
}

/// `Attribute ::= SEQUENCE { type, values SET }`.
pub(crate) fn attribute(oid: &[u8], values: &[Vec<u8>]) -> Vec<u8> {
    sequence(&[der(tag::OID, oid), der(tag::SET, &values.concat())])
}

/// One part of a name.
pub(crate) fn part(oid: &[u8], string: u8, value: &[u8]) -> Vec<u8> {
    der(
        tag::SET,
        &sequence(&[der(tag::OID, oid), der(string, value)]),
    )
}

/// A subject of one serialNumber.
pub(crate) fn name(string: u8, value: &[u8]) -> Vec<u8> {
    sequence(&[part(&[0x55, 0x04, 0x05], string, value)])
}

pub(crate) fn ec_key(curve: &[u8], point: &[u8]) -> Vec<u8> {
    ec_key_with(&der(tag::OID, curve), point)
}

pub(crate) fn ec_key_with(parameters: &[u8], point: &[u8]) -> Vec<u8> {
    let algorithm = sequence(&[der(tag::OID, oid::EC_PUBLIC_KEY), parameters.to_vec()]);
    sequence(&[algorithm, bit_string(0, point)])
}

pub(crate) fn rsa_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let mut key = Vec::new();
    Writer::new(&mut key).nested(tag::SEQUENCE, |key| {
        key.unsigned(modulus);
        key.unsigned(exponent);
    });
    let algorithm = sequence(&[der(tag::OID, oid::RSA_ENCRYPTION), vec![5, 0]]);
    sequence(&[algorithm, bit_string(0, &key)])
}

fn bit_string(unused_bits: u8, octets: &[u8]) -> Vec<u8> {
    der(tag::BIT_STRING, &[&[unused_bits], octets].concat())
}

/// A request with every part open, and the P-256 key that signs it.
pub(crate) struct Draft {
    signer: EcdsaKeyPair,
    /// The signer's public key.
    pub(crate) point: Vec<u8>,
    /// Content of the INTEGER.
    pub(crate) version: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    pub(crate) key: Vec<u8>,
    pub(crate) attributes: Vec<Vec<u8>>,
    pub(crate) attributes_field: bool,
    /// Behind the attributes.
    pub(crate) behind: Vec<u8>,
    pub(crate) algorithm: Vec<u8>,
    pub(crate) unused_bits: u8,
    /// Behind the whole request.
    pub(crate) trailing: Vec<u8>,
}

impl Draft {
    pub(crate) fn p256() -> Self {
        let signer = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let point = signer.public_key().as_ref().to_vec();
        Self {
            signer,
            version: vec![0],
            subject: name(tag::PRINTABLE_STRING, b"SN-1"),
            key: ec_key(oid::SECP256R1, &point),
            point,
            attributes: Vec::new(),
            attributes_field: true,
            behind: Vec::new(),
            algorithm: sequence(&[der(tag::OID, oid::ECDSA_SHA256)]),
            unused_bits: 0,
            trailing: Vec::new(),
        }
    }

    pub(crate) fn info(&self) -> Vec<u8> {
        let mut attributes = self.attributes.clone();
        attributes.sort();
        let attributes = if self.attributes_field {
            der(0xa0, &attributes.concat())
        } else {
            Vec::new()
        };
        sequence(&[
            der(tag::INTEGER, &self.version),
            self.subject.clone(),
            self.key.clone(),
            attributes,
            self.behind.clone(),
        ])
    }

    /// The request, signed by the draft's key, whatever key stands in it.
    pub(crate) fn signed(&self) -> Vec<u8> {
        let info = self.info();
        let signature = self.signer.sign(&SystemRandom::new(), &info).unwrap();
        let signature = bit_string(self.unused_bits, signature.as_ref());
        let mut csr = sequence(&[info, self.algorithm.clone(), signature]);
        csr.extend_from_slice(&self.trailing);
        csr
    }
}

/// An RSA key of any primes, of which the usual libraries would take few.
pub(crate) struct RsaKey {
    modulus: BigUint,
    private: BigUint,
}

impl RsaKey {
    pub(crate) fn from_primes(primes: &[BigUint]) -> Self {
        let one = BigUint::from(1u8);
        let order: BigUint = primes.iter().map(|prime| prime - &one).product();
        Self {
            modulus: primes.iter().product(),
            private: BigUint::from(65_537u32).modinv(&order).unwrap(),
        }
    }

    /// A request signed with RSASSA-PKCS1-v1_5 over SHA-256, RFC 8017 §8.2.1 and §9.2.
    pub(crate) fn request(&self) -> Vec<u8> {
        let mut draft = Draft::p256();
        draft.key = rsa_key(&self.modulus.to_bytes_be(), &[1, 0, 1]);
        let info = draft.info();
        let digest = crate::key::sha256(&info);
        let algorithm = sequence(&[der(tag::OID, oid::SHA256), vec![5, 0]]);
        let digest_info = sequence(&[algorithm, der(tag::OCTET_STRING, &digest)]);
        let octets = self.modulus.to_bytes_be().len();
        let padding = vec![0xff; octets - 3 - digest_info.len()];
        let padded = [&[0, 1][..], &padding, &[0], &digest_info].concat();
        let signature = BigUint::from_bytes_be(&padded).modpow(&self.private, &self.modulus);
        let signature = signature.to_bytes_be();
        let leading = vec![0; octets - signature.len()];
        let algorithm = sequence(&[der(tag::OID, oid::RSA_SHA256), vec![5, 0]]);
        sequence(&[
            info,
            algorithm,
            bit_string(0, &[leading, signature].concat()),
        ])
    }
}

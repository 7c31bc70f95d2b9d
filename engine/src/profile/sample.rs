//! One made-up certificate for each kind of key: whether what a profile makes would pass the check before release.
//! Without it every request of a profile that cannot pass would be signed, and then refused.

use super::alt_names::AltNameForm;
use super::names::SubjectAttribute;
use super::{CertificateRules, Profile};
use crate::der::tag;
use crate::der::writer::Writer;
use crate::issuer::Issuer;
use crate::key::{DeviceKeyAlgorithm, SubjectPublicKeyInfo};
use crate::lint::{Expectation, check_sample};
use crate::lots::LotOffer;
use crate::oid;
use crate::serial_offer::SerialOffer;
use crate::tbs::{HEADROOM, SERIAL_BYTES, TbsTemplate, write};
use crate::validate::ValidatedRequest;

impl Profile {
    /// Holds a sample for each kind of key against the rules.
    ///
    /// # Errors
    /// What the check before release would say of every certificate, as a sentence that begins after the profile's
    /// name.
    pub(crate) fn check_samples(&self, issuer: &Issuer) -> Result<(), String> {
        for algorithm in &self.key.algorithms {
            self.check_sample(*algorithm, issuer)?;
        }
        Ok(())
    }

    fn check_sample(&self, algorithm: DeviceKeyAlgorithm, issuer: &Issuer) -> Result<(), String> {
        let spki = spki(algorithm);
        let serial = [0x40; SERIAL_BYTES];
        let certificate = self.sample(&spki, algorithm, issuer, &serial);
        let rules = CertificateRules {
            indefinite: true,
            ..self.rules.clone()
        };
        let expected = Expectation {
            issuer,
            spki: &spki,
            key_algorithm: algorithm,
            rules: &rules,
        };
        check_sample(&certificate, &serial, &expected).map_err(|finding| {
            format!(
                "makes certificates for {} keys that the check before release refuses: {finding}; correct the profile",
                algorithm.name()
            )
        })
    }

    /// A certificate in DER with a made-up key, made-up names where they come from requests, and no signature.
    /// It ends when it would end anyway or never: times depend on the day, not on the profile alone.
    pub(crate) fn sample(
        &self,
        spki: &[u8],
        algorithm: DeviceKeyAlgorithm,
        issuer: &Issuer,
        serial: &[u8; SERIAL_BYTES],
    ) -> Vec<u8> {
        let request = ValidatedRequest {
            key: SubjectPublicKeyInfo::sample(spki, algorithm),
            key_fingerprint: [0; 32],
            generated: false,
            request_id: [0; 32],
            identity: None,
            subject: self.sample_subject(),
            alt_names: self.sample_alt_names(),
            serial: SerialOffer::None,
            lot: LotOffer::None,
        };
        let template = TbsTemplate::new(self, issuer);
        let times = (issuer.validity_s().0, None);
        let tbs = write(&request, self, &template, issuer, times, serial);
        let mut certificate = Vec::with_capacity(tbs.len());
        Writer::new(&mut certificate).nested(tag::SEQUENCE, |whole| {
            whole.raw(&tbs[HEADROOM..]);
            whole.raw(issuer.signature_algorithm());
            whole.bit_string(&[0]);
        });
        certificate
    }

    fn sample_subject(&self) -> Vec<u8> {
        let mut subject = Vec::new();
        Writer::new(&mut subject).nested(tag::SEQUENCE, |name| {
            for entry in &self.subject {
                match &entry.encoded {
                    Some(encoded) => name.raw(encoded),
                    None => entry.encode(attribute_text(entry), name),
                }
            }
        });
        subject
    }

    fn sample_alt_names(&self) -> Option<Vec<u8>> {
        let mut names = Vec::new();
        for name in &self.alt_names {
            match &name.encoded {
                Some(encoded) => names.extend_from_slice(encoded),
                None => name
                    .form
                    .encode(alt_name_text(&name.form), &mut Writer::new(&mut names)),
            }
        }
        if self.requested.copies_names() {
            AltNameForm::Dns.encode("a.example", &mut Writer::new(&mut names));
        }
        if names.is_empty() {
            return None;
        }
        let mut value = Vec::new();
        Writer::new(&mut value).nested(tag::SEQUENCE, |list| list.raw(&names));
        Some(value)
    }
}

/// A text that fits the attribute's type.
fn attribute_text(entry: &SubjectAttribute) -> &'static str {
    match entry.name() {
        "C" => "DE",
        "VID" | "PID" => "FFF1",
        _ => "1",
    }
}

fn alt_name_text(form: &AltNameForm) -> &'static str {
    match form {
        AltNameForm::HardwareModuleName { .. } | AltNameForm::PermanentIdentifier { .. } => "1",
        AltNameForm::Uri => "urn:example:1",
        AltNameForm::Dns => "a.example",
        AltNameForm::Ip => "192.0.2.1",
        AltNameForm::Email => "a@a.example",
        AltNameForm::RegisteredId => "1.3.6.1",
    }
}

/// A SubjectPublicKeyInfo that names the algorithm and holds no key.
fn spki(algorithm: DeviceKeyAlgorithm) -> Vec<u8> {
    use DeviceKeyAlgorithm::{
        EcP256, EcP384, EcP521, Ed25519, MlDsa44, MlDsa65, MlDsa87, Rsa, RsaPss,
    };
    let (identifier, curve) = match algorithm {
        EcP256 => (oid::EC_PUBLIC_KEY, Some(oid::SECP256R1)),
        EcP384 => (oid::EC_PUBLIC_KEY, Some(oid::SECP384R1)),
        EcP521 => (oid::EC_PUBLIC_KEY, Some(oid::SECP521R1)),
        Ed25519 => (oid::ED25519, None),
        Rsa => (oid::RSA_ENCRYPTION, None),
        RsaPss => (oid::RSA_PSS, None),
        MlDsa44 => (oid::ML_DSA_44, None),
        MlDsa65 => (oid::ML_DSA_65, None),
        MlDsa87 => (oid::ML_DSA_87, None),
    };
    let mut spki = Vec::new();
    Writer::new(&mut spki).nested(tag::SEQUENCE, |info| {
        info.nested(tag::SEQUENCE, |algorithm| {
            algorithm.primitive(tag::OID, identifier);
            if let Some(curve) = curve {
                algorithm.primitive(tag::OID, curve);
            }
        });
        info.bit_string(&[0]);
    });
    spki
}
